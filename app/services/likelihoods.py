"""How likely a model finds each label as the answer to one prompt: raw, and calibrated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from anyio import to_thread

from app.db import reading
from app.domain import dataset as datasets
from app.domain import endpoint as rules
from app.domain.access import Who
from app.domain.model import Model
from app.domain.prompt import template_of
from app.domain.rendering import LABELS, Template, answer_text, check, label_list, render, template_variables
from app.domain.scoring import CONTENT_FREE, calibrated, shares
from app.errors import Invalid
from app.remote.spec import Price, Usage
from app.services import endpoints, generate
from app.services.generate import Request

MOST_LABELS = 2000


@dataclass(frozen=True)
class Weighed:
    """A label with its tokens and natural-log likelihood, its share among the labels, and the calibrated share.

    `calibrated_share` is none for a prompt without a variable, which has no input that could be left out; `tokens` where only an
    endpoint could count them.
    """

    label: str
    tokens: int | None
    log_likelihood: float
    share: float
    calibrated_share: float | None


@dataclass(frozen=True)
class Asking:
    """All that weighing takes: the rows are the input itself and then, where there is an input, the ones without content."""

    model: Model
    template: Template
    fields: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    labels: Sequence[str]


def asked(
    person: Who,
    model: int | str,
    prompt: Mapping[str, Any] | None,
    prompt_version: int | str | None,
    variables: Mapping[str, str],
    labels: Sequence[str] | None,
    dataset: int | str | None,
) -> Asking:
    """What weighing takes. Raises Invalid for labels that are missing or twice there, and for a prompt that cannot be rendered."""
    if (labels is None) == (dataset is None):
        raise Invalid("which_labels", "Say which labels to weigh: a list of texts, or a dataset that has some.", "Give either labels or dataset.")
    row, fields = generate.fields_for(person, model, prompt, prompt_version)
    shown: dict[str, str] = {}
    if dataset is not None:
        with reading() as session:
            version = datasets.find(session, person, dataset)
        labels, shown = version.label_texts(), version.shown_labels()
    given = list(labels or ())
    if not 2 <= len(given) <= MOST_LABELS:
        raise Invalid(
            "label_count", f"{len(given)} labels cannot be compared; it takes 2 to {MOST_LABELS:,}.", "Give other labels, or a dataset that has some."
        )
    if len(set(given)) < len(given) or not all(given):
        raise Invalid("labels_differ", "Labels are compared, so each has to be there once, and none may be empty.", "Leave out what is there twice.")
    template = template_of(fields)
    values = {LABELS: label_list((label, "") for label in given), **shown, **variables}
    check(template, values)
    free = [name for name in template_variables(template) if name != LABELS]
    rows = [values, *({**values, **dict.fromkeys(free, text)} for text in CONTENT_FREE if free)]
    return Asking(row, template, fields, rows, given)


@dataclass
class Weighing:
    """What weighing takes at an endpoint, added up while it goes on: it is to be paid for also when nobody waits for the rest. `usage` is none until
    something was asked there."""

    usage: Usage | None = None
    price: Price | None = None

    def as_json(self) -> dict[str, Any] | None:
        """As the notebook keeps it; none where no endpoint was asked."""
        if self.usage is None:
            return None
        return {**asdict(self.usage), "cost": self.usage.cost(self.price)}


async def weigh(asking: Asking, took: Weighing) -> list[Weighed]:
    """Every label, the likeliest first; what that took is added to `took`. Raises Invalid for an endpoint that gives no likelihoods."""
    if asking.model.remote:
        tokens, sums = None, await at_endpoint(asking, took)
    else:
        tokens, sums = await _in_engine(await to_thread.run_sync(generate.hand, asking.model, asking.fields, {"rows": asking.rows, "labels": asking.labels}))
    raw = shares(sums[0])
    even = calibrated(raw, [shares(row) for row in sums[1:]]) if len(sums) > 1 else None
    found = [
        Weighed(label, tokens[at] if tokens else None, sums[0][at], raw[at], even[at] if even is not None else None) for at, label in enumerate(asking.labels)
    ]
    return sorted(found, key=lambda one: -one.log_likelihood)


async def _in_engine(request: Request) -> tuple[list[int], list[list[float]]]:
    """Tokens of each label, and their likelihoods for each row."""
    rows: dict[int, list[float]] = {}
    tokens: list[int] = []
    async for event in generate.events(request):
        if event["type"] == "scores":
            rows[event["row"]] = event["likelihoods"]
        elif event["type"] == "done":
            tokens = event["tokens"]
    return tokens, [rows[at] for at in sorted(rows)]


async def at_endpoint(asking: Asking, took: Weighing) -> list[list[float]]:
    """For each row the likelihoods of the labels, from an endpoint whose test showed that it gives them. Raises Invalid with the reason where it did not."""

    def ready() -> endpoints.Remote | None:
        import_module("app.remote.client")  # takes a second, so not in the event loop
        with reading() as session:
            rules.check_answer(session, asking.model, "likelihood", asking.labels, asking.template.mode)
            return endpoints.remote(session, asking.model)

    remote = await to_thread.run_sync(ready)
    assert remote is not None  # noqa: S101 the model is remote
    from app.remote.client import Client

    took.usage, took.price = Usage(0, 0), remote.price
    answers = [answer_text(asking.template, label) for label in asking.labels]
    found: list[list[float]] = []
    async with Client(remote.spec) as client:
        for prompt in (render(asking.template, values).text for values in asking.rows):
            found.append([])
            for answer in answers:  # one by one, so that what was taken is known wherever this ends
                (value,), usage = await client.likelihoods(remote.model, prompt, [answer])
                found[-1].append(value)
                took.usage += usage
    return found
