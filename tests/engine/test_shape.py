"""What tuning will take, from a model's headers: never another number of parameters than peft really trains."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS

from app.domain.methods import METHODS
from app.domain.shape import QUERY_VALUE, Micro, memory
from app.errors import Invalid
from app.services.shapes import shape
from tests.engine.test_methods import NAMES, VARIANTS
from worker.engine.load import load, parameters
from worker.engine.methods import METHODS as HALVES


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


@pytest.mark.parametrize(("method", "values"), [*VARIANTS, ("p_tuning", {"encoder": "lstm", "encoder_size": 24})], ids=[*NAMES, "lstm-24"])
@pytest.mark.parametrize("opening", [[], list(range(5, 28))], ids=["no-text", "text"])
def test_what_is_trained_is_what_was_said(base: Path, method: str, values: dict[str, object], opening: list[int]) -> None:
    chosen = METHODS[method].model_validate(values)
    model = HALVES[method](load(base, device="cpu").model, chosen, opening)
    found = shape(base)
    assert (chosen.trainable(found, len(opening)), found.parameters) == (parameters(model)[0], parameters(load(base, device="cpu").model)[1])


def test_query_and_value_are_the_layers_peft_takes() -> None:
    assert {family: set(names) for family, names in QUERY_VALUE.items()} == {family: set(PEFT_TARGETS[family]) for family in QUERY_VALUE}


def test_an_unknown_family_has_no_query_and_value(base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "nonesuch"}))
    lora = METHODS["lora"].model_validate({"targets": "attention"})
    with pytest.raises(Invalid, match="nonesuch"):
        lora.trainable(shape(copy))
    assert METHODS["lora"]().trainable(shape(copy)) > 0


@pytest.mark.parametrize("damage", ["no config", "no weights", "short header", "huge header", "no json"])
def test_a_folder_that_is_no_model_is_said(base: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    weights = copy / "model.safetensors"
    harm: dict[str, Callable[[], object]] = {
        "no config": (copy / "config.json").unlink,
        "no weights": weights.unlink,
        "short header": lambda: weights.write_bytes(b"\x00"),
        "huge header": lambda: weights.write_bytes(b"\xff" * 16),
        "no json": lambda: weights.write_bytes((4).to_bytes(8, "little") + b"nope"),
    }
    harm[damage]()
    with pytest.raises(Invalid) as refused:
        shape(copy)
    assert refused.value.code == "shape_unknown"


def test_memory_grows_with_what_it_is_made_of(base: Path) -> None:
    found, lora = shape(base), METHODS["lora"]()

    def needed(tokens: int, *, checkpointing: bool = False, device: str = "cpu", four_bit: bool = False) -> int:
        size = Micro(tokens, tokens // 10)
        return memory(found, lora.trainable(found), lora.floats_per_token(found), size, checkpointing=checkpointing, four_bit=four_bit, device=device)

    assert needed(1000) < needed(2000) and needed(2000, checkpointing=True) < needed(2000)
    assert needed(0, device="cuda", four_bit=True) < needed(0, device="cuda") and needed(0, device="cpu") - needed(0) == 0
    full = METHODS["full"]()
    assert (
        memory(found, found.parameters, full.floats_per_token(found), Micro(0, 0), checkpointing=False, four_bit=False, device="cuda") >= 16 * found.parameters
    )
