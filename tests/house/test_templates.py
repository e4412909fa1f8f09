"""Templates and the strict content security policy: nothing inline, nothing that htmx would have to evaluate."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
STATIC = ROOT / "static"

FORBIDDEN = {
    "a style attribute": r"<[^>]*\sstyle\s*=",
    "a style element": r"<style\b",
    "an inline script": r"<script(?![^>]*\bsrc=)(?![^>]*application/json)",
    "an inline handler": r"<[^>]*\s(?:on\w+|hx-on[:\w-]*)\s*=",
    "evaluated values": r"hx-(?:vals|headers|confirm)[:\w]*\s*=\s*['\"]js:",
    "a trigger filter": r"hx-trigger[:\w]*\s*=\s*['\"][^'\"]*\w\[",
    "another origin": r"(?:src|action)\s*=\s*['\"](?:https?:)?//",
    "unescaped text": r"\|\s*safe\b",
}


def without_comments(path: Path) -> str:
    return re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_template_keeps_the_policy(path: Path) -> None:
    text = without_comments(path)
    allowed = {"unescaped text"} if path.name == "_icons.html" else set()
    assert [what for what, pattern in FORBIDDEN.items() if what not in allowed and re.search(pattern, text)] == []
    assert len(path.read_text().splitlines()) <= 120


def test_forbidden_patterns_find_what_they_forbid() -> None:
    bad = ['<p style="x">', "<style>", "<script>", '<a onclick="x">', "hx-vals='js:{}'", "hx-trigger=\"keyup[key=='a']\"", 'src="//evil"', "{{ x | safe }}"]
    assert all(re.search(pattern, text) for pattern, text in zip(FORBIDDEN.values(), bad, strict=True))


def test_every_named_static_file_is_there() -> None:
    texts = [without_comments(path) for path in TEMPLATES]
    named = {name for text in texts for name in re.findall(r'"/static/([^"{]+)"', text)}
    imported = {f"js/{name}" for path in (STATIC / "js").glob("*.js") for name in re.findall(r'(?:from|import) "\./([\w.]+)"', path.read_text())}
    assert sorted(name for name in named | imported if not (STATIC / name).is_file()) == []


IMPORT = re.compile(r'\{%-?\s*from\s+"[^"]+"\s+import\s+([\w, ]+?)\s*-?%\}')
MACRO = re.compile(r"\{%-?\s*macro (\w+)\(")
MACROS = {name for path in TEMPLATES for name in MACRO.findall(path.read_text())}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_template_imports_the_macros_it_calls_and_no_other(path: Path) -> None:
    text = without_comments(path)
    imported = {name.strip() for names in IMPORT.findall(text) for name in names.split(",")}
    called = set(re.findall(r"(?<![\w.])(\w+)\(", IMPORT.sub("", text))) & MACROS
    assert called - set(MACRO.findall(text)) == imported
