"""bench.published: says what is missing, runs what is there from training to score, and scores as the published scripts do."""

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, set_seed

from app.domain.methods import METHODS
from app.domain.methods.base import parse
from bench import published
from bench.runs import published_run
from bench.runs.published_rows import INSTRUCTION, NOT_OFFERED, ROWS
from bench.runs.published_score import bleu, exact, number, value, words
from tests.engine.conftest import make_tokenizer, make_translator
from worker.engine.load import load_tokenizer
from worker.engine.train import opening_ids

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PLACES = [{"input": f"name[Place {n}], area[centre]", "output": f"Place {n} is in the centre."} for n in range(6)]
REFERENCES = [{"input": row["input"], "references": [row["output"], "In the centre."]} for row in PLACES]
PAIRS = [{"sentence1": f"it is {n}", "sentence2": "it is good", "output": "entailment" if n % 2 else "not_entailment"} for n in range(6)]


@pytest.fixture(scope="module")
def provided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(models, data): a tiny GPT-2 and a tiny T5 under the published names, and a few rows of their tasks."""
    models, data = tmp_path_factory.mktemp("published-models"), tmp_path_factory.mktemp("published-data")
    tokenizer = make_tokenizer()
    set_seed(7)
    shape = {"n_positions": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape)).save_pretrained(models / "gpt2-medium")
    tokenizer.save_pretrained(models / "gpt2-medium")
    make_translator(models / "t5-base-lm-adapt", seed=7)
    write(data / "e2e_nlg" / "train.jsonl", PLACES)
    write(data / "e2e_nlg" / "test_multiref.jsonl", REFERENCES)
    for name in ("train", "validation"):
        write(data / "glue_rte" / f"{name}.jsonl", PAIRS)
    return models, data


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model this small gains nothing from more threads, here and in a row's own process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def known(provided: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The environment names both folders, and no hub is asked."""
    monkeypatch.setenv("FETTLE_PUBLISHED_MODELS", str(provided[0]))
    monkeypatch.setenv("FETTLE_BENCH_DATA", str(provided[1]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return provided


def test_a_row_runs_from_training_to_score_and_is_kept(known: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rows", "e2e-lora", "peft-full", "--device", "cpu", "--rows-limit", "4", "--steps", "2", "--folder", str(tmp_path)]
    assert published.main(words) == 0
    printed = capsys.readouterr().out
    assert "| BLEU 70.4 | BLEU " in printed
    assert "trained on 4 of 42061 rows: not comparable" in printed
    assert "no label smoothing" in printed
    assert "peft-full: Llama-3.2-3B, MetaMathQA, full, rate 1e-5: left out, for want of train.jsonl and test.jsonl in metamathqa" in printed
    kept = json.loads((tmp_path / "results.json").read_text())["processor, 4 rows, 2 steps/e2e-lora"]
    assert kept["steps"] == 2
    assert kept["test_rows"] == 4
    assert kept["trainable"] == 2 * 4 * (32 + 96)
    (tmp_path / "job.json").unlink()
    assert published.main(words) == 0
    assert not (tmp_path / "job.json").exists()


@pytest.mark.parametrize(("name", "kinds"), [("e2e-full", {"BLEU"}), ("e2e-prefix", {"BLEU"}), ("t5-rte", {"accuracy", "F1"})])
def test_every_kind_of_row_runs(known: tuple[Path, Path], tmp_path: Path, name: str, kinds: set[str]) -> None:
    row, folder = ROWS[name], known[1] / ROWS[name].data.folder
    rows = {part: published.read(folder / file, 4) for part, file in (("train", "train.jsonl"), ("test", row.data.test))}
    job = {"row": name, "model": str(published.local(row)), "device": "cpu", "steps": 2, "folder": str(tmp_path / "run"), **rows}
    found = published_run.measure(job)
    assert set(found["scores"]) == kinds
    assert all(0 <= score <= 100 for score in found["scores"].values())
    assert not (tmp_path / "run").exists()


def test_numbers_are_read_from_what_the_engine_writes(tiny_job: dict[str, Any]) -> None:
    assert published_run.measure(tiny_job)["scores"] == {"accuracy": 0.0}


def test_a_prefix_starts_from_the_instruction_it_stands_for(tiny_job: dict[str, Any]) -> None:
    spec = published_run.spec(ROWS["peft-prefix-instruction"], tiny_job)
    opening = opening_ids(load_tokenizer(spec.base), spec)
    assert load_tokenizer(spec.base).decode(opening) == f"{INSTRUCTION}\n"
    assert published_run.measure(tiny_job | {"row": "peft-prefix-instruction"})["trainable"] == 50 * 2 * 2 * 32


@pytest.fixture
def tiny_job(known: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    """A row of the PEFT table on the tiny GPT-2."""
    rows = [{"query": "1 + 1?", "output": "It is two. The answer is: 2"}] * 2
    model = str(known[0] / "gpt2-medium")
    return {"row": "peft-prompt-random", "model": model, "device": "cpu", "steps": 1, "folder": str(tmp_path / "run"), "train": rows, "test": rows}


def test_a_row_that_lacks_everything_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("FETTLE_PUBLISHED_MODELS", "FETTLE_BENCH_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert published.main(["--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [*ROWS, *NOT_OFFERED]
    wanted = ("a CUDA device", "under FETTLE_BENCH_DATA: JSON lines with", "under FETTLE_PUBLISHED_MODELS, or let a hub be reachable")
    assert all(words in line for line in lines[: len(ROWS)] for words in wanted)
    assert all(line.endswith(": not offered") for line in lines[len(ROWS) :])


def test_a_row_that_breaks_says_why_and_the_rest_goes_on(
    known: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--rows", "t5-rte", "peft-full", "--device", "cpu", "--rows-limit", "2", "--steps", "1", "--folder", str(tmp_path)]
    shutil.copytree(known[0], tmp_path / "models")
    monkeypatch.setenv("FETTLE_PUBLISHED_MODELS", str(tmp_path / "models"))
    (tmp_path / "models" / "t5-base-lm-adapt" / "model.safetensors").write_text("not weights")
    assert published.main(words) == 1
    printed = capsys.readouterr().out
    assert "t5-rte: failed: app.errors.Invalid: t5-base-lm-adapt cannot be loaded" in printed
    assert "peft-full: Llama-3.2-3B, MetaMathQA, full, rate 1e-5: left out" in printed


def test_every_rows_parameters_are_ones_the_engine_takes() -> None:
    for row in ROWS.values():
        assert parse(METHODS, row.method, row.parameters)
        assert row.published


def test_bleu_counts_as_the_challenges_script_does() -> None:
    assert words('The "Vaults", 3.5-star pub, costs £20-25.') == [
        "the",
        '"',
        "vaults",
        '"',
        ",",
        "3.5",
        "-",
        "star",
        "pub",
        ",",
        "costs",
        "£20",
        "-",
        "25",
        ".",
    ]
    same = ["The Vaults is a cheap pub near the river ."]
    assert bleu(same, [same])["BLEU"] == pytest.approx(100)
    # 9 of 10 words, 7 of 9 pairs, 5 of 8, 3 of 7; one word longer than the reference: no penalty.
    answer = "the vaults is a very cheap pub near the river"
    assert bleu([answer], [["the vaults is a cheap pub near the river"]])["BLEU"] == pytest.approx(100 * (9 / 10 * 7 / 9 * 5 / 8 * 3 / 7) ** 0.25)
    assert bleu(["the vaults is a pub"], [["the vaults is a pub in town", "a pub"]])["BLEU"] == pytest.approx(100 * 2.718281828 ** (1 - 7 / 5), rel=1e-6)
    assert bleu(["nothing"], [["the same"]])["BLEU"] == 0


def test_numbers_count_however_they_are_written() -> None:
    assert value("So 20/14.\nThe answer is: 20/14.") == Decimal(20) / Decimal(14)
    assert value("#### 1,234") == value("The final answer is $1234$.") == 1234
    assert value("Well, 12.") is None
    assert number(["The answer is: 5.0", "five", "The answer is x+1"], ["#### 5", "#### 5", "The answer is: x+1"])["accuracy"] == pytest.approx(200 / 3)


def test_f1_is_that_of_the_first_label() -> None:
    scores = exact(["yes", "yes", "no", "what"], ["yes", "no", "yes", "no"], ["yes", "no"])
    assert scores == {"accuracy": 25.0, "F1": 50.0}
