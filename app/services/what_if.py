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
    """Where it stands, and where the verdict flips. `asked`: whether the experiment or the person has said a value; else it is one of the middle."""

    name: str
    index: int
    value: float
    asked: bool
    flips: list[Flip]


@dataclass(frozen=True)
class WhatIf:
    """The verdict under other terms. `changed`: another rung, or another kind of verdict, than the experiment's own."""

    recommendation: Recommendation | None
    sliders: list[Slider]
    changed: bool
    priced: bool
    """Whether requests cost anything that is known: without that, volume and label price change nothing."""
    settled: bool
    """Whether every rung is over: else the verdict will change by itself."""


USUAL = {"requests_a_month": 10_000.0, "label_price": 0.1, "margin": 0.03}


def ask(person: Who, key: int, moved: dict[str, int]) -> WhatIf:
    """`moved` are sliders by the index they were moved to; the others stand where the experiment has them."""
    with reading() as session:
        experiment = read(session, person, Experiment, key, "experiment")
        version = session.get_one(DatasetVersion, experiment.dataset_version_id)
        rows = rows_of(session, experiment, version, Standing(session, experiments.rungs(session, key)))
        own = terms_of(experiment, version, rows)
        steps, floor = steps_of(session, experiment, rows, own)
    said = {"requests_a_month": own.requests_a_month, "label_price": own.label_price, "margin": own.margin}
    where = {name: min(moved[name], len(places) - 1) if name in moved else _nearest(places, said[name], USUAL[name]) for name, places in STEPS.items()}
    values = {name: said[name] if name not in moved and said[name] is not None else STEPS[name][where[name]] for name in STEPS}
    terms = _under(own, values) if moved else own
    found = recommend(steps, terms, floor)
    usual = recommend(steps, own, floor, brief=True)
    sliders = [
        Slider(name, where[name], float(values[name] or 0.0), name in moved or said[name] is not None, _flips(name, steps, floor, _under(own, values)))
        for name in STEPS
    ]
    changed = (found and (found.position, found.kind)) != (usual and (usual.position, usual.kind))
    priced = bool(steps) and all(step.cost.request is not None for step in steps)
    return WhatIf(found, sliders, bool(changed), priced, settled={row.state for row in rows} <= set(FINAL))


def _under(own: Terms, values: dict[str, float | None]) -> Terms:
    requests = values["requests_a_month"]
    return own.model_copy(update={**values, "requests_a_month": None if requests is None else int(requests)})


def _nearest(places: Sequence[float], value: float | None, usual: float) -> int:
    wanted = usual if value is None else value
    return min(range(len(places)), key=lambda at: abs(places[at] - wanted) / (places[at] + wanted + 1e-9))


def _flips(name: str, steps: Sequence[Step], floor: Step | None, terms: Terms) -> list[Flip]:
    """The places of one slider, the others as they stand, at which the recommended rung becomes another."""
    titles = {step.position: step.title for step in steps}
    found, before = [], ""
    for index, value in enumerate(STEPS[name]):
        one = recommend(steps, terms.model_copy(update={name: int(value) if name == "requests_a_month" else value}), floor, brief=True)
        rung = "no rung" if one is None or one.position is None else titles[one.position]
        if before and rung != before:
            found.append(Flip(index, value, rung))
        before = rung
    return found
