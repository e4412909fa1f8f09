"""Model folders in, models out: only safetensors, clear refusals, and a GGUF file made into a folder."""

import json
import shutil
from functools import reduce
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from safetensors.torch import load_file

from app.errors import Invalid
from worker.engine.load import convert_gguf, load, load_tokenizer, loading, needed_bytes, parameters, window


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_a_model_comes_with_its_device_precision_and_reason(tiny: Path) -> None:
    loaded = load(tiny, device="cpu")
    assert (loaded.device.type, loaded.dtype) == ("cpu", torch.float32)
    assert loaded.dtype_reason.startswith("float32:")
    assert not loaded.model.training
    assert window(loaded.model) == 512
    trainable, total = parameters(loaded.model)
    assert trainable == total == sum(tensor.numel() for tensor in load_file(tiny / "model.safetensors").values())
    assert needed_bytes(tiny) == total * 4
    assert loaded.bytes >= needed_bytes(tiny)


def test_pickled_weights_are_never_read(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(Invalid) as refused:
        load(copy, device="cpu")
    assert refused.value.code == "model_unreadable"


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", "{"), ("config.json", '{"model_type": "nonesuch"}'), ("model.safetensors", "x" * 100), ("tokenizer.json", "{")]
)
def test_broken_files_are_errors_for_a_person(copy: Path, name: str, content: str) -> None:
    (copy / name).write_text(content)
    with pytest.raises(Invalid, match="copy cannot be loaded"):
        load(copy, device="cpu")


def test_how_much_of_a_model_is_loaded_is_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.load.TELL_SECONDS", 0.0)
    told: list[float] = []
    with loading(told.append):
        load(tiny, device="cpu")
    assert told == sorted(set(told)) and len(told) > 5 and told[0] == 0.0 and told[-1] < 1.0
    load(tiny, device="cpu")
    assert len(told) == len(set(told)), "only within the block"


def test_an_encoder_decoder_loads_as_one(translator: Path) -> None:
    loaded = load(translator, device="cpu")
    assert loaded.encoder_decoder
    assert type(loaded.model).__name__ == "T5ForConditionalGeneration"


def test_four_bits_without_a_gpu_are_refused_before_anything_is_read(tiny: Path) -> None:
    with pytest.raises(Invalid, match="needs an NVIDIA GPU"):
        load(tiny, device="cpu", four_bit=True)


def test_code_that_came_with_a_model_is_not_run(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
    }
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(copy / 'canary')!r}, 'w')")
    with pytest.raises(Invalid, match="cannot be loaded"):
        load(copy, device="cpu")
    assert not (copy / "canary").exists()


def write_gguf(file: Path, source: Path) -> None:
    """The tiny model as a GGUF file of the Llama family."""
    loaded = load(source, device="cpu")
    config, tokenizer = loaded.model.config, loaded.tokenizer
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types([TokenType.CONTROL if index in tokenizer.all_special_ids else TokenType.NORMAL for index in range(len(tokenizer))])
    writer.add_token_merges([" ".join(merge) for merge in backend["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "model.layers": "blk", "model.embed_tokens": "token_embd", "model.norm": "output_norm"}  # fmt: skip
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in load_file(source / "model.safetensors").items():
        count = next((count for kind, count in heads.items() if kind in name), None)
        # GGUF keeps the halves of each head interleaved.
        laid = tensor if count is None else tensor.view(count, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        theirs = reduce(lambda text, pair: text.replace(*pair), names.items(), name)
        writer.add_tensor(theirs, laid.numpy().copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_a_folder_that_says_the_same(tiny: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny)
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "converted")
    before, after = load(tiny, device="cpu"), load(tmp_path / "converted", device="cpu")
    ids = torch.tensor([before.tokenizer("a stirring film")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(before.model(input_ids=ids).logits, after.model(input_ids=ids).logits, atol=1e-4)
    assert load_tokenizer(tmp_path / "converted")("a stirring film")["input_ids"] == ids[0].tolist()


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(Invalid):
        convert_gguf(tmp_path / "broken.gguf", tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]
