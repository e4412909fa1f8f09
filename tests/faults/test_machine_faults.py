"""Two machines with a data folder each, one database, one broker and one object store: one dies with its disk, the other goes on."""

import shutil
import signal

import pytest

from app.storage import Store
from tests.faults.site import Site, until
from tests.faults.test_job_faults import POSTGRESQL, Control

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@POSTGRESQL
@pytest.mark.long
def test_a_machine_that_is_lost_with_its_disk_is_followed_by_another_on_the_same_curve(bucket: str, site: Site, control: Control) -> None:
    wanted = control(site)
    store = Store(bucket)
    site.environment["FETTLE_STORAGE"] = bucket
    site.web()
    one = site.worker("one", slow=0.2)
    key = site.tune()
    until(lambda: site.reached(key) > 20 and store.has(f"checkpoints/jobs/{key}/attempt-1"), what="no checkpoint was copied")
    site.signal(one, signal.SIGKILL)
    one.wait()
    assert (site.folder / "machine-one" / "storage" / "jobs" / str(key)).is_dir()
    shutil.rmtree(site.folder / "machine-one")
    site.worker("two")
    site.succeeded(key)
    first, second = site.attempts(key)
    assert (first.outcome, second.outcome) == ("lost", "succeeded")
    assert first.worker.startswith("one:") and second.worker.startswith("two:")
    (said,) = [line for line in site.log(key) if line.startswith("Went on from the checkpoint at step ")]
    assert 1 <= int(said.rstrip(".").rpartition(" ")[2]) <= 80
    site.storage = site.folder / "machine-two" / "storage"
    assert site.curve(key) == wanted, "the losses of every step and the sha256 of the weights"
    until(lambda: store.names("checkpoints/jobs") == [], 30, "what only a resume needs is still in the store")
    assert not any(path.is_dir() for path in (site.folder / "data" / "storage").glob(f"jobs/{key}")), "nothing went over a shared folder"
