"""Candidates among many labels: those whose rows and descriptions are like the input."""

from app.domain.candidates import Candidates
from app.domain.label_book import Label, LabelBook

BOOK = LabelBook(
    (
        *(Label(f"k{at}", f"topic {at}", description=f"about thing{at} and widget{at}") for at in range(50)),
        Label("other", "none of these", none=True),
        Label("old", "gone", retired=True),
    )
)


def test_a_label_is_found_by_its_description_and_by_its_rows() -> None:
    found = Candidates(BOOK, [("my zebra is ill", "topic 7"), ("no label", "unknown")], 5)
    assert "topic 31" in found.of("where is widget31?") and "topic 7" in found.of("a zebra")
    offered = found.of("where is widget31?")
    assert len(offered) == 5 and "none of these" in offered, "the label for none of these is always offered"
    assert list(offered) == [text for text in BOOK.texts() if text in offered], "in the book's order"
    assert "gone" not in Candidates(BOOK, [], 200).of("gone") and len(Candidates(BOOK, [], 200).of("")) == 51


def test_the_same_input_is_offered_the_same_labels() -> None:
    one, other = (Candidates(BOOK, [("zebra", "topic 7")], 9) for _ in range(2))
    assert one.of("a zebra with widget3") == one.of("a zebra with widget3") == other.of("a zebra with widget3")
