"""A process that has scored with a model goes on with the next evaluation of it. Real processes, a real (tiny) model."""

import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.db import transaction
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.model import Model
from app.services import evaluations, jobs, predictions, prompts
from app.settings import settings
from tests.rows import add_model
from tests.worker.test_parent import SHORT, start
from worker import parent, run_job, staying
from worker.staying import JobProcess

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Counted(JobProcess):
    """A job's process that is counted, and killed as soon as it has been given a job of `doomed`."""

    jobs: list[int]
    doomed: list[int]

    def __init__(self, job: Any, *words: Any, **more: Any) -> None:
        self.jobs.append(job.id)
        super().__init__(job, *words, **more)

    def go_on(self, job: Any) -> bool:
        went = super().go_on(job)
        if job.id in self.doomed:
            self.kill()
        return went


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The jobs that a process was started for."""
    Counted.jobs, Counted.doomed = [], []
    monkeypatch.setattr(parent, "JobProcess", Counted)
    return Counted.jobs


def ask(person: Who, model: int, toys: DatasetVersion, instruction: str = "") -> tuple[int, int]:
    """(evaluation, job) of a prompt over the validation rows."""
    version = prompts.create(person, f"prompt {instruction}", {"instruction": instruction})
    made = evaluations.create(person, model=model, prompt_version=version.reference, dataset=toys.dataset_id, split="validation")
    return made.evaluation.id, made.job.id


def outcome(person: Who, key: int) -> list[str | None]:
    return [attempt.outcome for attempt in jobs.find(person, key).attempts]


def likelihoods(person: Who, key: int) -> list[Any]:
    return [row.prediction.likelihoods for row in predictions.find(person, key).rows]


def test_evaluations_of_one_model_are_done_by_one_process_and_any_other_job_has_its_own(
    person: Who, base: Model, toys: DatasetVersion, processes: list[int]
) -> None:
    (settings().models_folder / "same").symlink_to(settings().models_folder / "tiny")
    other = add_model(person, "Other", "same")
    with transaction() as session:
        session.get_one(Model, other).content_hash = base.content_hash
    words = ["", "Is it good?", "Good or bad?"]
    asked = [ask(person, base.id, toys, text) for text in words]
    tune = start(person, base, toys, SHORT)
    later, last = ask(person, base.id, toys, "Judge."), ask(person, other, toys)
    parent.drain("gpu")
    every = [*asked, later, last]
    assert [outcome(person, job) for _, job in every] == [["succeeded"]] * 5 and outcome(person, tune) == ["succeeded"]
    assert processes == [asked[0][1], tune, later[1], last[1]]
    assert not [child for child in psutil.Process().children() if "worker.run_job" in child.cmdline()]
    assert all(parent.log_file(jobs.find(person, job).job).exists() for _, job in every)
    for (key, _), text in zip(asked, words, strict=True):  # the same as a process of its own finds
        again, job = ask(person, base.id, toys, text)
        assert parent.run_one("gpu") is True and processes[-1] == job
        assert likelihoods(person, again) == likelihoods(person, key)


def test_a_process_that_dies_with_its_second_job_loses_that_one_only(person: Who, base: Model, toys: DatasetVersion, processes: list[int]) -> None:
    first, second, third = (ask(person, base.id, toys, text)[1] for text in ("", "Good?", "Bad?"))
    Counted.doomed = [second]
    thread = threading.Thread(target=parent.drain, args=("gpu",))
    thread.start()
    thread.join(120)
    assert [outcome(person, job) for job in (first, second, third)] == [["succeeded"], ["lost", "succeeded"], ["succeeded"]]
    assert processes == [first, second]


def test_a_job_that_fails_takes_its_process_along(person: Who, base: Model, toys: DatasetVersion, processes: list[int]) -> None:
    first, failing, third = (ask(person, base.id, toys, text)[1] for text in ("", "good or bad: " * 200, "Bad?"))
    parent.drain("gpu")
    assert [outcome(person, job) for job in (first, failing, third)] == [["succeeded"], ["failed"], ["succeeded"]]
    assert processes == [first, third]


def test_a_process_ends_after_so_many_jobs(person: Who, base: Model, toys: DatasetVersion, processes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staying, "JOBS", 2)
    asked = [ask(person, base.id, toys, text)[1] for text in ("", "Good?", "Bad?")]
    parent.drain("gpu")
    assert processes == [asked[0], asked[2]] and [outcome(person, job) for job in asked] == [["succeeded"]] * 3


def test_a_stop_that_was_meant_for_the_job_before_does_not_stop_the_next(database: str) -> None:
    del database
    run_job._hear("stop")
    assert run_job._stop.is_set()
    run_job._hear("next 7 token")
    assert not run_job._stop.is_set() and run_job._next.get() == (7, "token")
    run_job._hear("")


def test_a_pipe_is_closed_with_its_process(person: Who, base: Model, toys: DatasetVersion) -> None:
    held = len(list(Path("/proc/self/fd").iterdir()))
    for text in ("", "Good?"):
        ask(person, base.id, toys, text)
    parent.drain("gpu")
    assert len(list(Path("/proc/self/fd").iterdir())) <= held + 2, "a connection of the database may be new"
