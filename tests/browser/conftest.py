"""A whole installation with the starter model, and a real Chromium in front of it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.steps import installed
from tests.house.rules import ROOT
from tests.installation import Running, environment, free_port

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


@pytest.fixture(scope="session")
def starter_models() -> Path:
    """The folder with the converted starter model, kept between test runs because making it takes a minute."""
    folder = ROOT / ".state" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    given = environment(folder, free_port()) | {"FETTLE_DATA": str(folder)}
    given.pop("PIP_NO_INDEX")
    given.pop("PIP_CONFIG_FILE")
    with (folder / "lock").open("w") as lock:
        flock(lock, LOCK_EX)  # whoever tests beside us waits for the one model
        made = any((folder / "models").glob("*/config.json"))
        for command in () if made else (["app.cli", "migrate"], ["app.cli", "models", "starter"]):
            done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=given, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"The browser tests need the starter model, and it could not be made: {done.stdout[-500:]}{done.stderr[-500:]}", pytrace=False)
    return folder / "models"


@pytest.fixture(scope="module")
def installation(starter_models: Path) -> Iterator[Running]:
    """`fettle up` on an empty data folder that has the starter model."""
    with installed(starter_models) as found:
        yield found


@pytest.fixture(scope="module")  # not the session: Playwright's event loop would stay in the way of every later test's own
def chromium() -> Iterator[Browser]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("The browser tests need Chromium: run `make test`, which installs it where it can.", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def page(context: BrowserContext) -> Iterator[Page]:
    """One tab."""
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    page.close()


@pytest.fixture
def clean_console(request: pytest.FixtureRequest, complaints: list[str]) -> Iterator[None]:
    """Nothing may stand in the console of any tab but the browser's own line about a refusal or a dead line that the module's tests provoke: its PROVOKED."""
    complaints.clear()
    yield
    provoked = getattr(request.module, "PROVOKED", None)
    assert [said for said in complaints if provoked is None or not provoked.search(said)] == []


@pytest.fixture(scope="module")
def complaints(context: BrowserContext) -> list[str]:
    """What the tabs have complained about since a test first asked for this, each with the address it is about; it should be nothing."""
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said.append(f"{message.text} at {urlsplit(message.location['url']).path}")

    context.on("console", note)
    context.on("weberror", lambda error: said.append(str(error.error)))
    return said
