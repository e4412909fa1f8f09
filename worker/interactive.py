"""The engine process's door: a request's payload out of Redis, its events back into a Redis stream.

The task hands the request to the one scheduler thread (`engine/serve.py`), which batches, and is done: however many answers are being
written, a prompt can be counted meanwhile.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from app.db import reading
from app.domain import dataset as datasets
from app.domain import fitting
from app.domain.dataset import DatasetVersion
from app.domain.fitting import Fit
from app.domain.generation import LIFE, Parameters, cancel_key, payload_key, stream_key
from app.domain.model import Model
from app.domain.prompt import template_of
from app.domain.rendering import answer_text, render
from app.errors import FettleError
from app.remote.ruler import ruler as remote_ruler
from app.settings import settings
from worker.engine import seen
from worker.engine.fit import ruler, training_ruler
from worker.engine.serve import Scheduler, ScoreRequest, ServeRequest, lengths
from worker.identity import worker_name
from worker.room import Keeper, LeasedRoom
from worker.weights import weights_of

log = structlog.get_logger(__name__)

_begin = threading.Lock()
_keepers: list[Keeper] = []
"""Of the scheduler, once there is one."""


@lru_cache
def _redis() -> Redis:
    return Redis.from_url(settings().redis, decode_responses=True)


@lru_cache
def _scheduler() -> Scheduler:
    made = Scheduler(settings().engine_memory, device=settings().device, room=_room(), between=_post().deliver)
    _keepers.append(Keeper(_room(), made))
    _keepers[-1].start()
    return made


@lru_cache
def _room() -> LeasedRoom:
    return LeasedRoom(f"{worker_name()}/interactive")


@lru_cache
def _post() -> "Post":
    return Post()


def scheduler() -> Scheduler:
    """The process's one scheduler; several tasks may ask for it first at the same time."""
    with _begin:
        return _scheduler()


class Stream:
    """The events of one request on their way to whoever asked."""

    def __init__(self, request: str) -> None:
        self.key, self.cancel = stream_key(request), cancel_key(request)
        self.cancelled = threading.Event()

    def send(self, event: Mapping[str, Any]) -> None:
        """At once."""
        with _redis().pipeline(transaction=False) as pipe:
            self.put(pipe, event)
            pipe.execute()

    def put(self, pipe: Pipeline, event: Mapping[str, Any]) -> None:
        pipe.xadd(self.key, {"event": json.dumps(dict(event))})
        pipe.expire(self.key, LIFE)


class Post:
    """Everything that a step of the scheduler has to tell, in one round trip, which also brings back who wants to stop: a stop that is
    asked for while a token is being written is known before the next one."""

    def __init__(self) -> None:
        self._open: dict[str, Stream] = {}
        """The requests under way by their cancel keys."""
        self._outgoing: list[tuple[Stream, Mapping[str, Any]]] = []
        self._lock = threading.Lock()

    def open(self, stream: Stream) -> None:
        with self._lock:
            self._open[stream.cancel] = stream

    def close(self, stream: Stream) -> None:
        with self._lock:
            self._open.pop(stream.cancel, None)

    def put(self, stream: Stream, event: Mapping[str, Any]) -> None:
        """To be sent with the next delivery. Called from the scheduler's thread, as that one is."""
        self._outgoing.append((stream, event))
        if event["type"] in ("done", "error"):
            self.close(stream)

    def deliver(self) -> None:
        with self._lock:
            streams = dict(self._open)
        outgoing, self._outgoing = self._outgoing, []
        if not streams and not outgoing:
            return
        try:
            with _redis().pipeline(transaction=False) as pipe:
                for stream, event in outgoing:
                    stream.put(pipe, event)
                if streams:
                    pipe.mget(list(streams))
                results = pipe.execute()
        except RedisError:
            # Nobody can be told anything any more; whoever lost a piece of an answer must not get the rest of it.
            for stream, _ in outgoing:
                stream.cancelled.set()
            raise
        for stream, flag in zip(streams.values(), results[-1] if streams else (), strict=True):
            if flag is not None:
                stream.cancelled.set()


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
            base, adapter = _folders(payload["model"])
            counted, unknown = lengths(base, payload["texts"])
            stream.send({"type": "done", "lengths": counted, "unknown": unknown, "window": seen.window(base, adapter)})
            return
        wanted = score_request(payload) if "labels" in payload else serve_request(payload)
        if isinstance(wanted, ServeRequest) and payload["count_only"]:
            stream.send({"type": "done", **seen.look(wanted.folder, wanted.adapter, wanted.rendered, payload.get("pieces", False))})
            return
        _post().open(stream)
        scheduler().submit(wanted, partial(_post().put, stream), stream.cancelled.is_set)
    except FettleError as error:
        _post().close(stream)
        stream.send({"type": "error", "status": error.status, **error.as_dict()})


def refuse(request: str) -> None:
    """Tell whoever waits that something unforeseen went wrong."""
    Stream(request).send({"type": "error", "code": "engine_failed", "message": "The engine failed at this request.", "advice": "Its log has the details."})


def close() -> None:
    """The process ends: whoever still waits for an answer is told so."""
    while _keepers:
        _keepers.pop().stop()
    if _scheduler.cache_info().currsize:
        _scheduler().close()


def look(payload: dict[str, Any]) -> Fit:
    """How the rows of a split fit a model's window with a prompt; with `remote` that of a model elsewhere, by this one's tokenizer. Raises NotFound when the model was deleted meanwhile."""
    base, adapter = _folders(payload["model"])
    with reading() as session:
        version, template = session.get_one(DatasetVersion, payload["dataset_version"]), template_of(payload["template"])
        labels = version.label_texts() if payload["answer"] == "likelihood" else []
        cases = datasets.cases(session, version, payload["split"], payload.get("limit"))
        if (remote := payload.get("remote")) is not None:
            there = remote_ruler(**remote, tokenizer=base)
            empty = there.empty(template, labels, payload["parameters"]["max_tokens"])
            return fitting.look(empty, template, (case.values for case in cases), there.tokens)
        measure = ruler(base, adapter, template, labels, Parameters.model_validate(payload["parameters"]).max_tokens)
        if payload.get("max_length") is None:
            return measure.look(template, (case.values for case in cases))
        read = list(cases)
        measure = training_ruler(measure, payload["max_length"])
        return measure.look(template, (case.values for case in read), (case.answer for case in read))


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
        found = weights_of(session, model)
    base, adapter = found.here()
    _room().know(_key(base, adapter), model)
    return base, adapter


def _key(base: Path, adapter: Path | None) -> str:
    return str(base if adapter is None else adapter)
