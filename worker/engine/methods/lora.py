"""LoRA: a low-rank update beside linear layers (Hu et al. 2021, arXiv 2106.09685), and its variants.

rsLoRA: arXiv 2312.03732. DoRA: arXiv 2402.09353. PiSSA: arXiv 2404.02948. QLoRA: arXiv 2305.14314.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, prepare_model_for_kbit_training
from transformers.pytorch_utils import Conv1D

from app.domain.methods.lora import Lora
from app.errors import Invalid
from worker.engine.dropout import replace_dropout
from worker.engine.methods.soft import task
from worker.engine.shards import trainable

INITIAL = "_pissa_initial"
"""Where a PiSSA model keeps its untrained adapter: what was trained is the difference to it."""


def prepare(model: Any, parameters: Lora, opening: Sequence[int]) -> Any:
    """The model with fresh adapters, which start as no change at all. Their precision is float32, also over a bfloat16 model.

    Raises Invalid `no_attention_targets` when peft does not know this architecture's query and value projections.
    """
    if parameters.four_bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(
        task_type=task(model),
        r=parameters.rank,
        lora_alpha=parameters.alpha,
        lora_dropout=parameters.dropout,
        target_modules="all-linear" if parameters.targets == "all_linear" else None,
        use_rslora=parameters.variant == "rslora",
        use_dora=parameters.variant == "dora",
        init_lora_weights="pissa" if parameters.variant == "pissa" else True,
        # GPT-2's linear layers hold their weights the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    try:
        peft = get_peft_model(model, config)
    except ValueError as error:
        if parameters.targets == "all_linear":
            raise
        raise Invalid(
            "no_attention_targets", f"Which layers of {model.config.model_type} are query and value is not known.", "Choose targets: all_linear."
        ) from error
    if model.device.type == "cpu":
        replace_dropout(peft)
    if parameters.variant == "pissa":
        setattr(peft, INITIAL, {name: tensor.detach().clone().cpu() for name, tensor in get_peft_model_state_dict(peft).items()})
    return peft


def exported(model: Any) -> tuple[dict[str, torch.Tensor], int]:
    """(the adapter's tensors, by how much its rank and alpha grow) such that it fits the base model as it was before tuning.

    PiSSA moves the weights' main directions out of the base model and into the adapter. Undone, W' + BA becomes W + BA - B0 A0: an
    ordinary adapter of twice the rank, for any software.
    """
    tensors = get_peft_model_state_dict(model, state_dict=trainable(model))
    initial = getattr(model, INITIAL, None)
    if initial is None:
        return tensors, 1
    joined = {}
    for name, tensor in tensors.items():
        first = initial[name].to(tensor)
        joined[name] = torch.cat([tensor, first], 0) if "lora_A" in name else torch.cat([tensor, -first], 1)
    return joined, 2
