"""The figures of an evaluation: each metric with its interval, what checks and fields found, and columns of their own."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef

from app.domain.figures import Row, figures
from app.domain.scheme import METRICS, Name, Scheme, Shape, judge, unanswered
from app.domain.scoring import OFF_LIST, score
from app.domain.scoring.labels import NO_ANSWER, intervals, ranked_confusions
from app.domain.stats import paired_difference

LABELS = ["a", "b", "c"]


def judged(scheme: Scheme, shape: Shape, gold: str, answer: str, **more: object) -> Row:
    found = judge(scheme, shape, gold, answer)
    return Row(gold, answer, found.correct, judged=found.as_json(), **more)  # type: ignore[arg-type]


def test_the_figures_of_labels() -> None:
    gold, answers = list("aaaabbbbcccc"), list("aaabbbbcccax")
    rows = [
        judged(Scheme(), "labels", wanted, answer, confidence=0.9 - at / 20, offered=at != 11)
        for at, (wanted, answer) in enumerate(zip(gold, answers, strict=True))
    ]
    found = figures(rows, LABELS, "labels", Scheme(metric="macro_f1"))
    assert (found["shape"], found["off_list"], found["not_offered"], found["cut_off"]) == ("labels", 1, 1, 0)
    assert found["main"] == {"name": "macro_f1", "title": "macro F1", **found["metrics"]["macro_f1"]}
    assert found["metrics"]["macro_f1"]["value"] == pytest.approx(f1_score(gold, answers, labels=LABELS, average="macro"))
    known = binomtest(found["correct"], 12).proportion_ci(0.95, method="wilson")
    assert found["metrics"]["accuracy"]["interval"] == found["interval"] == pytest.approx([known.low, known.high])
    assert found["calibration"]["error"] >= 0 and found["selective"]["curve"][-1][0] == 1.0
    assert [one["precision"] for one in found["selective"]["at"]] == [0.9, 0.95, 0.99]


def test_the_figures_of_text_json_and_numbers() -> None:
    text = figures([judged(Scheme(), "text", "a red cat", "a red dog"), judged(Scheme(), "text", "x y", "x y")], [], "text", Scheme(metric="rouge_1"))
    assert text["main"]["value"] == pytest.approx((2 / 3 + 1) / 2) and set(text["metrics"]) == set(METRICS["text"]) and 0 < text["corpus"]["chrf"] < 1
    assert "per_class" not in text and "calibration" not in text
    assert text["accuracy"] == 0.5 and text["metrics"]["chrf"]["interval"][0] < text["metrics"]["chrf"]["value"]

    data = [('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'), ('{"a": 1, "b": 2}', '{"a": 3}'), ('{"a": 1}', "no")]
    found = figures([judged(Scheme(), "json", *pair) for pair in data], [], "json", Scheme())
    assert found["main"]["name"] == "field_f1" and found["accuracy"] == pytest.approx(1 / 3) and found["metrics"]["json_valid"]["value"] == pytest.approx(2 / 3)
    assert found["fields"] == {"a": {"right": 1, "wrong": 1, "missing": 1, "invented": 0}, "b": {"right": 1, "wrong": 0, "missing": 1, "invented": 0}}

    near = Scheme(tolerance=1)
    numbers = figures([judged(near, "number", "10", "it is 11"), judged(near, "number", "10", "12", cut_off=True)], [], "number", near)
    assert numbers["correct"] == 1 and numbers["main"]["value"] == 0.5 and numbers["cut_off"] == 1 and numbers["off_list"] == 0


def test_checks_have_a_pass_rate_each() -> None:
    scheme = Scheme.model_validate({"checks": [{"kind": "length", "most": 2}, {"kind": "lacks", "texts": ["sorry"], "name": "tone"}]})
    found = figures([judged(scheme, "text", "x", "sorry"), judged(scheme, "text", "x", "one two three")], [], "text", scheme)
    assert [(one["name"], one["passed"], one["n"]) for one in found["checks"]] == [("length at most 2 words", 1, 2), ("tone", 1, 2)]
    wilson = binomtest(1, 2).proportion_ci(0.95, method="wilson")
    assert found["checks"][0]["interval"] == pytest.approx([wilson.low, wilson.high])


def without(scheme: Scheme, shape: Shape, gold: str, why: str = "request_refused") -> Row:
    """A row that has no answer."""
    found = unanswered(scheme, shape, gold, why)
    return Row(gold, "", found.correct, judged=found.as_json())


def test_a_row_without_an_answer_passes_no_check_and_is_worth_nothing() -> None:
    checks: list[dict[str, object]] = [
        {"kind": "lacks", "texts": ["sorry"]}, {"kind": "not_regex", "pattern": "x"}, {"kind": "no_invented_numbers"}, {"kind": "no_invented_names"},
        {"kind": "length", "most": 3}, {"kind": "reading_grade", "most": 20},
    ]  # fmt: skip
    scheme = Scheme.model_validate({"checks": checks})
    found = figures([without(scheme, "text", ""), judged(scheme, "text", "b", "b")], [], "text", scheme)
    assert [(one["passed"], one["n"]) for one in found["checks"]] == [(1, 2)] * len(checks), "an empty text would pass them all"
    assert found["metrics"]["chrf"]["value"] == found["accuracy"] == 0.5, "nor is no answer the right one where the gold one is empty"
    json = figures([without(Scheme(), "json", '{"a": 1}'), judged(Scheme(), "json", "{}", "{}")], [], "json", Scheme())
    assert json["fields"] == {"a": {"right": 0, "wrong": 0, "missing": 1, "invented": 0}} and json["metrics"]["json_valid"]["value"] == 0.5


def test_rows_without_an_answer_are_counted_apart_and_leave_the_others_their_calibration() -> None:
    sure = [judged(Scheme(), "labels", "a", answer, confidence=sure) for answer, sure in (("a", 0.9), ("a", 0.8), ("b", 0.6), ("x", 0.5))]
    known = figures(sure, LABELS, "labels", Scheme())
    none = [without(Scheme(), "labels", "a"), without(Scheme(), "labels", "b", "prompt_too_long"), without(Scheme(), "labels", "a", "constraint_ignored")]
    found = figures([*sure, *none], LABELS, "labels", Scheme())
    assert (known["off_list"], known["refused"], known["unread"]) == (1, 0, 0) and (found["off_list"], found["refused"], found["unread"]) == (1, 2, 1)
    assert found["accuracy"] == pytest.approx(2 / 7) and sum(count for *_, count in found["confusion"]) == 7
    assert ["a", NO_ANSWER, 2] in found["confusion"] and ["b", NO_ANSWER, 1] in found["confusion"] and ["a", OFF_LIST, 1] in found["confusion"]
    assert found["calibration"] == known["calibration"], "of the rows that have likelihoods"
    assert [at["answered"] for at in found["selective"]["at"]] == [at["answered"] for at in known["selective"]["at"]] == [2, 2, 2]
    assert found["selective"]["at"][0]["coverage"] == pytest.approx(2 / 7), "rows that have none are never answered"
    assert "calibration" not in figures(none, LABELS, "labels", Scheme())


def test_every_figure_can_be_asked_for_by_name() -> None:
    assert set(get_args(Name)) == {name for known in METRICS.values() for name in known}


def test_rows_that_differ_by_rounding_alone_have_an_interval() -> None:
    """0.1 + 0.2 and 0.3: no bootstrap draws from that."""
    values = [*[0.3] * 20, 0.1 + 0.2]
    rows = [Row("x", "y", False, judged={"values": dict.fromkeys(METRICS["text"], value)}) for value in values]
    low, high = figures(rows, [], "text", Scheme())["metrics"]["chrf"]["interval"]
    moved = paired_difference(values, [0.5] * len(values))
    assert 0.2 < low < 0.3 < high < 0.5 and moved.low < -0.2 < moved.high < 0


def test_a_metric_of_another_shape_is_no_main_figure() -> None:
    assert Scheme(metric="rouge_l").main("labels").name == "accuracy" and Scheme(metric="rouge_l").main("text").name == "rouge_l"


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "?"])), min_size=20, max_size=60))
def test_intervals_of_macro_f1_balanced_accuracy_and_mcc_are_those_of_drawn_rows(pairs: list[tuple[str, str]]) -> None:
    """The same percentiles as drawing rows again and asking scikit-learn, but for chance."""
    gold, answers = np.array([wanted for wanted, _ in pairs]), np.array([given for _, given in pairs])
    found = intervals(score(gold.tolist(), answers.tolist(), LABELS), draws=4_000)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(300):
        at = rng.integers(0, len(pairs), len(pairs))
        one = score(gold[at].tolist(), answers[at].tolist(), LABELS)
        drawn.append((one.macro_f1, one.balanced_accuracy, one.mcc))
    for column, name in enumerate(("macro_f1", "balanced_accuracy", "mcc")):
        low, high = np.percentile([one[column] for one in drawn], [2.5, 97.5])
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=0.09), name


def _kinds(pairs: list[tuple[str, str]]) -> tuple[list[set[str]], ...]:
    """Of each row: its gold label, its answer, and the label where both are the same."""
    return [{gold} for gold, _ in pairs], [{answer} for _, answer in pairs], [{gold} & {answer} for gold, answer in pairs]


@pytest.mark.filterwarnings("ignore:.*")
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=3, max_size=40))
def test_the_figures_of_many_draws_at_once_are_those_of_one(pairs: list[tuple[str, str]]) -> None:
    from app.domain.scoring.labels import figures_of

    gold, answers = [wanted for wanted, _ in pairs], [given for _, given in pairs]
    names = sorted({*gold, *answers})
    by_gold, by_answer, hits = ([float(sum(name in kind for kind in kinds)) for name in names] for kinds in _kinds(pairs))
    one = [np.asarray([values], dtype=np.float64) for values in (by_gold, by_answer, hits)]
    found = {name: float(values[0]) for name, values in figures_of(one[0], one[1], one[2], None).items()}
    assert found["macro_f1"] == pytest.approx(f1_score(gold, answers, labels=names, average="macro", zero_division=0))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(gold, answers))
    assert found["mcc"] == pytest.approx(matthews_corrcoef(gold, answers))


def test_confusions_are_ranked_pairs() -> None:
    scores = score(list("aaaabbc"), ["b", "b", "c", "a", "c", "b", "x"], LABELS)
    found = ranked_confusions([(gold, answer, count) for (gold, answer), count in scores.confusion.items()])
    assert [(one.gold, one.answer, one.count, one.share) for one in found] == [
        ("a", "b", 2, 0.5), ("a", "c", 1, 0.25), ("b", "c", 1, 0.5), ("c", OFF_LIST, 1, 1.0)
    ]  # fmt: skip
