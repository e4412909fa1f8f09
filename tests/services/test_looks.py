"""Scores of sealed rows, looks at them and the opening of a reserve are counted by the rows, in whichever version of the dataset they are used."""

from collections.abc import Callable

import pytest

from app.db import transaction
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.lineage import Drop, Keep, Relabel
from app.domain.looks import Looks
from app.errors import Conflict, Sealed
from app.services import datasets, evaluations, experiments, grid, label_books, predictions, reserve, versions
from app.services.versions import New, derive
from tests.rows import add_dataset, add_model, answer_evaluation, claim, climb

CHANGES: dict[str, Callable[[Who], object]] = {
    "relabel": lambda person: derive(person, "1", Relabel({"billing": "invoice"})),
    "append": lambda person: derive(person, "1", Keep("append"), added=[[New("one more about my bill", "billing", "test")]]),
    "label book": lambda person: label_books.rewrite(person, "1", [{"key": "billing", "description": "money"}]),
}


def looked(person: Who, reference: str = "1") -> dict[str, Looks]:
    return datasets.looked_at(datasets.find(person, reference).version)


def score(person: Who, reference: str, split: str) -> int:
    """An evaluation of a split, done."""
    with transaction() as session:
        prompt = prompts.default(session, person).reference
    made = evaluations.create(person, model="starter", prompt_version=prompt, dataset=reference, split=split).evaluation
    with transaction() as session:
        job = claim(session)
    answer_evaluation(job, 12)
    return made.id


@pytest.mark.parametrize("change", CHANGES)
def test_a_new_version_of_the_same_rows_keeps_their_scores_and_looks(person: Who, change: str) -> None:
    model, first = add_model(person), add_dataset(person)
    score(person, "1", "test")
    datasets.reveal(person, "1", "labels look wrong")
    grid.examples(person, "1", "test")
    assert looked(person) == {"test": Looks(1, 1)}
    CHANGES[change](person)
    assert datasets.find(person, "1").version.number == 2 and looked(person) == {"test": Looks(1, 1)}
    key = experiments.create(person, name="", dataset="1", model=model, rungs=[{"technique": "zero_shot"}, {"technique": "one_shot"}])
    climb(20, 22)
    view = experiments.find(person, key)
    assert view.version.number == 2 and view.looks["test"] == Looks(3, 1) == looked(person, first.reference)["test"], "whichever version is asked about"


@pytest.mark.parametrize("change", CHANGES)
def test_a_reserve_is_opened_once_whatever_changes_beside_it(person: Who, change: str) -> None:
    add_model(person)
    add_dataset(person)
    reserve.set_aside(person, "1")
    CHANGES[change](person)
    assert looked(person)["reserve"] == Looks()
    reserve.open_reserve(person, "1", "the last figure")
    score(person, "1", "reserve")
    assert looked(person) == {"test": Looks(), "reserve": Looks(1, 0, (3,))}
    CHANGES["append"](person)
    assert looked(person)["reserve"] == Looks(1, 0, (3,)) == looked(person, "1@2")["reserve"]
    for reference in ("1", "1@2"):
        with pytest.raises(Conflict, match="opened already in version 3") as refused:
            reserve.open_reserve(person, reference, "once more")
        assert "Score version 3" in refused.value.advice
        with pytest.raises(Sealed):
            score(person, reference, "reserve")


def test_scores_of_an_open_reserve_and_looks_at_it_are_counted(person: Who) -> None:
    add_model(person)
    add_dataset(person)
    reserve.set_aside(person, "1")
    reserve.open_reserve(person, "1", "the last figure")
    key = score(person, "1", "reserve")
    grid.examples(person, "1", "reserve")
    predictions.find(person, key)
    assert looked(person) == {"test": Looks(), "reserve": Looks(1, 2, (2,))}
    opened = datasets.find(person, "1").version.reserve_opened or {}
    assert (opened["reason"], opened["scored"], opened["viewed"]) == ("the last figure", 1, 2)


def test_a_reserve_that_was_scored_as_test_rows_of_an_older_version_says_so(person: Who) -> None:
    add_model(person)
    add_dataset(person)
    reserve.set_aside(person, "1")
    score(person, "1@1", "test")
    assert looked(person) == {"test": Looks(1, 0), "reserve": Looks(1, 0)}


def test_versions_that_share_no_test_row_share_no_count(person: Who) -> None:
    add_model(person)
    first = add_dataset(person)
    score(person, "1", "test")
    datasets.reveal(person, "1", "all of them are wrong")
    tested = {row["id"] for row in versions.values(first) if row["split"] == "test"}
    derive(person, "1", Drop(tested))
    derive(person, "1", Keep("append"), added=[[New(f"another text {at}", "billing", "test") for at in range(3)]])
    assert looked(person) == {"test": Looks()}
