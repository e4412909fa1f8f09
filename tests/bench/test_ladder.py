"""bench.ladder: what the profile quick is, and what a finished ladder leaves in a folder."""

import csv
from pathlib import Path
from typing import Any

import pytest

from app.domain.access import Who
from app.domain.targets import Targets
from app.services import experiments
from bench import ladder
from bench.data import TASKS
from bench.ladder import climbed, parse, write
from tests.rows import add_dataset, add_model, climb


def test_quick_is_what_is_run_unless_something_else_is_said() -> None:
    chosen = parse([])
    assert (chosen.test, chosen.train, chosen.validation, chosen.draws) == (300, 256, 100, 3) and chosen.steps <= 100
    assert chosen.methods == ["prompt_tuning", "p_tuning", "prefix", "lora", "full"] and not chosen.verdict
    assert {"sst2", "trec6", "banking77", "sms_spam"} <= set(chosen.tasks) and len(TASKS["banking77"].labels) == 10
    assert parse(["--tasks", "sst2", "--test", "20", "--verdict"]).tasks == ["sst2"]


def test_prompts_are_drawn_as_often_as_said_and_every_method_is_tuned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    class Asked(Exception):
        """It was told what to run: far enough."""

    def experiment(person: object, model: int, name: str, chosen: object, rungs: list[dict[str, Any]]) -> int:
        asked.extend(rungs)
        raise Asked

    monkeypatch.setattr(ladder, "_experiment", experiment)
    with pytest.raises(Asked):
        climbed(None, 1, "sst2", parse([]))
    seeds = {rung["technique"]: rung.get("seeds", [0]) for rung in asked}
    assert seeds == {"zero_shot": [0], "one_shot": [0, 1, 2], "few_shot": [0, 1, 2], **{name: [0] for name in ladder.METHODS}}
    assert all(rung["parameters"] == {"max_steps": 64} for rung in asked if rung["technique"] in ladder.METHODS)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_finished_ladder_is_written_as_a_report_a_table_and_a_drawing(person: Who, tmp_path: Path) -> None:
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora"}]
    made: dict[str, Any] = {"dataset": add_dataset(person).reference, "model": add_model(person), "rungs": rungs, "targets": Targets(machine_hour=1.0)}
    key = experiments.create(person, name="sst2", **made)
    climb(15, 29)
    write(experiments.find(person, key), "sst2", tmp_path / "examples", 90.0)
    report, drawing = ((tmp_path / "examples" / f"sst2.{ending}").read_text() for ending in ("md", "svg"))
    assert report.startswith("# sst2\n\n**Use LoRA.") and "![Quality and what it costs](sst2.svg)" in report
    assert report.endswith("Made by `python -m bench.ladder --tasks sst2`: 1.5 minutes of jobs on this machine's processor.\n")
    with (tmp_path / "examples" / "sst2.csv").open(newline="") as file:
        assert [row["rung"] for row in csv.DictReader(file)][2:] == ["zero-shot", "LoRA"]
    assert drawing.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "<style>" in drawing and drawing.endswith("</svg>\n")
    assert "LoRA: 0.967, $" in drawing and "var(" not in drawing.partition("</style>")[2], "it needs no stylesheet beside it"
