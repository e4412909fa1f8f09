"""What a report says of an experiment beside its table: the settings, wordings and hashes that the figures stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.evaluation import narrows
from app.domain.prompt import PromptVersion
from app.domain.rendering import render, template_variables
from app.domain.scheme import Scheme, value_of
from app.domain.variables import braced
from app.pages import ladder_view, scheme_words
from app.pages.formatting import number
from app.pages.text import natural
from app.services import reports
from app.services.experiments import Ladder
from app.services.ladders import CellRow, RungRow
from app.services.resolved import request_of, settings_of

NOT_SAID = ("technique", "parameters")
"""Of a rung's settings: its title says the first, and of the second each is told by itself."""


@dataclass(frozen=True)
class Wording:
    """A prompt version with the rungs that ask by it. `text` is what the model reads, with variables in the place of a row's values."""

    reference: str
    rungs: list[str]
    text: str


@dataclass(frozen=True)
class Tried:
    """One cell of a grid on the validation rows; `score` is a dash until it is there."""

    name: str
    seed: int
    score: str
    chosen: bool


@dataclass(frozen=True)
class Record:
    """All of it, as words and figures."""

    judged: list[str]
    settings: list[tuple[str, str]]
    tried: list[tuple[str, list[Tried]]]
    wordings: list[Wording]
    hashes: list[tuple[str, str]]


def record(view: Ladder) -> Record:
    """What the report of an experiment keeps."""
    scheme, asked = Scheme.model_validate(view.experiment.scheme), reports.wordings(view)
    asks = {(row.rung.settings["answer"], one.prompt.reference): one.prompt.template() for row in view.rows for one in row.own}
    narrowed = [narrows(view.version.book, scheme, answer, template) for (answer, _), template in asks.items()]
    lines = ladder_view.lines(view)
    return Record(
        judged=scheme_words.sentences(scheme, {answer for answer, _ in asks}, view.version.label_texts(), narrowed),
        settings=[(row.title, _settings(row)) for row in view.rows],
        tried=[(line.title, [_tried(view, line, one) for one in line.cells]) for line in lines if line.cells],
        wordings=_wordings(view, asked),
        hashes=_hashes(view, asked, {line.position: line for line in lines}),
    )


def _settings(row: RungRow) -> str:
    """ "seeds 0, 1; shots 4; learning rate 0.002": of a grid those that were chosen, while none is the lists. What has no value is left out."""
    ran = request_of(row) if row.rung.chosen is None else settings_of(row, row.lead)
    ended = [one.tune_job.result or {} for one in row.own if one.tune_job] if row.rung.trains else []
    made, computed = [found["steps"] for found in ended if found.get("steps")], sorted({found["computes_in"] for found in ended if found.get("computes_in")})
    seeds = list(dict.fromkeys(one.cell.seed for one in row.own))
    values = {"seeds": seeds, **ran, **ran.get("parameters", {}), "steps made": made or None, "computed in": computed or None}
    return "; ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in values.items() if value is not None and name not in NOT_SAID)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _tried(view: Ladder, line: ladder_view.Line, one: CellRow) -> Tried:
    score = number(value_of(one.validated, view.experiment.figure)) if one.validated else number(None)
    return Tried(line.named(one), one.cell.seed, score, one.cell.number == line.chosen)


def _wordings(view: Ladder, asked: Sequence[PromptVersion]) -> list[Wording]:
    """Those that rungs were asked with, in their order, then those they were made of; what a grid tried and left is told by its hash alone."""
    found: dict[str, PromptVersion] = {}
    rungs: dict[str, dict[str, None]] = {}
    for row in view.rows:
        for one in row.own:
            found[one.prompt.reference] = one.prompt
            rungs.setdefault(one.prompt.reference, {})[row.title if len(row.own) == 1 else f"{row.title}, seed {one.cell.seed}"] = None
    found |= {one.reference: one for one in asked}
    return [Wording(reference, list(rungs.get(reference, {})), _text(one)) for reference, one in found.items()]


def _text(prompt: PromptVersion) -> str:
    template = prompt.template()
    names = template_variables(template)
    return render(template, dict(zip(names, braced(names), strict=True))).text


def _hashes(view: Ladder, asked: Sequence[PromptVersion], lines: Mapping[int, ladder_view.Line]) -> list[tuple[str, str]]:
    cells = [(row, one) for row in view.rows for one in row.cells]
    prompts = {one.reference: one for one in [*asked, *(one.prompt for _, one in cells)]}
    models = {one.model.id: one.model for row, one in cells if one.model.kind != "tuned"} | {view.model.id: view.model}
    artefacts = _artefacts(view, lines)
    return [
        (f"{view.dataset.name} v{view.version.number}, the rows of all splits", view.version.content_hash),
        *((f"model {one.shown}", one.content_hash or "not known: it answers at its endpoint") for one in models.values()),
        *((f"artefact of {' and '.join(names)}", digest) for digest, names in artefacts),
        *((f"prompt {reference}", prompts[reference].content_hash) for reference in sorted(prompts, key=natural)),
    ]


def _artefacts(view: Ladder, lines: Mapping[int, ladder_view.Line]) -> list[tuple[str, list[str]]]:
    """(hash of a tuned model, the rungs that ask it, each by the title it has in the table); a cell that was tried and left is told by its own name."""
    models: dict[int, str] = {}
    names: dict[int, dict[int, str]] = {}
    for row in view.rows:
        for one in sorted(row.cells, key=lambda one: one.cell.number != row.rung.chosen):
            if one.model.kind == "tuned":
                left = one.cell.number != row.rung.chosen
                title = f"{lines[row.rung.position].named(one)}, tried for {row.title}" if left else row.title
                seed = f", seed {one.cell.seed}" if row.rung.trains and len(row.own) > 1 and not left else ""
                models[one.model.id] = one.model.content_hash
                names.setdefault(one.model.id, {}).setdefault(row.rung.position, f"{title}{seed}")
    return [(digest, list(names[key].values())) for key, digest in models.items()]
