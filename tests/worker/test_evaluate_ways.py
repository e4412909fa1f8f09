"""Every way of answering and judging, as jobs of a real small model: calibrated, normalised, extracted, many labels, cut off, resumed."""

import threading
from collections.abc import Sequence
from math import exp
from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import evaluation as evaluations
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import Case, DatasetVersion, Example, cases
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import claim
from app.domain.model import Model
from app.domain.rendering import Template
from app.domain.scheme import MANY_LABELS
from app.services import evaluations as service
from app.services import experiments, predictions
from app.services.predictions import Filter
from tests.rows import add_rows
from worker import evaluate, evaluate_linear, parent
from worker.engine.fit import tokenizer_of
from worker.evaluate import Answerer
from worker.evaluate_linear import Linear
from worker.predictions import FEWER, LATENCY_ROWS, Work
from worker.reporter import JobReporter
from worker.weights import weights_of

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def run(person: Who, base: Model, version: DatasetVersion, **more: Any) -> tuple[Evaluation, list[Prediction]]:
    """An evaluation of the tiny model on validation, done by a job's own process."""
    with transaction() as session:
        prompt = prompts.create(session, person, "asked", {**prompts.fields_of(Template(instruction="Judge.")), "parameters": {"max_tokens": 4}}).reference
    view = service.create(person, model=base.id, prompt_version=prompt, dataset=version.reference, **{"split": "validation", **more})
    assert parent.run_one("gpu") is True
    found = service.find(person, view.evaluation.id)
    assert found.job.error is None, found.job.error
    with reading() as session:
        return found.evaluation, list(evaluations.predictions(session, view.evaluation.id))


def test_likelihoods_are_compared_as_asked(person: Who, base: Model, toys: DatasetVersion) -> None:
    rows = {scoring: run(person, base, toys, scheme={"scoring": scoring})[1] for scoring in ("raw", "normalised", "calibrated")}
    for raw, normalised, weighed in zip(*rows.values(), strict=True):
        for other in (normalised, weighed):
            assert other.likelihoods == pytest.approx(raw.likelihoods), "what is kept are the sums themselves"
        assert raw.likelihoods and raw.confidence == pytest.approx(exp(max(raw.likelihoods.values())) / sum(map(exp, raw.likelihoods.values())))
        assert (raw.margin or 0) * (1 if raw.correct else -1) >= 0, "a margin is above 0 where the answer is right"
    confidences = [[row.confidence for row in some] for some in rows.values()]
    assert confidences[0] != confidences[1] != confidences[2] != confidences[0]


def test_generated_answers_are_extracted_and_cut_off_ones_counted(person: Who, base: Model, toys: DatasetVersion) -> None:
    scheme = {"extractor": "regex", "pattern": r"(?s)(.).*", "checks": [{"kind": "length", "most": 1, "unit": "characters"}]}
    evaluation, rows = run(person, base, toys, answer="generate", scheme=scheme)
    assert all(row.written is not None and row.answer == row.written.strip()[:1] for row in rows)
    assert evaluation.scores is not None
    assert evaluation.scores["cut_off"] == sum(row.cut_off for row in rows) == sum(row.output_tokens == 4 for row in rows) > 0
    assert evaluation.scores["off_list"] == sum(row.off_list for row in rows) == 20 and evaluation.scores["correct"] == 0
    assert evaluation.scores["checks"][0]["n"] == 20 and rows[0].judged and "checks" in rows[0].judged


def test_a_row_that_was_cut_is_shown_as_the_model_read_it(person: Who, base: Model) -> None:
    train = [(f"good {number}", ("positive", "negative")[number % 2], "train") for number in range(8)]
    version = add_rows(person, "long", [*train, ("bad " * 2000, "negative", "validation"), ("good", "positive", "validation")])
    _, rows = run(person, base, version, fit="cut_tail")
    cut, whole = (predictions.whole(person, row.evaluation_id, row.example_id) for row in rows)
    with reading() as session:
        folder = weights_of(session, session.get_one(Model, base.id)).base
    tokenizer = tokenizer_of(folder)
    for one in (cut, whole):
        assert len(tokenizer(one.prompt).input_ids) == one.prediction.input_tokens
    assert cut.prediction.lost and cut.prediction.lost["policy"] == "cut_tail" and whole.prediction.lost is None
    assert predictions.find(person, rows[0].evaluation_id, Filter("fitted")).found == 1


@pytest.fixture
def topics(person: Who) -> DatasetVersion:
    """60 labels, each with a word of its own in its rows; a validation row whose label no train row has a word for."""
    rows = [(f"word{at} again {split}", f"topic {at}", split) for split in ("train", "validation") for at in range(60)]
    return add_rows(person, "topics", [*rows, ("nothing in common", "topic 59", "validation")])


def test_many_labels_are_offered_by_what_the_row_says(person: Who, base: Model, topics: DatasetVersion) -> None:
    assert len(topics.label_texts()) > MANY_LABELS
    evaluation, rows = run(person, base, topics, scheme={"candidates": 5})
    assert all(len(row.likelihoods or {}) == 5 and row.answer in (row.likelihoods or {}) for row in rows)
    assert evaluation.scores is not None and evaluation.scores["not_offered"] == 1 == sum(not row.offered for row in rows)
    assert not next(row for row in rows if not row.offered).correct


def test_candidates_are_found_by_every_column_that_the_prompt_reads(person: Who, base: Model) -> None:
    version = add_rows(person, "pairs", [("the same text", f"topic {at}", split) for split in ("train", "validation") for at in range(60)])
    with transaction() as session:
        session.get_one(DatasetVersion, version.id).columns = ["input", "premise", "output"]
        for row in session.query(Example).filter_by(version_id=version.id):
            row.cells = {"premise": f"word{(row.output or '').split()[-1]} again"}
        template = Template(instruction="Premise: {premise}")
        prompt = prompts.create(session, person, "paired", {**prompts.fields_of(template), "parameters": {}}).reference
    view = service.create(person, model=base.id, prompt_version=prompt, dataset=version.reference, split="validation", scheme={"candidates": 5})
    assert parent.run_one("gpu") is True
    scores = service.find(person, view.evaluation.id).evaluation.scores
    assert scores is not None and (scores["not_offered"], scores["offered"]) == (0, 5)


def test_the_labels_that_a_written_answer_could_choose_from_are_those_that_its_page_shows(
    person: Who, base: Model, topics: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, values = set[str](), Work.values

    def watched(work: Work, row: Case) -> dict[str, str]:
        found = values(work, row)
        read.add(found["labels"])
        return found

    monkeypatch.setattr(Work, "values", watched)
    with transaction() as session:
        prompt = prompts.create(session, person, "listed", {**prompts.fields_of(Template(instruction="One of {labels}.")), "parameters": {"max_tokens": 2}})
        reference = prompt.reference
    made = service.create(
        person, model=base.id, prompt_version=reference, dataset=topics.reference, split="validation", answer="generate", limit=3, scheme={"candidates": 5}
    )
    with transaction() as session:
        job = claim(session, "gpu", "here", 60)
    assert job is not None and job.lease_token is not None
    evaluate.run(job, job.lease_token, JobReporter(job.id, job.lease_token, job.attempt, threading.Event()))
    for row in predictions.find(person, made.evaluation.id).rows:
        shown = predictions.whole(person, made.evaluation.id, row.example.id).prompt.partition("One of ")[2].partition(".")[0]
        assert shown in read and len(shown.split(", ")) == 5
    with monkeypatch.context() as patched, transaction() as session:
        patched.setattr(evaluations, "candidates", None)  # no index is built to show a row
        for row in predictions.find(person, made.evaluation.id).rows:
            predictions.whole(person, made.evaluation.id, row.example.id)
        for kept in evaluations.predictions(session, made.evaluation.id):
            assert len(kept.among or []) == 5
            kept.among = None  # as a prediction was kept before
    for row in predictions.find(person, made.evaluation.id).rows:
        assert predictions.whole(person, made.evaluation.id, row.example.id).prompt.partition("One of ")[2].partition(".")[0] in read


def test_every_rung_times_the_same_fifty_test_rows(person: Who, base: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": 12, "validation": 20, "test": 60}
    version = add_rows(
        person, "many", [(f"it is {'good' if at % 2 else 'bad'} {at}", str(at % 2), split) for split, count in splits.items() for at in range(count)]
    )
    key = experiments.create(person, name="", dataset=version.reference, model=base.id, rungs=[{"technique": "zero_shot"}, {"technique": "one_shot"}])
    timed: list[list[int]] = []
    one_by_one: list[int] = []
    latency, answer = Answerer.latency, Linear.answer

    def watched(answerer: Answerer, rows: Sequence[Case]) -> list[float]:
        timed.append([row.id for row in rows])
        return latency(answerer, rows)

    def alone(linear: Linear, rows: Sequence[Case]) -> list[Any]:
        if len(rows) == 1:
            one_by_one.append(rows[0].id)
        return answer(linear, rows)

    monkeypatch.setattr(Answerer, "latency", watched)
    monkeypatch.setattr(Linear, "answer", alone)
    for queue, run in (("gpu", evaluate.run), ("light", evaluate_linear.run)):
        while True:
            with transaction() as session:
                job = claim(session, queue, "here", 60)
            if job is None or job.lease_token is None:
                break
            run(job, job.lease_token, JobReporter(job.id, job.lease_token, job.attempt, threading.Event()))
    validated, _, first, second = timed
    assert first == second == one_by_one[FEWER:] and len(set(first)) == LATENCY_ROWS == 50 and timed[1] == validated == one_by_one[:FEWER]
    with reading() as session:
        assert first != [row.id for row in cases(session, version, "test")][:50], "drawn, not the first ones"
    for row in experiments.find(person, key).all_rows:
        assert row.scores and row.validation and (row.scores["n"], row.scores["latency_ms"]["n"], row.validation["latency_ms"]["n"]) == (60, 50, 12), row.title


def test_a_broken_attempt_goes_on_and_nothing_is_counted_twice(person: Who, base: Model, toys: DatasetVersion) -> None:
    whole, rows = run(person, base, toys)
    with transaction() as session:
        prompt = session.get_one(Evaluation, whole.id).prompt_version_id
        reference = session.get_one(prompts.PromptVersion, prompt).reference
    view = service.create(person, model=base.id, prompt_version=reference, dataset=toys.reference, split="validation")
    names = ("example_id", "gold", "answer", "correct", "likelihoods", "confidence", "margin", "latency_ms", "input_tokens", "output_tokens")
    with transaction() as session:  # what an earlier attempt kept before it broke
        evaluations.store(session, view.evaluation.id, [{name: getattr(row, name) for name in names} | {"latency_ms": 123.0} for row in rows[:7]])
    assert parent.run_one("gpu") is True
    again = service.find(person, view.evaluation.id).evaluation
    with reading() as session:
        found = evaluations.predictions(session, again.id)
    assert [row.latency_ms == 123.0 for row in found] == [True] * 7 + [False] * 13, "only the others were asked"
    assert again.scores is not None and whole.scores is not None
    assert again.scores["input_tokens"] == whole.scores["input_tokens"] and again.scores["accuracy"] == whole.scores["accuracy"]
