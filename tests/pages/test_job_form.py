"""What the form of a tuning job refuses: each rule over several parameters says its reason where a person sees it."""

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import model as models
from app.domain.access import Who
from app.domain.methods import METHODS
from app.errors import Invalid
from app.services import experiments, jobs
from tests.dom import Dom, get
from tests.rows import add_dataset, add_model

CUT = {"devices": "2", "sharding": "fsdp"}
CONFLICTS = [
    ("full", {"sharding": "fsdp"}, "sharding", "there is one device"),
    *((name, CUT, "sharding", "under a soft prompt") for name, method in METHODS.items() if method.soft),
    ("lora", {**CUT, "variant": "dora"}, "sharding", "under dora"),
    ("lora", {**CUT, "variant": "pissa"}, "sharding", "under pissa"),
    ("lora", {**CUT, "four_bit": "yes"}, "sharding", "held in 4 bits"),
    ("full", {"devices": "2", "compile": "yes"}, "compile", "turn compile off"),
    ("full", {"devices": "20"}, "devices", "16 examples cannot be spread over 20 devices"),
    ("full", {"accumulation": "32"}, "accumulation", "16 examples cannot be split over 32 passes"),
    ("lora", {"variant": "pissa", "four_bit": "yes"}, "variant", "cannot read in 4 bits"),
]


@pytest.fixture
def task(person: Who) -> dict[str, str]:
    return {"model": str(add_model(person)), "dataset": add_dataset(person, train=40, validation=20).reference}


@pytest.mark.parametrize(("method", "typed", "field", "reason"), CONFLICTS)
def test_values_that_are_wrong_together_are_refused_at_a_field(
    browser: TestClient, task: dict[str, str], method: str, typed: dict[str, str], field: str, reason: str
) -> None:
    response = browser.post("/jobs", data={**task, "method": method, "drawn": method, **typed})
    page = Dom(response.text)
    said = page.text(f"#{field}-error")
    assert response.status_code == 422 and reason in said and said.endswith(".") and not said.endswith("..")
    assert not page.all("details:not([open]) .error"), "no reason lies in a fold that is closed"


def test_a_refusal_without_a_field_in_the_form_stands_above_it(browser: TestClient, task: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Invalid("odd", "This cannot be.", "Change it.", detail={"field": "parameters"})

    monkeypatch.setattr(jobs, "start_many", refuse)
    page = Dom(browser.post("/jobs", data={**task, "method": "full", "drawn": "full"}).text)
    assert page.text("[role=alert] .message") == "This cannot be."


def test_cutting_an_encoder_decoder_is_refused_before_it_is_a_job(browser: TestClient, person: Who, task: dict[str, str]) -> None:
    with transaction() as session:
        session.get_one(models.Model, int(task["model"])).encoder_decoder = True
    asked = {**task, "method": "full", "drawn": "full", **CUT}
    for page in (Dom(browser.post("/jobs", data=asked).text), get(browser, "/jobs/new?method=full&drawn=full&devices=2&sharding=fsdp")):
        assert page.text("#sharding-error") == "FSDP cuts decoder-only models, and this is an encoder-decoder. Set sharding to none."
    rung = {"technique": "full", "parameters": CUT}
    with pytest.raises(Invalid, match="encoder-decoder"):
        experiments.create(person, name="both", dataset=task["dataset"], model=task["model"], rungs=[rung])
    assert jobs.recent(person)[0] == []
