"""From the Lab to an evaluation: columns scored over a whole split as jobs. What that would take is said first; drafts become prompt versions first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import prompt as prompts
from app.domain.access import Who, visible, write
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.endpoint import check_answer, check_window
from app.domain.evaluation import Evaluation
from app.domain.fitting import Policy
from app.domain.footprint import CHARACTERS_A_TOKEN
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.model import Model
from app.domain.prompt import Prompt, PromptVersion, content_hash, template_of
from app.domain.rendering import answer_text, check, render
from app.domain.scheme import DEFAULT
from app.errors import FettleError, Invalid
from app.remote.spec import weighing
from app.services import endpoints, evaluations, fits, generate
from app.services.evaluations import EvaluationView, usable
from app.services.fits import Question
from app.services.prompts import normal_form

SPLITS = ("validation", "train")
"""Splits that the Lab tests on: the test split belongs to comparisons, where each look is counted."""

ASIDE = ("n", "logprobs")
"""Parameters that say more about an answer or ask for more of them: an evaluation scores one."""

DRAFT, VARIANTS = "Lab draft for {}", "Lab variants for {}"
"""The prompts that a test makes, by the dataset's name: one for a draft that belongs to none, and one of each person for all that other columns changed."""

MEASURED = 5
"""Evaluations of a model whose pace counts: its last ones."""

LOOKED_AT = 20
"""Rows whose length stands for all."""


@dataclass(frozen=True)
class Column:
    """What a column asks: a prompt's fields, or a saved version by reference, with the column's own parameters. `latency_ms` is that of its last
    answer, none without one."""

    model: int | str
    prompt: Mapping[str, Any] | None = None
    prompt_version: str | None = None
    parameters: Mapping[str, Any] | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Pair:
    """One evaluation to be. `version` is the prompt version that says the same, none where one has to be made. `draft`: it is what stands in the editor,
    which becomes a version of the prompt `under` or a prompt of its own; everything else is a variant, and no prompt's next version. `name` is the prompt's
    that it is, or was made from."""

    model: Model
    fields: dict[str, Any]
    version: PromptVersion | None
    draft: bool
    under: Prompt | None
    name: str
    latency_ms: float | None

    @property
    def key(self) -> tuple[int, str]:
        return self.model.id, content_hash(self.fields)


@dataclass(frozen=True)
class Line:
    """What a pair would take. `seconds` is none where the model's pace is not known, `cost` (US dollars, at most) where its price is not."""

    pair: Pair
    rows: int
    seconds: float | None
    basis: str
    cost: float | None
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    dataset: Dataset
    version: DatasetVersion
    lines: list[Line]


@dataclass(frozen=True)
class Wanted:
    """What to score and how: `limit` rows of a split (all without one), for `every` model with every prompt or each column as it stands. The first column's
    draft becomes a version of the prompt `under`, whose version `based_on` it was made from, else a prompt of its own. `fit` is what happens to rows that
    are too long for a model."""

    dataset: int | str
    split: str
    answer: str
    limit: int | None = None
    every: bool = False
    under: int | None = None
    based_on: int | None = None
    fit: Policy = "refuse"


def plan(person: Who, columns: Sequence[Column], wanted: Wanted) -> Plan:
    """What the columns' tests would take. Raises Invalid or NotFound for what cannot be meant."""
    if wanted.split not in SPLITS:
        raise Invalid(
            "not_here",
            f"The Lab does not score the {wanted.split} split.",
            "Use validation or train here; a comparison scores the test split, once, at its end.",
        )
    pairs = [_pair(person, column, wanted.under, draft=at == 0 and column.prompt_version is None) for at, column in enumerate(columns)]
    if wanted.every:
        pairs = [_crossed(model, prompt) for prompt in pairs for model in pairs]
    with reading() as session:
        version = datasets.find(session, person, wanted.dataset)
        usable(version, wanted.split, wanted.answer)
        rows = min(wanted.limit or version.splits[wanted.split], version.splits[wanted.split])
        distinct: dict[tuple[int, str], Pair] = {}
        for pair in pairs:
            distinct.setdefault(pair.key, pair)
        lines = [_line(session, person, pair, version, wanted, rows) for pair in distinct.values()]
        return Plan(session.get_one(Dataset, version.dataset_id), version, lines)


def _crossed(model: Pair, prompt: Pair) -> Pair:
    latency = prompt.latency_ms if model.model.id == prompt.model.id else model.latency_ms
    return replace(prompt, model=model.model, latency_ms=latency)


def _pair(person: Who, column: Column, under: int | None, *, draft: bool) -> Pair:
    model, fields = generate.fields_for(person, column.model, column.prompt, column.prompt_version)
    parameters = fields["parameters"] if column.parameters is None else column.parameters
    wanted = normal_form({**fields, "parameters": {name: value for name, value in parameters.items() if name not in ASIDE}})
    with reading() as session:
        same = select(PromptVersion).where(PromptVersion.workspace_id == person.workspace_id, PromptVersion.content_hash == content_hash(wanted))
        version = session.scalars(same.order_by(PromptVersion.id.desc()).limit(1)).first()
        of = prompts.find(session, person, column.prompt_version) if column.prompt_version is not None else None
        version = of if of is not None and of.content_hash == content_hash(wanted) else version
        parent = write(session, person, Prompt, under, "prompt") if under and draft else None
        named = version or of
        name = session.get_one(Prompt, named.prompt_id).name if named else parent.name if parent else ""
    return Pair(model, wanted, version, draft, parent, name, column.latency_ms)


def _line(session: Session, person: Who, pair: Pair, version: DatasetVersion, wanted: Wanted, rows: int) -> Line:
    template = template_of(pair.fields)
    try:
        check(template, version.variables)
        check_answer(session, pair.model, wanted.answer, version.label_texts(), template.mode)
        check_window(session, pair.model, wanted.fit)
    except FettleError as error:
        return Line(pair, rows, None, "", None, f"{error.message} {error.advice}")
    seconds, basis = _time(session, person, pair, wanted.answer, rows)
    return Line(pair, rows, seconds, basis, _cost(session, pair, version, wanted.split, wanted.answer, rows))


def fit_of(person: Who, line: Line, wanted: Wanted) -> Question:
    """Ask how the rows that a test takes fit a line's model with its prompt, before there is one. Raises as `fits.start` does."""
    how: dict[str, Any] = {"split": wanted.split, "answer": wanted.answer, "limit": wanted.limit}
    return fits.start(person, model=line.pair.model.id, prompt=line.pair.fields, dataset=wanted.dataset, **how)


def _time(session: Session, person: Who, pair: Pair, answer: str, rows: int) -> tuple[float | None, str]:
    """(seconds for so many rows, where that is from): from the model's last evaluations, else from the column's last answer."""
    found = pace(session, person, pair.model.id, answer)
    if found is not None:
        return found.seconds(rows), found.basis
    if pair.latency_ms and answer == "generate":
        return rows * pair.latency_ms / 1000, "at most: from its last answer here, row after row"
    return None, "not measured yet: this run will tell"


@dataclass(frozen=True)
class Pace:
    """What evaluations of a model took: seconds until the first row, seconds a row, over so many rows."""

    load: float
    row: float
    rows: int
    evaluations: int

    def seconds(self, rows: int) -> float:
        return self.load + rows * self.row

    @property
    def basis(self) -> str:
        return f"measured on {self.rows:,} rows of its last {'evaluation' if self.evaluations == 1 else 'evaluations'}"


def pace(session: Session, person: Who, model: int, answer: str) -> Pace | None:
    """From the last evaluations of a model, this way of answering; none where there was none."""
    query = visible(person, Evaluation).join(Job, Job.id == Evaluation.job_id).add_columns(Job)
    query = query.where(Evaluation.model_id == model, Evaluation.answer == answer, Evaluation.run.is_(None), Job.state == "succeeded").limit(MEASURED)
    measured = [(row.scores["n"], job.finished_at - began, began - job.started_at) for row, job in session.execute(query) if (began := _began(row, job))]
    if not measured:
        return None
    known = sum(n for n, _, _ in measured)
    return Pace(fmean(before for _, _, before in measured) / 1000, sum(spent for _, spent, _ in measured) / known / 1000, known, len(measured))


def _began(evaluation: Evaluation, job: Job) -> int | None:
    """When a finished evaluation's first row was asked (ms); none where that is not known: it went on from an earlier attempt."""
    whole = job.attempt == 1 and job.started_at and job.finished_at and evaluation.scores and evaluation.scores["n"]
    return int(job.phases["evaluate"]) if whole and "evaluate" in job.phases else None


def _cost(session: Session, pair: Pair, version: DatasetVersion, split: str, answer: str, rows: int) -> float | None:
    if not pair.model.remote:
        return 0.0
    remote = endpoints.remote(session, pair.model)
    if remote is None or remote.price is None:
        return None
    template, written = template_of(pair.fields), Parameters.model_validate(pair.fields["parameters"]).max_tokens
    cases = [case for case, _ in zip(datasets.cases(session, version, split), range(LOOKED_AT), strict=False)]
    read = fmean(len(render(template, case.values).text) for case in cases)
    if answer == "likelihood":
        read, written = weighing(read, [answer_text(template, label) for label in DEFAULT.most_offered(version.label_texts())])
    return rows * (read / CHARACTERS_A_TOKEN * remote.price.input + written * remote.price.output) / 1e6


@dataclass(frozen=True)
class Started:
    """The queued evaluations, and the version that the first pair's prompt is now."""

    views: list[EvaluationView]
    prompt: Prompt
    version: PromptVersion


def start(person: Who, columns: Sequence[Column], wanted: Wanted) -> Started:
    """Record what is not saved yet and queue all evaluations. Starts none, and raises Invalid, when one of them could not be scored; Conflict with the newest
    version, when the editor's draft was made from an older one."""
    found = plan(person, columns, wanted)
    problem = next((line.problem for line in found.lines if line.problem), "")
    if problem:
        raise Invalid("cannot_test", problem, "Change the column, or take it out.")
    with transaction() as session:
        versions = [line.pair.version or _record(session, person, line.pair, found.dataset.name, wanted.based_on) for line in found.lines]
        first = session.get_one(Prompt, versions[0].prompt_id)
    reference = found.version.reference

    def queue(line: Line, version: PromptVersion) -> EvaluationView:
        how: dict[str, Any] = {"split": wanted.split, "answer": wanted.answer, "limit": wanted.limit, "fit": wanted.fit}
        return evaluations.create(person, model=line.pair.model.id, prompt_version=version.reference, dataset=reference, **how)

    views = [queue(line, version) for line, version in zip(found.lines, versions, strict=True)]
    return Started(views, first, versions[0])


def _record(session: Session, person: Who, pair: Pair, dataset: str, based_on: int | None) -> PromptVersion:
    digest = content_hash(pair.fields)
    query = visible(person, PromptVersion).where(PromptVersion.content_hash == digest)  # another pair of this very test may have made it
    found = session.scalars(query.limit(1)).first()
    if found is not None:
        return found
    if pair.under is not None:
        return prompts.add_version(session, person, session.get_one(Prompt, pair.under.id), pair.fields, based_on=based_on)
    if pair.draft:
        return prompts.create(session, person, DRAFT.format(dataset), pair.fields)
    name = VARIANTS.format(dataset)
    there = visible(person, Prompt).where(Prompt.name == name, Prompt.author_id == person.user_id)
    beside = session.scalars(there.limit(1)).first()
    return prompts.add_version(session, person, beside, pair.fields) if beside else prompts.create(session, person, name, pair.fields)


@dataclass(frozen=True)
class Test:
    """A test under way or done, as a chip shows it."""

    job: Job
    evaluation: Evaluation
    model: Model
    prompt: str


def tests(person: Who, jobs: Sequence[int]) -> list[Test]:
    """The tests that these jobs are, in the order given; those that are gone are left out."""
    with reading() as session:
        query = visible(person, Evaluation).where(Evaluation.job_id.in_(jobs))
        found = {}
        for row in session.scalars(query):
            version = session.get_one(PromptVersion, row.prompt_version_id)
            name = f"{session.get_one(Prompt, version.prompt_id).name} v{version.number}"
            found[row.job_id] = Test(session.get_one(Job, row.job_id), row, session.get_one(Model, row.model_id), name)
        return [found[key] for key in jobs if key in found]
