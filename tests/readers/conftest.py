"""A stand-in for the reading child."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.errors import Invalid
from app.readers import parent as parent_module
from app.readers.frames import Broken

Stand = Callable[[str], None]

NO_FILE = "no-file-that-is-read"
"""What a stand-in is called with; by that it is known among other processes."""


@pytest.fixture
def child_says(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Puts a program in the place of the child; afterwards none may be left."""

    def stand_in(program: str) -> None:
        start = subprocess.Popen

        def popen(_: list[str], **options: object) -> "subprocess.Popen[bytes]":
            return start([sys.executable, "-c", program, NO_FILE], **options)  # type: ignore[call-overload, no-any-return]

        monkeypatch.setattr(parent_module.subprocess, "Popen", popen)  # type: ignore[attr-defined]

    yield stand_in
    assert not reading_children()


def reading_children() -> list[psutil.Process]:
    """The children that read files; a broker, a browser or a resource tracker (`python -c`, too) of other tests may be there besides."""
    words = {child: child.cmdline() for child in psutil.Process().children()}
    return [child for child, said in words.items() if "app.readers" in " ".join(said) or said[-1:] == [NO_FILE]]


@pytest.fixture
def read_in_child() -> Callable[[Path], list[str]]:
    """Reads a file as the product does; gives the advice of what was wrong, the refusal of a child that ended of it included."""

    def advice(path: Path) -> list[str]:
        try:
            return [frame.problem.advice for frame in parent_module.read_file(path) if isinstance(frame, Broken)]
        except Invalid as refused:
            return [refused.advice]

    return advice
