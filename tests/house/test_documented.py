"""Every setting, method field and generation parameter is explained, and the reference pages say what the code says."""

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
