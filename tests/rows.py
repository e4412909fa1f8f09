"""Rows that tests need, made through the domain as the product makes them."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.db import transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain.access import Who, owned
from app.domain.dataset import Case, Dataset, DatasetVersion, Example
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.model import Model

LABELS = ("billing", "delivery")


def add_model(person: Who, name: str = "Starter", folder: str = "starter") -> int:
    with transaction() as session:
        model = Model(**owned(person), name=name, kind="foundation", folder=folder, content_hash="0" * 64, parameters=1000, alias=name.lower())
        session.add(model)
        session.flush()
        return model.id


def add_dataset(person: Who, name: str = "tickets", train: int = 20, validation: int = 10, test: int = 30) -> DatasetVersion:
    """A sealed dataset of two labels, half and half."""
    with transaction() as session:
        dataset = Dataset(**owned(person), name=name)
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, 0, {})
        position = 0
        for split, count in (("train", train), ("validation", validation), ("test", test)):
            for number in range(count):
                label = LABELS[number % 2]
                text = f"{split} message {number} about {'my bill' if label == 'billing' else 'my parcel'}"
                session.add(Example(version_id=version.id, position=position, line=position + 2, split=split, input=text, output=label, cells=None))
                position += 1
        session.flush()
        datasets.seal(session, version)
        return version


def claim(session: Session) -> Job:
    job = jobs.claim(session, "gpu", "test-worker", 60)
    assert job is not None
    return job


def answer_evaluation(job: Job, right: int, latency_ms: float = 20.0) -> Evaluation:
    """End a claimed evaluate job with `right` correct answers."""
    with transaction() as session:
        evaluation = session.query(Evaluation).filter_by(job_id=job.id).one()
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        rows = list(datasets.cases(session, version, evaluation.split))
        evaluations.store(session, evaluation.id, [_prediction(row, at < right, latency_ms) for at, row in enumerate(rows)])
        evaluations.settle(session, evaluation, version.label_texts(), [latency_ms] * 5, {"device": "cpu"})
        jobs.succeed(session, job.id, job.lease_token or "", {"evaluation": evaluation.id})
        return evaluation


def _prediction(row: Case, right: bool, latency_ms: float) -> dict[str, object]:
    gold = row.answer
    wrong: Sequence[str] = [label for label in LABELS if label != gold]
    answer = gold if right else wrong[0]
    return {
        "example_id": row.id,
        "answer": answer,
        "gold": gold,
        "correct": right,
        "likelihoods": None,
        "latency_ms": latency_ms,
        "input_tokens": 10,
        "output_tokens": 1,
    }
