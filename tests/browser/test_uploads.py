"""Files looked at in a real browser before anything is made of them: a ZIP whose files are splits, and more rows for a dataset. In this order."""

import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import address, no_violations, sign_up
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LABELS = ("rückfrage", "kündigung", "lob")


def letters(rows: int, start: int, delimiter: str, labels: tuple[str, ...] = LABELS) -> str:
    lines = [f"Schöne Grüße, Brief {number}{delimiter}{labels[number % len(labels)]}" for number in range(start, start + rows)]
    return "\n".join([f"brief{delimiter}art", *lines]) + "\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uploads") / "briefe.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number, (name, rows) in enumerate((("train", 120), ("dev", 30), ("test", 60))):
            packed.writestr(f"{name}.csv", letters(rows, 1_000 * number, ",").replace("Grüße, Brief", "Grüße Brief"))
        packed.writestr("LIESMICH.txt", "Briefe der Kundschaft.\n")
    return path


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uploads") / "woche.csv"
    path.write_bytes(letters(40, 5_000, ";", (*LABELS, "Lob", "umzug")).encode("latin-1"))
    return path


def fits(page: Page) -> None:
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{page.url} is {wider} px wider than its window of {width}"


def test_files_of_an_archive_become_the_splits_they_are_called_like(installation: Running, page: Page, complaints: list[str], archive: Path) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(archive))
    expect(page.locator(".problems")).to_contain_text("several tables", timeout=60_000)
    page.get_by_role("button", name="Read each file as a split").click()
    expect(page.locator(".upload-members select")).to_have_count(3)
    expect(page.locator(".problems")).to_contain_text("No column is named input")
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    page.get_by_label("brief", exact=True).check()
    expect(page.locator(".upload-preview thead")).to_contain_text("brief input")
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    page.get_by_label("Output").select_option("art")
    expect(page.locator(".upload-preview thead")).to_contain_text("art output")
    expect(page.locator(".upload-preview .member")).to_have_text(["train.csv train", "dev.csv validation", "test.csv test"])
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    page.get_by_label("dev.csv").select_option("test")
    expect(page.locator("#upload")).to_contain_text("A test split of 90 rows")
    page.get_by_label("dev.csv").select_option("validation")
    expect(page.locator("#upload")).to_contain_text("A test split of 60 rows")
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    no_violations(page)
    fits(page)
    page.get_by_role("button", name="Freeze version 1").click()
    expect(page.get_by_role("heading", name="briefe")).to_be_visible(timeout=60_000)
    expect(page.locator(".figure").nth(2)).to_contain_text("60")
    assert complaints == []


def test_rows_are_appended_after_a_look_at_how_they_are_read(installation: Running, page: Page, complaints: list[str], later: Path) -> None:
    page.get_by_role("link", name="All versions").click()
    page.get_by_role("link", name="Append rows").click()
    page.set_input_files("input[type=file]", str(later))
    expect(page.locator("#encoding option:checked")).to_have_text("CP1252 (found)", timeout=60_000)
    expect(page.locator("#delimiter option:checked")).to_have_text("semicolon (found)")
    expect(page.locator(".upload-preview thead")).to_contain_text("brief input")
    expect(page.locator(".upload-preview tbody td").nth(1)).to_have_text("Schöne Grüße, Brief 5000")
    page.get_by_label("Encoding").select_option("cp1251")
    expect(page.locator(".upload-preview tbody td").nth(1)).to_contain_text("Schцne")
    page.get_by_label("Encoding").select_option("latin-1")
    expect(page.locator(".upload-preview tbody td").nth(1)).to_have_text("Schöne Grüße, Brief 5000")
    expect(page.locator("#new-labels")).to_contain_text("2 labels are new: Lob 8, umzug 8.")
    expect(page.locator("#new-labels")).to_contain_text("“Lob” looks like “lob”")
    expect(page.locator("#beside")).to_contain_text("40 new")
    page.get_by_label("What is new in it").fill("Briefe der Woche")
    no_violations(page)
    fits(page)
    expect(page.get_by_role("button", name="Append as version 2")).to_be_enabled(timeout=60_000)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Versions")).to_be_visible(timeout=60_000)
    expect(page.locator("tbody tr").first).to_contain_text("Appended 40 rows of woche.csv Briefe der Woche")
    assert complaints == []
