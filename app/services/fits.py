"""Whether the rows of a split fit a model with a prompt, asked before anything runs. The engine process counts, by its tokenizer alone."""

from app.db import reading
from app.domain import dataset as datasets
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.fitting import Fit
from app.domain.generation import Parameters
from app.domain.rendering import check
from app.services import datasets as datasets_service
from app.services import generate
from app.services.evaluations import usable
from app.services.generate import Request


def start(
    person: Who,
    *,
    model: int | str,
    dataset: int | str,
    prompt_version: int | str | None = None,
    split: str = "test",
    answer: str = "likelihood",
    shots: int | None = None,
    seed: int = 0,
) -> Request:
    """Ask how the rows fit, with the prompt's own shots or with so many drawn ones, as a rung draws them.

    Raises Invalid for what could not be scored so, and Unavailable when the engine process is away.
    """
    row, fields = generate.fields_for(person, model, None, prompt_version)
    if shots is not None and shots != len(fields["shots"]):
        drawn = datasets_service.draw_shots(person, dataset, shots, seed)
        fields = {**fields, "shots": [{"input": shot.input, "output": shot.output} for shot in drawn]}
    with reading() as session:
        version = datasets.find(session, person, dataset)
        usable(version, split, answer)
        check(prompts.template_of(fields), version.variables)
    parameters = Parameters.model_validate(fields.get("parameters") or {})
    wanted = {"dataset_version": version.id, "split": split, "answer": answer, "parameters": parameters.model_dump()}
    return generate.hand(row, fields, wanted)


async def fit(request: Request) -> Fit:
    """The engine's answer."""
    found = await generate.count(request)
    return Fit(**{name: found[name] for name in ("rows", "too_long", "longest", "window", "answer")})
