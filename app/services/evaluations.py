"""Evaluations: queue one, read its scores and predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from app import queue
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import lineage
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who, page, read, visible
from app.domain.dataset import DatasetVersion, Example
from app.domain.endpoint import check_answer
from app.domain.evaluation import Evaluation, Prediction
from app.domain.experiment import queue_evaluation
from app.domain.fitting import Policy
from app.domain.job import Job
from app.domain.rendering import check
from app.domain.stats import Difference, Verdict, paired_difference, verdict
from app.errors import Conflict, Invalid, Sealed

ANSWERS = ("likelihood", "generate")


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
) -> EvaluationView:
    """Queue the scoring of a model with a prompt on a split. Without a prompt version the one the model was tuned through counts."""
    with transaction() as session:
        row = models.find(session, person, model)
        version = datasets.find(session, person, dataset)
        usable(version, split, answer)
        if prompt_version is not None:
            prompt = prompts.find(session, person, prompt_version)
        elif row.prompt_version_id is not None:
            prompt = session.get_one(prompts.PromptVersion, row.prompt_version_id)
        else:
            raise Invalid("no_prompt", f"{row.name} was not tuned here, so a prompt version is needed.", "Save a prompt in the lab and name it here.")
        check(prompt.template(), version.variables)
        check_answer(session, row, answer, version.label_texts(), prompt.mode)
        evaluation = queue_evaluation(session, person, row, prompt, version, split, answer, limit, fit)
        queue.announce(session)
        return EvaluationView(evaluation, session.get_one(Job, evaluation.job_id))


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


def of_job(person: Who, job: int) -> Evaluation | None:
    """The evaluation that a job fills."""
    with reading() as session:
        return session.scalars(visible(person, Evaluation).where(Evaluation.job_id == job)).first()


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[EvaluationView], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Evaluation), Evaluation, after, limit)
        return [EvaluationView(row, session.get_one(Job, row.job_id)) for row in rows], following


def predictions(person: Who, key: int, *, offset: int = 0, limit: int = 100) -> Sequence[tuple[Prediction, Example]]:
    """Per-example predictions with their examples. Raises Sealed on a test split that nobody revealed."""
    with transaction() as session:
        evaluation = read(session, person, Evaluation, key, "evaluation")
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        datasets.readable(version, evaluation.split)
        if evaluation.split == "test":
            datasets.count_viewed(session, version.id)
        query = select(Prediction, Example).join(Example, Example.id == Prediction.example_id)
        query = query.where(Prediction.evaluation_id == evaluation.id).order_by(Prediction.correct, Prediction.example_id)
        return [(prediction, example) for prediction, example in session.execute(query.offset(offset).limit(limit))]


@dataclass(frozen=True)
class Against:
    """Two evaluations on the rows that they share. `common` of `of` rows; where they are not the same, `sentence` says so."""

    difference: Difference
    verdict: Verdict
    common: int
    of: tuple[int, int]
    sentence: str


def against(person: Who, key: int, other: int) -> Against:
    """Evaluation `key` minus evaluation `other`, paired. Across versions of a dataset only rows that both have unchanged count.

    Raises Conflict when one of them is not finished, Invalid when they share no row.
    """
    with reading() as session:
        two = [read(session, person, Evaluation, one, "evaluation") for one in (key, other)]
        if any(one.scores is None for one in two):
            raise Conflict("not_scored", "One of the two evaluations has no scores yet.", "Wait until both are finished.")
        versions = [session.get_one(DatasetVersion, one.dataset_version_id) for one in two]
        if two[0].split != two[1].split or versions[0].dataset_id != versions[1].dataset_id:
            raise Invalid("not_comparable", "These evaluations are on different splits or datasets.", "Compare evaluations on the same split of one dataset.")
        right = [{row.example_id: row.correct for row in evaluations.predictions(session, one.id)} for one in two]
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
    return Against(difference, verdict(difference), len(pairs), of, sentence)
