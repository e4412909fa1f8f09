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


INPUTS = {
    "IU": [2, 3, 4, 6, 7, 8, 10, 11, 12, 14],
    "IC": [1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22],
    "IJ": [2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16],
    "IP": [1, 2, 3, 5, 6, 7],
    "IX": [1, 2, 3, 5, 6, 7, 9, 10, 11],
    "IZ": [2, 3, 4, 6, 7, 8],
    "IL": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18],
    "IT": [1, 3, 4, 5, 7, 8],
}
"""The numbers of the kinds of bad inputs that were measured with other readers; those between are tried by their makers."""


def untested(page: str, tests: Path) -> list[str]:
    """What rows of a page name (`file.py::test_begins_…`, `…::test_…`, or a row's own number in a test's id: `file.py::IC6`) and no test is. And the
    numbers of such ids that the page does not name."""
    found, file, ids = [], "", set[str]()
    for path, name in re.findall(r"`([\w/]+\.py|…)::(\w+)…?`", page):
        file = file if path == "…" else path
        text = (tests / file).read_text()
        numbered = set(re.findall(r'"(I[A-Z]\d+) [^"]+"', text))
        ids |= numbered
        functions = [part.name for part in ast.parse(text).body if isinstance(part, ast.FunctionDef) and part.name.startswith(name)]
        found += [] if functions or name in numbered else [f"{file}::{name}"]
    return found + sorted(number for number in ids if f"::{number}`" not in page)


def test_every_kind_of_bad_input_is_a_test() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "inputs.md").read_text()
    rows = re.findall(r"^\| (I[A-Z]\d+) \|.*::", page, re.MULTILINE)
    assert rows == [f"{kind}{number}" for kind, numbers in INPUTS.items() for number in numbers]
    assert untested(page, root / "tests") == []
    assert untested("`readers/test_json.py::test_nothing_`, `readers/test_inputs.py::IC99`", root / "tests")[:2] == [
        "readers/test_json.py::test_nothing_",
        "readers/test_inputs.py::IC99",
    ]
