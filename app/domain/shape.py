"""The shape of a model, and from it what tuning it will take: pure arithmetic over config.json and the headers of its weights.

Memory of one optimiser step, in bytes (`memory`):

    weights     4 for each parameter on a CPU; on a GPU 2 (bfloat16), 4 when all are trained; half a byte in 4 bits
    training    12 more for each trained one: gradient 4, and AdamW's two moments (Kingma and Ba 2015, arXiv 1412.6980); 16 for an adapter's own;
                4 again where several devices each hold the whole model (DDP): the gradients as they are sent to the others
    activations tokens of a micro-batch * the numbers its layers keep for the way back; with checkpointing (Chen et al. 2016,
                arXiv 1604.06174) each layer keeps its input only, and one layer at a time all of it; a start that all examples have
                is read once, and its keys and values are repeated for each
    logits      answer tokens * vocabulary * 12: the logits, their log-softmax and its gradient, in float32
    process     what Python and the libraries take before the first weight

Cut into `pieces` over as many devices (FSDP) each holds its share of weights and training; whole are, one at a time, the layer that is computed
with the one that is fetched meanwhile, and the tables: one,
or two where the output layer has its own (reckoned from how FSDP goes about it, not measured).

What a layer keeps was counted with torch.autograd.graph.saved_tensors_hooks on SmolLM2-135M in float32, and is stated per number that
goes into or comes out of its linear layers, so that it carries over to other widths. `python -m bench.memory` compares the sum with
measured peaks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from app.errors import Invalid

OUTPUTS_PASSED = 1.6
"""Of the outputs of all linear layers, what a frozen model keeps so that gradients can pass through it: 8,294 of 5,184 a layer and token."""

INPUTS_OF_WEIGHTS = 0.6
"""More, of the inputs, when the weights are trained (11,238); query, key and value share one, and so do gate and up."""

INPUTS_OF_ADAPTERS = 0.4
"""More, of the inputs of adapted layers, for LoRA without dropout (10,159)."""

DROPPED_INPUTS = 1.9
"""The same with dropout: its mask and what it leaves, for each layer by itself (17,397)."""

OUTPUTS_OF_DORA = 2.1
"""More, of the outputs of adapted layers, for DoRA's directions and lengths (28,009)."""

REPEATS = 8.0
"""Of the keys and values of a start that is read once, how often each example keeps them: its copy, the copy that its own are put to, both
spread over the heads that share them, and their gradients on the way back (fitted to `python -m bench.memory`)."""

PROCESS_BYTES = {"cpu": 410_000_000, "cuda": 720_000_000}
"""Resident memory of a worker's process with torch, transformers and peft; a CUDA context and its libraries (seen on one H100)."""

KEPT_BYTES = {"cpu": 4, "cuda": 3}
"""Bytes of a kept number: float32 on a CPU; under bfloat16 mixed precision half of them are 2 bytes and the norms' are 4 (reckoned)."""

PASS_TOKENS = {"cpu": 768, "cuda": 8192}
"""Tokens that a forward and backward pass takes at most, a little padding aside, when nobody says how often a step is split; a longer example goes alone.
On a CPU splitting a step of 565 tokens in two takes a third more time, so few steps should be; docs/benchmarks.md has the memory. On a GPU what a step of the default batch and length
has, so that only larger ones are split."""

NOT_LINEAR = ("embed", "shared", "wte", "wpe", "relative_attention_bias", "lm_head")
"""Parts of the names of matrices that are tables or the output layer, which no adapter goes beside."""

SHAPE_UNKNOWN = "shape_unknown"

QUERY_VALUE = {
    **dict.fromkeys(("bart", "gemma", "gemma2", "gemma3_text", "gpt_neo", "gptj", "llama", "mistral", "mixtral", "opt", "qwen2", "qwen3", "stablelm"), ("q_proj", "v_proj")),
    **dict.fromkeys(("bloom", "falcon", "gpt_neox"), ("query_key_value",)),
    **dict.fromkeys(("mt5", "t5"), ("q", "v")),
    "gpt2": ("c_attn",),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
}  # fmt: skip
"""Which layers peft takes for query and value, by `model_type`; a test compares this with peft's own table."""


@dataclass(frozen=True)
class Linear:
    """A linear layer by its sizes."""

    outputs: int
    inputs: int


@dataclass(frozen=True)
class ModelShape:
    """`layers` and `key_value_width` are those a prefix is made for; `blocks` counts the layers of encoder and decoder together.

    `linear` are all layers that LoRA adapts, `attention` the query and value projections among them (none: not known for this family).
    """

    family: str
    parameters: int
    width: int
    layers: int
    blocks: int
    key_value_width: int
    vocabulary: int
    encoder_decoder: bool
    linear: tuple[Linear, ...]
    attention: tuple[Linear, ...]
    tables: int = 1
    """Matrices as long as the vocabulary: one that is the output layer as well, or two."""

    @property
    def passed(self) -> float:
        """Numbers per token that a frozen model keeps so that gradients pass through it."""
        return OUTPUTS_PASSED * sum(linear.outputs for linear in self.linear)


@dataclass(frozen=True)
class Micro:
    """One micro-batch, as long as the longest: `tokens` that are read, with padding and virtual tokens, and `answer_tokens` among them.

    `repeated` tokens are not read but remembered, being another example's as well.
    """

    tokens: int
    answer_tokens: int
    repeated: int = 0


def shape_of(config: Mapping[str, Any], tensors: Mapping[str, Sequence[int]]) -> ModelShape:
    """The shape of a model from its config.json and the shapes of its tensors. Raises Invalid `shape_unknown` where they do not say its sizes as others do."""
    try:
        return _shape_of(config, tensors)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise shape_unknown() from error


def shape_unknown() -> Invalid:
    """Whose model's sizes are not known does without an estimate."""
    return Invalid(SHAPE_UNKNOWN, "The model's files cannot be read from here.", "Its size is known once a worker has loaded it.")


def _shape_of(config: Mapping[str, Any], tensors: Mapping[str, Sequence[int]]) -> ModelShape:
    if not tensors:
        raise ValueError("no weights")
    text = config.get("text_config") or config
    width = _first(text, "hidden_size", "n_embd", "d_model")
    layers = _first(text, "num_hidden_layers", "num_layers", "n_layer")
    heads = _first(text, "num_attention_heads", "n_head", "num_heads", "encoder_attention_heads")
    groups = text.get("num_key_value_heads")
    own = _own(config, tensors)
    vocabulary = _first(text, "vocab_size")
    matrices = {name: Linear(*shape) for name, shape in own.items() if len(shape) == 2 and not any(part in name for part in NOT_LINEAR)}
    chosen = QUERY_VALUE.get(text.get("model_type", ""), ())
    encoder_decoder = bool(config.get("is_encoder_decoder"))
    return ModelShape(
        family=str(text.get("model_type", "this model")),
        parameters=sum(map(prod, own.values())),
        width=width,
        layers=layers,
        blocks=layers + int(text.get("num_decoder_layers") or text.get("decoder_layers") or layers) if encoder_decoder else layers,
        key_value_width=(text.get("head_dim") or width // heads) * groups if groups else width,
        vocabulary=vocabulary,
        encoder_decoder=encoder_decoder,
        linear=tuple(matrices.values()),
        attention=tuple(linear for name, linear in matrices.items() if name.split(".")[-2] in chosen),
        tables=max(1, sum(tuple(shape) == (vocabulary, width) for shape in own.values())),
    )


def _first(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    raise KeyError(names[0])


def _own(config: Mapping[str, Any], tensors: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """The tensors without copies of tied ones, which some files hold twice."""
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} if "shared.weight" in tensors else set()
    if config.get("tie_word_embeddings"):
        copies.add("lm_head.weight")
    return {name: shape for name, shape in tensors.items() if name not in copies}


def memory(
    shape: ModelShape,
    trainable: int,
    floats_per_token: float,
    micro: Micro,
    *,
    checkpointing: bool,
    four_bit: bool,
    device: str,
    pieces: int = 1,
    sent: bool = False,
) -> int:
    """Bytes one optimiser step takes at its peak, on a "cpu" or "cuda" device; `sent`: other devices are told its gradients (DDP). See the top of this file."""
    everything = trainable == shape.parameters
    weight = 4 if device == "cpu" or everything else 2
    in_four_bits = sum(linear.outputs * linear.inputs for linear in shape.linear) if four_bit else 0
    weights = weight * (shape.parameters - in_four_bits) + in_four_bits // 2 + (0 if everything else 4 * trainable)
    held = -(-(weights + (16 if sent else 12) * trainable) // pieces)
    if pieces > 1:
        tables = shape.tables * shape.vocabulary * shape.width
        held += weight * (tables + 2 * (shape.parameters - tables) // shape.blocks)
    return PROCESS_BYTES[device] + held + pass_bytes(shape, floats_per_token, micro, checkpointing=checkpointing, device=device)


def pass_bytes(shape: ModelShape, floats_per_token: float, micro: Micro, *, checkpointing: bool, device: str) -> int:
    """Of that, what a micro-batch takes: its activations and logits."""
    kept = floats_per_token
    if checkpointing:
        kept = kept / shape.blocks + shape.width * shape.blocks
    remembered = micro.repeated * REPEATS * 2 * shape.key_value_width * shape.layers
    return int((micro.tokens * kept + remembered) * KEPT_BYTES[device]) + micro.answer_tokens * shape.vocabulary * 12
