"""What can be told of a file's health while it is looked at, before anything is made of it: by the counts of its labels, and by what its inputs are known by.

The rows behind a finding, near-duplicates and what else health.py looks for are found in the version that is made.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from app.domain.scoring import normalise
from app.readers.examined import SPLITS, Table, digest
from app.readers.findings import Finding
from app.readers.frames import Chunk
from app.readers.health import CHECKS, CODES

OF_LABELS = ("one_class", "few_rows", "tiny_classes", "look_alike_labels", "imbalance", "missing_markers")
"""Checks that ask for nothing but the counts of the labels."""

UNLABELLED = -1


class Counted(Table):
    """A table of whose examples only the counts of their labels are known: its findings have no rows."""

    def __init__(self, outputs: Mapping[str, int]) -> None:
        super().__init__((), (), {})
        self.labelled = range(sum(outputs.values()))
        self._first_answers = [0] * len(outputs)
        self.classes = Counter(outputs if 2 * len(outputs) <= len(self.labelled) or len(outputs) <= 2 else {})

    def having(self, test: Callable[[str], object]) -> list[int]:
        del test
        return []

    def output(self, number: int) -> str:
        del number
        return ""


class Foreseen:
    """Gathers what is needed, chunk by chunk: 17 bytes a row, and no text."""

    def __init__(self) -> None:
        self._keys, self._answers, self._splits = array("q"), array("q"), bytearray()

    def take(self, chunk: Chunk) -> None:
        self._keys.extend(int.from_bytes(digest(normalise(one.input))[:8], "little", signed=True) for one in chunk.examples)
        self._answers.extend(UNLABELLED if one.output is None else abs(hash(one.output)) for one in chunk.examples)
        self._splits.extend(SPLITS.index((one.split or "") if one.output is not None else "") for one in chunk.examples)

    def told(self, outputs: Mapping[str, int]) -> list[dict[str, Any]]:
        """The findings, most harm first. `outputs` counts the labels; it is empty where the outputs are none."""
        table = Counted(outputs)
        found = [finding for code in OF_LABELS if outputs for finding in [CHECKS[code](table)] if finding]
        found += [finding for finding in self._of_texts(bool(table.classes)) if finding.count]
        return [{"code": one.code, "count": one.count, "sentence": one.sentence} for one in sorted(found, key=lambda one: (-one.harm, CODES.index(one.code)))]

    def _of_texts(self, labels: bool) -> list[Finding]:
        """Rows with the same text in another split, with another label, or once more. Where outputs are no labels, a text may have several right ones."""
        import numpy as np

        if not self._keys:
            return []
        keys, answers, splits = np.asarray(self._keys), np.asarray(self._answers), np.frombuffer(self._splits, dtype=np.uint8)
        _, texts = np.unique(keys, return_inverse=True)
        several = int(texts.max()) + 1

        def mixed(rows: Any, values: Any) -> Any:
            """For every row, whether these rows with its text have different values."""
            first, found = np.zeros(several, dtype=values.dtype), np.zeros(several, dtype=bool)
            first[texts[rows]] = values[rows]
            found[texts[rows & (values != first[texts])]] = True
            return found[texts]

        leaked = int(np.count_nonzero(mixed(splits > 0, splits) & (splits > 1)))
        labelled = answers != UNLABELLED
        conflicting = int(np.count_nonzero(mixed(labelled, answers) & labelled)) if labels else 0
        repeated = len(keys) - (several if labels else len(np.unique(keys * 1_000_003 + answers)))
        of_test = "validation or test row has" if leaked == 1 else "validation or test rows have"
        return [
            Finding("leakage", 3, leaked, f"{leaked:,} {of_test} the same text as a row of another split: scores on them are too good."),
            Finding("conflicting_labels", 3, conflicting, f"{conflicting:,} rows share their text with a row of another label."),
            Finding("duplicates", 1, repeated, f"{repeated:,} duplicate row{'' if repeated == 1 else 's'}: the same text stands further up."),
        ]
