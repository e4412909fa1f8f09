"""Writing answers token by token: several prompts as one batch over one key-value cache, each with its own parameters."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from app.domain.generation import Parameters
from app.domain.rendering import Message, Rendered
from app.errors import FettleError
from worker.engine.batches import within_tokens
from worker.engine.constrain import guide, vocabulary_of
from worker.engine.encode import encode_prompt, end_token
from worker.engine.load import Loaded, window
from worker.engine.prefix import Prefix, common, read
from worker.engine.reading import Continuing, Decoding
from worker.engine.reporting import Stopped
from worker.engine.starts import Starts
from worker.engine.writing import Answer, Logprob, Prompt, Reason, check_room

__all__ = ["Completion", "Delta", "Finish", "Generation", "Prompt", "complete", "from_ids", "make_ready", "prepare"]

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Prompt and answer tokens of one batch when many prompts are completed: bounds the cache."""


@dataclass(frozen=True)
class Finish:
    """How an answer ended. `output_tokens` counts every token the model wrote, an end token included."""

    reason: Reason
    input_tokens: int
    output_tokens: int
    latency_ms: float


@dataclass(frozen=True)
class Delta:
    """New text of an answer to prompt `row`, `index` being its number among several. The last one carries the finish, or what went wrong."""

    row: int
    text: str
    finish: Finish | None = None
    index: int = 0
    logprobs: tuple[Logprob, ...] = ()
    error: FettleError | None = None


@dataclass(frozen=True)
class Completion:
    text: str
    finish: Finish


def prepare(loaded: Loaded, rendered: Rendered, parameters: Parameters, cancelled: Callable[[], bool] = lambda: False) -> Prompt:
    """A rendered prompt ready to be completed. Raises Invalid `prompt_too_long` when the model's window leaves no room for an answer,
    `bad_constraint` when what the answer is held to cannot be used."""
    ids = encode_prompt(loaded.tokenizer, rendered)
    check_room(ids, window(loaded.model))
    return from_ids(loaded, ids, rendered, parameters, cancelled)


def from_ids(loaded: Loaded, ids: Sequence[int], rendered: Rendered, parameters: Parameters, cancelled: Callable[[], bool] = lambda: False) -> Prompt:
    """The same for a prompt that is encoded already, shortened perhaps: `rendered` says only where an answer to it ends."""
    stops = rendered.stop if parameters.stop is None else tuple(parameters.stop)
    ends = _ends(loaded, rendered)
    if parameters.constraint is None:
        return Prompt(tuple(ids), parameters, stops, ends, cancelled)
    make = partial(guide, loaded.tokenizer, _width(loaded), ends, parameters, gap=rendered.bare)
    make()
    return Prompt(tuple(ids), parameters, stops if parameters.stop is not None else (), ends, cancelled, make, bare=rendered.bare)


def make_ready(loaded: Loaded) -> None:
    """Do beforehand what the first constrained answer of a model would wait for."""
    for rendered in (Rendered(), Rendered(messages=(Message("user", ()),))):
        vocabulary_of(loaded.tokenizer, _width(loaded), _ends(loaded, rendered))


def _width(loaded: Loaded) -> int:
    """How many logits the model has."""
    return int(loaded.model.config.get_text_config(decoder=True).vocab_size)


def complete(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    *,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    batch_tokens: int | None = None,
    failed: dict[int, FettleError] | None = None,
) -> list[Completion]:
    """Complete many prompts, in batches of similar length after reading their common start once. Raises Stopped when asked to stop.

    What goes wrong with one prompt goes into `failed` by its number, and its completion stays empty; without `failed` it is raised.

    Each gets one answer, whatever `n` says. A batch has at most `batch_tokens` prompt and answer tokens (None: BATCH_TOKENS). A completion's latency is that of its batch up to its own end.
    """
    prompts = [prompt if prompt.parameters.n == 1 else replace(prompt, parameters=prompt.parameters.model_copy(update={"n": 1})) for prompt in prompts]
    shared = () if loaded.encoder_decoder or not prompts else prompts[0].ids[: common([prompt.ids for prompt in prompts])]
    prefix = None if loaded.encoder_decoder else read(loaded.model, shared, loaded.device)
    lengths = [len(prompt.ids) + prompt.parameters.max_tokens for prompt in prompts]
    texts, finishes = [""] * len(prompts), dict[int, Finish]()
    for rows in within_tokens(lengths, batch_tokens or BATCH_TOKENS.get(loaded.device.type, BATCH_TOKENS["cpu"])):
        for delta in Generation(loaded, [prompts[row] for row in rows], prefix).deltas(should_stop):
            texts[rows[delta.row]] += delta.text
            if delta.error:
                if failed is None:
                    raise delta.error
                failed[rows[delta.row]] = delta.error
                finishes[rows[delta.row]] = Finish("stop", len(prompts[rows[delta.row]].ids), 0, 0.0)
            if delta.finish:
                finishes[rows[delta.row]] = delta.finish
                if progress:
                    progress(len(finishes), len(prompts))
    return [Completion(text, finishes[row]) for row, text in enumerate(texts)]


def alone(loaded: Loaded, prompts: Sequence[Prompt]) -> list[float]:
    """Milliseconds that each answer takes when it is asked for by itself: as a server gives it that keeps the start that prompts share, with
    everything warm. The first prompt is answered once before, unmeasured; one that goes wrong is left out."""
    if not prompts:
        return []
    shared = () if loaded.encoder_decoder else prompts[0].ids[: common([prompt.ids for prompt in prompts])]
    prefix = None if loaded.encoder_decoder else read(loaded.model, shared, loaded.device)
    took: list[float | None] = []
    for prompt in (prompts[0], *prompts):
        began = time.perf_counter()
        went_wrong = [delta for delta in Generation(loaded, [prompt], prefix).deltas() if delta.error]
        took.append(None if went_wrong else 1000 * (time.perf_counter() - began))
    return [one for one in took[1:] if one is not None]


class Generation:
    """A batch of answers in the making. Each `step()` reads a chunk of the prompts or writes one token of every answer."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Prompt], prefix: Prefix | None = None, shared: int = 0, first_row: int = 0) -> None:
        """`prefix` is a common start that has been read, `shared` how many ids of a longer one to read once. Rows count from `first_row`."""
        self._began = time.perf_counter()
        self.device, self._room = loaded.device, window(loaded.model)
        self._answers = [Answer(first_row + at, prompt, self._room - len(prompt.ids), loaded.tokenizer, began=self._began) for at, prompt in enumerate(prompts)]
        rows = [prompt.ids for prompt in prompts]
        self._reading: Decoding | Continuing = Decoding(loaded, rows) if loaded.encoder_decoder else Continuing(loaded, rows, prefix, shared)
        self.writing = False
        """Whether the prompts are read."""

    @property
    def done(self) -> bool:
        return not self._answers

    def deltas(self, should_stop: Callable[[], bool] | None = None) -> Iterator[Delta]:
        """Everything until the end. Raises Stopped between two steps when asked to stop."""
        while not self.done:
            if should_stop and should_stop():
                raise Stopped
            yield from self.step()

    def step(self) -> list[Delta]:
        """Go on by one step and return what became known by it; rows that ended leave the batch."""
        deltas = self._drop_cancelled()
        if self.done:
            return deltas
        logits = self._reading.forward()
        if logits is None:
            return deltas
        if not self.writing:
            logits = self._fan_out(logits)
        stays = []
        for at, answer in enumerate(self._answers):
            delta = self._write(answer, logits[at])
            if delta is not None:
                deltas.append(delta)
            if delta is None or not (delta.finish or delta.error):
                stays.append(at)
        self._keep(stays)
        if self._answers:
            self._reading.feed([answer.token for answer in self._answers])
        return deltas

    @property
    def answers(self) -> int:
        """How many are being written."""
        return len(self._answers)

    def prompts(self) -> list[tuple[int, ...]]:
        """The ids of the prompts that are being read or answered."""
        return [answer.prompt.ids for answer in self._answers]

    def tokens_with(self, other: "Generation") -> int:
        """What the cache of both together may come to hold, padding included."""
        every = [*self._answers, *other._answers]
        return len(every) * max(len(answer.prompt.ids) + answer.prompt.parameters.max_tokens for answer in every)

    def joins(self, other: "Generation") -> bool:
        """Whether both write for the same model in a way that allows one batch."""
        return self.writing and other.writing and self._reading.can_join() and other._reading.can_join()

    def take_in(self, other: "Generation") -> None:
        """Go on with another batch's answers as well; that one is done."""
        assert isinstance(self._reading, Continuing)
        assert isinstance(other._reading, Continuing)
        self._reading.take_in(other._reading)
        self._answers += other._answers
        other._answers = []

    def leave_starts(self, starts: Starts) -> None:
        """Leave what was read of the prompts where other requests find it. Asked for as soon as the prompts are read."""
        if not isinstance(self._reading, Continuing) or not self._reading.can_join():
            return
        if starts.wanted(self._reading.start.ids):
            starts.keep(self._reading.start)
        rows = {answer.row: at for at, answer in reversed(list(enumerate(self._answers)))}
        for at in rows.values():
            ids = self._answers[at].prompt.ids
            if starts.wanted(ids):
                starts.keep(self._reading.read_row(at, ids))

    def _fan_out(self, logits: torch.Tensor) -> torch.Tensor:
        """The prompts are read: a prompt with several answers becomes as many rows."""
        self.writing = True
        if all(answer.prompt.parameters.n == 1 for answer in self._answers):
            return logits
        rows = [at for at, answer in enumerate(self._answers) for _ in range(answer.prompt.parameters.n)]
        self._answers = [copy for answer in self._answers for copy in answer.copies(self._room - len(answer.prompt.ids))]
        self._reading.keep(rows)
        return logits[rows]

    def _write(self, answer: Answer, logits: torch.Tensor) -> Delta | None:
        """One more token of an answer: what there is to tell of it. What goes wrong with one answer ends that one only."""
        try:
            text, reason = answer.take(logits)
        except FettleError as error:
            return Delta(answer.row, "", index=answer.index, error=error)
        if not text and reason is None:
            return None
        return Delta(answer.row, text, self._finish(answer, reason) if reason else None, answer.index, answer.reported())

    def _drop_cancelled(self) -> list[Delta]:
        gone = [answer for answer in self._answers if answer.prompt.cancelled()]
        if gone:
            self._keep([index for index, answer in enumerate(self._answers) if answer not in gone])
        return [Delta(answer.row, "", self._finish(answer, "cancelled"), answer.index) for answer in gone]

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self._answers):
            return
        self._answers = [self._answers[row] for row in rows]
        if rows:
            self._reading.keep(rows)

    def _finish(self, answer: Answer, reason: Reason) -> Finish:
        return Finish(reason, len(answer.prompt.ids), answer.count, (time.perf_counter() - answer.began) * 1000)


def _ends(loaded: Loaded, rendered: Rendered) -> frozenset[int]:
    """Ids that end an answer: the one it is trained to end with, and those the model's own configuration names."""
    named = getattr(loaded.model, "generation_config", None)
    others = getattr(named, "eos_token_id", None)
    every = others if isinstance(others, list) else [others]
    return frozenset({end_token(loaded.tokenizer, rendered), *(token for token in every if token is not None)})
