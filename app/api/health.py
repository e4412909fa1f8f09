"""Is it alive, is it ready."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.services import jobs

router = APIRouter()


@router.get("/healthz")
def alive() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz")
def ready() -> JSONResponse:
    """Database, broker, workers. 503 while one of them is missing."""
    state: dict[str, Any] = {"database": True, "broker": queue.ping(), "workers": [], "engine": []}
    try:
        health = jobs.health()
        state |= {"workers": health["gpu"], "engine": health["engine"]}
    except SQLAlchemyError:
        state["database"] = False
    ok = bool(state["database"] and state["broker"] and state["workers"] and state["engine"])
    return JSONResponse({"ready": ok, **state}, 200 if ok else 503)
