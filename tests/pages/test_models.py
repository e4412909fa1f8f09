"""The models' list and a model's page: figures, lineage, and code that can be pasted."""

import ast
import json

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import model as models
from app.domain.access import Who
from app.domain.methods import METHODS
from app.domain.model import Model
from app.services import prompts
from tests.dom import get
from tests.rows import add_dataset, add_model


@pytest.fixture
def tuned(person: Who) -> Model:
    """A LoRA of the starter on `tickets`, through a prompt whose shot has quotes in it."""
    base, version = add_model(person), add_dataset(person)
    prompt = prompts.create(person, "Routing", {"instruction": "Sort.", "shots": [{"input": 'It\'s "late"\\', "output": "delivery"}]})
    values = METHODS["lora"].model_validate({"epochs": 3}).model_dump()
    with transaction() as session:
        return models.register_tuned(
            session,
            person,
            name="LoRA on tickets",
            folder="jobs/1",
            content_hash="1" * 64,
            parameters=1042,
            base_model_id=base,
            method="lora",
            method_parameters=values,
            trainable_parameters=42,
            training_seconds=95.0,
            job_id=None,
            prompt_version_id=prompt.id,
            dataset_version_id=version.id,
        )


def test_no_models_yet_says_how_to_get_one(browser: TestClient) -> None:
    page = get(browser, "/models")
    assert "fettle models starter" in page.text(".empty") and not page.all("main table")


def test_tuned_models_come_first_with_what_they_were_made_from(browser: TestClient, tuned: Model) -> None:
    page = get(browser, "/models")
    assert page.texts("section:first-of-type tbody td")[:5] == ["LoRA", "Starter", "tickets v1", "42", "1 min 35 s"]
    assert [link.get("href") for link in page.all("tbody th a")] == [f"/models/{tuned.slug}", "/models/starter"]


def test_a_tuned_model_shows_its_lineage_and_figures(browser: TestClient, tuned: Model) -> None:
    page = get(browser, f"/models/{tuned.id}")
    assert page.texts(".figure dd:first-of-type") == ["1.04k", "42", "1 min 35 s"] and "4.03 % of all" in page.text(".figures")
    assert {"/models/starter", "/datasets/1@1", "/lab?prompt=1@1"} <= {link.get("href") for link in page.all("main a")}
    assert page.href(".page-head .button.primary") == f"/lab?model={tuned.id}"
    assert page.texts("tbody th")[0] == "epochs" and "changed" in page.texts("tbody td")[0]
    assert "Sort." in page.text("pre[aria-label='The prompt']")


def test_a_foundation_model_is_tuned_from_its_page(browser: TestClient, person: Who) -> None:
    key = add_model(person)
    page = get(browser, "/models/starter")
    assert page.texts(".page-head .button") == ["Tune it", "Try in Lab"] and page.all(".page-head .button")[0].get("href") == f"/jobs/new?model={key}"
    get(browser, "/models/nobody", 404)


def test_the_snippets_are_valid_whatever_the_prompt_holds(browser: TestClient, tuned: Model) -> None:
    page = get(browser, f"/models/{tuned.slug}")
    python, curl = page.one("#openai").text_content(), page.one("#curl").text_content()
    ast.parse(python)
    body = json.loads(curl.partition("-d '")[2].rpartition("'")[0])
    assert body == {"model": tuned.slug, "messages": [{"role": "user", "content": "Its late"}]} and f'model="{tuned.slug}"' in python
    assert curl.startswith("curl http://127.0.0.1:8000/v1/chat/completions") and page.one("button[data-copy='#curl']") is not None


def test_the_lab_offers_a_tuned_model_with_its_own_prompt(browser: TestClient, tuned: Model) -> None:
    page = get(browser, "/lab")
    option = page.one("[data-part=model] optgroup[label='Tuned'] option")
    assert (option.get("data-prompt"), option.get("data-through")) == ("1@1", "Routing v1")
    assert page.one("[data-part=model] optgroup[label='Foundation'] option").get("data-prompt") == ""


def test_a_model_is_pinned_and_let_go_and_the_page_says_what_that_does(browser: TestClient, tuned: Model) -> None:
    assert "Leaves when a job needs the room.Pin" in get(browser, f"/models/{tuned.slug}").text("dl.facts")
    assert browser.post(f"/models/{tuned.slug}/pin", data={"on": "yes"}).headers["location"] == f"/models/{tuned.slug}"
    assert "Pinned: once loaded it stays, and jobs that need the room wait.Unpin" in get(browser, f"/models/{tuned.slug}").text("dl.facts")
    browser.post(f"/models/{tuned.slug}/pin", data={"on": "no"})
    assert "Leaves when a job needs the room" in get(browser, f"/models/{tuned.slug}").text("dl.facts")


def test_a_tuned_model_can_be_merged_and_a_soft_prompt_cannot(browser: TestClient, tuned: Model) -> None:
    assert get(browser, f"/models/{tuned.id}").texts("form[action$='/merge'] button") == ["Merge into one plain model"]
    answer = browser.post(f"/models/{tuned.id}/merge", follow_redirects=False)
    assert answer.status_code == 303
    job = get(browser, answer.headers["location"])
    assert "merged" in job.text("h1") and "compared on" in job.texts("dt")
    assert "is merging it" in get(browser, f"/models/{tuned.id}").text("main")
    again = browser.post(f"/api/v1/models/{tuned.id}/merge")
    assert again.status_code == 202 and (again.json()["state"], again.json()["position"], again.json()["begins_at"]) == ("queued", 1, None)
    with transaction() as session:
        session.get_one(Model, tuned.id).method = "prompt_tuning"
    assert not get(browser, f"/models/{tuned.id}").all("form[action$='/merge']")
    refused = browser.post(f"/api/v1/models/{tuned.id}/merge")
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "cannot_merge"


def test_a_model_is_deleted_unless_something_stands_on_it(browser: TestClient, tuned: Model) -> None:
    refused = browser.post(f"/models/{tuned.base_model_id}/delete", follow_redirects=False)
    assert refused.status_code == 409 and f"is used by model {tuned.id}" in refused.text
    assert browser.post(f"/models/{tuned.id}/delete", follow_redirects=False).headers["location"] == "/models"
    assert browser.get(f"/models/{tuned.id}").status_code == 404
