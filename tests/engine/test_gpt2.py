"""GPT-2, whose linear layers are Conv1D with their weights the other way round: LoRA finds them, and what is saved is what plain peft loads."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, set_seed

from tests.engine.conftest import make_tokenizer, toy_spec
from worker.engine.load import load
from worker.engine.reporting import NullReporter
from worker.engine.train import train

WIDTH, LAYERS, RANK = 32, 2, 4
PROJECTIONS = {"attn.c_attn": (WIDTH, 3 * WIDTH), "attn.c_proj": (WIDTH, WIDTH), "mlp.c_fc": (WIDTH, 4 * WIDTH), "mlp.c_proj": (4 * WIDTH, WIDTH)}
"""Every linear layer of a block: (inputs, outputs)."""


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer, folder = make_tokenizer(), tmp_path_factory.mktemp("models") / "gpt2"
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    set_seed(7)
    shape = {"n_positions": 256, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "initializer_range": 0.2}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **shape, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("targets", "layers"), [("all_linear", list(PROJECTIONS)), ("attention", ["attn.c_attn"])])
@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_lora_adapts_gpt2s_layers_and_plain_peft_computes_the_same(gpt2: Path, tmp_path: Path, targets: str, layers: list[str], variant: str) -> None:
    reporter = NullReporter()
    result = train(toy_spec(gpt2, tmp_path, "lora", rank=RANK, targets=targets, variant=variant, dropout=0.0), reporter)
    sizes = [PROJECTIONS[name] for name in layers]
    lengths = sum(wide for _, wide in sizes) if variant == "dora" else 0
    assert result.trainable == LAYERS * (RANK * sum(narrow + wide for narrow, wide in sizes) + lengths)
    losses = reporter.points("loss")
    assert losses[12] < 0.8 * losses[1]
    assert json.loads((result.artefact / "adapter_config.json").read_text())["fan_in_fan_out"] is True
    ids = torch.tensor([[9, 10, 11, 12, 40, 41]])
    ours = load(gpt2, adapter=result.artefact, device="cpu").model
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(gpt2), str(result.artefact)).eval()
    plain = AutoModelForCausalLM.from_pretrained(gpt2).eval()
    with torch.no_grad():
        mine, other, untuned = (model(input_ids=ids).logits for model in (ours, theirs, plain))
    torch.testing.assert_close(mine, other)
    assert not torch.allclose(mine, untuned, atol=1e-2)
