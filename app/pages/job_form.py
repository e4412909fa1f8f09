"""The form of a tuning job: its parameter fields are drawn from the method's pydantic fields, so a new method has a form at once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters

NO, YES = "no", "yes"
"""What a person chooses for a bool; pydantic reads both words."""

Values = Mapping[str, str]

USUAL = "lora"
"""The method of a form in which none is chosen yet: the usual first one to try."""


@dataclass(frozen=True)
class ParameterField:
    """One parameter as the form shows it. `own` ones are the method's; the others are shared by all methods and stand behind "more"."""

    name: str
    label: str
    help: str
    value: str
    default: str
    changed: bool
    own: bool
    choices: tuple[str, ...]
    attributes: dict[str, str]
    disabled: bool = False
    """The method cannot have it; `help` says why."""


def chosen_method(values: Values) -> str:
    return values["method"] if values.get("method") in METHODS else USUAL


def given_parameters(values: Values) -> dict[str, str]:
    """What a person set differently from the method's defaults. Fields drawn for another method count where they were changed."""
    method = METHODS[chosen_method(values)]
    drawn = METHODS.get(values.get("drawn", ""), method)
    typed = {name: values[name].strip() for name in method.model_fields if values.get(name, "").strip()}
    return {name: text for name, text in typed.items() if name not in drawn.model_fields or not _same(text, drawn.model_fields[name].default)}


def parameter_fields(values: Values, rate: float | None = None) -> list[ParameterField]:
    """The fields of the chosen method, its own ones first. `rate` is the learning rate an empty field stands for."""
    method = METHODS[chosen_method(values)]
    given = given_parameters(values)
    fields = [_field(name, info, given.get(name), name not in MethodParameters.model_fields) for name, info in method.model_fields.items()]
    fields = [_impossible(field, method.impossible[field.name]) if field.name in method.impossible else field for field in fields]
    if rate is not None:
        fields = [replace(field, attributes=field.attributes | {"placeholder": plain(rate)}) if field.name == "learning_rate" else field for field in fields]
    return sorted(fields, key=lambda field: not field.own)


def _impossible(field: ParameterField, reason: str) -> ParameterField:
    """A value that was typed for another method stays to be seen, and refused, until it is taken back."""
    return replace(field, help=f"{field.help} Not with this method: {reason}", disabled=not field.changed)


def _field(name: str, info: FieldInfo, given: str | None, own: bool) -> ParameterField:
    default = "" if info.default is None else plain(info.default)
    choices = tuple(map(str, get_args(info.annotation))) if get_origin(info.annotation) is Literal else (NO, YES) if info.annotation is bool else ()
    bounds, attributes = _bounds(info)
    help_text = " ".join(part for part in (info.description, bounds) if part)
    if not choices:
        whole = info.annotation is int or int in get_args(info.annotation)
        attributes |= {"step": "1" if whole else "any", "inputmode": "numeric" if whole else "decimal"}
    return ParameterField(
        name, name.replace("_", " ").capitalize(), help_text, default if given is None else given, default, given is not None, own, choices, attributes
    )


def _bounds(info: FieldInfo) -> tuple[str, dict[str, str]]:
    """The range in words, and as HTML's min and max (which know no exclusive bounds)."""
    limits: dict[str, Any] = {kind: getattr(mark, kind) for mark in info.metadata for kind in ("ge", "gt", "le", "lt") if hasattr(mark, kind)}
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = ", ".join(f"{words[kind]} {_text(limits[kind])}" for kind in words if kind in limits)
    ends = {"min": limits.get("ge", limits.get("gt")), "max": limits.get("le", limits.get("lt"))}
    return said[:1].upper() + said[1:] + "." if said else "", {name: plain(end) for name, end in ends.items() if end is not None}


def _text(value: object) -> str:
    """A bound as a person reads it: 0.0005, 1,000,000."""
    return f"{value:,}" if isinstance(value, int) else plain(value)


def plain(value: object) -> str:
    """A parameter as it stands in a field: 0.0005 and never 5e-04, yes and never True."""
    if isinstance(value, bool):
        return YES if value else NO
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _same(text: str, default: object) -> bool:
    if isinstance(default, bool):
        return text == plain(default)
    try:
        return float(text) == float(default)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return text == ("" if default is None else plain(default))
