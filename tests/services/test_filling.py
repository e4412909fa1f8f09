"""What the splits of a file's rows are, whether it is held as a whole or cut while it comes in."""

import pytest

from app.domain.access import Who
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
