"""Every setting, method field and generation parameter is explained, and the reference pages say what the code says."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.search import Range, Search
from app.settings import Settings
from scripts import reference

DOCUMENTED: list[type[BaseModel]] = [Settings, Parameters, Search, Range, *METHODS.values()]


def unexplained(model: type[BaseModel]) -> list[str]:
    """The fields without a description that is a sentence."""
    return [name for name, field in model.model_fields.items() if not (field.description or "").endswith((".", ")", "..."))]


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.__name__)
def test_every_field_is_explained(model: type[BaseModel]) -> None:
    assert not unexplained(model)


def test_an_unexplained_field_is_found() -> None:
    class Thing(BaseModel):
        known: int = Field(1, description="How many.")
        unknown: int = 1

    assert unexplained(Thing) == ["unknown"]


@pytest.mark.parametrize(("file", "text"), reference.pages().items(), ids=lambda value: value if len(value) < 20 else "")
def test_the_reference_pages_are_up_to_date(file: str, text: str) -> None:
    assert (reference.DOCS / file).read_text() == text, "run `make docs`"


def test_every_setting_is_on_its_page() -> None:
    page = reference.settings_page()
    assert all(f"`FETTLE_{name.upper()}`" in page for name in Settings.model_fields)


def test_every_method_has_both_halves() -> None:
    root = Path(__file__).parents[2]
    halves = [{path.stem for path in (root / room).glob("*.py")} - {"__init__", "base", "soft"} for room in ("app/domain/methods", "worker/engine/methods")]
    assert halves[0] == halves[1] == set(METHODS)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_says_what_it_is(method: type[BaseModel]) -> None:
    assert all(getattr(method, name) for name in ("name", "title", "summary", "paper"))


def unmarked(page: str, tests: Path) -> list[str]:
    """What a page about faults names (`file.py::test_begins_…`, or `file.py` for any test of it) that `-m faults` would not run."""
    found, file = [], ""
    for path, name in re.findall(r"`([\w/]+\.py|…)(?:::(\w+)…?)?`", page):
        file = file if path == "…" else path
        text = (tests / file).read_text()
        functions = [part for part in ast.parse(text).body if isinstance(part, ast.FunctionDef) and part.name.startswith(name or "test_")]
        whole = re.search(r"^pytestmark = .*mark\.faults", text, re.MULTILINE)
        marked = [any(ast.unparse(mark) == "pytest.mark.faults" for mark in function.decorator_list) for function in functions]
        if not functions or not (whole or (all(marked) if name else any(marked))):
            found.append(f"{file}::{name}")
    return found


def test_every_row_about_faults_is_run_by_make_test_faults() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "faults.md").read_text()
    assert unmarked(page, root / "tests") == []
    assert unmarked("`domain/test_job.py::test_claim_…`, `…::test_nothing_…`", root / "tests") == [
        "domain/test_job.py::test_claim_",
        "domain/test_job.py::test_nothing_",
    ]
