"""What a new installation comes with: two sample tasks written for Fettle, and a prompt for each."""

import json
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from app.db import transaction
from app.domain import prompt as prompts
from app.domain.access import Who, installation, visible
from app.domain.dataset import Dataset
from app.domain.prompt import FIELDS, Prompt, fields_of
from app.domain.rendering import Template
from app.services import datasets

SAMPLES = Path(__file__).parents[2] / "samples"


def seed(say: Callable[[str], None] = print) -> None:
    """Load the sample tasks that are not there yet. Their rows have no author: the installation itself made them."""
    with transaction() as session:
        person = installation(session)
        there = set(session.scalars(select(Dataset.name).where(Dataset.source == "sample", Dataset.workspace_id == person.workspace_id)))
    tasks = json.loads((SAMPLES / "prompts.json").read_text())
    for task in tasks:
        if task["dataset"] not in there:
            say(task["dataset"])
            _load(person, task)


def _load(person: Who, task: dict[str, object]) -> None:
    """One sample task: its examples, then the prompt that goes with them."""
    file = SAMPLES / str(task["file"])
    datasets.import_file(person, file, name=str(task["dataset"]), filename=file.name, source="sample")
    with transaction() as session:
        names = session.scalars(visible(person, Prompt).where(Prompt.name == task["name"])).all()
        if not names:
            fields = {**fields_of(Template()), **{name: task[name] for name in FIELDS if name in task}}
            prompts.create(session, person, str(task["name"]), fields)
