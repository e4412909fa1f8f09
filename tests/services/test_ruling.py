"""People grade rows by a rubric: which rows come, what they may say, how far the judge agrees with them, and that no grade is lost."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.db import transaction
from app.domain import access
from app.domain import dataset as datasets
from app.domain import judgement as rules
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation, Prediction
from app.domain.user import User
from app.errors import Conflict, Invalid, NotFound, Sealed
from app.services import blind, discarding, judgements, ruling
from tests.queries import queries
from tests.rows import add_dataset, add_model, add_rows
from tests.services.test_judgements import GRADES, RUBRIC, WORDS, graded, judged, two
from tests.services.test_predictions import evaluated


def another(name: str) -> Who:
    """Somebody else in the same workspace."""
    with transaction() as session:
        user = User(workspace_id=1, name=name, password_hash="x", role="member")
        session.add(user)
        session.flush()
        return access.who(user)


def grade_all(person: Who, key: int, grades: dict[int, str]) -> None:
    for example, value in grades.items():
        ruling.rule(person, key, example, value)


def by_example(person: Who, key: int) -> dict[int, str]:
    """What the judge said, row by row."""
    return {row.example.id: row.rulings[""].value for row in judgements.rows(person, key).rows}


def test_rows_come_in_one_order_for_all_and_each_person_has_their_own_place(person: Who) -> None:
    first, _, judge = two(person)
    key, other = graded(person, first, judge).judgement.id, another("Grace")
    queue = ruling.queue(person, key, 4)
    assert len(queue.rows) == 4 and queue.progress == ruling.Progress(0, 10, 0) and all(len(row.answers) == 1 and row.reference for row in queue.rows)
    assert [row.example for row in ruling.queue(other, key, 4).rows] == [row.example for row in queue.rows]
    example = queue.rows[0].example
    assert ruling.rule(person, key, example, "4") == ruling.Progress(1, 10, 1)
    assert ruling.rule(person, key, example, "5") == ruling.Progress(1, 10, 1), "another grade replaces the first"
    assert example not in [row.example for row in ruling.queue(person, key, 10).rows] and example in [row.example for row in ruling.queue(other, key, 10).rows]
    assert ruling.take_back(person, key, example) == ruling.Progress(0, 10, 0)


def test_agreement_stands_beside_what_it_was_taken_from(person: Who) -> None:
    first, _, judge = two(person)
    key, other = graded(person, first, judge).judgement.id, another("Grace")
    found = judgements.with_people(person, key)
    assert found is not None and (found.agreement.n, found.marked, found.people) == (0, 0, 0) and found.agreement.more > 50
    said = by_example(person, key)
    read = [example for example, value in said.items() if value]
    grade_all(person, key, {example: said[example] for example in read[:6]} | {read[6]: "1", next(one for one in said if not said[one]): "2"})
    grade_all(other, key, {read[0]: said[read[0]], read[1]: "1"})
    found = judgements.with_people(person, key)
    assert found is not None and (found.agreement.n, found.marked, found.people) == (7, 8, 2)
    assert found.agreement.same == 5, "of two people's grades of a row the lower one counts"
    assert found.agreement.weighted and found.agreement.kappa is not None and found.among.rows == 2
    assert judgements.rows(person, key, "differs").found == 2 and judgements.rows(person, key).counts["4"] == 3
    assert judgements.whole(person, key, read[1]).marks == [("Ada", said[read[1]]), ("Grace", "1")]


def test_grades_belong_to_the_rubric_and_outlive_the_judge(person: Who) -> None:
    first, _, judge = two(person)
    one, other, else_ = (
        graded(person, first, judge, brief=brief).judgement.id for brief in (RUBRIC, {**RUBRIC, "reference": False}, {**RUBRIC, "text": "Short."})
    )
    said = by_example(person, one)
    grade_all(person, one, {example: value for example, value in said.items() if value})
    assert [ruling.progress(person, key).mine for key in (one, other, else_)] == [9, 9, 0], "another judge is measured by the same grades"
    discarding.judgement(person, one)
    assert ruling.progress(person, other).mine == 9
    found = judgements.with_people(person, other)
    assert found is not None and found.agreement.same == 9 and GRADES.count("") == 1


def test_what_cannot_be_said_is_refused(person: Who) -> None:
    first, second, judge = two(person)
    key, pair = graded(person, first, judge).judgement.id, judged(person, first, second, judge, WORDS).judgement.id
    example = ruling.queue(person, key, 1).rows[0].example
    with pytest.raises(Invalid, match="nothing that can be said"):
        ruling.rule(person, key, example, "6")
    with pytest.raises(NotFound):
        ruling.rule(person, key, 10**6, "5")
    with pytest.raises(Conflict, match="Only a model"):
        ruling.queue(person, pair, 1)
    with pytest.raises(Invalid, match="empty"):
        judgements.create(person, kind="rubric", evaluation=first, model=judge, brief={"text": " "})
    with pytest.raises(Invalid, match="above the lowest"):
        judgements.create(person, kind="rubric", evaluation=first, model=judge, brief={"text": "x", "scale": {"low": 3, "high": 3}})
    with pytest.raises(Invalid, match="not two"):
        judgements.create(person, kind="rubric", evaluation=first, other=second, model=judge, brief={"text": "x"})


def test_sealed_rows_are_not_graded_and_a_first_look_counts(person: Who) -> None:
    first, _, judge = two(person, "test")
    key = graded(person, first, judge).judgement.id
    with pytest.raises(Sealed):
        ruling.queue(person, key, 4)
    with transaction() as session:
        version = session.get_one(DatasetVersion, session.get_one(Evaluation, first).dataset_version_id)
        datasets.reveal(session, person, version, "to grade")
        before = version.viewed
    ruling.rule(person, key, ruling.queue(person, key, 4).rows[0].example, "3")
    ruling.queue(person, key, 4)
    with transaction() as session:
        assert session.get_one(DatasetVersion, version.id).viewed == before + 1


def test_a_ruling_reads_no_other_row_however_many_there_are(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[int]()
    cases = datasets.cases

    def counted(*given: Any, **more: Any) -> Iterator[Any]:
        for case in cases(*given, **more):
            read.append(case.id)
            yield case

    monkeypatch.setattr(datasets, "cases", counted)
    sent = []
    for size in (10, 60):
        version = add_dataset(person, f"of {size}", validation=size)
        key = graded(
            person, evaluated(person, version.reference, ["billing"] * size, model=add_model(person, f"Judge {size}", f"judge-{size}")), 1
        ).judgement.id
        read.clear()
        assert len(ruling.queue(person, key, 8).rows) == 8 == len(read), "those that are shown"
        example = read[0]
        read.clear()
        with queries() as statements:
            assert ruling.rule(person, key, example, "3") == ruling.Progress(1, size, 1)
        assert not read
        sent.append(len(statements))
    assert sent[0] == sent[1] <= 16


@pytest.mark.parametrize(("first", "second", "asked"), [("same", "same", 0), (" same\u00a0\n", "same", 0), ("same", "Same", 1), ("", "answer", 1)])
def test_answers_that_are_the_same_but_for_white_space_are_not_asked_about(person: Who, first: str, second: str, asked: int) -> None:
    version = add_rows(person, "letters", [(f"question {at}", "gold", "validation") for at in range(2)])
    keys = [evaluated(person, version.reference, ["one" if other else "two", "x"], model=add_model(person, f"M{other}", f"m{other}")) for other in (0, 1)]
    with transaction() as session:
        for key, text in zip(keys, (first, second), strict=True):
            row = session.query(Prediction).filter_by(evaluation_id=key).order_by(Prediction.example_id.desc()).first()
            assert row is not None
            row.written, row.answer = text, "answer "
    view = blind.create(person, evaluation=keys[0], other=keys[1])
    assert ruling.progress(person, view.judgement.id).rows == 1 + (asked and (first or "answer") != second)
    with transaction() as session:
        there = rules.rows(session, session.get_one(rules.Judgement, view.judgement.id))
    assert ruling.progress(person, view.judgement.id).rows == sum(not row.material.same for row in there), "as Python compares them"
