"""From a context to HTML: the Jinja environment, what every page carries, and how an error looks."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from app.disks import fullest
from app.domain.access import Who
from app.domain.job import Job
from app.errors import FettleError
from app.pages import formatting, text
from app.services import jobs, queues
from app.services.milestones import Milestone
from app.settings import settings

STATIC = Path(__file__).parent.parent.parent / "static"
STYLES = ("app.css", "parts.css", "rooms.css", "ladder.css")
TEMPLATES = Path(__file__).parent.parent.parent / "templates"


@lru_cache
def environment() -> Environment:
    """Strict: a name that a template reads and nobody gave is an error, never blank text."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=settings().reload
    )
    found.filters.update(formatting.FILTERS | text.FILTERS)
    return found


def page(request: Request, template: str, person: Who | None, section: str = "", status: int = 200, **context: Any) -> HTMLResponse:
    """A whole page: the frame's own values beside the page's context."""
    frame: dict[str, Any] = {
        "status": status,
        "theme": request.cookies.get("theme", ""),
        "section": section,
        "person": person.name if person else None,
        "account": person.user_id if person else None,
        "live": live(person) if person else None,
        "now_ms": jobs.now() if person else None,
        "request_id": None,
    }
    return HTMLResponse(environment().get_template(template).render(frame | context), status)


def fragment(template: str, status: int = 200, headers: dict[str, str] | None = None, **context: Any) -> HTMLResponse:
    """A part of a page, for htmx."""
    return HTMLResponse(environment().get_template(template).render(context), status, headers)


def standalone(template: str, title: str, **context: Any) -> str:
    """A document that needs nothing beside it: a template's part with the installation's own style sheets inside, and no links into it."""
    body = re.sub(r"</?a\b[^>]*>", "", environment().get_template(template).render(context))
    styles = "\n".join((STATIC / name).read_text() for name in STYLES)
    head = f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n<style>\n{styles}\n</style>'
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def seen(path: str) -> RedirectResponse:
    """After a POST: see other."""
    return RedirectResponse(path, 303)


def gone_on(request: Request, path: str) -> Response:
    """After a POST that htmx may have sent: the whole of another page."""
    return Response(status_code=204, headers={"HX-Redirect": path}) if request.headers.get("hx-request") else seen(path)


def is_fragment(request: Request) -> bool:
    """Does htmx ask for a part only? A history restore wants the whole page."""
    return request.headers.get("hx-request-type") == "partial" and "hx-history-restore-request" not in request.headers


def live(person: Who) -> dict[str, Any]:
    """The strip of running work on every page, and the jobs that ended lately, which every open page tells once."""
    found, health = queues.strip(person), jobs.health()
    busy = {*found.counts, *(job.queue for job in found.running)} - {*found.paused}
    missing = next((queue for queue in jobs.COMMANDS if not health[queue] and queue in busy), None)
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
            for job in found.running
        ],
        "ended": sorted(
            [*(_ended(job) for job in found.ended if job.state != "cancelled"), *map(_reached, found.milestones)], key=lambda news: -(news["at"] or 0)
        ),
        "queued": sum(found.counts.values()),
        "paused": bool({*found.paused} & {*found.counts}),
        "device": ", ".join(health["devices"]) or "no worker",
        "disk": fullest().share,
        "trouble": trouble,
        "taken_ms": found.now,
    }


def _ended(job: Job) -> dict[str, Any]:
    """A job that ended as a toast says it: {at, text, href, link, bad}."""
    bad = job.state == "failed"
    why = f" failed: {(job.error or {}).get('message', '')}" if bad else " is done."
    return {"at": job.finished_at, "text": f"{job.name}{why}", "href": f"/jobs/{job.id}", "link": f"Job {job.id}", "bad": bad}


def _reached(news: Milestone) -> dict[str, Any]:
    """The same of an experiment that has come to its verdict."""
    name, what = news.experiment.name, "final" if news.final else "provisional: open its test rows for the final one"
    return {"at": news.at, "text": f"The verdict of {name} is {what}.", "href": f"/experiments/{news.experiment.id}", "link": "See it", "bad": False}


def error_page(request: Request, error: FettleError) -> Response:
    """An error as a person sees it: a banner in the place htmx asked for, or a whole page."""
    if request.headers.get("hx-request"):
        return fragment("shared/_error.html", error.status, error=error.as_dict())
    return page(request, "error.html", None, status=error.status, error=error.as_dict())
