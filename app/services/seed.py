"""What a new installation comes with: two sample tasks written for Fettle, and a prompt for each."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.db import transaction
from app.domain import prompt as prompts
from app.domain.access import Who, installation, visible
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.prompt import Prompt, fields_of, template_of
from app.services import uploads
from app.services.shots import drawn

SAMPLES = Path(__file__).parents[2] / "samples"


def seed(say: Callable[[str], None] = print) -> None:
    """Load the sample tasks that are not there yet. Their rows have no author: the installation itself made them."""
    with transaction() as session:
        person = installation(session)
        mine = select(Dataset.name).join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        there = set(session.scalars(mine.where(Dataset.source == "sample", Dataset.workspace_id == person.workspace_id, DatasetVersion.sealed_at.is_not(None))))
    tasks = json.loads((SAMPLES / "prompts.json").read_text())
    for task in tasks:
        if task["dataset"] not in there:
            say(task["dataset"])
            _load(person, task)


def _load(person: Who, task: dict[str, Any]) -> None:
    """One sample task: its examples, then the prompt that goes with them, its shots drawn from the train split by the recorded seed."""
    file = SAMPLES / task["file"]
    view = uploads.import_file(person, file, name=task["dataset"], filename=file.name, source="sample")
    shots = drawn(person, view.dataset.id, task["shots"], task["seed"]).shots
    template = replace(template_of(task | {"shots": []}), shots=tuple(shots))
    with transaction() as session:
        if not session.scalars(visible(person, Prompt).where(Prompt.name == task["name"])).all():
            prompts.create(session, person, task["name"], fields_of(template))
