"""Problems of a file in words: rows counted in a sentence beside the choice to leave them out, and what a press would read otherwise."""

from collections.abc import Mapping
from typing import Any

from app.pages.formatting import count

WORDS = {
    "bytes_not_text": "{hold} bytes that are no text",
    "cell_error": "{hold} an error of the spreadsheet",
    "cell_too_long": "{have} a cell that is too long",
    "duplicate_key": "{say} one name twice",
    "empty_content": "{have} a message without content",
    "empty_input": "{have} no text",
    "invalid_bytes": "{hold} bytes that the encoding does not have",
    "joined_differently": "{hold} a text that is no longer that of its columns",
    "lone_surrogate": "{hold} half of a character",
    "nested_value": "{hold} a list or an object where a text is read",
    "no_answer": "{have} no answer",
    "no_question": "{have} no question",
    "no_result": "{hold} a formula without a result",
    "no_text": "{have} no text behind the label",
    "not_a_record": "{are} no record",
    "not_json": "{are} no JSON",
    "nul_character": "{hold} a NUL character",
    "number_too_long": "{hold} a number that is too long",
    "tool_calls": "{hold} calls of tools",
    "unknown_role": "{have} a message of an unknown role",
    "unknown_split": "{name} a split that there is not",
    "value_without_column": "{have} a value without a column",
    "wrong_number_of_values": "{have} too many or too few values",
}
"""By the code of a problem."""

ONE = {"have": "has", "hold": "holds", "are": "is", "say": "says", "name": "names"}


def counted(code: str, rows: int) -> str:
    """ "17 rows have no text."; "" where none was counted."""
    if not rows:
        return ""
    verbs = ONE if rows == 1 else {verb: verb for verb in ONE}
    return f"{count(rows)} {'row' if rows == 1 else 'rows'} {WORDS[code].format(**verbs)}."


PRESSES = {"encoding": "Read as {}", "first_line": "Header in row {}", "member": "Read {}", "sheet": "Read {}", "under": "Read {}"}
CALLED = {"cp1252": "Windows-1252", "cp1250": "Windows-1250", "cp1251": "Windows-1251", "latin-1": "Latin-1", "shift_jis": "Shift JIS"}
MOST_ASKED = 8


def asked(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What a press could put right of the problems: (option, value, what stands on the button), each once."""
    found = [(problem["asks"], value) for problem in report.get("problems", []) if problem.get("asks") in PRESSES for value in problem["choices"]]

    def said(option: str, value: str) -> str:
        return PRESSES[option].format(CALLED.get(value, value.upper()) if option == "encoding" else value)

    return [(option, value, said(option, value)) for option, value in dict.fromkeys(found)][:MOST_ASKED]
