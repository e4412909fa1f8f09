"""What an experiment would take, before it is one: time, tokens and money, and which rungs do not fit this machine.

Times are measured ones of earlier jobs with the same model on this installation. What was never measured is reckoned from the model's size, and
said to be rough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from sqlalchemy.orm import Session

from app.db import reading
from app.domain import dataset as datasets
from app.domain import endpoint
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who, visible
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation, content_free
from app.domain.experiment import LINEAR, PROMPT_RUNGS
from app.domain.footprint import CHARACTERS_A_TOKEN
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters, parse
from app.domain.model import Model
from app.domain.rendering import DEFAULT, Template, answer_text, render
from app.domain.scheme import DEFAULT as SCHEME
from app.errors import FettleError, Invalid
from app.remote.spec import weighing
from app.services import endpoints, estimates
from app.services.rungs import combinations

LOOKED_AT = 20
"""Rows whose length stands for all."""

WRITTEN = 8
"""Tokens of an answer that is written, where nobody has written one yet."""

MEASURED = 8
"""Earlier jobs whose pace counts: the last ones."""

ROUGH_RATE = 4e10
"""Floating-point operations a second where nothing was measured: two cores of a server's processor."""

START = 8.0
"""Seconds until a job has loaded its model, where nothing was measured."""

PASSES = {"score": 2, "train": 6}
"""Floating-point operations a parameter and token: forward, and forward with the way back."""


@dataclass(frozen=True)
class Part:
    """One rung: what it would take."""

    technique: str
    seconds: float = 0.0
    measured: bool = True
    tokens: int = 0
    dollars: float | None = 0.0
    jobs: int = 0
    scored: int = 0
    """How often the test rows are answered: once, or for each draw of shots or tuning seed. It is one look at them all the same."""


@dataclass(frozen=True)
class Forecast:
    """All rungs together. `dollars` is None where a price is not known."""

    parts: list[Part] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    @property
    def measured(self) -> bool:
        """Whether every part's time was measured on earlier jobs."""
        return all(part.measured for part in self.parts)

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)

    @property
    def jobs(self) -> int:
        return sum(part.jobs for part in self.parts)

    @property
    def scored(self) -> int:
        return sum(part.scored for part in self.parts)

    @property
    def dollars(self) -> float | None:
        each = [part.dollars for part in self.parts]
        return None if None in each else sum(one or 0.0 for one in each)


@dataclass(frozen=True)
class _Pace:
    """Seconds before the first row or step, and for each after it."""

    start: float
    each: float
    measured: bool


def experiment(
    person: Who,
    *,
    dataset: int | str,
    model: int | str,
    rungs: Sequence[dict[str, Any]],
    prompt_version: int | str | None,
    validation_rows: int,
    machine_hour: float | None = None,
    tested: bool = True,
) -> Forecast:
    """What these rungs would take, the test rows among it unless `tested` is false. Raises Invalid for lists that cannot be."""
    with reading() as session:
        version, base = datasets.find(session, person, dataset), models.find(session, person, model)
        template = prompts.find(session, person, prompt_version).template() if prompt_version else DEFAULT
        rows = min(validation_rows, version.splits.get("validation", 0)), version.splits.get("test", 0) if tested else 0
        known = _Known(session, person, version, template, rows, machine_hour)
        plain = {rung["technique"] for rung in rungs if not rung.get("shots") and rung.get("model") is None}
        return Forecast([_part(known, base, rung, shares=bool(rung.get("shots")) and rung["technique"] in plain) for rung in rungs])


def refusals(person: Who, *, dataset: int | str, model: int | str, prompt_version: str | None, parameters: dict[str, Any]) -> dict[str, str]:
    """Why a method does not fit this machine, by name: with the change that would, where there is one."""
    found = {}
    for name in METHODS:
        try:
            one = estimates.tune(person, model=model, dataset=dataset, method=name, parameters=parameters, prompt_version=prompt_version)
        except FettleError:
            continue
        if one.fits is False:
            found[name] = (
                f"Needs about {(one.memory_bytes or 0) / 1e9:.1f} GB, half as much again to be sure; {one.device} has {(one.device_bytes or 0) / 1e9:.1f} GB."
            )
    return found


@dataclass(frozen=True)
class _Known:
    """What all rungs are reckoned with. `rows` are (validation, test)."""

    session: Session
    person: Who
    version: DatasetVersion
    template: Template
    rows: tuple[int, int]
    machine_hour: float | None

    def lengths(self) -> tuple[float, float]:
        """(tokens of a row's prompt without shots, tokens of a shot), about."""
        cases = [case for case, _ in zip(datasets.cases(self.session, self.version, "train"), range(LOOKED_AT), strict=False)]
        if not cases:
            return 50.0, 50.0
        bare = fmean(len(render(self.template.with_shots(()), case.values).text) for case in cases) / CHARACTERS_A_TOKEN
        return bare, fmean(len(case.input) + len(case.answer) + 20 for case in cases) / CHARACTERS_A_TOKEN

    def reading(self, model: Model, answer: str, prompt: float) -> tuple[float, int]:
        """(tokens read, tokens written) for one row whose prompt has so many tokens. Here all labels are read at once; an endpoint reads the prompt for each."""
        if answer != "likelihood" or not model.remote:
            return prompt, WRITTEN
        answers = [answer_text(self.template, label) for label in SCHEME.most_offered(self.version.label_texts())]
        characters, written = weighing(prompt * CHARACTERS_A_TOKEN, answers)
        return characters / CHARACTERS_A_TOKEN, written

    def calibrating(self, shots: float) -> tuple[float, int]:
        """(tokens read, tokens written) by an endpoint for the prompts without an input of one scoring, with shots of so many tokens: of all labels."""
        template = self.template.with_shots(())
        case = next(datasets.cases(self.session, self.version, "train", 1), None)
        answers = [answer_text(template, label) for label in self.version.label_texts()]
        texts = [render(template, values).text for values in content_free(template, case.values)] if case else []
        each = [weighing(len(text) + shots * CHARACTERS_A_TOKEN, answers) for text in texts]
        return sum(characters for characters, _ in each) / CHARACTERS_A_TOKEN, sum(written for _, written in each)


def _part(known: _Known, base: Model, rung: dict[str, Any], *, shares: bool) -> Part:
    """`shares`: whether a tuned rung takes the models of another one, with shots beside them."""
    technique = str(rung["technique"])
    model = models.find(known.session, known.person, rung["model"]) if rung.get("model") is not None else base
    grid, seeds = combinations(rung), len(rung.get("seeds") or [0])
    answer = _answer(known, model, rung.get("answer"))
    trains, own = technique in METHODS and rung.get("model") is None, len(known.template.shots)
    tunes = trains and not shares
    drawn = seeds if trains or any((count := _shots(one)) and (one.get("selection") or count != own) for one in grid) else 1
    validated = len(grid) - 1 + drawn if trains else len(grid) * drawn
    points = len(rung.get("label_curve") or []) * seeds
    bare, shot = known.lengths()
    shots = fmean(_shots(one) for one in grid)
    scorings = [(validated + points, known.rows[0]), (drawn, known.rows[1])]
    asked = sum(count * rows for count, rows in scorings)
    read, written = known.reading(model, answer, bare + shots * shot)
    tokens, writes = round(asked * read), written * asked
    calibrated = sum(one.get("calibration") == "calibrated" for one in grid)
    if calibrated and model.remote and answer == "likelihood":
        without_input, behind = known.calibrating(shots * shot)
        times = drawn * (calibrated * bool(known.rows[0]) + bool(known.rows[1]))  # at most: a calibrated one is tested
        tokens, writes = tokens + round(times * without_input), writes + times * behind
    jobs = sum(count for count, rows in scorings if rows)
    pace = _scoring(known, model, answer, bare)
    seconds = sum(count * (pace.start + rows * pace.each) for count, rows in scorings if rows)
    measured = pace.measured
    if tunes:
        step = _stepping(known, model, technique, bare)
        each = _trainings(technique, grid)
        trained = [*each, *each[:1] * (drawn - 1)]
        steps = sum(one.total_steps(rung.get("label_budget") or known.version.splits.get("train", 0)) for one in trained)
        steps += sum(each[0].total_steps(budget) * seeds for budget in rung.get("label_curve") or [])
        runs = len(trained) + points
        seconds += steps * step.each + runs * step.start
        tokens += round(steps * each[0].batch_size * bare)
        jobs += runs
        measured = measured and step.measured
    return Part(technique, seconds, measured, tokens, _dollars(known, model, seconds, tokens, writes), jobs, drawn)


def _trainings(technique: str, grid: Sequence[dict[str, Any]]) -> list[MethodParameters]:
    """What is tuned for a grid, once for all cells that are only asked or weighed in another way."""
    return [one for one, _ in dict.fromkeys((parse(METHODS, technique, cell.get("parameters") or {}), cell.get("prompt_version")) for cell in grid)]


def _shots(one: dict[str, Any]) -> int:
    technique = one["technique"]
    return int(one["shots"]) if one.get("shots") is not None else PROMPT_RUNGS.get(technique, 0)


def _answer(known: _Known, model: Model, asked: str | None) -> str:
    """The way of answering, as services/rungs.py chooses it: by likelihood where there are labels and the model can be asked for it."""
    labels = known.version.label_texts()
    try:
        endpoint.check_answer(known.session, model, "likelihood", labels, known.template.mode)
    except Invalid:
        labels = []
    return asked or ("likelihood" if labels else "generate")


def _dollars(known: _Known, model: Model, seconds: float, tokens: int, written: int) -> float | None:
    if not model.remote:
        return 0.0 if known.machine_hour is None else seconds / 3600 * known.machine_hour
    remote = endpoints.remote(known.session, model)
    return None if remote is None or remote.price is None else (tokens * remote.price.input + written * remote.price.output) / 1e6


def _scoring(known: _Known, model: Model, answer: str, bare: float) -> _Pace:
    """From the last evaluations of this model, the same way of answering."""
    query = visible(known.person, Evaluation).join(Job, Job.id == Evaluation.job_id).add_columns(Job)
    query = query.where(Evaluation.model_id == model.id, Evaluation.answer == answer, Evaluation.answer != LINEAR, Job.state == "succeeded")
    query = query.where(Evaluation.run.is_(None)).limit(MEASURED)
    found = []
    for evaluation, job in known.session.execute(query):
        began, n = job.phases.get("evaluate"), (evaluation.scores or {}).get("n")
        if job.attempt == 1 and began and n and job.started_at and job.finished_at:
            found.append(((began - job.started_at) / 1000, (job.finished_at - began) / 1000 / n))
    if found:
        return _Pace(median(start for start, _ in found), median(each for _, each in found), True)
    if model.remote:
        return _Pace(2.0, 0.3, False)
    return _Pace(START, PASSES["score"] * max(model.parameters, 1) * bare / ROUGH_RATE, False)


def _stepping(known: _Known, model: Model, technique: str, bare: float) -> _Pace:
    """From the last runs of this method on this model, else of any method."""
    jobs = known.session.scalars(visible(known.person, Job).where(Job.kind == "tune", Job.state == "succeeded").limit(50)).all()
    mine = [job for job in jobs if job.settings.get("model") == model.id and (job.result or {}).get("steps") and (job.result or {}).get("seconds")]
    same = [job for job in mine if job.settings.get("method") == technique][:MEASURED] or mine[:MEASURED]
    if same:
        each = median(float(job.result["seconds"]) / int(job.result["steps"]) for job in same if job.result)
        spent = [(job.finished_at - job.started_at) / 1000 - float(job.result["seconds"]) for job in same if job.result and job.finished_at and job.started_at]
        return _Pace(max(0.0, median(spent)) if spent else START, each, True)
    batch = METHODS[technique]().batch_size
    return _Pace(2 * START, PASSES["train"] * max(model.parameters, 1) * bare * batch / ROUGH_RATE, False)
