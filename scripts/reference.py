"""Writes docs/settings.md and docs/methods.md from the code: `python -m scripts.reference`. A house test compares them with it."""

from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.search import Range, Search
from app.settings import Settings
from bench import defaults

SEARCHING = (
    "`search` of a tuning job (`--search` on the command line, “Search settings” in the form). A grid or random search is one job whose trials run "
    "one after another by successive halving (<https://arxiv.org/abs/1502.07943>): at each rung the best of them go on, the others stop, and the winner "
    "is trained to its end. Trials are compared by their best validation so far: by `validate_by`, then by the loss, then by the smaller number. No trial is "
    "judged before a ninth of its run. The learning-rate finder (<https://arxiv.org/abs/1506.01186>) is a test of at most 60 steps before a "
    "single run on one device; the trials of a search can each be spread over several."
)
RANGE = "A range in `space`:\n"
DOCS = Path(__file__).parents[1] / "docs"

SEARCH = """## How the defaults were found

`python -m bench.defaults`: the starter model (SmolLM2-135M-Instruct, 576 wide), sst2 and trec6, 384 labels, batches of 8, cosine schedule,
float32 on a processor. Successive halving: every candidate for 16 steps, the two best for 48 (one pass), the winner with three seeds. Accuracy
in percent by label likelihood on 100 rows that were not trained on: one column is known to within about 9 points either way, so
neighbours in the table are not told apart, and only what is far behind is ruled out. The winner is bold. Its learning rate is the default; a soft
prompt stays as long as its text, because a longer one won on one task and lost on the other.

For a wider model the rate is multiplied by (576 / width) to a power: 1 for full fine-tuning, 1/2 for LoRA and P-tuning, 0 for prompt and
prefix tuning, whose step changes activations and not weights. The powers are a rule of thumb, not a result of this search.

Not searched: schedule, warm-up, batch size, rank, alpha, dropout, runs of more than 48 steps, other models, text answers (the wide grid of
`make search-defaults` has e2e_nlg, ranks, lengths and 128 steps; it has not been run).
"""

CHECK = """### Against random trials

`python -m bench.defaults --check`: on two tasks the search never saw, the default against the best of 20 random trials. Trials are halved and
chosen on 100 rows of the train file; both are compared on 400 rows of the test file, 48 steps, one seed.
"""


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
    parts += [SEARCH, defaults.table("narrow"), "", *([CHECK, defaults.check_table(), ""] if defaults.check_done() else [])]
    parts += [f"## Searching for parameters\n\n{SEARCHING}\n", table(Search), RANGE, table(Range)]
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
