"""The trial script imports a folder as a person would: files that are called like splits are one dataset, others are each their own, and a refused one is told."""

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.house.rules import ROOT


def tried(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore", "-m", "scripts.trial_import", "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


def lines(first: int, count: int) -> str:
    return "".join(f"{text(number)},label {number % 2}\n" for number in range(first, first + count))


def text(number: int) -> str:
    return " ".join(f"word{part}" for part in random.Random(number).sample(range(1_000), 8))


def test_a_folder_is_imported_and_what_a_person_would_see_is_printed(tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    pair.mkdir()
    (pair / "test.csv").write_text(f"text,label\n{lines(38, 10)}")  # two of them stand in the other one, and are not added
    (pair / "train.csv").write_text(f"text,label\n{lines(0, 40)}")
    (pair / "README.md").write_text("not data")
    (tmp_path / "alone.jsonl").write_text("".join(f'{{"input": "{text(number)}", "output": "answer {number}"}}\n' for number in range(30)))
    told = tried(tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.index("pair/train.csv") < told.stdout.index("pair/test.csv"), "the others go onto the train file"
    assert "version 1    train 20, validation 20; 2 labels" in told.stdout and "version 2    train 20, validation 20, test 8; 2 labels" in told.stdout
    assert "alone.jsonl, 2,965 bytes\n" in told.stdout and "no labels" in told.stdout and "README" not in told.stdout
    assert "3 of 3 files became a dataset, or a part of one." in told.stdout


def test_a_refused_file_is_told_and_what_goes_onto_it_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b'text,label\n"never closed,a\n' + b"more\n" * 3)
    (tmp_path / "test.csv").write_text(f"text,label\n{lines(0, 10)}")
    told = tried(tmp_path)
    assert told.returncode == 1 and "problem " in told.stdout and "test.csv" not in told.stdout
    assert "0 of 2 files became a dataset" in told.stdout
