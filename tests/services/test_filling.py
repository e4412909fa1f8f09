"""What the splits of a file's rows are, whether it is held as a whole or cut while it comes in."""

import pytest
from sqlalchemy import select

from app.db import transaction
from app.domain import dataset as datasets
from app.domain import intake
from app.domain.access import Who, owned
from app.domain.dataset import Dataset, Example
from app.services import filling, imports, uploads
from app.services.datasets import find
from tests.services.uploading import sent, table


@pytest.mark.parametrize("held", [200, 20_000])
def test_rows_without_an_output_are_no_validation_split(person: Who, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """Only unlabelled rows are given to validation: it is cut from train, in a file that is held and in one that is streamed, wherever they stand."""
    monkeypatch.setattr(filling, "HELD_ROWS", held)
    lines = [f"{line},{'train' if number < 700 else 'test'}" for number, line in enumerate(table(900).splitlines()[1:])]
    waiting = [f"who knows {number},,validation" for number in range(20)]
    for rows in (waiting + lines, lines + waiting):
        view = find(person, uploads.import_now(person, sent("\n".join(["text,label,split", *rows]))))
        assert view.version.splits["unlabelled"] == 20 and view.version.splits["test"] == 200 and 50 <= view.version.splits["validation"] < 140
    upload = uploads.accept(person, sent("\n".join(["text,label,split", *lines, *waiting])), "report")
    imports.run(upload.id)
    assert (uploads.find(person, upload.id).report or {})["splits"] == {"train": 700, "test": 200}


@pytest.mark.parametrize("portion", [1, 2, 4])
def test_a_row_is_stored_with_what_it_has_whatever_the_others_of_its_write_have(person: Who, portion: int) -> None:
    lines: list[intake.Line] = [
        (0, 2, "train", "a", "x", 10, None, None),
        (1, 3, "train", "b", "y", 11, '{"who": "Ada"}', None),
        (2, None, "unlabelled", "c", None, 12, None, "test"),
        (3, 5, "unlabelled", "d", None, 13, '{"who": "Bob"}', "validation"),
    ]
    with transaction() as session:
        dataset = Dataset(**owned(person), name="few")
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, 0, {}).id
        for start in range(0, len(lines), portion):
            intake.put(session, version, 3, lines[start : start + portion])
    with transaction() as session:
        rows = session.scalars(select(Example).where(Example.version_id == version).order_by(Example.position)).all()
        found = [(row.position, row.line, row.split, row.input, row.output, row.content_key, row.cells, row.given) for row in rows]
        assert found == [(*line[:6], {"who": line[6][9:12]} if line[6] else None, line[7]) for line in lines]
        assert {row.added_in for row in rows} == {3}
