"""One pass over a batch of examples, with logits only where an answer token is predicted: the training loss and the reference likelihoods."""

from typing import Any

import torch

from worker.engine.batches import IGNORED
from worker.engine.prefix import body, remembers, soft_prompt, virtual_tokens
from worker.engine.shards import bare


def answer_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits [answer tokens, vocabulary], those tokens, the row of each), for a batch of `collate`.

    Projecting only these positions onto the vocabulary saves most of the cost of a small model.
    """
    own = bare(model)
    if "decoder_input_ids" in batch:
        keep, targets = batch["labels"] != IGNORED, batch["labels"]
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "decoder_input_ids")}
        logits = model(**inputs, **_caching(own)).logits[keep]
    else:
        keep, targets = torch.zeros_like(batch["labels"], dtype=torch.bool), batch["labels"].roll(-1, 1)
        keep[:, :-1] = batch["labels"][:, 1:] != IGNORED
        shifted = keep if remembers(own) else torch.nn.functional.pad(keep, (virtual_tokens(own), 0))
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=shifted, **_caching(own)).logits
    return logits, targets[keep], keep.nonzero()[:, 0]


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
