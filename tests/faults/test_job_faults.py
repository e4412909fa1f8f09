"""Jobs whose processes are killed, stopped, starved or asked to leave, as a worker's are: nothing is lost, doubled or lied about.

The same-curve assertion is equality: every loss, and the sha256 of the weights, are those of a run that nobody disturbed.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import dispatcher, queue
from app.db import transaction
from app.services import jobs
from app.settings import settings
from tests.faults.conftest import Curve
from tests.faults.site import PATIENCE, Site, until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
BOTH = pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
Control = Callable[[Site], Curve]

LEASE_SECONDS = 5
STEPS = 80


@BOTH
def test_f1_a_killed_process_goes_on_from_its_checkpoint_on_the_same_curve(site: Site, control: Control) -> None:
    wanted = control(site)
    site.save_every_step()
    site.worker(kill=37)
    key = site.tune()
    site.succeeded(key)
    first, second = site.attempts(key)
    assert (first.outcome, second.outcome) == ("lost", "succeeded") and "SIGKILL" in (first.reason or "")
    assert (second.started_at - (first.ended_at or 0)) < 15_000
    assert any("Went on from the checkpoint at step 36" in line for line in site.log(key))
    assert jobs.find(site.person, key).starts == {1: 0, 2: 36}, "so its page says it of the attempt"
    assert site.curve(key) == wanted and list(wanted[0]) == list(range(1, STEPS + 1))
    until(lambda: not site.stored(key, "checkpoint-*"), 30, "nobody needs them any more")


@ONE
@pytest.mark.long
def test_f3_memory_that_ran_out_is_retried_once_and_then_told(site: Site) -> None:
    group = memory_cgroup(site)
    site.environment |= group
    site.worker(out_of_memory=5)
    key, other = site.tune(), site.tune(max_steps=3)
    job = site.ended(key)
    assert job.state == "failed" and job.error is not None and job.error["code"] == "out_of_memory" and "batch_size" in job.error["advice"]
    assert site.outcomes(key) == ["out_of_memory", "failed"], "one retry, no more"
    assert all("ran out of memory" in (attempt.reason or "") for attempt in site.attempts(key))
    site.succeeded(other)
    if "TEST_CGROUP" in group:
        Path(group["TEST_CGROUP"]).rmdir()


def memory_cgroup(site: Site) -> dict[str, str]:
    """A group of 600 MB in which the kernel kills what takes more; where no group can be made, its count and its signal are played."""
    count = site.folder / "vmstat"
    count.write_text("oom_kill 0\n")
    own = next((line.split(":", 2)[2].strip() for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), "")
    group = Path("/sys/fs/cgroup/memory") / own.lstrip("/") / f"fettle-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("600000000")
    except OSError:
        return {"TEST_VMSTAT": str(count)}
    return {"TEST_VMSTAT": str(count), "TEST_CGROUP": str(group)}


@ONE
@pytest.mark.long
def test_f4_a_job_that_always_crashes_ends_visibly_and_the_next_one_runs(site: Site) -> None:
    site.worker(segfault=2)
    key, other = site.tune(max_steps=3), site.tune(max_steps=1)
    job = site.ended(key)
    assert job.state == "failed" and (job.error or {})["code"] == "worker_lost"
    assert site.outcomes(key) == ["lost", "lost", "failed"]
    assert all("SIGSEGV" in (attempt.reason or "") for attempt in site.attempts(key))
    site.succeeded(other)


@ONE
@pytest.mark.long
def test_f5_a_kill_during_a_checkpoint_and_a_damaged_checkpoint_are_passed_over(site: Site, control: Control) -> None:
    """What damage is found, 28 cases of it: tests/engine/test_checkpoint.py."""
    wanted = control(site)
    site.save_every_step()
    site.worker(kill_in_checkpoint=20, harm=50)
    key = site.tune()
    site.succeeded(key)
    assert site.outcomes(key) == ["lost", "lost", "succeeded"]
    said = site.log(key)
    assert any("Went on from the checkpoint at step 19" in line for line in said), "the half-written one of step 20 is not there"
    assert sum("Passed over a damaged checkpoint: checkpoint-49: optimizer.pt" in line for line in said) == 1
    assert any("Went on from the checkpoint at step 48" in line for line in said)
    assert site.curve(key) == wanted
    until(lambda: not site.stored(key, ".tmp-*"), 30, "what the killed process had begun is still there")


@BOTH
@pytest.mark.long
def test_f11_a_stopped_worker_that_wakes_up_has_nothing_more_to_say(site: Site, control: Control) -> None:
    """And F12: no time-out but the lease decides; and a dead worker's job is resumed within 90 s, here with a lease of 5 s."""
    wanted = control(site)
    site.web()
    zombie = site.worker("zombie", slow=0.2)
    key = site.tune()
    until(lambda: site.reached(key) > 5)
    members = site.family(zombie)
    site.signal(zombie, signal.SIGSTOP)
    stopped = time.monotonic()
    site.worker("healthy")
    until(lambda: len(site.attempts(key)) == 2, 90)
    assert time.monotonic() - stopped < 90
    site.succeeded(key)
    before = site.curve(key)
    assert site.outcomes(key) == ["lost", "succeeded"] and before == wanted
    children = site.children(zombie)
    assert children, "it stands still, and is there"
    for process in members:
        process.send_signal(signal.SIGCONT)
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children), 30, "the zombie's process goes on")
    assert site.curve(key) == before and site.job(key).state == "succeeded" and site.outcomes(key) == ["lost", "succeeded"]


@ONE
@pytest.mark.long
def test_f12_a_job_that_outlives_every_time_out_runs_once(site: Site) -> None:
    site.web()
    site.worker("one", slow=0.3), site.worker("two", slow=0.3)
    key = site.tune(max_steps=50)  # three leases long
    until(lambda: site.job(key).state == "running")
    for _ in range(10):  # F9: the message ten times
        queue.wake("gpu")
    job = site.succeeded(key)
    assert job.attempt == 1 and site.outcomes(key) == ["succeeded"]


@ONE
@pytest.mark.long
def test_f15_a_cancel_stops_within_a_step_keeps_the_checkpoint_and_a_retry_goes_on(site: Site, control: Control) -> None:
    wanted = control(site)
    site.save_every_step()
    worker = site.worker(slow=0.1)
    key = site.tune()
    until(lambda: site.reached(key) > 20)
    began = time.monotonic()
    jobs.cancel(site.person, key)
    until(lambda: site.job(key).state == "cancelled", 10)
    assert time.monotonic() - began < 5
    until(lambda: not site.children(worker), 10, "its process is still there")
    kept = sorted(path.name for path in site.stored(key, "checkpoint-*"))
    assert len(kept) == 2
    jobs.retry(site.person, key)
    site.succeeded(key)
    assert site.outcomes(key) == ["cancelled", "succeeded"] and site.curve(key) == wanted


@BOTH
def test_f16_a_worker_that_is_asked_to_leave_saves_and_hands_back(site: Site, control: Control) -> None:
    wanted = control(site)
    site.environment["FETTLE_CHECKPOINT_SECONDS"] = "600"  # none but the one that it saves because it is asked to leave
    worker = site.worker(slow=0.2)
    key = site.tune()
    until(lambda: site.reached(key) > 5)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    worker.send_signal(signal.SIGTERM)  # a second one changes nothing
    worker.wait(30)
    assert time.monotonic() - began < 30
    assert site.job(key).state == "queued" and site.outcomes(key) == ["handed back"]
    assert site.attempts(key)[0].reason == "the worker was asked to leave"
    last = site.reached(key)
    site.worker()
    site.succeeded(key)
    assert site.curve(key) == wanted and last < STEPS
    assert f"Went on from the checkpoint at step {last}." in site.log(key), "the last step that was made, not one before it"


@BOTH
@pytest.mark.long
def test_f16_a_step_that_takes_too_long_is_not_waited_for(site: Site, control: Control) -> None:
    """Its pace says that a step takes minutes: it leaves at once, from the checkpoint that is there. The worker's death does not count either."""
    wanted = control(site)
    worker = site.worker(stall=30, stall_seconds=300, pace=100.0)
    key = site.tune()
    until((site.marks / "stall").exists)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    assert time.monotonic() - began < 12, "it waited for the step"
    assert site.outcomes(key) == ["handed back"] and "no time" in (site.attempts(key)[0].reason or "")
    site.worker()
    site.succeeded(key)
    assert site.curve(key) == wanted


@BOTH
@pytest.mark.long
def test_a_killed_worker_takes_its_job_along_and_another_one_goes_on(site: Site, control: Control) -> None:
    wanted = control(site)
    site.web()
    worker = site.worker("first", slow=0.2)
    key = site.tune()
    until(lambda: site.reached(key) > 5)
    child = site.children(worker)[0]
    os.kill(worker.pid, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: not child.is_running() or child.status() == "zombie", 35, "the orphan goes on")
    site.worker("second")
    until(lambda: len(site.attempts(key)) == 2, 90)
    assert time.monotonic() - killed < 90
    site.succeeded(key)
    assert site.curve(key) == wanted
    first, second = site.attempts(key)
    assert first.worker.startswith("first:") and str(worker.pid) in first.worker and second.worker.startswith("second:")


@ONE
@pytest.mark.long
def test_f36_the_heartbeat_goes_on_while_the_job_holds_the_interpreter(site: Site) -> None:
    site.web()
    site.worker(hold=10, hold_seconds=3 * LEASE_SECONDS)
    key = site.tune(max_steps=12)
    site.succeeded(key)
    assert site.outcomes(key) == ["succeeded"], "three leases long nothing was heard from the job's own process"


@ONE
@pytest.mark.long
def test_f25_a_gpu_that_is_full_is_told_with_advice_and_not_tried_again(site: Site) -> None:
    site.worker(cuda_memory=5)
    key, other = site.tune(), site.tune(max_steps=3)
    job = site.ended(key)
    assert job.state == "failed" and job.error is not None and job.error["code"] == "out_of_memory"
    assert "Step 5" in job.error["message"] and "GB" in job.error["message"] and "batch_size" in job.error["advice"]
    assert site.outcomes(key) == ["failed"]
    site.succeeded(other)


@ONE
@pytest.mark.long
def test_f24_a_loss_that_is_no_number_ends_the_run_and_is_no_result(site: Site) -> None:
    site.save_every_step()
    site.worker(nan=12)
    key = site.tune()
    job = site.ended(key)
    assert job.state == "failed" and (job.error or {})["code"] == "loss_not_finite" and 0 < job.step < 12
    assert (job.error or {})["message"] == f"The loss became nan at step {job.step + 1}.", "the one after the last that has a loss"
    assert jobs.find(site.person, key).model is None
    assert site.stored(key, "checkpoint-*"), "the last good checkpoint stays for a retry"


@pytest.mark.parametrize("skew", [3600, -3600])
@POSTGRESQL
@pytest.mark.long
def test_f23_a_worker_with_a_wrong_clock_keeps_its_job(site: Site, skew: int) -> None:
    site.web()
    site.worker(skew=skew, slow=0.15)
    key = site.tune()
    job = site.succeeded(key)
    assert site.outcomes(key) == ["succeeded"]
    assert 0 <= (job.finished_at or 0) - (job.started_at or 0) < 1000 * PATIENCE
    assert site.call("GET", f"/api/v1/jobs/{key}")[1]["state"] == "succeeded"


@pytest.mark.parametrize("seconds", [3600, -3600])
@POSTGRESQL
@pytest.mark.long
def test_f23_a_clock_that_is_set_during_a_run_changes_nothing_of_it(site: Site, control: Control, seconds: int) -> None:
    """That of a worker's machine, for its parent and the job's process alike, in the middle of training."""
    wanted = control(site)
    site.web()
    site.worker(slow=0.15, jump=30, jump_seconds=seconds)
    key = site.tune()
    until((site.marks / "jumped").exists)
    assert int((site.marks / "jumped").read_text()) == seconds, "what the job's process itself saw"
    direction = "ahead" if seconds > 0 else "behind"
    until(lambda: re.search(rf"Its clock is [\d,]+\.\d s {direction}", site.page("/machines")), what="its parent saw nothing of it")
    site.succeeded(key)
    assert site.outcomes(key) == ["succeeded"] and site.curve(key) == wanted
    seen = re.sub(r"<[^>]*>", " ", site.page(f"/jobs/{key}"))
    assert "Took" in seen and not re.search(r"[-\u2212]\d[\d.,]*\s(?:ms|s|min|h|d)\b", seen), "a time below zero"
    job, (attempt,) = site.job(key), site.attempts(key)
    times = [job.created_at, attempt.started_at, *sorted(job.phases.values()), attempt.ended_at or 0]
    assert times == sorted(times) and times[-1] - times[0] < 1000 * PATIENCE
    assert 0 < (job.result or {})["seconds"] < PATIENCE, "as it is said of the model"


@ONE
def test_f23_a_clock_that_jumps_takes_no_job_from_a_worker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that slept, a clock that was set: the database says that an hour has passed, and the workers get a lease's time to say that they live."""
    from app.domain import job as protocol

    site.tune()
    with transaction() as session:
        job = protocol.claim(session, "gpu", "w1", 1)
    assert job is not None
    now = [time.time() * 1000]
    monkeypatch.setattr(dispatcher, "db_clock", lambda session: int(now[0]))
    monkeypatch.setenv("FETTLE_LEASE_SECONDS", "3")
    settings.cache_clear()
    clock = dispatcher.Clock(3)
    dispatcher.sweep(clock)
    time.sleep(1.2)
    now[0] += 3600 * 1000
    dispatcher.sweep(clock)
    assert site.job(job.id).state == "running", "its lease is over, and yet nothing was taken"
    time.sleep(3.1)
    now[0] += 4300
    dispatcher.sweep(clock)
    assert site.job(job.id).state == "queued", "it had the time, and did not use it"


@BOTH
def test_f19_a_result_whose_registration_was_cut_off_is_adopted_not_trained_again(site: Site, control: Control) -> None:
    wanted = control(site)
    site.worker(kill_before_finish=True)
    key = site.tune()
    site.succeeded(key)
    assert site.outcomes(key) == ["lost", "succeeded"] and site.curve(key) == wanted
    assert not any("Went on" in line for line in site.log(key)), "nothing was trained again"
    until(lambda: len(site.stored(key, "artefact")) == 1, 30, "the first attempt's copy is still there")


@ONE
@pytest.mark.long
def test_f13_a_cancel_while_the_result_is_registered_wins_and_leaves_no_result(site: Site) -> None:
    site.worker(wait_before_finish=True)
    key = site.tune(max_steps=3)
    until((site.marks / "before_finish").exists)
    assert jobs.cancel(site.person, key).state == "stopping"
    (site.marks / "go_on").touch()
    assert site.ended(key).state == "cancelled"
    assert jobs.find(site.person, key).model is None
    until(lambda: not site.stored(key, "artefact"), 10, "an artefact without a row")
