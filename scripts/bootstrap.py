"""Brings `.venv` to what a command needs: `bootstrap.py run | dev | test`. Standard library only: it runs before anything is installed.

Each finished step leaves a stamp in `.state/`, named after a hash of what it depends on, so a second call takes no time.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".state"
PYTHON = ROOT / ".venv" / "bin" / "python"
LOG = STATE / "bootstrap.log"
TORCH = "torch==2.13.0"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-liberation")
OFFLINE = ("NewConnectionError", "Failed to establish", "name resolution", "No matching distribution", "Max retries exceeded", "Network is unreachable")


class Stop(Exception):
    """It does not go on; the text says why and what to do."""


def step(title: str, work: Callable[[], None], *depends_on: str) -> None:
    """Do something once for a state of what it depends on, and say so with the time it took."""
    key = hashlib.sha256("\n".join(depends_on).encode()).hexdigest()[:16]
    name = title.split(" (", maxsplit=1)[0].lower().replace(" ", "-")
    stamp = STATE / f"{name}.{key}"
    if stamp.exists():
        return
    began, done = time.monotonic(), threading.Event()
    clock = threading.Thread(target=tick, args=(title, began, done))
    clock.start()
    try:
        work()
    finally:
        done.set()
        clock.join()
    for old in STATE.glob(f"{name}.*"):
        old.unlink()
    stamp.touch()
    print(f"  ✓ {title:<52} {time.monotonic() - began:5.1f} s", flush=True)


def tick(title: str, began: float, done: threading.Event) -> None:
    """Show on a terminal that something goes on, second by second; in a log, once that it began."""
    if not sys.stdout.isatty():
        print(f"  … {title}", flush=True)
        return
    while True:
        print(f"  … {title:<52} {time.monotonic() - began:5.0f} s", end="\r", flush=True)
        if done.wait(1):
            return


def command(words: Sequence[str | Path], advice: str) -> None:
    """Run a command with its output in the log. Raises Stop with the reason when it fails."""
    with LOG.open("w") as log:
        done = subprocess.run([str(word) for word in words], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        return
    text = LOG.read_text(errors="replace")
    if any(sign in text for sign in OFFLINE):
        advice = "The package index cannot be reached, or lacks a package for this machine. Connect to the network and try again; what is done stays done."
    raise Stop(f"{Path(str(words[0])).name} failed.\n{advice}\nThe end of {LOG.relative_to(ROOT)}:\n" + "\n".join(text.splitlines()[-6:]))


def pip(*words: str | Path) -> None:
    command(
        [PYTHON, "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", *words],
        "Read the lines below; `rm -rf .venv .state` starts over.",
    )


def environment() -> None:
    """The virtual environment, with the Python that runs this. A broken or older one is replaced."""
    usable = (
        PYTHON.exists()
        and subprocess.run([PYTHON, "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"], capture_output=True, check=False).returncode == 0
    )
    if usable and any(STATE.glob("python.*")):
        return
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir()
    advice = "On Debian and Ubuntu the module is a package of its own: apt-get install python3-venv."
    step(f"Python ({platform.python_version()})", lambda: command([sys.executable, "-m", "venv", "--clear", ROOT / ".venv"], advice))


def packages(lock: str) -> None:
    """torch first (its build depends on the machine: TORCH_INDEX may name an index), then the lock, then Fettle itself."""
    index = os.environ.get("TORCH_INDEX", "")
    step(f"PyTorch ({TORCH}, some hundred MB)", lambda: pip(TORCH, *(["--index-url", index] if index else [])), TORCH, index)
    step(f"Packages of {lock}", lambda: pip("--no-deps", "--require-hashes", "--requirement", lock), (ROOT / lock).read_text())
    project = (ROOT / "pyproject.toml").read_text()
    step("The fettle command", lambda: pip("--no-deps", "--no-build-isolation", "--editable", "."), project)


def browser() -> None:
    """Chromium, for the tests that look at pages. Installed where that needs no question; otherwise told."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    advice = "Install Chromium so that `chromium` is on your PATH, then run `make test` again."
    rights = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if sys.platform != "linux" or not shutil.which("apt-get") or (rights and not shutil.which("sudo")):
        raise Stop(f"The browser tests need Chromium, and this system gives no way to install it from here.\n{advice}")

    def install() -> None:
        command([*rights, "apt-get", "update"], advice)
        command([*rights, "apt-get", "install", "--yes", "--no-install-recommends", *BROWSER_PACKAGES], advice)

    step("Chromium (through apt-get)", install)


def main(purpose: str) -> None:
    STATE.mkdir(exist_ok=True)
    environment()
    packages("requirements.lock" if purpose == "run" else "requirements-dev.lock")
    if purpose == "test":
        browser()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Stop as error:
        sys.exit(f"  ✗ {error}")
    except KeyboardInterrupt:
        sys.exit("\n  Stopped. What is done stays done.")
