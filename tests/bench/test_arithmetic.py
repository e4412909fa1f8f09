"""bench.arithmetic: what each side reads of given rows, and what it computes for that."""

from bench import arithmetic
from bench.arithmetic import SIDES, Costs, Pass
from bench.tune import ROWS, SEEDS
from tests.services.test_estimates import SHAPE

COSTS = [Costs.of(SHAPE, ROWS[name]) for name in SIDES]


def test_a_token_costs_what_its_weights_do() -> None:
    body, head = 106_168_320, 49_152 * 576
    assert [one.linear for one in COSTS] == [4 * body + 6 * 4_884_480, 4 * body + 6 * 460_800, 6 * body]
    assert [one.output for one in COSTS] == [4 * head, 4 * head, 6 * head]
    assert all(one.pair == 12 * 30 * 576 and one.logits == 2 * head for one in COSTS)


def test_the_sides_differ_in_the_output_layer_and_in_what_is_recomputed() -> None:
    read, lora = [Pass(2, 10, 4)] * 3, COSTS[0]
    ours, theirs = lora.ours(read), lora.theirs(read)
    assert ours[:2] == theirs[:2] == [60 * lora.linear, 3 * 2 * 10 * 10 * lora.pair]
    assert ours[2] == 12 * lora.output and theirs[2] == 54 * (lora.output + lora.logits)
    assert theirs[3] == 60 * 2 * (106_168_320 + 4_884_480) + theirs[1] // 3


def test_every_row_is_read_once_an_order() -> None:
    pairs = [(list(range(5 + number % 40)), [1, 2]) for number in range(64)]
    own, random, grouped = arithmetic.passes(pairs)
    tokens = len(SEEDS) * sum(len(prompt) + 2 for prompt, _ in pairs)
    for read in (own, random, grouped):
        assert sum(one.answers for one in read) == len(SEEDS) * 2 * len(pairs)
        assert sum(one.tokens for one in read) >= tokens
    assert len(random) == len(grouped) == len(SEEDS) * 4 and sum(one.tokens for one in own) < sum(one.tokens for one in random)
