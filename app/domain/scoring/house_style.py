"""House style as data: checks that an answer passes or fails whatever the gold answer says. Pass rates, not opinions.

Reading grade and names look at English; the other checks know no language.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.scoring.reading import matches, normalise, numbers_in, pattern_problem

Kind = Literal["length", "headings", "contains", "lacks", "regex", "not_regex", "reading_grade", "no_invented_numbers", "no_invented_names"]
KINDS: Mapping[str, str] = {
    "length": "length",
    "headings": "has the headings",
    "contains": "contains",
    "lacks": "does not contain",
    "regex": "matches the pattern",
    "not_regex": "does not match the pattern",
    "reading_grade": "reading grade at most",
    "no_invented_numbers": "no invented numbers",
    "no_invented_names": "no invented names",
}
"""Every kind of check, as a page names it."""

UNITS: Mapping[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "characters": len,
    "sentences": lambda text: len(sentences(text)),
    "lines": lambda text: len([line for line in text.splitlines() if line.strip()]),
}

_MARKER = re.compile(r"\s*(?:[*_>-]+ ?)?\(?(\d{1,3})[.)][*_]*\s")
_GENITIVE = re.compile(r"['\u2019]s\b")

Text = Annotated[str, Field(min_length=1, max_length=500)]


class Check(BaseModel):
    """One check. Which fields count depends on the kind: `texts` for headings, contains and lacks; `pattern` for the two regex kinds; `least`, `most` and
    `unit` for length; `most` for the reading grade."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    name: str = Field("", max_length=80, description="What the column is called; made from the rest when empty.")
    texts: list[Text] = Field([], max_length=50, description="What must all stand there (contains, headings), or none of it (lacks). Case does not count.")
    pattern: str = Field("", max_length=1000, description="A regular expression, looked for anywhere; ^ and $ are ends of lines.")
    least: float | None = Field(None, ge=0)
    most: float | None = Field(None, ge=0)
    unit: Literal["words", "characters", "sentences", "lines"] = "words"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        problem = _MISSING[self.kind](self) if self.kind in _MISSING else ""
        if problem:
            raise ValueError(problem)
        return self

    @property
    def title(self) -> str:
        """The name, or what the check says in a few words."""
        return self.name or f"{KINDS[self.kind]} {self._detail()}".strip()

    def _detail(self) -> str:
        if self.kind == "length":
            low, high = (None if end is None else f"{end:g}" for end in (self.least, self.most))
            return f"{low} to {high} {self.unit}" if low and high else f"at least {low} {self.unit}" if low else f"at most {high} {self.unit}"
        if self.kind == "reading_grade":
            return f"{self.most:g}"
        return self.pattern or ", ".join(f"\u201c{text}\u201d" for text in self.texts)


_MISSING: Mapping[str, Callable[[Check], str]] = {
    "length": lambda check: "a length needs least or most" if check.least is None and check.most is None else "",
    "headings": lambda check: "" if check.texts else "say which headings",
    "contains": lambda check: "" if check.texts else "say what it must contain",
    "lacks": lambda check: "" if check.texts else "say what it must not contain",
    "regex": lambda check: pattern_problem(check.pattern) if check.pattern else "say which pattern",
    "not_regex": lambda check: pattern_problem(check.pattern) if check.pattern else "say which pattern",
    "reading_grade": lambda check: "" if check.most is not None else "say the highest grade (most)",
}


def passes(check: Check, text: str, source: str) -> bool:
    """Whether a text keeps to a check. `source` is what the model was told: what stands there is not invented."""
    return _WAYS[check.kind](check, text, source)


def titles(checks: Sequence[Check]) -> list[str]:
    """What each check's column is called; two of one name are numbered."""
    found: list[str] = []
    for check in checks:
        same = sum(1 for other in found if other == check.title or other.startswith(f"{check.title} ("))
        found.append(f"{check.title} ({same + 1})" if same else check.title)
    return found


def _length(check: Check, text: str, source: str) -> bool:
    del source
    size = UNITS[check.unit](text.strip())
    return (check.least is None or size >= check.least) and (check.most is None or size <= check.most)


def _headings(check: Check, text: str, source: str) -> bool:
    """A heading is a line of its own: as Markdown writes it, or the bare words, with or without a colon, bold or not."""
    del source
    lines = {normalise(re.sub(r"^[#\s*_]+|[*_:\s#]+$", "", line), casefold=True) for line in text.splitlines()}
    return all(normalise(heading.strip("# :*"), casefold=True) in lines for heading in check.texts)


def _contains(check: Check, text: str, source: str) -> bool:
    del source
    folded = normalise(text, casefold=True)
    return all(normalise(part, casefold=True) in folded for part in check.texts)


def _lacks(check: Check, text: str, source: str) -> bool:
    del source
    folded = normalise(text, casefold=True)
    return not any(normalise(part, casefold=True) in folded for part in check.texts)


def _grade(check: Check, text: str, source: str) -> bool:
    del source
    return reading_grade(text) <= (check.most or 0.0)


def _numbers(check: Check, text: str, source: str) -> bool:
    del check
    return set(numbers_in(unlisted(text))) <= set(numbers_in(source))


def unlisted(text: str) -> str:
    """A text without the markers of its lists (1. 2. 3., or with brackets), which count its lines and say nothing. Only a number that goes on from the
    line before it is one: a sentence that wraps may begin a line with any other."""
    lines, last = [], 0
    for line in text.splitlines():
        marker = _MARKER.match(line)
        goes_on = marker is not None and int(marker[1]) in (1, last + 1)
        lines.append(line[marker.end() :] if marker and goes_on else line)
        last = int(marker[1]) if marker and goes_on else last
    return "\n".join(lines)


def _names(check: Check, text: str, source: str) -> bool:
    """Names are looked for part by part, as words of the source are: O'Brien and Jean-Luc stand there where both of their parts do."""
    del check
    known = {word.casefold() for word in re.findall(r"\w+", source)}
    return all(word.casefold() in known for name in names(text) for word in re.findall(r"\w+", _GENITIVE.sub("", name)))


def reading_grade(text: str) -> float:
    """The school year (US) that reads a text with ease (Kincaid et al. 1975, Flesch-Kincaid grade level); 0 without words."""
    words = re.findall(r"[A-Za-z\u00c0-\u024f']+", text)
    if not words:
        return 0.0
    return 0.39 * len(words) / max(1, len(sentences(text))) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def syllables(word: str) -> int:
    """Syllables of an English word, by its groups of vowels: a silent e at the end does not count, an le after a consonant does."""
    word = word.lower().strip("'")
    groups = len(re.findall(r"[aeiouy\u00e0-\u00ff]+", word))
    if re.search(r"[^aeiouy](?:e|es|ed)$", word) and not re.search(r"(?:[^aeiouy]les?|[td]ed|[sxz]es|[cs]hes|[cg]es)$", word):
        groups -= 1
    return max(1, groups)


def sentences(text: str) -> list[str]:
    """What ends with a full stop, an exclamation or question mark, or a blank line; a decimal point ends nothing."""
    return [part for part in re.split(r"(?<=[.!?])[\"'\u201d)]*\s+|\n\s*\n", text.strip()) if re.search(r"\w", part)]


def names(text: str) -> list[str]:
    """Runs of capitalised words that do not begin a sentence: names of people, places and things, as English writes them."""
    found = []
    for sentence in sentences(text):
        for match in re.finditer(r"(?<=[\w,;:)\"'\u201d] )[A-Z][\w'\u2019-]+(?: [A-Z][\w'\u2019-]+)*", sentence):
            name = re.sub(r"['\u2019]s?$", "", match[0])
            if name.replace("\u2019", "'") not in ("I", "I'm", "I'll", "I've", "I'd"):
                found.append(name)
    return found


_WAYS: Mapping[str, Callable[[Check, str, str], bool]] = {
    "length": _length,
    "headings": _headings,
    "contains": _contains,
    "lacks": _lacks,
    "regex": lambda check, text, _: matches(check.pattern, text),
    "not_regex": lambda check, text, _: not matches(check.pattern, text),
    "reading_grade": _grade,
    "no_invented_numbers": _numbers,
    "no_invented_names": _names,
}
