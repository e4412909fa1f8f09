"""Label bars: the likelihood of every label, raw and calibrated, through the API."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.dataset import DatasetVersion
from app.domain.rendering import Template, answer_text, render
from app.domain.scoring import CONTENT_FREE, calibrated, shares
from app.settings import settings
from tests.remote.servers import Server
from worker.engine.load import load
from worker.engine.score import score_labels

URL = "/api/v1/likelihoods"
PROMPT = {"instruction": "Judge.", "input_prefix": "Input:", "output_prefix": "Output:"}


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": PROMPT, "variables": {"input": "the film is good"}, **more}


def test_labels_are_weighed_as_an_evaluation_weighs_them(engine: TestClient) -> None:
    labels = ["positive", "negative", "very good"]
    found = engine.post(URL, json=asked(labels=labels)).json()["labels"]
    loaded, template = load(settings().models_folder / "tiny", device="cpu"), Template(instruction="Judge.")
    inputs = ("the film is good", *CONTENT_FREE)
    scores = score_labels(loaded, [render(template, {"input": text}) for text in inputs], [answer_text(template, label) for label in labels])
    raw = shares(list(scores.sums[0]))
    even = calibrated(raw, [shares(list(row)) for row in scores.sums[1:]])
    assert [one["label"] for one in found] == [labels[at] for at in scores.sums[0].argsort()[::-1]]
    for one in found:
        at = labels.index(one["label"])
        assert one["log_likelihood"] == pytest.approx(scores.sums[0][at], abs=1e-3) and one["tokens"] == scores.lengths[at]
        assert one["share"] == pytest.approx(raw[at], abs=1e-3) and one["calibrated_share"] == pytest.approx(even[at], abs=1e-3)
    for share in ("share", "calibrated_share"):
        assert sum(one[share] for one in found) == pytest.approx(1)


def test_the_labels_of_a_dataset_are_those_of_its_book_and_fill_the_prompt(engine: TestClient, toys: DatasetVersion) -> None:
    prompt = {**PROMPT, "instruction": "One of {labels}."}
    found = engine.post(URL, json=asked(prompt=prompt, dataset=toys.reference)).json()["labels"]
    assert sorted(one["label"] for one in found) == ["negative", "positive"]
    same = engine.post(URL, json=asked(prompt=prompt, labels=toys.label_texts())).json()["labels"]
    assert [one["share"] for one in same] == pytest.approx([one["share"] for one in found])


def test_a_prompt_without_an_input_cannot_be_calibrated(engine: TestClient) -> None:
    body = {"model": "tiny", "prompt": {"mode": "freeform", "text": "the film is"}, "labels": ["good", "bad"]}
    assert [one["calibrated_share"] for one in engine.post(URL, json=body).json()["labels"]] == [None, None]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "which_labels"),
        ({"labels": ["a", "b"], "dataset": "1"}, "which_labels"),
        ({"labels": ["a"]}, "label_count"),
        ({"labels": ["a", "a"]}, "labels_differ"),
        ({"labels": ["a", "zq" * 400]}, "label_too_long"),
        ({"labels": ["a", "b"], "variables": {"other": "x"}}, "unknown_variable"),
    ],
)
def test_what_cannot_be_weighed_is_refused(engine: TestClient, more: dict[str, Any], code: str) -> None:
    answer = engine.post(URL, json=asked(**more))
    assert answer.status_code == 422 and answer.json()["error"]["code"] == code, answer.json()


def test_an_endpoint_weighs_labels_only_after_a_test_has_shown_it(engine: TestClient, model_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place]))
    settings.cache_clear()
    row = engine.post("/api/v1/endpoints", json={"name": "there", "url": f"{model_server.address}/v1", "key": "sesame", "models": ["tiny"]}).json()
    body = {**asked(labels=["positive", "negative"]), "model": "there/tiny"}
    refused = engine.post(URL, json=body)
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "no_likelihood" and "has not been tested" in refused.json()["error"]["message"]
    engine.post(f"/api/v1/endpoints/{row['id']}/test")
    found = engine.post(URL, json=body).json()["labels"]
    assert sum(one["share"] for one in found) == pytest.approx(1) and found[0]["log_likelihood"] >= found[1]["log_likelihood"]
    assert all(one["tokens"] is None and one["calibrated_share"] is not None for one in found)
