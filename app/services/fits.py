"""Whether the rows of a split fit a model with a prompt, asked before anything runs. The engine process counts, by a tokenizer alone; where there is none
for a model at an endpoint, tokens are reckoned here."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from anyio import to_thread

from app.db import reading
from app.domain import dataset as datasets
from app.domain import endpoint as endpoints
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.fitting import Fit, look
from app.domain.generation import Parameters
from app.domain.model import Model
from app.domain.rendering import check
from app.domain.shots import Fixed
from app.errors import Unavailable
from app.remote.ruler import ruler
from app.services import generate
from app.services.evaluations import usable
from app.services.generate import Request
from app.services.shots import drawn


@dataclass(frozen=True)
class Reckoned:
    """What nobody is asked about: it is reckoned here, once somebody wants to know."""

    fit: Callable[[], Fit]


Question = Request | Reckoned
"""What the engine process is asked, or what is reckoned here."""


def start(
    person: Who,
    *,
    model: int | str,
    dataset: int | str,
    prompt: Mapping[str, Any] | None = None,
    prompt_version: int | str | None = None,
    split: str = "test",
    answer: str = "likelihood",
    shots: int | None = None,
    seed: int = 0,
    selection: Fixed = "balanced",
    max_length: int | None = None,
    limit: int | None = None,
) -> Question:
    """Ask how the rows fit with a saved prompt, or with the fields of one that is not saved yet (`prompt`): with the prompt's own shots or with so many drawn ones, as a rung draws them; with `max_length` as tuning reads them; with `limit` those rows alone that an evaluation of so many takes.

    Raises Invalid for what could not be scored so and for a window that nobody knows, Unavailable when the engine process has to count and is away.
    """
    row, given = generate.fields_for(person, model, prompt, prompt_version)
    if shots is not None and shots != len(given["shots"]):
        given = {**given, "shots": [asdict(shot) for shot in drawn(person, dataset, shots, seed, selection).shots]}
    with reading() as session:
        version = datasets.find(session, person, dataset)
        usable(version, split, answer)
        check(prompts.template_of(given), version.variables)
    parameters = Parameters.model_validate(given.get("parameters") or {})
    wanted = {"dataset_version": version.id, "split": split, "limit": limit, "answer": answer, "parameters": parameters.model_dump(), "max_length": max_length}
    return _remote(row, version, given, wanted) if row.remote else generate.hand(row, given, wanted)


def _remote(model: Model, version: DatasetVersion, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> Question:
    """The same for a model at an endpoint: by the tokenizer of the model here that counts like it, else, or while the engine is away, reckoned from the text."""
    with reading() as session:
        endpoint = endpoints.of_model(session, model)
        window = endpoint.window(model.remote_name or "")
        like = session.get(Model, window.tokenizer) if window and window.tokenizer else None
    if window is None:
        raise endpoints.unknown_window(model)
    there: dict[str, Any] = {"model": model.slug, "window": window.tokens, "chat": not (endpoint.probe or {}).get("completions")}

    def reckon() -> Fit:
        template, measure = prompts.template_of(given), ruler(**there)
        labels = version.label_texts() if wanted["answer"] == "likelihood" else []
        empty = measure.empty(template, labels, wanted["parameters"]["max_tokens"])
        with reading() as session:
            cases = datasets.cases(session, version, wanted["split"], wanted["limit"])
            return look(empty, template, (case.values for case in cases), measure.tokens)

    if like is not None:
        with suppress(Unavailable):
            return generate.hand(like, given, {**wanted, "remote": {**there, "tokenizer_name": like.name}})
    return Reckoned(reckon)


async def fit(question: Question) -> Fit:
    """How they fit."""
    if isinstance(question, Reckoned):
        return await to_thread.run_sync(question.fit)
    found = await generate.count(question)
    return Fit(**{field.name: found[field.name] for field in fields(Fit)})
