"""The largest model behind a registered endpoint: the one to ask for the signal, unless a person chooses another."""

import re
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import reading
from app.domain.access import Who
from app.domain.model import Model
from app.services import endpoints

UNSAID = 100.0
"""Billions of parameters that a name without a size stands for where prices do not tell: those who keep it to themselves serve large models."""


def largest(person: Who) -> Model | None:
    """By the size that each name says; where one says none, by price first, which is all that is known of both."""
    with reading() as session:
        remote = session.scalars(select(Model).where(Model.workspace_id == person.workspace_id, Model.kind == "remote").order_by(Model.id)).all()
        order = ranked([(model.remote_name or "", _price(session, model)) for model in remote])
        return remote[order[0]] if order else None


def ranked(known: Sequence[tuple[str, float]]) -> list[int]:
    """The places of models, (name, price) each, the largest first; of equals the first."""
    sizes = [size(name) for name, _ in known]
    by_price = None in sizes
    keys = [(price if by_price else 0.0, UNSAID if one is None else one) for one, (_, price) in zip(sizes, known, strict=True)]
    return sorted(range(len(known)), key=lambda at: keys[at], reverse=True)


def size(name: str) -> float | None:
    """Billions of parameters in a name such as llama-3.1-70b or mixtral-8x7b, experts multiplied; none where it says none."""
    found = [int(experts or 1) * float(each) for experts, each in re.findall(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])", name.lower())]
    return max(found, default=None)


def _price(session: Session, model: Model) -> float:
    known = endpoints.remote(session, model)
    return 0.0 if known is None or known.price is None else float(known.price.input + known.price.output)
