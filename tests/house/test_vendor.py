"""The browser libraries in static/vendor are the ones their VENDOR.txt names, byte for byte."""

import hashlib
from pathlib import Path

import pytest

VENDOR = Path(__file__).parents[2] / "static" / "vendor"
FOLDERS = sorted(path for path in VENDOR.iterdir() if path.is_dir())


def recorded(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The facts (package, version, licence) and the sha256 of every file that VENDOR.txt states."""
    facts, files = (folder / "VENDOR.txt").read_text().strip().split("\n\n")
    named = dict(line.split(maxsplit=1) for line in facts.splitlines())
    sums = {name: digest for digest, name in (line.split() for line in files.splitlines())}
    return named, sums


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_files_match_their_record(folder: Path) -> None:
    facts, sums = recorded(folder)
    assert facts.keys() == {"package", "version", "licence"}
    assert folder.name.endswith(facts["version"])
    assert {path.name for path in folder.iterdir()} == {*sums, "VENDOR.txt"}
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != "VENDOR.txt"} == sums


def test_each_library_brings_its_licence() -> None:
    assert [folder.name for folder in FOLDERS] == ["htmx-4.0.1", "uplot-1.6.32"]
    assert all((folder / "LICENSE").stat().st_size > 0 for folder in FOLDERS)
