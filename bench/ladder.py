"""The whole ladder on real data with the starter model: `python -m bench.ladder [--tasks sst2 ...]`, and the time to a verdict (`--verdict`).

Profile quick: 300 test rows, 256 train rows, 64 steps of tuning, 1 tuning seed, 3 draws of shots; banking77 cut to 10 labels. The two sample tasks
(desk, thumbs) come with the product and keep their own rows. Everything runs through the product: rows come in as a file, jobs run in their own processes, the table and the verdict are the report's. The installation stays
in .state/bench-ladder, so a call that is broken off goes on where it was; a finished task is only written out again. Tables and plots go to
docs/examples/ (`--out`).
"""

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data import MODEL, ROOT, TASKS, prepare_model, rows, test_rows

SAMPLES = {"desk": "Support desk", "thumbs": "Thumbs up or down"}
"""Sample tasks, with the names of their datasets."""
NAMES = (*SAMPLES, "sst2", "trec6", "banking77", "sms_spam")
STATE = ROOT / ".state" / "bench-ladder"
OUT = ROOT / "docs" / "examples"
METHODS = ("prompt_tuning", "p_tuning", "prefix", "lora", "full")
VALIDATION = 100
LEASE_SECONDS = 15


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = parse(arguments)
    os.environ |= {"FETTLE_DATA": str(chosen.folder), "FETTLE_LEASE_SECONDS": str(LEASE_SECONDS), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ.pop("FETTLE_DATABASE_URL", None)
    prepare_model()
    subprocess.run([sys.executable, "-m", "app.cli", "migrate"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    person, model = _ready()
    for name in chosen.tasks:
        if chosen.verdict:
            print(verdict(person, model, name, chosen), flush=True)
        else:
            print(f"{name}: {climbed(person, model, name, chosen)}", flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ladder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--train", type=int, default=256)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--validation", type=int, default=VALIDATION, help="rows on which settings and the best rung are chosen")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--verdict", action="store_true", help="how long a provisional and a final verdict take: prompting rungs and one LoRA")
    parser.add_argument("--folder", type=Path, default=STATE, help="the installation that is gone on with")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(arguments)


def _ready() -> tuple[Any, int]:
    """(who asks, the starter model's id) in the installation."""
    from sqlalchemy import select

    from app.db import transaction
    from app.domain.access import installation, owned
    from app.domain.model import Model
    from app.settings import settings
    from worker.engine.folders import fingerprint

    with transaction() as session:
        person = installation(session)
        found = session.scalars(select(Model).where(Model.folder == MODEL.name)).first()
        if found is None:
            settings().models_folder.mkdir(parents=True, exist_ok=True)
            link = settings().models_folder / MODEL.name
            if not link.exists():
                link.symlink_to(MODEL)
            found = Model(**owned(person), name="SmolLM2-135M-Instruct", kind="foundation", folder=MODEL.name, content_hash=fingerprint(MODEL),
                          parameters=134_515_008, alias="starter")  # fmt: skip
            session.add(found)
            session.flush()
        return person, found.id


def _dataset(person: Any, name: str, chosen: argparse.Namespace) -> str:
    """The task's rows as a dataset, imported once."""
    from app.services import datasets, uploads
    from app.services.seed import seed

    if name in SAMPLES:
        seed(lambda _: None)
    title = SAMPLES.get(name, f"{name} {chosen.train}/{chosen.validation}/{chosen.test}")
    there = next((view for view in datasets.recent(person, limit=200)[0] if view.dataset.name == title), None)
    if there is None:
        train, validation = rows(name, chosen.train, chosen.validation)
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(["input", "output", "split"])
        for split, some in (("train", train), ("validation", validation), ("test", test_rows(name, chosen.test))):
            writer.writerows([values["input"], answer, split] for values, answer in some)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.csv"
            file.write_text(out.getvalue(), encoding="utf-8", newline="")
            there = uploads.import_file(person, file, name=title, filename=file.name, source="bench")
    return there.version.reference


def _prompt(person: Any, name: str) -> str:
    """The task's prompt, saved once; a sample's comes with it."""
    from app.domain.prompt import fields_of
    from app.services import prompts

    title = next((task["name"] for task in sample_tasks() if task["dataset"] == SAMPLES.get(name)), name)
    there = next((version for prompt, version in prompts.recent(person, limit=200)[0] if prompt.name == title), None)
    return (there or prompts.create(person, name, fields_of(TASKS[name].template))).reference


def sample_tasks() -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads((ROOT / "samples" / "prompts.json").read_text())
    return tasks


def _experiment(person: Any, model: int, name: str, chosen: argparse.Namespace, rungs: list[dict[str, Any]], **more: Any) -> int:
    """The id of the task's experiment of these rungs: the one that was begun before, or a new one."""
    from app.services import experiments

    title = f"{name}, {len(rungs)} rungs" + (", timed" if more else "")
    there = next((row for row in experiments.recent(person, limit=200)[0] if row.name == title), None)
    if there is not None and not more:
        return there.id
    dataset, prompt = _dataset(person, name, chosen), _prompt(person, name)
    return experiments.create(person, name=title, dataset=dataset, model=model, prompt_version=prompt, rungs=rungs, **more)


def work() -> None:
    """Do what waits, as the workers would: one job at a time."""
    from app.db import transaction
    from app.domain import ending
    from app.domain import job as jobs
    from worker import parent

    while True:
        done = parent.run_one("light") or parent.run_one("gpu")
        if not done:
            with transaction() as session:
                lost = ending.expire(session)
                held = session.query(jobs.Job).filter(jobs.Job.state.in_(jobs.HELD)).count()
            if not lost and not held:
                return
            time.sleep(1.0)


def climbed(person: Any, model: int, name: str, chosen: argparse.Namespace) -> str:
    """Climb a task's ladder to its end, write it out, and say what it took."""
    from app.db import reading
    from app.domain.job import Job
    from app.services import experiments

    tuned = [{"technique": method, "parameters": {"max_steps": chosen.steps}} for method in chosen.methods]
    draws = list(range(chosen.draws))
    prompts: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "one_shot", "seeds": draws}, {"technique": "few_shot", "seeds": draws}]
    key = _experiment(person, model, name, chosen, [*prompts, *tuned])
    work()
    view = experiments.find(person, key)
    with reading() as session:
        mine = [one for row in view.all_rows for cell in row.cells for one in (cell.tune_job, cell.validation_job, cell.evaluation_job) if one]
        spent = sum((job.finished_at or 0) - (job.started_at or 0) for job in {one.id: session.get_one(Job, one.id) for one in mine}.values()) / 1000
    write(view, name, chosen.out, spent)
    failed = [row.title for row in view.rows if row.state != "succeeded"]
    return f"{spent / 60:.1f} minutes of jobs. {view.recommendation.verdict if view.recommendation else 'No verdict.'}" + (
        f" Failed: {', '.join(failed)}." if failed else ""
    )


def write(view: Any, name: str, out: Path, spent: float) -> None:
    """The report as Markdown and CSV, and its plot as a file of its own."""
    from app.pages import ladder_view, plots
    from app.pages.render import STATIC, environment
    from app.pages.reports import _csv, _markdown

    out.mkdir(parents=True, exist_ok=True)
    plot = plots.pareto(ladder_view.lines(view))
    picture = ""
    if plot is not None:
        drawn = environment().get_template("experiments/_plot.html").module.draw([plot], "Quality and what it costs")  # type: ignore[attr-defined]
        colours = re.search(r":root\s*\{(.*?)\}", (STATIC / "app.css").read_text(), re.DOTALL)
        rules = re.findall(r"^\.pareto (?!svg)(.*)$", (STATIC / "ladder.css").read_text(), re.MULTILINE)
        style = f"svg {{ color-scheme: light; font-family: sans-serif; background: #fdfdfc; {colours[1] if colours else ''} }}\n" + "\n".join(rules)
        svg = re.search(r"<svg.*</svg>", str(drawn), re.DOTALL)
        text = svg[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f"><style>{style}</style>", 1) if svg else ""
        (out / f"{name}.svg").write_text(text + "\n")
        picture = f"\n![Quality and what it costs]({name}.svg)\n"
    took = f"\nMade by `python -m bench.ladder --tasks {name}`: {spent / 60:.1f} minutes of jobs on this machine's processor.\n"
    (out / f"{name}.md").write_text(_markdown(view).rstrip() + "\n" + picture + took)
    (out / f"{name}.csv").write_bytes(_csv(view).encode())


def verdict(person: Any, model: int, name: str, chosen: argparse.Namespace) -> str:
    """How long it takes from the button of a quick look to a provisional verdict on validation rows, and from there to the final one."""
    from app.services import experiments

    rungs: list[dict[str, Any]] = [{"technique": technique} for technique in ("zero_shot", "one_shot", "few_shot", "lora")]
    began = time.perf_counter()
    key = _experiment(person, model, name, chosen, rungs, open_test=False, quick_look=True)
    work()
    provisional = time.perf_counter() - began
    view = experiments.find(person, key)
    first = view.recommendation.verdict if view.recommendation else "none"
    print(f"{name}: provisional after {provisional:.1f} s, LoRA of {view.rows[-1].rung.settings.get('capped', 'all its')} steps: {first}", flush=True)
    experiments.open_test(person, key)
    work()
    whole = time.perf_counter() - began
    view = experiments.find(person, key)
    last = view.recommendation.verdict if view.recommendation else "none"
    about = {"provisional_seconds": round(provisional, 1), "final_seconds": round(whole, 1), "validation_rows": VALIDATION, "test_rows": chosen.test}
    return f"{name}: {json.dumps(about)}\n  provisional: {first}\n  final: {last}"


if __name__ == "__main__":
    main()
