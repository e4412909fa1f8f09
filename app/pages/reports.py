"""An experiment's report as one file: HTML that stands alone, Markdown, CSV, and the JSON that runs it again."""

import csv
import io
import json
import re
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response

from app.domain.access import Who
from app.doors import Person
from app.pages import ladder_notes, ladder_view, report_markdown, report_view
from app.pages.experiments import ladder_context
from app.pages.formatting import number
from app.pages.label_curve import drawn
from app.pages.render import standalone
from app.services import experiments, label_curve, reports
from app.services.experiments import Ladder

router = APIRouter(prefix="/experiments")

TYPES = {"html": "text/html", "md": "text/markdown", "csv": "text/csv", "json": "application/json"}
SHOWN = (
    "rung",
    "rows",
    "score",
    "low",
    "high",
    "seed_low",
    "seed_high",
    "against_baseline",
    "against_low",
    "against_high",
    "p_value",
    "verdict",
    "did_not_fit",
    "latency_p50_ms",
    "latency_p95_ms",
    "input_tokens",
    "output_tokens",
    "cost_per_1000",
    "elsewhere",
    "trainable_parameters",
    "training_seconds",
    "trained_elsewhere",
    "artefact_bytes",
    "labels_used",
    "validation_labels",
)
"""The columns of the Markdown table, but for those that say nothing; the CSV has all."""


@router.get("/{key}/report.{kind}")
def report(person: Person, key: int, kind: Literal["html", "md", "csv", "json"]) -> Response:
    """The report to keep."""
    view = experiments.find(person, key)
    text = _html(view, person) if kind == "html" else {"md": _markdown, "csv": _csv, "json": _json}[kind](view)
    name = re.sub(r"[^a-z0-9]+", "-", view.experiment.name.lower()).strip("-") or "comparison"
    return Response(text, media_type=f"{TYPES[kind]}; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}-{key}.{kind}"'})


def _html(view: Ladder, person: Who) -> str:
    context = ladder_context(view)
    rising = drawn(label_curve.find(person, view.experiment.id)) if context["curves"] else []
    again = {"command": reports.command(), "file": reports.REQUEST_FILE, "request": _json(view)}
    return standalone("experiments/_report.html", view.experiment.name, **context, rising=rising, record=report_view.record(view), again=again)


def _json(view: Ladder) -> str:
    return json.dumps(reports.request(view), indent=2, ensure_ascii=False) + "\n"


def _csv(view: Ladder) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, reports.COLUMNS, lineterminator="\r\n")  # RFC 4180
    writer.writeheader()
    writer.writerows(reports.table(view))
    return out.getvalue()


def _markdown(view: Ladder) -> str:
    (sentence, aside), figure = ladder_view.verdict(view), view.experiment.figure
    lines = [f"# {view.experiment.name}", "", f"**{sentence}** {aside}".rstrip(), ""]
    if view.recommendation:
        lines += [*(f"- {ladder_view.typographic(reason)}" for reason in view.recommendation.reasons), ""]
    notes = (view.signal.sentence if view.signal else "", ladder_notes.baseline(view), ladder_notes.many_looks(view))
    lines += [line for note in notes if note for line in (note, "")]
    # What the seeds of a rung say apart is of one seed the score again.
    rows = [row if (row["seeds"] or 1) > 1 else row | {"seed_low": None, "seed_high": None} for row in reports.table(view)]
    shown = [name for name in SHOWN if any(row[name] is not None for row in rows)]
    lines += ["| " + " | ".join(figure.title if name == "score" else name.replace("_", " ") for name in shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(_cell(name, row[name]) for name in shown) + " |" for row in rows]
    if undecided := [f"- {line.title} against the baseline: {line.undecided}" for line in ladder_view.lines(view) if line.undecided]:
        lines += ["", *undecided]
    of, looked = view.version, view.looks["test"]
    lines += [
        "",
        f"Test rows: {view.dataset.name} v{of.number}, {of.splits.get('test', 0):,} rows, sha256 `{of.content_hash}`, scored {looked.scored} times, viewed {looked.viewed} times.",
        f"Model: {view.model.shown}, sha256 `{view.model.content_hash}`. Margin: {100 * view.experiment.margin:g} points, fixed before the run.",
        f"Compared by {figure.title}, differences paired on the same rows, with Holm's correction; intervals are 95 %: {ladder_view.intervals(figure)}.",
        "",
        *report_markdown.sections(report_view.record(view), _json(view)),
    ]
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    """A value in a Markdown table: three decimals for a fraction, one for a time, nothing for what is not known."""
    if value is None:
        return ""
    if name == "p_value" and value < 0.001:
        return "< 0.001"
    if name.endswith("_tokens"):
        return f"{value:,.0f}"  # of several seeds a mean
    if isinstance(value, float):
        return number(value, 1 if name.endswith(("_ms", "_seconds")) else 3)
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
