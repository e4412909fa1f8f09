"""The benches of load with little of it: no times are looked at, but everything they measure has to be there."""

import pytest

from bench import jobs, queue, web


@pytest.mark.slow
def test_pages_streams_and_points_are_measured_and_their_queries_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LOOKS", 10)
    web.measure(80, 800, 10)
    said = capsys.readouterr().out
    assert "80 jobs, 800 metric points, 10 streams open" in said and "Metric points a second" in said
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ") and "page" not in line]
    assert [row[0].strip("| ") for row in rows] == list(web.PAGES) and all(row[3] == row[4].strip(" |") for row in rows), (
        "as many queries with 60 jobs as with 80"
    )


@pytest.mark.slow
def test_jobs_go_through_web_broker_and_worker(capsys: pytest.CaptureFixture[str]) -> None:
    jobs.measure(1, together=False)
    said = capsys.readouterr().out
    assert "| phase `load` |" in said and "Besides imports and loading" in said


@pytest.mark.slow
def test_the_queue_alone_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SECONDS", 0.2)
    monkeypatch.setattr(queue, "PROCESSES", 2)
    name, *rates = queue.measure("SQLite", "").strip("| ").split(" | ")
    assert name == "SQLite" and len(rates) == 4 and all(float(rate.replace(",", "")) > 0 for rate in rates)
