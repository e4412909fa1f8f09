"""The engine as a person runs it on a box without Fettle's database: `python -m worker.engine.train`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.engine.conftest import toy_rows
from tests.engine.test_train import same_bits
from tests.house.rules import ROOT
from worker.engine import artefact, command
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


LORA = {"rank": 4, "learning_rate": 0.02, "max_steps": 24, "batch_size": 8, "evaluations": 2}


def given(base: Path, folder: Path, settings: Mapping[str, object] = LORA) -> list[object]:
    """The options of a run on rows in a folder, but for --out."""
    train, validation = write(folder / "train.jsonl", 40), write(folder / "validation.jsonl", 10)
    words: list[object] = ["--base", base, "--train", train, "--validation", validation, "--labels", "--device", "cpu", "--threads", 1]
    return words + [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> list[object]:
    return [*given(tiny, tmp_path), "--out", tmp_path / "run"]


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


@pytest.fixture(scope="module")
def long(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], "subprocess.CompletedProcess[str]"]:
    """The options of a run that takes a while, but for its folder; and how it went without an interruption."""
    folder = tmp_path_factory.mktemp("long")
    words = [*given(tiny, folder), "--set", "max_steps=300"]
    return words, run(*words, "--out", folder / "run")


def told(lines: str) -> set[str]:
    """Every point of a run's curves as its progress says it."""
    return {re.sub(r", \d+ s left$", "", line) for line in lines.splitlines() if line.startswith("step ")}


@pytest.mark.faults
@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    long: tuple[list[object], "subprocess.CompletedProcess[str]"], tmp_path: Path, capsys: pytest.CaptureFixture[str], word: signal.Signals
) -> None:
    words, whole = [*long[0], "--out", tmp_path], long[1]
    first = ""
    with subprocess.Popen([sys.executable, "-m", "worker.engine.train", *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            first += line
            if line.startswith("step 5/"):
                process.send_signal(word)
        assert process.wait(60) == 3, first
    assert list(tmp_path.glob("checkpoint-*")) and not (tmp_path / "artefact").exists()
    assert main([str(one) for one in words]) == 1 and "--resume" in capsys.readouterr().err
    again = run(*words, "--resume")
    assert (whole.returncode, again.returncode) == (0, 0), again.stderr
    assert told(first) | told(again.stderr) == told(whole.stderr) and not told(first) & told(again.stderr)
    one, two = json.loads(whole.stdout), json.loads(again.stdout)
    assert same_bits(Path(one["artefact"]), Path(two["artefact"]))
    for own in ("artefact", "seconds", "peak_memory_bytes"):
        del one[own], two[own]
    assert one == two


@pytest.mark.parametrize(
    ("family", "words", "leaves"),
    [
        ("decoder", ["--method", "prompt_tuning"], True),
        ("decoder", ["--method", "prefix", "--set", "keep_text=true"], False),
        ("decoder", ["--method", "p_tuning", "--set", "init=random"], False),
        ("decoder", ["--method", "lora"], False),
        ("encoder-decoder", ["--method", "p_tuning"], True),
        ("encoder-decoder", ["--method", "prefix"], False),
    ],
)
def test_a_soft_prompt_takes_the_place_of_its_text_as_it_does_in_a_job(
    tiny: Path, translator: Path, tmp_path: Path, family: str, words: list[str], leaves: bool
) -> None:
    base = tiny if family == "decoder" else translator
    asked = [*given(base, tmp_path, {}), "--out", tmp_path / "run", "--instruction", "Judge the film.", *words]
    spec = command._spec(command._options().parse_args([str(word) for word in asked]))
    assert (spec.template.instruction, spec.template.input_prefix) == ("" if leaves else "Judge the film.", "Input:")
    assert (spec.opening.instruction if spec.opening else None) == ("Judge the film." if leaves else None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--instruction", "Judge.", "--method", "prefix", "--search", "how=grid", "--search", 'space={"keep_text": [true, false]}'], "another text stands"),
        (["--method", "full", "--set", "devices=2", "--set", "sharding=fsdp"], "this is an encoder-decoder"),
    ],
)
def test_what_a_job_would_not_be_taken_with_is_refused(
    tiny: Path, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    asked = [*given(translator if "full" in words else tiny, tmp_path, {}), "--out", tmp_path / "run", *words]
    assert main([str(word) for word in asked]) == 1
    assert said in capsys.readouterr().err


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
