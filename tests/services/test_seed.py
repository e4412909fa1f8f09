"""A new installation has its sample tasks: once, whole, and made by nobody."""

from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.prompt import Prompt
from app.services.seed import seed


def counts() -> tuple[int, int]:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Dataset)) or 0, session.scalar(select(func.count()).select_from(Prompt)) or 0


def test_the_samples_are_loaded_once(database: str) -> None:
    said: list[str] = []
    seed(said.append)
    there = counts()
    assert there == (2, 2)
    assert len(said) == 2
    seed(said.append)
    assert (counts(), len(said)) == (there, 2)
    with reading() as session:
        assert set(session.scalars(select(Dataset.author_id))) == {None}
        for version in session.scalars(select(DatasetVersion)):
            assert version.sealed_at
            assert version.splits["train"] >= 600
            assert version.splits["test"] >= 300
            assert version.splits["validation"] >= 150


def test_a_deleted_sample_comes_back_when_it_is_asked_for(database: str) -> None:
    seed(lambda _: None)
    with transaction() as session:
        session.delete(session.scalars(select(Dataset).limit(1)).one())
    seed(lambda _: None)
    assert counts() == (2, 2)
