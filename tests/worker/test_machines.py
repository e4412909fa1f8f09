"""Two machines with a data folder each: one PostgreSQL, one Redis, one S3. What one tunes, the other goes on with, scores and serves."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from app import doctor, queue, storage
from app.db import now, reading, transaction
from app.domain import installation
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Job
from app.domain.model import Model
from app.errors import Conflict, Invalid, NoRoom, Unavailable
from app.services import evaluations, handing_out, jobs, queues
from app.settings import settings
from app.storage import Store
from tests.faults.tap import Tap
from tests.house.rules import ROOT
from tests.installation import free_port
from tests.worker.test_device import Chat, process
from tests.worker.test_parent import LONG, SHORT, trains, until
from worker import interactive, parent, weights
from worker.engine.folders import fingerprint
from worker.tune import spec_of


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_comes_back_as_it_was_and_only_whole(bucket: str, tmp_path: Path) -> None:
    store = Store(bucket)
    folder = written(tmp_path / "attempt-1", weights="w" * 12_000_000, checkpoint__state="{}", artefact__model="not with the rest")
    (folder / "process.log").write_text("of this machine alone")
    assert not store.has("jobs/1/attempt-1") and store.below("jobs/1") == []
    store.push(folder, "jobs/1/attempt-1")
    assert store.has("jobs/1/attempt-1") and store.below("jobs/1") == ["attempt-1"] and not store.has("jobs/1")
    assert store.fetch("jobs/1/attempt-1", tmp_path / "there" / "attempt-1") is True
    assert {path.name: path.read_text() for path in (tmp_path / "there").rglob("*") if path.is_file() and ".fetch" not in path.name} == {
        "weights": "w" * 12_000_000,
        "state": "{}",
    }
    assert store.fetch("jobs/2/attempt-1", tmp_path / "nothing") is False and not (tmp_path / "nothing").exists()
    store.remove("jobs/1")
    assert store.below("jobs/1") == [] and not store.has("jobs/1/attempt-1")


def test_a_folder_that_is_pushed_again_takes_along_what_is_gone_from_it(bucket: str, tmp_path: Path) -> None:
    import obstore

    store = Store(bucket)
    folder = written(tmp_path / "attempt-1", **{"checkpoint-1__state": "1", "checkpoint-2__state": "2"})
    store.push(folder, "checkpoints/jobs/1/attempt-1")
    (folder / "checkpoint-1" / "state").unlink()
    store.push(written(folder, **{"checkpoint-3__state": "3"}), "checkpoints/jobs/1/attempt-1")
    there = {entry["path"].rpartition("attempt-1/")[2] for batch in obstore.list(store._store, "checkpoints") for entry in batch}
    assert there == {"checkpoint-2/state", "checkpoint-3/state", storage.LISTING}


@pytest.mark.parametrize("done", range(5))
def test_a_copy_that_is_broken_off_is_whole_as_it_was_or_as_it_is(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    """As a search's is, which says in one file how its trials stand, when its machine dies in the middle."""
    import obstore

    def found(name: str) -> dict[str, str]:
        assert Store(bucket).fetch(key, tmp_path / name) is True
        return {path.relative_to(tmp_path / name).as_posix(): path.read_text() for path in (tmp_path / name).rglob("*") if path.is_file()}

    key, puts, put = "checkpoints/jobs/1/attempt-1", iter(range(100)), obstore.put

    def dies(*values: object, **more: object) -> object:
        if next(puts) == done:
            raise SystemExit
        return put(*values, **more)

    old = {"search.json": "rung 0", "trial-1/checkpoint-2/state": "2", "trial-1/checkpoint-4/state": "4"}
    new = {"search.json": "rung 1", "trial-1/checkpoint-4/state": "4", "trial-1/checkpoint-6/state": "6", "trial-2/checkpoint-1/state": "1"}
    folder = written(tmp_path / "attempt-1", **{name.replace("/", "__"): text for name, text in old.items() if name != "search.json"})
    (folder / "search.json").write_text("rung 0")
    Store(bucket).push(folder, key)
    (folder / "trial-1" / "checkpoint-2" / "state").unlink()
    written(folder, **{name.replace("/", "__"): text for name, text in new.items() if name != "search.json"})
    (folder / "search.json").write_text("rung 1")
    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", dies)
        with suppress(SystemExit):
            Store(bucket).push(folder, key)
    assert found("first") == (old if done < 4 else new), "three files and the listing are sent"
    Store(bucket).push(folder, key)
    Store(bucket).push(folder, key)
    assert found("second") == new
    (folder / "search.json").write_text("rung 0")  # what it once was
    Store(bucket).push(folder, key)
    assert found("third") == new | {"search.json": "rung 0"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_attempt_whose_copy_is_damaged_is_passed_over(person: Who, bucket: str, base: Model, toys: DatasetVersion, tmp_path: Path) -> None:
    import obstore

    key = jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=SHORT, prompt_version=None, seed=1).job.id
    with reading() as session:
        job = session.get_one(Job, key)
    place, store = f"checkpoints/jobs/{key}", storage.store()
    assert store is not None
    for number in (1, 2, 3):
        store.push(written(tmp_path / f"attempt-{number}", **{"checkpoint-2__state": str(number)}), f"{place}/attempt-{number}")
    obstore.put(store._store, f"{place}/attempt-2/checkpoint-2/state", b"other bytes")
    obstore.delete(store._store, f"{place}/attempt-3/checkpoint-2/state")
    job.attempt, said = 4, list[str]()
    assert spec_of(job, said.append).resume is True
    assert [line.partition(":")[0] for line in said] == ["What attempt-2 left cannot be used", "What attempt-3 left cannot be used"]
    assert (parent.attempt_folder(job) / "checkpoint-2" / "state").read_text() == "1"


def test_what_is_removed_goes_alone_and_names_are_those_below(bucket: str, tmp_path: Path) -> None:
    store = Store(bucket)
    for key in ("jobs/1/attempt-1/artefact", "jobs/12/attempt-1/artefact", "checkpoints/jobs/1/attempt-1"):
        store.push(written(tmp_path / key, weights="w"), key)
    assert store.names("jobs") == ["1", "12"] and store.names("nothing") == []
    store.remove("jobs/1")
    assert store.names("jobs") == ["12"] and store.has("jobs/12/attempt-1/artefact") and store.has("checkpoints/jobs/1/attempt-1")


def test_a_file_that_changed_in_the_store_is_refused_and_nothing_is_left(bucket: str, tmp_path: Path) -> None:
    import obstore

    store = Store(bucket)
    store.push(written(tmp_path / "model", weights="right"), "models/1")
    obstore.put(store._store, "models/1/weights", b"wrong")
    with pytest.raises(Invalid, match="is not what was saved there"):
        store.fetch("models/1", tmp_path / "there" / "model")
    assert not (tmp_path / "there" / "model").exists() and not list((tmp_path / "there").glob(".tmp-*"))


def test_what_does_not_fit_is_not_begun_to_be_copied(bucket: str, tmp_path: Path) -> None:
    import obstore

    store = Store(bucket)
    store.push(written(tmp_path / "model", weights="small"), "models/1")
    listing = {"weights": {"bytes": 10**18, "sha256": "0"}}
    obstore.put(store._store, f"models/1/{storage.LISTING}", json.dumps(listing).encode())
    with pytest.raises(NoRoom, match=r"model takes 1,000,000,000,000.0 MB, and [0-9,.]+ MB are free"):
        store.fetch("models/1", tmp_path / "there" / "model")
    assert not (tmp_path / "there" / "model").exists() and not list((tmp_path / "there").glob(".tmp-*"))


def test_a_job_waits_for_room_for_a_model_that_is_only_in_the_store(person: Who, bucket: str, base: Model, toys: DatasetVersion) -> None:
    import obstore

    with transaction() as session:
        row = session.get_one(Model, base.id)
        row.content_hash = fingerprint(settings().models_folder / row.folder)
    weights.share(row)
    (settings().models_folder / row.folder).rename(settings().models_folder / "elsewhere")
    listing = {"weights": {"bytes": 10**18, "sha256": "0"}}
    obstore.put(Store(bucket)._store, f"{storage.model_key(row.content_hash)}/{storage.LISTING}", json.dumps(listing).encode())
    made = jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=LONG, prompt_version=None, seed=1)
    parent.drain("gpu")
    view = jobs.find(person, made.job.id)
    assert (view.job.state, view.job.needs_bytes) == ("queued", 10**18), view.job.error
    assert view.attempts[0].outcome == "no_room" and "is full" in (view.attempts[0].reason or "")


def test_a_listing_that_points_outside_is_refused(bucket: str, tmp_path: Path) -> None:
    import obstore

    store = Store(bucket)
    obstore.put(store._store, "models/1/.listing.json", b'{"../../escaped": {"bytes": 1, "sha256": "0"}}')
    with pytest.raises(Invalid, match="outside its folder"):
        store.fetch("models/1", tmp_path / "there" / "model")


def test_a_store_that_is_not_there_is_said_in_words(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=f"The object store {bucket} cannot be used"):
        Store(bucket).push(written(tmp_path / "model", weights="x"), "models/1")


def engine_there() -> bool:
    with reading() as session:
        return bool(workers.alive(session, "interactive"))


def test_a_prefix_belongs_to_one_installation(database: str, bucket: str, tmp_path: Path) -> None:
    """Both have a job 1: without names the second would overwrite, and delete, what the first one has tuned."""
    del database
    key, own = "jobs/1/attempt-1/artefact", storage.store()
    assert own is not None
    own.push(written(tmp_path / "artefact", weights="the first one's"), key)
    storage.store.cache_clear()
    assert (again := storage.store()) is not None and again.has(key), "its other processes and machines find it"
    with transaction() as session:
        first, installation.own(session).name = installation.own(session).name, "0123456789abcdef"
    storage.store.cache_clear()
    for ask in (storage.store, storage.refuse_other, storage.answers):
        with pytest.raises(Conflict, match=f"{bucket} belongs to another installation of Fettle .{first}; this is 0123456789abcdef") as refused:
            ask()
    assert "FETTLE_STORAGE" in refused.value.advice and '{"installation": "0123456789abcdef"}' in refused.value.advice
    storage.drop("jobs/1")
    assert Store(bucket).has(key), "nor does it take anything away"
    (told,) = doctor.object_store()
    assert told.bad and "another installation" in told.text
    started = subprocess.run([sys.executable, "-m", "app.cli", "worker"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert started.returncode == 1 and "belongs to another installation" in started.stderr and "Traceback" not in started.stderr, started.stderr


def test_of_several_that_come_to_an_empty_prefix_at_once_one_has_it(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"installation-{number}" for number in range(6)]
    together = Barrier(len(names))
    monkeypatch.setattr(Store, "_is_empty", lambda _: together.wait(30) >= 0)

    def come(name: str) -> bool:
        try:
            Store(bucket).belongs_to(name, nameless=False)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(len(names)) as pool:
        assert sum(pool.map(come, names)) == 1


def test_a_store_that_knows_no_conditions_is_claimed_all_the_same(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    put = obstore.put

    def unconditional(*given: object, mode: str = "overwrite", **more: object) -> object:
        if mode == "create":
            raise obstore.exceptions.NotSupportedError("If-None-Match")
        return put(*given, **more)

    monkeypatch.setattr(obstore, "put", unconditional)
    Store(bucket).belongs_to("mine", nameless=False)
    with pytest.raises(Conflict, match=r"belongs to another installation of Fettle .mine"):
        Store(bucket).belongs_to("yours", nameless=False)


def test_what_was_stored_before_installations_had_names_stays_its_own(person: Who, bucket: str, tmp_path: Path) -> None:
    del person
    key = "jobs/1/attempt-1/artefact"
    Store(bucket).push(written(tmp_path / "artefact", weights="old"), key)
    with pytest.raises(Conflict, match="is in use, and does not say whose it is"):
        storage.store()
    assert Store(bucket).names("jobs") == ["1"], "a new installation leaves it as it is"
    with transaction() as session:  # as in a database that people worked with before
        installation.own(session).created_at = now(session) + 1
    assert (own := storage.store()) is not None and own.has(key)
    with transaction() as session:
        installation.own(session).name = "another"
    storage.store.cache_clear()
    with pytest.raises(Conflict, match="belongs to another installation"):
        storage.store()


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_job_waits_for_an_object_store_that_is_away_at_its_start_and_at_its_end(
    person: Who, bucket: str, s3_server: str, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Tap(int(s3_server.rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{tap.port}")

    def waits() -> int:
        return sum("The job waits for it" in line.text and bucket in line.text for line in jobs.log(person, key))

    wanted = SHORT | {"max_steps": 100}
    key = jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=wanted, prompt_version=None, seed=1).job.id
    tap.cut()
    thread = threading.Thread(target=parent.run_one, args=("gpu",))
    thread.start()
    until(waits)
    assert jobs.find(person, key).job.state == "running"
    tap.mend()
    until(lambda: trains(person, key, 2))
    tap.cut()
    until(lambda: waits() == 2)
    assert jobs.find(person, key).job.phase == "save", "the training is over"
    tap.mend()
    thread.join(60)
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and [attempt.outcome for attempt in view.attempts] == ["succeeded"], view.job.error
    tap.cut()
    again = jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=SHORT, prompt_version=None, seed=1).job.id
    thread = threading.Thread(target=parent.run_one, args=("gpu",))
    thread.start()
    until(lambda: any("The job waits for it" in line.text for line in jobs.log(person, again)))
    jobs.cancel(person, again)
    thread.join(20)
    assert jobs.find(person, again).job.state == "cancelled"


def machine(name: str, folder: Path) -> dict[str, str]:
    """The settings of another machine: its own name, data folder and sockets; the rest is shared."""
    (folder / name / "run").mkdir(parents=True, mode=0o700)
    return {**os.environ, "FETTLE_MACHINE": name, "FETTLE_DATA": str(folder / name / "data"), "XDG_RUNTIME_DIR": str(folder / name / "run")}


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_one_machine_tunes_and_the_other_goes_on_while_the_first_is_at_another_job_then_scores_and_serves(
    person: Who, broker: str, bucket: str, base: Model, toys: DatasetVersion, tmp_path: Path
) -> None:
    del broker, bucket

    def tune(**wanted: int) -> int:
        parameters = LONG | wanted
        return jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method="lora", parameters=parameters, prompt_version=None, seed=1).job.id

    def by(key: int) -> list[str]:
        return [attempt.worker.partition(":")[0] for attempt in jobs.find(person, key).attempts]

    for cache in (queue._celery, queue._redis, interactive._redis):
        cache.cache_clear()
    with transaction() as session:  # the catalogue knows the model by what is in it, and the store has it
        row = session.get_one(Model, base.id)
        row.content_hash = fingerprint(settings().models_folder / row.folder)
        base = row
    weights.share(base)
    one, two = machine("one", tmp_path), machine("two", tmp_path)
    key = tune(max_steps=300)
    with process("worker", environment=one, log=tmp_path / "one.log"):
        until(lambda: trains(person, key, 5), 240)
    left = jobs.find(person, key)  # it was asked to leave: it saved, and handed the job back
    assert left.job.state == "queued" and left.attempts[0].outcome == "handed back", left.attempts
    assert storage.store() is not None and Store(settings().storage).below(f"checkpoints/jobs/{key}") == ["attempt-1"]
    other = tune(evaluations=100)  # so long that it runs until it is told to keep its best
    queues.move(person, other, "first")
    with process("worker", environment=one, log=tmp_path / "one.log"), process("engine", environment=one, log=tmp_path / "engine.log"):
        until(lambda: jobs.find(person, other).job.state == "running", 240)
        with process("worker", environment=two, log=tmp_path / "two.log"):
            until(lambda: jobs.find(person, key).job.over, 600)
            done = jobs.find(person, key)
            assert done.job.state == "succeeded" and done.model is not None, done.job.error
            assert jobs.find(person, other).job.state == "running" and (by(key), by(other)) == (["one", "two"], ["one"]), "both are at work at once"
        log = "\n".join(line.text for line in jobs.log(person, key))
        assert "Went on from the checkpoint at step" in log
        steps = [point.step for point in jobs.points(person, key) if point.name == "loss"]
        assert steps == list(range(1, 301)), "one curve, from two machines"
        assert Store(settings().storage).below(f"checkpoints/jobs/{key}") == [], "what only a resume needs goes"
        until(lambda: any(point.step and point.name == "validation_accuracy" for point in jobs.points(person, other)), 240)
        jobs.finish(person, other)
        scored = evaluations.create(person, model=done.model.id, prompt_version=None, dataset=toys.dataset_id, split="test", answer="likelihood")
        until(lambda: evaluations.find(person, scored.evaluation.id).job.over and jobs.find(person, other).job.over, 300)
        until(engine_there, 60)
        view = evaluations.find(person, scored.evaluation.id)
        assert view.job.state == "succeeded" and (view.evaluation.scores or {})["n"] == 40, view.job.error
        assert Chat(person, done.model, 5).answer()["output_tokens"] == 5
    beside = jobs.find(person, other)
    assert beside.job.state == "succeeded" and beside.model is not None and by(other) == ["one", "one"], beside.job.error
    assert all(Store(settings().storage).has(model.folder) for model in (done.model, beside.model)), "a result of each machine"
    slug, folder = handing_out.folder_of(person, done.model.id, "")  # and a web process with no folder of its own hands it out
    assert slug == done.model.slug and fingerprint(folder) == done.model.content_hash
    assert (folder / "adapter_model.safetensors").exists()
