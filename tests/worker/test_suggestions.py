"""A model's suggestions: asked for on the web's side, weighed by the engine process, over a real broker."""

import asyncio
import json
import threading

import pytest

from app import queue
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.generation import payload_key
from app.domain.model import Model
from app.domain.rendering import Template, answer_text, render
from app.errors import Invalid, NotFound, Sealed
from app.services import endpoints, generate, grid, label_books, suggestions
from app.services.suggestions import Suggestion
from app.settings import settings
from tests.remote.servers import Server
from tests.services.uploading import now
from worker import interactive
from worker.engine.load import load
from worker.engine.score import score_labels

pytestmark = pytest.mark.usefixtures("engine")


def suggest(monkeypatch: pytest.MonkeyPatch, person: Who, toys: DatasetVersion, rows: list[int], model: Model) -> list[Suggestion]:
    """Ask, and play the engine's task in a thread as soon as the request is in Redis."""
    handed = generate.hand

    def hand_and_work(*arguments: object) -> generate.Request:
        request = handed(*arguments)  # type: ignore[arg-type]
        threading.Thread(target=interactive.generate, args=(request.id,), daemon=True).start()
        return request

    monkeypatch.setattr(generate, "hand", hand_and_work)
    return asyncio.run(suggestions.suggest(person, toys.reference, rows, model.id))


def rows_of(person: Who, toys: DatasetVersion, split: str = "train", count: int = 5) -> list[int]:
    return [row.id for row in grid.examples(person, toys.reference, split, 0, count)]


def test_suggestions_are_the_likelihoods_that_an_evaluation_would_find(monkeypatch: pytest.MonkeyPatch, person: Who, base: Model, toys: DatasetVersion) -> None:
    rows = rows_of(person, toys)
    found = suggest(monkeypatch, person, toys, rows, base)
    assert [one.example for one in found] == rows
    loaded = load(settings().models_folder / "tiny", device="cpu")
    with reading() as session:
        version = session.get_one(DatasetVersion, toys.id)
    texts = version.label_texts()
    inputs = [row.values() for row in grid.examples(person, toys.reference, "train", 0, 5)]
    sums = score_labels(loaded, [render(Template(), values) for values in inputs], [answer_text(Template(), text) for text in texts]).sums
    for one, values in zip(found, sums, strict=True):
        assert one.choices[0].display == texts[int(values.argmax())]
        assert sum(choice.share for choice in one.choices) == pytest.approx(1) and one.choices == sorted(one.choices, key=lambda choice: -choice.share)


def test_suggestions_speak_in_keys_and_display_texts_and_leave_retired_labels_out(
    monkeypatch: pytest.MonkeyPatch, person: Who, base: Model, toys: DatasetVersion
) -> None:
    keys = [label.key for label in toys.book.labels]
    named = now(label_books.rewrite(person, toys.reference, [{"key": keys[0], "display": "one"}, {"key": "two"}, {"key": "old", "retired": True}])).version
    found = suggest(monkeypatch, person, named, rows_of(person, named, count=1), base)
    assert {choice.key: choice.display for choice in found[0].choices} == {keys[0]: "one", **{key: key for key in keys[1:]}, "two": "two"}


def test_an_endpoint_that_gives_likelihoods_suggests_what_the_same_model_here_does(
    monkeypatch: pytest.MonkeyPatch, person: Who, base: Model, toys: DatasetVersion, model_server: Server
) -> None:
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place]))
    settings.cache_clear()
    rows = rows_of(person, toys, count=3)
    place = endpoints.create(person, name="there", url=f"{model_server.address}/v1", key="sesame", models=["tiny"])
    with pytest.raises(Invalid, match="has not been tested"):
        asyncio.run(suggestions.suggest(person, toys.reference, rows, "there/tiny"))
    endpoints.probe(person, place.endpoint.id)
    there = asyncio.run(suggestions.suggest(person, toys.reference, rows, "there/tiny"))
    here = suggest(monkeypatch, person, toys, rows, base)
    assert [one.example for one in there] == rows
    for one, other in zip(there, here, strict=True):
        assert [choice.key for choice in one.choices] == [choice.key for choice in other.choices]
        assert [choice.share for choice in one.choices] == pytest.approx([choice.share for choice in other.choices], abs=1e-3)


def test_nobody_is_asked_about_rows_that_may_not_be_seen_or_labels_there_are_not(person: Who, base: Model, toys: DatasetVersion) -> None:
    with reading() as session:
        (sealed, *_) = (case.id for case in datasets.cases(session, toys, "test"))
    asked = [([sealed], Sealed), ([10**9], NotFound), ([], Invalid), (list(range(1, 34)), Invalid)]
    for rows, error in asked:
        with pytest.raises(error):
            asyncio.run(suggestions.suggest(person, toys.reference, rows, base.id))


def test_a_prompt_that_lists_labels_gets_them_from_the_dataset_a_model_was_tuned_on(person: Who, base: Model, toys: DatasetVersion) -> None:
    fields = {
        "mode": "structured",
        "instruction": "One of {labels}.",
        "input_prefix": "Input:",
        "output_prefix": "Output:",
        "shots": [],
        "text": "",
        "messages": [],
    }
    with pytest.raises(Invalid, match=r"\{labels\}"):
        generate.start(person, base, fields, {"input": "a film"}, None)
    with transaction() as session:
        session.get_one(Model, base.id).dataset_version_id = toys.id
    with reading() as session:
        tuned = session.get_one(Model, base.id)
    request = generate.start(person, tuned, fields, {"input": "a film"}, None)
    payload = json.loads(str(queue._redis().get(payload_key(request.id))))
    assert payload["variables"]["labels"] == toys.book.rendered()
