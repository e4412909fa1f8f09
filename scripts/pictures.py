"""The pictures of README.md and docs/, from a running installation: `python -m scripts.pictures LINK [--compare ID] [NAME ...]`.

LINK is the one-time link that `fettle up` prints. Real pages of real data: the questions of banking77 as a CSV file (FETTLE_BENCH_DATA), the sample
tasks, the starter model's answers; `--compare` is the number of a comparison that has ended. Without names all of them are taken.
"""

import argparse
import csv
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from bench.data import records

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZE = {"width": 1280, "height": 900}
LABELLED, UNLABELLED = 3_000, 40
INTENTS = ("account", "advice", "billing", "cancel", "delivery", "fault", "feedback", "returns")
WAIT_MS = 60_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("link")
    parser.add_argument("--compare", type=int, metavar="ID")
    parser.add_argument("--name", default="Ada", help="who signs in; a name that is not taken yet")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}")
    chosen = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE, color_scheme="light", reduced_motion="reduce").new_page()
        page.set_default_timeout(WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        sign_in(page, chosen.link, chosen.name)
        studio = Studio(page, chosen.link.split("/welcome/")[0], Path(folder), chosen.compare)
        for name in chosen.names or PICTURES:
            PICTURES[name](studio)
        browser.close()


def sign_in(page: Page, link: str, name: str) -> None:
    page.goto(link)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill("three quiet words")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


class Studio:
    """One page of a browser that is signed in, and where it goes."""

    def __init__(self, page: Page, base: str, folder: Path, compare: int | None) -> None:
        self.page, self._base, self._folder, self._compare = page, base, folder, compare

    def open(self, path: str) -> None:
        self.page.goto(f"{self._base}{path}")

    def shoot(self, name: str) -> None:
        self.page.mouse.move(0, 0)
        self.page.screenshot(path=IMAGES / f"{name}.png")

    def data(self) -> None:
        """A file on its way in, its label book, and its rows without a label."""
        page = self.page
        self.open("/datasets/new")
        page.locator("input[type=file]").set_input_files(self._support())
        expect(page.locator("#progress")).to_contain_text("Read to the end")
        self.shoot("data-import")
        page.get_by_role("button", name="Freeze version 1").click()
        expect(page.locator(".label-links a").first).to_be_visible()
        dataset = page.url.rpartition("/")[2].split("#")[0]
        self.open(f"/datasets/{dataset}/labels")
        expect(page.locator("#rows tr").first).to_be_visible()
        self.shoot("data-label-book")
        self.open(f"/datasets/{dataset}/queue")
        expect(page.locator(".choice").first).to_be_visible()
        self.shoot("data-queue")

    def _support(self) -> Path:
        file = self._folder / "support.csv"
        every = [(values["input"], answer.replace(" ", "_")) for values, answer in records("banking77", "train")]
        rows = random.Random(0).sample(every, LABELLED + UNLABELLED)  # noqa: S311 which questions is no secret
        with file.open("w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["text", "category"])
            writer.writerows(rows[:LABELLED])
            writer.writerows((text, "") for text, _ in rows[LABELLED:])
        return file

    def lab(self) -> None:
        """Two columns over a row of a sample task, one of them held to its labels."""
        page = self.page
        self.open("/lab?new=1")
        page.get_by_label("Instruction").fill("What does the customer want? Answer with one of: {labels}.")
        page.locator("#dataset").select_option(label="Support desk v1")
        page.locator("[name=shots][value=n]").click(force=True)
        expect(page.locator("#shots > *")).to_have_count(4)
        page.locator("#add-column").click()
        second = page.locator("[data-column]").nth(1)
        second.locator("summary").first.click()
        second.locator("[data-parameter=choices]").fill("\n".join(INTENTS))
        second.locator("summary").first.click()
        page.keyboard.press("Control+Shift+Enter")
        for column in range(2):
            expect(page.locator("[data-column]").nth(column).locator("[data-part=counts]").first).to_contain_text("tokens read")
        self.shoot("lab")

    def compare(self) -> None:
        """A comparison with its verdict; the runs behind it take half an hour on two cores."""
        if self._compare is None:
            raise SystemExit("Say which comparison: --compare ID.")
        self.open(f"/experiments/{self._compare}")
        self.shoot("compare-desk")


PICTURES: dict[str, Callable[[Studio], None]] = {"data": Studio.data, "lab": Studio.lab, "compare": Studio.compare}


if __name__ == "__main__":
    main()
