"""Jobs as a worker runs them: real processes, a real (tiny) model. The ladder runs on PostgreSQL (on SQLite it does in tests/browser/test_journey.py),
the rest on SQLite: each case starts processes that load torch, and the protocol itself is tested on both in tests/domain/test_job.py."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from app.db import transaction
from app.domain import job as jobs_domain
from app.domain import metric as metrics
from app.domain.access import Who, installation
from app.domain.dataset import DatasetVersion
from app.domain.job import Job
from app.domain.model import Model
from app.errors import Conflict
from app.services import evaluations, experiments, jobs, predictions
from app.settings import settings
from worker import devices, parent

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

SHORT = {"max_steps": 12, "batch_size": 8, "learning_rate": 2e-2, "rank": 4, "evaluations": 2}
LONG = SHORT | {"max_steps": 20_000, "evaluations": 1}


def start(person: Who, base: Model, toys: DatasetVersion, parameters: Mapping[str, Any]) -> int:
    return jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=dict(parameters), prompt_version=None, seed=1).job.id


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def trains(person: Who, key: int, steps: int) -> bool:
    """Whether a tuning job has trained for more than so many steps: before that it counts what it validates untuned, and has nothing to save."""
    job = jobs.find(person, key).job
    return job.phase == "train" and job.step > steps


def running(person: Who, key: int) -> tuple[threading.Thread, psutil.Process]:
    """Run the queue in a thread until the job trains; gives the thread and the job's process."""
    thread = threading.Thread(target=parent.run_one, args=("gpu",))
    thread.start()
    until(lambda: trains(person, key, 2))
    return thread, next(child for child in psutil.Process().children() if "worker.run_job" in child.cmdline())


@ONE
def test_a_tune_ends_as_a_registered_model_with_its_curves(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, SHORT)
    assert parent.run_one("gpu") is True and parent.run_one("gpu") is False
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and view.job.result is not None, view.job.error
    assert view.model is not None and view.model.trainable_parameters == view.job.result["trainable"] > 0
    assert view.job.result["planned_steps"] == view.job.result["steps"] == 12 and view.job.ended_early is None
    assert (settings().storage_folder / view.model.folder / "run.json").exists()
    points = jobs.points(person, key)
    assert [point.step for point in points if point.name == "loss"] == list(range(1, 13))
    assert [point for point in points if point.name == "validation_accuracy"]
    assert len({point.event for point in points}) == len(points)
    told = [one.sample for one in jobs.samples(person, key)]
    assert {sample.step for sample in told} == {0, 6, 12} and len(told) == 3 * len({sample.row for sample in told}) == 15
    assert [attempt.outcome for attempt in view.attempts] == ["succeeded"]
    assert set(view.job.phases) >= {"load", "preflight", "train", "save"}


@pytest.mark.faults
@ONE
def test_a_disk_on_which_not_even_a_log_has_room_fails_no_job(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    key = start(person, base, toys, SHORT)

    def full(job: Job, seat: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(parent, "_process", full)
    monkeypatch.setattr(devices, "room", lambda: dict.fromkeys(jobs_domain.WRITES, 0))
    parent.drain("gpu")
    view = jobs.find(person, key)
    assert (view.job.state, view.job.needs_bytes, view.job.attempt) == ("queued", parent.LEAST_BYTES, 1), "it waits, and is not tried over and over"
    assert view.attempts[0].outcome == "no_room" and "No space left" in (view.attempts[0].reason or "")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_ladder_runs_to_its_verdict(person: Who, base: Model, toys: DatasetVersion) -> None:
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "few_shot", "shots": 2},
        {"technique": "lora", "parameters": SHORT | {"max_steps": 40}},
    ]
    key = experiments.create(person, name="toys", dataset=toys.dataset_id, model=base.id, rungs=rungs)
    parent.drain("gpu")
    view = experiments.find(person, key)
    assert [row.state for row in view.rows] == ["succeeded"] * 3 and view.recommendation is not None
    for row in view.rows:
        assert row.scores is not None and row.scores["n"] == 40 and row.scores["latency_ms"]["p50"] > 0
    assert view.version.scored == 3


@ONE
def test_answers_can_be_generated_and_extracted(person: Who, base: Model, toys: DatasetVersion) -> None:
    from app.services import prompts

    version = prompts.create(person, "short", {"parameters": {"max_tokens": 4}})
    made = evaluations.create(person, model=base.id, prompt_version=version.reference, dataset=toys.dataset_id, split="validation", answer="generate")
    parent.drain("gpu")
    view = evaluations.find(person, made.evaluation.id)
    assert view.job.state == "succeeded", view.job.error
    rows = predictions.find(person, made.evaluation.id).rows
    assert len(rows) == 20 and all(row.prediction.output_tokens > 0 for row in rows)


@ONE
def test_rows_that_are_too_long_stop_a_scoring_before_it_begins_or_are_cut_and_counted(person: Who, base: Model, toys: DatasetVersion) -> None:
    from app.services import prompts

    long = prompts.create(person, "long", {"instruction": "good or bad: " * 200})
    wanted: dict[str, Any] = {"model": base.id, "prompt_version": long.reference, "dataset": toys.dataset_id, "split": "validation"}
    refused, shorter = evaluations.create(person, **wanted), evaluations.create(person, **wanted, fit="cut_tail")
    bare = prompts.create(person, "bare", {"instruction": ""})
    fits = evaluations.create(person, **wanted | {"prompt_version": bare.reference}, fit="cut_tail")
    parent.drain("gpu")
    for made in (refused, shorter):  # an instruction that fills the window alone cannot be helped by cutting the input
        error = evaluations.find(person, made.evaluation.id).job.error or {}
        assert error["code"] == "rows_do_not_fit" and error["message"].startswith("20 of 20 rows do not fit (shots + input + answer)"), error
        assert predictions.find(person, made.evaluation.id).rows == []
    scores = evaluations.find(person, fits.evaluation.id).evaluation.scores or {}
    assert scores["fit"]["policy"] == "cut_tail" and (scores["fit"]["rows"], scores["fit"]["too_long"], scores["fit"]["window"]) == (20, 0, 512)


@ONE
def test_a_cancel_ends_a_running_job_within_five_seconds(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, LONG)
    thread, process = running(person, key)
    began = time.monotonic()
    assert jobs.cancel(person, key).state == "stopping"
    until(lambda: jobs.find(person, key).job.over, 8)
    assert time.monotonic() - began < 5
    thread.join(10)
    view = jobs.find(person, key)
    assert view.job.state == "cancelled" and view.model is None and not process.is_running()


@ONE
def test_a_run_that_is_stopped_to_keep_its_best_ends_as_a_model(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, LONG | {"max_steps": 5000, "evaluations": 100})
    thread, _ = running(person, key)
    until(lambda: any(point.step and point.name == "validation_accuracy" for point in jobs.points(person, key)))
    assert jobs.finish(person, key).state == "stopping"
    thread.join(20)
    assert jobs.find(person, key).job.state == "queued", "it has stopped, and saves next"
    assert parent.run_one("gpu") is True
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and view.model is not None, view.job.error
    assert [attempt.outcome for attempt in view.attempts] == ["cancelled", "succeeded"]
    result = view.job.result or {}
    assert view.job.ended_early == (result["steps"], 5000) and 0 < result["best_step"] <= result["steps"] < 5000
    assert max(point.step for point in jobs.points(person, key) if point.name == "loss") <= result["steps"], "no further step was trained"
    assert (settings().storage_folder / view.model.folder / "run.json").exists()
    with pytest.raises(Conflict):
        jobs.finish(person, key)


@pytest.mark.faults
@ONE
def test_a_killed_job_goes_back_to_the_queue_and_is_done_by_the_next_attempt(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, SHORT | {"max_steps": 400})
    thread, process = running(person, key)
    process.send_signal(signal.SIGKILL)
    thread.join(20)
    assert jobs.find(person, key).job.state == "queued"
    assert parent.run_one("gpu") is True
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and [attempt.outcome for attempt in view.attempts] == ["lost", "succeeded"]
    assert "SIGKILL" in (view.attempts[0].reason or "")
    losses = [point.step for point in jobs.points(person, key) if point.name == "loss"]
    assert sorted(losses) == list(range(1, 401)), "steps of the lost attempt appear once"


@ONE
def test_an_error_that_a_person_can_mend_fails_the_job_with_advice(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, SHORT | {"learning_rate": 1.0, "max_steps": 200, "alpha": 4096.0, "rank": 1})
    (settings().models_folder / "tiny").unlink()
    parent.run_one("gpu")
    job = jobs.find(person, key).job
    assert job.state == "failed" and job.error is not None and job.error["code"] == "model_missing" and job.error["advice"]
    with transaction() as session:
        assert any("failed:" in line.text for line in metrics.lines(session, key))


@pytest.mark.faults
@ONE
def test_a_second_drain_leaves_the_device_to_the_first(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, LONG)
    first = threading.Thread(target=parent.drain, args=("gpu",))
    first.start()
    until(lambda: jobs.find(person, key).job.state == "running")
    other = start(person, base, toys, SHORT)
    parent.drain("gpu")
    assert jobs.find(person, other).job.state == "queued", "the device is taken"
    jobs.cancel(person, key)
    first.join(90)
    assert jobs.find(person, other).job.state == "succeeded"


@pytest.mark.faults
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux: the kernel kills the orphan")
@ONE
def test_an_orphan_never_goes_on(person: Who, base: Model, toys: DatasetVersion, tmp_path: Path) -> None:
    """The parent is killed outright; its job's process must be gone within a second or two."""
    import subprocess
    import sys

    key = start(person, base, toys, LONG)
    worker = subprocess.Popen([sys.executable, "-c", "from worker import parent; parent.run_one('gpu')"], cwd=Path(__file__).parents[2], env=os.environ.copy())
    until(lambda: trains(person, key, 2))
    child = psutil.Process(worker.pid).children()[0]
    worker.kill()
    worker.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)
    assert jobs.find(person, key).job.state == "running", "its lease will run out, then the sweeper takes it back"
    with transaction() as session:
        assert session.get_one(Job, key).lease_token is not None


@pytest.mark.faults
@ONE
@pytest.mark.parametrize("why", ["killed", "out of memory"])
def test_a_run_that_loses_one_of_its_processes_goes_on_from_its_checkpoint(
    person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("oom_kill 5\n")
    monkeypatch.setattr(parent, "VMSTAT", vmstat)
    monkeypatch.setenv("FETTLE_CHECKPOINT_SECONDS", "0")
    settings.cache_clear()
    key = start(person, base, toys, SHORT | {"devices": 2, "max_steps": 60})
    thread, process = running(person, key)
    until(lambda: list((settings().storage_folder / "jobs" / str(key) / "attempt-1").glob("checkpoint-*")))
    if why == "out of memory":
        vmstat.write_text("oom_kill 6\n")
    next(child for child in process.children() if "worker.engine.rank" in child.cmdline()).kill()
    thread.join(60)
    view = jobs.find(person, key)
    assert view.job.state == "queued", view.job.error
    assert [attempt.outcome for attempt in view.attempts] == ["lost" if why == "killed" else "out_of_memory"]
    assert any("Process 2 of the run's 2 was killed by SIGKILL" in line.text for line in jobs.log(person, key))
    if why == "killed":
        assert parent.run_one("gpu") is True
        assert jobs.find(person, key).job.state == "succeeded", jobs.find(person, key).job.error
        assert any(line.text.startswith("Went on from the checkpoint at step") for line in jobs.log(person, key))


@pytest.mark.faults
@ONE
def test_a_database_that_does_not_answer_a_job_is_not_held_against_it(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    key = start(person, base, toys, SHORT)
    with monkeypatch.context() as patch:
        settings()  # the worker reaches it, and the job's process, which reads the environment anew, does not
        patch.setenv("FETTLE_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/nothing")
        for _ in range(jobs_domain.MAX_ATTEMPTS + 1):
            assert parent.run_one("gpu") is True
    view = jobs.find(person, key)
    assert view.job.state == "queued" and [attempt.outcome for attempt in view.attempts] == ["away"] * (jobs_domain.MAX_ATTEMPTS + 1), view.job.error
    assert "the database, Redis or the object store" in (view.attempts[0].reason or "")
    assert "The database does not answer" in parent.log_file(view.job).read_text()
    assert parent.run_one("gpu") is True and jobs.find(person, key).job.state == "succeeded"


@pytest.mark.faults
@ONE
def test_a_worker_that_is_cut_off_from_the_database_ends_its_job_in_the_end(
    person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("beat", {}, OSError("away"))

    monkeypatch.setattr(parent, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(parent, "SILENT_LEASES", 0)
    key = start(person, base, toys, LONG)
    thread, process = running(person, key)
    assert process.is_running()
    with monkeypatch.context() as patch:
        patch.setattr(jobs_domain, "beat", away)
        thread.join(20)
    view = jobs.find(person, key)
    assert not process.is_running() and view.job.state == "queued"
    assert [(attempt.outcome, attempt.reason) for attempt in view.attempts] == [("away", parent.CUT_OFF)]


@pytest.mark.faults
@ONE
def test_a_search_survives_a_kill_and_ends_as_the_winners_model(person: Who, base: Model, toys: DatasetVersion) -> None:
    search = {"how": "grid", "factor": 2, "space": {"learning_rate": [1e-8, 2e-2], "rank": [2, 4]}}
    parameters = {name: value for name, value in SHORT.items() if name not in ("learning_rate", "rank")} | {"max_steps": 400}
    key = jobs.start_tune(
        person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=parameters, prompt_version=None, seed=1, search=search
    ).job.id
    thread = threading.Thread(target=parent.run_one, args=("gpu",))
    thread.start()
    until(lambda: "running" in [trial.state for trial in jobs.trials_of(person, key)][1:])
    process = next(child for child in psutil.Process().children() if "worker.run_job" in child.cmdline())
    process.send_signal(signal.SIGKILL)
    thread.join(20)
    assert parent.run_one("gpu") is True
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and view.job.result is not None and view.model is not None, view.job.error
    tried = jobs.trials_of(person, key)
    assert sorted(trial.state for trial in tried) == ["stopped", "stopped", "stopped", "won"]
    winner = next(trial for trial in tried if trial.state == "won")
    assert winner.parameters["learning_rate"] == 2e-2 and view.job.result["search"]["winner"] == winner.number
    assert view.model.method_parameters is not None and view.model.method_parameters["rank"] == winner.parameters["rank"]
    again = [line.text for line in jobs.log(person, key) if line.attempt == 2]
    first = [at for at, text in enumerate(again) if text.startswith("Trial 1:")]
    assert not first or any("Trial 1: Went on from the checkpoint" in text for text in again), "what it had done was not done again"
    assert sum(point.name == f"trial_{winner.number}/loss" for point in jobs.points(person, key)) == 400
    left = {path.name for path in (settings().storage_folder / "jobs" / str(key)).glob("attempt-*/*")}
    assert left == {"artefact", "process.log"}, "what only a retry could use is gone"
    assert jobs.tuning(person, view.job).leading == winner.number and jobs.tuning(person, view.job).validations


@ONE
def test_what_the_installation_itself_tunes_has_no_author(person: Who, base: Model, toys: DatasetVersion) -> None:
    with transaction() as session:
        itself = installation(session)
    key = start(itself, base, toys, SHORT | {"max_steps": 1, "evaluations": 1})
    parent.run_one("gpu")
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and view.model is not None and view.model.author_id is None, view.job.error
