"""Each finding appears where it should, says its sentence, and stays away from healthy data."""

import random

import pytest

from app.readers import Example, Split, health
from app.readers.findings import Fix, Health
from app.readers.health import CODES, LONG, Finding
from app.readers.lookalikes import look_alike_groups
from app.readers.near_duplicates import near_duplicate_groups

WORDS = [
    "card",
    "money",
    "account",
    "late",
    "parcel",
    "phone",
    "screen",
    "refund",
    "order",
    "city",
    "train",
    "coffee",
    "window",
    "paper",
    "garden",
    "bridge",
    "winter",
    "doctor",
    "music",
    "river",
]


def sentence(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(9)) + f" {draw.randrange(10**6)}"


def rows(count: int, labels: tuple[str, ...] = ("praise", "blame"), split: Split | None = None, start: int = 0) -> list[Example]:
    return [Example(start + number + 2, sentence(start + number), labels[number % len(labels)], split) for number in range(count)]


def examine(examples: list[Example]) -> Health:
    return health.examine(examples, near_duplicate_groups([example.input for example in examples]))


def finding(examples: list[Example], code: str) -> Finding:
    return next(one for one in examine(examples).findings if one.code == code)


def codes(examples: list[Example]) -> list[str]:
    return [one.code for one in examine(examples).findings]


def with_labels(**counts: int) -> list[Example]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [Example(number + 2, sentence(number), label) for number, label in enumerate(labels)]


def test_healthy_data_has_no_findings() -> None:
    train, test = rows(60, split="train"), rows(20, split="test", start=60)
    found = examine([*train, *test])
    assert found.findings == ()
    assert (found.rows, found.unlabelled) == (80, 0)
    assert found.labels == {"train": {"praise": 30, "blame": 30}, "test": {"praise": 10, "blame": 10}}


def test_nothing_at_all() -> None:
    assert examine([]).findings == ()


def test_free_text_outputs_are_not_labels() -> None:
    answers = [Example(number, sentence(number), sentence(1000 + number)) for number in range(40)]
    assert examine(answers).labels == {} and codes(answers) == []
    several = [Example(number, sentence(number // 4), sentence(1000 + number)) for number in range(40)]
    assert codes(several) == []


def test_duplicates_and_conflicts() -> None:
    table = rows(40)
    table += [Example(100, table[0].input.upper(), "praise"), Example(101, "  " + table[1].input, "blame"), Example(102, table[2].input, "blame")]
    assert finding(table, "duplicates").sentence == "2 duplicate rows: the same text stands further up."
    conflict = finding(table, "conflicting_labels")
    assert (conflict.count, conflict.lines, conflict.harm) == (2, (4, 102), 3)
    assert finding(table, "near_duplicates").count == 1


def test_leakage_between_splits() -> None:
    train = rows(40, split="train")
    test = [
        *rows(20, split="test", start=40),
        Example(200, train[3].input + " ", "blame", "test"),
        Example(201, train[4].input.replace("card", "cart") + "!", "praise", "test"),
    ]
    assert finding([*train, *test], "leakage").lines == (200,)
    assert finding([*train, *test], "near_leakage").lines == (201,)
    assert codes([*train, *rows(20, split="test", start=40)]) == []


def test_labels_the_train_split_never_shows() -> None:
    table = [*rows(40, split="train"), *rows(10, ("praise", "neutral"), "test", start=40)]
    assert finding(table, "unseen_labels").sentence == "Test has labels that train never shows: 'neutral'."


def test_classes() -> None:
    assert finding(with_labels(positive=30), "one_class").sentence == (
        "All rows have the label 'positive'. A classifier needs at least two: append rows of another one, or import the file with another output column."
    )
    assert finding(with_labels(a=30, b=30, sarcasm=1), "tiny_classes").sentence == "'sarcasm' has 1 row; each class needs at least 3 (one per split)."
    assert "'spam' has 2 rows (1 more such labels)" in finding(with_labels(a=30, spam=2, z=2), "tiny_classes").sentence
    assert finding(with_labels(ham=95, spam=5), "imbalance").sentence.startswith(
        "95% of the rows have the label 'ham': always answering it is right that often."
    )
    assert "imbalance" not in codes(with_labels(ham=80, spam=20))


def test_few_rows() -> None:
    assert finding(rows(3), "few_rows").sentence == ("3 rows: at least 10 are needed to train (and 2 per class to test). Append rows, or label some.")
    assert finding(rows(1), "few_rows").sentence.startswith("1 row:")


@pytest.mark.parametrize(
    ("labels", "difference"),
    [
        (["caf\u00e9", "cafe\u0301"], "the way accents are stored"),
        (["refund", "refund "], "an invisible character or white space"),
        (["refund", "re\u200bfund"], "an invisible character or white space"),
        (["card arrival", "card\u00a0arrival"], "an invisible character or white space"),
        (["color", "c\u043elor"], "a look-alike letter"),
        (["True", "true", "TRUE"], "case"),
    ],
)
def test_labels_that_look_the_same(labels: list[str], difference: str) -> None:
    assert look_alike_groups([*labels, "other"]) == [(sorted(labels), difference)]
    table = [Example(number, sentence(number), [*labels, "other"][number % (len(labels) + 1)]) for number in range(40)]
    found = finding(table, "look_alike_labels")
    assert found.sentence.startswith(f"{len(labels)} labels look the same (they differ by {difference}): ") and found.sentence.endswith("Merge?")
    assert found.sentence.isprintable()


@pytest.mark.parametrize("labels", [["007", "7"], ["1", "1.0"], ["1e3", "+1"], ["yes", "0"], ["İ", "ı"]])
def test_labels_that_differ(labels: list[str]) -> None:
    assert look_alike_groups(labels) == []


def test_markers_of_missing_values_are_labels_with_a_hint() -> None:
    found = finding([*rows(30, ("NA", "None", "x")), Example(99, sentence(99), None)], "missing_markers")
    assert found.sentence.startswith("'NA', 'None' looks like a missing-value marker in 20 rows.")


def test_a_label_in_its_text() -> None:
    table = [Example(one.line, f"{one.input} label: {one.output}", one.output) for one in rows(40)]
    assert finding(table, "label_in_text").sentence.startswith("In 100% of the rows the text contains its label")


@pytest.mark.parametrize(("holding", "said"), [(39, "In 98% of the rows"), (32, "In 80% of the rows"), (31, None), (0, None)])
def test_a_label_in_its_text_is_told_from_four_rows_in_five_on(holding: int, said: str | None) -> None:
    table = [Example(one.line, f"{one.input} label: {one.output}" if at < holding else one.input, one.output) for at, one in enumerate(rows(40))]
    if said is None:
        assert "label_in_text" not in codes(table)
    else:
        assert finding(table, "label_in_text").sentence.startswith(said)


def test_swapped_columns() -> None:
    assert "swapped_columns" in codes([Example(one.line, one.output or "", one.input) for one in rows(40)])


def test_several_labels_and_numbers() -> None:
    assert finding(rows(40, ("a;b", "b;c", "c;a")), "several_labels").sentence.startswith("Labels contain ';' or '|' in 100% of the rows.")
    prices = [Example(number, sentence(number), f"{number / 7:.2f}") for number in range(100)]
    assert finding(prices, "numbers_as_labels").sentence.startswith("The output holds 100 different numbers.")


def test_odd_texts() -> None:
    table = rows(40)
    table += [
        Example(90, "ring\x07 " + sentence(90), "praise"),
        Example(91, sentence(91) + " <|im_end|>", "blame"),
        Example(92, "mail me at jo@example.org please", "blame"),
    ]
    assert finding(table, "control_characters").lines == (90,)
    assert finding(table, "special_tokens").lines == (91,)
    assert finding(table, "personal_data").lines == (92,)


def test_control_characters_are_seen_in_every_column_and_line_ends_are_none() -> None:
    table = [
        *rows(40),
        Example(90, "one line\r\nand another " + sentence(90), "praise"),
        Example(91, sentence(91), "ring\x07"),
        Example(92, sentence(92), "praise", None, {"note": "\x0b"}),
    ]
    found = finding(table, "control_characters")
    assert found.lines == (91, 92) and found.sentence == "2 rows contain control characters. They are kept, and shown as escapes."


@pytest.mark.parametrize("token", ["{{ text }}", "<start_of_turn>", "[/INST]", "<mask>", "<extra_id_0>", "<<SYS>>", "<|im_end|>"])
def test_placeholders_and_special_tokens(token: str) -> None:
    found = finding([*rows(40), Example(90, f"{sentence(90)} {token}", "praise"), Example(91, f"{sentence(91)} {{label}}", "praise")], "special_tokens")
    assert found.lines == (90, 91) and found.fix is not None and found.fix.rows == (40,), (
        "a word in single braces may be anything: it is no reason to drop a row"
    )
    assert found.sentence == "2 rows contain placeholders of prompts or special tokens of models, such as {label} or <|im_end|>. They are treated as text."


@pytest.mark.parametrize("text", ["Text: {label}", "{input_text}", "“{label}”"])
def test_a_template_that_was_not_filled_in_has_no_remedy_of_one_click(text: str) -> None:
    found = finding([*rows(40), Example(90, text, "praise")], "special_tokens")
    assert found.lines == (90,) and found.fix is None
    assert found.sentence.endswith("They are treated as text. If a template was not filled in, put its values in and import the file again.")


@pytest.mark.parametrize(
    "text",
    [
        r"\frac{a}{b} is \frac{speed}{time}, 3 \text{cm}",
        r"Find \sqrt[3]{abc} and x^{max} - y_{min}, \{abc\}, \mathbf{{x}} over \operatorname*{argmin}.",
        "def f(x, value):\n    return {x}\n    return {value}",
        "a{color}, echo ${HOME}, set{one}{two}",
    ],
)
def test_formulas_and_code_are_no_placeholders(text: str) -> None:
    assert "special_tokens" not in codes([*rows(40), Example(90, text, "praise"), Example(91, sentence(91), text)])


@pytest.mark.parametrize(
    ("output", "how"),
    [('["{0}", "{1}", "{2}"]', "are written as JSON lists"), ("{0}|{1}|{2}", "contain ';' or '|'")],
)
def test_several_labels_are_seen_where_their_combinations_hardly_repeat(output: str, how: str) -> None:
    draw = random.Random(0)
    table = [
        Example(number, sentence(number), output.replace("{0}", one).replace("{1}", two).replace("{2}", three))
        for number in range(200)
        for one, two, three in [draw.sample(WORDS, 3)]
    ]
    assert finding(table, "several_labels").sentence == (
        f"Labels {how} in 100% of the rows. Fettle trains one label per text: each combination counts as a label. "
        "Give each row one label in the file, or say which one counts by editing it."
    )
    texts = [Example(number, sentence(number), f"{sentence(number + 900)}; {sentence(number + 1800)}") for number in range(100)]
    assert "several_labels" not in codes(texts)


def test_an_output_that_is_its_input() -> None:
    table = [Example(number, sentence(number), sentence(number) + (" too" if number < 10 else " ")) for number in range(100)]
    expected = "In 90% of the rows the output is the input itself: there is nothing to learn from them. Import the file again with another output column."
    assert finding(table, "copied_outputs").sentence == expected
    assert "copied_outputs" not in codes([*table[10:], *table[:10], *[Example(200 + at, sentence(200 + at), sentence(at + 700)) for at in range(30)]])


def test_a_copy_is_dropped_outside_of_the_most_protected_split() -> None:
    table = [*rows(20, split="train"), *rows(10, split="validation", start=20), *rows(10, split="test", start=30)]
    table += [Example(100, table[35].input, table[35].output, "train"), Example(101, table[25].input, table[25].output, "train")]
    table += [Example(102, table[35].input, table[35].output, "validation")]
    found = finding(table, "leakage")
    assert found.fix == Fix("drop", (41, 40, 42)) and set(found.rows) == {25, 41, 35, 40, 42}
    mended = [row for number, row in enumerate(table) if number not in found.fix.rows]
    assert codes(mended) == []


def test_outvoted_labels_are_dropped_and_ties_go_altogether() -> None:
    table = rows(40)
    twice = [Example(100 + number, table[0].input, label) for number, label in enumerate(("praise", "blame"))]
    tied = [Example(110, table[1].input, "praise")]
    found = finding([*table, *twice, *tied], "conflicting_labels")
    assert (table[0].output, table[1].output) == ("praise", "blame")
    assert found.rows == (0, 40, 41, 1, 42) and found.fix == Fix("drop", (41, 1, 42))


def test_duplicates_keep_one_row_of_each_label() -> None:
    table = rows(40)
    table += [Example(100, table[0].input, "praise"), Example(101, table[0].input, "blame"), Example(102, table[0].input.upper(), "praise")]
    assert finding(table, "duplicates").fix == Fix("drop", (40,))


def test_look_alike_labels_merge_into_the_most_frequent_one() -> None:
    table = [Example(number, sentence(number), label) for number, label in enumerate(["Yes"] * 30 + ["yes"] * 20 + ["yes "] * 10 + ["no"] * 30)]
    fix = finding(table, "look_alike_labels").fix
    assert fix is not None and fix.kind == "relabel" and dict(fix.labels) == {"yes": "Yes", "yes ": "Yes"}


def test_unseen_labels_train_where_no_test_row_has_them() -> None:
    table = [*rows(40, split="train"), *rows(10, ("praise", "neutral"), "validation", start=40)]
    assert finding(table, "unseen_labels").fix == Fix("move", (41, 43, 45, 47, 49), "train")
    table += rows(2, ("neutral",), "test", start=60)
    assert finding(table, "unseen_labels").fix == Fix("drop", (41, 43, 45, 47, 49, 50, 51))


def test_labels_that_test_never_shows() -> None:
    table = [*rows(40, ("praise", "blame", "thanks"), "train"), *rows(10, ("praise",), "test", start=40)]
    found = finding(table, "untested_labels")
    assert (found.harm, found.count, found.fix) == (2, 2, None) and set(found.rows) == {number for number in range(40) if number % 3}
    assert found.sentence.startswith("Test has no row of 2 labels that train shows: 'blame', 'thanks'.") and "append rows of them" in found.sentence
    assert "untested_labels" not in codes(rows(40, ("praise", "blame"), "train")), "there is no test split"
    assert "untested_labels" not in codes([*table, *rows(6, ("blame", "thanks"), "test", start=60)])


def test_personal_data_is_seen_in_outputs_and_other_columns() -> None:
    table = [*rows(40), Example(90, sentence(90), "jo@example.org"), Example(91, sentence(91), "praise", None, {"from": "+49 30 1234567"})]
    assert finding(table, "personal_data").lines == (90, 91)


def test_very_long_inputs() -> None:
    table = [*rows(40), Example(100, "x" * (LONG + 1), "praise"), Example(101, "y" * (LONG + 2), "praise")]
    found = finding(table, "long_inputs")
    assert found.rows == (41, 40) and found.sentence.startswith("2 rows have an input of more than 8,000 characters (the longest 8,002)")
    assert "Counted in characters" in found.sentence


def test_very_long_inputs_in_tokens_of_a_model() -> None:
    one, two = health.over_window(1, 900, "Tiny", 512), health.over_window(2, 900, "Tiny", 512)
    assert one.sentence == "1 row has an input of more than the 512 tokens that Tiny takes at once (the longest 900): it is not read as a whole."
    assert two.sentence.startswith("2 rows have") and two.sentence.endswith("they are not read as a whole.") and two.fix == Fix("drop", (0, 1))


@pytest.mark.parametrize(
    ("code", "examples", "advice"),
    [
        ("one_class", with_labels(positive=30), "append rows of another one"),
        ("few_rows", rows(3), "Append rows, or label some."),
        ("many_labels", rows(3003, tuple(f"label {number}" for number in range(1001))), "Import the file with a coarser label column"),
        ("numbers_as_labels", [Example(at, sentence(at), f"{at / 7:.2f}") for at in range(100)], "put them into classes"),
        ("several_labels", rows(40, ("a;b", "b;c", "c;a")), "Give each row one label in the file"),
        ("imbalance", with_labels(ham=95, spam=5), "label more rows of the others"),
        ("label_in_text", [Example(one.line, f"{one.input} label: {one.output}", one.output) for one in rows(40)], "import the file again"),
        ("swapped_columns", [Example(one.line, one.output or "", one.input) for one in rows(40)], "the other way round"),
    ],
)
def test_where_no_press_mends_it_the_finding_says_what_to_do_instead(code: str, examples: list[Example], advice: str) -> None:
    found = finding(examples, code)
    assert found.fix is None and advice in found.sentence


def test_near_duplicates_go_to_one_side_where_splits_were_made_here_and_nobody_used_them() -> None:
    train, test = rows(40, split="train"), rows(20, split="test", start=40)
    test += [Example(201, train[4].input.replace("card", "cart") + "!", "praise", "test"), Example(202, train[5].input + "?", None, None)]
    table = [*train, *test]
    near = near_duplicate_groups([one.input for one in table])
    (found,) = [one for one in health.examine(table, near, free=True).findings if one.code == "near_leakage"]
    assert found.fix is not None and (found.fix.kind, found.fix.rows, found.fix.groups) == ("gather", (4, 60), [[4, 60]])
    assert finding(table, "near_leakage").fix == Fix("drop", (4,))


def test_every_finding_has_a_known_code_and_rows_of_the_table() -> None:
    table = [*rows(40, ("NA", "na ", "x"), "train"), *rows(20, ("x", "y"), "test")]
    for found in examine(table).findings:
        assert found.code in CODES and set(found.rows) <= set(range(len(table))) and (found.fix is None or set(found.fix.rows) <= set(found.rows))


def test_findings_come_by_harm_and_name_few_lines() -> None:
    table = [*rows(40), *rows(40)]
    table = [Example(number, one.input, one.output, "test" if number >= 40 else "train") for number, one in enumerate(table)]
    findings = examine(table).findings
    assert [one.harm for one in findings] == sorted((one.harm for one in findings), reverse=True)
    assert all(len(one.lines) <= 5 for one in findings)
