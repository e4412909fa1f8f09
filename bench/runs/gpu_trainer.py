"""A plain transformers.Trainer for bench.gpu, written as anybody would: its defaults, rows padded to the longest of their batch."""

from typing import Any

from gpu_measure import Clock, Counting, features, finish, is_memory, job, precision, say
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments


class Timer(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.clock.step()


def common(chosen: dict[str, Any]) -> dict[str, Any]:
    """Arguments that Trainer and TRL share."""
    return {
        "output_dir": chosen["folder"],
        "max_steps": chosen["steps"],
        "per_device_train_batch_size": chosen["batch_size"],
        "learning_rate": 1e-5,
        "bf16": chosen["device"] == "cuda",
        "use_cpu": chosen["device"] == "cpu",
        "seed": 0,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def lora(chosen: dict[str, Any]) -> LoraConfig | None:
    if chosen["method"] == "full":
        return None
    return LoraConfig(task_type="CAUSAL_LM", r=chosen["rank"], lora_alpha=2 * chosen["rank"], lora_dropout=0.0, target_modules="all-linear")


def main() -> None:
    chosen = job()
    clock, tokenizer = Clock(chosen), AutoTokenizer.from_pretrained(chosen["model"])
    collator = Counting(DataCollatorForSeq2Seq(tokenizer))
    rows = features(chosen, tokenizer.eos_token_id)
    try:
        model = AutoModelForCausalLM.from_pretrained(chosen["model"], dtype=precision(chosen))
        if config := lora(chosen):
            model = get_peft_model(model, config)
        Trainer(model, TrainingArguments(**common(chosen)), data_collator=collator, train_dataset=rows, callbacks=[Timer(clock)]).train()
    except RuntimeError as error:
        if not is_memory(error):
            raise
        say({"fits": False})
    finish(chosen, clock, collator.work, ("torch", "transformers", "peft", "accelerate"))


if __name__ == "__main__":
    main()
