"""A tuned model as one plain model: made by a job, compared with the adapter, handed out as a zip that plain transformers reads."""

import io
import shutil
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from transformers import AutoModelForCausalLM

from app.db import transaction
from app.domain import ending
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Fenced, Job, claim
from app.domain.model import Model
from app.errors import Invalid
from app.services import discarding, handing_out, jobs
from app.settings import settings
from worker import export, parent
from worker.engine.artefact import merge
from worker.engine.folders import hashes, whole
from worker.pruning import prune
from worker.reporter import JobReporter

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # one whole way on both, the rest is the model's

SHORT: dict[str, Any] = {"max_steps": 4, "batch_size": 8, "evaluations": 1}


def tuned(person: Who, base: Model, toys: DatasetVersion, method: str, **parameters: Any) -> int:
    key = jobs.start_tune(person, model=base.id, dataset=toys.dataset_id, method=method, parameters=SHORT | parameters, prompt_version=None, seed=1).job.id
    parent.drain("gpu")
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and view.model is not None, view.job.error
    return view.model.id


def test_an_adapter_becomes_one_plain_model_that_gives_its_answers(person: Who, base: Model, toys: DatasetVersion, tmp_path: Path) -> None:
    model = tuned(person, base, toys, "lora")
    with pytest.raises(Invalid, match="has not been merged yet"):
        handing_out.folder_of(person, model, "merged")
    key = handing_out.merge(person, model).job.id
    assert handing_out.merge(person, model).job.id == key, "asked again while it waits, it is the same job"
    parent.drain("gpu")
    view = jobs.find(person, key)
    assert view.job.state == "succeeded", view.job.error
    result = view.job.result or {}
    assert (result["rows"], result["same"]) == (20, 20) and result["right"][0] == result["right"][1]
    assert handing_out.merge(person, model).job.id == key, "and so it is when it is there"
    name, folder = handing_out.folder_of(person, model, "merged")
    assert name.endswith("-merged") and handing_out.forms(person, model).now == ("adapter", "merged")
    with zipfile.ZipFile(io.BytesIO(b"".join(handing_out.zipped(folder)))) as archive:
        archive.extractall(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not any("lora" in parameter for parameter, _ in plain.named_parameters())


@ONE
def test_what_answers_otherwise_is_not_handed_out(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base itself in the merged model's place: as if the adapter had been lost on the way."""
    model = tuned(person, base, toys, "lora", max_steps=60, learning_rate=2e-2)
    key = handing_out.merge(person, model).job.id
    monkeypatch.setattr(export, "merge", lambda base, adapter, target: shutil.copytree(base, target))
    with transaction() as session:
        job = claim(session, "gpu", "here", 60)
    assert job is not None and job.id == key and job.lease_token is not None
    with pytest.raises(Invalid, match=r"the same answer on \d+ of 20 rows.* 95 % interval") as drifted:
        export.run(job, job.lease_token, JobReporter(job.id, job.lease_token, job.attempt, threading.Event()))
    assert drifted.value.code == "export_drifted"
    assert handing_out.forms(person, model).now == ("adapter",) and not list(settings().storage_folder.glob("exports/*/*/*"))


@ONE
def test_a_soft_prompt_has_no_plain_form(person: Who, base: Model, toys: DatasetVersion) -> None:
    model = tuned(person, base, toys, "prompt_tuning")
    with pytest.raises(Invalid) as refused:
        handing_out.merge(person, model)
    assert refused.value.code == "cannot_merge"
    with pytest.raises(Invalid):
        handing_out.folder_of(person, model, "merged")


@ONE
def test_a_worker_that_lost_the_job_changes_nothing_of_what_another_has_merged(
    person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps in the middle of its merge, which would come to something else (the base itself), and wakes up when the next attempt is through."""
    model = tuned(person, base, toys, "lora")
    key = handing_out.merge(person, model).job.id
    found = dict[str, str]()

    def sleeps(base: Path, adapter: Path, target: Path) -> None:
        monkeypatch.setattr(export, "merge", merge)
        with transaction() as session:
            session.execute(update(Job).values(lease_until=0))
        with transaction() as session:
            assert ending.expire(session) == [key]
        attempt()
        found.update(hashes(handed_out()))
        with whole(target) as folder:
            shutil.copytree(base, folder, dirs_exist_ok=True)

    def attempt() -> None:
        with transaction() as session:
            job = claim(session, "gpu", "here", 60)
        assert job is not None and job.id == key and job.lease_token is not None
        export.run(job, job.lease_token, JobReporter(job.id, job.lease_token, job.attempt, threading.Event()))

    def handed_out() -> Path:
        return handing_out.folder_of(person, model, "merged")[1]

    monkeypatch.setattr(export, "merge", sleeps)
    with pytest.raises(Fenced):
        attempt()
    assert jobs.find(person, key).job.state == "succeeded" and jobs.find(person, key).job.attempt == 2
    assert found and hashes(handed_out()) == found
    prune()
    assert list(settings().storage_folder.glob("exports/*/*/*")) == [handed_out()], "what the first attempt has made is of no use"
    discarding.job(person, key)
    assert not list(settings().storage_folder.glob("exports/*/*"))
