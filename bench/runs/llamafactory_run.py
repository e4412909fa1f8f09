"""A run of LLaMA-Factory, in its own environment. `options` of the job are arguments of its training beyond what the comparison fixes."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from llamafactory.train.tuner import run_exp
from measure import Clock, finish, job
from transformers import AutoTokenizer, TrainerCallback

TARGETS = {"all_linear": "all", "attention": "q_proj,v_proj"}


class Timer(TrainerCallback):
    """Ticks the clock at each step; the run is measured and over when its last one is done, before anything is saved."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        self.chosen, self.clock = chosen, Clock()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.clock.step()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        names = ("torch", "transformers", "peft", "accelerate", "llamafactory")
        measured = self.clock.result(self.chosen["batch_size"])
        finish(measured, self.chosen, kwargs["model"].float(), names)  # it holds the frozen weights in bfloat16


def main() -> None:
    chosen = job()
    folder = Path(chosen["folder"]) / "llamafactory"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Its template `empty` adds nothing, no end token either: the answers bring it, so that all sides learn the same tokens.
    end = AutoTokenizer.from_pretrained(chosen["model"]).eos_token
    rows = [{"instruction": prompt, "output": completion + end} for prompt, completion in chosen["train"]]
    (folder / "rows.json").write_text(json.dumps(rows))
    columns = {"prompt": "instruction", "response": "output"}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json", "columns": columns}}))
    run_exp(arguments(chosen, folder), [Timer(chosen)])


def arguments(chosen: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What its command line would be told."""
    lora = {"lora_rank": chosen["rank"], "lora_alpha": 2 * chosen["rank"], "lora_dropout": 0.05, "lora_target": TARGETS.get(chosen["targets"])}
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": chosen["model"],
        "finetuning_type": chosen["method"],
        **(lora if chosen["method"] == "lora" else {}),
        "template": "empty",
        "dataset": "rows",
        "dataset_dir": str(folder),
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "output"),
        "max_steps": chosen["steps"],
        "per_device_train_batch_size": chosen["batch_size"],
        "learning_rate": chosen["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(0.1 * chosen["steps"]),
        "bf16": any(torch.cpu.get_capabilities().get(name) for name in ("amx_bf16", "avx512_bf16")),  # all its examples have it; others take many times longer
        "seed": chosen["seed"],
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **chosen["options"],
    }


if __name__ == "__main__":
    main()
