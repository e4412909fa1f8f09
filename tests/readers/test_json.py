"""JSON Lines and JSON lists: literal text, line numbers, and a plain answer for everything that is not a record."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.readers import Note, Problem, Row
from app.readers.detect import detect
from app.readers.formats import READERS
from app.readers.json_source import PIECE
from app.readers.options import Options
from tests.readers.reading import Read


def items(path: Path, content: bytes | str) -> list[Row | Problem | Note]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    how = detect(path, Options())
    return [how] if isinstance(how, Problem) else [*how[1], *READERS[how[0].format](path, how[0])]


def rows(tmp_path: Path, content: bytes | str) -> list[dict[str, str]]:
    found = items(tmp_path / "upload", content)
    assert not [item for item in found if isinstance(item, Problem)]
    return [item.cells for item in found if isinstance(item, Row)]


def problems(tmp_path: Path, content: bytes | str) -> list[tuple[str, int, str]]:
    return [(item.code, item.line, item.column) for item in items(tmp_path / "upload", content) if isinstance(item, Problem)]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
RECORDS = st.lists(st.dictionaries(TEXT.filter(lambda name: name != "messages"), TEXT, max_size=4), min_size=1, max_size=6)


@settings(deadline=None)
@given(RECORDS, st.booleans(), st.sampled_from(["lines", "list", "indented", "joined"]))
def test_any_records_written_by_the_standard_library_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, str]], ascii_only: bool, style: str
) -> None:
    # Whether records go over several lines shows in the first one.
    assume(style != "indented" or records[0])
    one_by_one = [json.dumps(record, ensure_ascii=ascii_only, indent=2 if style == "indented" else None) for record in records]
    text = json.dumps(records, ensure_ascii=ascii_only) if style == "list" else ("" if style == "joined" else "\n").join(one_by_one)
    found = items(tmp_path_factory.getbasetemp() / "records", text)
    assert [item.cells if isinstance(item, Row) else item for item in found] == records


def test_scalars_keep_their_source_text(tmp_path: Path) -> None:
    line = '{"a": 007.0, "b": 1.0, "c": 1e400, "d": -0, "e": true, "f": false, "g": null, "h": "01", "i": "NaN", "j": 12345678901234567890.10}'.replace(
        "007", "7"
    )
    assert rows(tmp_path, line) == [
        {"a": "7.0", "b": "1.0", "c": "1e400", "d": "-0", "e": "true", "f": "false", "g": "", "h": "01", "i": "NaN", "j": "12345678901234567890.10"}
    ]


def test_dates_and_odd_names_stay_what_they_are(tmp_path: Path) -> None:
    assert rows(tmp_path, '{"date": "2024-01-01", "created_at": "1"}') == [{"date": "2024-01-01", "created_at": "1"}]


def test_nested_values_are_json_text_and_marked(tmp_path: Path) -> None:
    found = items(tmp_path / "upload", '{"text": ["a", 1.0, {"b": null}], "label": "x"}\n{"text": "b", "label": "y"}')
    assert found[0] == Row(
        1,
        {"text": '["a", 1.0, {"b": null}]', "label": "x"},
        {"text": ("nested_value", "Line 1, column text holds a list or an object; only text and numbers can be used.")},
    )


def test_lines_end_at_lf_only(tmp_path: Path) -> None:
    content = '{"text": "a\u2028b\u0085c"}\r\n{"text": "d"}\n\n{"text": oops}\n'
    assert problems(tmp_path, content) == [("invalid_json", 4, "")]
    found = items(tmp_path / "upload", content)
    assert [(item.line, item.cells["text"]) for item in found if isinstance(item, Row)] == [(1, "a\u2028b\u0085c"), (2, "d")]
    assert [item.code for item in found if isinstance(item, Note)] == ["blank_lines"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_and_utf_16(tmp_path: Path, encoding: str) -> None:
    assert rows(tmp_path, '{"text": "é"}\n{"text": "ü"}\n'.encode(encoding)) == [{"text": "é"}, {"text": "ü"}]
    assert rows(tmp_path, '[{"text": "é"}]'.encode(encoding)) == [{"text": "é"}]


def test_chat_records(tmp_path: Path) -> None:
    plain = {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}], "split": "test"}
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant", "content": "Yes", "weight": 1}]}
    turns = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    long = {"messages": [{"role": role, "content": content} for role, content in turns]}
    assert rows(tmp_path, "\n".join(map(json.dumps, [plain, parts, long]))) == [
        {"input": "1+1?", "output": "2", "split": "test"},
        {"input": "Hi", "output": "Yes"},
        {"input": "system: Be brief.\nuser: a\nassistant: b\nuser: c", "output": "d"},
    ]
    assert rows(tmp_path, json.dumps(plain)) == [{"input": "1+1?", "output": "2", "split": "test"}]


def test_the_list_inside_an_object_is_read_with_its_lines(tmp_path: Path) -> None:
    content = '{"version": [1, 2], "about": {"by": "a } b"},\n "data": [{"a": "1"},\n{"a": "2"}],\n "more": []}'
    found = items(tmp_path / "upload", content)
    assert [(item.line, item.cells) for item in found if isinstance(item, Row)] == [(2, {"a": "1"}), (3, {"a": "2"})]
    assert [item.sentence for item in found if isinstance(item, Note)] == ["Read the list under 'data'."]
    assert rows(tmp_path, '{"data": [{"a": 1}]}') == [{"a": "1"}]


def test_a_person_chooses_between_lists(tmp_path: Path) -> None:
    content = '{"train": [{"a": "1"}], "test": [{"a": "2"}, {"a": "3"}]}'
    for under, code in [("test", None), ("dev", "no_such_list")]:
        path = tmp_path / "upload"
        path.write_text(content)
        how = detect(path, Options(under=under))
        assert not isinstance(how, Problem)
        found = list(READERS["json"](path, how[0]))
        assert [item.code for item in found if isinstance(item, Problem)] == ([code] if code else [])
        assert [item.cells["a"] for item in found if isinstance(item, Row)] == ([] if code else ["2", "3"])


def test_an_object_larger_than_a_record_is_taken_apart(tmp_path: Path) -> None:
    records = [{"text": "x" * 900, "n": str(number)} for number in range(3_000)]
    for text in (json.dumps({"skipped": {"deep": [[{}]] * 9}, "data": records, "end": 1}), json.dumps({"data": records}, indent=1)):
        assert len(text) > 2_000_000
        assert [row["n"] for row in rows(tmp_path, text)] == [str(number) for number in range(3_000)]
    assert problems(tmp_path, json.dumps({"data": records})[:-2]) == [("invalid_json", 1, "")]


REFUSED: dict[str, tuple[bytes | str, str, int, str, str]] = {
    "invalid": ('{"a": 1}\n{"a": 1,}\n', "invalid_json", 2, "", "Line 2 is not valid JSON: "),
    "first line broken": ('{"a": 1\n{"a": 2}\n', "invalid_json", 1, "", "Line 1 is not valid JSON"),
    "single quotes": ("{'a': 1}\n", "invalid_json", 1, "", "enclosed in double quotes at character 2"),
    "control character in a text": ('{"a": "b\tc"}\n', "invalid_json", 1, "", "invalid control character"),
    "trailing text": ('{"a": 1} and more\n{"a": 2}\n', "invalid_json", 1, "", "at character 10"),
    "list never closed": ('[{"a": 1},\n{"a": 2}', "invalid_json", 2, "", "the file ends before the list is closed"),
    "list without comma": ('[{"a": 1}\n{"a": 2}]', "invalid_json", 2, "", "expected ',' or ']'"),
    "list with a trailing comma": ('[{"a": 1},\n]', "invalid_json", 2, "", "expecting value"),
    "text behind a list": ('[{"a": 1}]\nx', "invalid_json", 2, "", "something follows the end of the list"),
    "broken inside a list": ('[{"a": 1},\n{"a": }]', "invalid_json", 2, "", "expecting value at character 7"),
    "duplicate key": ('{"a": 1}\n\n{"label": "x", "label": "y"}', "duplicate_key", 3, "label", "'label' appears twice."),
    "duplicate key in a list": ('[{"a": 1},\n{"label": "x",\n"label": "y"}]', "duplicate_key", 2, "label", "'label' appears twice."),
    "NaN": ('{"a": NaN}', "not_json", 1, "a", "Line 1, column a: NaN is not valid JSON."),
    "-Infinity": ('{"a": 1}\n{"a": [-Infinity]}', "not_json", 2, "a", "-Infinity is not valid JSON."),
    "number too long": ('{"a": 1}\n{"a": ' + "9" * 5000 + "}", "number_too_long", 2, "a", "Line 2, column a: number too long."),
    "scalar": ('{"a": 1}\n"text"', "not_a_record", 2, "", "expected a record with named fields, found a text."),
    "list of scalars": ("[1]", "not_a_record", 1, "", "found a number."),
    "list of lists": ('[["a", "b"]]', "not_a_record", 1, "", "found a list."),
    "list of null": ("[null]", "not_a_record", 1, "", "found null."),
    "list of truth": ("[true]", "not_a_record", 1, "", "found true or false."),
    "empty list": ("[ ]", "no_rows", 1, "", "Expected a list of records with named fields"),
    "two lists inside an object": ('{\n "train": [{"a": 1}],\n "test": [{"a": 2}]\n}', "choose_list", 1, "train", "Found lists under 'train' and 'test'. Use which?"),
    "NUL": ('{"a": "b\\u0000c"}', "nul_character", 1, "a", "Line 1, column a: contains a NUL character"),
    "half a surrogate pair": ('{"a": "\\ud800"}', "lone_surrogate", 1, "a", "half of a surrogate pair"),
    "bad byte": (b'{"a": "\xc3\xa9"}\n{"a": "\xe9"}', "invalid_bytes", 2, "", "Line 2: byte 0xE9 is not valid UTF-8."),
    "bad byte in a list": (b'[{"a": "\xc3\xa9"},\n{"a": "\xe9"}]', "invalid_bytes", 2, "", "Line 2: byte 0xE9 is not valid UTF-8."),
    "half a surrogate pair in a name": ('{"\\udc01": "a"}', "lone_surrogate", 1, "\\x01", "half of a surrogate pair"),
    "cell too long": ('{"a": "' + "b" * 1_000_001 + '"}', "cell_too_long", 1, "a", "more than 1,000,000 characters"),
    "line too long": ('{"a": 1}\n{"a": "' + "b" * 4_000_001 + '"}', "line_too_long", 2, "", "Line 2 has 4,000,010 characters; the limit is 4,000,000."),
    "value too long in a list": ('[{"a": "' + "b" * 8_000_000 + '"}]', "invalid_json", 1, "", "one value of more than 4,000,000 characters"),
    "too deep": ('{"a": 1}\n{"a": ' + "[" * 5000 + "]" * 5000 + "}", "json_too_deep", 2, "", "nested too deeply"),
    "too deep in a list": ("[" * 5000, "json_too_deep", 1, "", "nested too deeply"),
    "too many fields": (json.dumps({f"f{number}": 1 for number in range(201)}), "too_many_columns", 1, "", "201 fields; the limit is 200"),
    "object without records": ('{"a": [1, 2], "text": "' + "b" * 9_000_000 + '"}', "line_too_long", 1, "", "Line 1 is longer than 4,000,000 characters."),
    "tool call": ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}]}', "tool_calls", 1, "messages", "message 2 calls a tool"),
    "tool answer": ('{"messages": [{"role": "tool", "content": "a"}]}', "tool_calls", 1, "messages", "message 1 calls a tool or answers for one"),
    "nothing before the answer": ('{"messages": [{"role": "assistant", "content": "a"}]}', "no_question", 1, "messages", "nothing before the answer"),
    "no answer": ('{"messages": [{"role": "user", "content": "a"}]}', "no_answer", 1, "messages", "the last message is not from the assistant"),
    "no messages": ('{"messages": []}', "no_answer", 1, "messages", "the last message is not from the assistant"),
    "unknown role": ('{"messages": [{"role": "robot", "content": "a"}]}', "unknown_role", 1, "messages", "message 1 has no known role."),
    "message is text": ('{"messages": ["a"]}', "unknown_role", 1, "messages", "message 1 has no known role."),
    "empty content": ('{"messages": [{"role": "assistant", "content": " "}]}', "empty_content", 1, "messages", "message 1 (assistant) has no text."),
    "image content": ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "empty_content", 1, "messages", "message 1 (user) has no text."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_gets_its_clear_answer(tmp_path: Path, name: str) -> None:
    content, code, line, column, words = REFUSED[name]
    found = [item for item in items(tmp_path / "upload", content) if isinstance(item, Problem)]
    assert [(item.code, item.line, item.column) for item in found] == [(code, line, column)]
    assert words in found[0].advice
    assert found[0].excerpt.isprintable() and len(found[0].excerpt) <= 170


# The kinds of damage of the JSONTestSuite's n_ files, put into a record.
NOT_JSON = [
    '"a', '"\\x"', '"\\u12"', "'a'", "+1", "01", "1.", ".5", "0x1", "1e", "-", "--1", "1 2", "[1,]", "[,1]", "[1", "{", "{]", "[}", "{a: 1}", "{1: 1}", '{"a"}', '{"a":}',
    '{"a" 1}', '{"a":1,}', "True", "nul", "tru", "undefined", "// x", "/* x */ 1", "\ufeff1", "\u00a01", "1\u2060", "\x0c1", "", "\\", "[\x00]", '"\x01"',
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_JSON)
@pytest.mark.parametrize("form", ['{"b": "ok"}\n{"b": %s}\n{"b": "ok"}', '[{"b": "ok"},\n{"b": %s},\n{"b": "ok"}]'])
def test_what_is_not_json_is_refused_on_its_line(tmp_path: Path, value: str, form: str) -> None:
    # An object that is never closed shows only where the next one begins.
    line = 3 if value == "{" and form.startswith("[") else 2
    assert problems(tmp_path, form % value) == [("invalid_json", line, "")]


# The kinds of values of the JSONTestSuite's y_ files, put into a record: the value, and the text it becomes.
YES: list[tuple[str, str]] = [
    ("[[]   ]", "[[]]"), ('[""]', '[""]'), ("[]", "[]"), ("[false]", "[false]"), ('[null, 1, "1", {}]', '[null, 1, "1", {}]'), ("[1\n]", "[1]"), (" [1]", "[1]"), ("[2] ", "[2]"),
    ("123e65", "123e65"), ("0e+1", "0e+1"), ("0e1", "0e1"), (" 4", "4"), ("-0.000000000000000000000000000000000000000000000000001", "-0." + "0" * 50 + "1"), ("20e1", "20e1"),
    ("-0", "-0"), ("-123", "-123"), ("-1", "-1"), ("1E22", "1E22"), ("1E-2", "1E-2"), ("1E+2", "1E+2"), ("123e-10", "123e-10"), ("123.456e78", "123.456e78"),
    ('{"a": "b", "c": "d"}', '{"a": "b", "c": "d"}'), ('{"": 0}', '{"": 0}'), ("{}", "{}"), ('{"foo\\u0062ar": 42}', '{"foobar": 42}'),
    ('"\\u0060\\u012a\\u12AB"', "`\u012a\u12ab"), ('"\\uD801\\udc37"', "\U00010437"), ('"\\ud83d\\ude39\\ud83d\\udc8d"', "\U0001f639\U0001f48d"),
    ('"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'), ('"\\\\u0000"', "\\u0000"), ('"a/*b*/c/*d//e"', "a/*b*/c/*d//e"), ('"\\uFFFF"', "\uffff"),
    ('"\U0010ffff"', "\U0010ffff"), ('"\uffff"', "\uffff"), ('"\u2028\u2029"', "\u2028\u2029"), ('"\x7f"', "\x7f"), ('"\\uDBFF\\uDFFE"', "\U0010fffe"), ('"\\u200B"', "\u200b"),
    ('"\u20ac\U0001d11e"', "\u20ac\U0001d11e"), ("true", "true"), ("null", ""), ('" "', " "), ('"\\uFDD0"', "\ufdd0"), ('"new\u00a0line"', "new\u00a0line"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), YES)
@pytest.mark.parametrize("form", ['{"b": "ok"}\n{"b": %s}\n', '[{"b": "ok"},\n{"b": %s}\n]'])
def test_what_is_json_is_read(tmp_path: Path, value: str, text: str, form: str) -> None:
    content = form % (value if form.startswith("[") else value.replace("\n", ""))
    assert rows(tmp_path, content)[1:] == [{"b": text}]


# What the JSONTestSuite leaves open (its i_ files), decided: numbers are text of any size; what is no character is refused; bytes that
# are no UTF-8 are Windows-1252 where all of the file may be that, else refused; 500 nested lists are too many.
OPEN: dict[bytes, str] = {
    b"123.456e-789": "123.456e-789", b"0.4e0066999999999": "0.4e0066999999999", b"-1e+9999": "-1e+9999", b"1.5e+9999": "1.5e+9999", b"-123123e100000": "-123123e100000",
    b"123e-10000000": "123e-10000000", b"-123123123123123123123123123123": "-123123123123123123123123123123", b"100000000000000000000": "100000000000000000000",
    b'{"\\uDFAA": 0}': "!lone_surrogate", b'"\\uDADA"': "!lone_surrogate", b'"\\uD888\\u1234"': "!lone_surrogate", b'"\\uD800\\n"': "!lone_surrogate", b'"\\uDd1ea"': "!lone_surrogate",
    b'"\\uD800\\uD800\\n"': "!lone_surrogate", b'"\\ud800abc"': "!lone_surrogate", b'"\\uDd1e\\uD834"': "!lone_surrogate", b'"\\uDFAA"': "!lone_surrogate",
    b'"\xe6\x97\xa5\xd1\x88\xfa"': "!invalid_bytes", b'"\xed\xa0\x80"': "!invalid_bytes", b'"\xff"': "\xff", b'"\xe9"': "é", b'"\x81"': "!invalid_bytes",
    b'"\xf4\xbf\xbf\xbf"': "!invalid_bytes", b'"\xc0\xaf"': "À¯", b'"\xfc\x83\xbf\xbf\xbf\xbf"': "!invalid_bytes", b'"\xfc\x80\x80\x80\x80\x80"': "!invalid_bytes", b'"\xe0\xff"': "àÿ",
    b"[" * 500 + b"]" * 500: "!json_too_deep",
}  # fmt: skip


@pytest.mark.parametrize("value", OPEN)
def test_what_the_standard_leaves_open_is_decided(tmp_path: Path, value: bytes) -> None:
    found = items(tmp_path / "upload", b'[{"b": ' + value + b"}]")
    told = [f"!{item.code}" if isinstance(item, Problem) else item.cells["b"] for item in found if not isinstance(item, Note)]
    assert told == [OPEN[value]]


@pytest.mark.parametrize("content", ['"text"', "1.0", "true", "null", ' ""\n', "[]", '["text"]', "[1]"])
def test_a_value_alone_is_no_table(tmp_path: Path, content: str) -> None:
    found = [item for item in items(tmp_path / "upload", content) if isinstance(item, Problem)]
    assert len(found) == 1 and re.search("xpected a (list of records|record) with named fields", found[0].advice)


def test_labels_that_look_like_the_same_number_stay_apart(tmp_path: Path) -> None:
    content = "\n".join(f'{{"text": "a", "label": {label}}}' for label in ('"01"', '"1"', "1", "1.0", "1e0", '"1 "', "true", '"true"', '"NaN"'))
    assert [row["label"] for row in rows(tmp_path, content)] == ["01", "1", "1", "1.0", "1e0", "1 ", "true", "true", "NaN"]


def test_lines_that_end_in_a_carriage_return_alone(tmp_path: Path) -> None:
    found = items(tmp_path / "upload", '{"a": "1"}\r{"a": oops}\r{"a": "3"}\r')
    assert [(item.line, item.cells["a"]) for item in found if isinstance(item, Row)] == [(1, "1"), (3, "3")]
    assert [(item.code, item.line) for item in found if isinstance(item, Problem)] == [("invalid_json", 2)]


def test_an_error_message_saved_as_a_table_is_refused(tmp_path: Path) -> None:
    assert Read(written(tmp_path, '{"error": {"code": 401, "message": "sign in"}}')).codes == ["error_answer"]


def written(tmp_path: Path, content: str) -> Path:
    (tmp_path / "upload").write_text(content)
    return tmp_path / "upload"


def test_a_broken_line_costs_only_itself(tmp_path: Path) -> None:
    found = items(tmp_path / "upload", '{"a": 1}\n{"a": \n{"a": 3}\n{"a": 4, "a": 5}\n{"a": 6}\n')
    assert [item.line for item in found if isinstance(item, Row)] == [1, 3, 5]


def test_a_list_longer_than_a_piece_keeps_its_lines(tmp_path: Path) -> None:
    records = [{"text": "x" * (number % 700), "n": number} for number in range(1500)]
    for indent in (None, 1):
        text = json.dumps(records, indent=indent, separators=(",\n", ": ") if indent is None else None)
        assert len(text) > 4 * PIECE
        found = [item for item in items(tmp_path / "upload", text) if isinstance(item, Row)]
        assert [item.cells["n"] for item in found] == [str(number) for number in range(1500)]
        starts = [text[: text.index(f'"n": {number}')].rindex("{") for number in (0, 700, 1499)]
        assert [found[number].line for number in (0, 700, 1499)] == [text.count("\n", 0, start) + 1 for start in starts]


@settings(deadline=None)
@given(st.text(alphabet='{}[]",:\\ \n01ae.-nul\u00e9\x00', max_size=40), st.sampled_from(["", "{", "[", '{"a": ', '[{"a": 1},']))
def test_no_text_makes_a_reader_fail(tmp_path_factory: pytest.TempPathFactory, text: str, start: str) -> None:
    found = items(tmp_path_factory.getbasetemp() / "anything", start + text)
    assert all(item.excerpt.isprintable() for item in found if isinstance(item, Problem))
