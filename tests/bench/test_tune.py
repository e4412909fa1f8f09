"""bench.tune: every peer's run is there, results are kept and gone on from, and one row that breaks takes no other with it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import tune
from bench.tune import ROWS, Failed, Results, losses, script, table

VERSIONS = {"torch": "2.13.0"}


def measured(seconds: float = 4.0, loss: float = 0.3, memory: float = 1.0) -> dict[str, Any]:
    return {
        "examples": 40,
        "wall_seconds": seconds,
        "processor_seconds": 2 * seconds,
        "peak_memory_bytes": int(memory * 2**30),
        "validation_loss": loss,
        "versions": VERSIONS,
    }


def test_every_peers_run_is_there() -> None:
    assert all(script(row.peer).is_file() and row.peer in tune.PEERS for row in ROWS.values())


def test_a_row_says_its_ratio_whether_it_is_reached_and_what_falls_short(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    for key, value in {
        "lora16/ours/1": measured(4.0, memory=2.0),
        "lora16/theirs/1": measured(10.0),
        "lora8/ours/1": measured(4.0),
        "lora8/theirs/1": measured(8.0),
        "full/ours/1": measured(),
    }.items():
        results.put(key, value)
    found = table(results, list(ROWS), {"llamafactory": "failed: theirs, seed 1: KeyError: 'x'"}).splitlines()
    assert "| 10.00 | 4.00 | **2.50** | 2.50 | 2.0 met | 2048 / 1024 MORE | 0.3000 / 0.3000 | 1 |" in found[2]
    assert "| **2.00** | 2.00 | 2.4 MISSED | 1024 / 1024 |" in found[3]
    assert found[4].startswith("| LoRA r16, sst2, LLaMA-Factory defaults | failed: theirs, seed 1: KeyError: 'x' |")
    assert {line.count("|") for line in found[:5]} == {10}, "a row alone on our side is none; the failed one has all its cells"
    assert found[-2:] == ["ours: torch 2.13.0", "trl: torch 2.13.0"]


def test_a_loss_is_worse_beyond_the_pooled_standard_error_only() -> None:
    def said(*ours: float) -> str:
        return losses([measured(loss=loss) for loss in ours], [measured(loss=loss) for loss in (0.30, 0.34)])

    assert said(0.33, 0.35) == "0.3400 / 0.3200 (± 0.0224)"
    assert said(0.34, 0.36) == "0.3500 / 0.3200 (± 0.0224, WORSE)"
    assert said(0.20, 0.22) == "0.2100 / 0.3200 (± 0.0224)"
    assert losses([measured()], [measured(loss=0.1)]) == "0.3000 / 0.1000"


Played = Callable[[Callable[[str, int], dict[str, Any]]], list[str]]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    """Calls the bench with runs that are played instead of made, and gives those it asked for."""

    def call(answer: Callable[[str, int], dict[str, Any]], *words: str) -> list[str]:
        asked: list[str] = []

        def run(command: list[str], job: Path) -> dict[str, Any]:
            side, seed = "ours" if "bench.runs.fettle_run" in command else Path(command[-1]).stem, json.loads(job.read_text())["seed"]
            asked.append(f"{side}/{seed}")
            return answer(side, seed)

        monkeypatch.setattr(tune, "run", run)
        tune.main(["--rows", "lora16", "llamafactory", "--seeds", "1", "2", "--state", str(tmp_path), *words])
        return asked

    monkeypatch.setattr(tune, "prepare_model", lambda: None)
    monkeypatch.setattr(tune, "peer", lambda name: Path(sys.executable))
    monkeypatch.setattr(tune, "pairs", lambda *_: iter([("Input: good\nOutput:", " positive")]))
    monkeypatch.setattr(tune, "validation_ids", lambda _: [])
    return call


def test_what_was_measured_is_not_measured_again(played: Played) -> None:
    assert played(lambda side, seed: measured()) == [f"{side}/{seed}" for seed in (1, 2) for side in ("ours", "trl_run", "ours", "llamafactory_run")]
    assert played(lambda side, seed: measured()) == []


def test_a_peer_that_fails_ends_its_own_row_only_and_is_tried_again(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(side: str, seed: int) -> dict[str, Any]:
        if side == "llamafactory_run":
            raise Failed("llamafactory_run.py failed:\n\nTraceback\nImportError: no | such name\n")
        return measured()

    assert played(broken) == ["ours/1", "trl_run/1", "ours/1", "llamafactory_run/1", "ours/2", "trl_run/2"]
    printed = capsys.readouterr().out
    assert "llamafactory: failed: theirs, seed 1: ImportError: no / such name\n" in printed
    assert "| LoRA r16, sst2, LLaMA-Factory defaults | failed: theirs, seed 1: ImportError: no / such name |" in printed
    assert "LoRA r16 all linear, sst2, TRL defaults | 10.00 | 10.00 |" in printed
    assert played(lambda side, seed: measured()) == ["llamafactory_run/1", "ours/2", "llamafactory_run/2"]


def test_a_peer_that_cannot_be_installed_says_so_in_its_row(played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tune, "peer", lambda name: Path(sys.executable) if name == "trl" else None)
    assert played(lambda side, seed: measured()) == ["ours/1", "trl_run/1", "ours/2", "trl_run/2"]
    assert "| LoRA r16, sst2, LLaMA-Factory defaults | left out: llamafactory cannot be installed here; " in capsys.readouterr().out


def test_a_run_that_fails_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="ValueError: odd weights"):
        tune.run([sys.executable, "-c", "raise ValueError('odd weights')"], tmp_path / "job.json")


@pytest.mark.parametrize("says", ["", "done", "5", '{"examples": 1}\\nbye'])
def test_a_run_that_leaves_no_result_has_failed(tmp_path: Path, says: str) -> None:
    with pytest.raises(Failed, match="ended without a result"):
        tune.run([sys.executable, "-c", f"print('{says}')"], tmp_path / "job.json")
    assert tune.run([sys.executable, "-c", "print('hello'); print('{\"examples\": 1}')"], tmp_path / "job.json") == {"examples": 1}


def test_an_environment_that_was_never_imported_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def made(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(tune, "ROOT", tmp_path)
    monkeypatch.setattr(tune, "STATE", tmp_path / "state")
    monkeypatch.setattr(subprocess, "run", made)
    stamp = tmp_path / ".state" / "bench-trl" / "installed"
    stamp.parent.mkdir(parents=True)
    stamp.write_text("\n".join(tune.PEERS["trl"]))
    for _ in range(2):
        tune.peer.cache_clear()
        assert tune.peer("trl") == stamp.parent / "bin" / "python"
    tune.peer.cache_clear()
    assert len(asked) == 3 and asked[-1][-1] == "import trl"
