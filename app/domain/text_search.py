"""Finding rows by their words: an index of one version, built in the background. Tokens are the same on both databases.

PostgreSQL keeps the words in `example_search`, under a GIN index. On SQLite a full-text index is a file of its own beside the database
(`Index`), so that building it keeps nobody waiting; it is made from the rows and can be made again at any time.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, Index, Text, delete, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base
from app.domain.words import tokens

MOST_WORDS = 32
"""Words of a question that count."""

MOST_FOUND = 10_000
"""Hits that are counted."""


class ExampleSearch(Base):
    """The words of a row on PostgreSQL, with a word for its split. Empty on SQLite."""

    __tablename__ = "example_search"
    __table_args__ = (Index("ix_example_search_words", "words", postgresql_using="gin"), Index("ix_example_search_version_position", "version_id", "position"))

    example_id: Mapped[int] = mapped_column(ForeignKey("example.id", ondelete="CASCADE"), primary_key=True)
    version_id: Mapped[int]
    position: Mapped[int]
    words: Mapped[Any] = mapped_column(TSVECTOR().with_variant(Text(), "sqlite"))


def words_of(text_: str, output: str | None, cells: dict[str, str] | None) -> list[str]:
    """Every word that a row can be found by."""
    return tokens(" ".join((text_, output or "", *(cells or {}).values())))


def has(words: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether a row with these words is found by the ones asked for: all of them, the last of which may go on."""
    return set(asked[:-1]) <= set(words) and any(word.startswith(asked[-1]) for word in words)


Entry = tuple[int, int, str, list[str]]
"""Example id, position, split and words of a row."""


class File:
    """The index of one version on SQLite: position + 1 is the row's number in it. It says itself how far it is."""

    def __init__(self, folder: Path, version_id: int, content_hash: str) -> None:
        # Ids come again after a delete; the hash of the content tells a version from its predecessor.
        self.path = folder / f"{version_id}-{content_hash[:16]}.db"

    def begin(self) -> tuple[str, int, int]:
        """Open or make it for more rows; returns the split and position of the last row that is in, and how many are."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(self._open()) as index, index:
            index.execute("PRAGMA journal_mode=WAL")
            index.execute(
                "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(split, content, content='', detail=column, tokenize='unicode61 remove_diacritics 0')"
            )
            index.execute("CREATE TABLE IF NOT EXISTS reached (one INTEGER PRIMARY KEY CHECK (one = 1), split TEXT, position INTEGER, done INTEGER)")
            return index.execute("SELECT split, position, done FROM reached").fetchone() or ("", -1, 0)

    def add(self, entries: Sequence[Entry], done: int) -> None:
        """The next rows, and how many there are with them."""
        rows = [(position + 1, split, " ".join(words)) for _, position, split, words in entries]
        with closing(self._open()) as index:
            # A commit need not wait for the disk: what a power cut takes is indexed again, from the row that the file itself says it had reached.
            index.execute("PRAGMA synchronous=NORMAL")
            with index:
                index.executemany("INSERT INTO words(rowid, split, content) VALUES (?, ?, ?)", rows)
                index.execute("REPLACE INTO reached VALUES (1, ?, ?, ?)", (entries[-1][2], entries[-1][1], done))

    def finish(self) -> None:
        """No more rows come."""
        with closing(self._open()) as index:
            with index:
                index.execute("INSERT INTO words(words) VALUES ('optimize')")
            index.execute("PRAGMA journal_mode=DELETE")

    def remove(self) -> None:
        for end in ("", "-wal", "-shm", "-journal"):
            self.path.with_name(f"{self.path.name}{end}").unlink(missing_ok=True)

    def positions(self, words: Sequence[str], split: str | None, after: int, limit: int) -> list[int]:
        """Positions of the rows that have all words, in order, from after a position on."""
        match = _match(words, split)
        with closing(self._open()) as index:
            rows = index.execute("SELECT rowid - 1 FROM words WHERE words MATCH ? AND rowid > ? ORDER BY rowid LIMIT ?", (match, after + 1, limit))
            return [row[0] for row in rows]

    def count(self, words: Sequence[str], split: str | None) -> int:
        """How many rows have all words, up to MOST_FOUND."""
        with closing(self._open()) as index:
            query = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            return int(index.execute(query, (_match(words, split), MOST_FOUND)).fetchone()[0])

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=15)


def _match(words: Sequence[str], split: str | None) -> str:
    """The question in FTS5's words: the last word may go on."""
    asked = [f'content : "{word}"' for word in words[:-1]] + [f'content : "{words[-1]}" *']
    return " AND ".join([*asked, *([f'split : "{split}"'] if split else [])])


def add(session: Session, version_id: int, entries: Sequence[Entry]) -> None:
    """More rows of a version, on PostgreSQL."""
    driver: Any = session.connection().connection.driver_connection
    with driver.cursor() as cursor, cursor.copy("COPY example_search (example_id, version_id, position, words) FROM STDIN") as copy:
        for key, position, split, words in entries:
            copy.write_row((key, version_id, position, " ".join([*dict.fromkeys(words), f"'in:{split}'"])))


def analyse(session: Session) -> None:
    """Let PostgreSQL know which words are common, so that it walks the rows for those and asks the index for the others."""
    session.execute(text("ANALYZE example_search"))


def clear(session: Session, version_id: int) -> None:
    session.execute(delete(ExampleSearch).where(ExampleSearch.version_id == version_id))


def look_up(session: Session, version_id: int, words: Sequence[str], split: str | None, after: int, limit: int) -> tuple[list[int], int]:
    """Positions of the rows that have all words, in order, from behind a position on, and how many there are, up to MOST_FOUND. On PostgreSQL.

    Its planner cannot know how many words begin so, and walks a million rows for one that nobody wrote. So the index is asked first, and
    the rows are walked in order only where that is sure to be short.
    """
    values = {"version": version_id, "asked": _tsquery(words, split), "after": after, "limit": limit, "most": MOST_FOUND}
    having = "FROM example_search WHERE version_id = :version AND words @@ CAST(:asked AS tsquery)"
    _only_bitmaps(session, "off")
    total = int(session.scalar(text(f"SELECT count(*) FROM (SELECT 1 {having} LIMIT :most) AS found"), values) or 0)  # noqa: S608 fixed words
    if total == MOST_FOUND:
        _only_bitmaps(session, "on")
    found = list(session.scalars(text(f"SELECT position {having} AND position > :after ORDER BY position LIMIT :limit"), values))
    _only_bitmaps(session, "on")
    return found, total


def _only_bitmaps(session: Session, others: str) -> None:
    """Whether PostgreSQL may take another way than through the index of words, for this transaction."""
    session.execute(text(f"SET LOCAL enable_seqscan = {others}"))
    session.execute(text(f"SET LOCAL enable_indexscan = {others}"))


def _tsquery(words: Sequence[str], split: str | None) -> str:
    asked = [f"'{word}'" for word in words[:-1]] + [f"'{words[-1]}':*"]
    return " & ".join([*asked, *([f"'in:{split}'"] if split else [])])
