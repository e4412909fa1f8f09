"""Is it alive, is it ready."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from app.services.readiness import readiness

router = APIRouter()


@router.get("/healthz")
def alive() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz")
def ready() -> JSONResponse:
    """Database, broker, workers, engine. 503 while one of them is missing."""
    state = readiness()
    return JSONResponse(state, 200 if state["ready"] else 503)
