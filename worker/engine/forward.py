"""One pass over a batch of examples, with logits only where an answer token is predicted: the training loss and the reference likelihoods."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from app.domain.methods.base import MethodParameters
from worker.engine.batches import BUCKET, IGNORED, LEAST_SHARED, Example, collate, on_device
from worker.engine.precision import is_mixed
from worker.engine.prefix import begin, body, remembers, soft_prompt, virtual_tokens
from worker.engine.shards import bare, cut_again


@dataclass(frozen=True)
class Savings:
    """What a run's steps spare themselves. Loss and gradients stay the same but for rounding; which examples meet in a step may depend on `bucket`."""

    share: bool = False
    """What all examples of a batch start with is read once."""
    pack: bool = False
    """Short examples lie one behind the other, so that little is padded."""
    mixed: bool = False
    """A step computes in bfloat16."""
    bucket: int = 1
    """Steps' worth of examples that are sorted by length together: where they cannot be packed, on any number of devices."""

    @classmethod
    def of(cls, model: Any, parameters: MethodParameters, longest: int) -> "Savings":
        """Those that this model and these parameters allow, with examples of up to `longest` tokens. Compiled layers are left as they were tried."""
        pack = not parameters.compile and reads_lanes(model, longest)
        share = parameters.shares_start and reads_shared_starts(model)
        return cls(share, pack, is_mixed(model, parameters), 1 if pack else BUCKET).under(parameters)

    def under(self, parameters: MethodParameters) -> "Savings":
        """Those that are left with other parameters. Each example has a soft prompt of its own unless all share it."""
        share = self.share and parameters.shares_start
        return replace(self, share=share, pack=self.pack and (share or not parameters.soft))


NONE = Savings()


def answer_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits [answer tokens, vocabulary], those tokens, the example of each), for a batch of `collate`.

    Projecting only these positions onto the vocabulary saves most of the cost of a small model. What all examples start with, the
    soft prompt included, is read once and not once an example where the batch says so (`start`): the gradients of the examples meet
    in its keys and values, so the sum is the same.
    """
    own = bare(model)
    if "decoder_input_ids" in batch:
        keep, targets = batch["labels"] != IGNORED, batch["labels"]
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "decoder_input_ids")}
        with _projecting(own, keep):
            logits = model(**inputs, **_caching(own)).logits
        logits = logits if logits.dim() == 2 else logits[keep]
    else:
        keep, targets = torch.zeros_like(batch["labels"], dtype=torch.bool), batch["labels"].roll(-1, 1)
        keep[:, :-1] = batch["labels"][:, 1:] != IGNORED
        logits = _read(model, batch, keep)
    return logits, targets[keep], batch["owners"][keep] - 1 if "owners" in batch else keep.nonzero()[:, 0]


@contextmanager
def _projecting(model: Any, keep: torch.Tensor) -> Iterator[None]:
    """Inside, only the kept positions are projected onto the vocabulary: decoders alone are told so (`logits_to_keep`), encoder-decoders not.

    Not where a model's output layer is none, or is given something else than a state for each position: that makes all logits.
    """

    def cut(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (inputs[0][keep],) if inputs and inputs[0].shape[:-1] == keep.shape else None

    output = body(model).get_output_embeddings()
    hook = output.register_forward_pre_hook(cut) if output is not None else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def _read(model: Any, batch: dict[str, torch.Tensor], keep: torch.Tensor) -> torch.Tensor:
    """The kept logits of a decoder-only model: behind the batch's start where that is read in one row, each token seeing its own example only."""
    own = bare(model)
    if "start" in batch and (batch["start"].numel() or soft_prompt(own)):
        reads, cache = body(model), begin(model, batch["start"])
        start = int(cache.get_seq_length())
        cache.batch_repeat_interleave(len(batch["input_ids"]))
        inputs = {**_seen(own, batch, start), "past_key_values": cache, "use_cache": True, "logits_to_keep": keep}
    else:
        shifted = keep if remembers(own) else torch.nn.functional.pad(keep, (virtual_tokens(own), 0))
        reads, inputs = model, {**_seen(own, batch, 0), "logits_to_keep": shifted, **_caching(own)}
    logits: torch.Tensor = reads(input_ids=batch["input_ids"], **inputs).logits
    return logits


def _seen(model: Any, batch: dict[str, torch.Tensor], start: int) -> dict[str, torch.Tensor]:
    """What each token sees behind a start of so many tokens, and for examples that share a row where each token stands."""
    if "owners" not in batch:
        return {"attention_mask": torch.nn.functional.pad(batch["attention_mask"], (start, 0), value=1)}
    owners = batch["owners"]
    sees = (owners[:, :, None] == owners[:, None]).tril()
    mask = torch.nn.functional.pad(sees, (start, 0), value=True)[:, None]
    if model.config._attn_implementation != "sdpa":
        mask = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill(~mask, torch.finfo(model.dtype).min)
    return {"attention_mask": mask, "position_ids": batch["positions"] + start}


def reads_shared_starts(model: Any) -> bool:
    """Whether this model gives the same logits when a batch's common start is read once: found out by a small trial.

    Encoder-decoders read their input in both directions, and layers with a state or a window of their own may not go on from a repeated cache.
    """
    examples = [Example((1, 2, 3, *range(4, 4 + rest)), (7, 8)) for rest in (1, 3)] * (LEAST_SHARED // 3)
    return _same(model, examples, share=True)


def reads_lanes(model: Any, longest: int) -> bool:
    """Whether this model gives the same logits to examples of up to `longest` tokens that share a row behind a shared start.

    Only attention that takes its mask from outside can be told who sees whom, not one that reckons windows or distances from where a token lies;
    and one with a window would see too much of longer examples. The rest a small trial finds out, on any number of devices alike.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return False
    config = model.config.get_text_config(decoder=True)
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    if any(window is not None and window < longest + virtual_tokens(model) for window in windows):
        return False
    start = tuple(range(4, 4 + LEAST_SHARED // 3 + 1))
    examples = [Example(start + own, (7, 8)) for own in ((*start[::-1], 2), (3, 21, 9, 3), (2, 1, 17), (1, 11, 2, 2))]
    return _same(model, examples, share=True, pack=True)


def _same(model: Any, examples: list[Example], **saved: bool) -> bool:
    """Whether this model answers these examples read so as it does read one by one."""
    if model.config.is_encoder_decoder:
        return False
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            apart, together = (_by_example(model, on_device(collate(examples, 0, **ways), model.device)) for ways in ({}, saved))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return False
    finally:
        model.train(training)
        cut_again(model)
    # Rounding grows with the logits; a token that sees the wrong ones is off by a large part of them.
    within = (1e-3 if model.dtype == torch.float32 else 1e-2) * float(apart.abs().max())
    return float((apart.float() - together.float()).abs().max()) <= within


def _by_example(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Logits in the order of the examples, however they lie in the batch."""
    logits, _, examples = answer_logits(model, batch)
    return logits[examples.argsort(stable=True)]


def read_encoder(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(hidden states [rows, width, hidden], their mask) of an encoder-decoder's input, the virtual tokens before it included."""
    base = body(model)
    embeds = base.get_input_embeddings()(input_ids)
    if soft_prompt(model) and not remembers(model):
        virtual = model.get_prompt(len(input_ids)).to(embeds.dtype)
        embeds = torch.cat([virtual, embeds], 1)
        attention_mask = torch.cat([attention_mask.new_ones(virtual.shape[:2]), attention_mask], 1)
    hidden: torch.Tensor = base.get_encoder()(inputs_embeds=embeds, attention_mask=attention_mask).last_hidden_state
    return hidden, attention_mask


def _caching(model: Any) -> dict[str, Any]:
    """A prefix travels in the cache, so it needs one; for anything else a cache would only cost memory."""
    return {"use_cache": remembers(model)}
