"""Makes the model folder of a shape: random weights and a tokenizer whose words w2, w3, ... are one token each. The folder appears whole."""

from pathlib import Path
from typing import Any

import torch
from gpu_measure import is_memory, job, say
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

END, UNKNOWN = "<end>", "<unknown>"
WORDS = 512


def main() -> None:
    chosen = job()
    try:
        make(chosen)
    except RuntimeError as error:
        if not is_memory(error):
            raise
        say({"fits": False})
    say({"fits": True})


def make(chosen: dict[str, Any]) -> None:
    folder, shape = Path(chosen["folder"]), chosen["shape"]
    draft = folder.with_name(f"{folder.name}.draft")
    words = Tokenizer(models.WordLevel({END: 0, UNKNOWN: 1, **{f"w{number}": number for number in range(2, WORDS)}}, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=END, unk_token=UNKNOWN)
    config = LlamaConfig(
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_heads"],
        head_dim=shape["head_size"],
        intermediate_size=shape["inner"],
        vocab_size=shape["vocabulary"],
        tie_word_embeddings=shape["tied"],
        max_position_embeddings=131_072,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(chosen["device"]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if chosen["device"] == "cuda" else torch.float32)
    model.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    draft.rename(folder)


if __name__ == "__main__":
    main()
