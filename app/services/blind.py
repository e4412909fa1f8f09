"""Blind comparisons: people choose between two evaluations' answers and do not know whose they are, until somebody closes it."""

from collections.abc import Mapping
from typing import Any

from app.db import transaction
from app.domain import dataset as datasets
from app.domain import judgement as judgements
from app.domain.access import Who, write
from app.domain.dataset import DatasetVersion
from app.domain.judgement import Judgement
from app.errors import Conflict, Invalid
from app.services.judgements import JudgementView, brief_of, finished


def create(person: Who, *, evaluation: int, other: int | None, brief: Mapping[str, Any] | None = None, limit: int | None = None) -> JudgementView:
    """Begin a blind comparison. Raises Invalid for evaluations on other rows or with the same answers only, Sealed on a test split that nobody revealed."""
    wanted = brief_of("blind", brief or {})
    with transaction() as session:
        first, second = finished(session, person, "blind", evaluation, other)
        assert second is not None  # noqa: S101 two are compared
        datasets.readable(session.get_one(DatasetVersion, first.dataset_version_id), first.split)
        judgement = judgements.begin(session, person, first, second, wanted, limit)
        if all(row.material.same for row in judgements.rows(session, judgement)):
            raise Invalid("all_the_same", "The two evaluations have no row with different answers.", "There is nothing to choose between.")
        return JudgementView(judgement, None, None)


def close(person: Who, key: int) -> JudgementView:
    """End it: the figures are made and the names shown, and nobody chooses any more. Raises Conflict for what is no open comparison."""
    with transaction() as session:
        judgement = write(session, person, Judgement, key, "judgement")
        if not judgement.hidden:
            raise Conflict("not_open", f"Judgement {key} is no open blind comparison.", "Only an open one is closed.")
        judgements.close(session, judgement)
        return JudgementView(judgement, None, None)
