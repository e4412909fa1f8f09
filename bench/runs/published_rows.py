"""Published results that Fettle can run, with their source, their settings, and where Fettle cannot follow them exactly."""

from dataclasses import dataclass, field
from typing import Any

LORA_PAPER = "Hu et al. 2022, arXiv 2106.09685, table 3"
PROMPTS = "google-research/prompt-tuning, pretrained_prompts/t5_1_1_lm100k_base/README.md"
PEFT = "huggingface/peft, method_comparison/MetaMathQA/results, July 2026, one L40S"


@dataclass(frozen=True)
class Data:
    """Files of a folder in FETTLE_BENCH_DATA: JSON lines with `columns`, and `output` (in the test file `references`, a list, for BLEU)."""

    folder: str
    test: str
    columns: tuple[str, ...]
    rows: int
    """Of the published training set: with fewer the figures cannot be compared."""
    source: str
    references: bool = False


@dataclass(frozen=True)
class Row:
    """One published result. `published` are its scores in percent; `differs` says what Fettle does otherwise."""

    title: str
    model: str
    data: Data
    prompt: str
    method: str
    parameters: dict[str, Any]
    scorer: str
    max_tokens: int
    published: dict[str, float]
    source: str
    differs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    opening: str = ""
    """The text that a soft prompt starts from, in whose place it stands."""
    generation: dict[str, Any] = field(default_factory=dict)
    """Beam search, which Fettle's own runner does not do: transformers does it."""


E2E = Data("e2e_nlg", "test_multiref.jsonl", ("input",), 42_061, "trainset.csv and testset_w_refs.csv of github.com/tuetschek/e2e-dataset", references=True)
SST2 = Data("glue_sst2", "validation.jsonl", ("sentence",), 67_349, "GLUE SST-2, output: positive or negative")
MRPC = Data("glue_mrpc", "validation.jsonl", ("sentence1", "sentence2"), 3_668, "GLUE MRPC, output: equivalent or not_equivalent")
RTE = Data("glue_rte", "validation.jsonl", ("sentence1", "sentence2"), 2_490, "GLUE RTE, output: entailment or not_entailment")
MATH = Data(
    "metamathqa",
    "test.jsonl",
    ("query",),
    395_000,
    "train: meta-math/MetaMathQA, query and its response as output; test: the test split of openai/gsm8k, question and answer",
)

E2E_DIFFERS = (
    "the rate falls as a cosine, not linearly",
    "gradients are clipped at norm 1",
    "AdamW without weight decay",
    "no label smoothing (published: 0.1 for LoRA)",
)
T5_DIFFERS = (
    "AdamW at a rate of 0.1 (published: Adafactor at 0.3)",
    "the prompt starts from the labels' text, repeated, not from one label a token",
    "answers are read after greedy decoding, as published, but the last step counts, not the best checkpoint",
)
PEFT_DIFFERS = ("the loss is on the answer alone (published: on question and answer)", "AdamW without weight decay (published: 0.1)")


def e2e(method: str, score: float, parameters: dict[str, Any], *more: str) -> Row:
    beams = {"num_beams": 10, "length_penalty": 0.9, "no_repeat_ngram_size": 4}
    common = {"epochs": 5.0, "batch_size": 8, "warmup": 0.019, "max_length": 512, "fit": "cut_tail"}
    title, published = f"GPT-2 medium, E2E, {method}", {"BLEU": score}
    return Row(title, "gpt2-medium", E2E, "{input} ||", method, common | parameters, "bleu", 64, published, LORA_PAPER, (*E2E_DIFFERS, *more), generation=beams)


def t5(name: str, data: Data, prompt: str, labels: tuple[str, ...], batch: int, published: dict[str, float]) -> Row:
    chosen = {
        "virtual_tokens": 100,
        "learning_rate": 0.1,
        "schedule": "constant",
        "max_steps": 30_000,
        "batch_size": batch,
        "max_length": 512,
        "fit": "cut_tail",
    }
    title, model = f"T5 1.1 LM-adapted base, {name}, prompt_tuning", "google/t5-base-lm-adapt"
    return Row(title, model, data, prompt, "prompt_tuning", chosen, "exact", 8, published, PROMPTS, T5_DIFFERS, labels)


def peft(name: str, method: str, score: float, parameters: dict[str, Any], *more: str, opening: str = "") -> Row:
    common = {"max_steps": 5_000, "batch_size": 4, "max_length": 768, "fit": "cut_head", "warmup": 0.1, "learning_rate": 1e-4}
    prompt, title, differs = "Question: {query} Think step by step.\nAnswer:", f"Llama-3.2-3B, MetaMathQA, {name}", (*PEFT_DIFFERS, *more)
    published = {"accuracy": score}
    return Row(title, "meta-llama/Llama-3.2-3B", MATH, prompt, method, common | parameters, "number", 512, published, PEFT, differs, opening=opening)


INSTRUCTION = (
    "You are a helpful math assistant. Solve mathematical problems by thinking step by step. First, identify what the problem is asking. "
    "Then, break down the solution into clear logical steps. Show all your work and calculations. Finally, verify that your answer makes sense."
)
"""Whose keys and values the best prefix of the PEFT table starts from (prefixtuning/llama-3.2-3B-tokens50-init_prefix-lr_0.005 there)."""

LORA = {"dropout": 0.0, "targets": "attention", "alpha": 64.0}
ROWS = {
    "e2e-full": e2e("full", 68.2, {"learning_rate": 5e-5, "batch_size": 10}),
    "e2e-prefix": e2e(
        "prefix",
        69.7,
        {"learning_rate": 8e-5, "batch_size": 10, "virtual_tokens": 5, "projection": True, "encoder_size": 512, "init": "small"},
        "settings of Li and Liang 2021, decoded like the other rows",
    ),
    "e2e-lora": e2e(
        "lora",
        70.4,
        {"learning_rate": 2e-4, "rank": 4, "alpha": 32.0, "dropout": 0.1, "targets": "attention"},
        "GPT-2 holds query, key and value in one layer: keys are adapted too (published: query and value)",
    ),
    "t5-sst2": t5("SST-2", SST2, "sst2 sentence: {sentence}", ("positive", "negative"), 128, {"accuracy": 95.07}),
    "t5-mrpc": t5(
        "MRPC",
        MRPC,
        "mrpc sentence1: {sentence1} sentence2: {sentence2}",
        ("equivalent", "not_equivalent"),
        32,
        {"accuracy": 85.3, "F1": 89.7},
    ),
    "t5-rte": t5("RTE", RTE, "rte sentence1: {sentence1} sentence2: {sentence2}", ("entailment", "not_entailment"), 32, {"accuracy": 68.6}),
    "peft-rslora64": peft("LoRA r64 rsLoRA", "lora", 51.3, LORA | {"rank": 64, "variant": "rslora"}),
    "peft-lora32": peft("LoRA r32", "lora", 47.8, LORA | {"rank": 32}),
    "peft-dora32": peft("DoRA r32", "lora", 46.9, LORA | {"rank": 32, "variant": "dora"}),
    "peft-full": peft("full, rate 1e-5", "full", 47.2, {"learning_rate": 1e-5}),
    "peft-prefix": peft("prefix, 200 tokens from zero, rate 5e-3", "prefix", 35.8, {"virtual_tokens": 200, "init": "zero", "learning_rate": 5e-3}),
    "peft-prefix-instruction": peft(
        "prefix, 50 tokens from an instruction, rate 5e-3",
        "prefix",
        41.6,
        {"virtual_tokens": 50, "init": "text", "learning_rate": 5e-3},
        "it starts from the instruction's last 50 tokens (published: its first)",
        opening=INSTRUCTION,
    ),
    "peft-prefix-noise": peft(
        "prefix, 200 tokens from noise, rate 1e-3",
        "prefix",
        18.6,
        {"virtual_tokens": 200, "init": "small", "learning_rate": 1e-3},
        "the noise has a standard deviation of 0.02 (published: 1)",
    ),
    "peft-p-tuning": peft("P-tuning, 20 tokens", "p_tuning", 35.0, {"virtual_tokens": 20, "init": "random"}),
    "peft-prompt-vocabulary": peft(
        "prompt tuning, 200 tokens from the vocabulary, rate 1e-3", "prompt_tuning", 34.3, {"virtual_tokens": 200, "init": "vocabulary", "learning_rate": 1e-3}
    ),
    "peft-prompt-random": peft(
        "prompt tuning, 200 random tokens, rate 1e-3", "prompt_tuning", 23.4, {"virtual_tokens": 200, "init": "random", "learning_rate": 1e-3}
    ),
    "peft-prompt-slow": peft("prompt tuning, 200 random tokens, rate 1e-4", "prompt_tuning", 5.7, {"virtual_tokens": 200, "init": "random"}),
}
NOT_OFFERED = {
    "peft-lora-mlp": "Llama-3.2-3B, MetaMathQA, LoRA r10 on the MLP alone (accuracy 49.4)",
    "peft-ia3": "Llama-3.2-3B, MetaMathQA, IA3, rate 5e-3 (accuracy 45.5)",
    "peft-adalora": "Llama-3.2-3B, MetaMathQA, AdaLoRA r32 (accuracy 37.3)",
}
"""Rows of the same table whose method Fettle does not have."""
