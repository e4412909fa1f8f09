"""What a process loads when it starts. Asked in fresh interpreters, because pytest itself has loaded half of everything."""

import subprocess
import sys

import pytest

from tests.house.rules import ROOT

GPU_STACK = ("torch", "transformers", "peft", "accelerate", "safetensors")
HEAVY = (*GPU_STACK, "scipy", "sklearn", "pyarrow", "openai", "worker")
WEB = ("fastapi", "starlette", "uvicorn")


def loaded(module: str, unwanted: tuple[str, ...]) -> set[str]:
    """Which of the unwanted modules are there after importing one."""
    code = f"import sys, {module}; print(*(set({unwanted!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("app.main", HEAVY),
        ("app.cli", (*HEAVY, "fastapi", "sqlalchemy", "celery")),
        ("app.supervisor", (*HEAVY, "fastapi", "celery")),
        ("app.readers", (*GPU_STACK, "sqlalchemy")),
        ("worker.tasks", (*GPU_STACK, *WEB)),
        ("worker.evaluate_remote", (*GPU_STACK, *WEB)),
        ("worker.judge_remote", (*GPU_STACK, *WEB)),
        ("worker.healthcheck", (*GPU_STACK, *WEB, "celery")),
    ],
)
def test_it_loads_nothing_it_need_not(module: str, unwanted: tuple[str, ...]) -> None:
    assert loaded(module, unwanted) == set()


def test_the_question_finds_what_is_loaded() -> None:
    assert loaded("fastapi, sqlalchemy", ("starlette", "sqlalchemy", "torch")) == {"starlette", "sqlalchemy"}
