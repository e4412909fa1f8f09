"""What Trainer is told about a run."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from app.domain.methods.base import MethodParameters
from worker.engine.ranks import ALONE, Ranks


def arguments(
    folder: Path, parameters: MethodParameters, rate: float, total: int, seed: int, device: torch.device, ranks: Ranks = ALONE, *, mixed: bool = False
) -> TrainingArguments:
    """What Trainer is told. Its own logging, validating and saving schedules are off: `loop._Watch` decides."""
    on_gpu = device.type == "cuda"
    chosen = TrainingArguments(
        output_dir=str(folder),
        max_steps=total,
        per_device_train_batch_size=-(-parameters.batch_size // ranks.world),
        learning_rate=rate,
        lr_scheduler_type="cosine" if parameters.schedule == "cosine" else "constant_with_warmup",
        warmup_steps=round(parameters.warmup * total),
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=mixed and on_gpu,
        use_cpu=not on_gpu,
        seed=seed + ranks.rank,  # ranks that dropped out the same places would learn less
        average_tokens_across_devices=True,
        ddp_backend=None if on_gpu or ranks.world == 1 else "gloo",
        ddp_find_unused_parameters=None if parameters.name == "full" else False,  # an adapter is used whole
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        logging_nan_inf_filter=False,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    # One process drives one GPU. Left alone, Trainer would spread a batch over all it sees by threads; several go through accelerate.
    chosen._n_gpu = min(chosen.n_gpu, 1)
    return chosen
