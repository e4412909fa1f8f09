"""Runs the checks by name, one after the other, and says what each took: `verify.py lint types tests`. Stops at the first that fails."""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
"""A process a core, each with a PostgreSQL, a broker and models of its own: more than four would want much memory. Files go out as tests/conftest.py
orders them, the slow ones first; xdist would begin with those of the most tests, and end with a browser's."""

PARTS: dict[str, list[list[str]]] = {
    "lint": [["ruff", "check", "--quiet", "."]],
    "format": [["ruff", "format", "--check", "--quiet", "."]],
    "types": [["mypy"]],
    "contracts": [["lint-imports"]],
    "house": [["pytest", "-q", "tests/house"]],
    "tests": [["pytest", "-q", "-m", "not long", *SIDE_BY_SIDE]],
    "faults": [["pytest", "-q", "-rs", "-m", "faults", "--generator-seconds", "600", *SIDE_BY_SIDE]],
    "security": [["pytest", "-q", "-m", "security"]],
    "bench": [["python", "-m", f"bench.{name}"] for name in ("gpu", "published", "tune", "upload")],
}


FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
MOST_AGAIN = 4
"""Files that are run a second time, each alone: real processes and a real browser wait so many seconds for each other, and a machine on which several
test files run at once can be late. More than a few are no accident. Both outcomes are printed (docs/decisions/0029)."""

BY_CHANCE = "tests/faults/test_generated.py"
"""What it finds under one seed it may not find under the next: a second run would hide it."""


def run(name: str) -> bool:
    """One part, with its output as it comes. True when it passed."""
    print(f"── {name}", flush=True)
    began = time.monotonic()
    if name == "tests":
        FAILED.unlink(missing_ok=True)  # what an earlier run left is not this one's
    codes = [call(words) for words in PARTS[name]]
    passed = not any(codes) or (codes == [1] and name == "tests" and pass_alone())
    print(f"── {name} {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.1f} s\n", flush=True)
    return passed


def call(words: list[str]) -> int:
    return subprocess.run([str(BIN / words[0]), *words[1:]], cwd=ROOT, check=False).returncode


def pass_alone() -> bool:
    """Whether the few files that failed beside others pass by themselves."""
    files = sorted({test.partition("::")[0] for test in json.loads(FAILED.read_text())}) if FAILED.exists() else []
    if not 0 < len(files) <= MOST_AGAIN or BY_CHANCE in files:
        return False
    print(f"── once more, alone: {', '.join(files)}", flush=True)
    return all(call(["pytest", "-q", "-m", "not long", file]) == 0 for file in files)


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in PARTS]
    if unknown:
        sys.exit(f"There is no check named {unknown[0]}; there are: {', '.join(PARTS)}.")
    sys.exit(0 if all(run(name) for name in sys.argv[1:]) else 1)
