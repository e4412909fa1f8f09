"""What a training run leaves: an adapter or a whole model as safetensors, and `run.json`, which says how it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.domain.methods import METHODS
from app.errors import Invalid
from worker.engine.folders import verify, whole
from worker.engine.load import load, needed_bytes, tensor_shapes
from worker.engine.methods.lora import exported
from worker.engine.room import SMALL, ask_for_room, room
from worker.engine.shards import cut_like, trainable, whole_tensor

RUN = "run.json"
MERGED = "the merged model"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Artefact:
    """A checked artefact: `kind` is "adapter" or "full", `facts` is what run.json says."""

    folder: Path
    kind: str
    facts: Mapping[str, Any]


def versions() -> dict[str, str]:
    """Versions of what computed the result."""
    return {"python": python_version(), **{name: version(name) for name in LIBRARIES}}


def save(model: Any, tokenizer: Any, folder: Path, facts: Mapping[str, Any]) -> Artefact:
    """Write the trained model to `folder`, whole or not at all. Raises Invalid `weights_not_finite` for NaN or infinite weights."""
    kind = "adapter" if isinstance(model, PeftModel) else "full"
    with whole(folder) as inside:
        if kind == "adapter":
            _save_adapter(model, inside)
        else:
            model.save_pretrained(inside)
            tokenizer.save_pretrained(inside)
        tensors = {file.name: tensor_shapes(file) for file in _weights(inside)}
        _refuse_not_finite(inside)
        (inside / RUN).write_text(json.dumps({"kind": kind, **facts, "versions": versions(), "tensors": tensors}, indent=1))
    return check(folder)


def check(folder: Path) -> Artefact:
    """The artefact in a folder, after verifying files, tensor names, shapes and values.

    Raises Invalid `files_changed`, `tensors_changed` or `weights_not_finite`.
    """
    verify(folder)
    facts = json.loads((folder / RUN).read_text())
    found = {file.name: tensor_shapes(file) for file in _weights(folder)}
    if found != facts["tensors"]:
        raise Invalid("tensors_changed", "The artefact's tensors are not the ones that were trained.", "Restore it from a backup, or train again.")
    _refuse_not_finite(folder)
    return Artefact(folder, facts["kind"], facts)


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Write base and adapter as one plain model folder, for software that knows no adapters. Raises Invalid when the method cannot be merged, and
    NotYet or Invalid `disk_full` without room for it (see `ask_for_merged`): nothing is left of it then."""
    method = METHODS[check(adapter).facts["method"]]
    if method.unmergeable:
        raise Invalid("cannot_merge", method.unmergeable, "Export the adapter instead.")
    needed = ask_for_merged(base, target)
    loaded = load(base, adapter=adapter, device="cpu")
    with room(target.parent, needed, MERGED), whole(target) as folder:
        loaded.model.merge_and_unload().save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)


def ask_for_merged(base: Path, target: Path) -> int:
    """The bytes that a merged model takes, from the headers of its base. Raises NotYet or Invalid `disk_full` unless they are free where it will be."""
    needed = needed_bytes(base, device="cpu") + SMALL
    ask_for_room(target.parent, needed, MERGED)
    return needed


def save_trainable(model: Any, file: Path | None) -> None:
    """The parameters under training, by name, whatever the method; tied weights once.

    Of a model cut over several ranks all of them have to save at the same time; those without a file only hand over their pieces.
    """
    kept = {}
    for name, tensor in trainable(model).items():
        full = whole_tensor(tensor.detach())
        if file is not None:
            kept[name] = full.cpu().contiguous()
    if file is not None:
        save_file(kept, file)


def restore_trainable(model: Any, file: Path) -> None:
    """Put saved parameters back into a model prepared by the same method. Raises Invalid when they are not the same ones."""
    saved, own = load_file(file), trainable(model)
    if {name: tensor.shape for name, tensor in saved.items()} != {name: tensor.shape for name, tensor in own.items()}:
        raise Invalid("checkpoint_mismatch", "The checkpoint belongs to another model or method.", "Start the job afresh.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(cut_like(saved[name], tensor))


def _save_adapter(model: Any, folder: Path) -> None:
    tensors, growth = exported(model)
    model.save_pretrained(folder, state_dict=trainable(model), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    if growth > 1:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
        config |= {"r": config["r"] * growth, "lora_alpha": config["lora_alpha"] * growth, "init_lora_weights": True}
    # Where the base model lay on this machine is nobody's business; run.json names it by fingerprint.
    config["base_model_name_or_path"] = None
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _refuse_not_finite(folder: Path) -> None:
    for file in _weights(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # not a dict
                if not bool(torch.isfinite(tensors.get_tensor(name)).all()):
                    raise Invalid("weights_not_finite", f"{name} holds NaN or infinite values.", "Train again with a lower learning rate.")
