"""View code: every snippet is run as a person would run it, and at temperature 0 answers as the page does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, expect

from app.db import transaction
from app.domain import model as models
from app.domain import prompt as wordings
from app.domain.access import installation as house
from app.domain.methods.lora import Lora
from app.domain.methods.prompt_tuning import PromptTuning
from app.services import prompts
from tests.browser.steps import address, command, no_violations, sign_up
from tests.conftest import forget
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")]

PATIENCE = 300
STARTER = "smollm2-135m-instruct"
AWKWARD = "It's \"new\", costs 5 € \\ and\nfits {any} 'bag' $HOME `ls` <b> 😀."


@pytest.fixture(scope="module")
def token(installation: Running) -> str:
    return command(installation, "token", "create", "--name", "code").split()[-1]


@pytest.fixture(autouse=True)
def same_database(installation: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the test does itself, it does in the running installation's data."""
    for name in ("FETTLE_DATA", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, installation.environment[name])
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def signed_in(installation: Running, page: Page) -> Page:
    sign_up(page, installation.said())
    return page


@pytest.fixture
def desk(tmp_path: Path, starter_models: Path) -> Path:
    """Where a person's programs are: an empty folder beside the weights that were fetched."""
    (tmp_path / STARTER).symlink_to(starter_models / STARTER)
    return tmp_path


def run(snippet: str, key: str, desk: Path, token: str) -> str:
    """What a snippet prints; the curl one prints the API's JSON, whose text counts."""
    program = ["bash", "-euc", snippet] if key == "curl" else [sys.executable, "-c", snippet]
    environment = {"PATH": os.environ["PATH"], "HOME": str(desk), "FETTLE_TOKEN": token, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(program, cwd=desk, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{snippet}"
    return str(json.loads(done.stdout)["text"] if key == "curl" else done.stdout).strip()


def post(page: Page, path: str, body: dict[str, Any]) -> APIResponse:
    """What the page's own script sends."""
    home = page.url.split("/", 3)[:3]
    return page.request.post("/".join(home) + path, data=body, headers={"Sec-Fetch-Site": "same-origin"}, timeout=PATIENCE * 1000)


def snippets(page: Page, body: dict[str, Any]) -> dict[str, str]:
    """The snippets as the page shows them, by key."""
    answer = post(page, "/lab/code", body)
    assert answer.ok, answer.text()
    page.evaluate("html => { document.body.insertAdjacentHTML('beforeend', `<div id=shown>${html}</div>`); }", answer.text())
    found = {one.get_attribute("id").removeprefix("code-"): one.text_content() for one in page.locator("#shown pre").all()}  # type: ignore[union-attr]
    page.evaluate("document.getElementById('shown').remove()")
    return {key: text or "" for key, text in found.items()}


def answer_of(page: Page, body: dict[str, Any]) -> str:
    """What the page shows for it."""
    answer = post(page, "/api/v1/generate", body)
    assert answer.ok, answer.text()
    return str(answer.json()["text"]).strip()


def test_the_code_of_what_stands_in_the_lab_answers_as_the_page(installation: Running, signed_in: Page, desk: Path, token: str) -> None:
    page = signed_in
    page.goto(f"{address(installation)}/lab?sample=marketing-copy")
    page.locator("#input").fill(AWKWARD)
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=foot]")).to_contain_text("tokens", timeout=PATIENCE * 1000)
    shown = (page.locator("[data-part=stream]").text_content() or "").strip()
    page.get_by_role("button", name="Code", exact=True).click()
    expect(page.locator("#code-dialog pre")).to_have_count(3)
    no_violations(page)
    found = {key: page.locator(f"#code-{key}").text_content() or "" for key in ("curl", "openai", "transformers")}
    page.keyboard.press("Escape")
    assert shown and {key: run(text, key, desk, token) for key, text in found.items()} == dict.fromkeys(found, shown)


SHOTS = [{"input": "Lovely stay.", "output": "good"}, {"input": "Cold soup.", "output": "bad"}]

CASES: dict[str, dict[str, Any]] = {
    "structured, where the next shot would start": {"prompt": {"instruction": "Good or bad?", "shots": SHOTS}, "parameters": {"max_tokens": 12}},
    "structured, without prefixes": {"prompt": {"instruction": "Go on.", "input_prefix": "", "output_prefix": ""}, "parameters": {"max_tokens": 12}},
    "freeform, with stops": {
        "prompt": {"mode": "freeform", "text": "A list of fruit, one a line:\napple\n{input}\n"},
        "parameters": {"max_tokens": 40, "stop": ["\n\n", "pear"], "min_tokens": 2, "repetition_penalty": 1.2},
    },
    "chat": {
        "prompt": {"mode": "chat", "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name a colour of {input}."}]},
        "parameters": {"max_tokens": 24},
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_mode_answers_as_the_page(signed_in: Page, desk: Path, token: str, case: dict[str, Any]) -> None:
    body = {"model": "starter", "variables": {"input": 'the "sea", it\'s deep'}, **case}
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    assert wanted and {key: run(text, key, desk, token) for key, text in found.items()} == dict.fromkeys(("curl", "openai", "transformers"), wanted)


def test_values_stay_text_and_what_is_held_to_a_form_ends_with_it(signed_in: Page, desk: Path, token: str) -> None:
    body = {
        "model": "starter",
        "prompt": {"instruction": "Go on."},
        "variables": {"input": "One <|im_end|> two <|im_start|> three"},
        "parameters": {"max_tokens": 12},
    }
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    assert wanted and {key: run(found[key], key, desk, token) for key in ("curl", "transformers")} == dict.fromkeys(("curl", "transformers"), wanted)
    held = {**body, "variables": {"input": "a list"}, "parameters": {"max_tokens": 24, "choices": ["one\n\nInput: two"]}}
    assert run(snippets(signed_in, held)["openai"], "openai", desk, token) == answer_of(signed_in, held) == "one\n\nInput: two"


def tuned(method: str, starter: Path) -> str:
    """A tuned model as the product leaves it: an artefact in the storage, and its row. Its weights are shaken, so that its answers are its own."""
    import torch

    from app.settings import settings
    from worker.engine import artefact
    from worker.engine.load import load
    from worker.engine.methods import lora, prompt_tuning

    loaded = load(starter, device="cpu")
    torch.manual_seed(3)  # which words a soft prompt begins with: of some the model takes no notice
    prepared = (
        lora.prepare(loaded.model, Lora(rank=4), [])
        if method == "lora"
        else prompt_tuning.prepare(loaded.model, PromptTuning(virtual_tokens=6, init="vocabulary"), [])
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in prepared.named_parameters():
            if tensor.requires_grad and (method != "lora" or "lora_B" in name):
                tensor.add_(0.15 * torch.randn(tensor.shape, generator=generator))
    artefact.save(prepared, loaded.tokenizer, settings().storage_folder / "models" / method, {"method": method})
    with transaction() as session:
        person = house(session)
        version = wordings.create(session, person, f"through {method}", prompts.normal_form({"instruction": "Good or bad?"}))
        base = models.find(session, person, "starter")
        made = models.register_tuned(
            session, person, name=f"Tuned {method}", folder=f"models/{method}", content_hash="0", parameters=1, base_model_id=base.id, method=method, prompt_version_id=version.id
        )  # fmt: skip
        return made.slug


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_a_tuned_model_answers_from_its_exported_artefact(signed_in: Page, desk: Path, token: str, starter_models: Path, method: str) -> None:
    slug = tuned(method, starter_models / STARTER)
    prompt = {"instruction": "Go on with the story.", "input_prefix": "", "output_prefix": ""}  # long answers differ sooner than labels
    body = {"model": slug, "prompt": prompt, "variables": {"input": "It was a fine day, and"}, "parameters": {"max_tokens": 16}}
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    assert wanted != answer_of(signed_in, {**body, "model": "starter"})
    fetch = next(line.removeprefix("#   ") for line in found["transformers"].splitlines() if slug in line and "curl" in line)
    subprocess.run(
        ["bash", "-euc", fetch],
        cwd=desk,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "FETTLE_TOKEN": token},
        check=True,
        capture_output=True,
    )
    assert {path.name for path in (desk / slug).iterdir()} >= {"adapter_config.json", "adapter_model.safetensors", "run.json"}
    assert {key: run(text, key, desk, token) for key, text in found.items()} == dict.fromkeys(found, wanted)
