"""What the generated run is held to finds what is wrong: answers that are taken back, jobs without their result, results without their job."""

import pytest

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain.access import Who
from tests.faults.accounting import wrong_rows
from tests.faults.history import History

pytestmark = pytest.mark.faults


def said(*calls: tuple[str, str, int, object]) -> list[str]:
    """What is found in these calls, one after another: (what, thing, status, answer)."""
    history = History()
    for what, thing, status, answer in calls:
        history.add(history.now(), "Ben", what, thing, status, answer)
    return list(history.contradictions())


def look(state: str, attempt: int = 1) -> tuple[str, str, int, object]:
    return "look", "job 1", 200, {"id": 1, "state": state, "attempt": attempt}


RETRY = ("retry", "job 1", 202, {"id": 1, "state": "queued", "attempt": 1})


@pytest.mark.parametrize(
    "calls",
    [
        (look("succeeded"), look("running")),
        (look("cancelled"), look("queued")),
        (look("succeeded"), RETRY, look("queued")),
        (look("running", 2), look("running", 1)),
        (look("running"), ("look", "job 1", 404, {})),
        (("delete", "dataset 2", 204, ""), ("look", "dataset 2", 200, {})),
        (("create", "", 500, {}),),
    ],
)
def test_an_answer_that_is_taken_back_is_found(calls: tuple[tuple[str, str, int, object], ...]) -> None:
    assert said(*calls)


@pytest.mark.parametrize(
    "calls",
    [
        (look("queued"), look("running"), look("queued", 1), look("running", 2), look("succeeded", 2)),
        (look("failed"), RETRY, look("queued"), look("running", 2)),
        (look("stopping"), look("cancelled"), ("create", "", 503, {})),
        (("upload", "dataset 2", 201, {}), ("delete", "dataset 2", 204, ""), ("look", "dataset 2", 404, {})),
        (("upload", "dataset 2", 201, {}), ("delete", "dataset 2", 0, "cut off"), ("look", "dataset 2", 404, {})),
    ],
)
def test_what_may_follow_is_no_contradiction(calls: tuple[tuple[str, str, int, object], ...]) -> None:
    assert said(*calls) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_job_that_succeeded_without_a_model_is_found(person: Who) -> None:
    with transaction() as session:
        key = jobs.add(session, person, "tune", "a tune", {}).id
        job = jobs.claim(session, "gpu", "w", 30)
        assert job is not None
        ending.succeed(session, key, job.lease_token or "", {})
        attempts = list(jobs.attempts(session, key))
        session.refresh(job)
        assert list(wrong_rows({key: job}, attempts, [])) == [f"job {key} is succeeded with 1 succeeded attempts and 0 models"]
        assert list(wrong_rows({key: job}, [], [])) == [
            f"job {key} is succeeded with 0 succeeded attempts and 0 models",
            f"job {key} is at attempt 1, its attempts are []",
        ]
