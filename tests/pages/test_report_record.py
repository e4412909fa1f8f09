"""What a report keeps beside its table: settings, wordings, hashes, and the command that runs it again."""

import csv
import io
import json
import re
import shlex
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from lxml import html
from lxml.html import HtmlElement
from starlette.testclient import TestClient

from app.db import reading, transaction
from app.domain.access import Who
from app.domain.evaluation import Evaluation
from app.domain.experiment import Experiment
from app.domain.job import Job
from app.domain.model import Model
from app.pages import report_view
from app.services import accounts, experiments, prompts
from app.settings import settings
from tests.dom import get
from tests.pages.test_experiments import task
from tests.rows import add_model, add_rows, climb, climb_by

__all__ = ["task"]

SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


@pytest.fixture
def key(person: Who, task: tuple[int, str]) -> int:
    """A grid of two wordings, shots that are drawn twice, and a run whose learning rate was left to the model."""
    one, other = (prompts.create(person, name, {"mode": "structured", "instruction": f"{name}?"}).reference for name in ("Which one", "Billing or delivery"))
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot", "prompt_version": [one, other]},
        {"technique": "few_shot", "shots": 2, "seeds": [3, 4]},
        {"technique": "lora", "parameters": {"max_steps": 7}},
    ]
    found = experiments.create(person, name="tickets", dataset=task[1], model=task[0], rungs=rungs, prompt_version=one)
    climb_by(lambda rung, cell: 12 + 8 * rung.position + 2 * cell.number)
    with transaction() as session:
        for job in session.query(Job).filter_by(kind="tune"):
            job.result = {**(job.result or {}), "learning_rate": 0.00123, "steps": 7, "computes_in": "bfloat16"}
        for model in session.query(Model):
            model.content_hash = f"{model.id:064x}"
    return found


def texts(browser: TestClient, key: int) -> tuple[HtmlElement, str]:
    """The report as a page and as Markdown."""
    return html.document_fromstring(browser.get(f"/experiments/{key}/report.html").text), browser.get(f"/experiments/{key}/report.md").text


def section(text: str, title: str) -> str:
    """One section of the Markdown."""
    return text.partition(f"\n## {title}")[2].partition("\n## ")[0]


def folded(page: HtmlElement, title: str) -> str:
    (found,) = [one for one in page.cssselect("details") if one.cssselect("summary")[0].text_content().startswith(title)]
    return " ".join(map(str, found.itertext()))


def test_every_hash_is_there_in_full(browser: TestClient, person: Who, key: int) -> None:
    view = experiments.find(person, key)
    named = {"rows": view.version.content_hash, "model": view.model.content_hash, "artefact": view.rows[2].model.content_hash}
    named |= {cell.prompt.reference: cell.prompt.content_hash for row in view.rows for cell in row.cells}
    assert len(set(named.values())) == len(named) == 3 + 4, "two wordings and two draws beside the three"
    page, text = texts(browser, key)
    for words in (folded(page, "Hashes (sha256)"), section(text, "Hashes (sha256)")):
        assert {*SHA256.findall(words)} == {*named.values()}, words
        assert re.search(rf"artefact of LoRA\W+{named['artefact']}", words)
    assert not re.search(r"[0-9a-f]{8}…", str(page.text_content())), "none is cut short"


def test_artefacts_are_told_apart_and_with_all_that_ask_them(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    ranks: dict[str, Any] = {"technique": "lora", "parameters": {"rank": [4, 8]}}
    rungs: list[dict[str, Any]] = [ranks, {"technique": "lora", "seeds": [0, 1]}, {"technique": "lora", "seeds": [0, 1], "shots": 2}]
    key = experiments.create(person, name="tickets", dataset=task[1], model=task[0], rungs=rungs)
    climb_by(lambda rung, cell: 20 + 4 * cell.number)
    said = re.findall(r"artefact of (.*?): `", section(texts(browser, key)[1], "Hashes (sha256)"))
    assert said == [
        "LoRA, rank 8",
        "LoRA, rank 4, tried for LoRA, rank 8",
        "LoRA, rank 16, seed 0 and LoRA, 2-shot, seed 0",
        "LoRA, rank 16, seed 1 and LoRA, 2-shot, seed 1",
    ]


def test_many_labels_are_told_as_the_rungs_prompts_have_them(person: Who) -> None:
    labels = [f"T-{at}" for at in range(31)]
    version = add_rows(person, "many", [(f"{split} {label}", label, split) for split in ("train", "validation", "test") for label in labels])
    plain = prompts.create(person, "plain", {"mode": "structured", "instruction": "Which?"}).reference
    where: dict[str, Any] = {"name": "", "dataset": version.reference, "model": add_model(person), "prompt_version": plain}
    said = {}
    for ways in (("generate",), ("likelihood", "generate"), ("likelihood",)):
        key = experiments.create(person, **where, rungs=[{"technique": "zero_shot", "answer": way} for way in ways])
        judged = report_view.record(experiments.find(person, key)).judged
        said[ways] = next((one for one in judged if one.startswith("Of 31 labels")), "")
    assert said["generate",] == "" and " where they are weighed or the prompt names them; " in said["likelihood", "generate"]
    assert said["likelihood",] == "Of 31 labels a row is offered the 20 that BM25 finds likeliest; one that is not offered cannot be right."


def test_only_seeds_that_ran_are_said(person: Who, task: tuple[int, str]) -> None:
    key = experiments.create(person, name="", dataset=task[1], model=task[0], rungs=[{"technique": "zero_shot", "seeds": [0, 1, 2]}])
    ((_, words),) = report_view.record(experiments.find(person, key)).settings
    assert words.startswith("seeds 0; ")


def test_the_wordings_that_rungs_asked_with_stand_there_with_their_shots(browser: TestClient, person: Who, key: int) -> None:
    page, text = texts(browser, key)
    two = experiments.find(person, key).rows[1]
    written = [str(one.text_content()) for one in page.cssselect("pre.seen-text")]
    for cell in two.own:
        assert sum(all(shot["input"] in one for shot in cell.prompt.shots) for one in written) == 1
        assert f"### Prompt {cell.prompt.reference}: 2-shot, seed {cell.cell.seed}\n\n```\nWhich one?\n\nInput: train message" in text
    assert "Billing or delivery?\n\nInput: {input}\nOutput:" in written


def test_what_each_rung_ran_with_is_said_whatever_it_was_asked_with(browser: TestClient, key: int) -> None:
    page, text = texts(browser, key)
    for words in (folded(page, "Settings of each rung"), section(text, "Settings of each rung")):
        for said in (
            "seeds 3, 4",
            "shots 2; selection balanced",
            "max steps 7",
            "learning rate 0.00123",
            "rank 16",
            "steps made 7",
            "computed in bfloat16",
            "fit refuse",
        ):
            assert said in words, said


def test_the_cells_of_a_grid_are_told_with_their_scores_and_which_was_chosen(browser: TestClient, person: Who, key: int) -> None:
    page, text = texts(browser, key)
    cells = experiments.find(person, key).rows[0].cells
    assert [cell.cell.number for cell in cells] == [0, 1]
    rows = [[str(cell.text_content()) for cell in row] for row in page.cssselect("details table tbody tr")]
    assert [row[2:] for row in rows] == [["0.400", ""], ["0.500", "chosen"]] and rows[1][0] == f"zero-shot, prompt {cells[1].cell.settings['prompt_version']}"
    assert f"| {rows[1][0]} | 0 | 0.500 | yes |" in section(text, "Settings that were tried: zero-shot")


def test_signal_looks_and_how_answers_are_judged_are_told_in_both(browser: TestClient, person: Who, task: tuple[int, str], key: int) -> None:
    for _ in range(4):
        experiments.create(person, name="", dataset=task[1], model=task[0], rungs=[{"technique": "zero_shot"}, {"technique": "one_shot"}])
        climb(20, 21)
    page, text = texts(browser, key)
    for words in (str(page.text_content()), text):
        assert "Without a large endpoint this signal is missing. The best local prompt, " in words
        assert "These test rows have been scored 11 times. Intervals assume few looks" in words and "Set a reserve split aside" in words
        assert "Label likelihood: every label is tried as the answer to the prompt" in words and "Rungs are compared by accuracy." in words
        assert "Generation:" not in words, "no rung writes"


def test_written_answers_of_another_shape_are_told_as_theirs(browser: TestClient, person: Who) -> None:
    rows = [(f"{split} {at}", json.dumps({"id": f"{split} {at}"}), split) for split, n in (("train", 9), ("validation", 6), ("test", 9)) for at in range(n)]
    scheme = {"extractor": "json_field", "json_field": "order", "fields": {"id": {"by": "number", "tolerance": 1}}, "checks": [{"kind": "length", "most": 9}]}
    where: dict[str, Any] = {"dataset": add_rows(person, "orders", rows).reference, "model": add_model(person)}
    key = experiments.create(person, name="", **where, rungs=[{"technique": "zero_shot"}], scheme=scheme)
    said = section(texts(browser, key)[1], "How answers are read and judged")
    assert "- Generation: the field `order` of the first JSON object that the model writes counts as the answer." in said
    assert "id: number 1; every other field has to be exactly right." in said and "length: at most 9 words." in said and "compared by field F1" in said


def test_the_command_runs_the_experiment_again(browser: TestClient, person: Who, key: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_PUBLIC_URL", "https://fettle.example")
    settings.cache_clear()
    page, text = texts(browser, key)
    (command,), (request,) = page.cssselect("#command"), page.cssselect("#request")
    blocks = re.findall(r"```(\w+)\n(.*?)\n```", section(text, "Run it again"), re.DOTALL)
    assert blocks == [("sh", command.text_content()), ("json", request.text_content().rstrip())]
    words = shlex.split(command.text_content().replace("$FETTLE_TOKEN", accounts.create_token(person, "report")))
    address = urlsplit(next(word for word in words if word.startswith("https://fettle.example/")))
    assert words[words.index("-d") + 1] == "@experiment.json" and "experiment.json" in page.cssselect("details summary")[-1].text_content()
    headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
    browser.cookies.clear()
    assert browser.post(address.path, content=request.text_content(), headers={"Content-Type": "application/json"}).status_code == 401
    made = browser.post(address.path, content=request.text_content(), headers=headers)
    assert made.status_code == 202, made.text
    with reading() as session:
        assert session.query(Experiment).count() == 2
    assert len(experiments.find(person, made.json()["id"]).rows) == 3


def test_tokens_and_the_size_of_the_artefact_stand_in_the_table_and_on_the_page(browser: TestClient, person: Who, key: int) -> None:
    lora = experiments.find(person, key).rows[2]
    folder = settings().storage_folder / lora.model.folder
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"0" * 12_300)
    rows = list(csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text)))
    tokens = [(row["input_tokens"], row["output_tokens"], row["artefact_bytes"]) for row in rows[2:]]
    with reading() as session:
        scores = session.get_one(Evaluation, lora.lead.cell.evaluation_id).scores or {}
    assert scores["input_tokens"] == 300 and tokens == [("300", "30", "0"), ("300.0", "30.0", "0"), ("300", "30", "12300")]
    shown = get(browser, f"/experiments/{key}").text("main")
    assert shown.count("300 tokens read and 30 written for 30 rows") == 3 and "artefact 12.3 kB" in shown
    (line,) = [line for line in browser.get(f"/experiments/{key}/report.md").text.splitlines() if line.startswith("| LoRA |")]
    assert "| 300 | 30 |" in line and "| 12,300 |" in line


def test_the_markdown_table_says_how_far_seeds_lie_apart_and_leaves_out_what_says_nothing(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    """The interval of a rung with several draws is of their mean: alone it would hide that one draw is useless."""
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot", "shots": 2, "seeds": [3, 4]}, {"technique": "lora"}]
    key = experiments.create(person, name="tickets", dataset=task[1], model=task[0], rungs=rungs)
    climb_by(lambda rung, cell: 3 if cell.seed == 3 else 27)
    lines = [line.strip("| ").split(" | ") for line in browser.get(f"/experiments/{key}/report.md").text.splitlines() if line.startswith("|")]
    rows = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:] if len(line) == len(lines[0])}
    drawn = rows["2-shot"]
    assert (drawn["seed low"], drawn["accuracy"], drawn["seed high"]) == ("0.100", "0.500", "0.900")
    assert rows["LoRA"]["seed low"] == "" and {"elsewhere", "cost per 1000"}.isdisjoint(drawn)
