"""Rows that tests need, made through the domain as the product makes them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import climbing, ending, intake
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who, owned
from app.domain.dataset import Case, Dataset, DatasetVersion, Example
from app.domain.endpoint import Endpoint
from app.domain.evaluation import Evaluation
from app.domain.experiment import Cell, Rung
from app.domain.fitting import Fit, told
from app.domain.job import Job
from app.domain.model import Model
from app.domain.scheme import Scheme, Shape, judge
from app.settings import settings
from worker.engine.folders import fingerprint

LABELS = ("billing", "delivery")


def add_model(person: Who, name: str = "Starter", folder: str = "starter") -> int:
    place = settings().models_folder / folder
    found = fingerprint(place) if place.is_dir() else "0" * 64  # one that is there is loaded only as what was registered
    with transaction() as session:
        model = Model(**owned(person), name=name, kind="foundation", folder=folder, content_hash=found, parameters=1000, alias=name.lower())
        session.add(model)
        session.flush()
        return model.id


def add_remote_model(person: Who, prices: Mapping[str, Any], probe: Mapping[str, Any] | None = None, name: str = "there") -> int:
    """The model `m` of an endpoint that nobody asks."""
    with transaction() as session:
        place = {"url": "http://h/v1", "origin": "http://h", "sealed_key": None, "tested_at": None}
        endpoint = Endpoint(**owned(person), name=name, prices=dict(prices), probe=probe and dict(probe), **place)
        session.add(endpoint)
        session.flush()
        about = {"name": "m", "kind": "remote", "folder": "", "content_hash": "", "parameters": 0, "alias": f"{name}/m"}
        model = Model(**owned(person), **about, endpoint_id=endpoint.id, remote_name="m")
        session.add(model)
        session.flush()
        return model.id


def add_dataset(person: Who, name: str = "tickets", train: int = 20, validation: int = 10, test: int = 30) -> DatasetVersion:
    """A sealed dataset of two labels, half and half."""
    rows = []
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        for number in range(count):
            label = LABELS[number % 2]
            rows.append((f"{split} message {number} about {'my bill' if label == 'billing' else 'my parcel'}", label, split))
    return add_rows(person, name, rows)


def add_rows(person: Who, name: str, rows: Iterable[tuple[str, str | None, str]]) -> DatasetVersion:
    """A sealed dataset of these rows: input, output (none for an unlabelled one), split."""
    with transaction() as session:
        dataset = Dataset(**owned(person), name=name)
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, 0, {})
        for position, (text, label, split) in enumerate(rows):
            session.add(Example(version_id=version.id, position=position, line=position + 2, split=split, input=text, output=label, cells=None))
        session.flush()
        intake.seal(session, version)
        return version


def claim(session: Session, queue: str = "gpu") -> Job:
    """What waits, taken. A dispatcher that is just announcing a job holds its row, and on PostgreSQL who claims then passes over it."""
    for _ in range(200):
        if (job := jobs.claim(session, queue, "test-worker", 60)) is not None:
            return job
        time.sleep(0.02)
    raise AssertionError(f"nothing waits in {queue}")


def answer_evaluation(job: Job, right: int, latency_ms: float = 20.0) -> Evaluation:
    """End a claimed evaluate job with as large a share of correct answers as `right` is of the test rows."""
    with transaction() as session:
        (evaluation,) = session.query(Evaluation).filter_by(job_id=job.id).all()
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        share = right / version.splits["test"]
        rows = list(datasets.cases(session, version, evaluation.split, evaluation.row_limit))
        scheme = Scheme.model_validate(evaluation.scheme)
        shape = scheme.shape_of(bool(version.label_texts()), [row.answer for row in rows])
        found = [_prediction(row, at < round(share * len(rows)), latency_ms, scheme, shape) for at, row in enumerate(rows)]
        evaluations.store(session, evaluation.id, found)
        look = climbing.is_look(session, evaluation)
        kept = evaluations.predictions(session, evaluation.id)
        fit = told("refuse", Fit(rows=len(rows), longest=40, window=2048, answer=4))
        scores = evaluations.scored(evaluation, kept, version.label_texts(), [latency_ms] * 5, {"device": "cpu", "dtype": "float32"}, fit=fit)
        evaluations.settle(session, evaluation, scores, look)
        ending.succeed(session, job.id, job.lease_token or "", {"evaluation": evaluation.id})
        return evaluation


def make_fit(rows: int) -> None:
    """As if so many rows of every evaluation that has ended had been too long for its model."""
    with transaction() as session:
        for evaluation in session.query(Evaluation):
            if evaluation.scores:
                evaluation.scores = {**evaluation.scores, "fit": {**evaluation.scores["fit"], "policy": "cut_head", "too_long": rows}}


def tune(job: Job, method: str = "lora", trainable: int = 921_600, seconds: float = 95.0) -> int:
    """End a claimed tune job with a registered model, whose id is given."""
    with transaction() as session:
        model = models.register_tuned(
            session, job.person(), name="tickets lora", folder=f"jobs/{job.id}", content_hash="1" * 64, parameters=1000,
            base_model_id=job.settings["model"], method=method, method_parameters={}, trainable_parameters=trainable, training_seconds=seconds,
            job_id=job.id, prompt_version_id=prompts.find(session, job.person(), job.settings["prompt_version"]).id,
        )  # fmt: skip
        climbing.advance(session, job, model)
        ending.succeed(session, job.id, job.lease_token or "", {"model": model.id, "versions": {"torch": "2.13.0"}})
        return model.id


def rung_of(job: Job) -> Row[Rung, Cell] | None:
    """Whose job this is."""
    with reading() as session:
        mine = select(Evaluation.id).where(Evaluation.job_id == job.id)
        query = select(Rung, Cell).join(Cell, Cell.rung_id == Rung.id)
        return session.execute(query.where(or_(Cell.tune_job_id == job.id, Cell.validation_id.in_(mine), Cell.evaluation_id.in_(mine)))).first()


def waiting(queue: str = "gpu") -> Job | None:
    """The job that is claimed next."""
    with reading() as session:
        query = select(Job).where(Job.queue == queue, Job.state == "queued").order_by(Job.priority.desc(), Job.position, Job.id)
        return session.scalars(query.limit(1)).first()


def climb(*rights: int, queue: str = "gpu", steps: int | None = None) -> None:
    """Do what waits as a worker would, until nothing does (or `steps` jobs). Each rung that comes up has the next number of test rows right, on
    validation rows as large a share; jobs of a rung for which no number is left stay where they are."""
    left, known = list(rights), dict[int, int]()

    def right(rung: Rung, cell: Cell) -> int | None:
        del cell
        if rung.id not in known and left:
            known[rung.id] = left.pop(0)
        return known.get(rung.id)

    climb_by(right, queue, steps)


def climb_by(
    right: Callable[[Rung, Cell], int | None], queue: str = "gpu", steps: int | None = None, latency_ms: Callable[[Rung], float] = lambda rung: 20.0
) -> list[str]:
    """The same with a number for every cell; None ends it. Gives the names of the jobs that were done."""
    done: list[str] = []
    while (job := waiting(queue)) is not None and len(done) != steps:
        found = rung_of(job)
        assert found is not None
        rung, cell = found
        if (number := right(rung, cell)) is None:
            break
        with transaction() as session:
            job = claim(session, queue)
        if job.kind == "tune":
            tune(job)
        else:
            answer_evaluation(job, number, latency_ms(rung))
        done.append(job.name)
    return done


def _prediction(row: Case, right: bool, latency_ms: float, scheme: Scheme, shape: Shape) -> dict[str, object]:
    """A wrong label is the other one; a wrong text is the gold one without its last word."""
    gold = row.answer
    wrong: Sequence[str] = [label for label in LABELS if label != gold]
    answer = gold if right else wrong[0] if shape == "labels" else " ".join(gold.split()[:-1])
    judged = judge(scheme, shape, gold, answer)
    return {
        "example_id": row.id,
        "answer": answer,
        "gold": gold,
        "correct": right,
        "judged": judged.as_json(),
        "likelihoods": None,
        "latency_ms": latency_ms,
        "input_tokens": 10,
        "output_tokens": 1,
    }
