"""The engine as a person runs it on a box without Fettle's database: `python -m worker.engine.train`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import toy_rows
from tests.house.rules import ROOT
from worker.engine import artefact
from worker.engine.command import main
from worker.engine.load import load


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "worker.engine.train", *map(str, words)]
    # Nothing of an installation in reach: no setting, and a home without one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FETTLE_")}
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=False, timeout=120)


def write(file: Path, count: int) -> Path:
    file.write_text("".join(json.dumps({**values, "output": answer}) + "\n" for values, answer in toy_rows(count)))
    return file


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> list[object]:
    train, validation = write(tmp_path / "train.jsonl", 40), write(tmp_path / "validation.jsonl", 10)
    given = ["--base", tiny, "--train", train, "--validation", validation, "--labels", "--out", tmp_path / "run", "--device", "cpu", "--threads", 1]
    for setting in ("rank=4", "learning_rate=0.02", "max_steps=24", "batch_size=8", "evaluations=2"):
        given += ["--set", setting]
    return given


def test_a_run_prints_its_result_as_json_and_its_progress_as_lines(options: list[object], tmp_path: Path, tiny: Path) -> None:
    done = run(*options, "--instruction", "Judge the film.", "--seed", 5)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["steps"] == 24
    assert result["best_value"] > 0.5
    assert "step 24/24: loss" in done.stderr
    assert "validation_accuracy" in done.stderr
    checked = artefact.check(Path(result["artefact"]))
    assert checked.facts["template"]["instruction"] == "Judge the film."
    assert (checked.facts["seed"], checked.facts["labels"]) == (5, ["negative", "positive"])
    load(tiny, adapter=tmp_path / "run" / "artefact", device="cpu")


def test_an_interrupted_run_stops_with_a_checkpoint_and_resumes(options: list[object], tmp_path: Path) -> None:
    whole = run(*options)
    steps = [*options, "--set", "max_steps=2000", "--out", tmp_path / "long"]
    with subprocess.Popen([sys.executable, "-m", "worker.engine.train", *map(str, steps)], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("step 5/"):
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 3
    assert list((tmp_path / "long").glob("checkpoint-*"))
    refused = run(*steps)
    assert (refused.returncode, "--resume" in refused.stderr) == (1, True)
    assert whole.returncode == 0
    again = run(*options, "--resume")
    assert json.loads(again.stdout) == json.loads(whole.stdout)


def test_help_names_every_option_and_the_parameters() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--train", "--validation", "--base", "--set", "--resume", "learning_rate", "lora:", "full:"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"input": "a", "output": 1}', "line 2 is not an object of texts"),
        ('{"input": "a"}', "line 2 is not an object of texts"),
        ("input,output", "line 2: Expecting value"),
        ('{"text": "a", "output": "b"}', "{input}"),
    ],
)
def test_a_bad_record_is_named_with_its_line(options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    (tmp_path / "train.jsonl").write_text('{"input": "a\u2028b", "output": "b"}\n' + line + "\n")
    assert main([str(word) for word in options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [(["--set", "rank=0"], "rank"), (["--set", "colour=red"], "colour"), (["--train", "none.jsonl"], "cannot be read")])
def test_what_cannot_be_done_is_said_in_a_sentence(options: list[object], capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main([str(word) for word in [*options, *words]]) == 1
    assert said in capsys.readouterr().err


def test_a_setting_without_a_value_is_a_wrong_option(options: list[object]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in [*options, "--set", "rank"]])
    assert ended.value.code == 2


def test_a_search_from_the_command_line_and_from_a_file(options: list[object], tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text(json.dumps({"how": "grid", "space": {"rank": [2, 4, 8]}}))
    done = run(*options, "--search", tmp_path / "search.json", "--search", "factor=2", "--set", "max_steps=12")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["search"]["trials"] == 3 and result["parameters"]["rank"] == result["search"]["chosen"]["rank"]
    assert "trial 1 running: rank 2; step 0" in done.stderr and " won: rank " in done.stderr and " stopped: rank " in done.stderr


@pytest.mark.parametrize(
    ("word", "said"), [("how=best", "search.how"), ("colour=1", "search.colour"), ("none.json", "cannot be read as a search"), ("how=rate_finder", "is given")]
)
def test_a_search_that_cannot_be_run_is_said_before_anything_is_loaded(options: list[object], capsys: pytest.CaptureFixture[str], word: str, said: str) -> None:
    assert main([str(word) for word in [*options, "--search", word]]) == 1
    assert said in capsys.readouterr().err


def test_a_search_under_a_launcher_is_refused(options: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main([str(word) for word in [*options, "--search", "how=random"]]) == 1
    assert "without a launcher, with --set devices=N" in capsys.readouterr().err
