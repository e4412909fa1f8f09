"""Label likelihoods: how probable a model finds each label as the answer to each prompt.

The work is one tree: the start all prompts share, then every prompt's own tokens, then the labels' tokens with their own common
starts. A start is read once into the cache; many prompts with their labels are laid side by side in one sequence, and an attention
mask lets each token see exactly its own path. Nothing is padded and no cache is copied. Measured against padded batches of rows
over copies of the cache (120 prompts, 269 shared tokens, one core): 8 % less processor time, and no memory for the copies.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

from app.domain.rendering import Rendered
from app.errors import Invalid
from worker.engine.batches import Example, collate, decoder_start, within_tokens
from worker.engine.encode import encode_labels, encode_prompt
from worker.engine.forward import answer_logits, read_encoder
from worker.engine.load import Loaded, window
from worker.engine.prefix import Prefix, body, common, first_cache, read
from worker.engine.reporting import Stopped

PACK = {"cpu": 512, "cuda": 4096}
"""Tokens in one sequence. More wastes attention between unrelated prompts, fewer wastes the cost of starting a pass."""

LOGITS = 1 << 26
"""The most next-token logits held at once: 256 MB in float32."""

Progress = Callable[[int, int], None]
Ids = Sequence[int]
Packs = Generator[tuple[list[int], np.ndarray[Any, Any]], None, None]
"""(row numbers, their [rows, L] sums), pack by pack."""


@dataclass(frozen=True)
class Scores:
    """Natural-log likelihoods of L labels for n prompts."""

    sums: np.ndarray[Any, np.dtype[np.float64]]
    """[n, L]: sum over the label's tokens, the end token included where it counts (`encode_labels`)."""
    lengths: np.ndarray[Any, np.dtype[np.int64]]
    """[L]: how many tokens those are."""
    seconds: np.ndarray[Any, np.dtype[np.float64]]
    """[n]: the prompt's share of the time, its part of reading the shared start included."""
    tokens: tuple[int, ...] = ()
    """Prompt tokens of each row, before any cut."""
    cut: int = 0
    """How many prompts lost tokens at the left to fit."""

    @property
    def normalised(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """[n, L]: mean per token, which does not favour short labels."""
        return self.sums / self.lengths


def score_labels(
    loaded: Loaded,
    prompts: Sequence[Rendered],
    labels: Sequence[str],
    *,
    end: bool | None = None,
    max_length: int | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Scores:
    """Score every label (with the white space that precedes it) after every prompt. Raises Stopped when asked to stop.

    A prompt that does not fit the model's window (or `max_length`) together with the longest label loses tokens at the left.
    """
    if not prompts:
        return Scores(np.zeros((0, len(labels))), np.ones(len(labels), dtype=np.int64), np.zeros(0))
    ids, answers, room = _encoded(loaded, prompts, labels, end, max_length)
    scores = score_ids(loaded.model, [row[-room:] for row in ids], answers, progress=progress, should_stop=should_stop)
    return replace(scores, tokens=tuple(len(row) for row in ids), cut=sum(len(row) > room for row in ids))


def _encoded(
    loaded: Loaded, prompts: Sequence[Rendered], labels: Sequence[str], end: bool | None, max_length: int | None
) -> tuple[list[list[int]], list[list[int]], int]:
    """Ids of the prompts and of the labels, and how many of a prompt's there is room for."""
    answers = encode_labels(loaded.tokenizer, prompts[0], labels, end=end)
    room = min(max_length or window(loaded.model), window(loaded.model)) - max(map(len, answers))
    if room < 1:
        raise Invalid("label_too_long", f"The longest label has {max(map(len, answers))} tokens, which leaves none for the prompt.", "Shorten the labels.")
    return [encode_prompt(loaded.tokenizer, prompt) for prompt in prompts], answers, room


def score_ids(
    model: Any, prompts: Sequence[Ids], labels: Sequence[Ids], *, progress: Progress | None = None, should_stop: Callable[[], bool] | None = None
) -> Scores:
    """The same for token ids. The model is used as it is: put it in evaluation mode first."""
    way = _way(model)
    sums = np.zeros((len(prompts), len(labels)))
    done, began = 0, time.perf_counter()
    for rows, values in way(model, prompts, labels):
        sums[rows] = values
        done += len(rows)
        if progress:
            progress(done, len(prompts))
        if should_stop and should_stop():
            raise Stopped
    own = np.array([len(prompt) for prompt in prompts], dtype=np.float64) - common(prompts)
    return Scores(sums, np.array([len(label) for label in labels]), (time.perf_counter() - began) * own / own.sum())


def _way(model: Any) -> Callable[[Any, Sequence[Ids], Sequence[Ids]], Packs]:
    return _decoded if model.config.is_encoder_decoder else _packed if _reads_trees(model) else plain


class Scoring:
    """Likelihoods in the making, for a thread that has other work as well: each `step()` reads one pack of prompts."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Rendered], labels: Sequence[str]) -> None:
        ids, answers, room = _encoded(loaded, prompts, labels, None, None)
        self._packs = _way(loaded.model)(loaded.model, [row[-room:] for row in ids], answers)
        self._left = len(prompts)

    @property
    def done(self) -> bool:
        return not self._left

    def leave(self) -> None:
        """Nobody waits for the rest."""
        self._packs.close()
        self._left = 0

    def step(self) -> list[tuple[int, list[float]]]:
        """Go on by one pack: (row number, the natural-log likelihood of each label) of its prompts."""
        rows, sums = next(self._packs)
        self._left -= len(rows)
        return [(row, [float(value) for value in values]) for row, values in zip(rows, sums, strict=True)]


@dataclass(frozen=True)
class _Tree:
    """The labels' proper starts as a tree. Place 0 is the prompt's last token, place k + 1 the node k."""

    tokens: list[int]
    depths: list[int]
    sees: torch.Tensor
    """[nodes, nodes]: a node sees itself and its ancestors."""
    owners: torch.Tensor
    """Per label token: whose token it is, at which place it is predicted, and its id."""
    places: torch.Tensor
    targets: torch.Tensor


def _tree(labels: Sequence[Ids]) -> _Tree:
    nodes: dict[tuple[int, ...], int] = {}
    reads: list[tuple[int, int, int]] = []
    for owner, label in enumerate(labels):
        for depth, token in enumerate(label):
            start = tuple(label[:depth])
            if start:
                nodes.setdefault(start, len(nodes))
            reads.append((owner, nodes[start] + 1 if start else 0, token))
    sees = torch.zeros((len(nodes), len(nodes)), dtype=torch.bool)
    for start, node in nodes.items():
        for depth in range(1, len(start) + 1):
            sees[node, nodes[start[:depth]]] = True
    owners, places, targets = torch.tensor(reads).T
    return _Tree([start[-1] for start in nodes], [len(start) for start in nodes], sees, owners, places, targets)


def _packed(model: Any, prompts: Sequence[Ids], labels: Sequence[Ids]) -> Packs:
    device = model.device
    tree = _tree(labels)
    prefix = read(model, prompts[0][: common(prompts)], device)
    own = [prompt[len(prefix.ids) :] for prompt in prompts]
    most_rows = max(1, LOGITS // (model.config.get_text_config(decoder=True).vocab_size * (1 + len(tree.tokens))))
    for rows in _packs([len(ids) + len(tree.tokens) for ids in own], pack_tokens(device), most_rows):
        logits = _read_pack(model, prefix, [own[row] for row in rows], tree).float()
        places = torch.arange(len(rows), device=device)[:, None] * (1 + len(tree.tokens)) + tree.places.to(device)
        values = logits[places, tree.targets.to(device)] - logits.logsumexp(-1)[places]
        sums = torch.zeros((len(rows), len(labels)), dtype=torch.float64, device=device).index_add_(1, tree.owners.to(device), values.double())
        yield rows, sums.cpu().numpy()


def _packs(lengths: Sequence[int], budget: int, most_rows: int) -> Iterator[list[int]]:
    pack: list[int] = []
    size = 0
    for row, length in enumerate(lengths):
        if pack and (size + length > budget or len(pack) == most_rows):
            yield pack
            pack, size = [], 0
        pack.append(row)
        size += length
    yield pack


def _read_pack(model: Any, prefix: Prefix, rows: Sequence[Ids], tree: _Tree) -> torch.Tensor:
    """Logits [rows * (1 + nodes), vocabulary] at every row's last prompt token and tree nodes. The prefix's cache is left as it was."""
    start, nodes = prefix.length, len(tree.tokens)
    sees = torch.block_diag(*(_block(len(row), tree) for row in rows))  # type: ignore[no-untyped-call]
    mask = torch.cat([torch.ones((len(sees), start), dtype=torch.bool), sees], 1).to(model.device)[None, None]
    ids = [token for row in rows for token in (*row, *tree.tokens)]
    positions = [start + at for row in rows for at in (*range(len(row)), *(len(row) - 1 + depth for depth in tree.depths))]
    ends = np.cumsum([len(row) + nodes for row in rows])
    kept = [place for end in ends for place in range(end - nodes - 1, end)]
    with torch.no_grad():
        logits: torch.Tensor = body(model)(
            input_ids=torch.tensor([ids], device=model.device),
            position_ids=torch.tensor([positions], device=model.device),
            attention_mask=mask if model.config._attn_implementation == "sdpa" else torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype),
            past_key_values=prefix.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(kept, device=model.device),
        ).logits[0]
    prefix.cache.crop(-len(ids))
    return logits


def _block(length: int, tree: _Tree) -> torch.Tensor:
    """[length + nodes] squared: what each token of one row sees of that row."""
    block = torch.ones((length + len(tree.tokens),) * 2, dtype=torch.bool).tril()
    block[length:, length:] = tree.sees
    return block


def _decoded(model: Any, prompts: Sequence[Ids], labels: Sequence[Ids]) -> Packs:
    """The way of encoder-decoders: each prompt is encoded once, and every label is decoded from it."""
    start, device = decoder_start(model), model.device
    answers = {name: tensor.to(device) for name, tensor in collate([Example((0,), tuple(label)) for label in labels], 0, start).items()}
    width = answers["labels"].shape[1]
    targets, counts = answers["labels"].clamp(min=0), answers["labels"] >= 0
    most_rows = max(1, LOGITS // (model.config.get_text_config(decoder=True).vocab_size * len(labels) * width))
    for chosen in within_tokens([len(prompt) for prompt in prompts], pack_tokens(device)):
        for rows in (chosen[at : at + most_rows] for at in range(0, len(chosen), most_rows)):
            batch = collate([Example(tuple(prompts[row]), (0,)) for row in rows], 0, start)
            with torch.no_grad():
                hidden, mask = read_encoder(model, batch["input_ids"].to(device), batch["attention_mask"].to(device))
                logits = body(model)(
                    encoder_outputs=BaseModelOutput(last_hidden_state=hidden.repeat_interleave(len(labels), 0)),
                    attention_mask=mask.repeat_interleave(len(labels), 0),
                    decoder_input_ids=answers["decoder_input_ids"].repeat(len(rows), 1),
                    past_key_values=first_cache(model, len(rows) * len(labels)),
                    use_cache=True,
                ).logits.float()
            values = torch.log_softmax(logits, -1).gather(2, targets.repeat(len(rows), 1)[..., None])[..., 0]
            sums = (values * counts.repeat(len(rows), 1)).sum(1, dtype=torch.float64)
            yield rows, sums.view(len(rows), len(labels)).cpu().numpy()


def pack_tokens(device: torch.device) -> int:
    """How many tokens to read in one pass on this device."""
    return PACK.get(device.type, PACK["cpu"])


def plain(model: Any, prompts: Sequence[Ids], labels: Sequence[Ids]) -> Packs:
    """Every prompt with every label as a sequence of its own: the reference, and the way for models that cannot read a tree."""
    for row, prompt in enumerate(prompts):
        pairs = [Example(tuple(prompt), tuple(label)) for label in labels]
        sums = np.zeros(len(labels))
        for chosen in within_tokens([len(pair) for pair in pairs], pack_tokens(model.device)):
            sums[chosen] = answer_likelihoods(model, [pairs[index] for index in chosen]).cpu().numpy()
        yield [row], sums[None]


def answer_likelihoods(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    """[examples]: the sum of the log-probabilities of each example's answer tokens."""
    batch = {name: tensor.to(model.device) for name, tensor in collate(examples, 0, decoder_start(model)).items()}
    with torch.no_grad():
        logits, targets, rows = answer_logits(model, batch)
    values = torch.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]
    return torch.zeros(len(examples), dtype=torch.float64, device=model.device).index_add_(0, rows, values.double())


_tree_readers: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()


def _reads_trees(model: Any) -> bool:
    """Whether this architecture obeys an attention mask of our own over a plain cache: found out once per model by a small trial.

    Sliding windows, linear attention and ALiBi biases do not, or refuse it.
    """
    if model not in _tree_readers:
        prompts, labels = [[1, 2, 3, 4], [1, 2, 5]], [[6, 7], [8, 9]]
        reference = np.concatenate([values for _, values in plain(model, prompts, labels)])
        try:
            found = np.concatenate([values for _, values in _packed(model, prompts, labels)])
        except (RuntimeError, ValueError, TypeError, IndexError):
            _tree_readers[model] = False
        else:
            _tree_readers[model] = bool(np.allclose(found, reference, atol=1e-3 if model.dtype == torch.float32 else 0.25))
    return _tree_readers[model]
