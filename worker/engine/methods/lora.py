"""LoRA: a low-rank update beside every linear layer except the output (Hu et al. 2021, arXiv 2106.09685)."""

from typing import Any

from peft import LoraConfig, TaskType, get_peft_model

from app.domain.methods.lora import Lora


def prepare(model: Any, parameters: Lora) -> Any:
    """The model with fresh adapters, which start as no change at all. Their precision is float32, also over a bfloat16 model."""
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=parameters.rank,
        lora_alpha=parameters.alpha,
        lora_dropout=parameters.dropout,
        target_modules="all-linear",
    )
    return get_peft_model(model, config)
