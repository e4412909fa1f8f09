"""JSON over several lines: a list of records, also inside an object, or indented records one after the other. Read in pieces, never as a whole."""

import json
from collections.abc import Iterator

from app.readers import MAX_LINE, Detected, Note, Problem, Row
from app.readers.content import Content
from app.readers.excerpts import excerpt, visible
from app.readers.json_source import Source, TooLong
from app.readers.json_values import Fields, Number, invalid, record
from app.readers.lines import bad_bytes, open_text

LOOKED_AT = 1_000_000
"""Characters of one object that are taken apart at once to see whether it holds lists of records; a larger one is believed to."""

Value = tuple[int, object, str]


def read(content: Content, detected: Detected) -> Iterator[Row | Problem | Note]:
    """Every record of a file as a row or a problem, in order. Text that is not JSON ends the reading: what follows has no known beginning."""
    wrapped = _is_wrapped(content, detected)
    if isinstance(wrapped, Problem):
        yield wrapped
        return
    with open_text(content, detected.encoding, newline="\n") as stream:
        source = Source(stream)
        try:
            listed = source.peek() == "["
            records = 0
            for item in _wrapped(source, detected.under) if wrapped else _list(source) if listed else _one_by_one(source):
                if isinstance(item, Note | Problem):
                    yield item
                else:
                    line, value, raw = item
                    records += 1
                    yield bad_bytes(raw, line, detected.encoding) or record(value, line, raw)
        except (json.JSONDecodeError, RecursionError) as error:
            yield invalid(error, source.line, source.rest)
            return
        if not records and listed:
            yield Problem("no_rows", 1, "", "[]", "Expected a list of records with named fields; this one has none.")


def _is_wrapped(content: Content, detected: Detected) -> bool | Problem:
    """Whether all of the file is one object that holds lists of records, and is not a record itself; or the question which list is meant."""
    with open_text(content, detected.encoding, newline="\n") as stream:
        source = Source(stream)
        if source.peek() != "{":
            return False
        try:
            _, value, _ = source.value(LOOKED_AT)
        except TooLong:
            return True
        except (json.JSONDecodeError, RecursionError):
            return False
        if not isinstance(value, Fields) or source.peek():
            return False
        lists = [name for name, item in value if _is_records(item)]
        return _which(lists) if len(lists) > 1 and not detected.under else any(name != "messages" for name in lists)


def _is_records(value: object) -> bool:
    return type(value) is list and bool(value) and isinstance(value[0], Fields)


def _one_by_one(source: Source) -> Iterator[Value]:
    while source.peek():
        yield source.value()


def _list(source: Source) -> Iterator[Value]:
    source.skip()
    yield from _items(source)
    if source.peek():
        raise source.error("something follows the end of the list")


def _items(source: Source) -> Iterator[Value]:
    """The values of a list whose bracket is used up, and the bracket at its end."""
    mark = source.peek()
    while mark != "]":
        source.peek()
        yield source.value()
        mark = source.peek()
        if mark not in (",", "]"):
            raise source.error("expected ',' or ']' after a record" if mark else "the file ends before the list is closed")
        if mark == ",":
            source.skip()
    source.skip()


def _wrapped(source: Source, under: str) -> Iterator[Value | Note | Problem]:
    """The records of the one list inside an object, or of the list that a person chose; told when there are several to choose from."""
    source.skip()
    lists: list[str] = []
    while source.peek() != "}":
        name = _name(source)
        if source.peek() != "[":
            source.pass_over()
        else:
            source.skip()
            if source.peek() == "{":
                lists.append(name)
            if lists[-1:] == [name] and (name == under or (not under and len(lists) == 1)):
                yield from _items(source)
            else:
                source.pass_over(depth=1)
        mark = source.peek()
        if mark not in (",", "}"):
            raise source.error("expected ',' or '}' after a value" if mark else "the file ends before the object is closed")
        if mark == ",":
            source.skip()
    source.skip()
    if source.peek():
        raise source.error("something follows the end of the object")
    yield _told(lists, under)


def _name(source: Source) -> str:
    _, name, _ = source.value()
    if not isinstance(name, str) or isinstance(name, Number):
        raise source.error("expected a name in double quotes")
    if source.peek() != ":":
        raise source.error("expected ':' after a name")
    source.skip()
    return name


def _told(lists: list[str], under: str) -> Note | Problem:
    found = " and ".join(f"'{visible(name)}'" for name in lists)
    if under and under not in lists:
        advice = f"There is no list of records under '{visible(under)}'. Found: {found or 'none'}."
        return Problem("no_such_list", 1, under, "", advice, "under", tuple(lists))
    if not lists:
        # Only an object longer than a record may be is taken apart without a look inside.
        return Problem("line_too_long", 1, "", "", f"Line 1 is longer than {MAX_LINE:,} characters. Shorten it or leave it out.")
    if len(lists) > 1 and not under:
        return _which(lists)
    return Note("list_in_object", f"Read the list under '{visible(under or lists[0])}'.")


def _which(lists: list[str]) -> Problem:
    found = " and ".join(f"'{visible(name)}'" for name in lists)
    advice = f"Found lists under {found}. Use which? Choose one, or upload one list whose records have a field split."
    return Problem("choose_list", 1, lists[0], excerpt(", ".join(lists)), advice, "under", tuple(lists))
