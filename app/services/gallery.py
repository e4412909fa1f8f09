"""The sample gallery: ready prompts written for this project, each with an input to try it on. Opening one makes a draft, not a saved copy."""

import json
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

from app.errors import NotFound
from app.services import prompts
from app.services.seed import SAMPLES


@dataclass(frozen=True)
class Sample:
    """One prompt of the gallery: a version's fields, and the input it is shown with."""

    key: str
    group: str
    name: str
    about: str
    fields: dict[str, Any]
    input: str


@lru_cache
def samples() -> tuple[Sample, ...]:
    """All of them, in the order of the file."""
    told = json.loads((SAMPLES / "gallery.json").read_text())
    return tuple(Sample(one["key"], one["group"], one["name"], one["about"], prompts.normal_form(one), one["input"]) for one in told)


def groups() -> list[tuple[str, list[Sample]]]:
    """The samples by what they do."""
    return [(name, list(found)) for name, found in groupby(samples(), key=lambda sample: sample.group)]


def find(key: str) -> Sample:
    found = next((sample for sample in samples() if sample.key == key), None)
    if found is None:
        raise NotFound("sample", key)
    return found
