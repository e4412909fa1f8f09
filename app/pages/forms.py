"""What a person typed into a form, read with a refusal that names the field."""

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import Form, Request

from app.domain.access import Who
from app.domain.prompt import Prompt, PromptVersion
from app.errors import Invalid
from app.services import prompts

Text = Annotated[str, Form(max_length=10_000)]


async def typed(request: Request) -> dict[str, str]:
    """A form's fields as text, for forms whose fields depend on what was chosen."""
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


def prompt_choices(person: Who, chosen: str) -> list[tuple[str, str]]:
    """The options of a prompt field: every prompt's newest version, and the chosen one when it is an older one. Raises NotFound."""
    found = [(version.reference, _titled(prompt, version)) for prompt, version in prompts.recent(person)[0]]
    if chosen and chosen not in dict(found):
        prompt, version = prompts.find(person, chosen)
        found.append((chosen, _titled(prompt, version)))
    return [("", "Input: … Output: …"), *found]


def _titled(prompt: Prompt, version: PromptVersion) -> str:
    return f"{prompt.name} v{version.number}"


def number(text: str, field: str, low: float, high: float) -> float:
    """A number within bounds. Raises Invalid with the field's name in its detail."""
    try:
        value = float(text)
    except ValueError:
        raise _refused(field, f"“{text}” is not a number.", low, high) from None
    if not low <= value <= high:
        raise _refused(field, f"{value:g} is out of range.", low, high)
    return value


def whole(text: str, field: str, low: int, high: int) -> int:
    """A whole number within bounds. Raises Invalid with the field's name in its detail."""
    value = number(text, field, low, high)
    if value != int(value):
        raise _refused(field, f"{value:g} is not a whole number.", low, high)
    return int(value)


def one_of(text: str, field: str, choices: Collection[str]) -> Any:
    """One of the choices. Raises Invalid with the field's name in its detail."""
    if text not in choices:
        raise Invalid("bad_value", f"“{text}” is none of the choices.", f"Choose one of: {', '.join(choices)}.", detail={"field": field})
    return text


def _refused(field: str, sentence: str, low: float, high: float) -> Invalid:
    return Invalid("bad_value", sentence, f"Give a number from {low:,g} to {high:,g}.", detail={"field": field})
