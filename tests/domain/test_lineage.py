"""What each change makes of a row."""

from app.domain.lineage import Drop, Edit, Move, Relabel, Values


def value(key: int, output: str | None = "a", split: str = "train", given: str | None = None) -> Values:
    return Values(id=key, position=key, line=None, split=split, input="text", output=output, cells=None, content_key=0, added_in=1, given=given)


def test_changes_give_the_same_object_where_nothing_changes() -> None:
    old = value(1)
    assert Drop({2}).on(old) is old and Drop({1}).on(old) is None
    assert Relabel({"b": "c"}).on(old) is old and Relabel({"a": "c"}).on(old) == {**old, "output": "c"}
    assert Move({1}, "test").on(value(1, None, "unlabelled")) == value(1, None, "unlabelled")
    assert Edit({1: None}).on(old) == value(1, None, "unlabelled")
    assert Edit({1: "b"}).on(value(1, None, "unlabelled")) == value(1, "b", "?")
    assert Edit({1: "b"}, {1}).on(value(1, None, "unlabelled")) == value(1, "b", "?train")
    assert Edit({1: "b"}, {1}).on(value(1, "a", "test")) == value(1, "b", "test")
    waits = value(1, None, "unlabelled", "test")
    assert Edit({1: "b"}).on(waits) == value(1, "b", "?test", "test") and Edit({1: "b"}, {1}).on(waits) == value(1, "b", "?train", "test")
