"""What a run is judged by: which measure a choice stands for, which validation is better, what cannot be."""

import pytest

from app.domain.methods import METHODS
from app.domain.validation import MEASURES, measure_of
from app.errors import Invalid


def test_auto_is_accuracy_where_there_are_labels_and_the_loss_elsewhere() -> None:
    assert measure_of("auto", labels=True, rows=True).point == "validation_accuracy"
    assert measure_of("auto", labels=False, rows=True).point == "validation_loss"
    assert measure_of("auto", labels=False, rows=False).name == "loss"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_offers_auto_and_every_measure(method: type) -> None:
    annotation = method.model_fields["validate_by"].annotation  # type: ignore[attr-defined]
    assert set(annotation.__args__) == {"auto", *MEASURES}


@pytest.mark.parametrize("name", MEASURES)
def test_free_text_has_no_measure_by_labels(name: str) -> None:
    if not MEASURES[name].by_labels:
        assert measure_of(name, labels=False, rows=True) is MEASURES[name]
        return
    with pytest.raises(Invalid) as refused:
        measure_of(name, labels=False, rows=True)
    assert refused.value.code == "cannot_validate" and refused.value.detail == {"field": "validate_by"}
    assert name in refused.value.message and "exact_match" in refused.value.advice
    assert measure_of(name, labels=True, rows=True) is MEASURES[name]


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_asked_for_needs_validation_rows(name: str) -> None:
    with pytest.raises(Invalid, match="no validation rows"):
        measure_of(name, labels=True, rows=False)


def test_the_better_validation_is_the_one_with_the_better_measure_then_the_smaller_loss() -> None:
    rank = MEASURES["macro_f1"].rank
    worst, equal, best = ({"validation_macro_f1": f1, "validation_loss": loss} for f1, loss in ((0.5, 0.1), (0.7, 0.3), (0.7, 0.2)))
    assert sorted([best, worst, equal], key=rank) == [worst, equal, best]
    assert rank({"validation_macro_f1": 0.7}) < rank(equal), "a loss that is not known is no smaller one"
    by_loss = MEASURES["loss"].rank
    assert by_loss({"validation_loss": 0.1}) > by_loss({"validation_loss": 0.2})


def test_only_shares_of_right_rows_have_a_binomial_interval() -> None:
    assert {name for name, measure in MEASURES.items() if measure.is_share} == {"accuracy", "exact_match"}
