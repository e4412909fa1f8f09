"""Workers that are killed: the process over a job's process alone, the whole family at once, and one of two workers with the product's own lease."""

import signal
import subprocess
import time

import psutil
import pytest

from app.settings import Settings
from tests.faults.conftest import Curve
from tests.faults.site import Site, until
from tests.faults.test_job_faults import BOTH, Control

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.long]


def in_the_pool(site: Site, worker: "subprocess.Popen[bytes]") -> tuple[int, psutil.Process, psutil.Process]:
    """A job that the worker's pool process runs, as it does whenever a wake-up is heard: its key, that process, and its own one."""
    time.sleep(2)  # the worker has looked at the table by itself when it came, and does so again in ten seconds
    key = site.tune()
    until(lambda: site.reached(key) > 5)
    (child,) = site.children(worker)
    parent = child.parent()
    assert parent is not None and parent.pid != worker.pid, "the main process found the job before the pool process heard of it"
    return key, parent, child


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def taken_up(site: Site, key: int, wanted: Curve, orphans: list[psutil.Process]) -> int:
    """What was killed a moment ago is over, and its job goes on within 90 s, on the same curve; then one more job runs, whose key is given."""
    killed = time.monotonic()
    until(lambda: all(map(gone, orphans)), 5, "somebody of it goes on")
    until(lambda: len(site.attempts(key)) == 2, 90 - (time.monotonic() - killed), "nobody took its job")
    site.succeeded(key)
    assert site.outcomes(key) == ["lost", "succeeded"] and site.curve(key) == wanted
    after = site.tune(max_steps=1)
    site.succeeded(after)
    assert site.outcomes(after) == ["succeeded"]
    return after


@BOTH
def test_f2_the_parent_of_a_jobs_process_is_killed_and_its_worker_goes_on(site: Site, control: Control) -> None:
    wanted = control(site)
    site.web()
    worker = site.worker(slow=0.2)
    key, parent, child = in_the_pool(site, worker)
    parent.kill()
    after = taken_up(site, key, wanted, [child])
    by = {attempt.worker for attempt in (*site.attempts(key), *site.attempts(after))}
    assert worker.poll() is None and len(by) == 1, "the same worker, with another pool process"


@BOTH
def test_f2_a_whole_worker_is_killed_at_once_and_the_one_started_for_it_goes_on(site: Site, control: Control) -> None:
    wanted = control(site)
    site.web()
    worker = site.worker(slow=0.2)
    key, parent, child = in_the_pool(site, worker)
    site.signal(worker, signal.SIGKILL)
    worker.wait()
    again = site.worker(wait=False)
    taken_up(site, key, wanted, [parent, child])
    first, second = site.attempts(key)
    assert str(worker.pid) in first.worker and first.worker in (first.reason or "") and str(again.pid) in second.worker


@BOTH
def test_f18_with_the_products_own_lease_a_dead_worker_is_shown_within_60_s_and_its_job_resumed_within_90_s(site: Site) -> None:
    del site.environment["FETTLE_LEASE_SECONDS"]
    assert Settings.model_fields["lease_seconds"].default == 30
    site.web()
    workers = {name: site.worker(name, slow=0.5) for name in ("one", "two")}
    key = site.tune()
    until(lambda: site.reached(key) > 3 and site.stored(key, "checkpoint-*"))
    ((name, worker),) = [(name, worker) for name, worker in workers.items() if site.children(worker)]
    child = site.children(worker)[0]
    assert "no answer for" not in site.page("/jobs") and "Nothing was heard of it" not in site.page("/machines")
    site.signal(worker, signal.SIGKILL)
    killed = time.monotonic()
    worker.wait()
    until(lambda: gone(child), 5, "the orphan goes on")
    until(
        lambda: "no answer for" in site.page("/jobs") and "Nothing was heard of it" in site.page("/machines"), 60, "a dead worker is shown as one that answers"
    )
    until(lambda: len(site.attempts(key)) == 2, 90, "nobody took its job")
    assert time.monotonic() - killed < 90
    until(lambda: any(line.startswith("Went on from the checkpoint at step ") for line in site.log(key)), 90 - (time.monotonic() - killed), "it did not go on")
    first, second = site.attempts(key)
    assert (first.outcome, second.outcome) == ("lost", None)
    assert first.worker.startswith(f"{name}:") and not second.worker.startswith(f"{name}:")
