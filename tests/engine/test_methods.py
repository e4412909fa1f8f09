"""Every method on both families of models: it starts where it should, what is saved is what plain peft loads, and it resumes bit for bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.rendering import Template, render, without_opening
from tests.engine.conftest import toy_rows, toy_spec
from worker.engine.batches import Example, collate, decoder_start
from worker.engine.forward import answer_logits
from worker.engine.generate import complete, prepare
from worker.engine.load import load, parameters
from worker.engine.methods import METHODS as HALVES
from worker.engine.prefix import virtual_tokens
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.score import plain, score_ids
from worker.engine.train import opening_ids, train

RATES = {"prompt_tuning": 3e-2, "p_tuning": 5e-3, "prefix": 2e-2, "lora": 2e-2, "full": 5e-3}
SOFT = [name for name, method in METHODS.items() if method.soft]
ASKING = Template(instruction="Is it good or bad? positive or negative")
BARE = without_opening(ASKING)
VARIANTS: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in METHODS),
    ("p_tuning", {"encoder": "lstm"}),
    ("p_tuning", {"init": "random", "virtual_tokens": 5}),
    ("prefix", {"projection": True}),
    ("prefix", {"init": "small", "virtual_tokens": 5}),
    ("prompt_tuning", {"init": "vocabulary"}),
    ("lora", {"variant": "rslora"}),
    ("lora", {"variant": "dora"}),
    ("lora", {"variant": "pissa"}),
    ("lora", {"targets": "attention"}),
]
NAMES = ["-".join([name, *map(str, values.values())]) for name, values in VARIANTS]

PLAIN = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
torch.set_num_threads(1)
written = []
for family, name, base, tuned, rows in json.load(sys.stdin):
    kind = AutoModelForCausalLM if family == "tiny" else AutoModelForSeq2SeqLM
    full = json.load(open(tuned + "/run.json"))["kind"] == "full"
    model = kind.from_pretrained(tuned) if full else PeftModel.from_pretrained(kind.from_pretrained(base), tuned)
    answers = []
    for ids in rows:
        ids = torch.tensor([ids])
        out = model.eval().generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, min_new_tokens=8, do_sample=False)
        answers.append(out[0, -8:].tolist())
    written.append((family, name, answers))
print(json.dumps(written))
"""
"""What anybody would write who has the base model, an artefact of Fettle's and no Fettle."""

TEXTS = ["the plot is good 1", "it is bad", "the end is very good and funny 3"]


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


@pytest.fixture(scope="module")
def written(tiny: Path, translator: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """(what Fettle's runner writes with a trained artefact, what plain peft writes with it in a fresh process) by model and variant."""
    ours, asked, tokenizers = {}, [], {}
    for base in (tiny, translator):
        for name, (method, values) in zip(NAMES, VARIANTS, strict=True):
            folder = tmp_path_factory.mktemp(f"{base.name}-{name}")
            spec = toy_spec(base, folder, method, max_steps=8, learning_rate=RATES[method], template=BARE, opening=ASKING, evaluations=1, **values)
            result = train(spec, NullReporter())
            tuned = load(base, adapter=result.artefact, device="cpu") if method != "full" else load(result.artefact, device="cpu")
            prompts = [prepare(tuned, render(BARE, {"input": text}), Parameters(max_tokens=8, min_tokens=8, stop=[])) for text in TEXTS]
            ours[base.name, name] = [one.text for one in complete(tuned, prompts)]
            asked.append([base.name, name, str(base), str(result.artefact), [prompt.ids for prompt in prompts]])
            tokenizers[base.name] = tuned.tokenizer
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PLAIN], input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = {(base, name): [tokenizers[base].decode(row, skip_special_tokens=True) for row in rows] for base, name, rows in json.loads(done.stdout)}
    return {key: (mine, theirs[key]) for key, mine in ours.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("base", ["tiny", "translator"])
def test_plain_peft_writes_the_same_tokens_with_what_a_run_saved(written: dict[tuple[str, str], tuple[list[str], list[str]]], base: str, name: str) -> None:
    ours, theirs = written[base, name]
    assert [text.rstrip("\ufffd") for text in theirs] == ours
    assert any(ours)


@pytest.mark.parametrize(("method", "values"), VARIANTS, ids=NAMES)
def test_a_stopped_run_goes_on_bit_for_bit(base: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    def spec(folder: str, **more: object) -> Any:
        return toy_spec(base, tmp_path / folder, method, learning_rate=RATES[method], template=BARE, opening=ASKING, **(values | more))

    control, first, second = NullReporter(), NullReporter(stop_after=5), NullReporter()
    whole = train(spec("whole"), control)
    with pytest.raises(Stopped):
        train(spec("halves"), first)
    resumed = train(spec("halves", resume=True), second)
    for name in ("loss", "validation_loss", "validation_accuracy", "grad_norm"):
        assert {**first.points(name), **second.points(name)} == control.points(name)
    assert [file.read_bytes() for file in sorted(whole.artefact.glob("*.safetensors"))] == [
        file.read_bytes() for file in sorted(resumed.artefact.glob("*.safetensors"))
    ]


@pytest.mark.parametrize(("method", "values"), [pair for pair in VARIANTS if pair[0] in SOFT and "init" not in pair[1]])
def test_a_soft_prompt_from_text_begins_exactly_at_the_prompt(base: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    if method == "prefix" and base.name == "translator":
        pytest.skip("an encoder-decoder's prefix is in its decoder, where no instruction stands")
    spec = toy_spec(base, tmp_path, method, template=BARE, opening=ASKING, **values)
    loaded = load(base, device="cpu")
    opening = opening_ids(loaded.tokenizer, spec)
    rows, labels = [values for values, _ in toy_rows(6)], [[5, 6], [7]]
    long = [list(prepare(loaded, render(ASKING, row), Parameters()).ids) for row in rows]
    short = [list(prepare(loaded, render(BARE, row), Parameters()).ids) for row in rows]
    assert [opening + row for row in short] == long
    expected = score_ids(loaded.model, long, labels).sums
    soft = HALVES[method](loaded.model, spec.parameters, opening).eval()
    assert virtual_tokens(soft) == max(16, len(opening))
    if len(opening) >= 16:
        np.testing.assert_allclose(score_ids(soft, short, labels).sums, expected, atol=1e-3)


@pytest.mark.parametrize(("method", "values"), VARIANTS, ids=NAMES)
def test_scores_and_losses_agree_with_the_model_called_as_peft_calls_it(base: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    spec = toy_spec(base, tmp_path, method, template=BARE, opening=ASKING, **values)
    loaded = load(base, device="cpu")
    model = HALVES[method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec)).eval()
    prompts, labels = [[9, 10, 11, 12], [9, 10, 13], [9, 10, 11, 14, 15]], [[20, 21], [20, 22], [23]]
    reference = np.concatenate([found for _, found in plain(model, prompts, labels)])
    np.testing.assert_allclose(score_ids(model, prompts, labels).sums, reference, atol=1e-3)
    examples = [Example((9, 10, 11), (20, 21)), Example((9, 12), (22,))]
    batch = collate(examples, 0, decoder_start(model))
    logits, targets, _ = answer_logits(model, batch)
    ours = torch.nn.functional.cross_entropy(logits, targets)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    if base.name == "translator":
        inputs |= {"decoder_input_ids": batch["decoder_input_ids"]}
    assert float(ours.detach()) == pytest.approx(float(model(**inputs).loss.detach()), abs=1e-5)
    assert 0 < parameters(model)[0] <= parameters(model)[1]
