"""Full disks, for real: small file systems in memory, mounted for the test. And too few open files."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import make_url

from app.db import transaction
from app.disks import disks, fullest
from app.domain.model import merged_folder
from app.domain.user import User, start_session
from app.doors import COOKIE
from app.services import jobs
from app.settings import settings
from tests.conftest import forget
from tests.engine.conftest import make_model
from tests.faults.accounting import wrong
from tests.faults.site import RUN, Site, until
from tests.faults.test_imports import Web
from tests.faults.test_job_faults import Control
from tests.house.rules import ROOT
from tests.installation import environment, free_port
from tests.services.uploading import table
from worker import devices
from worker.engine.folders import damage

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
pytestmark = [pytest.mark.faults, pytest.mark.slow]


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False).returncode == 0


def disk(folder: Path, size: str) -> Iterator[Path]:
    if not mounted(folder, size):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    yield from disk(tmp_path / "small", "8m")


@pytest.fixture
def jobs_disk(tmp_path: Path) -> Iterator[Path]:
    """The same below a storage that has all the room there is: only what jobs write is on it."""
    yield from disk(tmp_path / "roomy" / "jobs", "8m")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB: too little for any run."""
    yield from disk(tmp_path / "tiny", "2m")


@pytest.fixture
def database_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB: SQLite's log of changes is put back every 32 MB."""
    yield from disk(tmp_path / "database", "64m")


def move_database(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is there, as it is now, for this process and for those that start from now on."""
    with closing(sqlite3.connect(str(make_url(settings().database).database))) as old, closing(sqlite3.connect(folder / "fettle.db")) as new:
        old.backup(new)
    monkeypatch.setenv("FETTLE_DATABASE_URL", f"sqlite:///{folder / 'fettle.db'}")
    forget()
    site.environment["FETTLE_DATABASE_URL"] = settings().database


def store(site: Site, folder: Path) -> None:
    """The storage is there, for processes that start from now on."""
    site.storage = folder
    site.environment["FETTLE_STORAGE"] = str(folder)


def fill(folder: Path, leave: int) -> Path:
    """A file that takes all but `leave` bytes."""
    stat = os.statvfs(folder)
    file = folder / "filler"
    file.write_bytes(bytes(stat.f_bavail * stat.f_frsize - leave))
    return file


def fill_up(folder: Path) -> Path:
    """A file that takes all there is, whoever else writes meanwhile."""
    file = folder / "filler"
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    return file


@ONE
def test_f20_an_upload_that_does_not_fit_says_so_and_leaves_nothing(site: Site, small: Path) -> None:
    (small / "uploads").mkdir()
    site.environment |= {"FETTLE_DATA": str(small), "TMPDIR": str(small), "FETTLE_SECRET_KEY": "x" * 40}
    site.web()
    filler = fill(small, 400_000)
    text = table(20_000, labels=2).encode()
    assert len(text) > 800_000
    status, answer = site.call("POST", "/api/v1/datasets", files={"file": ("big.csv", text)})
    assert status == 507 and answer["error"]["code"] == "disk_full" and answer["error"]["advice"], (status, answer)
    assert list((small / "uploads").iterdir()) == []
    assert site.call("GET", "/api/v1/uploads")[1]["items"] == []
    filler.unlink()
    assert site.call("POST", "/api/v1/datasets", files={"file": ("big.csv", text)})[0] == 201


@ONE
@pytest.mark.long
def test_f20_a_run_that_does_not_fit_waits_and_starts_by_itself_when_there_is_room(site: Site, jobs_disk: Path) -> None:
    """Others that fit go before it, and it says what it waits for."""
    store(site, jobs_disk.parent)
    site.web()
    filler = fill(jobs_disk, 2_000_000)
    site.worker()
    key = site.tune()
    until(lambda: site.outcomes(key) == ["no_room"] and site.job(key).state == "queued", what="it did not hand itself back")
    job = site.job(key)
    assert job.needs_bytes and 2_000_000 < job.needs_bytes < 8_000_000 and job.step == 0 and job.error is None
    reason = site.attempts(key)[0].reason or ""
    assert reason.startswith("Waits for room on the disk: this run with its checkpoints and its result needs") and "MB are free" in reason
    wanted = {"model": site.base.id, "prompt_version": job.settings["prompt_version"], "dataset": site.toys.dataset_id}
    status, scored = site.call("POST", "/api/v1/evaluations", json=wanted | {"split": "validation", "answer": "likelihood"})
    assert status == 202, scored
    until(lambda: site.call("GET", f"/api/v1/evaluations/{scored['id']}")[1]["state"] == "succeeded", what="what fits waits behind what does not")
    until(lambda: "waits for room on the disk" in site.page(f"/jobs/{key}"), 20, "its page does not say what it waits for")
    assert site.call("GET", f"/api/v1/jobs/{key}")[1]["needs_bytes"] == job.needs_bytes and "of disk" in site.page("/jobs")
    assert site.job(key).attempt == 1, "it is not tried over and over"
    filler.unlink()
    site.succeeded(key, 90)
    assert site.outcomes(key) == ["no_room", "succeeded"] and len(site.curve(key)[0]) == RUN["max_steps"]


def test_f20_room_is_measured_where_it_is_needed(jobs_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By workers for each kind of job, and by the pages, which show the fullest disk."""
    monkeypatch.setenv("FETTLE_STORAGE", str(jobs_disk.parent))
    settings.cache_clear()
    filler = fill(jobs_disk, 1_000_000)
    room, shown = devices.room(), fullest()
    assert room["tune"] == room["evaluate"] <= 1_000_000 < room["export"] and room["export"] > 100_000_000
    assert shown.folder == jobs_disk and shown.free <= 1_000_000 and 0.8 < shown.share <= 1 and len({disk.folder for disk in disks()}) > 1
    filler.unlink()
    assert devices.room()["tune"] > 7_000_000


@ONE
@pytest.mark.long
def test_f20_a_run_that_no_room_would_be_enough_for_fails_with_the_bytes(site: Site, tiny_disk: Path) -> None:
    store(site, tiny_disk)
    site.worker()
    key = site.tune()
    job = site.ended(key)
    error = job.error or {}
    assert job.state == "failed" and error["code"] == "disk_full" and error["needed_bytes"] > error["free_bytes"], error
    assert "MB in all" in error["message"] and "FETTLE_STORAGE" in error["advice"] and job.step == 0 and site.outcomes(key) == ["failed"]


@ONE
@pytest.mark.long
def test_f20_an_export_that_does_not_fit_waits_and_one_that_is_cut_off_leaves_nothing(site: Site, small: Path) -> None:
    """(d): a merged model is the one export that is written to disk."""
    store(site, small)
    site.environment["TEST_FILL"] = str(small)
    site.web()
    site.worker(fill_merge=True)
    site.succeeded(tuned := site.tune(max_steps=3))
    model = jobs.find(site.person, tuned).model
    assert model is not None
    filler = fill(small, 100_000)
    status, made = site.call("POST", f"/api/v1/models/{model.id}/merge")
    assert status == 202, made
    key = made["id"]
    until(lambda: site.job(key).state == "queued" and site.outcomes(key) == ["no_room"], what="it did not wait")
    assert "Waits for room on the disk: the merged model needs" in (site.attempts(key)[0].reason or "")
    assert "evaluate" not in site.job(key).phases, "it asked before it scored anything"
    filler.unlink()
    job = site.ended(key)
    assert job.state == "failed" and (job.error or {})["code"] == "disk_full" and "the merged model needs" in (job.error or {})["message"], job.error
    folder = site.storage / merged_folder(model) / f"job-{key}"
    assert not list(folder.glob("*")), "half a model"
    (small / "filler").unlink()
    jobs.retry(site.person, key)
    site.succeeded(key)
    (merged,) = folder.glob("*")
    assert damage(merged) is None and site.call("GET", f"/api/v1/models/{model.id}/download?format=merged")[0] == 200


@pytest.mark.long
def test_f20_what_is_exported_in_a_stream_needs_no_disk(tmp_path: Path, small: Path) -> None:
    """(d): datasets and adapters are written while they are sent."""
    web = Web(tmp_path)
    folder = {"FETTLE_DATA": str(small), "TMPDIR": str(small)}
    web.environment = environment(tmp_path, free_port()) | {"FETTLE_REDIS_URL": "redis://127.0.0.1:1/0"} | folder
    web.begin()
    try:
        text = table(3000, labels=2).encode()
        made = web.call("POST", "/api/v1/datasets", files={"file": ("rows.csv", text)})
        fill(small, 0)
        for form in ("csv", "jsonl", "parquet"):
            answer = httpx2.get(
                f"{web.address}/api/v1/datasets/{made['id']}/export?format={form}", headers={"Authorization": f"Bearer {web.token}"}, timeout=60
            )
            assert answer.status_code == 200 and len(answer.content) > 10_000, (form, answer.text[:200])
    finally:
        web.kill()


def test_f20_a_model_that_does_not_fit_is_not_begun_to_be_copied(tmp_path: Path, small: Path) -> None:
    given = environment(tmp_path, free_port()) | {"FETTLE_DATA": str(small)}
    folder = make_model(tmp_path / "tiny", seed=7)
    (small / "models").mkdir()
    command = [sys.executable, "-m", "worker.models", "add", str(folder)]
    early = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert early.returncode == 1 and early.stderr == "The database has no tables yet. Run `fettle migrate`, then add the model again.\n"
    subprocess.run([sys.executable, "-m", "app.cli", "migrate"], cwd=ROOT, env=given, check=True, capture_output=True)
    filler = fill(small, 50_000)
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "The disk is full: tiny takes" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list((small / "models").iterdir()) == [] and filler.exists()


@ONE
@pytest.mark.long
def test_f20_a_disk_that_fills_during_a_run_keeps_the_checkpoint_before(site: Site, small: Path) -> None:
    store(site, small)
    site.environment["TEST_FILL"] = str(small)
    site.save_every_step()
    site.worker(fill=30)  # between two validations, after which the best moment is saved before the checkpoint
    key = site.tune()
    job = site.ended(key)
    assert job.state == "failed" and (job.error or {})["code"] == "disk_full" and "checkpoint of step" in (job.error or {})["message"], job.error
    kept = {path.name for path in (small / "jobs" / str(key) / "attempt-1").glob("checkpoint-*")}
    assert kept == {"checkpoint-28", "checkpoint-29"}
    (small / "filler").unlink()
    jobs.retry(site.person, key)
    site.succeeded(key)
    assert any("Went on from the checkpoint at step 29" in line for line in site.log(key))
    assert len(site.curve(key)[0]) == RUN["max_steps"]


@pytest.mark.long
def test_f20_a_database_that_cannot_grow_can_still_be_read(tmp_path: Path, small: Path) -> None:
    web = Web(tmp_path)
    web.environment = environment(tmp_path, free_port()) | {"FETTLE_REDIS_URL": "redis://127.0.0.1:1/0", "FETTLE_DATA": str(small)}
    web.begin()
    try:
        kept = web.call("POST", "/api/v1/prompts", json={"name": "small", "mode": "structured", "instruction": "x"})
        fill(small, 0)
        answers = [_post(web.address, web.token, {"name": f"p{at}", "mode": "structured", "instruction": "y" * 50_000}) for at in range(60)]
        full = [body for status, body in answers if status != 201]
        assert full and all(status == 507 and body["error"]["code"] == "disk_full" for status, body in answers if status != 201), full[:1]
        assert any(prompt["id"] == kept["id"] for prompt in web.call("GET", "/api/v1/prompts")["items"])
        (small / "filler").unlink()
        assert web.call("POST", "/api/v1/prompts", json={"name": "again", "mode": "structured", "instruction": "x"})["id"]
    finally:
        web.kill()


@ONE
@pytest.mark.long
def test_f20_a_run_waits_for_a_database_that_has_no_room(site: Site, control: Control, database_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than three leases. What it does meanwhile is kept in memory; nobody takes it over, and no page is the worse for it."""
    wanted = control(site)
    move_database(site, database_disk, monkeypatch)
    site.web()
    site.worker(slow=0.1)
    key = site.tune()
    with transaction() as session:
        cookies = {COOKIE: start_session(session, session.get_one(User, site.person.user_id))}
    until(lambda: site.reached(key) > 5)
    filler = fill_up(database_disk)

    def has_no_room() -> bool:
        status, said = site.call("POST", "/api/v1/prompts", json={"name": "large", "mode": "structured", "instruction": "y" * 50_000})
        assert status == 201 or (status, said["error"]["code"]) == (507, "disk_full"), (status, said)
        return status == 507

    until(has_no_room, 30)
    time.sleep(2)  # what was being written
    held_at = site.reached(key)
    time.sleep(15)
    assert site.reached(key) == held_at < RUN["max_steps"] and (site.job(key).state, site.job(key).attempt) == ("running", 1), "somebody wrote"
    phase = str(site.job(key).phase)  # it may have been validating when there was no more room
    for path, says in (("/", "The disk is 100 % full."), (f"/jobs/{key}", "No heartbeat for"), ("/jobs", f'<span class="how-far">{phase}')):
        answer = httpx2.get(f"http://127.0.0.1:{site.port}{path}", cookies=cookies, timeout=30)
        assert answer.status_code == 200 and says in answer.text.replace("%", " %").replace("  %", " %"), (path, answer.status_code, answer.text[:300])
    filler.unlink()
    site.succeeded(key, 120)
    until(lambda: not wrong(site, [key], set()), 30)
    assert site.outcomes(key) == ["succeeded"] and site.curve(key) == wanted
    assert not any("Went on" in line for line in site.log(key)), "nothing was trained again"


@pytest.mark.long
@pytest.mark.parametrize("large", ["weights", "database"])
def test_f20_a_backup_that_does_not_fit_says_so_and_leaves_nothing(tmp_path: Path, small: Path, large: str) -> None:
    given = environment(tmp_path, free_port())
    storage = tmp_path / "data" / "storage" / "jobs" / "1" / "attempt-1" / "artefact"
    storage.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "app.cli", "migrate"], cwd=ROOT, env=given, check=True, capture_output=True)
    if large == "weights":
        (storage / "weights").write_bytes(os.urandom(12_000_000))
    else:
        with closing(sqlite3.connect(tmp_path / "data" / "fettle.db")) as database:
            database.execute("CREATE TABLE filler AS SELECT randomblob(12000000) AS bytes")
    command = [sys.executable, "-m", "app.cli", "backup", str(small / "fettle.tar.gz")]
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "The disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list(small.iterdir()) == []


def _post(address: str, token: str, body: dict[str, object]) -> tuple[int, dict[str, dict[str, str]]]:
    answer = httpx2.post(f"{address}/api/v1/prompts", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return answer.status_code, answer.json()


def test_f33_too_few_open_files_are_refused_at_the_start(tmp_path: Path) -> None:
    command = f"ulimit -n 64; exec {sys.executable} -m app.cli up"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environment(tmp_path, free_port()), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "64 files" in done.stdout + done.stderr and "ulimit" in done.stdout + done.stderr, done.stdout + done.stderr
    assert not (tmp_path / "data" / "fettle.db").exists(), "no half state"


def elsewhere(folder: Path, mounts: str, words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A command of Fettle among mounts of its own, which nobody else sees; its data folder is there under /mnt."""
    (folder / "data").mkdir(exist_ok=True)
    given = environment(folder, free_port()) | {"FETTLE_DATA": "/mnt", "FETTLE_REDIS_URL": "redis://127.0.0.1:1/0", **more}
    script = f"mount --bind {folder / 'data'} /mnt && {mounts} && exec {sys.executable} -m app.cli {words}"
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    return subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=False)


READ_ONLY_TMP = "mount -t tmpfs tmpfs /tmp && mount -o remount,ro /tmp"
if ROOT.is_relative_to("/tmp"):  # the checkout itself stays in sight: `.` is its folder, whatever lies over it by now
    READ_ONLY_TMP = READ_ONLY_TMP.replace(" && ", f" && mkdir -p {ROOT} && mount -c --bind . {ROOT} && cd {ROOT} && ")


@pytest.mark.parametrize("words", ["up", "worker"])
def test_f33_a_read_only_tmp_is_refused_at_the_start(tmp_path: Path, words: str) -> None:
    """Sockets and locks go there where nothing else is said."""
    done = elsewhere(tmp_path, READ_ONLY_TMP, words, XDG_RUNTIME_DIR="")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Nothing can be written to /tmp/fettle-" in said and "read-only file system" in said, said
    assert "XDG_RUNTIME_DIR" in said and "Traceback" not in said
    assert list((tmp_path / "data").iterdir()) == [], "half a state"


def test_f33_a_read_only_tmp_harms_nothing_where_another_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "run").mkdir(parents=True)
    done = elsewhere(tmp_path, READ_ONLY_TMP, "migrate", XDG_RUNTIME_DIR="/mnt/run", TMPDIR="/mnt/run")
    assert done.returncode == 0, done.stderr
    done = elsewhere(tmp_path, READ_ONLY_TMP, "backup /mnt/kept.tar.gz", XDG_RUNTIME_DIR="/mnt/run", TMPDIR="/mnt/run")
    assert done.returncode == 0 and (tmp_path / "data" / "kept.tar.gz").stat().st_size > 1000, done.stderr


def test_f33_a_data_folder_that_cannot_be_written_to_is_refused_at_the_start(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, "mount -o remount,bind,ro /mnt", "up")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Nothing can be written to /mnt: read-only file system" in said and "FETTLE_DATA" in said and "Traceback" not in said, said


@pytest.mark.parametrize("words", ["up", "worker"])
def test_f33_without_shared_memory_a_worker_is_refused_at_the_start(tmp_path: Path, words: str) -> None:
    done = elsewhere(tmp_path, "mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/taken", words)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "no shared memory" in said and "--shm-size" in said and "Traceback" not in said, said
    assert list((tmp_path / "data").iterdir()) == [], "half a state"


@ONE
def test_f33_a_run_needs_no_more_shared_memory_than_a_worker_starts_with(site: Site) -> None:
    """64 kB, where Docker gives 64 MB: rows are handed to the model by the run's own process."""
    script = f"mount -t tmpfs -o size=64k tmpfs /dev/shm && exec {sys.executable} -m app.cli worker"
    command = ["unshare", "-m", "sh", "-c", script]
    site._began.append(subprocess.Popen(command, cwd=ROOT, env=site.environment | site.machine("one"), start_new_session=True))
    key = site.tune(max_steps=3)
    site.succeeded(key, 120)
    assert site.outcomes(key) == ["succeeded"]
