"""What a report says beside its table, in Markdown."""

import re
from collections.abc import Iterable

from app.pages.report_view import Record, Tried, Wording
from app.services import reports


def sections(record: Record, request: str) -> list[str]:
    """The lines of all sections; `request` is the JSON that runs the experiment again."""
    return [
        *_section("How answers are read and judged", (f"- {sentence}" for sentence in record.judged)),
        *_section("Settings of each rung", (f"- **{title}**: {words}" for title, words in record.settings)),
        *(line for title, cells in record.tried for line in _section(f"Settings that were tried: {title}", _table(cells))),
        *_section("Prompts", (line for wording in record.wordings for line in _wording(wording))),
        *_section("Hashes (sha256)", (f"- {title}: `{digest}`" for title, digest in record.hashes)),
        *_section("Run it again", _again(request)),
    ]


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _table(cells: list[Tried]) -> Iterable[str]:
    yield "| setting | seed | validation | chosen |"
    yield "|---|---|---|---|"
    for one in cells:
        yield f"| {one.name.replace('|', chr(92) + '|')} | {one.seed} | {one.score} | {'yes' if one.chosen else ''} |"


def _wording(one: Wording) -> Iterable[str]:
    yield f"### Prompt {': '.join([one.reference, *([', '.join(one.rungs)] if one.rungs else [])])}"
    yield ""
    yield from fenced(one.text)
    yield ""


def _again(request: str) -> Iterable[str]:
    yield f"Save the request below as `{reports.REQUEST_FILE}`, and send it with an API token (`fettle token create --name report`) in `FETTLE_TOKEN`:"
    yield ""
    yield from fenced(reports.command(), "sh")
    yield ""
    yield from fenced(request.rstrip(), "json")


def fenced(text: str, language: str = "") -> Iterable[str]:
    """A text as a block of code, between fences that are longer than any in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    yield f"{fence}{language}"
    yield text
    yield fence
