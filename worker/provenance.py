"""Exactly what an attempt works with, as it finds it when it starts: hashes of its data and base model, versions of what computes, the machine."""

import os
import platform
import socket
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pynvml
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import job as jobs
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.job import Job
from app.errors import FettleError
from app.settings import settings
from worker import resources

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "numpy", "scikit-learn", "openai", "bitsandbytes")


def note(job: Job, token: str) -> None:
    """Write it down for this attempt. Raises Fenced."""
    with reading() as session:
        facts = {**_inputs(session, job), **_machine(), "libraries": _libraries(job.queue)}
    with transaction() as session:
        jobs.found(session, job.id, token, job.attempt, facts)


def _inputs(session: Session, job: Job) -> dict[str, Any]:
    """What the settings name, by content. What is gone is left out: the work itself will say so."""
    chosen, person = job.settings, job.person()
    found: dict[str, Any] = {name: chosen[name] for name in ("dataset", "prompt_version", "seed") if chosen.get(name) is not None}
    with suppress(FettleError, KeyError):
        found["dataset_hash"] = datasets.find(session, person, chosen["dataset"]).content_hash
    with suppress(FettleError, KeyError):
        base = models.find(session, person, chosen["model"])
        found |= {"model": base.name, "model_hash": base.content_hash or None}
    with suppress(FettleError, KeyError):
        prompt = prompts.find(session, person, chosen["prompt_version"])
        found |= {"prompt": f"{session.get_one(prompts.Prompt, prompt.prompt_id).name} v{prompt.number}", "prompt_hash": prompt.content_hash}
    return found


def _machine() -> dict[str, Any]:
    names = []
    with suppress(pynvml.NVMLError):
        names = [pynvml.nvmlDeviceGetName(handle) for handle in resources.gpus()]
    about = {"machine": socket.gethostname(), "system": f"{platform.system()} {platform.release()}", "cores": os.cpu_count(), "device": settings().device}
    return about | ({"gpus": names} if names else {}) | ({"threads": settings().threads} if settings().threads else {})


def _libraries(queue: str) -> dict[str, str]:
    """Versions by name, without importing any; work that only asks endpoints computes with none of the large ones."""
    found = {"python": platform.python_version()}
    for name in ("fettle", *LIBRARIES):
        if queue == "light" and name not in ("fettle", "openai", "numpy", "scikit-learn"):
            continue
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
