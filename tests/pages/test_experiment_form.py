"""The form of a comparison before anything is queued: what it chooses, what it says, and what it will not let be ticked."""

from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.footprint import UNSURE
from app.domain.model import Model
from app.errors import Invalid
from app.pages.experiment_form import rungs
from app.pages.experiment_refusals import field_of
from app.services import endpoints, estimates, experiments, prompts
from tests.dom import Dom, get
from tests.pages.test_experiments import task
from tests.pages.test_jobs import small, worker_with
from tests.rows import add_dataset, add_model, add_remote_model, add_rows

__all__ = ["small", "task"]

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

DRAWN = {"drawn": "yes", "zero_shot": "on"}


def test_the_largest_model_is_chosen_for_the_signal(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    prices = {"gpt-4o": {"input": 2.5, "output": 10.0}}
    endpoints.create(person, name="there", url="https://api.example.com/v1", models=["qwen2.5:0.5b", "gpt-4o"], prices=prices)
    assert "gpt-4o" in get(browser, "/experiments/new").text("#signal option[selected]")
    assert get(browser, "/experiments/new?drawn=yes&signal=").text("#signal option[selected]") == "without it", "a choice is kept"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"zero_shot": "on"}, "1 rung: 30 test rows answered once."),
        ({"zero_shot": "on", "few_shot": "on", "draws": "3"}, "2 rungs: 30 test rows answered 4 times."),
        (
            {"zero_shot": "on", "few_shot": "on", "shots": "2, 4", "draws": "3", "lora": "on", "seeds": "2", "steps": "5"},
            "3 rungs: 30 test rows answered 6 times",
        ),
    ],
)
def test_test_rows_are_answered_for_each_draw_and_seed(browser: TestClient, task: tuple[int, str], fields: dict[str, str], said: str) -> None:
    assert get(browser, f"/experiments/new?{urlencode({'drawn': 'yes', 'dataset': task[1], **fields})}").text("p.sentence").startswith(said)


def test_shots_that_are_the_prompts_own_are_drawn_once(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    shots = [{"input": f"about my bill {at}", "output": "billing"} for at in range(2)]
    prompt = prompts.create(person, "own", {"mode": "structured", "instruction": "Say which.", "shots": shots}).reference
    fields = {"drawn": "yes", "dataset": task[1], "few_shot": "on", "draws": "3", "prompt_version": prompt}
    for count, said in (("2", "answered once"), ("4", "answered 3 times")):
        assert said in get(browser, f"/experiments/new?{urlencode({**fields, 'shots': count})}").text("p.sentence")


def test_a_rung_that_does_not_fit_is_grey_says_why_and_cannot_be_ticked(browser: TestClient, task: tuple[int, str], small: int) -> None:
    place = f"/experiments/new?dataset={task[1]}&model={small}"
    assert get(browser, place).one("#lora").get("checked") is not None, "without a worker nobody knows"
    worker_with(1_000_000)
    page = get(browser, place)
    assert "Does not fit: Needs about" in page.text("#lora-help") and "cpu:0 has 0.0 GB" in page.text("#lora-help")
    assert all(page.one(f"#{name}").get("disabled") is not None and page.one(f"#{name}").get("checked") is None for name in ("lora", "full", "prefix"))
    assert page.one("#zero_shot").get("checked") is not None and page.texts(".rung.is-unfit") and page.text("p.sentence").startswith("3 rungs: ")
    worker_with(10**12)
    page = get(browser, place)
    assert page.one("#lora").get("disabled") is None and page.one("#lora").get("checked") is not None and not page.texts(".rung.is-unfit")


def test_whether_a_rung_fits_goes_by_the_chosen_prompt_and_what_is_done_with_long_rows(browser: TestClient, person: Who, small: int) -> None:
    reference = add_dataset(person, "letters").reference
    long = prompts.create(person, "long", {"mode": "freeform", "text": "{input}\n" + "Say at length which of the two it is. " * 400}).reference
    same: dict[str, Any] = {"model": small, "dataset": reference, "method": "full", "parameters": {"fit": "cut_tail"}}
    needs = [estimates.tune(person, **same, prompt_version=prompt).memory_bytes or 0 for prompt in (None, long)]
    assert needs[0] < needs[1]
    worker_with(round(UNSURE * sum(needs) / 2))
    asked = {**DRAWN, "dataset": reference, "model": str(small), "fit": "cut_tail"}
    for prompt, fits in (("", True), (long, False)):
        page = get(browser, f"/experiments/new?{urlencode({**asked, 'prompt_version': prompt})}")
        assert (page.one("#full").get("disabled") is None) is fits, page.text("#full-help")


def test_money_and_tokens_stand_beside_the_buttons(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    remote = add_remote_model(person, {"*": {"input": 1000.0, "output": 1000.0}})
    fields = {**DRAWN, "dataset": task[1], "model": str(task[0])}
    said = get(browser, f"/experiments/new?{urlencode(fields)}").text("#takes")
    assert said.startswith("2 jobs, about ") and " tokens. The times are rough" in said, "what runs here has no price until an hour has one"
    said = get(browser, f"/experiments/new?{urlencode({**fields, 'signal': str(remote)})}").text("#takes")
    assert said.startswith("4 jobs, about ") and " tokens, $" in said
    free = add_remote_model(person, {}, name="free")
    said = get(browser, f"/experiments/new?{urlencode({**fields, 'signal': str(free)})}").text("#takes")
    assert "tokens; the endpoint\u2019s price is not known. The times" in said


def test_other_wordings_become_cells_of_every_rung(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    one, other = (prompts.create(person, name, {"mode": "structured", "instruction": name}).reference for name in ("Say which.", "Billing or delivery?"))
    fields = {**DRAWN, "dataset": task[1], "model": str(task[0]), "prompt_version": one, "prompts_also": f" {other} "}
    key = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    (row,) = experiments.find(person, key).rows
    assert [cell.cell.settings["prompt_version"] for cell in row.cells] == [one, other] and row.rung.chosen is None
    answer = browser.post("/experiments", data={**fields, "prompts_also": "999@1"})
    page = Dom(answer.text)
    assert answer.status_code == 422 and page.one("#prompts_also").get("aria-invalid") == "true" and page.one("#prompts_also").get("value") == "999@1"


@pytest.mark.usefixtures("database")
def test_a_tuned_model_that_is_there_is_asked_as_the_form_says_by_its_own_method() -> None:
    fields = {"drawn": "yes", "zero_shot": "on", "lora": "on", "beside": "4", "calibration": "every", "signal": "9"}
    found = rungs(fields, Model(id=7, kind="tuned", method="prefix"))
    assert [(one["technique"], one.get("model"), one.get("shots"), len(one.get("calibration", []))) for one in found] == [
        ("zero_shot", None, None, 3),
        ("lora", None, None, 3),
        ("lora", None, 4, 3),
        ("prefix", 7, 4, 3),
        ("few_shot", "9", 0, 0),
        ("prefix", 7, None, 3),
    ]
    held = rungs({"drawn": "yes", "constrained": "yes"}, Model(id=7, kind="tuned", method="prefix"))
    assert held == [{"technique": "prefix", "model": 7, "constrained": True}]


def test_an_error_stands_at_its_field_or_above_the_form_where_that_is_not_drawn(browser: TestClient, person: Who) -> None:
    labels = {"by_likelihood": True, "shape": "labels"}
    fields = {
        "learning_rate": "rates",
        "max_steps": "steps",
        "label_curve": "curve",
        "calibration": "calibration",
        "constrained": "",
        "rank": "",
        "pattern": "",
    }
    found = {name: field_of(Invalid("x", "No.", "Do.", detail={"field": name}), {}, labels, signal=False) for name in fields}
    assert found == fields and field_of(Invalid("no_rungs", "No.", "Do."), {}, labels, signal=False) == "rungs"
    rows = [(f"{split} {at}", f"the {split} answer {at}", split) for split in ("train", "validation", "test") for at in range(9)]
    where = {"dataset": add_rows(person, "texts", rows).reference, "model": str(add_model(person))}
    answer = browser.post("/experiments", data={**DRAWN, **where, "constrained": "yes"})
    page = Dom(answer.text)
    assert answer.status_code == 422 and not page.all("#constrained") and "Only labels and JSON have a form" in page.text("[role=alert]")


def test_a_second_model_doubles_the_rungs(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    fields = {"drawn": "yes", "dataset": task[1], "zero_shot": "on", "lora": "on"}
    assert not get(browser, f"/experiments/new?{urlencode(fields)}").all("#other"), "there is no second one"
    other = add_model(person, "Large", "large")
    page = get(browser, f"/experiments/new?{urlencode({**fields, 'model': str(task[0]), 'other': str(other)})}")
    assert page.texts("#other option") == ["no other", "Large"] and page.text("p.sentence").startswith("4 rungs: 30 test rows answered 4 times")
    asked = rungs({**fields, "other": str(other), "beside": "4"}, None)
    assert [(rung["technique"], rung.get("model")) for rung in asked if "shots" not in rung] == [
        ("zero_shot", None), ("lora", None), ("zero_shot", str(other)), ("lora", str(other)),
    ]  # fmt: skip
    assert [rung.get("model") for rung in asked if "shots" in rung] == [None, str(other)]
    assert len(rungs({**fields, "model": str(other), "other": str(other)}, None)) == 2, "it was chosen as the first one since"
