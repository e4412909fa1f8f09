"""A model folder in, a model and its tokenizer out. Only safetensors, only local files, never code that came with a model."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BitsAndBytesConfig, GgufConfig
from transformers.distributed import DistributedConfig
from transformers.utils import logging

from app.domain.methods.base import CANNOT_CUT
from app.domain.shape import ModelShape, shape_of
from app.errors import Invalid
from worker.engine.cascade import cascades
from worker.engine.folders import fingerprint, whole
from worker.engine.memory import memory_told
from worker.engine.prefix import virtual_tokens
from worker.engine.prepacked import prepack

__all__ = [
    "Loaded",
    "convert_gguf",
    "fingerprint",
    "load",
    "load_config",
    "load_tokenizer",
    "loading",
    "needed_bytes",
    "parameters",
    "shape",
    "tensor_shapes",
    "window",
    "window_of",
]

logging.disable_progress_bar()

TELL_SECONDS = 0.2


@dataclass(frozen=True)
class Loaded:
    """A model ready to run, in evaluation mode. `dtype_reason` says why it has that precision, `cascades` whether rows are read behind one copy of their start."""

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    dtype_reason: str
    cascades: bool = False

    @property
    def encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def bytes(self) -> int:
        """Memory of the parameters and buffers."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def load(
    folder: Path, *, adapter: Path | None = None, device: str = "auto", four_bit: bool = False, pieces: int = 1, exact: bool = False, answering: bool = False
) -> Loaded:
    """The model in `folder`, with the adapter on it if one is named. Raises Invalid when the files are not such a model.

    bfloat16 on a GPU that computes in it, float32 elsewhere and with `exact`. `device` is "auto" or a torch device name. With `four_bit` the weights
    of its linear layers are held in 4 bits (QLoRA's NF4), which takes an NVIDIA GPU and bitsandbytes. With `pieces` each of so many
    ranks holds one piece of every parameter (FSDP), read straight from the file. `answering`: it only answers, faster on a processor (worker/engine/prepacked.py, worker/engine/cascade.py).
    """
    where = _device(device)
    # cuDNN plans its attention anew for every shape, which takes longer than many steps: lengths differ in each of ours.
    torch.backends.cuda.enable_cudnn_sdp(False)
    dtype, reason = (torch.float32, "float32: asked for") if exact else _precision(where)
    config = load_config(folder)
    with _readable(folder):
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        special = _four_bit(four_bit, where) | _cut(pieces, config)
        model = kind.from_pretrained(folder, config=config, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False, **special)
    if adapter is not None:
        model = _with_adapter(model, adapter)
    with memory_told(where, lambda: "Loading the model", "End what else uses that memory, or choose a smaller model; then retry."):
        model = (model if four_bit or pieces > 1 else model.to(where)).eval()
        if answering:
            prepack(model)
    return Loaded(model, load_tokenizer(folder), where, dtype, reason, answering and cascades(model))


@contextmanager
def loading(tell: Callable[[float], None]) -> Iterator[None]:
    """Within the block, `tell` is told which fraction of a model's tensors is loaded, at most every TELL_SECONDS."""

    def counted(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bar, total = factory(*args, **kwargs), len(args[0]) if args and hasattr(args[0], "__len__") else 0
        return _told(bar, total, tell) if total and kwargs.get("desc") == "Loading weights" else bar

    before = logging.set_tqdm_hook(counted)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _told(items: Iterable[Any], total: int, tell: Callable[[float], None]) -> Iterator[Any]:
    last = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            tell(number / total)
        yield item


def load_config(folder: Path) -> Any:
    """What the model in `folder` is, without its weights. Raises Invalid as `load` does."""
    with _readable(folder):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer alone: light enough for token counts."""
    with _readable(folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def parameters(model: Any) -> tuple[int, int]:
    """(trainable, total) parameters; tied weights count once."""
    every = list(model.parameters())
    return sum(p.numel() for p in every if p.requires_grad), sum(p.numel() for p in every)


def window(model: Any) -> int:
    """The most tokens, prompt and answer together, the model takes at once besides its soft prompt."""
    return window_of(model.config) - virtual_tokens(model)


def window_of(config: Any) -> int:
    """The same by the model's configuration, a soft prompt not counted."""
    return int(getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or 1 << 30)


def shape(folder: Path) -> ModelShape:
    """The sizes of the model in `folder`, from the headers of its files. Raises Invalid as `load` does, `shape_unknown` where they do not say them."""
    load_config(folder)  # says it in words when it is not there
    with _readable(folder):
        tensors = {name: sizes for file in folder.glob("*.safetensors") for name, sizes in tensor_shapes(file).items()}
    return shape_of(json.loads((folder / "config.json").read_text()), tensors)


def tensor_shapes(file: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors in a safetensors file, from its header alone."""
    with safe_open(file, framework="pt") as tensors:
        return {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118  # not a dict


def needed_bytes(folder: Path, *, adapter: Path | None = None, device: str = "auto") -> int:
    """Memory a model's parameters will take once loaded, from the headers of its files."""
    size = torch.empty((), dtype=_precision(_device(device))[0]).element_size()
    files = [*folder.glob("*.safetensors"), *(adapter.glob("*.safetensors") if adapter else ())]
    with _readable(folder):
        return sum(math.prod(shape) * size for file in files for shape in tensor_shapes(file).values())


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write a GGUF file's model as a float32 safetensors folder with its tokenizer; `target` appears whole or not at all."""
    with _readable(gguf), whole(target) as folder:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), local_files_only=True
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _four_bit(wanted: bool, device: torch.device) -> dict[str, Any]:
    if not wanted:
        return {}
    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        raise Invalid(
            "four_bit_unavailable",
            "Holding a model in 4 bits needs an NVIDIA GPU and the package bitsandbytes.",
            "Turn four_bit off, or run this on such a machine.",
        )
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": config, "device_map": {"": device}}


def _cut(pieces: int, config: Any) -> dict[str, Any]:
    if pieces == 1:
        return {}
    if config.is_encoder_decoder:
        raise Invalid(*CANNOT_CUT)
    return {"distributed_config": DistributedConfig(fsdp_size=pieces)}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _precision(device: torch.device) -> tuple[torch.dtype, str]:
    if device.type != "cuda":
        return torch.float32, "float32: on a processor weights are held in it, and answers computed"
    if not torch.cuda.is_bf16_supported():
        return torch.float32, "float32: this GPU does not compute in bfloat16"
    return torch.bfloat16, "bfloat16: half the memory, and the range of float32"


def _with_adapter(model: Any, adapter: Path) -> Any:
    """Put an adapter on a model, and make sure that every one of its tensors found its place (peft by itself says nothing)."""
    file = adapter / "adapter_model.safetensors"
    with _readable(adapter):
        config = PeftConfig.from_pretrained(adapter, local_files_only=True)
        config.inference_mode = True
        peft = get_peft_model(model, config)
        found = tensor_shapes(file)
    wanted = {name: list(tensor.shape) for name, tensor in get_peft_model_state_dict(peft).items()}
    if found != wanted:
        odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise Invalid("adapter_mismatch", f"The adapter does not fit this model: {odd[0]} and {len(odd) - 1} more tensors differ.", "Use its own base model.")
    set_peft_model_state_dict(peft, load_file(file))
    return peft


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the libraries raise about a bad folder into one clear error; the cause stays attached for the log."""
    if not path.exists():
        raise Invalid("model_missing", f"There is no model at {path.name}.", "Add the model again.")
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        first_line = (str(error).replace(str(path), path.name).strip() or type(error).__name__).splitlines()[0]
        raise Invalid("model_unreadable", f"{path.name} cannot be loaded: {first_line}", "Check that it is a complete safetensors model folder.") from error
