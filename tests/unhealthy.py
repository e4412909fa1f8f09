"""Datasets with something wrong, for tests of what is found and mended."""

from collections.abc import Sequence

from app.db import transaction
from app.domain.access import Who, owned
from app.domain.dataset import Dataset, DatasetVersion, Example, draft
from app.domain.intake import seal

WORDS = ["river", "stone", "garden", "winter", "music", "engine", "paper", "window", "coffee", "harvest", "bridge", "doctor", "parcel", "refund"]


def text(number: int) -> str:
    return f"{WORDS[number % 14]} {WORDS[number // 14 % 14]} {WORDS[number * 5 % 13]} about number {number * 7919} and the {WORDS[number * 3 % 11]}"


def add(person: Who, rows: Sequence[tuple[str, str | None, str]]) -> DatasetVersion:
    """A sealed dataset of these (input, output, split)."""
    with transaction() as session:
        dataset = Dataset(**owned(person), name="sick")
        session.add(dataset)
        session.flush()
        version = draft(session, person, dataset, 0, {})
        for position, (given, output, split) in enumerate(rows):
            session.add(Example(version_id=version.id, position=position, line=position + 2, split=split, input=given, output=output, cells=None))
        session.flush()
        seal(session, version)
        return version


def sick(person: Who) -> DatasetVersion:
    """60 good rows; a train row and a validation row that leak from test; two labels that look alike; markers of missing values."""
    rows = [(text(number), "ab"[number % 2], ("train", "train", "train", "validation", "test")[number // 2 % 5]) for number in range(60)]
    rows += [(rows[8][0], "a", "train"), (rows[9][0].upper(), "b", "validation")]
    rows += [(text(100 + number), "A", "train") for number in range(5)] + [(text(200 + number), "N/A", "train") for number in range(4)]
    return add(person, rows)
