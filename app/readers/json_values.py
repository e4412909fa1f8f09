"""What JSON text means here: scalars keep their literal source text, and what JSON forbids is told apart, not repaired."""

import json
import re

from app.readers import MAX_CELL, MAX_COLUMNS, Problem, Row
from app.readers.excerpts import excerpt, visible
from app.readers.lines import place

WHITE = " \t\r\n"
"""All that JSON takes for white space; Python's own idea of it is wider."""

LONGEST_NUMBER = 4_300
"""Characters; Python refuses to convert longer integers, and no label or text is one."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ROLES = ("system", "developer", "user", "assistant")


class Number(str):
    """A number as it was written, or one of NaN, Infinity, -Infinity."""

    __slots__ = ()


class Fields(list[tuple[str, object]]):
    """An object's members in order, repeated names included."""


class Refused(ValueError):
    """A value that cannot be used; becomes a Problem of its record."""

    def __init__(self, code: str, advice: str, column: str = "") -> None:
        super().__init__(advice)
        self.code, self.advice, self.column = code, advice, column


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=Fields)


def record(value: object, line: int, raw: str, unit: str = "Line") -> Row | Problem:
    """A decoded record as a row; `raw` is its source, for the excerpt. A chat record (`messages`) becomes input and output."""
    try:
        return _row(value, line, unit)
    except Refused as refused:
        at = max(0, raw.find(json.dumps(refused.column, ensure_ascii=False)))
        return Problem(refused.code, line, visible(refused.column), excerpt(raw, at), f"{place(line, refused.column, unit)}: {refused.advice}")


def invalid(error: json.JSONDecodeError | RecursionError, line: int, raw: str) -> Problem:
    """The problem for text that is not JSON. `line` is where `raw` begins."""
    if isinstance(error, RecursionError):
        return Problem("json_too_deep", line, "", excerpt(raw), f"Line {line}: lists and objects are nested too deeply. Flatten the record.")
    line += error.lineno - 1
    advice = f"Line {line} is not valid JSON: {error.msg[0].lower() + error.msg[1:]} at character {error.colno}. Correct it or leave it out."
    return Problem("invalid_json", line, "", excerpt(raw, error.pos), advice)


def _row(fields: object, line: int, unit: str) -> Row:
    if not isinstance(fields, Fields):
        raise Refused("not_a_record", f"expected a record with named fields, found {_kind(fields)}.")
    if len(fields) > MAX_COLUMNS:
        raise Refused("too_many_columns", f"the record has {len(fields):,} fields; the limit is {MAX_COLUMNS}.")
    cells: dict[str, str] = {}
    unusable: dict[str, tuple[str, str]] = {}
    for name, value in fields:
        if name == "messages" and type(value) is list:
            found = _chat(value)
        else:
            found = {name: value if type(value) is str else _text(value, name)}
            if isinstance(value, list):
                unusable[name] = ("nested_value", f"{place(line, name, unit)} holds a list or an object; only text and numbers can be used.")
        for repeated in found.keys() & cells.keys():
            raise Refused("duplicate_key", f"'{visible(repeated)}' appears twice. Remove one.", repeated)
        cells |= found
    check(cells)
    return Row(line, cells, unusable)


def check(cells: dict[str, str]) -> None:
    """Raises Refused for what no text may hold. All cells are looked at as one first: nearly always there is nothing to find."""
    whole = "".join([*cells, *cells.values()])
    if len(whole) <= MAX_CELL and "\0" not in whole and (whole.isascii() or not _SURROGATE.search(whole)):
        return
    for name, cell in cells.items():
        if "\0" in name + cell:
            raise Refused("nul_character", "contains a NUL character (U+0000). Remove it.", name)
        if _SURROGATE.search(name + cell):
            raise Refused("lone_surrogate", "contains half of a surrogate pair, which is not a character. Remove it or write the pair.", name)
        if len(cell) > MAX_CELL:
            raise Refused("cell_too_long", f"more than {MAX_CELL:,} characters in a value; that is the limit. Shorten it or leave the record out.", name)


def _text(value: object, name: str) -> str:
    """A cell's text: scalars literally, null as nothing, lists and objects as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) and not isinstance(value, Number) else _source(value, name)


def _source(value: object, name: str) -> str:
    """A value as JSON text again, its numbers as they were written."""
    if isinstance(value, Number):
        if value[-1] in "Ny":
            raise Refused("not_json", f"{value} is not valid JSON. Write null, or put it in quotes.", name)
        if len(value) > LONGEST_NUMBER:
            raise Refused("number_too_long", "number too long. Put it in quotes if it is text.", name)
        return str(value)
    if isinstance(value, Fields):
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_source(item, name)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_source(item, name) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _chat(messages: list[object]) -> dict[str, str]:
    """Chat turns as one example: the last answer is the output, what was said before it the input.

    A single question stands as it is; several turns stand one under the other, each as `role: text`.
    """
    turns = [_turn(message, number) for number, message in enumerate(messages, 1)]
    if not turns or turns[-1][0] != "assistant":
        raise Refused("no_answer", "the last message is not from the assistant. End the conversation with the answer to learn.", "messages")
    *before, (_, answer) = turns
    if not before:
        raise Refused("no_question", "there is nothing before the answer. Begin the conversation with a message of the user.", "messages")
    if [role for role, _ in before] == ["user"]:
        return {"input": before[0][1], "output": answer}
    return {"input": "\n".join(f"{role}: {content}" for role, content in before), "output": answer}


def _turn(message: object, number: int) -> tuple[str, str]:
    members = dict(message) if isinstance(message, Fields) else {}
    role, content = members.get("role"), members.get("content")
    if members.get("tool_calls") or members.get("function_call") or role in ("tool", "function"):
        advice = f"message {number} calls a tool or answers for one, which is not learned here. Leave the record out, or write the call as text."
        raise Refused("tool_calls", advice, "messages")
    if role not in _ROLES:
        raise Refused("unknown_role", f"message {number} has no known role. Roles: {', '.join(_ROLES)}.", "messages")
    if type(content) is list and all(isinstance(part, Fields) and isinstance(dict(part).get("text"), str) for part in content):
        content = "".join(str(dict(part)["text"]) for part in content)
    if not isinstance(content, str) or not content.strip():
        raise Refused("empty_content", f"message {number} ({role}) has no text.", "messages")
    return str(role), content


def _kind(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = ((Number, "a number"), (str, "a text"), (bool, "true or false"), (list, "a list"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "null")
