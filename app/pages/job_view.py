"""What a job's page shows, gathered from the services: the same for the first look and for every live update."""

from dataclasses import dataclass
from typing import Any

from app.domain.access import Who
from app.domain.job import Job
from app.domain.methods import METHODS
from app.pages import estimate_words, job_words, trial_view
from app.pages.job_form import plain
from app.services import datasets, evaluations, experiments, jobs, models, prompts
from app.services.jobs import JobView, Tuning


@dataclass(frozen=True)
class Setting:
    """One line of "Settings": `default` is what a changed parameter would have been."""

    name: str
    value: str
    href: str = ""
    default: str = ""


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
        "experiment": experiments.of_job(person, key),
        "settings": _tuned_with(job, tuning) if tuning else _evaluated_with(person, job),
        "parameters": _parameters(job, tuning) if tuning else [],
        "remedy": estimate_words.changes((job.error or {}).get("suggestion") or {}),
        "trials": trial_view.trial_rows(job, tuning) if tuning else [],
        "trial_names": trial_view.trial_names(tuning) if tuning else [],
        "finder": trial_view.finder_drawing(job, tuning) if tuning else None,
        "offset": job_words.offset,
        "charts": job_words.charts,
    }


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
    ]


def _searched(tuning: Tuning) -> str:
    if not tuning.search.has_trials:
        return "the learning rate, by a range test"
    return f"{tuning.search.how}, {trial_view.count_of(tuning)} trials, the best {'half' if tuning.search.factor == 2 else 'third'} of each round goes on"


def _evaluated_with(person: Who, job: Job) -> list[Setting]:
    chosen = job.settings
    base, data = models.find(person, chosen["model"]).model, datasets.find(person, chosen["dataset"])
    prompt, wording = prompts.find(person, chosen["prompt_version"])
    rows = chosen.get("limit") or data.version.splits.get(chosen["split"], 0)
    return [
        Setting("model", base.name, f"/models/{base.id}"),
        Setting("dataset", f"{data.dataset.name} v{data.version.number}", f"/datasets/{data.version.reference}"),
        Setting("split", f"{chosen['split']}, {rows:,} rows"),
        Setting("prompt", f"{prompt.name} v{wording.number}", f"/lab?prompt={wording.reference}"),
        Setting("answers by", {"likelihood": "likelihood of each label", "generate": "generation"}.get(chosen["answer"], chosen["answer"])),
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
