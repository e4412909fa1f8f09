"""Is everything there that a person's work needs?"""

from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.services import jobs


def readiness() -> dict[str, Any]:
    """Database, broker, workers, engine: what answers. `ready` when all of them do."""
    state: dict[str, Any] = {"database": True, "broker": queue.ping(), "workers": [], "engine": []}
    try:
        health = jobs.health()
        state |= {"workers": health["gpu"], "engine": health["engine"]}
    except SQLAlchemyError:
        state["database"] = False
    return {"ready": all(state.values()), **state}


def engine() -> bool:
    """Can a local model answer now? Asked of the broker, which notices at once when an engine process ends, and of nobody else."""
    return queue.engine_listens()
