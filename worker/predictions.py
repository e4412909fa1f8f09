"""What every evaluate job reads and writes, whoever answers: its rows, the predictions kept so far, its scores at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import climbing, ending, reliability
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain.candidates import Candidates
from app.domain.dataset import Case, DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.experiment import LINEAR
from app.domain.fitting import Policy
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.label_book import LabelBook
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.rendering import Template, read_of
from app.domain.scheme import DEFAULT, Scheme, Shape, judge, unanswered
from app.domain.scoring import adjusted, chosen
from app.domain.shots import place
from app.errors import FettleError
from worker.reporter import JobReporter
from worker.weights import weights_of

Prediction = dict[str, Any]

LATENCY_ROWS = 50
"""Test rows that are asked one at a time, to measure what one request takes: drawn by a seed, the same for every rung."""
FEWER = 12
"""The same of any other split, whose figures are provisional."""


@dataclass(frozen=True)
class Work:
    """One split of an evaluate job: everything in `rows` is to be scored, `waiting` is what no earlier attempt has scored yet.

    `last` is the work whose end is the job's.
    """

    job: Job
    token: str
    reporter: JobReporter
    evaluation: Evaluation
    model: Model
    template: Template
    parameters: Parameters
    book: LabelBook
    rows: Sequence[Case]
    waiting: Sequence[Case]
    last: bool
    scheme: Scheme = DEFAULT
    shape: Shape = "labels"
    candidates: Candidates | None = None
    """What chooses the labels that a row is offered; none where all of them are."""

    @property
    def timed(self) -> list[Case]:
        """The rows that latency is measured on."""
        count = LATENCY_ROWS if self.evaluation.split == "test" else FEWER
        return sorted(self.rows, key=lambda row: place(0, row.position))[:count]

    @property
    def labels(self) -> list[str]:
        """The display texts that may be answered; none for free text."""
        return self.book.texts()

    def offered(self, row: Case) -> Sequence[str]:
        """The labels that a row may be answered with."""
        return self.candidates.of(read_of(self.template, row.values)) if self.candidates else self.labels

    def values(self, row: Case) -> dict[str, str]:
        """What a row's prompt is filled with: `{labels}` names those offered, listed as the run's form has it."""
        offered = self.offered(row) if self.candidates else None
        return self.evaluation.formed.listed(row.values if offered is None else self.book.narrowed(row.values, offered), self.book, offered)

    def content_free(self) -> list[dict[str, str]]:
        """The values of prompts without an input, for calibration; none where it is not asked for or the prompt reads no input."""
        asked = self.scheme.scoring == "calibrated" and self.rows
        return evaluations.content_free(self.template, self.values(self.rows[0])) if asked else []

    def weighed(self, row: Case, sums: Mapping[str, float], lengths: Mapping[str, int], free: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        """The answer by likelihood: `sums` are the offered labels' log-likelihoods, `lengths` their tokens, `free` the sums of prompts without an input."""
        names = list(sums)
        shares = adjusted(list(sums.values()), self.scheme.scoring, [lengths.get(name, 1) for name in names], [[one[name] for name in names] for one in free])
        return {"likelihoods": dict(sums), **chosen(dict(zip(names, shares, strict=True)), row.answer)}

    def read_out(self, text: str, cut_off: bool) -> dict[str, Any]:
        """The answer in what a model wrote."""
        answer = self.scheme.read(text, self.shape, self.book)
        return {"answer": answer, "written": text, "likelihoods": None, "cut_off": cut_off}

    def predicted(self, row: Case, values: Mapping[str, Any]) -> "Prediction":
        """A prediction as it is kept, from what was answered for a row, judged as the evaluation's scheme says."""
        found, offered = predicted(row, values, self.scheme, self.shape, self.labels), self.offered(row)
        # Likelihoods name the labels that they are of; of a written answer nothing else would, but an index of all train rows.
        among = [self.labels.index(label) for label in offered] if self.candidates and not values.get("likelihoods") else None
        return {**found, "offered": not self.book or row.answer in offered, "among": among}

    @property
    def policy(self) -> Policy:
        """What happens to rows that are too long."""
        chosen: Policy = self.job.settings.get("fit", "refuse")
        return chosen

    @property
    def done(self) -> int:
        return len(self.rows) - len(self.waiting)

    def keep(self, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Write predictions, if the job is still ours. Raises Fenced."""
        if predictions:
            with transaction() as session:
                jobs.write(session, self.job.id, self.token)
                evaluations.store(session, self.evaluation.id, predictions)

    def keep_content_free(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Write what was said of prompts without an input so far, if the job is still ours. Raises Fenced."""
        with transaction() as session:
            jobs.write(session, self.job.id, self.token)
            session.get_one(Evaluation, self.evaluation.id).content_free = list(found)

    def finish(self, latency: Sequence[float], measured: Mapping[str, Any], **more: Any) -> None:
        """Write the scores, with `more` beside them, and end the job if nothing of it is left, in one transaction. Raises Fenced.

        Everything is computed before it: that takes up to minutes, in which nobody else could write.
        """
        with reading() as session:
            rows = evaluations.predictions(session, self.evaluation.id)
        offered = self.scheme.candidates if self.candidates else None
        scores = evaluations.scored(self.evaluation, rows, self.labels, latency, measured, **more, offered=offered)
        checked = self._checked(scores) if self.last else None
        with transaction() as session:
            jobs.write(session, self.job.id, self.token)
            evaluation = session.get_one(Evaluation, self.evaluation.id)
            evaluations.settle(session, evaluation, scores, look=climbing.is_look(session, evaluation))
            if self.last:
                result = {"evaluation": evaluation.id, "accuracy": scores["accuracy"], "n": scores["n"]}
                if checked is not None:
                    check, figures = checked
                    reliability.settle(session, check, figures)
                    result = {"reliability": check, "n": figures["n"]}
                ending.succeed(session, self.job.id, self.token, result)

    def _checked(self, scores: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """(the reliability check that this is the last run of, its scores); none for any other evaluation."""
        with reading() as session:
            check = reliability.of_job(session, self.job.id)
            found = None if check is None else reliability.gathered(session, check)
        return None if check is None or found is None else (check.id, reliability.computed(found, {self.evaluation.id: scores}))


def load(job: Job, token: str, reporter: JobReporter) -> list[Work]:
    """What is left of a job, split by split: the test split comes last, so that it is opened when all else is known.

    Never nothing: the last scores are written by the transaction that ends the job, and with its evaluations goes the job.
    """
    with reading() as session:
        found = session.scalars(select(Evaluation).where(Evaluation.job_id == job.id).order_by(Evaluation.split == "test", Evaluation.id)).all()
        left = [one for one in found if one.scores is None]
        return [_load(session, job, token, reporter, one, last=one is left[-1]) for one in left]


def _load(session: Session, job: Job, token: str, reporter: JobReporter, evaluation: Evaluation, *, last: bool) -> Work:
    """An evaluation's rows out of the database."""
    version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
    prompt = session.get_one(PromptVersion, evaluation.prompt_version_id)
    model = session.get_one(Model, evaluation.model_id)
    rows = list(datasets.cases(session, version, evaluation.split, evaluation.row_limit))
    scored = evaluations.done(session, evaluation.id)
    seed = {} if evaluation.seed is None else {"seed": evaluation.seed}
    book, parameters, scheme = version.book, Parameters.model_validate({**prompt.parameters, **seed}), Scheme.model_validate(evaluation.scheme)
    if parameters.stop:
        parameters = parameters.model_copy(update={"stop": evaluation.formed.stopping(prompt.template(), parameters.stop)})
    waiting = [row for row in rows if row.id not in scored]
    shape = scheme.shape_of(bool(book), [row.answer for row in rows])
    candidates = None if evaluation.answer == LINEAR else evaluations.candidates(session, evaluation)
    template = evaluation.formed.applied(prompt.template())
    return Work(job, token, reporter, evaluation, model, template, parameters, book, rows, waiting, last, scheme, shape, candidates)


def no_answer(why: str) -> dict[str, Any]:
    """What is known of a row that has no answer and never will, in place of one: `why` is the code of the error."""
    return {"answer": "", "likelihoods": None, "refused": why}


def rows_missing(count: int, of: int, last: FettleError) -> FettleError:
    """The end of a job some of whose rows were not answered, while the others were."""
    message = f"{count:,} of {of:,} rows were not answered. The last reason: {last.message}"
    return FettleError("rows_missing", message, "Retry the job: only these rows are asked again, the others are kept.")


def weights(model: Model) -> tuple[Any, Any]:
    """(folder of the base weights, folder of the adapter or None) of a model that runs here."""
    with reading() as session:
        found = weights_of(session, model)
    return found.here()


def predicted(row: Case, values: Mapping[str, Any], scheme: Scheme = DEFAULT, shape: Shape = "labels", labels: Sequence[str] = ()) -> Prediction:
    """A prediction as it is kept, from what was answered for a row."""
    # A model may write any character; PostgreSQL holds every one but this.
    texts = {name: values[name].replace("\0", "\ufffd") for name in ("answer", "written") if values.get(name) is not None}
    answer, written, why = texts["answer"], texts.get("written"), values.get("refused", "")
    source = " ".join(row.values.values())
    judged = unanswered(scheme, shape, row.answer, why) if why else judge(scheme, shape, row.answer, answer, written=written, source=source)
    found = {"example_id": row.id, "gold": row.answer, "correct": judged.correct, "judged": judged.as_json(), **values, **texts}
    found.pop("refused", None)
    found["off_list"] = shape == "labels" and bool(labels) and answer not in labels and not why
    main = scheme.main(shape).name
    if why or main not in judged.values:  # of a row without an answer nothing says by how much it is wrong
        return found
    return {**found, "margin": judged.values[main]}
