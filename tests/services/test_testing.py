"""Columns of the Lab tested over a split: what that takes, which prompt versions it makes, and what it refuses."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.db import now, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.footprint import CHARACTERS_A_TOKEN
from app.domain.scoring import CONTENT_FREE
from app.errors import Conflict, Invalid
from app.services import endpoints, fits, forecast, prompts, testing
from app.services.testing import Column, Plan, Wanted
from tests.rows import add_dataset, add_model, add_remote_model, add_rows, answer_evaluation, claim

WORDS = {"instruction": "Answer billing or delivery."}


@pytest.fixture
def version(person: Who) -> DatasetVersion:
    return add_dataset(person)


@pytest.fixture
def model(person: Who) -> int:
    return add_model(person)


def draft(model: int, **more: Any) -> Column:
    return Column(model, WORDS, parameters=more.pop("parameters", {}), **more)


def plan(person: Who, version: DatasetVersion, *columns: Column, **more: Any) -> Plan:
    return testing.plan(person, columns, Wanted(**{"dataset": version.reference, "split": "validation", "answer": "generate", **more}))


def test_a_plan_says_rows_time_and_cost_and_starts_nothing(person: Who, version: DatasetVersion, model: int) -> None:
    found = plan(person, version, draft(model, latency_ms=500.0))
    assert [(line.rows, line.seconds, line.cost, line.problem) for line in found.lines] == [(10, 5.0, 0.0, "")] and "at most" in found.lines[0].basis
    assert plan(person, version, draft(model)).lines[0].seconds is None
    assert plan(person, version, draft(model), limit=4).lines[0].rows == 4 and plan(person, version, draft(model), split="train").lines[0].rows == 20
    assert prompts.recent(person)[0] == []


def test_time_comes_from_what_the_model_took_before(person: Who, version: DatasetVersion, model: int) -> None:
    started = testing.start(person, [draft(model)], Wanted(dataset=version.reference, split="validation", answer="generate"))
    with transaction() as session:
        job = claim(session)
        jobs.enter(session, job.id, job.lease_token or "", "evaluate", 10)
    answer_evaluation(job, 7)
    with transaction() as session:
        row = session.get_one(jobs.Job, started.views[0].job.id)
        row.started_at, row.phases, row.finished_at = now(session) - 14_000, {"load": 0, "evaluate": now(session) - 10_000}, now(session)
    line = plan(person, version, draft(model), split="train").lines[0]
    assert line.seconds is not None and 23.9 < line.seconds < 24.1, "4 s to load, and 20 rows of a second each"
    assert "measured on 10 rows" in line.basis
    assert plan(person, version, draft(model), answer="likelihood").lines[0].seconds is None


def test_a_draft_becomes_a_version_once_and_columns_that_say_the_same_are_one_test(person: Who, version: DatasetVersion, model: int) -> None:
    saved = prompts.create(person, "Routing", {"instruction": "Old."})
    columns = [draft(model), draft(model), Column(model, prompt_version=saved.reference, parameters={"temperature": 0.5})]
    done = testing.start(person, columns, Wanted(dataset=version.reference, split="validation", answer="generate", under=saved.prompt_id))
    assert [view.job.settings["prompt_version"] for view in done.views] == ["1@2", "2@1"] and done.version.reference == "1@2"
    assert prompts.find(person, "1@2")[1].instruction == WORDS["instruction"] and prompts.find(person, "2@1")[1].parameters == {"temperature": 0.5}
    again = testing.start(person, [draft(model)], Wanted(dataset=version.reference, split="validation", answer="generate", under=saved.prompt_id))
    assert again.version.reference == "1@2", "what is saved already is not saved again"


def test_what_a_column_changes_is_no_prompts_next_version(person: Who, version: DatasetVersion, model: int) -> None:
    """Neither of the saved prompt that it shows nor of the one in the editor: both stay as whoever saved them left them."""
    mine, other = (prompts.create(person, name, {"instruction": name}) for name in ("Mine", "Other"))
    warm, hot = (dict[str, Any](parameters={"temperature": heat}) for heat in (0.5, 1.5))
    columns = [draft(model), Column(model, prompt_version=other.reference, **warm), draft(model, **warm), draft(model)]
    wanted = Wanted(dataset=version.reference, split="validation", answer="generate", under=mine.prompt_id, based_on=1)
    done = testing.start(person, columns, wanted)
    assert [view.job.settings["prompt_version"] for view in done.views] == ["1@2", "3@1", "3@2"] and done.prompt.name == "Mine"
    assert [line.version.number for line in prompts.history(person, other.prompt_id).lines] == [1]
    assert prompts.find(person, "3@2")[0].name == "Lab variants for tickets"
    later = testing.start(person, [Column(model, prompt_version=other.reference, **hot)], wanted)
    assert later.version.reference == "3@3", "one prompt has them all"
    again = testing.start(person, [draft(model, parameters={"top_p": 0.5})], replace(wanted, based_on=2))
    assert again.version.reference == "1@3", "the editor's own next version is no clash with its variants"


def test_a_draft_is_not_saved_over_a_newer_version_unseen(person: Who, version: DatasetVersion, model: int) -> None:
    saved = prompts.create(person, "Routing", {"instruction": "Old."})
    wanted = Wanted(dataset=version.reference, split="validation", answer="generate", under=saved.prompt_id, based_on=1)
    prompts.add_version(person, saved.prompt_id, {"instruction": "Somebody else's."}, based_on=1)
    with pytest.raises(Conflict) as clash:
        testing.start(person, [draft(model)], wanted)
    assert clash.value.detail["newest"]["version"] == 2 and clash.value.detail["newest"]["instruction"] == "Somebody else's."
    with transaction() as session:
        assert session.query(jobs.Job).count() == 0
    assert testing.start(person, [draft(model)], replace(wanted, based_on=2)).version.reference == "1@3"


def test_a_new_draft_gets_a_prompt_of_its_own(person: Who, version: DatasetVersion, model: int) -> None:
    done = testing.start(person, [draft(model)], Wanted(dataset=version.reference, split="validation", answer="likelihood", limit=5))
    assert done.prompt.name == "Lab draft for tickets" and done.views[0].evaluation.row_limit == 5
    shown = testing.tests(person, [done.views[0].job.id, 999])
    assert [(test.prompt, test.job.state, test.model.id) for test in shown] == [("Lab draft for tickets v1", "queued", model)]


def test_every_model_with_every_prompt(person: Who, version: DatasetVersion, model: int) -> None:
    other = add_model(person, "Other", "other")
    saved = prompts.create(person, "Routing", {"instruction": "Old."})
    columns = [draft(model), Column(other, prompt_version=saved.reference, parameters={})]
    assert len(plan(person, version, *columns).lines) == 2
    assert plan(person, version, draft(model, parameters={"n": 3, "logprobs": 5, "max_tokens": 9})).lines[0].pair.fields["parameters"] == {"max_tokens": 9}
    found = plan(person, version, *columns, every=True).lines
    assert [(line.pair.model.id, line.pair.version is not None) for line in found] == [(model, False), (other, False), (model, True), (other, True)]


def test_the_test_split_and_prompts_that_cannot_be_rendered_are_refused_and_nothing_starts(person: Who, version: DatasetVersion, model: int) -> None:
    with pytest.raises(Invalid, match="does not score the test split"):
        plan(person, version, draft(model), split="test")
    bad = Column(model, {"instruction": "Be {tone}."}, parameters={})
    assert "{tone}" in plan(person, version, draft(model), bad).lines[1].problem
    with pytest.raises(Invalid, match="tone"):
        testing.start(person, [draft(model), bad], Wanted(dataset=version.reference, split="validation", answer="generate"))
    with transaction() as session:
        assert session.query(jobs.Job).count() == session.query(evaluations.Evaluation).count() == 0
    assert prompts.recent(person)[0] == []


def test_rows_are_made_to_fit_as_the_person_said(person: Who, version: DatasetVersion, model: int) -> None:
    wanted = Wanted(dataset=version.reference, split="validation", answer="generate")
    assert testing.start(person, [draft(model)], wanted).views[0].job.settings["fit"] == "refuse"
    assert testing.start(person, [draft(model)], replace(wanted, fit="cut_middle")).views[0].job.settings["fit"] == "cut_middle"


def test_how_rows_fit_a_draft_is_known_before_there_is_a_test(person: Who, version: DatasetVersion, model: int) -> None:
    there = endpoints.create(person, name="there", url="https://api.example.com/v1", models=["tiny", "huge"], windows={"tiny": {"tokens": 90}})
    keys = {one.remote_name: one.id for one in there.models}
    tiny, huge = keys["tiny"], keys["huge"]
    wanted = Wanted(dataset=version.reference, split="validation", answer="generate")
    (line,) = plan(person, version, draft(tiny)).lines
    found = asyncio.run(fits.fit(testing.fit_of(person, line, wanted)))
    assert (found.rows, found.too_long, found.window) == (10, 10, 90), "the answer alone may take as much"
    (line,) = plan(person, version, draft(tiny, parameters={"max_tokens": 8})).lines
    assert asyncio.run(fits.fit(testing.fit_of(person, line, wanted))).too_long == 0
    cut = plan(person, version, draft(huge), draft(model), fit="cut_tail").lines
    assert "nor make them fit" in cut[0].problem and not cut[1].problem
    with pytest.raises(Invalid, match="nor make them fit"):
        testing.start(person, [draft(model), draft(huge)], replace(wanted, fit="cut_tail"))
    assert prompts.recent(person)[0] == [], "neither of the two was begun"


@pytest.mark.parametrize("limit", [1, 3, 8, 20, 99, None])
def test_the_rows_that_are_looked_at_are_those_that_the_test_takes(person: Who, limit: int | None) -> None:
    rows = [(f"message {number} about my bill{' and so on' * 200 * (number % 2)}", "ab"[number % 3 % 2], "validation") for number in range(20)]
    version = add_rows(person, "letters", rows)
    there = endpoints.create(person, name="there", url="https://api.example.com/v1", models=["tiny"], windows={"tiny": {"tokens": 400}})
    with transaction() as session:
        taken = [case.input for case in datasets.cases(session, version, "validation", limit)]
    wanted = Wanted(dataset=version.reference, split="validation", answer="likelihood", limit=limit)
    (line,) = testing.plan(person, [draft(there.models[0].id)], wanted).lines
    found = asyncio.run(fits.fit(testing.fit_of(person, line, wanted)))
    assert (found.rows, found.too_long) == (line.rows, sum(len(text) > 1000 for text in taken)) and found.rows == len(taken)


@pytest.mark.parametrize(("prices", "known"), [({}, False), ({"*": {"input": 10.0, "output": 1000.0}}, True)])
def test_a_remote_model_costs_at_most_what_its_prices_say(person: Who, version: DatasetVersion, prices: dict[str, Any], known: bool) -> None:
    key = add_remote_model(person, prices)
    cost = plan(person, version, draft(key, parameters={"max_tokens": 20})).lines[0].cost
    if not known:
        assert cost is None
    else:
        assert cost is not None and 10 * 20 * 1000 / 1e6 < cost < 10 * (20 * 1000 + 40 * 10) / 1e6
    assert "likelihood" in plan(person, version, draft(key), answer="likelihood").lines[0].problem


PRICE = {"*": {"input": 10.0, "output": 1000.0}}
GIVES_LIKELIHOODS = {"completions": True, "reason": ""}


def test_by_likelihood_an_endpoint_reads_the_prompt_once_for_each_label(person: Who) -> None:
    texts = [f"label number {number:03}" for number in range(40)]
    two = add_rows(person, "two", [(f"message {number} about it", texts[number % 2], split) for split in ("train", "validation") for number in range(10)])
    many = add_rows(person, "many", [(f"message {number} about it", texts[number % 40], split) for split in ("train", "validation") for number in range(80)])
    key = add_remote_model(person, PRICE, GIVES_LIKELIHOODS)
    written = plan(person, two, draft(key, parameters={"max_tokens": 1})).lines[0].cost
    weighed = plan(person, two, draft(key), answer="likelihood").lines[0].cost
    assert written and weighed and 2 * written < weighed < 3 * written, "twice the prompt, each with a label behind it"
    candidates = plan(person, many, draft(key), answer="likelihood", limit=10).lines[0].cost
    assert candidates == pytest.approx(10 * weighed, rel=0.05), "of forty labels twenty are offered, so so many are asked for"


def test_an_experiment_says_the_same_of_an_endpoint(person: Who, version: DatasetVersion, model: int) -> None:
    key = add_remote_model(person, PRICE, GIVES_LIKELIHOODS)
    same: dict[str, Any] = {"dataset": version.reference, "model": model, "prompt_version": None, "validation_rows": 100}
    weighed, written = (
        forecast.experiment(person, **same, rungs=[{"technique": "zero_shot", "model": key, "answer": answer}]) for answer in ("likelihood", "generate")
    )
    assert 2 * written.tokens < weighed.tokens < 3 * written.tokens and weighed.dollars is not None
    assert weighed.dollars == pytest.approx((10 * weighed.tokens + 1000 * 2 * 40) / 1e6), "one token written behind each of two labels, on 40 rows"
    assert forecast.experiment(person, **same, rungs=[{"technique": "zero_shot", "model": key}]) == weighed
    rung: dict[str, Any] = {"technique": "zero_shot", "model": key, "answer": "likelihood", "calibration": ["raw", "calibrated"]}
    raw, both = (forecast.experiment(person, **same, rungs=[rung | {"calibration": way}]) for way in ("raw", rung["calibration"]))
    assert raw == weighed and both.dollars is not None
    free = sum(2 * len(f"Input: {text}\nOutput:") + len(" billing delivery") for text in CONTENT_FREE) / CHARACTERS_A_TOKEN
    assert both.tokens == pytest.approx(raw.tokens + 10 * raw.tokens / 40 + 2 * free, abs=2), "ten validation rows more, and two scorings are calibrated"
    assert both.dollars == pytest.approx((10 * both.tokens + 1000 * (2 * 50 + 2 * 3 * 2)) / 1e6), "a token written behind each of two labels, also of theirs"
    deaf = add_remote_model(person, PRICE, name="deaf")
    assert forecast.experiment(person, **same, rungs=[{"technique": "zero_shot", "model": deaf}]).tokens == written.tokens
