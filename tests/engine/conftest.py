"""A model small enough to train in a second: a random Llama with two layers and a byte-level tokenizer, made here, on disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration, set_seed

from app.domain.methods import METHODS
from app.domain.rendering import Template
from worker.engine import precision
from worker.engine.load import Loaded, load
from worker.engine.serve import Scheduler
from worker.engine.spec import Row, TrainSpec

CHAT = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
SPECIAL = ("<|begin|>", "<|end|>", "<|turn|>")
WORDS = "a stirring, funny film. dull and long! Input: Output: positive negative the plot is very good bad\n\n it was not worth it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small gains nothing from more threads, and exact sums want a fixed number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def multiplying() -> Iterator[None]:
    """A processor that is said to multiply bfloat16, on which narrow models use it as well; every processor can, if slowly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
        patch.setattr(precision, "WIDE", 1)
        yield


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    backend.train_from_iterator([WORDS] * 50, trainer)
    backend.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    backend.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>", bos_token="<|begin|>")
    tokenizer.chat_template = CHAT
    return tokenizer


def make_model(folder: Path, *, seed: int) -> Path:
    tokenizer = make_tokenizer()
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model. Tests only read it."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny", seed=7)


def make_translator(folder: Path, *, seed: int) -> Path:
    """A tiny random encoder-decoder, whose tokenizer closes a text with its end token as T5's does."""
    tokenizer = make_tokenizer()
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)])
    set_seed(seed)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        initializer_factor=3.0,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random encoder-decoder. Tests only read it."""
    return make_translator(tmp_path_factory.mktemp("models") / "translator", seed=7)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, of the same shape with other weights."""
    return make_model(tmp_path_factory.mktemp("models") / "other", seed=8)


@pytest.fixture(scope="session")
def loaded(tiny: Path) -> Loaded:
    return load(tiny, device="cpu")


def toy_rows(count: int) -> list[Row]:
    """A task a tiny model can learn: the answer follows from one word."""
    subjects = ["the plot", "the film", "it", "the end", "a scene"]
    return [({"input": f"{subjects[n % 5]} is {'good' if n % 3 else 'bad'} {n % 7}"}, "positive" if n % 3 else "negative") for n in range(count)]


def toy_spec(base: Path, folder: Path, method: str = "lora", **changes: object) -> TrainSpec:
    """A short run on the toy task; `changes` replace the spec's fields, or its parameters'."""
    chosen: dict[str, object] = {"max_steps": 12, "batch_size": 8, "accumulation": 2, "learning_rate": 2e-2, "max_length": 64, "evaluations": 3}
    fields = {name: value for name, value in changes.items() if name in TrainSpec.__dataclass_fields__}
    chosen |= {name: value for name, value in changes.items() if name not in fields}
    own: dict[str, object] = {"rank": 4, "dropout": 0.1} if method == "lora" else {}
    parameters = METHODS[method].model_validate(own | chosen)
    spec: dict[str, object] = {
        "base": base,
        "template": Template(),
        "train": toy_rows(30),
        "validation": toy_rows(10),
        "labels": ("positive", "negative"),
        "method": method,
        "parameters": parameters,
        "seed": 3,
        "folder": folder,
        "device": "cpu",
        "threads": 1,
    }
    return TrainSpec(**(spec | fields))  # type: ignore[arg-type]


@pytest.fixture
def start() -> Iterator[Callable[..., Scheduler]]:
    running: list[Scheduler] = []

    def make(budget: int = 1 << 30, **changes: Any) -> Scheduler:
        running.append(Scheduler(budget, device="cpu", **changes))
        return running[-1]

    yield make
    for scheduler in running:
        scheduler.close()
