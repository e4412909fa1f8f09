"""What a training step computes beside TRL's, counted and not measured: `python -m bench.arithmetic`.

The rows of `bench.tune`'s comparison of sst2, in five training orders of one pass. Ours share rows within a pass's budget; TRL 1.16 pads 16 rows, random or
grouped by length, to the longest and reads them in one pass. FLOPs go by PaLM's way (arXiv 2204.02311, appendix B): a weight costs 2 a token forward, 2 on
the way back, and 2 more where it is trained itself. On a processor TRL scores every position of a row but the last, and makes those logits once more on the
way back; by default it recomputes what the layers computed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.methods import METHODS
from app.domain.shape import ModelShape
from app.services.shapes import shape
from bench.data import MODEL, prepare_model
from bench.tune import BATCH, ROWS, SEEDS, TRAIN_ROWS, Row, encoded

SIDES = ("lora16", "lora8", "full")
GROUPED = 8
"""Steps' worth of rows that transformers sorts together by length: a quarter of the steps of a pass, and at most 50."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: rows of one width, and how many of their tokens are answers."""

    rows: int
    width: int
    answers: int

    @property
    def tokens(self) -> int:
        return self.rows * self.width


@dataclass(frozen=True)
class Costs:
    """FLOPs of a model under a method: of a token in its linear layers, of a pair of tokens of a row in attention, of a token in the output layer;
    each forward and, in all but `logits`, backward."""

    linear: int
    again: int
    """Of a token in its linear layers, forward alone."""
    pair: int
    logits: int
    output: int

    @classmethod
    def of(cls, found: ModelShape, row: Row) -> "Costs":
        whole = row.method == "full"
        body, head = sum(one.outputs * one.inputs for one in found.linear), found.vocabulary * found.width
        adapter = 0 if whole else METHODS["lora"].model_validate({"rank": row.rank, "targets": row.targets}).trainable(found)
        times = 6 if whole else 4
        return cls(times * body + 6 * adapter, 2 * (body + adapter), 12 * found.blocks * found.width, 2 * head, times * head)

    def ours(self, read: Iterable[Pass]) -> list[int]:
        """Linear layers, attention, output layer."""
        return [
            sum(column)
            for column in zip(*((one.tokens * self.linear, one.tokens * one.width * self.pair, one.answers * self.output) for one in read), strict=True)
        ]

    def theirs(self, read: Iterable[Pass]) -> list[int]:
        """The same, and what is recomputed."""
        parts = (
            (
                one.tokens * self.linear,
                one.tokens * one.width * self.pair,
                (one.tokens - one.rows) * (self.output + self.logits),
                one.tokens * (self.again + one.width * self.pair // 3),
            )
            for one in read
        )
        return [sum(column) for column in zip(*parts, strict=True)]


def main() -> None:
    prepare_model()
    pairs = encoded("sst2", "train", TRAIN_ROWS)
    own, random, grouped = passes(pairs)
    examples = len(SEEDS) * len(pairs)
    tokens, answers = (sum(map(len, parts)) / len(pairs) for parts in ([(*prompt, *answer) for prompt, answer in pairs], [answer for _, answer in pairs]))
    print(f"{len(pairs)} rows of sst2: {tokens:.1f} tokens on average, {answers:.1f} of them the answer; {len(SEEDS)} orders, steps of {BATCH}\n")
    print("| read | tokens computed for a token | passes a step | tokens of a row |\n|---|---|---|---|")
    for name, read in {"ours, rows shared": own, "TRL, random": random, "TRL, grouped by length": grouped}.items():
        width = sum(one.width * one.rows for one in read) / sum(one.rows for one in read)
        print(f"| {name} | {sum(one.tokens for one in read) / (tokens * examples):.2f} | {len(read) * BATCH / examples:.1f} | {width:.0f} |")
    costs = [Costs.of(shape(MODEL), ROWS[name]) for name in SIDES]
    print("\n| GFLOPs an example | LoRA r16 | LoRA r8 | full |\n|---|---|---|---|")
    told(("linear layers and adapters", "attention", "output layer, answers"), "ours", [one.ours(own) for one in costs], examples)
    told(
        ("linear layers and adapters", "attention", "output layer, every position and twice", "recomputed"),
        "TRL",
        [one.theirs(random) for one in costs],
        examples,
    )
    print("\n| TRL's FLOPs for one of ours | LoRA r16 | LoRA r8 | full |\n|---|---|---|---|")
    for name, read, kept in (("defaults", random, 4), ("grouped by length", grouped, 4), ("grouped by length, nothing recomputed", grouped, 3)):
        ratios = (sum(one.theirs(read)[:kept]) / sum(one.ours(own)) for one in costs)
        print(f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


def told(names: Iterable[str], side: str, columns: list[list[int]], examples: int) -> None:
    """A side's part of the table of FLOPs, and its sum."""
    for name, *cells in zip(names, *columns, strict=True):
        print(f"| {name} | {' | '.join(f'{cell / examples / 1e9:.2f}' for cell in cells)} |")
    print(f"| **{side}** | {' | '.join(f'**{sum(column) / examples / 1e9:.2f}**' for column in columns)} |")


def passes(pairs: list[tuple[list[int], list[int]]]) -> tuple[list[Pass], list[Pass], list[Pass]]:
    """What is read of these rows in one pass over them for each seed: by us, by TRL, by TRL grouped by length."""
    from torch import device

    from worker.engine.batches import Example, lanes, schedule
    from worker.engine.forward import Savings
    from worker.engine.preflight import planned

    examples = [Example(tuple(prompt), tuple(answer)) for prompt, answer in pairs]
    lengths, chosen = list(map(len, examples)), METHODS["lora"].model_validate({"batch_size": BATCH, "epochs": 1})

    def answers(part: Iterable[int]) -> int:
        return sum(len(examples[index].answer) for index in part)

    def shared(part: list[int]) -> Pass:
        own = [lengths[index] for index in part]
        rows = lanes(own)
        return Pass(len(rows), max(sum(own[at] for at in row) for row in rows), answers(part))

    def padded(bucket: int) -> list[Pass]:
        steps = (step for seed in SEEDS for step in schedule(lengths, BATCH, chosen.total_steps(len(pairs)), seed, bucket))
        return [Pass(len(step), max(lengths[index] for index in step), answers(step)) for step in steps]

    own = [shared(part) for seed in SEEDS for step in planned(examples, chosen, seed, device("cpu"), Savings(pack=True)) for part in step]
    return own, padded(1), padded(GROUPED)


if __name__ == "__main__":
    main()
