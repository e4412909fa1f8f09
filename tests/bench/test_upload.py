"""The bench of imports with fewer rows: no times are looked at, but everything it measures has to be right."""

from pathlib import Path

import pytest

from bench import upload as bench

ROWS = 240_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_the_bench_imports_pages_and_searches(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "rows.csv"
    bench.write_csv(path, ROWS)
    url = "" if kind == "SQLite" else request.getfixturevalue("bench_postgresql")
    result = bench.measure(kind, url, path, ROWS)
    assert result.imported > 0 and result.bare > 0 and result.looked > 0 and (result.copied is None) == (kind == "SQLite")
    assert not [one for one in result.missed if "memory" in one]
    assert {"web", "importing child", "reading child"} <= set(result.memory) and max(result.memory.values()) < 400e6
    assert list(result.search_ms) == ["a word of a third of the rows", "two words", "one row", "no row"]
    assert list(result.grid_ms) == ["its last page", "a word of a third of the rows", "two words", "no row"]
    assert f"{ROWS:,} CSV rows" in bench.table([result], ROWS)
