"""An experiment to take along: its table as plain rows, and the request that runs it again."""

from typing import Any

from sqlalchemy import select, tuple_

from app.db import reading
from app.domain.base import parse_reference
from app.domain.experiment import LINEAR
from app.domain.figures import not_offered
from app.domain.prompt import PromptVersion
from app.domain.scheme import Scheme
from app.services.experiments import Ladder
from app.services.ladders import RungRow
from app.services.resolved import request_of
from app.settings import settings

REQUEST_FILE = "experiment.json"
"""What the command calls the file with the request."""

COLUMNS = (
    "rung", "figure", "rows", "score", "low", "high", "n", "accuracy", "macro_f1", "off_list", "not_offered", "did_not_fit", "validation", "against_baseline", "against_low", "against_high", "p_value", "verdict", "more_rows",
    "latency_p50_ms", "latency_p95_ms", "input_tokens", "output_tokens", "cost_per_1000", "elsewhere", "trainable_parameters", "training_seconds", "trained_elsewhere", "artefact_bytes", "labels_used", "validation_labels",
    "prompt_version", "model", "seeds", "seed_low", "seed_high", "state",
)  # fmt: skip
"""What a row of the table says, in this order; `score` is of the figure that rungs are compared by, with its interval. `rows` says from which rows a
line's figures and its comparison are: validation before the test rows are opened. `off_list` counts rows, `not_offered` is the share of rows whose gold
label was not among those that a row of many labels is offered; `did_not_fit` counts rows made to fit by the rung's policy, `more_rows` about how many more
would tell where the verdict is that one cannot tell. Fractions, not percent; milliseconds, seconds and US dollars; empty where it is not known.
`elsewhere`: the device that it answered on where most rungs have another, whose times and prices it cannot be compared with; `trained_elsewhere`: that it
was tuned on."""


def request(view: Ladder) -> dict[str, Any]:
    """The body of POST /api/v1/experiments that gives the same experiment, whatever the defaults are by then."""
    of = view.experiment
    return {
        "name": of.name,
        "dataset": view.version.reference,
        "model": of.model_id,
        "prompt_version": view.prompt.reference,
        "margin": of.margin,
        "targets": of.targets,
        "scheme": _scheme(view),
        "validation_rows": of.validation_rows,
        "open_test": of.opened_at is not None or of.opens,
        "baseline": view.chosen_baseline.rung.position if view.chosen_baseline else None,
        "rungs": [request_of(row) for row in view.rows],
    }


def _scheme(view: Ladder) -> dict[str, Any]:
    """How answers are read and judged, field by field; labels and their figure are said, which otherwise go without saying."""
    scheme = Scheme.model_validate(view.experiment.scheme)
    said = {"shape": "labels", "metric": scheme.figure.name} if view.labelled else {}
    return scheme.model_dump(mode="json") | said


def command() -> str:
    """How a shell sends the request to this installation again."""
    return f"""curl --fail-with-body {settings().address}/api/v1/experiments \\
  -H "Authorization: Bearer $FETTLE_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d @{REQUEST_FILE}"""


def wordings(view: Ladder) -> list[PromptVersion]:
    """The prompt versions that the request names: the experiment's own first, then those of rungs. What has drawn shots is made of one of them."""
    named = (one.cell.settings.get("prompt_version") for row in view.rows for one in row.cells)
    places = list(dict.fromkeys(filter(None, map(parse_reference, [view.prompt.reference, *named]))))
    with reading() as session:
        found = session.scalars(select(PromptVersion).where(tuple_(PromptVersion.prompt_id, PromptVersion.number).in_(places)))
        return sorted(found, key=lambda one: places.index((one.prompt_id, one.number)))


def table(view: Ladder) -> list[dict[str, Any]]:
    """The majority, the linear baseline and the rungs, each as COLUMNS."""
    majority, name, rows = view.majority, view.experiment.figure.title, "validation" if view.provisional else "test"
    first: list[dict[str, Any]] = []
    if majority is not None:
        told = {"score": majority["value"], "accuracy": majority["accuracy"], "n": len(view.floor.results) if view.floor else None}
        first = [_filled(rung=f"majority (always {majority['label']})", figure=name, rows=rows, **told, labels_used=0, validation_labels=0)]
    return first + [_line(row, name) for row in view.all_rows]


def _line(row: RungRow, figure: str) -> dict[str, Any]:
    scores, against = row.scores or row.validation or {}, row.comparison
    low, high = scores.get("interval") or (None, None)
    latency = scores.get("latency_ms") or {}
    return _filled(
        rung=row.title,
        figure=figure,
        rows=None if not scores else "test" if row.scores else "validation",
        score=scores.get("value"),
        accuracy=scores.get("accuracy"),
        low=low,
        high=high,
        n=scores.get("n"),
        macro_f1=scores.get("macro_f1"),
        off_list=scores.get("off_list"),
        not_offered=not_offered(scores),
        did_not_fit=(scores.get("fit") or {}).get("too_long"),
        validation=row.validation["value"] if row.validation else None,
        against_baseline=against.difference.difference if against else None,
        against_low=against.difference.low if against else None,
        against_high=against.difference.high if against else None,
        p_value=against.difference.p_value if against else None,
        verdict=against.verdict.kind if against else None,
        more_rows=against.verdict.more_rows if against else None,
        latency_p50_ms=latency.get("p50"),
        latency_p95_ms=latency.get("p95"),
        input_tokens=scores.get("input_tokens"),
        output_tokens=scores.get("output_tokens"),
        cost_per_1000=1000 * row.request_cost if row.request_cost is not None else None,
        elsewhere=row.elsewhere or None,
        trainable_parameters=row.model.trainable_parameters if row.rung.tunes else 0,
        training_seconds=row.model.training_seconds if row.rung.tunes else None,
        trained_elsewhere=row.trained_elsewhere or None,
        artefact_bytes=row.artefact_bytes,
        labels_used=row.labels_used,
        validation_labels=row.validation_labels,
        prompt_version=None if row.rung.technique == LINEAR else row.prompt.reference,
        model=None if row.rung.technique == LINEAR else row.model.slug or row.model.name,
        seeds=len(scores["seeds"]) if scores else None,
        seed_low=min(scores["seeds"]) if scores else None,
        seed_high=max(scores["seeds"]) if scores else None,
        state=row.state,
    )


def _filled(**values: Any) -> dict[str, Any]:
    return {name: values.get(name) for name in COLUMNS}
