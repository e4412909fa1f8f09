"""The curves of a job as static/js/chart.js draws them: the measure large and the loss small under one crosshair, other jobs beside them, and what it took."""

from collections.abc import Sequence
from typing import Any

from app.domain.job import Job
from app.domain.metric import CORES, GPU, GPU_MEMORY, MEMORY, Point
from app.domain.validation import LOSS
from app.pages.trial_view import lines
from app.services.curves import Beside
from app.services.jobs import Tuning

Spec = dict[str, Any]

TAKEN: dict[str, tuple[str, str, Spec]] = {
    "cores": (CORES, "Processor", {"unit": "cores", "digits": 1, "low": 0}),
    "memory": (MEMORY, "Memory", {"unit": "GB", "digits": 2, "low": 0, "scale": 1e-9}),
    "gpu": (GPU, "GPU at work", {"unit": "%", "digits": 0, "low": 0, "high": 100}),
    "gpu-memory": (GPU_MEMORY, "GPU memory", {"unit": "GB", "digits": 2, "low": 0, "scale": 1e-9}),
}
"""What the processes of a job take: the metric, its title, how it is drawn."""

JUDGED: Spec = {"digits": 3, "most": 1, "baseline": {"label": "untuned", "step": 0}}
"""How every measure but the loss is drawn: it cannot be above one."""


def charts(job: Job, tuning: Tuning, points: Sequence[Point], others: Sequence[Beside] = ()) -> dict[str, Spec]:
    """`main` (unless the measure is the loss) and `loss`."""
    shared = {"x": "step", "job": job.id, "sync": f"job-{job.id}", "total": tuning.total_steps}
    if tuning.search.has_trials:
        return _search_charts(tuning, points, shared)
    training = [{"name": "train", "metric": "loss", "points": _line(points, "loss")}, {"name": "validation", "metric": LOSS, "points": _line(points, LOSS)}]
    loss = {**shared, "digits": 2, "series": [*training, *_others(others, "loss")]}
    opens = {"href": f"?step={{x}}{''.join(f'&with={one.job.id}' for one in others)}#panel-samples"}
    if tuning.measure.point == LOSS:
        return {"loss": {**loss, **opens}}
    judged = {"name": "validation", "metric": tuning.measure.point, "points": _line(points, tuning.measure.point)}
    named = [{**judged, "name": f"job {job.id}"} if others else judged, *_others(others, tuning.measure.point)]
    return {"main": {**shared, **JUDGED, **opens, "series": named}, "loss": loss}


def _line(points: Sequence[Point], name: str) -> list[list[float]]:
    return [[point.step, point.value] for point in points if point.name == name]


def _others(others: Sequence[Beside], metric: str) -> list[Spec]:
    """The same curve of other jobs; their names are their own, so that no live point of this job is taken for theirs."""
    found = [{"name": f"job {one.job.id}", "metric": f"job-{one.job.id}/{metric}", "points": _line(one.points, metric)} for one in others]
    return [one for one in found if one["points"]]


def _search_charts(tuning: Tuning, points: Sequence[Point], shared: Spec) -> dict[str, Spec]:
    """One line a trial in each: the measure, and the training loss. Where the measure is the loss there is that chart alone."""
    judged = lines(tuning, tuning.measure.point, points)
    if tuning.measure.point == LOSS:
        return {"loss": {**shared, "digits": 2, "series": judged}}
    main = {**shared, **JUDGED, "series": judged}
    return {"main": main, "loss": {**shared, "digits": 2, "series": lines(tuning, "loss", points)}}


def taken(job: Job, points: Sequence[Point]) -> list[tuple[str, str, Spec]]:
    """(id, title, chart) of what the job took; those of a GPU where there was one. While it runs they begin empty."""
    seen = {point.name for point in points}
    return [
        (f"taken-{name}", title, {"x": "after", "clock": True, "job": job.id, "sync": f"taken-{job.id}", "series": [_taken(points, metric, title)], **how})
        for name, (metric, title, how) in TAKEN.items()
        if metric in seen or (not job.over and metric in (CORES, MEMORY))
    ]


def _taken(points: Sequence[Point], metric: str, title: str) -> Spec:
    return {"name": title.lower(), "metric": metric, "points": _line(points, metric)}
