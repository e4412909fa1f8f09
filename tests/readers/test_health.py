"""Each finding appears where it should, says its sentence, and stays away from healthy data."""

import random

import pytest

from app.readers import Example, Split, near_duplicates
from app.readers.findings import Fix
from app.readers.health import CODES, LONG, Finding, examine, near_duplicate_groups
from app.readers.lookalikes import look_alike_groups

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


def finding(examples: list[Example], code: str) -> Finding:
    return next(one for one in examine(examples).findings if one.code == code)


def codes(examples: list[Example]) -> list[str]:
    return [one.code for one in examine(examples).findings]


def with_labels(**counts: int) -> list[Example]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [Example(number + 2, sentence(number), label) for number, label in enumerate(labels)]


def test_healthy_data_has_no_findings() -> None:
    train, test = rows(60, split="train"), rows(20, split="test", start=60)
    health = examine([*train, *test])
    assert health.findings == ()
    assert (health.rows, health.unlabelled) == (80, 0)
    assert health.labels == {"train": {"praise": 30, "blame": 30}, "test": {"praise": 10, "blame": 10}}


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
    assert finding(with_labels(positive=30), "one_class").sentence == "All rows have the label 'positive'. A classifier needs at least two."
    assert finding(with_labels(a=30, b=30, sarcasm=1), "tiny_classes").sentence == "'sarcasm' has 1 row; each class needs at least 3 (one per split)."
    assert "'spam' has 2 rows (1 more such labels)" in finding(with_labels(a=30, spam=2, z=2), "tiny_classes").sentence
    assert finding(with_labels(ham=95, spam=5), "imbalance").sentence.startswith(
        "95% of the rows have the label 'ham': always answering it is right that often."
    )
    assert "imbalance" not in codes(with_labels(ham=80, spam=20))


def test_few_rows() -> None:
    assert finding(rows(3), "few_rows").sentence == "3 rows: at least 10 are needed to train (and 2 per class to test)."
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


def test_very_long_inputs() -> None:
    table = [*rows(40), Example(100, "x" * (LONG + 1), "praise"), Example(101, "y" * (LONG + 2), "praise")]
    found = finding(table, "long_inputs")
    assert found.rows == (41, 40) and found.sentence.startswith("2 rows have more than 8,000 characters (the longest 8,002)")


def test_near_duplicates_are_left_out_where_there_are_too_many_rows() -> None:
    table = rows(40)
    table += [Example(100, table[0].input + "!", table[0].output)]
    assert "near_duplicates" in codes(table) and examine(table, compared=40).findings == ()


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


def test_near_duplicate_groups() -> None:
    base = "Can you tell me why I have not received my new card"
    texts = [base + "?", "something else entirely, about money", base + "??", "  " + base.upper() + "?", base + " yet?", "short", "shore"]
    assert near_duplicate_groups(texts) == [[0, 2, 3, 4]]
    assert near_duplicate_groups([]) == []
    assert near_duplicate_groups(["", " ", "a"]) == [[0, 1]]


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    texts = [sentence(number) for number in range(2000)]
    planted = [text + "." for text in texts[::10]]
    groups = near_duplicate_groups([*texts, *planted])
    assert groups == [[number * 10, 2000 + number] for number in range(200)]


def test_texts_of_one_template_are_one_group() -> None:
    texts = [f"The order number {number} has not arrived at my home address, please look into it as soon as you can, thank you" for number in range(5000)]
    assert [len(group) for group in near_duplicate_groups(texts)] == [5000]


def test_texts_that_are_almost_similar_are_not_all_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    similar = near_duplicates.similar

    def counted(a: set[str], b: set[str], threshold: float) -> bool:
        nonlocal compared
        compared += 1
        return similar(a, b, threshold)

    monkeypatch.setattr(near_duplicates, "similar", counted)
    texts = [f"message {number * 7919 % 1000003} about {number} things that happened on day {number % 365}" for number in range(3000)]
    planted = [f"{sentence(number)}." for number in range(50)]
    groups = near_duplicate_groups([*map(sentence, range(50)), *texts, *planted])
    assert compared < 3100 * near_duplicates.CROWD
    assert [group for group in groups if group[0] < 50] == [[number, 3050 + number] for number in range(50)]
