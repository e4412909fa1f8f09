"""The tasks of the benches: real labelled data from a folder that FETTLE_BENCH_DATA names, and the starter model."""

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.domain.rendering import Template

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".state" / "tests" / "models" / "smollm2-135m-instruct"

WORDS = [
    "the",
    "parcel",
    "order",
    "bill",
    "late",
    "refund",
    "account",
    "where",
    "card",
    "money",
    "transfer",
    "please",
    "help",
    "when",
    "why",
    "never",
    "arrived",
    "payment",
    "customer",
    "service",
    "top",
    "up",
    "exchange",
    "rate",
    "cash",
    "atm",
    "declined",
]
"""What made texts consist of."""

Row = tuple[dict[str, str], str]


@dataclass(frozen=True)
class Task:
    """What to do with a data set: the prompt, the labels (none: free text), and how many of the labels are used."""

    instruction: str
    labels: tuple[str, ...] = ()

    @property
    def template(self) -> Template:
        return Template(instruction=self.instruction)


TREC = ("abbreviation", "description", "entity", "human", "location", "number")
BANKING = (
    "activate my card", "age limit", "apple pay or google pay", "atm support", "card arrival", "card linking", "cash withdrawal charge",
    "change pin", "exchange rate", "lost or stolen card",
)  # fmt: skip
TASKS = {
    "sst2": Task("Is this review of a film positive or negative?", ("negative", "positive")),
    "trec6": Task(f"What kind of answer does this question ask for? One of: {', '.join(TREC)}.", TREC),
    "sms_spam": Task("Is this text message spam, or is it ham, a message from a person?", ("ham", "spam")),
    "banking77": Task(f"What does this customer of a bank ask about? One of: {', '.join(BANKING)}.", BANKING),
    "e2e_nlg": Task("Describe the restaurant in one or two sentences, from these facts."),
}


def rows(name: str, train: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """(rows to learn from, rows to score by) of a task, both drawn from its train file, as far as they have one of its labels."""
    wanted = TASKS[name].labels
    found = [(values, answer) for values, answer in records(name, "train") if not wanted or answer in wanted]
    random.Random(name).shuffle(found)
    return found[:train], found[train : train + held_out]


def test_rows(name: str, most: int) -> list[Row]:
    """Rows of the test file that have one of the task's labels, drawn."""
    found = [(values, answer) for values, answer in records(name, "test") if not TASKS[name].labels or answer in TASKS[name].labels]
    random.Random(name).shuffle(found)
    return found[:most]


def records(name: str, split: str) -> Iterator[Row]:
    """Every row of a split. Labels are read as words: an underscore is a blank."""
    folder = Path(os.environ.get("FETTLE_BENCH_DATA") or ROOT.parent / "shared" / "data" / "clean") / name
    found = [folder / f"{split}{ending}" for ending in (".csv", ".jsonl") if (folder / f"{split}{ending}").exists()]
    if not found:
        sys.exit(f"There is no {split} file in {folder}. FETTLE_BENCH_DATA names the folder that holds {', '.join(TASKS)}.")
    with found[0].open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file) if found[0].suffix == ".csv" else map(json.loads, file):
            answer = row["output"].strip()
            yield {"input": row["input"].strip()}, answer.replace("_", " ").lower() if TASKS[name].labels else answer


def prepare_model() -> None:
    """The starter model as a folder, where the tests keep theirs: fetched and converted once."""
    if (MODEL / "config.json").exists():
        return
    given = {**os.environ, "FETTLE_DATA": str(MODEL.parents[1])}
    for command in (["app.cli", "migrate"], ["app.cli", "models", "starter"]):
        if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=given, check=False).returncode:
            sys.exit("The starter model could not be made; connect to the network and try again.")
