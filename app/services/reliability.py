"""Reliability checks: ask an evaluation's prompt again with other seeds and in other forms, and read where the answers differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import queue
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import reliability as checks
from app.domain.access import Who, page, read, visible
from app.domain.dataset import DatasetVersion, Example
from app.domain.evaluation import Evaluation, Prediction
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.prompt_form import Asked, Form, draw
from app.domain.reliability import MOST, Answered, Reliability
from app.domain.rendering import render
from app.domain.sameness import counted, same
from app.domain.scheme import Shape
from app.errors import Conflict, Invalid, NotFound
from app.services import testing
from app.services.evaluations import ANSWERS

FILTERS = {
    "all": "all",
    "forms": "forms differ",
    "repeats": "repeats differ",
    "sometimes": "right in some, wrong in others",
    "never": "wrong in all",
}
"""What rows can be asked for, as a page names it."""

LOOKED_AT = 1
"""Train rows that forms are shown on before anything runs."""


@dataclass(frozen=True)
class Run:
    """One run: what is asked in it, its name, and the evaluation that it is. `number` 0 is the one that is checked."""

    number: int
    evaluation: Evaluation
    words: str


@dataclass(frozen=True)
class ReliabilityView:
    """A check with what its page shows beside it."""

    check: Reliability
    job: Job
    runs: Sequence[Run]


@dataclass(frozen=True)
class Shown:
    """A form, and a row of the train split as a prompt of it."""

    form: Form
    prompt: str


@dataclass(frozen=True)
class Plan:
    """What a check would take: runs beside the one that there is, rows, seconds and where that is from, tokens, US dollars (none without a price).

    `equal` says why repeats would say nothing, where they would not.
    """

    runs: int
    rows: int
    seconds: float | None
    basis: str
    tokens: int
    cost: float | None
    forms: Sequence[Shown]
    equal: str


def plan(person: Who, *, evaluation: int, repeats: int = 0, forms: int = 8, seed: int = 0) -> Plan:
    """What the same check would take, with the forms that it would ask in. Raises what `create` raises, but for one without any run."""
    with reading() as session:
        row = _checkable(session, person, evaluation)
        equal = _equal(session, row)
        drawn = _drawn(session, row, forms, seed)
        scores, runs = row.scores or {}, (0 if equal else repeats) + len(drawn)
        rows = runs * int(scores["n"])
        pace = testing.pace(session, person, row.model_id, row.answer)
        cost = scores.get("cost")
        return Plan(
            runs,
            rows,
            None if pace is None else pace.seconds(rows),
            "not measured yet: this run will tell" if pace is None else pace.basis,
            runs * (int(scores["input_tokens"]) + int(scores["output_tokens"])),
            None if cost is None else runs * cost,
            _shown(session, row, drawn),
            equal,
        )


def create(person: Who, *, evaluation: int, repeats: int = 0, forms: int = 8, seed: int = 0) -> ReliabilityView:
    """Queue a check of a finished evaluation: `repeats` further runs with other seeds, `forms` in other forms of its prompt, drawn by `seed`.

    Raises Invalid for repeats that would be equal by construction, for no run at all or too many, Conflict for what cannot be checked, NotFound.
    """
    with transaction() as session:
        row = _checkable(session, person, evaluation)
        for name, count in (("repeats", repeats), ("forms", forms)):
            if not 0 <= count <= MOST:
                raise Invalid("too_many_runs", f"{count} {name} were asked for.", f"From 0 to {MOST} can be.", detail={"field": name})
        if repeats and (equal := _equal(session, row)):
            raise Invalid("equal_repeats", equal, "Ask for 0 repeats, or give the prompt a temperature and evaluate it.", detail={"field": "repeats"})
        drawn = _drawn(session, row, forms, seed)
        if forms and not drawn:
            advice = "Ask for repeats, or use a structured prompt, or one with lines such as \u201cText: {input}\u201d."
            raise Invalid("no_forms", "Nothing of this prompt can be written otherwise without saying something else.", advice, detail={"field": "forms"})
        if not repeats and not drawn:
            raise Invalid("no_runs", "A check needs a repeat or another form.", "Ask for at least one of either.", detail={"field": "forms"})
        check = checks.add(session, person, row, repeats, drawn, seed)
        queue.announce(session)
        return _view(session, check)


def _checkable(session: Session, person: Who, key: int) -> Evaluation:
    row = read(session, person, Evaluation, key, "evaluation")
    if row.scores is None:
        raise Conflict("not_scored", "What has no scores yet cannot be checked.", "Wait until the evaluation is finished.")
    if row.answer not in ANSWERS:
        raise Conflict("reads_no_prompt", "The linear baseline reads no prompt: it always answers the same.", "Check a model's evaluation.")
    if row.run is not None:
        raise Conflict("is_a_run", f"Evaluation {key} is itself a run of a reliability check.", "Check the evaluation that it is a run of.")
    return row


def _equal(session: Session, row: Evaluation) -> str:
    """Why repeats would be the same by construction; "" where they may differ. An endpoint may answer otherwise however it is asked."""
    if session.get_one(Model, row.model_id).remote:
        return ""
    if row.answer == "likelihood":
        return "A model that runs here finds the same likelihoods every time, so repeats are equal by construction."
    if Parameters.model_validate(session.get_one(PromptVersion, row.prompt_version_id).parameters).temperature == 0:
        return "At temperature 0 a model that runs here writes the same every time, so repeats are equal by construction."
    return ""


def _drawn(session: Session, row: Evaluation, forms: int, seed: int) -> list[Form]:
    version, prompt = session.get_one(DatasetVersion, row.dataset_version_id), session.get_one(PromptVersion, row.prompt_version_id)
    asked = Asked(prompt.template(), version.book, row.answer, Parameters.model_validate(prompt.parameters))
    return draw(asked, seed, max(0, min(forms, MOST)))


def _shown(session: Session, row: Evaluation, drawn: Sequence[Form]) -> list[Shown]:
    """The prompt as it is, and in each form, on a train row (or a made-up one where there is none): nothing of a sealed split is shown."""
    version, template = session.get_one(DatasetVersion, row.dataset_version_id), session.get_one(PromptVersion, row.prompt_version_id).template()
    case = next(datasets.cases(session, version, "train", LOOKED_AT), None)
    values = case.values if case else {**dict.fromkeys(version.variables, "\u2026"), **version.shown_labels()}
    every = [Form(), *drawn]
    return [Shown(form, render(form.applied(template), form.listed(values, version.book)).text) for form in every]


def find(person: Who, key: int) -> ReliabilityView:
    with reading() as session:
        return _view(session, read(session, person, Reliability, key, "reliability check"))


def _view(session: Session, check: Reliability) -> ReliabilityView:
    runs = [Run(at, one, _words(one)) for at, one in enumerate(checks.runs(session, check))]
    return ReliabilityView(check, session.get_one(Job, check.job_id), runs)


def _words(run: Evaluation) -> str:
    if run.run is None:
        return "as the prompt is"
    return run.formed.words if run.seed is None else f"again, seed {run.seed}"


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[ReliabilityView], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Reliability), Reliability, after, limit)
        return [_view(session, row) for row in rows], following


def of_evaluation(person: Who, evaluation: Evaluation) -> list[ReliabilityView]:
    """The checks of an evaluation, newest first; of a run, the check that it belongs to."""
    with reading() as session:
        mine = Reliability.evaluation_id == evaluation.id if evaluation.run is None else Reliability.job_id == evaluation.job_id
        return [_view(session, row) for row in session.scalars(visible(person, Reliability).where(mine).limit(50))]


def of_job(person: Who, job: int) -> Reliability | None:
    with reading() as session:
        return session.scalars(visible(person, Reliability).where(Reliability.job_id == job)).first()


@dataclass(frozen=True)
class Compared:
    """One row with what every run answered to it, in the order of the runs, and the different answers with how many runs gave each."""

    example: Example
    gold: str
    answers: Sequence[Answered]
    counted: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Rows:
    """A page of rows. `counts` are of all rows, by what can be asked for; `found` is how many the filter leaves."""

    rows: Sequence[Compared]
    counts: Mapping[str, int]
    found: int


def rows(person: Who, key: int, only: str = "all", *, offset: int = 0, limit: int = 100) -> Rows:
    """The rows that every run answered, those of most different answers first. A look at test rows is counted.

    Raises Sealed on a test split that nobody revealed, Invalid for a filter that there is not, NotFound.
    """
    if only not in FILTERS:
        raise Invalid("no_such_filter", f"There is no filter {only!r}.", f"Choose one of: {', '.join(FILTERS)}.")
    with reading() as session:
        check, every, shape = _opened(session, person, key)
        answers = checks.answered(session, every)
        kinds = {example: _kinds(check, given, shape) for example, given in answers.items()}
        wanted = [example for example, kind in kinds.items() if only in kind]
        wanted.sort(key=lambda example: (-len(counted(shape, [one.answer for one in answers[example]])), example))
        counts = {name: sum(name in kind for kind in kinds.values()) for name in FILTERS}
        found = Rows(_compared(session, every, shape, wanted[offset : offset + limit], answers), counts, len(wanted))
    _count_look(every[0])
    return found


def whole(person: Who, key: int, example: int) -> Compared:
    """One row. A look at a test row is counted. Raises Sealed, NotFound."""
    with reading() as session:
        _, every, shape = _opened(session, person, key)
        found = _compared(session, every, shape, [example], checks.answered(session, every, [example]))
    if not found:
        raise NotFound("row", example)
    _count_look(every[0])
    return found[0]


def _opened(session: Session, person: Who, key: int) -> tuple[Reliability, list[Evaluation], Shape]:
    """A check with its runs, once its rows may be looked at."""
    check = read(session, person, Reliability, key, "reliability check")
    every = checks.runs(session, check)
    datasets.readable(session.get_one(DatasetVersion, every[0].dataset_version_id), every[0].split)
    shape: Shape = (every[0].scores or {}).get("shape", "labels")
    return check, every, shape


def _count_look(evaluation: Evaluation) -> None:
    """Rows are read and sorted before it, so that nobody waits to write meanwhile."""
    if evaluation.split in datasets.SEALED:
        with transaction() as session:
            datasets.count_viewed(session, evaluation.dataset_version_id, {evaluation.split})


def _kinds(check: Reliability, given: Sequence[Answered], shape: Shape) -> set[str]:
    """The filters that leave a row."""
    right, texts = [one.correct for one in given], [one.answer for one in given]
    repeated, formed = texts[: 1 + check.repeats], [*texts[:1], *texts[1 + check.repeats :]]
    found = {"repeats": not same(shape, repeated), "forms": not same(shape, formed), "sometimes": any(right) and not all(right), "never": not any(right)}
    return {"all", *(name for name, holds in found.items() if holds)}


def _compared(
    session: Session, every: Sequence[Evaluation], shape: Shape, examples: Sequence[int], answers: Mapping[int, Sequence[Answered]]
) -> list[Compared]:
    query = select(Example, Prediction.gold).join(Prediction, Prediction.example_id == Example.id)
    query = query.where(Prediction.evaluation_id == every[0].id, Example.id.in_(examples))
    known = {row.id: (row, gold) for row, gold in session.execute(query)}
    return [
        Compared(known[one][0], known[one][1], answers[one], counted(shape, [given.answer for given in answers[one]]))
        for one in examples
        if one in known and one in answers
    ]
