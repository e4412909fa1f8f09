"""What the browser tests do again and again."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.house.rules import ROOT
from tests.installation import Running, free_port, start

PASSWORD = "three quiet words"

SEEN = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
    return box.width > 0 && box.bottom > 0 && box.top < innerHeight && (style.outlineStyle !== "none" || style.boxShadow !== "none");
}"""
"""Whether what has the keyboard is in the window, and marked as having it."""


@contextmanager
def installed(models: Path, *places: str, itself: bool = False) -> Iterator[Running]:
    """`fettle up` on an empty data folder that has these models, allowed to ask endpoints at these places, and at its own."""
    with tempfile.TemporaryDirectory(prefix="fettle-browser-") as name:
        folder, port = Path(name), free_port()
        (folder / "data").mkdir()
        (folder / "data" / "models").symlink_to(models)
        allowed = [*places, *([f"127.0.0.1:{port}"] if itself else [])]
        found = start(folder, port, {"FETTLE_ALLOWED_ENDPOINTS": json.dumps(allowed)} if allowed else None)
        yield found
        found.process.terminate()
        found.process.wait(20)


def lab(installation: Running, page: Page, query: str = "?new=1") -> None:
    page.goto(f"{address(installation)}/lab{query}")
    expect(page.locator("#lab:not([inert])")).to_be_attached()  # keys are taken once the draft stands


def address(installation: Running) -> str:
    return f"http://127.0.0.1:{installation.environment['FETTLE_PORT']}"


def no_violations(page: Page) -> None:
    """Accessibility, in both themes."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    page.emulate_media(color_scheme="light")


def command(installation: Running, *words: str) -> str:
    """A `fettle` command beside the running installation."""
    done = subprocess.run([sys.executable, "-m", "app.cli", *words], cwd=ROOT, env=installation.environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def sign_up(page: Page, said: str, name: str = "Ada") -> None:
    """Make an account with the link in what a command said."""
    link = re.search(r"http://\S+/welcome/\S+", said)
    assert link is not None, said
    page.goto(link[0])
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


def arrived(page: Page, address: re.Pattern[str] | str) -> None:
    """Wait for another page, and until its scripts run: what a click does before that is nothing."""
    expect(page).to_have_url(address)
    page.wait_for_load_state("load")


def until(page: Page, there: Callable[[], bool]) -> None:
    """Wait for something that is no part of a page."""
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end, "it did not come in 30 s"
        page.wait_for_timeout(20)


def draft_kept(page: Page) -> None:
    """Wait until the server has the Lab's draft as it stands."""
    page.wait_for_function("""() => Object.entries(sessionStorage).some(([name, value]) => name.includes("lab-draft-at") && !JSON.parse(value).dirty)""")


def tab_to(page: Page, selector: str, *, back: bool = False) -> None:
    """Press Tab, or Shift and Tab, until the element has the focus, as somebody without a mouse does."""
    for _ in range(60):
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    pytest.fail(f"60 times Tab did not lead to {selector}")


def press(page: Page, selector: str, key: str = "Enter") -> None:
    """Tab to an element and press a key there."""
    tab_to(page, selector)
    page.keyboard.press(key)


def write(page: Page, selector: str, text: str) -> None:
    """Tab to a field and type into it, in place of what it says."""
    tab_to(page, selector)
    assert page.evaluate(SEEN), f"nobody sees that {selector} has the keyboard"
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def column(page: Page, letter: str) -> Locator:
    return page.get_by_role("region", name=f"Column {letter}", exact=True)


def part(where: Locator | Page, name: str) -> Locator:
    return where.locator(f"[data-part={name}]")


def settled(page: Page) -> None:
    expect(page.get_by_role("button", name="Stop", exact=False).first).to_be_hidden(timeout=120_000)
    expect(page.locator("[data-running]")).to_have_count(0)


def menu(page: Page, letter: str, choice: str) -> None:
    """Choose from a column's menu with the keyboard."""
    column(page, letter).get_by_role("button", name="More for this column").focus()
    page.keyboard.press("Enter")
    item = page.locator(".column-menu:popover-open").get_by_role("button", name=choice)
    expect(item).to_be_visible()
    for _ in range(5):
        page.keyboard.press("Tab")
        if item.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")


def set_parameter(where: Locator, **values: str) -> None:
    drawer = part(where, "parameters")
    drawer.locator("summary").click()
    for name, value in values.items():
        drawer.locator(f"[data-parameter={name}]").fill(value)
    drawer.locator("summary").click()
