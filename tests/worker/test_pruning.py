"""What ended jobs leave goes by age, and never the result."""

from pathlib import Path

import pytest
from sqlalchemy import update

from app import storage
from app.db import now, reading, transaction
from app.disks import Kept
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain import webhook as webhooks
from app.domain.access import Who, owned
from app.domain.job import Job
from app.domain.metric import LogLine
from app.domain.model import Model, register_tuned
from app.domain.webhook import Webhook
from app.services import jobs as services
from app.services import kept
from app.settings import settings
from worker.pruning import DAY_MS, prune

CURVE = [("loss", 1, 0.5), ("loss", 2, 0.25), ("resource/cores", 7, 1.5)]
SAMPLE = {"trial": 0, "step": 2, "row": 1, "input": "it is good", "gold": "positive", "text": "negative"}
LEFT = ("checkpoint-8/optimizer.pt", "best-8/trainable.safetensors", "artefact/adapter_model.safetensors", ".tmp-checkpoint-9-x/a", "process.log")


def ended(person: Who, days: float, *, succeeded: bool) -> tuple[int, Path]:
    """A job that ended so many days ago, with everything an attempt can leave."""
    with transaction() as session:
        key = jobs.add(session, person, "tune", "a tune", {"dataset": "1@1"}).id
        job = jobs.claim(session, "gpu", "w", 30)
        assert job is not None and job.id == key
        folder = settings().storage_folder / "jobs" / str(key) / "attempt-1"
        metrics.record(session, key, job.lease_token or "", 1, [(step, {name: value}) for name, step, value in CURVE], samples=[SAMPLE])
        if succeeded:
            about = {"content_hash": "", "parameters": 1, "licence": "", "source": "", "method": "lora", "method_parameters": {}}
            more = {"base_model_id": None, "trainable_parameters": 1, "training_seconds": 1.0, "prompt_version_id": None, "dataset_version_id": None}
            register_tuned(session, person, name="m", folder=str((folder / "artefact").relative_to(settings().storage_folder)), job_id=key, **about, **more)
            ending.succeed(session, key, job.lease_token or "", {})
        else:
            ending.fail(session, key, job.lease_token or "", {"code": "x", "message": "x", "advice": ""})
        session.execute(update(Job).where(Job.id == key).values(finished_at=now(session) - int(days * DAY_MS)))
        session.add(LogLine(job_id=key, attempt=1, event=1, at=now(session) - int(days * DAY_MS), text="said"))
    for name in LEFT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
    return key, folder


def test_checkpoints_in_the_object_store_go_by_the_same_rule(person: Who, bucket: str) -> None:
    (old, folder), (young, _), (done, _) = ended(person, 15, succeeded=False), ended(person, 13, succeeded=False), ended(person, 1, succeeded=True)
    del bucket
    store = storage.store()
    assert store is not None
    for key in (old, young, done, 999):
        store.push(folder / "checkpoint-8", f"checkpoints/jobs/{key}/attempt-1")
    store.push(folder / "artefact", f"jobs/{done}/attempt-1/artefact")
    prune()
    assert store.names("checkpoints/jobs") == sorted((str(young), "999")), "what no row names may be of a job that a restored database does not know"
    assert store.has(f"jobs/{done}/attempt-1/artefact")


def there(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("days", "succeeded", "stays"),
    [
        (0.1, False, set(LEFT)),
        (0.1, True, {"artefact/adapter_model.safetensors", ".tmp-checkpoint-9-x/a", "process.log"}),
        (2, False, set(LEFT) - {".tmp-checkpoint-9-x/a"}),
        (20, False, {"process.log"}),
        (100, False, set()),
        (100, True, {"artefact/adapter_model.safetensors"}),
        (10_000, False, set()),
        (10_000, True, {"artefact/adapter_model.safetensors"}),
    ],
)
def test_what_is_due_goes_and_the_result_stays_with_its_curve_and_samples(person: Who, days: float, succeeded: bool, stays: set[str]) -> None:
    key, folder = ended(person, days, succeeded=succeeded)
    prune()
    assert there(folder) == stays
    assert len(services.log(person, key)) == (days < 90)
    assert [(point.name, point.step, point.value) for point in services.points(person, key)] == CURVE
    with reading() as session:
        (sample,) = metrics.samples(session, key)
        assert {name: getattr(sample, name) for name in SAMPLE} == SAMPLE
    assert prune() == 0


def test_a_job_that_waits_or_runs_is_left_alone(person: Who) -> None:
    key, folder = ended(person, 100, succeeded=False)
    with transaction() as session:
        jobs.retry(session, session.get_one(Job, key))
    prune()
    assert there(folder) == set(LEFT)


def test_what_is_kept_is_counted_by_its_use(person: Who) -> None:
    key, _ = ended(person, 1, succeeded=True)
    with transaction() as session:
        job = session.get_one(Job, key)
        assert session.query(Model).count() == 1
    assert kept.of_job(job) == Kept(results=100, checkpoints=300, logs=100) == kept.everything()
    assert kept.goes_at(job) == (job.finished_at or 0) + 14 * DAY_MS


def test_what_another_machine_has_of_a_job_that_succeeded_here_goes_at_once(person: Who) -> None:
    key, folder = ended(person, 0.1, succeeded=True)
    earlier = folder.parent / "attempt-0"
    for name in ("checkpoint-8/optimizer.pt", "best-8/trainable.safetensors", "search.json", "artefact/half"):
        (earlier / name).parent.mkdir(parents=True, exist_ok=True)
        (earlier / name).write_bytes(b"x")
    prune()
    assert there(earlier) == set() and "artefact/adapter_model.safetensors" in there(folder), key


def test_messages_of_webhooks_go_with_the_logs_unless_they_are_still_to_be_sent(person: Who) -> None:
    with transaction() as session:
        hook = Webhook(**owned(person), url="http://h/", origin="http://h", sealed_secret="")
        session.add(hook)
        session.flush()
        for days, state in ((100, "sent"), (100, "failed"), (100, "waiting"), (80, "sent")):
            row = webhooks.add(session, hook, webhooks.TEST, {"days": days})
            row.state, row.created_at = state, now(session) - days * DAY_MS
    assert prune() == 2 and prune() == 0
    with transaction() as session:
        assert [(row.state, row.body["days"]) for row in webhooks.recent(session, session.query(Webhook).one())] == [("sent", 80), ("waiting", 100)]
