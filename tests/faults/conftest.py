"""What the tests of faults stand on: an installation of processes, and the run that nobody disturbed."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.model import Model
from tests.faults.site import Site
from tests.worker.conftest import base, tiny_folder, toys

__all__ = ["base", "tiny_folder", "toys"]

Curve = tuple[dict[int, float], str]


@pytest.fixture
def site(person: Who, base: Model, toys: DatasetVersion, tmp_path: Path) -> Iterator[Site]:
    """On the test's database, with a lease of 5 seconds."""
    found = Site(tmp_path, person, base, toys)
    try:
        yield found
    finally:
        found.close()
        for log in found.logs.glob("*.log"):
            with suppress(OSError):
                sys.stdout.write(f"── {log.name}\n{log.read_text(errors='replace')[-1500:]}")


@pytest.fixture
def generator(request: pytest.FixtureRequest) -> tuple[int, float]:
    """The seed of a generated run, which every run tells at its end (tests/conftest.py), and its seconds."""
    return request.config.getoption("--generator-seed"), request.config.getoption("--generator-seconds")


@pytest.fixture(scope="session")
def control() -> Callable[[Site], Curve]:
    """The curve and the weights of the run that nobody disturbs, on a worker that it starts; once for all tests."""
    kept: list[Curve] = []

    def run(site: Site) -> Curve:
        if not kept:
            worker = site.worker("control")
            key = site.tune()
            site.succeeded(key)
            kept.append(site.curve(key))
            site.signal(worker, signal.SIGKILL)
            worker.wait()
        return kept[0]

    return run
