"""A long version for a bench, put into the database of the settings without a file being read."""

from collections.abc import Iterable
from typing import Any

PORTION = 5_000
"""Rows of one write."""


def filled(rows: Iterable[tuple[str, str, str]], origin: dict[str, Any]) -> int:
    """The id of a new sealed version of these (input, output, split), which says of itself that it comes from `origin`."""
    from app.db import transaction
    from app.domain import dataset, intake
    from app.domain.access import installation, owned
    from app.domain.cutting import content_key
    from app.domain.dataset import Dataset, DatasetVersion

    with transaction() as session:
        person = installation(session)
        row = Dataset(**owned(person), name="many rows")
        session.add(row)
        session.flush()
        key = dataset.draft(session, person, row, 0, origin).id
    lines = [(at, at + 2, split, text, label, content_key(text), None, None) for at, (text, label, split) in enumerate(rows)]
    for start in range(0, len(lines), PORTION):
        with transaction() as session:
            intake.put(session, key, 1, lines[start : start + PORTION])
    with transaction() as session:
        intake.seal(session, session.get_one(DatasetVersion, key))
    return key
