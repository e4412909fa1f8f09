"""bench.gpu_score: what it says where there is no GPU and no vLLM, and that its sides do the same work, on a processor with a tiny model."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench import gpu_score
from bench.gpu_score import main, prompts, vllm_lines
from tests.engine.conftest import make_model


def test_without_a_gpu_it_measures_nothing_and_says_what_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    main([])
    assert capsys.readouterr().out == "There is no GPU here: bench.gpu_score measures nothing. `make bench-score` compares on the processor.\n"


@pytest.mark.parametrize(("installed", "said"), [(None, "vLLM: not installed here, so not measured"), (object(), "vLLM: measured")])
def test_it_says_on_what_it_ran_and_whether_vllm_was_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], installed: object, said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H1")
    monkeypatch.setattr(gpu_score, "find_spec", lambda name: installed)
    monkeypatch.setattr(gpu_score, "lines", lambda model, count, device: [f"| {model}, {count}, {device} |"])
    main(["--rows", "7", "--model", "here"])
    first, *_, line, _, last = capsys.readouterr().out.splitlines()
    assert first.startswith("NVIDIA H1, bfloat16, 7 rows of 16 shots, torch ") and line == "| here, 7, cuda |" and last == said


def test_ours_and_plain_transformers_give_the_same_labels_and_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_score, "find_spec", lambda name: None)
    for name, value in {"SHOTS": 1, "TOKENS": 4, "BATCH": 5}.items():  # the tiny model reads 512 tokens; batches are cut within a prompt's labels
        monkeypatch.setattr(gpu_score, name, value)
    found = gpu_score.lines(make_model(tmp_path / "tiny", seed=7), 6, "cpu")
    assert [line.split(" | ")[1] for line in found] == ["ours", "transformers, batches of 5"] * 2
    assert found[0].startswith("| label likelihood, 4 labels |") and found[2].startswith("| 4 tokens, greedy |")
    assert all(line.endswith("| 1.0 | 100.0 % |") for line in found[1::2]), found


def test_vllm_reads_the_same_prompts_and_writes_as_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[list[str], dict[str, Any]]] = []

    class Engine:
        def __init__(self, model: str, **options: Any) -> None:
            assert model == "here" and options["dtype"] == "bfloat16" and options["enable_prefix_caching"] is True

        def generate(self, texts: list[str], wanted: dict[str, Any], *, use_tqdm: bool) -> None:
            read.append((texts, wanted))

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=Engine, SamplingParams=dict))
    asked = prompts(40)
    (line,) = vllm_lines(Path("here"), asked)
    assert line.startswith("| | vLLM, prefix cache | ") and [len(texts) for texts, _ in read] == [32, 40], "a batch to warm up, then all"
    assert read[1] == ([prompt.text for prompt in asked], {"temperature": 0, "max_tokens": 16, "min_tokens": 16})
