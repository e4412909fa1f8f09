"""A run of TRL's SFTTrainer, in its own environment. `options` of the job are SFTConfig arguments beyond what the comparison fixes."""

from typing import Any

from datasets import Dataset
from measure import Clock, finish, job
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Timer(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.clock.step()


def main() -> None:
    chosen, clock = job(), Clock()
    rows = Dataset.from_list([{"prompt": prompt, "completion": completion} for prompt, completion in chosen["train"]])
    config = SFTConfig(
        output_dir=chosen["folder"],
        max_steps=chosen["steps"],
        per_device_train_batch_size=chosen["batch_size"],
        learning_rate=chosen["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=round(0.1 * chosen["steps"]),
        seed=chosen["seed"],
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **chosen["options"],
    )
    lora = None
    if chosen["method"] == "lora":
        lora = LoraConfig(task_type="CAUSAL_LM", r=chosen["rank"], lora_alpha=2 * chosen["rank"], lora_dropout=0.05, target_modules=chosen["target_modules"])
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(chosen["model"], dtype="float32"),
        args=config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(chosen["model"]),
        peft_config=lora,
        callbacks=[Timer(clock)],
    )
    trainer.train()
    finish(clock.result(chosen["batch_size"]), chosen, trainer.model, ("torch", "transformers", "peft", "accelerate", "trl"))


if __name__ == "__main__":
    main()
