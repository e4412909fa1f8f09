"""Any page of a version's rows, also from the marks of a long one; the same rows as counting them off."""

import pytest
from sqlalchemy import select

from app.db import reading, transaction
from app.domain import intake
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.errors import Sealed
from app.services import datasets, filling, grid, uploads
from app.services.datasets import DatasetView
from tests.queries import queries
from tests.services.uploading import sent, table


@pytest.fixture
def long(person: Who, monkeypatch: pytest.MonkeyPatch) -> DatasetView:
    """A version with a mark at every tenth row."""
    monkeypatch.setattr(intake, "MARKED", 10)
    monkeypatch.setattr(grid, "MARKED", 10)
    monkeypatch.setattr(filling, "HELD_ROWS", 50)
    view = datasets.find(person, uploads.import_now(person, sent(table(437))))
    return datasets.reveal(person, view.version.reference, "looking at all rows")


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_every_page_is_the_rows_in_order(person: Who, long: DatasetView, split: str | None) -> None:
    with reading() as session:
        query = select(Example.position).where(Example.version_id == long.version.id).order_by(Example.position)
        wanted = list(session.scalars(query.where(Example.split == split) if split else query))
    for limit in (1, 7, 10, 25, 100):
        for offset in {0, 1, 9, 10, 11, 29, 30, 199, len(wanted) - 3, len(wanted), len(wanted) + 40}:
            found = [row.position for row in grid.examples(person, long.version.reference, split, offset, limit)]
            assert found == wanted[offset : offset + limit], (split, offset, limit)


def test_a_deep_page_skips_no_more_rows_than_lie_between_two_marks(person: Who, long: DatasetView) -> None:
    with queries() as sent_:
        grid.examples(person, long.version.reference, "train", 250, 10)
    page = next(statement for statement in sent_ if "ORDER BY example.position" in statement)
    assert "example.position >=" in page and "example.position <" in page


def test_a_version_without_marks_has_pages_all_the_same(person: Who, long: DatasetView) -> None:
    marked = [row.position for row in grid.examples(person, long.version.reference, "train", 120, 25)]
    with transaction() as session:
        session.query(DatasetVersion).update({"marks": None})
    assert [row.position for row in grid.examples(person, long.version.reference, "train", 120, 25)] == marked


def test_all_rows_together_are_sealed_with_the_test_split(person: Who) -> None:
    view = datasets.find(person, uploads.import_now(person, sent(table(60))))
    with pytest.raises(Sealed):
        grid.examples(person, view.version.reference, None, 0, 10)
