"""Where the words of a version stand on SQLite: in a file of their own. On PostgreSQL they stand in the database."""

from app.domain import text_search
from app.domain.dataset import DatasetVersion
from app.settings import settings


def index_file(version: DatasetVersion) -> text_search.File:
    return text_search.File(settings().folder / "search", version.id, version.content_hash)


def on_sqlite() -> bool:
    return settings().database.startswith("sqlite")
