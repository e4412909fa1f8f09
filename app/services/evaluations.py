"""Evaluations: queue one, read its scores and predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app import queue
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import lineage
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who, page, read, visible
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.endpoint import check_answer, check_window
from app.domain.evaluation import Evaluation
from app.domain.experiment import queue_evaluation
from app.domain.fitting import Policy
from app.domain.job import Job
from app.domain.model import Model
from app.domain.prompt import Prompt, PromptVersion
from app.domain.rendering import LABELS, Template, check, template_variables
from app.domain.scheme import ACCURACY, METRICS, Scheme
from app.domain.scoring.json_fields import placed
from app.domain.scoring.reading import found_json
from app.domain.stats import Difference, Verdict, paired_difference, verdict
from app.errors import Conflict, Invalid, NotFound, Sealed, first_problem

ANSWERS = ("likelihood", "generate")
CHANGEABLE = ("model", "dataset", "prompt_version", "split", "answer", "limit", "fit", "scheme")
"""What a clone can have different, its priority aside."""

LOOKED_AT = 1_000
"""Rows whose gold answers tell what answers are like."""
COMPARABLE = 50
"""Evaluations that are offered to be laid beside one."""

ALONE = Evaluation.run.is_(None)
"""Runs of a reliability check are found through it, not among all others."""


@dataclass(frozen=True)
class EvaluationView:
    evaluation: Evaluation
    job: Job


def create(
    person: Who,
    *,
    model: int | str,
    prompt_version: int | str | None,
    dataset: int | str,
    split: str = "test",
    answer: str = "likelihood",
    limit: int | None = None,
    fit: Policy = "refuse",
    scheme: Mapping[str, Any] | None = None,
    cloned_from: int | None = None,
) -> EvaluationView:
    """Queue the scoring of a model with a prompt on a split. Without a prompt version the one the model was tuned through counts; `scheme` says how
    answers are read and judged where that is not the usual (app/domain/scheme.py). Raises Invalid for what cannot be scored so."""
    wanted: dict[str, Any] = {
        "model": model,
        "prompt_version": prompt_version,
        "dataset": dataset,
        "split": split,
        "answer": answer,
        "limit": limit,
        "fit": fit,
    }
    with transaction() as session:
        if cloned_from is not None:
            read(session, person, Job, cloned_from, "job")
        evaluation = _add(session, person, **wanted, scheme=scheme_of(scheme or {}))
        job = session.get_one(Job, evaluation.job_id)
        job.cloned_from = cloned_from
        queue.announce(session)
        return EvaluationView(evaluation, job)


def _add(
    session: Session,
    person: Who,
    *,
    model: int | str,
    prompt_version: int | str | None,
    dataset: int | str,
    split: str,
    answer: str,
    limit: int | None,
    fit: Policy,
    scheme: Scheme,
) -> Evaluation:
    """What `create` does within a transaction."""
    row = models.find(session, person, model)
    version = datasets.find(session, person, dataset)
    usable(version, split, answer)
    check_scheme(scheme, answer, remote=row.remote)
    check_fields(session, version, scheme)
    if prompt_version is not None:
        prompt = prompts.find(session, person, prompt_version)
    elif row.prompt_version_id is not None:
        prompt = session.get_one(PromptVersion, row.prompt_version_id)
    else:
        raise Invalid("no_prompt", f"{row.name} was not tuned here, so a prompt version is needed.", "Save a prompt in the lab and name it here.")
    check(prompt.template(), version.variables)
    check_calibrated(version, scheme, answer, prompt.template())
    check_answer(session, row, answer, version.label_texts(), prompt.mode)
    check_window(session, row, fit)
    return queue_evaluation(session, person, row, prompt, version, split, answer, limit, fit, scheme=scheme)


def clone(session: Session, person: Who, job: Job, changes: Mapping[str, Any], priority: int | None) -> Job:
    """The job of the same evaluation again with what `changes` name; of a scheme its named fields change. Raises Invalid for what an evaluation does not have."""
    if foreign := [name for name in changes if name not in CHANGEABLE]:
        advice = f"A clone of one can have another: {', '.join(CHANGEABLE)}."
        raise Invalid("not_of_this_kind", f"An evaluation has no {foreign[0]}.", advice, detail={"field": foreign[0]})
    old = _of_job(session, person, job.id)
    if old is None:
        raise NotFound("evaluation", job.id)
    same = {name: job.settings[name] for name in CHANGEABLE if name in job.settings}
    given = {name: value for name, value in changes.items() if value is not None or name == "limit"}
    scheme = scheme_of({**old.scheme, **(given.pop("scheme", None) or {})})
    copy = session.get_one(Job, _add(session, person, **same | given, scheme=scheme).job_id)
    copy.cloned_from, copy.priority = job.id, job.priority if priority is None else priority
    queue.announce(session)
    return copy


def scheme_of(given: Mapping[str, Any]) -> Scheme:
    """A scheme as a person gave it. Raises Invalid naming the field."""
    try:
        return Scheme.model_validate(given)
    except ValidationError as error:
        place, message = first_problem(error)
        advice = "What a scheme may hold is described in docs/evaluation.md."
        raise Invalid("bad_scheme", f"{place or 'scheme'}: {message}.", advice, detail={"field": place}) from error


def check_scheme(scheme: Scheme, answer: str, *, remote: bool) -> None:
    """Raises Invalid for a scheme that does not fit the way of answering."""
    if scheme.scoring == "normalised" and remote:
        advice = "Choose raw or calibrated, or a model that runs here."
        raise Invalid("no_token_counts", "An endpoint does not say how many tokens a label has, so likelihoods cannot be normalised by them.", advice)
    if scheme.scoring != "raw" and answer != "likelihood":
        raise Invalid("not_weighed", f"Answers that are generated are not compared by likelihood, so they cannot be {scheme.scoring}.", "Leave scoring on raw.")
    if scheme.extractor != "auto" and answer == "likelihood":
        raise Invalid("nothing_written", "By likelihood nothing is written, so there is nothing to extract an answer from.", "Leave extractor on auto.")


def check_fields(session: Session, version: DatasetVersion, scheme: Scheme) -> None:
    """Raises Invalid for a comparator of a place in a list, as train rows have one there: it would be passed over without a word."""
    numbered = [path for path in scheme.fields if any(step.isdecimal() for step in path.split("."))]
    golds = [found_json(row.answer) for row in datasets.cases(session, version, "train", LOOKED_AT)] if numbered else []
    path = next((path for gold in golds for path in numbered if placed(gold, path)), None)
    if path is not None:
        message = f"{path} names a place in a list, which has no comparator of its own."
        advice = "Items of a list are aligned before they are compared: leave the place out, and it holds for all of them."
        raise Invalid("bad_field", message, advice, detail={"field": "fields"})


def check_calibrated(version: DatasetVersion, scheme: Scheme, answer: str, template: Template) -> None:
    """Raises Invalid for calibration that would divide by something else in every row: where there are many labels, a prompt that names them names
    others to each row, and the prompt without an input has none of its own."""
    many = evaluations.narrows(version.book, scheme, answer, template)
    if scheme.scoring == "calibrated" and many and LABELS in template_variables(template):
        message = f"Likelihoods cannot be calibrated where the prompt names {{labels}} and there are {len(version.book.offered):,} of them."
        advice = "Each row is offered labels of its own, so there is no one prompt without an input. Choose raw or normalised, or a prompt without {labels}."
        raise Invalid("not_one_calibration", message, advice)


def usable(version: DatasetVersion, split: str, answer: str) -> None:
    """Raises Invalid when a split cannot be scored this way, Sealed for a reserve that is not open."""
    if answer not in ANSWERS:
        raise Invalid("unknown_answer", f"There is no way of answering called {answer!r}.", f"Choose one of: {', '.join(ANSWERS)}.")
    if split == "unlabelled" or not version.splits.get(split):
        raise Invalid("no_such_split", f"Dataset {version.reference} has no labelled split {split!r}.", f"It has: {', '.join(version.splits)}.")
    if split == "reserve" and split in datasets.closed(version):
        raise Sealed(split)
    if answer == "likelihood" and len(version.label_texts()) < 2:
        raise Invalid("no_label_set", f"Dataset {version.reference} has no fixed set of labels.", "Score it by generation: answer = generate.")


def find(person: Who, key: int) -> EvaluationView:
    with reading() as session:
        evaluation = read(session, person, Evaluation, key, "evaluation")
        return EvaluationView(evaluation, session.get_one(Job, evaluation.job_id))


@dataclass(frozen=True)
class Named:
    """What an evaluation is of."""

    model: Model
    dataset: Dataset
    version: DatasetVersion
    prompt: Prompt
    prompt_version: PromptVersion


def named(person: Who, evaluation: Evaluation) -> Named:
    """The rows that an evaluation points to."""
    del person  # whoever found the evaluation may see what it is of
    with reading() as session:
        version, prompt = session.get_one(DatasetVersion, evaluation.dataset_version_id), session.get_one(PromptVersion, evaluation.prompt_version_id)
        model = session.get_one(Model, evaluation.model_id)
        return Named(model, session.get_one(Dataset, version.dataset_id), version, session.get_one(Prompt, prompt.prompt_id), prompt)


def comparable(person: Who, evaluation: Evaluation) -> list[tuple[Evaluation, str]]:
    """Finished evaluations on the same rows, the newest first, each with the name of its model and prompt."""
    with reading() as session:
        rows = _others(session, person, evaluation, Evaluation.dataset_version_id == evaluation.dataset_version_id)
        return [(row, _name(session, row)) for row in rows]


def rivals(person: Who, evaluation: Evaluation) -> list[tuple[Evaluation, str]]:
    """Finished evaluations on the same split of any version of the dataset, the newest first; the names of those on other versions say which."""
    with reading() as session:
        mine = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        numbers = dict(session.execute(select(DatasetVersion.id, DatasetVersion.number).where(DatasetVersion.dataset_id == mine.dataset_id)).all())
        rows = _others(session, person, evaluation, Evaluation.dataset_version_id.in_(numbers))
        versions = {row.id: numbers[row.dataset_version_id] for row in rows}
        return [(row, _name(session, row) + (f", on version {versions[row.id]}" if versions[row.id] != mine.number else "")) for row in rows]


def _others(session: Session, person: Who, evaluation: Evaluation, where: ColumnElement[bool]) -> list[Evaluation]:
    query = visible(person, Evaluation).where(where, Evaluation.split == evaluation.split, Evaluation.id != evaluation.id, ALONE)
    return [row for row in session.scalars(query.limit(COMPARABLE)) if row.scores is not None]


def _name(session: Session, row: Evaluation) -> str:
    prompt = session.get_one(PromptVersion, row.prompt_version_id)
    title = f"{session.get_one(Prompt, prompt.prompt_id).name} v{prompt.number}"
    return f"{row.id}: {session.get_one(Model, row.model_id).shown}, {title if row.answer in ANSWERS else 'linear baseline'}"


def of_job(person: Who, job: int) -> Evaluation | None:
    """The evaluation that a job fills; of a rung's two, the one on its test rows."""
    with reading() as session:
        return _of_job(session, person, job)


def _of_job(session: Session, person: Who, job: int) -> Evaluation | None:
    query = visible(person, Evaluation).where(Evaluation.job_id == job, ALONE).order_by(None)
    return session.scalars(query.order_by(Evaluation.split == "validation", Evaluation.id)).first()


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[EvaluationView], int | None]:
    """The newest first, those that are runs of a reliability check aside."""
    with reading() as session:
        rows, following = page(session, visible(person, Evaluation).where(ALONE), Evaluation, after, limit)
        return [EvaluationView(row, session.get_one(Job, row.job_id)) for row in rows], following


@dataclass(frozen=True)
class Against:
    """Two evaluations on the rows that they share, by one figure (`metric`). `common` of `of` rows; where they are not the same, `sentence` says so."""

    metric: str
    difference: Difference
    verdict: Verdict
    common: int
    of: tuple[int, int]
    sentence: str


def against(person: Who, key: int, other: int, metric: str | None = None) -> Against:
    """Evaluation `key` minus evaluation `other`, paired by any figure that is a mean over rows, or a check; by the main one of `key` unless said.
    Across versions of a dataset only rows that both have unchanged count.

    Raises Conflict when one of them is not finished, Invalid when they share no row.
    """
    with reading() as session:
        two = [read(session, person, Evaluation, one, "evaluation") for one in (key, other)]
        if any(one.scores is None for one in two):
            raise Conflict("not_scored", "One of the two evaluations has no scores yet.", "Wait until both are finished.")
        versions = [session.get_one(DatasetVersion, one.dataset_version_id) for one in two]
        if two[0].split != two[1].split or versions[0].dataset_id != versions[1].dataset_id:
            raise Invalid("not_comparable", "These evaluations are on different splits or datasets.", "Compare evaluations on the same split of one dataset.")
        figure = metric or evaluations.paired_by(two[0])
        right = [evaluations.by_row(session, one, figure) for one in two]
        if versions[0].id == versions[1].id:
            pairs = [(example, example) for example in right[0]]
        else:
            pairs = lineage.same_rows(session, versions[0], versions[1], two[0].split)
        pairs = [(a, b) for a, b in pairs if a in right[0] and b in right[1]]
    if not pairs:
        raise Invalid("no_common_rows", "The two evaluations share no row.", "Score both on the newest version.")
    difference = paired_difference([right[0][a] for a, _ in pairs], [right[1][b] for _, b in pairs])
    of = (len(right[0]), len(right[1]))
    same = len(pairs) == of[0] == of[1]
    numbers = f"{len(pairs):,} rows that versions {versions[1].number} and {versions[0].number} have in common (of {of[1]:,} and {of[0]:,})"
    sentence = f"Compared on the same {len(pairs):,} rows." if same else f"Compared on the {numbers}."
    if all(right[0][a] == right[1][b] for a, b in pairs):
        sentence += " Both do equally well on every one of them."
    known = METRICS[(two[0].scores or {}).get("shape", "labels")]
    said = "" if figure == ACCURACY.name else known[figure].title if figure in known else figure
    return Against(figure, difference, verdict(difference, rows=two[0].split, figure=said), len(pairs), of, sentence)
