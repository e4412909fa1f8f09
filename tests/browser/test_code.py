"""View code: every snippet is run as a person would run it, and at temperature 0 answers as the page does."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, expect
from sqlalchemy import select

from app.db import transaction
from app.domain import model as models
from app.domain import prompt as wordings
from app.domain.access import installation as house
from app.domain.access import owned
from app.domain.methods.full import Full
from app.domain.methods.lora import Lora
from app.domain.methods.p_tuning import PTuning
from app.domain.methods.prefix import Prefix
from app.domain.methods.prompt_tuning import PromptTuning
from app.domain.model import Model
from app.services import prompts
from tests.browser.steps import address, command, no_violations, sign_up
from tests.conftest import forget
from tests.engine.conftest import make_translator
from tests.installation import Running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.usefixtures("clean_console"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

PATIENCE = 300
WAYS = ("curl", "openai", "transformers")
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


def environment(desk: Path, token: str) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(desk), "FETTLE_TOKEN": token, "HF_HUB_OFFLINE": "1"}


def run(snippet: str, key: str, desk: Path, token: str) -> str:
    """What a snippet prints; the curl one prints the API's JSON, whose text counts."""
    program = ["bash", "-euc", snippet] if key == "curl" else [sys.executable, "-c", snippet]
    done = subprocess.run(program, cwd=desk, env=environment(desk, token), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{snippet}"
    return str(json.loads(done.stdout)["text"] if key == "curl" else done.stdout).strip()


SITTING = """
import contextlib, io, json, os, sys, traceback
for line in sys.stdin:
    told = json.loads(line)
    os.chdir(told["desk"])
    printed, problem = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(told["snippet"], "snippet", "exec"), {"__name__": "__main__"})
        except BaseException:
            problem = traceback.format_exc()
    print(json.dumps({"printed": printed.getvalue(), "problem": problem}), flush=True)
"""
"""A person's interpreter that stays open: whoever tries thirty snippets does not import torch thirty times."""


class Sitting:
    """Runs a snippet after another: the Python ones in one interpreter, each in a namespace of its own."""

    def __init__(self, desk: Path, token: str) -> None:
        self._desk, self._token = desk, token
        self._python = subprocess.Popen(
            [sys.executable, "-c", SITTING], cwd=desk, env=environment(desk, token), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, snippet: str, key: str, desk: Path) -> str:
        if key == "curl":
            return run(snippet, key, desk, self._token)
        assert self._python.stdin is not None and self._python.stdout is not None
        print(json.dumps({"snippet": snippet, "desk": str(desk)}), file=self._python.stdin, flush=True)
        told = json.loads(self._python.stdout.readline())
        assert not told["problem"], f"{told['problem']}\n{snippet}"
        return str(told["printed"]).strip()

    def close(self) -> None:
        self._python.terminate()
        self._python.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory, token: str) -> Iterator[Sitting]:
    found = Sitting(tmp_path_factory.mktemp("sitting"), token)
    yield found
    found.close()


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
    "structured, not to stop before its least number of tokens": {
        "prompt": {"instruction": "Good or bad?", "shots": SHOTS},
        "parameters": {"max_tokens": 40, "min_tokens": 24},
    },
    "chat": {
        "prompt": {"mode": "chat", "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name a colour of {input}."}]},
        "parameters": {"max_tokens": 24},
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_mode_answers_as_the_page(signed_in: Page, desk: Path, sitting: Sitting, case: dict[str, Any]) -> None:
    body = {"model": "starter", "variables": {"input": 'the "sea", it\'s deep'}, **case}
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    assert wanted and {key: sitting.run(text, key, desk) for key, text in found.items()} == dict.fromkeys(WAYS, wanted)


def test_values_stay_text_and_what_is_held_to_a_form_ends_with_it(signed_in: Page, desk: Path, sitting: Sitting) -> None:
    body = {
        "model": "starter",
        "prompt": {"instruction": "Go on."},
        "variables": {"input": "One <|im_end|> two <|im_start|> three"},
        "parameters": {"max_tokens": 12},
    }
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    assert wanted and {key: sitting.run(found[key], key, desk) for key in ("curl", "transformers")} == dict.fromkeys(("curl", "transformers"), wanted)
    held = {**body, "variables": {"input": "a list"}, "parameters": {"max_tokens": 24, "choices": ["one\n\nInput: two"]}}
    found = snippets(signed_in, held)
    assert {key: sitting.run(text, key, desk) for key, text in found.items()} == dict.fromkeys(WAYS, "one\n\nInput: two")
    assert answer_of(signed_in, held) == "one\n\nInput: two"


DATED = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "day": {"type": "integer"}}, "required": ["city", "day"]}

HELD: dict[str, dict[str, Any]] = {
    "to a list": {"choices": ["a refund", "a parcel", "nothing"]},
    "to an expression": {"regex": r"[A-Z]{2}-\d{3}(, [a-z]+)?"},
    "to a schema": {"json_schema": DATED},
    "by penalties": {"frequency_penalty": 0.7, "presence_penalty": 0.4, "max_tokens": 30},
    "to an expression, by a penalty": {"regex": r"[a-z ]{20,30}", "frequency_penalty": 1.5, "n": 2},
}


@pytest.mark.parametrize("how", HELD.values(), ids=HELD)
@pytest.mark.parametrize("mode", ["structured", "chat"])
def test_what_is_held_answers_as_the_page(signed_in: Page, desk: Path, sitting: Sitting, mode: str, how: dict[str, Any]) -> None:
    says = "What does the customer want?"
    chat = {"mode": "chat", "messages": [{"role": "system", "content": says}, {"role": "user", "content": "{input}"}]}
    prompt = chat if mode == "chat" else {"instruction": says}
    body = {"model": "starter", "prompt": prompt, "variables": {"input": "My parcel never came to Oslo."}, "parameters": {"max_tokens": 40, **how}}
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    several = "\n".join([wanted] * how.get("n", 1))
    assert wanted and {key: sitting.run(text, key, desk) for key, text in found.items()} == {"curl": wanted, "openai": several, "transformers": several}
    assert how.get("regex") is None or re.fullmatch(how["regex"], wanted)


PARAMETERS = {
    "prompt_tuning": PromptTuning(virtual_tokens=6, init="vocabulary"),
    "p_tuning": PTuning(virtual_tokens=6),
    "prefix": Prefix(virtual_tokens=6, init="small"),
    "lora": Lora(rank=4),
    "full": Full(),
}
SHAKE = {"full": 0.01, "lora": 0.15}
"""How far from what a method begins with; of soft prompts the model takes notice only when they are far."""


def tuned(method: str, folder: Path, base: str = "starter") -> str:
    """A tuned model as the product leaves it: an artefact in the storage, and its row. Its weights are shaken, so that its answers are its own."""
    import torch

    from app.settings import settings
    from worker.engine import artefact
    from worker.engine.load import load
    from worker.engine.methods import METHODS

    loaded = load(folder, device="cpu")
    torch.manual_seed(3)  # which words a soft prompt begins with: of some the model takes no notice
    prepared = METHODS[method](loaded.model, PARAMETERS[method], [])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in prepared.named_parameters():
            if tensor.requires_grad and (method != "lora" or "lora_B" in name):
                tensor.add_(SHAKE.get(method, 0.15) * torch.randn(tensor.shape, generator=generator))
    artefact.save(prepared, loaded.tokenizer, settings().storage_folder / "models" / f"{base}-{method}", {"method": method})
    with transaction() as session:
        person = house(session)
        version = wordings.create(session, person, f"{base} through {method}", prompts.normal_form({"instruction": "Good or bad?"}))
        under = models.find(session, person, base).id
        made = models.register_tuned(
            session, person, name=f"Tuned {method}", folder=f"models/{base}-{method}", content_hash="0", parameters=1, base_model_id=under, method=method, prompt_version_id=version.id
        )  # fmt: skip
        return made.slug


def fetched(found: dict[str, str], slug: str, desk: Path, token: str) -> None:
    """The weights come as the snippet's comment says."""
    fetch = next(line.removeprefix("#   ") for line in found["transformers"].splitlines() if slug in line and "curl" in line)
    subprocess.run(
        ["bash", "-euc", fetch],
        cwd=desk,
        env=environment(desk, token),
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("method", PARAMETERS)
def test_a_tuned_model_answers_from_its_exported_artefact(signed_in: Page, desk: Path, token: str, sitting: Sitting, starter_models: Path, method: str) -> None:
    slug = tuned(method, starter_models / STARTER)
    prompt = {"instruction": "Go on with the story.", "input_prefix": "", "output_prefix": ""}  # long answers differ sooner than labels
    body = {"model": slug, "prompt": prompt, "variables": {"input": "It was a fine day, and"}, "parameters": {"max_tokens": 16}}
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    assert wanted != answer_of(signed_in, {**body, "model": "starter"})
    fetched(found, slug, desk, token)
    kept = {"model.safetensors", "tokenizer.json"} if method == "full" else {"adapter_config.json", "adapter_model.safetensors"}
    assert {path.name for path in (desk / slug).iterdir()} >= {*kept, "run.json"}
    assert {key: sitting.run(text, key, desk) for key, text in found.items()} == dict.fromkeys(found, wanted)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder-decoder with random weights."""
    return make_translator(tmp_path_factory.mktemp("translator") / "translator", seed=7)


@pytest.mark.parametrize("method", ["", "prompt_tuning"])
def test_an_encoder_decoder_answers_as_the_page(signed_in: Page, desk: Path, token: str, sitting: Sitting, translator: Path, method: str) -> None:
    """Held to what can be read: random weights write no text."""
    from worker.engine.folders import fingerprint

    (desk / "translator").symlink_to(translator)
    with transaction() as session:
        if session.scalar(select(Model).where(Model.alias == "translator")) is None:
            session.add(
                Model(
                    **owned(house(session)), name="Translator", kind="foundation", folder=str(translator), content_hash=fingerprint(translator), parameters=1, alias="translator", encoder_decoder=True
                )
            )  # fmt: skip
    slug = tuned(method, translator, "translator") if method else "translator"
    form = "[a-z]{4,9}( [a-z]{2,5}){2}"
    held = {"regex": form, "frequency_penalty": 0.5, "max_tokens": 30}
    body = {"model": slug, "prompt": {"instruction": "Go on."}, "variables": {"input": "the film is"}, "parameters": held}
    found, wanted = snippets(signed_in, body), answer_of(signed_in, body)
    if method:
        fetched(found, slug, desk, token)
    assert re.fullmatch(form, wanted)
    assert {key: sitting.run(text, key, desk) for key, text in found.items()} == dict.fromkeys(WAYS, wanted)
    repeated = {**body, "parameters": {"repetition_penalty": 1.2}}
    assert "encoder-decoder" in post(signed_in, "/lab/code", repeated).text()
