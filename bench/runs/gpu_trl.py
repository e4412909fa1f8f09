"""TRL's SFTTrainer for bench.gpu, on rows of token ids. Without `defaults` it keeps its activations, as the other sides do."""

from typing import Any

from datasets import Dataset
from gpu_measure import Clock, Counting, features, finish, is_memory, job, precision, say
from gpu_trainer import Timer, common, lora
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    chosen = job()
    clock, tokenizer = Clock(chosen), AutoTokenizer.from_pretrained(chosen["model"])
    rows = features(chosen, tokenizer.eos_token_id)
    own: dict[str, Any] = {} if chosen["defaults"] else {"gradient_checkpointing": False}
    try:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(chosen["model"], dtype=precision(chosen)),
            args=SFTConfig(**common(chosen), **own, max_length=max(len(row["input_ids"]) for row in rows)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora(chosen),
            callbacks=[Timer(clock)],
        )
        collator = trainer.data_collator = Counting(trainer.data_collator)
        trainer.train()
    except RuntimeError as error:
        if not is_memory(error):
            raise
        say({"fits": False})
    finish(chosen, clock, collator.work, ("torch", "transformers", "peft", "accelerate", "trl"))


if __name__ == "__main__":
    main()
