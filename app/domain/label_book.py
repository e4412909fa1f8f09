"""The label book of a dataset version: what the file calls each label, and what a model reads and writes for it.

Pure. A label's key is what stands in the rows (`T-443`, `0`); its display text is what prompts, shots, training and scores use.
Outputs that are free text have no book: `LabelBook()` leaves every output as it is.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from app.domain.rendering import LABELS, label_list
from app.domain.scoring import extract, normalise
from app.errors import Invalid

MOST_LABELS = 1000
LONGEST_TEXT, LONGEST_DESCRIPTION, MOST_ALIASES = 200, 2000, 20


@dataclass(frozen=True)
class Label:
    """One label. `parent` is another label's key; `none` marks the label for "none of these"; `added` one that a person put in by hand.

    A retired label is not offered to a model, and rows that have it are neither trained on nor scored.
    """

    key: str
    display: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    parent: str | None = None
    retired: bool = False
    none: bool = False
    added: bool = False
    count: int = 0

    @property
    def plain(self) -> bool:
        """Nobody has written anything about it: it is in the book because rows have it."""
        return self == Label(self.key, self.key, count=self.count)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "aliases": list(self.aliases)}


NAMES = tuple(one.name for one in fields(Label))


def label_of(entry: Mapping[str, Any]) -> Label:
    """A label from its JSON; what is not said has its usual value."""
    given = {name: entry[name] for name in NAMES if name in entry}
    return Label(**{**given, "display": entry.get("display") or entry["key"], "aliases": tuple(entry.get("aliases") or ())})


@dataclass(frozen=True)
class LabelBook:
    """The labels of a version, in the order of their keys."""

    labels: tuple[Label, ...] = field(default=())

    @staticmethod
    def of(entries: Iterable[Mapping[str, Any]]) -> "LabelBook":
        return LabelBook(tuple(label_of(entry) for entry in entries))

    @staticmethod
    def of_texts(texts: Iterable[str], aliases: Mapping[str, Sequence[str]] | None = None) -> "LabelBook":
        """A book as training knows one: the display texts alone, and what else counts as each."""
        return LabelBook(tuple(Label(text, text, aliases=tuple((aliases or {}).get(text, ()))) for text in texts))

    def as_json(self) -> list[dict[str, Any]]:
        return [label.as_json() for label in self.labels]

    def __bool__(self) -> bool:
        return bool(self.labels)

    @cached_property
    def _by_key(self) -> dict[str, Label]:
        return {label.key: label for label in self.labels}

    def get(self, key: str) -> Label | None:
        return self._by_key.get(key)

    @property
    def retired(self) -> list[str]:
        """The keys whose rows are neither trained on nor scored."""
        return [label.key for label in self.labels if label.retired]

    @cached_property
    def offered(self) -> tuple[Label, ...]:
        """The labels a model may choose from; the one for none of these stands last."""
        return tuple(sorted((label for label in self.labels if not label.retired), key=lambda label: label.none))

    def texts(self) -> list[str]:
        """The display texts a model may choose from."""
        return [label.display for label in self.offered]

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Other spellings that count as a display text, by that."""
        return {label.display: label.aliases for label in self.offered if label.aliases}

    def text_of(self, output: str) -> str:
        """What a model reads and writes for an output of a row. Free text stays as it is."""
        label = self._by_key.get(output)
        return label.display if label else output

    def key_of(self, text: str) -> str | None:
        """The key of an offered label by its display text."""
        return next((label.key for label in self.offered if label.display == text), None)

    def rendered(self, only: Collection[str] | None = None) -> str:
        """What `{labels}` puts into a prompt: every label offered, or `only` those of these display texts."""
        return label_list((label.display, label.description) for label in self.offered if only is None or label.display in only)

    def narrowed(self, values: Mapping[str, str], only: Collection[str]) -> dict[str, str]:
        """The values of a row's prompt with `{labels}` naming `only` these; a column of that name is the row's own and stays."""
        return {**values, LABELS: self.rendered(set(only))} if values.get(LABELS) == self.rendered() else dict(values)

    @cached_property
    def _read(self) -> Sequence[tuple[Callable[[str], str], dict[str, set[str]]]]:
        """Ways of spelling, the strictest first, each with what it makes of all names: the display texts they may mean."""
        ways: list[Callable[[str], str]] = [str, normalise, lambda text: normalise(text, casefold=True)]
        found: list[tuple[Callable[[str], str], dict[str, set[str]]]] = []
        for way in ways:
            names: dict[str, set[str]] = {}
            for label in self.offered:
                for name in (label.display, *label.aliases):
                    names.setdefault(way(name), set()).add(label.display)
            found.append((way, names))
        return found

    def read(self, answer: str) -> str | None:
        """The display text of the label that an answer spells, by its display text or an alias; None when it spells none, or several.

        White space and case do not count where that leaves one label only.
        """
        for way, names in self._read:
            meant = names.get(way(answer), set())
            if len(meant) == 1:
                return next(iter(meant))
        return None

    def answer_in(self, text: str) -> str:
        """The answer in what a model wrote: the label that its first line spells (or that line), for free text all of it."""
        if not self.labels:
            return extract(text, "exact")
        line = extract(text, "first_line")
        return self.read(line) or line

    def with_those_below(self) -> dict[str, int]:
        """The rows of each label and of all labels below it, by key."""
        found = dict.fromkeys((label.key for label in self.labels), 0)
        for label in self.labels:
            for above in self._upwards(label.key):
                found[above.key] += label.count
        return found

    def _upwards(self, key: str | None) -> Iterator[Label]:
        """The label of a key, its parent, and so on, each once: among stored versions are some whose labels stand above themselves."""
        seen: set[str] = set()
        while key is not None and key not in seen and (label := self.get(key)) is not None:
            seen.add(key)
            yield label
            key = label.parent

    def digest(self) -> bytes:
        """What a version's content hash covers of its book: nothing while nobody has written into it."""
        written = [{**label.as_json(), "count": 0} for label in self.labels if not label.plain]
        return sha256(json.dumps(written, sort_keys=True).encode()).digest() if written else b""

    def counted(self, counts: Mapping[str, int]) -> "LabelBook":
        """The book of rows with these outputs: their labels, and those without rows that somebody has written about."""
        kept = {label.key: replace(label, count=0) for label in self.labels if not label.plain or label.key in counts}
        kept |= {key: replace(kept.get(key, Label(key, key)), count=count) for key, count in counts.items()}
        known = {key: label if label.parent in kept else replace(label, parent=None) for key, label in kept.items()}
        return LabelBook(tuple(known[key] for key in sorted(known)))

    def renamed(self, keys: Mapping[str, str | None]) -> "LabelBook":
        """The book after keys were renamed: a label goes with its key, unless the new key has one of its own; None takes it away.

        A label whose parent was merged into it, or into a label below it, gets the next one above that leaves no label above itself.
        """
        taken = {label.key for label in self.labels}
        found = [label for label in self.labels if label.key not in keys]
        for label in self.labels:
            key = keys.get(label.key)
            if key is not None and key not in taken:
                taken.add(key)
                found.append(replace(label, key=key, display=key if label.display == label.key else label.display))
        parents = {label.key: label.parent for label in found if label.parent not in keys}
        for label in found:
            if label.key not in parents:
                parents[label.key] = self._parent_after(label, keys, parents)
        return LabelBook(tuple(replace(label, parent=parents[label.key]) for label in found))

    def _parent_after(self, label: Label, keys: Mapping[str, str | None], parents: Mapping[str, str | None]) -> str | None:
        """The parent of a label (that has its new key) after keys were renamed, where some labels have their `parents` already."""
        for above in self._upwards(label.parent):
            at = key = keys.get(above.key, above.key)
            below: set[str] = set()
            while at is not None and at != label.key and at not in below:
                below.add(at)
                at = parents.get(at)
            if at != label.key:
                return key
        return None


FREE_TEXT = LabelBook()
"""The book of outputs that are no labels."""


# ---- what a label and a book must keep to ----

_HALF = re.compile("[\ud800-\udfff]")


def label_text(text: str) -> str:
    """An output as a person or a program gives it to a row, as it is. Raises Invalid for what no file could have brought either."""
    if not text.strip():
        raise Invalid("blank_label", "A label cannot be blank.", "Choose a label, or take the label away.")
    if fault := _unstorable(text):
        raise Invalid("bad_label", f"The label “{_printable(text)}” holds {fault}.", "Remove it.")
    return text


def _unstorable(text: str) -> str:
    """What in a text no database can keep; "" for nothing."""
    return "a NUL character (U+0000)" if "\0" in text else "half a character (a lone surrogate)" if _HALF.search(text) else ""


def _printable(text: str) -> str:
    """The beginning of a text, for a message about it."""
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", text[:60]).replace("\0", "\N{SYMBOL FOR NULL}")


def checked(book: LabelBook, rows: Mapping[str, int]) -> LabelBook:
    """A book a person has written, tidied, for rows with these outputs. Raises Invalid naming the label and its field.

    A key that rows have must be there; display texts and aliases must tell labels apart.
    """
    tidy = LabelBook(tuple(_tidied(label) for label in book.labels))
    keys = [label.key for label in tidy.labels]
    for key in rows:
        if key not in keys:
            raise _refused(
                key, "key", f"{_named(key)} is missing from the book, but {rows[key]:,} rows have it.", "Retire it instead, or merge it into another."
            )
    if len(keys) > MOST_LABELS:
        raise Invalid("many_labels", f"{len(keys):,} labels; the limit is {MOST_LABELS:,}.", "Merge rare ones, or retire them.")
    seen: set[str] = set()
    for label in tidy.labels:
        if label.key in seen:
            raise _refused(label.key, "key", f"{_named(label.key)} is there twice.", "Give each label its own key.")
        seen.add(label.key)
        _check(tidy, label)
    _check_names(tidy)
    if sum(label.none for label in tidy.labels) > 1:
        raise Invalid("two_nones", "Two labels are marked as none of these.", "Keep the mark on one of them.")
    if tidy and not tidy.offered:
        raise Invalid("all_retired", "Every label is retired.", "Keep at least one that a model may answer.")
    return tidy.counted(rows)


def are_labels(rows: Mapping[str, int]) -> bool:
    """Whether outputs with so many rows each are labels, and not free text."""
    return 2 * len(rows) <= sum(rows.values())


def written(displays: Mapping[str, str], rows: Mapping[str, int]) -> LabelBook:
    """The book of rows with these outputs, some of which a person gave a display text; what is said of a label that no row has is forgotten, and so it is
    where they are free text. Raises as `checked` does."""
    said = {key: text for key, text in displays.items() if key in rows and text.strip() not in ("", key)}
    return checked(LabelBook(tuple(Label(key, said.get(key, key)) for key in sorted(rows))), rows) if said and are_labels(rows) else FREE_TEXT


def _tidied(label: Label) -> Label:
    aliases = tuple(dict.fromkeys(alias.strip() for alias in label.aliases if alias.strip()))
    display = label.display.strip() or label.key
    if label.display == label.key:  # a key is what rows say, white space included
        display = label.key
    return replace(label, display=display, description=" ".join(label.description.split()), aliases=aliases, parent=label.parent or None)


def _check(book: LabelBook, label: Label) -> None:
    if not label.key.strip():
        raise _refused(label.key, "key", "A label has no key.", "Write what rows say for it.")
    for name, text in (("key", label.key), ("display", label.display), ("description", label.description), ("aliases", "".join(label.aliases))):
        if fault := _unstorable(text):
            raise _refused(_printable(label.key), name, f"What is said about {_named(label.key)} holds {fault}.", "Remove it.")
    if label.display != label.key and "\n" in label.display:
        raise _refused(label.key, "display", f"The display text of {_named(label.key)} has a line end.", "An answer is one line: write it in one.")
    long = len(label.display) > LONGEST_TEXT and label.display != label.key
    if long or len(label.description) > LONGEST_DESCRIPTION or len(label.aliases) > MOST_ALIASES:
        limits = f"At most {LONGEST_TEXT} characters to display, {LONGEST_DESCRIPTION:,} of description, {MOST_ALIASES} aliases."
        raise _refused(label.key, "display" if long else "description", f"What is said about {_named(label.key)} is too long.", limits)
    above, at = {label.key}, label.parent
    while at is not None:
        if at in above:
            raise _refused(label.key, "parent", f"{_named(label.key)} is above itself.", "Choose another parent, or none.")
        above.add(at)
        parent = book.get(at)
        if parent is None:
            raise _refused(label.key, "parent", f"There is no label {_named(at)} to be its parent.", "Choose a label of this book.")
        at = parent.parent


def _check_names(book: LabelBook) -> None:
    """Names that a person wrote must mean one label. Keys of a file that only differ by white space are another matter (they are merged)."""
    owners: dict[str, Label] = {}
    for label in book.offered:
        for name in dict.fromkeys(map(normalise, (label.display, *label.aliases))):
            other = owners.setdefault(name, label)
            if other is not label and not (other.plain and label.plain):
                where = "display" if normalise(label.display) == name else "aliases"
                message = f"“{name}” would mean {_named(other.key)} and {_named(label.key)}."
                raise _refused(label.key, where, message, "Use a text of its own for each, or merge the two labels.")


def _refused(key: str, field_name: str, message: str, advice: str) -> Invalid:
    return Invalid("bad_label", message, advice, detail={"label": key, "field": field_name})


def _named(key: str) -> str:
    return f"“{_printable(key)}”"


# ---- display texts proposed for codes ----

_CODE = re.compile(r"[\W_]*([A-Za-z]{0,4}[\W_]*\d[\w\W]*|[A-Za-z]|[0-9a-fA-F-]{16,})")
_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:_+[A-Za-z0-9-]+)+")


@dataclass(frozen=True)
class Proposal:
    """A display text for a label, and what says so: "column label_text", "names in the file", or "its key"."""

    key: str
    display: str
    source: str


def is_code(key: str) -> bool:
    """Does a key say nothing to a reader? Numbers, single letters, T-443."""
    return bool(_CODE.fullmatch(key.strip())) and len(key.split()) == 1


def proposals(book: LabelBook, columns: Mapping[str, Mapping[str, str]], names: Sequence[str] | Mapping[str, str] = ()) -> list[Proposal]:
    """Display texts for labels that have none of their own, never put in by themselves.

    `columns` gives, for each other column whose cell follows from the label, {key: cell}; `names` is what the file itself calls
    its labels (a list for keys 0, 1, 2, or by key). A key written like_this is proposed as words.
    """
    told = dict(names) if isinstance(names, Mapping) else {str(number): name for number, name in enumerate(names)}
    sources = [("names in the file", told), *((f"column {name}", cells) for name, cells in columns.items())]
    found = []
    for label in book.labels:
        if label.display != label.key:
            continue
        said = next(((cells[label.key], source) for source, cells in sources if _says(cells, label.key)), None)
        if said is None and _WORDS.fullmatch(label.key) and not is_code(label.key):
            said = re.sub(r"_+", " ", label.key), "its key"
        if said is not None:
            found.append(Proposal(label.key, said[0].strip(), said[1]))
    return _distinct(book, found)


def _says(cells: Mapping[str, str], key: str) -> bool:
    return bool(cells.get(key, "").strip()) and cells[key].strip() != key and "\n" not in cells[key].strip()


def _distinct(book: LabelBook, found: Sequence[Proposal]) -> list[Proposal]:
    """Proposals that still tell labels apart when all of them are taken."""
    proposed = {one.key for one in found}
    counts: dict[str, int] = {}
    for text in (*(one.display for one in found), *(label.display for label in book.offered if label.key not in proposed)):
        counts[normalise(text)] = counts.get(normalise(text), 0) + 1
    return [one for one in found if counts[normalise(one.display)] == 1 and len(one.display) <= LONGEST_TEXT]
