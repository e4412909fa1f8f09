"""The label book: two names for a label, the one in the rows and the one a model reads and writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.label_book import Label, LabelBook, Proposal, checked, is_code, label_text, proposals
from app.domain.rendering import Template, render, with_opening, without_opening
from app.errors import Invalid

TICKETS = LabelBook(
    (
        Label("0", "refund", "money back", ("reimbursement", "Money Back")),
        Label("1", "card arrival", parent="9"),
        Label("7", "something else", none=True, added=True),
        Label("8", "old one", retired=True),
        Label("9", "cards"),
    )
)


def refused(book: LabelBook, rows: dict[str, int] | None = None) -> tuple[str, str]:
    with pytest.raises(Invalid) as caught:
        checked(book, rows or {})
    assert caught.value.advice
    return caught.value.detail.get("label", caught.value.code), caught.value.detail.get("field", "")


def test_a_key_becomes_its_display_text_and_free_text_stays() -> None:
    assert TICKETS.text_of("0") == "refund" and TICKETS.text_of("8") == "old one" and TICKETS.text_of("new") == "new"
    assert LabelBook().text_of("0") == "0" and not LabelBook() and LabelBook().texts() == []
    assert TICKETS.key_of("refund") == "0" and TICKETS.key_of("old one") is None


def test_retired_labels_are_not_offered_and_none_of_these_stands_last() -> None:
    assert TICKETS.texts() == ["refund", "card arrival", "cards", "something else"]
    assert TICKETS.retired == ["8"]


def test_an_answer_is_read_by_display_text_or_alias_and_never_by_chance() -> None:
    for answer in ("refund", "Refund", " REFUND ", "reimbursement", "money  back"):
        assert TICKETS.read(answer) == "refund"
    for answer in ("0", "old one", "refund please", ""):
        assert TICKETS.read(answer) is None
    close = LabelBook((Label("a", "US"), Label("b", "us"), Label("c", "Card  arrival")))
    assert close.read("us") == "us" and close.read("Us") is None and close.read("Card arrival") == "Card  arrival"


def test_an_answer_is_the_first_line_when_it_must_be_a_label_and_all_of_it_when_not() -> None:
    assert TICKETS.answer_in(" Reimbursement\nInput: more") == "refund"
    assert TICKETS.answer_in(" something  new\nrefund") == "something  new"
    assert LabelBook().answer_in(" one\ntwo \n") == "one\ntwo"


def test_training_reads_answers_as_scoring_does() -> None:
    learnt = LabelBook.of_texts(TICKETS.texts(), TICKETS.aliases())
    for answer in ("refund", "Money back", "reimbursement", "old one", "0", "Card arrival", "cards\nmore", "nothing"):
        assert learnt.answer_in(answer) == TICKETS.answer_in(answer)


def test_the_list_in_a_prompt_has_a_line_for_each_label_once_one_is_described() -> None:
    assert TICKETS.rendered() == "refund: money back\ncard arrival\ncards\nsomething else"
    assert LabelBook((Label("a", "yes"), Label("b", "no"))).rendered() == "yes, no"


def test_a_row_is_shown_the_labels_it_is_offered_unless_its_own_column_has_that_name() -> None:
    shown = {"input": "x", "labels": TICKETS.rendered()}
    assert TICKETS.narrowed(shown, ["cards", "refund"]) == {"input": "x", "labels": "refund: money back\ncards"}
    assert TICKETS.narrowed(shown, TICKETS.texts()) == shown
    for own in ({"input": "x", "labels": "what the file says"}, {"input": "x"}):
        assert TICKETS.narrowed(own, ["cards"]) == own


def test_a_listed_instruction_is_the_text_a_soft_prompt_starts_from() -> None:
    template = Template(instruction="Choose from: {labels}.")
    assert without_opening(template).instruction == "" and without_opening(Template(instruction="For {name}: {labels}")).instruction
    assert without_opening(Template(mode="freeform", text="One of {labels}\n{input}")).text == "{input}"
    chat = Template(mode="chat", messages=(("system", "One of {labels}"), ("user", "{input}")))
    assert len(without_opening(chat).messages) == 1
    assert with_opening(template, "yes, no") == template
    assert render(template, {"input": "x", "labels": "yes, no"}).text.startswith("Choose from: yes, no.")


def test_json_and_back() -> None:
    assert LabelBook.of(TICKETS.as_json()) == TICKETS
    assert LabelBook.of([{"key": "a", "display": "a", "count": 3}]).labels == (Label("a", "a", count=3),)
    assert LabelBook.of([{"key": "a"}]).text_of("a") == "a"


def test_counting_keeps_what_was_written_and_forgets_what_was_not() -> None:
    book = LabelBook((Label("a", "A", count=4), Label("b", "b", count=2), Label("c", "c", added=True), Label("d", "D", parent="b")))
    found = book.counted({"a": 1, "e": 5})
    assert [(label.key, label.display, label.count, label.parent) for label in found.labels] == [
        ("a", "A", 1, None), ("c", "c", 0, None), ("d", "D", 0, None), ("e", "e", 5, None),
    ]  # fmt: skip


def test_renaming_takes_an_entry_along_and_merging_keeps_the_other() -> None:
    found = TICKETS.renamed({"0": "refund_key", "1": "9", "8": None})
    assert [label.key for label in found.labels] == ["7", "9", "refund_key"]
    assert found.text_of("refund_key") == "refund" and found.text_of("9") == "cards"
    assert TICKETS.renamed({"9": "cards"}).get("1").parent == "cards"  # type: ignore[union-attr]
    assert LabelBook((Label("Yes", "Yes"),)).renamed({"Yes": "yes"}).text_of("yes") == "yes"


def test_the_hash_covers_the_book_only_once_something_is_written() -> None:
    plain = LabelBook((Label("a", "a", count=3),))
    assert plain.digest() == b"" == LabelBook().digest()
    assert TICKETS.digest() and TICKETS.digest() != LabelBook((*TICKETS.labels[:-1], Label("9", "Cards"))).digest()
    assert TICKETS.counted({"0": 5}).digest() == TICKETS.counted({"0": 9}).digest()


@pytest.mark.parametrize(
    ("labels", "rows", "told"),
    [
        ((Label("a", "x"), Label("b", "x")), {}, ("b", "display")),
        ((Label("a", "x", aliases=("y",)), Label("y", "y")), {}, ("y", "display")),
        ((Label("a", "x"), Label("b", "b", aliases=("x",))), {}, ("b", "aliases")),
        ((Label("a", "x\ny"),), {}, ("a", "display")),
        ((Label("a", "x" * 201),), {}, ("a", "display")),
        ((Label("a", "a", "x" * 2001),), {}, ("a", "description")),
        ((Label("a", "a", parent="z"),), {}, ("a", "parent")),
        ((Label("a", "a", parent="b"), Label("b", "b", parent="a")), {}, ("a", "parent")),
        ((Label("a", "a"), Label("a", "b")), {}, ("a", "key")),
        ((Label(" ", "b"),), {}, (" ", "key")),
        ((Label("a", "a"),), {"gone": 3}, ("gone", "key")),
        ((Label("a", "a", none=True), Label("b", "b", none=True)), {}, ("two_nones", "")),
        ((Label("a", "a", retired=True),), {}, ("all_retired", "")),
        (tuple(Label(str(n), str(n), added=True) for n in range(1001)), {}, ("many_labels", "")),
    ],
)
def test_a_book_that_cannot_be_is_refused_at_its_label(labels: tuple[Label, ...], rows: dict[str, int], told: tuple[str, str]) -> None:
    assert refused(LabelBook(labels), rows) == told


def test_a_book_is_tidied() -> None:
    found = checked(LabelBook((Label("a", "  Yes ", " said\nso ", (" y", "y ", "")), Label("b", " "))), {"a": 1, "b": 2})
    assert found.labels == (Label("a", "Yes", "said so", ("y",), count=1), Label("b", "b", count=2))


def test_spellings_of_a_file_may_stand_until_somebody_merges_them() -> None:
    assert checked(LabelBook((Label("yes", "yes"), Label("yes ", "yes "))), {"yes": 1, "yes ": 1}).texts() == ["yes", "yes "]


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=8, unique=True))
def test_every_display_text_reads_as_itself_in_any_book(keys: list[str]) -> None:
    book = LabelBook(tuple(Label(key, key) for key in keys))
    assert all(book.read(key) == key for key in keys)


@pytest.mark.parametrize(("key", "code"), [("0", True), ("T-443", True), ("B", True), ("deadbeefdeadbeef", True), ("refund", False), ("order 66", False)])
def test_codes_are_told_from_words(key: str, code: bool) -> None:
    assert is_code(key) is code


def test_proposals_come_from_what_the_file_says_and_are_not_taken() -> None:
    book = LabelBook((Label("0", "0"), Label("1", "1"), Label("2", "mine"), Label("card_arrival", "card_arrival"), Label("T-443", "T-443")))
    found = proposals(book, {"kind": {"0": "negative", "1": " positive ", "2": "neutral"}})
    assert found == [Proposal("0", "negative", "column kind"), Proposal("1", "positive", "column kind"), Proposal("card_arrival", "card arrival", "its key")]
    assert proposals(book, {}, ["neg", "pos"])[:2] == [Proposal("0", "neg", "names in the file"), Proposal("1", "pos", "names in the file")]
    assert book.text_of("0") == "0"


def test_two_labels_are_never_proposed_the_same_text() -> None:
    book = LabelBook((Label("a_b", "a_b"), Label("a__b", "a__b"), Label("0", "0"), Label("x", "good")))
    assert proposals(book, {"kind": {"0": "good"}}) == []


def test_a_parent_counts_the_rows_of_all_labels_below_it() -> None:
    book = LabelBook((Label("a", "a", count=1), Label("b", "b", count=2, parent="a"), Label("c", "c", count=4, parent="b"), Label("d", "d", count=8)))
    assert book.with_those_below() == {"a": 7, "b": 6, "c": 4, "d": 8}


def test_merging_a_parent_into_a_label_below_it_leaves_no_label_above_itself() -> None:
    def parents(book: LabelBook, **keys: str) -> dict[str, str | None]:
        return {label.key: label.parent for label in book.renamed(keys).labels}

    family = LabelBook((Label("g", "g"), Label("p", "p", parent="g"), Label("m", "m", parent="p"), Label("c", "c", parent="m"), Label("s", "s", parent="p")))
    assert parents(family, p="m") == {"g": None, "m": "g", "c": "m", "s": "m"}, "it goes where its parent stood"
    assert parents(family, p="c") == {"g": None, "m": "g", "c": "m", "s": "c"}, "above it stands what it stood under"
    assert parents(family, g="c") == {"p": None, "m": "p", "c": "m", "s": "p"}
    assert parents(family, g="s", p="s") == {"m": "s", "c": "m", "s": None}
    assert parents(LabelBook((Label("p", "p"), Label("c", "c", parent="p"))), p="c") == {"c": None}


KEYS = "abcd"


@given(
    st.tuples(*(st.sampled_from([None, *KEYS[:number]]) for number in range(len(KEYS)))),
    st.lists(st.dictionaries(st.sampled_from(KEYS), st.sampled_from([None, *KEYS, "x"]), min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_no_sequence_of_relabels_puts_a_label_above_itself(parents: tuple[str | None, ...], relabels: list[dict[str, str | None]]) -> None:
    book = LabelBook(tuple(Label(key, key.upper(), parent=parent) for key, parent in zip(KEYS, parents, strict=True)))
    for keys in relabels:
        counts = {keys.get(label.key, label.key): 1 for label in book.labels}
        rows = {key: count for key, count in counts.items() if key is not None}
        book = book.renamed(keys).counted(rows)
        if book.labels:
            checked(book, rows)


def test_a_stored_book_whose_labels_stand_above_themselves_is_summed_up() -> None:
    book = LabelBook((Label("a", "a", count=1, parent="b"), Label("b", "b", count=2, parent="a"), Label("c", "c", count=4, parent="b")))
    assert book.with_those_below() == {"a": 7, "b": 7, "c": 4}


@pytest.mark.parametrize(
    ("text", "told"),
    [(" \n", "blank"), ("", "blank"), ("a\0b", "“a␀b” holds a NUL character"), ("half \ud83d", "“half \ufffd” holds half a character")],
)
def test_what_no_file_can_bring_is_no_label(text: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        label_text(text)
    assert label_text(" as it is ") == " as it is "


@pytest.mark.parametrize(
    ("label", "field"),
    [(Label("a\0", "a"), "key"), (Label("a", "b\0"), "display"), (Label("a", "a", "\ud83d"), "description"), (Label("a", "a", aliases=("x\0",)), "aliases")],
)
def test_what_a_database_cannot_keep_is_refused_in_a_book(label: Label, field: str) -> None:
    assert refused(LabelBook((label,)), {}) == (label.key.replace("\0", "␀"), field)
