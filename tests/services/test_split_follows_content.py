"""Whatever is appended, dropped, merged, labelled and unlabelled, in any order: a content never changes its split."""

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from app.db import transaction
from app.domain.access import Who, owned
from app.domain.cutting import content_key
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.dataset import draft as draft_version
from app.domain.intake import seal as seal_version
from app.domain.lineage import Drop, Edit, Keep, Move, Relabel, Values
from app.services import datasets, versions
from app.services.versions import New, derive

WORDS = ("parcel", "refund", "password", "invoice", "colour", "weather", "garden", "engine", "music", "harvest")
TEXTS = [f"{a} asks about the {b}, then about the {c}" for a in ("Anna", "Boris", "Chen") for b in WORDS for c in WORDS[::3]]
OUTPUTS = st.sampled_from(["yes", "no", "Yes ", None])
SPLITS = st.sampled_from([None, None, "train", "validation", "test"])
ROWS = st.lists(st.builds(New, st.sampled_from([*TEXTS, *(text.upper() for text in TEXTS[:20])]), OUTPUTS, SPLITS), min_size=1, max_size=12)
SHARE = st.floats(0, 1)


class Versions(RuleBasedStateMachine):
    """`stands` remembers where each labelled content was put first, or moved to by hand."""

    person: Who

    @initialize(seed=st.integers(0, 100))
    def start(self, seed: int) -> None:
        self.stands: dict[int, str] = {}
        with transaction() as session:
            dataset = Dataset(**owned(self.person), name="any")
            session.add(dataset)
            session.flush()
            version = draft_version(session, self.person, dataset, seed, {})
            for position, (split, text) in enumerate(zip(("train", "train", "train", "validation", "test"), ("a", "b", "c", "d", "e"), strict=True)):
                session.add(Example(version_id=version.id, position=position, line=None, split=split, input=text, output="yes", cells=None))
            session.flush()
            seal_version(session, version)
        self.version: DatasetVersion = version
        self.rows: list[Values] = list(versions.values(version))

    def step(self, change: Any, added: list[New] | None = None) -> None:
        # Every step changes something and leaves labelled rows: what is refused is tested elsewhere.
        self.version = derive(self.person, self.version.dataset_id, change, added=[added] if added else ()).version
        self.rows = list(versions.values(self.version))

    def some(self, share: float, splits: tuple[str, ...]) -> list[int]:
        """About so many of the rows in these splits, never those of the beginning."""
        found = [row["id"] for row in self.rows if row["split"] in splits and len(row["input"]) > 1]
        return found[: int(share * len(found) + 0.5)]

    @rule(rows=ROWS)
    def append(self, rows: list[New]) -> None:
        old = {row["position"]: (row["split"], row["input"], row["output"]) for row in self.rows}
        self.step(Keep("append"), rows)
        assert {row["position"]: (row["split"], row["input"], row["output"]) for row in self.rows if row["position"] in old} == old

    @precondition(lambda self: len(self.rows) > 8)
    @rule(share=SHARE)
    def drop(self, share: float) -> None:
        if chosen := self.some(share, ("train", "validation", "test", "unlabelled")):
            self.step(Drop(set(chosen)))

    @precondition(lambda self: any(row["output"] == "Yes " for row in self.rows))
    @rule()
    def merge(self) -> None:
        self.step(Relabel({"Yes ": "yes"}))

    @rule(share=SHARE, assisted=SHARE, output=OUTPUTS)
    def label(self, share: float, assisted: float, output: str | None) -> None:
        if chosen := self.some(share, ("unlabelled",) if output else ("train", "validation", "test")):
            datasets.reveal(self.person, self.version.reference, "rows are looked at")
            self.step(Edit(dict.fromkeys(chosen, output), set(chosen[: int(assisted * len(chosen))])))

    @rule(share=SHARE)
    def move(self, share: float) -> None:
        if chosen := self.some(share / 4, ("validation",)):
            keys = {row["content_key"] for row in self.rows if row["id"] in chosen}
            together = {row["id"] for row in self.rows if row["content_key"] in keys and row["output"] is not None}
            self.step(Move(together, "train"))
            self.stands |= dict.fromkeys(keys, "train")

    @invariant()
    def every_content_stands_where_it_stood(self) -> None:
        for row in self.rows:
            assert row["content_key"] == content_key(row["input"]) and (row["split"] == "unlabelled") == (row["output"] is None)
            if row["output"] is not None:
                assert self.stands.setdefault(row["content_key"], row["split"]) == row["split"], row


def test_a_rows_split_follows_its_content(person: Who) -> None:
    Versions.person = person
    # No shrinking: a failure here is short enough to read, and each of its trials takes a database along.
    quick = settings(max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
    run_state_machine_as_test(Versions, settings=quick)
