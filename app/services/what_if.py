"""What another volume, label price or margin would change in an experiment's verdict, without running anything again."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db import reading
from app.domain import experiment as experiments
from app.domain.access import Who, read
from app.domain.climbing import Standing
from app.domain.dataset import DatasetVersion
from app.domain.experiment import Experiment
from app.domain.job import FINAL
from app.domain.ladder import Step
from app.domain.recommendation import Recommendation, recommend
from app.domain.targets import Terms
from app.services.ladders import rows_of, steps_of, terms_of

STEPS: dict[str, tuple[float, ...]] = {
    "requests_a_month": tuple(factor * 10.0**power for power in range(2, 8) for factor in (1, 2, 5)),
    "label_price": (0.0, *(round(factor * 10.0**power, 4) for power in range(-3, 2) for factor in (1, 2, 5))),
    "margin": tuple(at / 200 for at in range(21)),
}
"""Where each slider may stand: requests, US dollars, and a fraction."""


@dataclass(frozen=True)
class Flip:
    """From `value` on (a place of the slider, `index`) another rung is recommended."""

    index: int
    value: float
    rung: str


@dataclass(frozen=True)
class Slider:
    """Where it stands, and where the verdict flips. `value`: what the experiment or, by moving it, the person has said; none where nobody has. `needs`:
    the one without whose value this one changes nothing."""

    name: str
    index: int
    value: float | None
    moved: bool
    flips: list[Flip]
    needs: str


@dataclass(frozen=True)
class WhatIf:
    """The verdict under other terms. `changed`: another rung, or another kind of verdict, than under the experiment's own terms, which differ in nothing
    but what was moved."""

    recommendation: Recommendation | None
    sliders: list[Slider]
    changed: bool
    priced: bool
    """Whether all requests and all tuning cost what is known: without that, volume and label price change nothing."""
    settled: bool
    """Whether every rung is over: else the verdict will change by itself."""


MIDDLE = {"requests_a_month": 10_000.0, "label_price": 0.1}
"""Where a slider stands that has no value."""

OTHER = {"requests_a_month": "label_price", "label_price": "requests_a_month"}
"""What a rung costs that read labels is known by both of them or not at all."""


def ask(person: Who, key: int, moved: dict[str, int]) -> WhatIf:
    """`moved` are sliders by the index they were moved to; what was not moved is as the experiment has it, set or not."""
    with reading() as session:
        experiment = read(session, person, Experiment, key, "experiment")
        version = session.get_one(DatasetVersion, experiment.dataset_version_id)
        rows = rows_of(session, experiment, version, Standing(session, experiments.rungs(session, key)))
        own = terms_of(experiment, version, rows)
        steps, floor = steps_of(session, experiment, rows, own)
    at = {name: min(moved[name], len(STEPS[name]) - 1) for name in STEPS if name in moved}
    terms = _under(own, {name: STEPS[name][index] for name, index in at.items()})
    found = recommend(steps, terms, floor)
    usual = recommend(steps, own, floor, brief=True)
    priced = bool(steps) and all(step.cost.request is not None and step.cost.tuning is not None for step in steps)
    lacking = {name for name, other in OTHER.items() if priced and getattr(terms, other) is None and any(step.cost.labels for step in steps)}
    sliders = [_slider(name, at.get(name), terms, _flips(name, steps, floor, terms), OTHER[name] if name in lacking else "") for name in STEPS]
    changed = (found and (found.position, found.kind)) != (usual and (usual.position, usual.kind))
    return WhatIf(found, sliders, bool(changed), priced, settled={row.state for row in rows} <= set(FINAL))


def _slider(name: str, at: int | None, terms: Terms, flips: list[Flip], needs: str) -> Slider:
    value = getattr(terms, name)
    place = _nearest(STEPS[name], MIDDLE[name] if value is None else value) if at is None else at
    return Slider(name, place, value, at is not None, flips, needs)


def _under(own: Terms, values: dict[str, float]) -> Terms:
    return own.model_copy(update={name: int(value) if name == "requests_a_month" else value for name, value in values.items()})


def _nearest(places: Sequence[float], wanted: float) -> int:
    return min(range(len(places)), key=lambda at: abs(places[at] - wanted) / (places[at] + wanted + 1e-9))


def _flips(name: str, steps: Sequence[Step], floor: Step | None, terms: Terms) -> list[Flip]:
    """The places of one slider, the others as they stand, at which the recommended rung becomes another; of one without a value also the first place,
    where that is another than without."""
    titles = {step.position: step.title for step in steps}

    def rung(under: Terms) -> str:
        one = recommend(steps, under, floor, brief=True)
        return "no rung" if one is None or one.position is None else titles[one.position]

    found, before = [], rung(terms) if getattr(terms, name) is None else ""
    for index, value in enumerate(STEPS[name]):
        now = rung(_under(terms, {name: value}))
        if before and now != before:
            found.append(Flip(index, value, now))
        before = now
    return found
