"""The sentence of a label curve, and what its page asks for again."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.curve import Gain
from app.domain.scheme import ACCURACY, METRICS, Metric
from app.pages.label_curve import said
from app.services import experiments
from app.services.label_curve import Rising
from tests.dom import get
from tests.pages.test_experiments import task
from tests.rows import climb_by

__all__ = ["task"]


@pytest.mark.parametrize(
    ("figure", "price", "words"),
    [
        (ACCURACY, 20.0, "40 more labels buy +0.5 points [+0.0, +6.0], for $20.00, if the curve goes on as it began."),
        (METRICS["labels"]["mcc"], None, "40 more labels buy +0.5 points of MCC [+0.0, +6.0], if the curve goes on as it began."),
    ],
)
def test_what_more_labels_buy_is_told_with_its_interval_which_may_be_uneven(figure: Metric, price: float | None, words: str) -> None:
    assert said(Rising("LoRA", [], 20, 0, None, Gain(40, 0.005, 0.0, 0.06), price), figure) == words


def test_while_runs_are_under_way_the_page_asks_again_for_what_was_typed(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "label_curve": [4, 8, 12]}]
    key = experiments.create(person, name="tickets", dataset=task[1], model=task[0], rungs=rungs)
    for typed, price in (("?more=40&price=0.5", "0.5"), ("?more=40&price=", "")):
        page = get(browser, f"/experiments/{key}/labels{typed}")
        again = page.one("#poll").get("hx-get") or ""
        assert again == f"/experiments/{key}/labels?more=40&price={price}"
        assert get(browser, again).one("#price").get("value") == price
    climb_by(lambda rung, cell: 20)
    climb_by(lambda rung, cell: 20, "light")
    assert not get(browser, f"/experiments/{key}/labels").all("#poll")
