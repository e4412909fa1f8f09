"""What a tuning job would take, reckoned: a start that all examples share is read once, and so it is counted once."""

from dataclasses import replace

from app.domain.footprint import Lengths, begins, needs
from app.domain.methods import METHODS
from app.domain.rendering import Template
from app.domain.shape import PASS_TOKENS, Linear, ModelShape

LAYER = (Linear(576, 576), Linear(192, 576), Linear(192, 576), Linear(576, 576), Linear(1536, 576), Linear(1536, 576), Linear(576, 1536))
SHAPE = ModelShape(
    family="llama", parameters=134_515_008, width=576, layers=30, blocks=30, key_value_width=192, vocabulary=49_152, encoder_decoder=False,
    linear=30 * LAYER, attention=30 * (LAYER[0], LAYER[2]),
)  # fmt: skip
"""The starter model's."""
LONG = Lengths(example=400, answer=4, text=0)


def needed(lengths: Lengths, shape: ModelShape = SHAPE, method: str = "full", kind: str = "cpu", **parameters: object) -> int:
    return needs(shape, METHODS[method].model_validate(parameters), lengths, rows=64, kind=kind)


def test_a_shared_start_is_counted_once_where_it_is_read_once() -> None:
    shared = replace(LONG, shared=300)
    assert needed(shared, accumulation=1) < needed(LONG, accumulation=1)
    assert needed(shared) == needed(LONG)  # so long an example has a pass of its own
    assert needed(shared, checkpointing=True) == needed(LONG, checkpointing=True)
    assert needed(shared, devices=2) == needed(LONG, devices=2)
    assert needed(shared, replace(SHAPE, encoder_decoder=True)) == needed(LONG, replace(SHAPE, encoder_decoder=True))


def test_a_pass_has_as_many_examples_as_its_tokens_allow() -> None:
    short = replace(LONG, example=PASS_TOKENS["cpu"] // 4)
    assert needed(short) == needed(short, accumulation=4) < needed(short, accumulation=1)
    assert needed(replace(LONG, example=2 * PASS_TOKENS["cpu"]), max_length=4096) == needed(
        replace(LONG, example=2 * PASS_TOKENS["cpu"]), accumulation=16, max_length=4096
    )


def test_each_of_several_gpus_takes_its_share_of_the_examples_and_under_fsdp_of_the_model() -> None:
    def on(devices: int, method: str = "full", sharding: str = "none") -> int:
        return needed(LONG, method=method, kind="cuda", accumulation=1, devices=devices, sharding=sharding)

    sent = 4 * SHAPE.parameters
    assert on(4) == needed(LONG, kind="cuda", accumulation=4) + sent, "a quarter of the batch, all of the model, and its gradients as they are sent"
    held = 16 * SHAPE.parameters  # weights, gradients and AdamW's moments, in float32
    tables = SHAPE.vocabulary * SHAPE.width
    whole = 4 * (tables + 2 * (SHAPE.parameters - tables) // 30)
    assert on(4, sharding="fsdp") == on(4) - sent - held + held // 4 + whole
    assert on(8, sharding="fsdp") < on(4, sharding="fsdp") < on(2, sharding="fsdp") < on(2)
    assert on(2, "lora", sharding="fsdp") < on(2, "lora")


def test_processes_on_one_processor_share_its_memory() -> None:
    one = needed(LONG, devices=1, batch_size=8, accumulation=1, compile=True)  # like several devices, it reads a shared start in every row
    assert needed(LONG, devices=2, batch_size=16, accumulation=1) == 2 * (one + 4 * SHAPE.parameters)
    assert needed(LONG, devices=2, batch_size=16, sharding="fsdp") < 2 * one


def test_examples_whose_inputs_are_cut_keep_the_start_they_share() -> None:
    assert needed(replace(LONG, shared=100), max_length=128) < needed(LONG, max_length=128)


def test_virtual_tokens_are_a_start_that_all_share() -> None:
    short, long = (needed(LONG, method="prompt_tuning", virtual_tokens=count) for count in (16, 32))
    alone = [needed(LONG, method="prompt_tuning", virtual_tokens=count, checkpointing=True) for count in (16, 32)]
    assert long - short > 0 and alone[1] - alone[0] > 0
    read_by_each = 16 * 16 * METHODS["prompt_tuning"]().floats_per_token(SHAPE) * 4
    assert long - short < read_by_each


def test_a_prompt_begins_alike_up_to_its_first_variable() -> None:
    assert begins(Template(instruction="Billing or delivery?")) >= len("Billing or delivery?")
    assert begins(Template(mode="freeform", text="{input} is it billing?")) == 0
    assert begins(Template(mode="freeform", text="No variable at all.")) == 0
