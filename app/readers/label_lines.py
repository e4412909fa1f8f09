"""`label text` lines without header, as the TREC questions and fastText have them: the first word is the label, the rest the text."""

from collections.abc import Iterator

from app.readers import Detected, Note, Problem, Row
from app.readers.content import Content
from app.readers.excerpts import excerpt
from app.readers.json_values import Refused, check
from app.readers.lines import Lines, bad_bytes, given_end, open_text, physical, restored, too_long

COLUMNS = ("label", "text")

FEWEST = 10
"""Lines needed before their first words are taken for labels."""


def looks_like(text: str, complete: bool) -> bool:
    """Whether the first words of these lines are labels: few, each many times over, in front of a text that differs."""
    lines = [line for line in map(str.rstrip, physical(text)) if line]
    if not complete:
        del lines[-1:]
    parts = [(label, rest) for label, _, rest in (line.partition(" ") for line in lines) if label and rest.strip()]
    if len(parts) < FEWEST or 10 * (len(lines) - len(parts)) > len(lines):
        return False
    labels = {label for label, _ in parts}
    marked = all(not label[0].isalpha() or label.isupper() or ":" in label or "_" in label for label in labels)
    return 2 <= len(labels) <= len(parts) // 4 and (marked or all(label.islower() for label in labels)) and 2 * len({rest for _, rest in parts}) > len(parts)


def read(content: Content, detected: Detected) -> Iterator[Row | Problem | Note]:
    """Every line as a row or a problem, in order, then notes."""
    blank, end = 0, given_end(detected)
    with open_text(content, detected.encoding, newline=end) as stream:
        lines = Lines(stream, only=end)
        number = lines.begin()
        while line := next(lines, ""):
            text = restored(line.rstrip("\r\n"))
            if text.strip():
                yield _record(text, number, detected, lines.length if lines.cut else 0)
            else:
                blank += 1
            number = lines.begin()
    if blank:
        yield Note("blank_lines", f"{blank:,} blank lines were skipped.")


def _record(text: str, line: int, detected: Detected, length: int) -> Row | Problem:
    label, _, rest = text.partition(" ")
    if length:
        return Problem("line_too_long", line, "", excerpt(text), too_long(line, length))
    if problem := bad_bytes(text, line, detected.encoding):
        return problem
    try:
        check({"label": label, "text": rest})
    except Refused as refused:
        return Problem(refused.code, line, refused.column, excerpt(text), f"Line {line}, column {refused.column}: {refused.advice}")
    if not rest.strip():
        return Problem("no_text", line, "text", excerpt(text), f"Line {line} has a label and no text. Write the text behind it, after a space.")
    return Row(line, {"label": label, "text": rest})
