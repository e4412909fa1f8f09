"""Files as their authors publish them, imported by hand in a real browser. FETTLE_BENCH_RAW names the folder that holds them."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import address, arrived, sign_up
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FOLDER = Path(os.environ.get("FETTLE_BENCH_RAW") or Path(__file__).parents[2] / ".." / "shared" / "data" / "raw")

FILES: dict[str, tuple[str, str]] = {
    "banking77": ("banking77/train.csv", "banking77/test.csv"),
    "trec": ("trec/TREC.train.all", "trec/TREC.test.all"),
    "sms_spam": ("sms_spam/SMSSpamCollection", ""),
    "gsm8k": ("gsm8k/test.jsonl", ""),
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


@pytest.mark.parametrize("name", FILES)
def test_a_published_task_becomes_a_dataset_as_its_files_are(installation: Running, signed_in: Page, name: str) -> None:
    first, test = FILES[name]
    if not (FOLDER / first).exists():
        pytest.skip(f"{first} is not in the folder that FETTLE_BENCH_RAW names")
    page = signed_in
    page.goto(f"{address(installation)}/datasets/new")
    take(page, FOLDER / first, "train" if test else "")
    arrived(page, re.compile(r"/datasets/\d+$"))
    splits = page.locator(".figure dt")
    expect(splits.first).to_have_text("train")
    if not test:
        expect(splits).to_have_text(["train", "validation", "test"])
        return
    expect(splits).to_have_text(["train", "validation"])
    page.goto(f"{page.url}/append")
    take(page, FOLDER / test, "test")
    arrived(page, re.compile(r"/versions$"))
    page.goto(page.url.removesuffix("/versions"))
    expect(splits).to_have_text(["train", "validation", "test"])
