"""Files as their authors publish them, imported by hand in a real browser. FETTLE_BENCH_RAW names the folder that holds them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import address, arrived, sign_up
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FOLDER = Path(os.environ.get("FETTLE_BENCH_RAW") or Path(__file__).parents[2] / ".." / "shared" / "data" / "raw")


@dataclass(frozen=True)
class Task:
    """A file, a second one that holds the test rows where there is one, and what is seen of them: rows of each split, what is said of the labels, and a
    row of train (its line, what its input begins with, its output)."""

    first: str
    test: str
    splits: dict[str, int]
    labels: str
    row: tuple[str, str, str]


# Of the test files, 7 texts of banking77 and 11 of trec stand in the first file, too: they keep the split they have there, and the 10 of trec that have the same
# label are left out.
TASKS = {
    "banking77": Task(
        "banking77/train.csv",
        "banking77/test.csv",
        {"train": 9_002, "validation": 1_008, "test": 3_073},
        "77 labels",
        ("2", "I am still waiting on my card?", "card_arrival"),
    ),
    "trec": Task(
        "trec/TREC.train.all", "trec/TREC.test.all", {"train": 4_907, "validation": 546, "test": 489}, "6 labels", ("1", "How did serfdom develop", "0")
    ),
    "sms_spam": Task(
        "sms_spam/SMSSpamCollection", "", {"train": 3_902, "validation": 558, "test": 1_114}, "2 labels", ("2", "Go until jurong point, crazy..", "ham")
    ),
    "gsm8k": Task(
        "gsm8k/test.jsonl",
        "",
        {"train": 923, "validation": 132, "test": 264},
        "The outputs are free text",
        ("1", "Janet’s ducks lay 16 eggs per day.", "Janet sells 16"),
    ),
}


def take(page: Page, path: Path, split: str) -> None:
    """Upload a file, say which split it is where it is one, and press the button once it can be pressed."""
    page.set_input_files("input[type=file]", str(path))
    button = page.locator(".upload-freeze .primary:not([aria-disabled])")
    expect(button).to_be_visible(timeout=60_000)
    if split:
        page.locator("#split").select_option(label=f"every row of this file is {split}")
        expect(page.locator("#upload")).to_contain_text(f"very {'new row' if split == 'test' else 'row of the file'} is {split}")
        expect(page.locator(".upload-what .facts").first).to_contain_text(re.compile(rf"splits\s*{split} [\d,]+\s*outputs"), timeout=60_000)
        expect(button).to_be_visible(timeout=60_000)
    button.click()


@pytest.fixture(scope="module")
def signed_in(installation: Running, page: Page) -> Page:
    sign_up(page, installation.said())
    return page


def shown(page: Page, wanted: Task) -> None:
    """The dataset's page has every row of the files in its split, every label, and a row as it stands in the file."""
    expect(page.locator(".figure dt")).to_have_text(list(wanted.splits))
    expect(page.locator(".figure dd:first-of-type")).to_have_text([f"{rows:,} rows" for rows in wanted.splits.values()])
    expect(page.locator("main")).to_contain_text(re.compile(rf"(?<!\d){wanted.labels}"))
    line, text, output = wanted.row
    row = page.locator(".examples tbody tr").filter(has_text=text)
    expect(row.locator("td")).to_have_text([line, re.compile(f"^{re.escape(text)}"), re.compile(f"^{re.escape(output)}")])


@pytest.mark.parametrize("name", TASKS)
def test_a_published_task_becomes_a_dataset_as_its_files_are(installation: Running, signed_in: Page, name: str) -> None:
    wanted = TASKS[name]
    if not (FOLDER / wanted.first).exists():
        pytest.skip(f"{wanted.first} is not in the folder that FETTLE_BENCH_RAW names")
    page = signed_in
    page.goto(f"{address(installation)}/datasets/new")
    take(page, FOLDER / wanted.first, "train" if wanted.test else "")
    arrived(page, re.compile(r"/datasets/\d+$"))
    if wanted.test:
        expect(page.locator(".figure dt")).to_have_text(["train", "validation"])
        page.goto(f"{page.url}/append")
        take(page, FOLDER / wanted.test, "test")
        arrived(page, re.compile(r"/versions$"))
        page.goto(page.url.removesuffix("/versions"))
    shown(page, wanted)
