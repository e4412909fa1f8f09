"""What a model would answer: the likelihood of every label for rows of a dataset, from the engine process or an endpoint that gives it."""

from collections.abc import Sequence
from dataclasses import dataclass

from anyio import to_thread
from sqlalchemy import select

from app.db import reading
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import Example
from app.domain.label_book import Label
from app.domain.prompt import template_of
from app.domain.rendering import check
from app.domain.scoring import shares
from app.errors import Invalid, NotFound
from app.services import generate
from app.services.likelihoods import Asking, Weighing, at_endpoint

MOST_ROWS = 32
SHOWN = 9


@dataclass(frozen=True)
class Choice:
    """A label with the model's share for it; the shares of all labels add up to 1."""

    key: str
    display: str
    share: float


@dataclass(frozen=True)
class Suggestion:
    """For one row the likeliest labels, the likeliest first."""

    example: int
    choices: list[Choice]


async def suggest(person: Who, reference: int | str, rows: Sequence[int], model: int | str, prompt_version: int | str | None = None) -> list[Suggestion]:
    """Suggestions for rows, by their ids. Without a prompt version the one the model was tuned through counts.

    Raises Sealed for rows nobody may see, Invalid without labels to choose from and for an endpoint that gives no likelihoods, Unavailable when no engine answers.
    """
    asking, labels = await to_thread.run_sync(_asked, person, reference, rows, model, prompt_version)
    found: dict[int, list[float]] = {}
    if asking.model.remote:
        found = dict(enumerate(await at_endpoint(asking, Weighing())))
    else:
        request = await to_thread.run_sync(generate.hand, asking.model, asking.fields, {"rows": asking.rows, "labels": asking.labels})
        async for event in generate.events(request):
            if event["type"] == "scores":
                found[event["row"]] = event["likelihoods"]
    return [Suggestion(example, _choices(labels, found[at])) for at, example in enumerate(rows) if at in found]


def _asked(person: Who, reference: int | str, rows: Sequence[int], model: int | str, prompt_version: int | str | None) -> tuple[Asking, Sequence[Label]]:
    if not 0 < len(rows) <= MOST_ROWS:
        raise Invalid("too_many_rows", f"Suggestions are made for 1 to {MOST_ROWS} rows at a time, not {len(rows)}.", "Ask for the next few rows.")
    with reading() as session:
        version = datasets.find(session, person, reference)
        there = {row.id: row for row in session.scalars(select(Example).where(Example.version_id == version.id, Example.id.in_(rows)))}
    for key in rows:
        if key not in there:
            raise NotFound("row", key)
    for split in {row.split for row in there.values()}:
        datasets.readable(version, split)
    labels = version.book.offered
    if len(labels) < 2:
        raise Invalid("no_label_set", f"Dataset {version.reference} has no fixed set of labels.", "Suggestions are for labels; write the outputs by hand.")
    chosen, fields = generate.fields_for(person, model, None, prompt_version)
    template = template_of(fields)
    check(template, version.variables)
    values = [{**version.shown_labels(), **there[key].values()} for key in rows]
    return Asking(chosen, template, fields, values, [label.display for label in labels]), labels


def _choices(labels: Sequence[Label], likelihoods: Sequence[float]) -> list[Choice]:
    ranked = sorted(zip(labels, shares(likelihoods), strict=True), key=lambda pair: -pair[1])
    return [Choice(label.key, label.display, share) for label, share in ranked[:SHOWN]]
