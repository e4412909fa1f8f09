"""The engine process's door: a request's payload out of Redis, its events back into a Redis stream.

The task hands the request to the one scheduler thread (`engine/serve.py`), which batches, and waits for its end.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from redis import Redis

from app.db import reading
from app.domain import dataset as datasets
from app.domain import model as models
from app.domain.dataset import DatasetVersion
from app.domain.fitting import Fit
from app.domain.generation import LIFE, Parameters, cancel_key, payload_key, stream_key
from app.domain.model import Model
from app.domain.prompt import template_of
from app.domain.rendering import answer_text, render
from app.errors import FettleError
from app.settings import settings
from worker.engine.fit import ruler
from worker.engine.serve import Scheduler, ScoreRequest, ServeRequest, count, lengths

log = structlog.get_logger(__name__)

CANCEL_LOOK_SECONDS = 0.1
_begin = threading.Lock()


@lru_cache
def _redis() -> Redis:
    return Redis.from_url(settings().redis, decode_responses=True)


@lru_cache
def _scheduler() -> Scheduler:
    return Scheduler(settings().engine_memory, device=settings().device)


def scheduler() -> Scheduler:
    """The process's one scheduler; several tasks may ask for it first at the same time."""
    with _begin:
        return _scheduler()


class Stream:
    """The events of one request on their way to whoever asked."""

    def __init__(self, request: str) -> None:
        self._key, self._cancel = stream_key(request), cancel_key(request)
        self.ended = threading.Event()
        self.cancelled = threading.Event()

    def send(self, event: Mapping[str, Any]) -> None:
        pipe = _redis().pipeline(transaction=False)
        pipe.xadd(self._key, {"event": json.dumps(dict(event))})
        pipe.expire(self._key, LIFE)
        pipe.execute()
        if event["type"] in ("done", "error"):
            self.ended.set()

    def watch(self) -> None:
        """Wait for the end, and look for the cancel flag meanwhile."""
        end = time.monotonic() + LIFE
        while not self.ended.wait(CANCEL_LOOK_SECONDS) and time.monotonic() < end:
            if not self.cancelled.is_set() and _redis().exists(self._cancel):
                self.cancelled.set()


def generate(request: str) -> None:
    """Answer one request. A request whose payload has expired is dropped: nobody waits for it any more."""
    raw = _redis().getdel(payload_key(request))
    if raw is None:
        log.info("request has expired or was taken already", request=request)
        return
    stream = Stream(request)
    try:
        payload = json.loads(str(raw))
        if "dataset_version" in payload:
            stream.send({"type": "done", **asdict(look(payload))})
            return
        if "texts" in payload:
            stream.send({"type": "done", "lengths": lengths(_folders(payload["model"])[0], payload["texts"])})
            return
        wanted = score_request(payload) if "labels" in payload else serve_request(payload)
        if isinstance(wanted, ServeRequest) and payload["count_only"]:
            stream.send({"type": "done", **asdict(count(wanted.folder, wanted.rendered)), "texts": [part.text for part in wanted.rendered.parts]})
            return
        scheduler().submit(wanted, stream.send, stream.cancelled.is_set)
    except FettleError as error:
        stream.send({"type": "error", **error.as_dict()})
        return
    stream.watch()


def refuse(request: str) -> None:
    """Tell whoever waits that something unforeseen went wrong."""
    Stream(request).send({"type": "error", "code": "engine_failed", "message": "The engine failed at this request.", "advice": "Its log has the details."})


def close() -> None:
    """The process ends: whoever still waits for an answer is told so."""
    if _scheduler.cache_info().currsize:
        _scheduler().close()


def look(payload: dict[str, Any]) -> Fit:
    """How the rows of a split fit a model's window with a prompt. Raises NotFound when the model was deleted meanwhile."""
    base, adapter = _folders(payload["model"])
    with reading() as session:
        version, template = session.get_one(DatasetVersion, payload["dataset_version"]), template_of(payload["template"])
        labels = version.label_texts() if payload["answer"] == "likelihood" else []
        measure = ruler(base, adapter, template, labels, Parameters.model_validate(payload["parameters"]).max_tokens)
        return measure.look(template, (case.values for case in datasets.cases(session, version, payload["split"])))


def serve_request(payload: dict[str, Any]) -> ServeRequest:
    """The engine's plain request from a payload. Raises FettleError when the model was deleted meanwhile."""
    base, adapter = _folders(payload["model"])
    return ServeRequest(
        _key(base, adapter), base, adapter, render(template_of(payload["template"]), payload["variables"]), Parameters.model_validate(payload["parameters"])
    )


def score_request(payload: dict[str, Any]) -> ScoreRequest:
    """The same for rows whose labels are weighed: {"model", "template", "rows": values of each, "labels": their texts}."""
    base, adapter = _folders(payload["model"])
    template = template_of(payload["template"])
    prompts = tuple(render(template, values) for values in payload["rows"])
    return ScoreRequest(_key(base, adapter), base, adapter, prompts, tuple(answer_text(template, label) for label in payload["labels"]))


def _folders(key: int) -> tuple[Path, Path | None]:
    """Where a model's weights and its adapter lie. Raises FettleError when it was deleted meanwhile."""
    with reading() as session:
        model = session.get(Model, key)
        if model is None:
            raise FettleError("not_found", "The model was deleted.", "Choose another model.")
        return models.folders(session, model, settings().models_folder, settings().storage_folder)


def _key(base: Path, adapter: Path | None) -> str:
    return str(base if adapter is None else adapter)
