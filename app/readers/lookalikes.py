"""Labels a person would take for the same: what a classifier would then learn as two classes."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping

# The Cyrillic and Greek letters drawn like Latin ones in common fonts (a part of Unicode TR 39's confusables).
_LATIN = str.maketrans("АВЕКМНОРСТУХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTYXaeopcyxijsABEZHIKMNOPTYXo")

_DIFFERENCES = ("the way accents are stored", "an invisible character or white space", "a look-alike letter", "case")


def look_alike_groups(labels: Iterable[str]) -> list[tuple[list[str], str]]:
    """Groups of labels that look the same, each with what they differ by; the subtlest difference first. Case is the least subtle one."""
    labels = sorted(set(labels))
    found: list[tuple[list[str], str]] = []
    grouped: set[str] = set()
    for step, difference in enumerate(_DIFFERENCES, 1):
        groups: dict[str, list[str]] = {}
        for label in labels:
            groups.setdefault(_seen(label, step), []).append(label)
        for group in groups.values():
            if len(group) > 1 and not grouped.issuperset(group):
                found.append((group, difference))
                grouped.update(group)
    return found


def merged(groups: Iterable[tuple[list[str], str]], rows: Mapping[str, int]) -> dict[str, str]:
    """What the labels of such groups are merged into: of each group the one that most `rows` have."""
    into: dict[str, str] = {}
    for group, _ in groups:
        best = max(group, key=lambda label: rows.get(label, 0))
        into |= {label: best for label in group if label != best}
    return followed(into)


def followed(into: Mapping[str, str]) -> dict[str, str]:
    """What each label becomes in the end: one may look like those of two groups, by two differences, and be merged into one that is merged itself."""
    ends = {label: _end(into, label) for label in into}
    return {label: end for label, end in ends.items() if label != end}


def _end(into: Mapping[str, str], label: str) -> str:
    seen = set()
    while label in into and label not in seen:
        seen.add(label)
        label = into[label]
    return label


def resembled(labels: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Of labels that are not known, those that a person would take for a known one, each with that one."""
    labels = set(labels)
    # A label may already stand among the known texts: as what another one is called.
    found = {label: label for label in labels if label in known}
    for group, _ in look_alike_groups({*labels, *known}):
        same = sorted(set(group) & set(known))
        found |= {label: same[0] for label in group if label in labels and label not in found and same}
    return found


def _seen(label: str, step: int) -> str:
    """A label without the first so many differences."""
    text = unicodedata.normalize("NFC", label)
    if step >= 2:
        text = " ".join("".join(" " if character.isspace() else character for character in text if unicodedata.category(character) != "Cf").split())
    if step >= 3:
        text = unicodedata.normalize("NFKC", text).translate(_LATIN)
    return text.casefold() if step >= 4 else text
