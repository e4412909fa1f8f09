"""What a job's page shows, gathered from the services: the same for the first look and for every live update."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.access import Who
from app.domain.fitting import POLICIES
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.base import in_words
from app.domain.tuning import differences
from app.pages import job_words, trial_view
from app.pages.formatting import day, size
from app.pages.job_form import plain
from app.services import datasets, evaluations, experiments, jobs, judgements, kept, models, prompts, reliability
from app.services.curves import Beside
from app.services.jobs import JobView, Tuning


@dataclass(frozen=True)
class Setting:
    """One line of "Settings": `default` is what a changed parameter would have been."""

    name: str
    value: str
    href: str = ""
    default: str = ""


@dataclass(frozen=True)
class Change:
    """A setting that two jobs do not share."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Compared:
    """Another job beside this one: `changes` lead from this one's settings to its."""

    job: Job
    changes: list[Change]
    best: float | None
    took: float | None


def job_context(person: Who, key: int) -> dict[str, Any]:
    """Everything the templates of a job read. Raises NotFound."""
    view = jobs.find(person, key)
    job = view.job
    tuning = jobs.tuning(person, job) if job.kind == "tune" else None
    return {
        "job": job,
        "view": view,
        "tuning": tuning,
        "sentence": job_words.sentence(view, tuning, jobs.now()),
        "phase": job_words.phase_of(job),
        "phase_names": job_words.PHASES[job.kind],
        "notes": job_words.notes(view, tuning),
        "fraction": job_words.fraction(job, tuning),
        "results": _results(view, tuning),
        "evaluation": evaluations.of_job(person, key) if job.kind == "evaluate" else None,
        "judgement": judgements.of_job(person, key) if "judgement" in job.settings else None,
        "reliability": reliability.of_job(person, key) if "reliability" in job.settings else None,
        "experiment": experiments.of_job(person, key),
        "settings": _tuned_with(job, tuning) if tuning else _scored_with(person, job) if job.kind == "evaluate" else _exported_with(person, job),
        "parameters": _parameters(job, tuning) if tuning else [],
        "policies": POLICIES,
        "remedy": in_words((job.error or {}).get("suggestion") or {}),
        "trials": trial_view.trial_rows(job, tuning) if tuning else [],
        "trial_names": trial_view.trial_names(tuning) if tuning else [],
        "finder": trial_view.finder_drawing(job, tuning) if tuning else None,
        "offset": job_words.offset,
        "origin": _origin(person, job),
        "latest": next((one for one in reversed(view.attempts) if one.ran_with), None),
    }


def _origin(person: Who, job: Job) -> dict[str, Any] | None:
    """The job this one was cloned from, and what was changed; none for one that is nobody's clone."""
    other = jobs.origin(person, job)
    return {"job": other, "changes": changes(other, job)} if other else None


def changes(one: Job, other: Job) -> list[Change]:
    """What is not the same in the settings of two jobs."""
    return [
        Change(name.replace("_", " "), "default" if old is None else plain(old), "default" if new is None else plain(new))
        for name, old, new in differences(one.settings, other.settings)
    ]


def beside(view: JobView, tuning: Tuning | None, others: Sequence[Beside]) -> list[Compared]:
    """The jobs compared with this one: what they did differently, and how far they came."""
    if tuning is None:
        return []
    measure = tuning.measure
    found = []
    for other in others:
        values = [point.value for point in other.points if point.name == measure.point and point.step > 0]
        best = max(values, key=lambda value: measure.sign * value, default=None)
        took = (other.job.finished_at - other.job.started_at) / 1000 if other.job.finished_at and other.job.started_at else None
        found.append(Compared(other.job, changes(view.job, other.job), best, took))
    return found


def _results(view: JobView, tuning: Tuning | None) -> dict[str, Any]:
    """The best validation with its interval, and the untuned model's."""
    best = job_words.best_of(tuning) if tuning else None
    if tuning is None or best is None:
        return {}
    untuned, rows = job_words.untuned_of(tuning), job_words.rows_of(view.job, tuning)
    return {
        "title": f"Best validation {tuning.measure.title}",
        "best": best,
        "rows": rows,
        "bounds": job_words.bounds_of(tuning, best, rows),
        "untuned": untuned,
        "gain": best.value - untuned.value if untuned else None,
    }


def _tuned_with(job: Job, tuning: Tuning) -> list[Setting]:
    version = tuning.version
    rows = f"{version.splits.get('train', 0):,} train, {version.splits.get('validation', 0):,} validation rows"
    replaced = ", the soft prompt in place of its instruction" if tuning.replaced else ""
    return [
        Setting("method", METHODS[job.settings["method"]].title),
        Setting("model", tuning.base.name, f"/models/{tuning.base.id}"),
        Setting("dataset", f"{tuning.dataset.name} v{version.number}, {rows}", f"/datasets/{version.reference}"),
        Setting("prompt", f"{tuning.prompt.name} v{tuning.prompt_version.number}{replaced}", f"/lab?prompt={tuning.prompt_version.reference}"),
        Setting("seed", str(job.settings["seed"])),
        *([] if tuning.search.how == "none" else [Setting("search", _searched(tuning))]),
        Setting("kept on disk", f"on {machine}", "/machines") if (machine := kept.elsewhere(job)) else Setting("kept on disk", _kept(job)),
    ]


def _kept(job: Job) -> str:
    """What there is of a job on disk, and until when."""
    found, until = kept.of_job(job), kept.goes_at(job)
    goes = "" if until is None or job.state == "succeeded" else f" until {day(until)}"
    parts = [
        f"the result, {size(found.results)}" if found.results else "",
        f"checkpoints for a retry, {size(found.checkpoints)}{goes}" if found.checkpoints else "",
        f"the process log, {size(found.logs)}" if found.logs else "",
    ]
    return "; ".join(part for part in parts if part) or "nothing"


def _searched(tuning: Tuning) -> str:
    if not tuning.search.has_trials:
        return "the learning rate, by a range test"
    return f"{tuning.search.how}, {trial_view.count_of(tuning)} trials, the best {'half' if tuning.search.factor == 2 else 'third'} of each round goes on"


def _scored_with(person: Who, job: Job) -> list[Setting]:
    if "judgement" not in job.settings:
        return _evaluated_with(person, job)
    judge, data = models.find(person, job.settings["model"]).model, datasets.find(person, job.settings["dataset"])
    return [
        Setting("judge", judge.shown, f"/models/{judge.id}"),
        Setting("rulings", f"judgement {job.settings['judgement']}", f"/judgements/{job.settings['judgement']}"),
        Setting("dataset", f"{data.dataset.name} v{data.version.number}, {job.settings['split']}", f"/datasets/{data.version.reference}"),
    ]


def _evaluated_with(person: Who, job: Job) -> list[Setting]:
    chosen = job.settings
    base, data = models.find(person, chosen["model"]).model, datasets.find(person, chosen["dataset"])
    prompt, wording = prompts.find(person, chosen["prompt_version"])
    rows = chosen.get("limit") or data.version.splits.get(chosen["split"], 0)
    return [
        Setting("model", base.shown, f"/models/{base.id}"),
        Setting("dataset", f"{data.dataset.name} v{data.version.number}", f"/datasets/{data.version.reference}"),
        Setting("split", f"{chosen['split']}, {rows:,} rows"),
        Setting("prompt", f"{prompt.name} v{wording.number}", f"/lab?prompt={wording.reference}"),
        Setting("answers by", {"likelihood": "likelihood of each label", "generate": "generation"}.get(chosen["answer"], chosen["answer"])),
    ]


def _exported_with(person: Who, job: Job) -> list[Setting]:
    model, data = models.find(person, job.settings["model"]).model, datasets.find(person, job.settings["dataset"])
    compared = f"{data.dataset.name} v{data.version.number}"
    return [
        Setting("model", model.name, f"/models/{model.id}"),
        Setting("format", job.settings["format"]),
        Setting("compared on", compared, f"/datasets/{data.version.reference}"),
    ]


def _parameters(job: Job, tuning: Tuning) -> list[Setting]:
    """Every parameter of the run as it was frozen, or as a search chose it in the end, beside the default where it differs; the learning rate also where it
    followed from the model's width."""
    fields = type(tuning.parameters).model_fields
    found, ran = [], job.result or {}
    for name, value in (ran.get("parameters") or tuning.parameters.model_dump()).items():
        default = fields[name].default
        changed = plain(default) if default is not None else "not set"
        if name == "learning_rate" and value is None and name in ran:
            found.append(Setting(name, f"{plain(ran[name])}, the default for this model's width"))
        if value is not None:
            found.append(Setting(name, plain(value), default="" if value == default else changed))
    return found
