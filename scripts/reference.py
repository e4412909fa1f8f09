"""Writes docs/settings.md and docs/methods.md from the code: `python -m scripts.reference`. A house test compares them with it."""

from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.search import Range, Search
from app.settings import Settings

SEARCH = (
    "`search` of a tuning job (`--search` on the command line, “Search settings” in the form). A grid or random search is one job whose trials run "
    "one after another by successive halving (<https://arxiv.org/abs/1502.07943>): at each rung the best of them go on, the others stop, and the winner "
    "is trained to its end. Trials are compared by their best validation so far: accuracy, then loss, then the smaller number. No trial is judged before "
    "a ninth of its run. The learning-rate finder (<https://arxiv.org/abs/1506.01186>) is a test of at most 60 steps before a single run."
)
RANGE = "A range in `space`:\n"
DOCS = Path(__file__).parents[1] / "docs"


def pages() -> dict[str, str]:
    """The text of each generated page by its file name."""
    return {"settings.md": settings_page(), "methods.md": methods_page()}


def settings_page() -> str:
    head = "# Settings\n\nEnvironment variables, read once when a process starts. None is needed for `make run`. Written by `make docs`.\n"
    rows = [f"| `FETTLE_{name.upper()}` | {default(field)} | {sentence(field)} |" for name, field in Settings.model_fields.items()]
    return "\n".join([head, "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def methods_page() -> str:
    parts = ["# Tuning methods and their parameters\n\nNames, ranges and defaults of forms and API alike. Written by `make docs`.\n"]
    for method in METHODS.values():
        parts += [f"## {method.title} (`{method.name}`)\n", f"{method.summary} Paper: <{method.paper}>\n", table(method)]
    parts += [f"## Searching for parameters\n\n{SEARCH}\n", table(Search), RANGE, table(Range)]
    parts += ["## Generation parameters\n\nFor the lab, `/api/v1/generate` and `/v1`.\n", table(Parameters)]
    return "\n".join(parts)


def table(model: type[BaseModel]) -> str:
    rows = [f"| `{name}` | {default(field)} | {bounds(field)} | {sentence(field)} |" for name, field in model.model_fields.items()]
    return "\n".join(["| parameter | default | range | meaning |", "|---|---|---|---|", *rows, ""])


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=False)
    return "" if value in (None, "", []) or field.is_required() else f"`{value}`"


def bounds(field: FieldInfo) -> str:
    """The range in words: from the limits on the field, or the choices of its type."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(rule, name):,}" for rule in field.metadata for name, sign in signs.items() if getattr(rule, name, None) is not None]
    choices = [str(value) for value in getattr(field.annotation, "__args__", ()) if isinstance(value, str)]
    return ", ".join(found or choices)


def sentence(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


if __name__ == "__main__":
    for file, text in pages().items():
        (DOCS / file).write_text(text)
