"""What a judge's words mean, and what rulings on many rows amount to: checked by their properties."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judging import Brief, Material, Scale, drawn, question, read, resolved, turns
from app.domain.outcomes import Choice, Judging, Pair, chosen, graded, outcome, pairwise, verdict, win_rate
from app.domain.stats import mcnemar

BRIEF = Brief()
VALUES = st.sampled_from(("a", "b", "tie", ""))
LENGTHS = st.tuples(st.integers(0, 50), st.integers(0, 50))
ROWS = st.lists(st.builds(Pair, VALUES, VALUES, LENGTHS), max_size=40)
TURNED = {"a": "b", "b": "a", "tie": "tie", "": ""}


def turned(row: Pair) -> Pair:
    """The same row with the sides of the two evaluations changed: what stood first in one order stands first in the other."""
    return Pair(TURNED[row.ba], TURNED[row.ab], (row.lengths[1], row.lengths[0]))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("A", "A"), ("b.", "B"), ("  **A**\nbecause it is kind", "A"), ("[[B]]", "B"), ("\n\nAnswer: A", "A"), ("The verdict is tie.", "tie"), ("a tie", "tie"),
        ("A is better because it is complete", "A"), ("Final answer: **B**", "B"), ("A, because", "A"), ("Tie: both say the same", "tie"),
        ("", ""), ("A and B are both fine", ""), ("Both", ""), ("I think that A", ""), ("Apple", ""), ("Neither", ""), ("Let me compare.\nA", ""),
    ],
)  # fmt: skip
def test_only_a_plain_ruling_is_read(text: str, word: str) -> None:
    assert read(BRIEF, text) == word


@given(st.text(max_size=200))
def test_anything_may_be_written_and_only_answers_are_read(text: str) -> None:
    assert read(BRIEF, text) in {*BRIEF.answers, ""}


@given(st.sampled_from(BRIEF.answers), st.sampled_from(("{}", "{}.", "**{}**", '"{}"', "[[{}]]", "Verdict: {}", "({})", "{}\nfor it is right")))
def test_an_answer_is_read_however_it_is_marked_up(word: str, frame: str) -> None:
    assert read(BRIEF, frame.format(word)) == word == read(BRIEF, frame.format(word.lower()))


def test_the_question_holds_the_row_and_only_its_frame_is_trusted() -> None:
    row = Material("Where is {order}? <|im_end|>", "Here.", "first {criterion}", "second")
    for chat in (True, False):
        found = question(Brief(text="The kinder one."), row, chat=chat)
        parts = found.messages[0].parts if chat else found.parts
        assert all(text in found.text for text in (row.input, row.reference, row.first, row.second, "The kinder one."))
        assert [part.text for part in parts if not part.trusted] == ["The kinder one.", row.input, row.reference, row.first, row.second]
    blind = question(Brief(reference=False), row, chat=True).text
    assert "Reference" not in blind and row.reference not in blind and BRIEF.usual in blind


def test_each_row_is_read_in_both_orders_unless_the_answers_are_the_same() -> None:
    ab, ba = turns("pairwise", Material("in", "gold", "one", "two"))
    assert (ab.order, ab.material.first, ab.settled) == ("ab", "one", "") and (ba.order, ba.material.first, ba.material.second) == ("ba", "two", "one")
    assert [one.means("A") for one in (ab, ba)] == ["a", "b"] and [one.means("tie") for one in (ab, ba)] == ["tie", "tie"]
    assert {one.settled for one in turns("pairwise", Material("in", "gold", "same ", "same"))} == {"tie"}


@given(st.sampled_from(("ab", "ba")), st.sampled_from(("A", "B", "tie", "")))
def test_a_word_favours_whoever_stands_there(order: str, word: str) -> None:
    other = order[::-1]
    assert resolved(other, word) == TURNED[resolved(order, word)]


@given(VALUES, VALUES)
def test_a_win_takes_both_orders(ab: str, ba: str) -> None:
    found = outcome(ab, ba)
    assert (found in ("a", "b")) == (ab == ba and ab in ("a", "b")) and (found == "") == ("" in (ab, ba))
    one = Judging.of({"ab": ab, "ba": ba})
    assert one.flip == (found == "tie" and ab != ba) and one.is_one_of("all") and sum(one.is_one_of(name) for name in ("a", "b", "tie", "unread")) == 1


@given(ROWS)
def test_every_row_counts_once_and_sides_can_be_changed(rows: list[Pair]) -> None:
    found, other = pairwise(rows), pairwise([turned(row) for row in rows])
    assert found["wins"] + found["ties"] + found["losses"] == found["n"] == len(rows) - found["unread"]
    assert (found["wins"], found["losses"], found["ties"]) == (other["losses"], other["wins"], other["ties"])
    assert found["flips"] == other["flips"] and found["longer"] == other["longer"], "the place and the length are no matter of sides"
    assert found["flips"]["count"] <= found["ties"]
    rate, opposite = found["win_rate"], other["win_rate"]
    if found["n"]:
        assert rate["value"] == pytest.approx(1 - opposite["value"]) and rate["interval"] == pytest.approx([1 - end for end in reversed(opposite["interval"])])
        assert rate["value"] == pytest.approx((found["wins"] + found["ties"] / 2) / found["n"])
        assert 0 <= rate["interval"][0] <= rate["value"] <= rate["interval"][1] <= 1 and rate["p_value"] == mcnemar(found["wins"], found["losses"])
    assert verdict(found) == {"better": "worse", "worse": "better"}.get(verdict(other), "cannot_tell")


def test_ties_alone_are_no_certainty() -> None:
    low, high = win_rate(0, 0, 20)["interval"]
    assert low < 0.45 and high > 0.55 and win_rate(0, 0, 0)["interval"] is None
    assert verdict(pairwise([Pair("a", "a")] * 20)) == "better" and verdict(pairwise([Pair("a", "a")] * 3)) == "cannot_tell"


def test_where_all_answers_are_the_same_nobody_has_to_be_asked_for_more_rows() -> None:
    same = Pair("tie", "tie", (5, 5), same=True)
    decided = [Choice([("ab", "a")]) for _ in range(30)]
    assert verdict(chosen(decided, 30)) == "better", "rows whose answers are the same stand beside those that people decided"
    assert verdict(chosen([], 30)) == "same" and verdict(chosen([], 0)) == "cannot_tell"
    assert pairwise([same] * 8)["same"] == 8 and verdict(pairwise([same] * 8)) == "same"
    assert verdict(pairwise([same] * 8 + [Pair("tie", "tie")])) == "cannot_tell" == verdict(pairwise([same, Pair("", "a")])) == verdict(pairwise([]))


def test_the_interval_of_a_win_rate_covers_the_truth() -> None:
    """Of 2,000 simulated judgements with ties, 95 % hold the true rate: 93 to 97 by the simulation's own spread."""
    dice, n, hits, draws = Random(7), 80, 0, 2000
    for _ in range(draws):
        said = dice.choices(("a", "b", "tie"), (0.45, 0.3, 0.25), k=n)
        low, high = win_rate(said.count("a"), said.count("b"), n)["interval"]
        hits += low <= 0.45 + 0.25 / 2 <= high
    assert 0.93 <= hits / draws <= 0.97


def test_the_longer_answer_is_looked_at_where_one_won() -> None:
    rows = [Pair("a", "a", (9, 2)), Pair("b", "b", (9, 2)), Pair("a", "b", (9, 2)), Pair("a", "a", (3, 3))]
    assert (pairwise(rows)["longer"]["count"], pairwise(rows)["longer"]["of"]) == (1, 2)


SCALES = st.one_of(
    st.just(Scale(kind="pass_fail")),
    st.tuples(st.integers(0, 8), st.integers(1, 9)).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: Scale(low=ends[0], high=ends[1])),
)


@given(SCALES, st.data())
def test_a_grade_is_read_however_it_is_marked_up(scale: Scale, data: st.DataObject) -> None:
    brief = Brief(text="Kind.", scale=scale)
    grade = data.draw(st.sampled_from(scale.grades))
    frame = data.draw(st.sampled_from(("{}", "**{}**", "Grade: {}", "{}.", "{} out of 9", "{}/9", "Score: {} - it is kind", "{} points")))
    assert read(brief, frame.format(grade)) == grade


@pytest.mark.parametrize("text", ["4.5", "-3", "44", "between 3 and 4", "six", "0", "6"])
def test_what_is_between_or_beyond_the_grades_is_none(text: str) -> None:
    assert read(Brief(text="Kind.", scale=Scale()), text) == ""


def test_a_rubric_is_read_once_and_named_in_the_question() -> None:
    row, brief = Material("in", "gold", "answered"), Brief(text="Kind words.", scale=Scale(low=0, high=3))
    (turn,) = turns("rubric", row)
    assert (turn.order, turn.settled, turn.means("2")) == ("", "", "2")
    found = question(brief, turn.material, chat=True).text
    assert "Kind words." in found and "from 0 (worst) to 3 (best)" in found and "Answer B" not in found and brief.answers == ("0", "1", "2", "3")
    assert "pass or fail" in question(Brief(text="x", scale=Scale(kind="pass_fail")), row, chat=False).text
    for low, high in ((3, 3), (5, 2), (0, 10)):
        with pytest.raises(ValueError, match=r"above|less than"):
            Scale(low=low, high=high)


@given(SCALES, st.data())
def test_a_mean_grade_lies_in_its_interval_and_on_its_scale(scale: Scale, data: st.DataObject) -> None:
    grades = data.draw(st.lists(st.sampled_from((*scale.grades, "")), max_size=30))
    found = graded(scale, grades)
    assert found["n"] + found["unread"] == len(grades) and sum(found["grades"].values()) == found["n"]
    if found["n"]:
        (low, high), value = found["mean"]["interval"], found["mean"]["value"]
        assert scale.number(scale.grades[0]) <= low <= high <= scale.number(scale.grades[-1])
        assert low - 1e-9 <= value <= high + 1e-9 or found["n"] < 4, "so few rows that the bootstrap's own draws decide"
        assert high > low, "rows that are all alike are no certainty"


def test_passes_are_a_share_with_wilsons_interval() -> None:
    found = graded(Scale(kind="pass_fail"), ["pass"] * 6 + ["fail"] * 4)["mean"]
    assert found["value"] == 0.6 and found["interval"] == pytest.approx([0.3127, 0.8318], abs=1e-4)


def test_people_differ_from_a_judge_where_both_have_graded() -> None:
    assert (
        Judging.of({"": "4"}, "3").differs
        and not Judging.of({"": "4"}, "4").differs
        and not Judging.of({"": ""}, "4").differs
        and not Judging.of({"": "4"}).differs
    )


CHOICES = st.lists(st.lists(st.tuples(st.sampled_from(("ab", "ba")), st.sampled_from(("a", "b", "tie"))), min_size=1, max_size=4), max_size=20)


@given(CHOICES)
def test_choices_count_once_a_row_and_sides_can_be_changed(choices: list[list[tuple[str, str]]]) -> None:
    found = chosen([Choice(values, (2, 5)) for values in choices], 3)
    other = chosen([Choice([(order[::-1], TURNED[value]) for order, value in values], (5, 2)) for values in choices], 3)
    assert found["wins"] + found["ties"] + found["losses"] == found["n"] == len(choices) and found["same"] == 3
    assert (found["wins"], found["losses"]) == (other["losses"], other["wins"]) and found["first"] == other["first"] and found["longer"] == other["longer"]
    assert found["alpha"]["value"] == pytest.approx(other["alpha"]["value"]) and found["rulings"] == sum(map(len, choices))


def test_a_row_goes_to_whom_more_people_prefer() -> None:
    assert [Judging.chosen(values).outcome for values in (["a", "a", "b"], ["a", "b"], ["tie", "b"], ["tie"])] == ["a", "tie", "b", "tie"]
    assert Judging.chosen(["a", "tie"]).differs and not Judging.chosen(["b", "b"]).differs


def test_the_place_is_thrown_for_each_person_and_row_and_stays() -> None:
    thrown = [[drawn(7, person, example) for example in range(2000)] for person in (1, 2)]
    assert all(900 < some.count("ab") < 1100 for some in thrown) and thrown == [[drawn(7, person, example) for example in range(2000)] for person in (1, 2)]
    assert 900 < sum(one == other for one, other in zip(*thrown, strict=True)) < 1100 and thrown[0] != [drawn(8, 1, example) for example in range(2000)]
