"""Names in a drawing lie on no other name, inside it, and on no other point where there is room; nobody loses a name for a neighbour alone."""

from hypothesis import given
from hypothesis import strategies as st

from app.pages.plots import HEIGHT, LETTER, LINE, WIDTH, Mark, _apart


def mark(name: str, x: float, y: float) -> Mark:
    return Mark(x, y, y + 5, y - 5, name, f"{name}: 0.9")


def box(one: Mark) -> tuple[float, float, float]:
    long = LETTER * len(one.name)
    left = one.x + 9 if one.anchor == "start" else one.x - 9 - long
    return left, left + long, one.y + one.drop


def test_three_points_in_one_place_have_three_names_each_a_line_apart_or_on_another_side() -> None:
    found = _apart([mark("P-tuning", 300, 80), mark("Prefix tuning", 302, 82), mark("Prompt tuning", 298, 78)], WIDTH)
    assert sorted(one.name for one in found) == ["P-tuning", "Prefix tuning", "Prompt tuning"]
    assert all(one.drop == 0 for one in _apart([mark("LoRA", 300, 40), mark("zero-shot", 100, 200)], WIDTH)), "who has room stays beside the point"


def test_a_name_is_put_where_no_point_is() -> None:
    first, second = _apart([mark("LoRA", 300, 100), mark("", 320, 100)], WIDTH)
    assert (first.name, first.anchor, second.name) == ("LoRA", "end", "")


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=14), st.floats(60, 620), st.floats(20, 240)), min_size=1, max_size=12))
def test_no_two_names_overlap_and_none_leaves_the_drawing(points: list[tuple[str, float, float]]) -> None:
    found = _apart([mark(*point) for point in points], WIDTH)
    named = [box(one) for one in found if one.name]
    assert named and len(found) == len(points)
    for at, (left, right, y) in enumerate(named):
        assert left >= 0 and right <= WIDTH and 0 <= y <= HEIGHT
        assert all(abs(y - other) >= LINE or left > end or right < start for start, end, other in named[:at])
