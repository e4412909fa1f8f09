"""Experiments that compare by another figure than accuracy: of labels, of free text, of JSON and of numbers."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import evaluation as evaluations
from app.domain.access import Who
from app.domain.dataset import Case, DatasetVersion, cases
from app.domain.evaluation import Evaluation
from app.domain.scheme import Scheme, judge
from app.domain.scoring import score
from app.domain.targets import Targets
from app.errors import Invalid
from app.services import evaluations as evaluating
from app.services import experiments, label_curve, prompts, reports, what_if
from tests.rows import add_dataset, add_model, add_rows, climb, climb_by

SUMMARIES = [
    (f"The parcel with number {at} did not come and the sender asks where it is.", f"Parcel {at} is missing and the sender asks where", split)
    for split, count in (("train", 12), ("validation", 10), ("test", 30))
    for at in range(count)
]


def answer_as(evaluation: Evaluation, give: Any) -> None:
    """Replace an evaluation's answers by those that `give(row, number)` gives, and settle it anew."""
    with transaction() as session:
        row = session.get_one(Evaluation, evaluation.id)
        version = session.get_one(DatasetVersion, row.dataset_version_id)
        scheme = Scheme.model_validate(row.scheme)
        found = list(cases(session, version, row.split, row.row_limit))
        shape = scheme.shape_of(bool(version.label_texts()), [one.answer for one in found])
        evaluations.store(session, row.id, [_predicted(one, give(one, at), scheme, shape) for at, one in enumerate(found)])
        rows = evaluations.predictions(session, row.id)
        evaluations.settle(session, row, evaluations.scored(row, rows, version.label_texts(), [20.0] * 5, {"device": "cpu"}), look=False)


def _predicted(row: Case, answer: str, scheme: Scheme, shape: Any) -> dict[str, Any]:
    judged = judge(scheme, shape, row.answer, answer)
    base = {"example_id": row.id, "gold": row.answer, "answer": answer, "correct": judged.correct, "judged": judged.as_json()}
    return base | {"likelihoods": None, "latency_ms": 20.0, "input_tokens": 10, "output_tokens": 1}


def scored(row: Any) -> Evaluation:
    assert row.evaluation is not None
    return row.evaluation  # type: ignore[no-any-return]


def test_labels_are_compared_by_macro_f1_from_the_choice_to_the_verdict(person: Who) -> None:
    model, version = add_model(person), add_dataset(person, validation=20)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot", "shots": [2, 4]}, {"technique": "lora"}]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, scheme={"metric": "macro_f1"})
    climb_by(lambda rung, cell: {0: 15, 1: 21 + 3 * cell.number, 2: 28}[rung.position])
    climb(27, queue="light")
    view = experiments.find(person, key)
    assert view.experiment.figure.name == "macro_f1" and view.rows[1].title == "4-shot"
    # Zero-shot answers billing on half of the rows and the wrong one of two on the others.
    answer_as(scored(view.rows[0]), lambda row, at: "billing")
    answer_as(scored(view.rows[2]), lambda row, at: row.answer if at < 28 else "billing")
    view = experiments.find(person, key)
    zero, _, lora = view.rows
    with reading() as session:
        golds = list(evaluations.golds(session, scored(zero).id).values())
    assert zero.scores and lora.scores and zero.scores["accuracy"] == 0.5
    assert zero.scores["value"] == pytest.approx(score(golds, ["billing"] * 30, ["billing", "delivery"]).macro_f1) == pytest.approx(1 / 3)
    assert lora.comparison is not None and lora.comparison.difference.difference == pytest.approx(lora.scores["value"] - zero.scores["value"])
    assert lora.comparison.verdict.sentence.startswith("Better than the baseline by 63.3 points of macro F1 [")
    assert lora.comparison.difference.draws is not None and lora.comparison.difference.low < lora.comparison.difference.difference
    assert view.recommendation is not None and "points of macro F1" in view.recommendation.verdict + " ".join(view.recommendation.reasons)
    assert view.majority is not None and (view.majority["accuracy"], round(view.majority["value"], 3)) == (0.5, 0.333)
    moved = what_if.ask(person, key, {"margin": 20})
    assert moved.recommendation is not None
    table = reports.table(view)
    assert table[4]["low"] == lora.scores["interval"][0] and table[4]["high"] == lora.scores["interval"][1]
    assert [row["figure"] for row in table] == ["macro F1"] * 5 and table[4]["score"] == lora.scores["value"] != table[4]["accuracy"]


@pytest.mark.parametrize(("metric", "chosen"), [("accuracy", 0), ("balanced_accuracy", 1)])
def test_a_cell_is_chosen_by_the_figure(person: Who, metric: str, chosen: int) -> None:
    """Of ten validation rows eight are billing: always answering that is right on 80 %, and half of balanced accuracy. The other cell is right on both
    delivery rows and on five of billing."""
    labels = ["delivery"] * 2 + ["billing"] * 8
    rows = [(f"{split} row {at}", labels[at % 10], split) for split, count in (("train", 20), ("validation", 10), ("test", 20)) for at in range(count)]
    model, version = add_model(person), add_rows(person, "uneven", rows)
    rungs: list[dict[str, Any]] = [{"technique": "few_shot", "shots": [2, 4]}]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, scheme={"metric": metric}, open_test=False)
    climb_by(lambda rung, cell: 16, steps=1)
    first = experiments.find(person, key).rows[0].cells[0].validation
    assert first is not None
    answer_as(first, lambda row, at: "billing")
    climb_by(lambda rung, cell: 14)
    assert experiments.find(person, key).rows[0].rung.chosen == chosen


def test_free_text_goes_from_template_to_verdict_without_a_label(person: Who) -> None:
    model, version = add_model(person), add_rows(person, "summaries", SUMMARIES)
    prompt = prompts.create(person, "Summarise", {"mode": "structured", "instruction": "Summarise the message.", "input_prefix": "Message: "})
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot", "shots": [2, 4], "seeds": [0, 1]}, {"technique": "lora"}]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, prompt_version=prompt.reference, margin=0.1)
    climb_by(lambda rung, cell: {0: 3, 1: 12 + 3 * cell.number, 2: 27}[rung.position])
    view = experiments.find(person, key)
    assert (view.experiment.figure.name, view.linear, view.majority, view.labelled, view.state) == ("chrf", None, None, False, "finished")
    assert {row.rung.settings["answer"] for row in view.rows} == {"generate"} and view.rows[1].title == "4-shot"
    lora = view.rows[2]
    assert lora.scores and lora.scores["value"] > 0.9 > lora.scores["metrics"]["accuracy"]["value"] - 0.01
    assert lora.comparison is not None and "points of chrF" in lora.comparison.verdict.sentence and len(lora.comparison.difference.by_row) == 30
    assert view.recommendation is not None and view.recommendation.kind != "no_signal"
    with pytest.raises(Invalid) as refused:
        experiments.create(person, name="", dataset=version.reference, model=model, rungs=[{"technique": "few_shot", "calibration": "calibrated"}])
    assert refused.value.code == "no_such_calibration"


def test_json_is_compared_field_by_field_and_numbers_within_their_tolerance(person: Who) -> None:
    model = add_model(person)
    tasks: list[tuple[str, Callable[[str, int], str], dict[str, Any], str]] = [
        ("orders", lambda split, at: json.dumps({"id": f"{split} {at}", "total": 10 + at}), {"metric": "json_valid"}, "json_valid"),
        ("sums", lambda split, at: str(100 * len(split) + at), {"tolerance": 1.0}, "accuracy"),
    ]
    for name, made, scheme, figure in tasks:
        rows = [(f"{split} {at}", made(split, at), split) for split, count in (("train", 12), ("validation", 10), ("test", 20)) for at in range(count)]
        version = add_rows(person, name, rows)
        rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot", "shots": 2}]
        key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, scheme=scheme)
        climb_by(lambda rung, cell: 10 + 10 * rung.position)
        view = experiments.find(person, key)
        assert (view.experiment.figure.name, view.experiment.scheme["metric"]) == (figure, figure)
        body = reports.request(view)
        assert experiments.find(person, experiments.create(person, **{**body, "targets": None})).experiment.scheme == view.experiment.scheme
        climb_by(lambda rung, cell: 20)


@pytest.mark.parametrize(
    ("scheme", "code"),
    [
        ({"metric": "chrf"}, "no_such_metric"),
        ({"metric": "loud"}, "bad_scheme"),
        ({"scoring": "normalised", "extractor": "exact"}, "not_weighed"),
        ({"shape": "text", "metric": "mcc"}, "no_such_metric"),
    ],
)
def test_a_figure_that_there_is_not_is_refused_whole(person: Who, scheme: dict[str, Any], code: str) -> None:
    model, version = add_model(person), add_dataset(person)
    with pytest.raises(Invalid) as refused:
        experiments.create(person, name="", dataset=version.reference, model=model, rungs=[{"technique": "zero_shot"}], scheme=scheme)
    assert refused.value.code == code and refused.value.advice and experiments.recent(person)[0] == []


def test_a_comparator_of_a_place_in_a_list_is_refused_and_of_a_numbered_key_is_not(person: Who) -> None:
    gold = [json.dumps({"ratings": {"1": at}, "items": [{"total": at}]}) for at in range(9)]
    version = add_rows(person, "orders", [(f"{split} {at}", gold[at], split) for split in ("train", "validation", "test") for at in range(9)])
    where: dict[str, Any] = {"dataset": version.reference, "model": add_model(person)}
    prompt = prompts.create(person, "plain", {"mode": "structured", "instruction": "As JSON."}).reference

    def both(path: str) -> list[Callable[[], object]]:
        scheme = {"fields": {path: {"by": "number"}}}
        return [
            partial(experiments.create, person, name="", **where, rungs=[{"technique": "zero_shot"}], scheme=scheme),
            partial(evaluating.create, person, **where, prompt_version=prompt, answer="generate", scheme=scheme),
        ]

    for create in both("items.0.total"):
        with pytest.raises(Invalid) as refused:
            create()
        assert (refused.value.code, refused.value.detail) == ("bad_field", {"field": "fields"})
    assert all(create() for create in both("ratings.1"))


def test_labels_that_are_written_or_taken_as_text_have_no_linear_baseline_of_likelihoods(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    made: dict[str, Any] = {"name": "", "dataset": version.reference, "model": model, "rungs": [{"technique": "zero_shot"}]}
    written = experiments.find(person, experiments.create(person, **made, scheme={"extractor": "first_line"}))
    assert written.rows[0].settings["answer"] == "generate" and written.linear is not None
    text = experiments.find(person, experiments.create(person, **made, scheme={"shape": "text", "metric": "token_f1"}))
    assert text.rows[0].settings["answer"] == "generate" and text.linear is None and not text.labelled


def test_a_label_curve_is_of_the_figure(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "label_curve": [4, 8, 12]}]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, scheme={"metric": "mcc"})
    for queue in ("gpu", "light"):
        climb_by(lambda rung, cell: 8 + (cell.labels or 20), queue)
    lora = label_curve.find(person, key).rising[1]
    assert lora.points[-1].score == pytest.approx(lora.points[-1].seeds[0]) and lora.points[-1].score < 0.95
    assert lora.fitted and lora.points[0].score < 0 and lora.fitted.at(4) < 0, "what is worse than chance is drawn there"


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy", "mcc"])
def test_a_figure_has_one_interval_wherever_it_is_told_and_30_of_30_is_not_certain(person: Who, metric: str) -> None:
    model, version = add_model(person), add_dataset(person, validation=20)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora"}]
    targets = Targets(quality=0.5)
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, scheme={"metric": metric}, targets=targets)
    climb_by(lambda rung, cell: 24 if rung.position == 0 else 30)
    climb(27, queue="light")
    view = experiments.find(person, key)
    for row in view.rows:
        with reading() as session:
            found = evaluations.results(session, [scored(row)], view.experiment.figure).interval()
        assert row.scores and row.validation and row.scores["interval"] == [found.low, found.high]
    lora = view.rows[1].scores or {}
    assert lora["value"] == 1.0 == lora["interval"][1] and lora["interval"][0] < 0.95
    assert (view.rows[1].validation or {})["interval"][0] < lora["interval"][0], "20 rows say less than 30"
    assert view.recommendation is not None and view.recommended is not None
    assert ", shown to be at least 0." in view.recommendation.verdict, "by the same interval, from one side and for all rungs together"
