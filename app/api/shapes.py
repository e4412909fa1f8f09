"""The JSON that goes out: rows as plain objects. What comes in is declared beside its route."""

from typing import Annotated, Any

from fastapi import Path as PathParameter
from fastapi import Query
from pydantic import BaseModel, ConfigDict

from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.metric import Sample
from app.domain.model import Model
from app.domain.notebook import Run
from app.domain.prompt import Prompt, PromptVersion
from app.domain.trial import Trial
from app.domain.turn import Turn
from app.domain.upload import Upload
from app.services.endpoints import EndpointView
from app.services.estimates import Estimate
from app.services.prompts import Compared, History

Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[int | None, Query(ge=0, le=2**63 - 1)]
Key = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]


class Body(BaseModel):
    """A request body: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")


def listing(items: list[dict[str, Any]], following: int | None) -> dict[str, Any]:
    return {"items": items, "next": following}


def counted(items: list[dict[str, Any]], offset: int, found: Any) -> dict[str, Any]:
    """A page of rows that a filter left, with how many rows there are of each kind. `found` has the counts of all and how many the filter leaves."""
    after = offset + len(items)
    return listing(items, after if after < found.found else None) | {"counts": found.counts, "found": found.found}


def prompt(row: Prompt, version: PromptVersion) -> dict[str, Any]:
    about = {"id": row.id, "name": row.name, "version": version.number, "message": version.message, "created_at": version.created_at}
    return {**about, **version.fields}


def versions(found: History) -> list[dict[str, Any]]:
    return [{**prompt(found.prompt, line.version), "author": line.author, "aliases": list(line.aliases)} for line in found.lines]


def moves(found: History) -> list[dict[str, Any]]:
    return [{"alias": move.name, "from": move.before, "to": move.after, "author": author, "at": move.created_at} for move, author in found.moves]


def compared(found: Compared) -> dict[str, Any]:
    """Part by part: pieces of both versions together, in reading order."""
    parts = [
        {"name": section.name, "changed": section.changed, "pieces": [{"kind": piece.kind, "text": piece.text} for piece in section.pieces]}
        for section in found.sections
    ]
    return {"from": found.older.number, "to": found.newer.number, "sections": parts}


def dataset(row: Dataset, version: DatasetVersion) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "version": version.number,
        "content_hash": version.content_hash,
        "rows": version.rows,
        "columns": version.columns,
        "splits": version.splits,
        "labels": version.book.as_json(),
        "seed": version.seed,
        "scored": version.scored,
        "viewed": version.viewed,
        "revealed": version.revealed_at is not None,
        "created_at": version.created_at,
    }


def read(version: DatasetVersion) -> dict[str, Any]:
    """The file that a version came with, its own or the dataset's first one: how it was read, and the sha256 of its bytes."""
    about = version.change if version.change and version.change.get("kind") == "append" else version.origin
    return {"detected": about.get("detected"), "notes": about.get("notes", []), "sha256": about.get("sha256")}


def run(row: Run) -> dict[str, Any]:
    names = ("id", "session", "ticket", "prompt_version", "prompt", "variables", "parameters", "output", "texts", "reason", "error")
    more = ("input_tokens", "output_tokens", "latency_ms", "cost", "weighing", "created_at")
    return {"model": row.model_name, "model_id": row.model_id, **{name: getattr(row, name) for name in (*names, *more)}}


def upload(row: Upload) -> dict[str, Any]:
    error = dict(row.error or {})
    problems = error.pop("problems", None) or (row.report or {}).get("problems") or []
    return {
        "id": row.id,
        "name": row.name,
        "filename": row.filename,
        "state": row.state,
        "bytes": row.size,
        "bytes_read": int(row.size * row.share),
        "rows": row.rows,
        "seconds": row.seconds,
        "rows_per_second": row.rate,
        "dataset": row.dataset_id if row.state == "done" else None,
        "version": row.cut.get("made", 1) if row.state == "done" else None,
        "error": error or None,
        "problems": problems,
        "warnings": (row.report or {}).get("warnings") or [],
        "created_at": row.created_at,
    }


def example(row: Example) -> dict[str, Any]:
    return {"id": row.id, "position": row.position, "line": row.line, "split": row.split, "input": row.input, "output": row.output, **(row.cells or {})}


def job(row: Job, turn: Turn | None = None) -> dict[str, Any]:
    """`behind` is what a waiting job waits behind, and `begins_at` when its turn comes, each as far as it is measured."""
    behind = None if turn is None or turn.behind is None else {"job": turn.behind, "until": turn.until}
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "state": row.state,
        "phase": row.phase,
        "position": turn.place if turn else None,
        "behind": behind,
        "begins_at": turn.begins if turn else None,
        "priority": row.priority,
        "needs_bytes": row.needs_bytes if row.state == "queued" else None,
        "attempt": row.attempt,
        "step": row.step,
        "total_steps": row.total_steps,
        "eta_seconds": row.eta_seconds,
        "error": row.error,
        "result": row.result,
        "settings": row.settings,
        "worker": row.worker,
        "cloned_from": row.cloned_from,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def sample(row: Sample, right: bool) -> dict[str, Any]:
    return {"trial": row.trial or None, "step": row.step, "row": row.row, "input": row.input, "gold": row.gold, "text": row.text, "right": right}


def estimate(found: Estimate) -> dict[str, Any]:
    names = ("steps", "trials", "exact", "memory_bytes", "device", "device_bytes", "fits", "suggestion")
    more = {"trainable_parameters": found.trainable, "total_parameters": found.total, "learning_rate": found.rate}
    return {**{name: getattr(found, name) for name in names}, **more}


def trial(row: Trial) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("number", "parameters", "state", "step", "value", "reason")}


def model(row: Model) -> dict[str, Any]:
    names = ("id", "name", "kind", "alias", "licence", "source", "parameters", "content_hash", "base_model_id", "method", "method_parameters")
    more = ("trainable_parameters", "training_seconds", "job_id", "endpoint_id", "created_at")
    return {"slug": row.slug, **{name: getattr(row, name) for name in (*names, *more)}, **formats(row.method)}


def formats(method: str | None) -> dict[str, Any]:
    """What a model can be handed out as, and why not merged. A foundation model is what it is."""
    chosen = METHODS.get(method or "")
    return {"formats": list(chosen.formats) if chosen else [], "unmergeable": chosen.unmergeable or None if chosen else None}


def endpoint(view: EndpointView) -> dict[str, Any]:
    """An endpoint without its key: only whether it has one."""
    row = view.endpoint
    names = ("id", "name", "url", "has_key", "prices", "windows", "concurrency", "time_out", "probe", "tested_at", "created_at")
    models = [{"id": model.id, "name": model.remote_name, "slug": model.slug} for model in view.models]
    return {**{name: getattr(row, name) for name in names}, "models": models}


def evaluation(row: Evaluation, of: Job) -> dict[str, Any]:
    names = ("id", "split", "answer", "scheme", "scores", "created_at")
    references = {name: of.settings[name] for name in ("model", "prompt_version", "dataset")}
    return {
        **{name: getattr(row, name) for name in names},
        **references,
        "job": row.job_id,
        "limit": row.row_limit,
        "fit": of.settings.get("fit", "refuse"),
        "state": of.state,
        "error": of.error,
    }


def prediction(row: Prediction, of: Example, other: Prediction | None = None) -> dict[str, Any]:
    names = ("gold", "answer", "correct", "off_list", "cut_off", "offered", "confidence", "margin", "written", "likelihoods", "lost")
    more = {} if other is None else {"other": {name: getattr(other, name) for name in ("answer", "correct", "off_list", "confidence")}}
    return {
        "example": row.example_id,
        "input": of.input,
        **{name: getattr(row, name) for name in names},
        **{name: (row.judged or {}).get(name, {}) for name in ("values", "checks", "fields")},
        "refused": (row.judged or {}).get("refused"),
        "latency_ms": row.latency_ms,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        **more,
    }
