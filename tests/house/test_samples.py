"""The sample tasks are what samples/README.md says: enough rows, honest splits, nothing twice."""

import json
from collections import Counter
from itertools import pairwise

import pytest

from app.domain.prompt import template_of
from app.domain.rendering import check
from app.readers.near_duplicates import near_duplicate_groups
from tests.house.rules import ROOT

LEAST = {"train": 600, "validation": 150, "test": 300, "unlabelled": 1}
TASKS = json.loads((ROOT / "samples" / "prompts.json").read_text())


@pytest.mark.parametrize("file", [task["file"] for task in TASKS])
def test_a_sample_has_enough_rows_in_every_split_and_label(file: str) -> None:
    rows = [json.loads(line) for line in (ROOT / "samples" / file).read_text().splitlines()]
    assert all(set(row) == {"input", "output", "split"} for row in rows)
    counts = Counter(row["split"] for row in rows)
    assert set(counts) == set(LEAST) and all(counts[split] >= least for split, least in LEAST.items())
    assert all((row["output"] == "") == (row["split"] == "unlabelled") for row in rows)
    for split in ("train", "validation", "test"):
        shares = Counter(row["output"] for row in rows if row["split"] == split).values()
        assert max(shares) - min(shares) <= 1, "every label has the same share of a split"


@pytest.mark.parametrize("file", [task["file"] for task in TASKS])
def test_under_one_per_cent_of_a_sample_is_near_another_row(file: str) -> None:
    texts = [json.loads(line)["input"] for line in (ROOT / "samples" / file).read_text().splitlines()]
    assert len(set(texts)) == len(texts)
    near = sum(len(group) for group in near_duplicate_groups(texts))
    assert near < 0.01 * len(texts)


def test_the_readme_of_the_samples_tells_their_counts() -> None:
    page = (ROOT / "samples" / "README.md").read_text()
    for task in TASKS:
        counts = Counter(json.loads(line)["split"] for line in (ROOT / "samples" / task["file"]).read_text().splitlines())
        row = next(line for line in page.splitlines() if line.startswith(f"| `{task['file']}`"))
        assert [int(cell) for cell in row.split("|")[3:7]] == [counts[split] for split in ("train", "validation", "test", "unlabelled")]
        check(template_of(task | {"shots": []}), ["input"])
    assert all(first["file"] != second["file"] for first, second in pairwise(TASKS))
