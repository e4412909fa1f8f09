"""From a context to HTML: the Jinja environment, what every page carries, and how an error looks."""

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.domain.access import Who
from app.errors import FettleError
from app.pages import formatting, text
from app.services import jobs
from app.settings import settings

TEMPLATES = Path(__file__).parent.parent.parent / "templates"


@lru_cache
def environment() -> Environment:
    """Strict: a name that a template reads and nobody gave is an error, never blank text."""
    found = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters.update(formatting.FILTERS | text.FILTERS)
    return found


def page(request: Request, template: str, person: Who | None, section: str = "", status: int = 200, **context: Any) -> HTMLResponse:
    """A whole page: the frame's own values beside the page's context."""
    frame: dict[str, Any] = {
        "status": status,
        "theme": request.cookies.get("theme", ""),
        "section": section,
        "person": person.name if person else None,
        "live": live(person) if person else None,
        "now_ms": jobs.now() if person else None,
        "request_id": None,
    }
    return HTMLResponse(environment().get_template(template).render(frame | context), status)


def fragment(template: str, status: int = 200, headers: dict[str, str] | None = None, **context: Any) -> HTMLResponse:
    """A part of a page, for htmx."""
    return HTMLResponse(environment().get_template(template).render(context), status, headers)


def seen(path: str) -> RedirectResponse:
    """After a POST: see other."""
    return RedirectResponse(path, 303)


def is_fragment(request: Request) -> bool:
    """Does htmx ask for a part only? A history restore wants the whole page."""
    return request.headers.get("hx-request-type") == "partial" and "hx-history-restore-request" not in request.headers


def live(person: Who) -> dict[str, Any]:
    """The strip of running work on every page."""
    active, health = jobs.active(person), jobs.health()
    running = [job for job in active if job.state != "queued"]
    usage = shutil.disk_usage(settings().folder if settings().folder.exists() else Path.cwd())
    missing = next((queue for queue in jobs.COMMANDS if not health[queue] and any(job.queue == queue for job in active)), None)
    trouble = f"No worker answers: run `{jobs.COMMANDS[missing]}`. Waiting jobs are safe." if missing else None
    return {
        "jobs": [
            {
                "url": f"/jobs/{job.id}",
                "name": job.name,
                "phase": "stopping" if job.state == "stopping" else job.phase,
                "fraction": job.step / job.total_steps if job.total_steps and not job.in_trials else None,
                "eta_seconds": job.eta_seconds,
            }
            for job in running
        ],
        "queued": len(active) - len(running),
        "device": ", ".join(health["devices"]) or "no worker",
        "disk": usage.used / usage.total,
        "trouble": trouble,
        "taken_ms": jobs.now(),
    }


def error_page(request: Request, error: FettleError) -> Response:
    """An error as a person sees it: a banner in the place htmx asked for, or a whole page."""
    if request.headers.get("hx-request"):
        return fragment("shared/_error.html", error.status, error=error.as_dict())
    return page(request, "error.html", None, status=error.status, error=error.as_dict())
