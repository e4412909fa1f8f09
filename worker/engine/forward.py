"""One pass over a batch of examples, with logits only where an answer token is predicted: the training loss and the reference likelihoods."""

from typing import Any

import torch

from worker.engine.batches import IGNORED, Example, collate, on_device
from worker.engine.prefix import begin, body, remembers, soft_prompt, virtual_tokens
from worker.engine.shards import bare

LEAST_SHARED = 64
"""Reading a shared start apart is worth its fixed cost (all weights are read once more, forward and backward) from so many token readings
saved. `python -m bench.shared` measures it; docs/benchmarks.md has the table."""


def answer_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits [answer tokens, vocabulary], those tokens, the row of each), for a batch of `collate`.

    Projecting only these positions onto the vocabulary saves most of the cost of a small model. What all examples start with, the
    soft prompt included, is read once and not once an example where the batch says so (`shared`): the gradients of the examples meet
    in its keys and values, so the sum is the same.
    """
    own = bare(model)
    if "decoder_input_ids" in batch:
        keep, targets = batch["labels"] != IGNORED, batch["labels"]
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "decoder_input_ids")}
        logits = model(**inputs, **_caching(own)).logits[keep]
    else:
        keep, targets = torch.zeros_like(batch["labels"], dtype=torch.bool), batch["labels"].roll(-1, 1)
        keep[:, :-1] = batch["labels"][:, 1:] != IGNORED
        if _shares(own, batch):
            return _after_shared(model, batch, keep), targets[keep], keep.nonzero()[:, 0]
        shifted = keep if remembers(own) else torch.nn.functional.pad(keep, (virtual_tokens(own), 0))
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=shifted, **_caching(own)).logits
    return logits, targets[keep], keep.nonzero()[:, 0]


def reads_shared_starts(model: Any) -> bool:
    """Whether this model gives the same logits when a batch's common start is read once: found out by a small trial.

    Encoder-decoders read their input in both directions, and layers with a state or a window of their own may not go on from a repeated cache.
    """
    if model.config.is_encoder_decoder:
        return False
    examples = [Example((1, 2, 3, *range(4, 4 + rest)), (7, 8)) for rest in (1, 3)] * (LEAST_SHARED // 3)
    batch = on_device(collate(examples, 0), model.device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            apart, together = answer_logits(model, batch)[0], answer_logits(model, batch | {"shared": 3})[0]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return False
    finally:
        model.train(training)
    # Rounding grows with the logits; a token that sees the wrong ones is off by a large part of them.
    within = (1e-3 if model.dtype == torch.float32 else 1e-2) * float(apart.abs().max())
    return float((apart.float() - together.float()).abs().max()) <= within


def _shares(model: Any, batch: dict[str, Any]) -> bool:
    """Whether the batch's common start is read once: asked for by the batch, and worth it."""
    if "shared" not in batch:
        return False
    apart = 0 if remembers(model) else virtual_tokens(model)
    return (len(batch["input_ids"]) - 1) * (apart + int(batch["shared"])) >= LEAST_SHARED


def _after_shared(model: Any, batch: dict[str, Any], keep: torch.Tensor) -> torch.Tensor:
    """The kept logits of a batch whose first `shared` ids are the same in every row: those are read in one row."""
    shared, rows = int(batch["shared"]), len(batch["input_ids"])
    cache = begin(model, batch["input_ids"][:1, :shared])
    start = int(cache.get_seq_length())
    cache.batch_repeat_interleave(rows)
    mask = torch.nn.functional.pad(batch["attention_mask"][:, shared:], (start, 0), value=1)
    logits: torch.Tensor = body(model)(
        input_ids=batch["input_ids"][:, shared:], attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=keep[:, shared:]
    ).logits
    return logits


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
