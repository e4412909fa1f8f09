"""The bench of next versions with fewer rows: no times are looked at, but everything it measures has to be right."""

import pytest

from bench import versions as bench


@pytest.mark.slow
def test_the_bench_makes_and_appends_versions() -> None:
    lines = bench.measure(2_000)
    made = ["nothing", "one label merged into another", "500 rows dropped", "500 outputs edited", "as many rows appended"]
    assert [line.what for line in lines] == ["its background steps", *made, "the background steps of all these"]
    assert all(line.waits and line.seconds > 0 for line in lines) and all(line.writes for line in lines if line.what != "nothing")
    assert "2,000 rows" in bench.table(lines, 2_000)
