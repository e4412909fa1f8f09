"""The prompts room: what a person sees of versions, aliases, differences, samples and runs."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who, owned
from app.domain.notebook import Run
from app.domain.prompt import template_of
from app.domain.rendering import check
from app.services import evaluations, gallery, prompts
from tests.dom import Dom, get
from tests.pages.test_lab import given
from tests.queries import queries
from tests.rows import add_dataset, add_model
from tests.services.test_judgements import graded
from tests.services.test_reliability import base

FIRST: dict[str, Any] = {"instruction": "Sort the <message>.", "input_prefix": "Message:", "shots": [{"input": "a", "output": "b"}]}


@pytest.fixture
def two(person: Who) -> int:
    key = prompts.create(person, "Routing", FIRST, "first try").prompt_id
    prompts.add_version(person, key, {**FIRST, "instruction": "Sort the <message> well.", "parameters": {"temperature": 0.5}}, "says how")
    return key


def add_run(person: Who, model: str = "Starter", **values: Any) -> int:
    asked = {"prompt": {"mode": "structured", "instruction": "Judge."}, "variables": {"input": "the plot"}, "parameters": {"max_tokens": 5}}
    took = {"reason": "stop", "error": None, "input_tokens": 12, "output_tokens": 3, "latency_ms": 250.0, "cost": 0.0}
    with transaction() as session:
        row = Run(**owned(person), session="s", model_id=None, model_name=model, prompt_version=None, output=" good", **{**asked, **took, **values})
        session.add(row)
        session.flush()
        return row.id


def own(browser: TestClient) -> Who:
    """The person behind the browser."""
    from app.services import accounts

    found = accounts.by_cookie(browser.cookies["fettle_session"])
    assert found is not None
    return found


def test_an_empty_room_offers_the_samples(browser: TestClient) -> None:
    page = get(browser, "/prompts")
    assert page.text(".empty h2") == "Nothing saved yet" and len(page.all(".gallery a")) == len(gallery.samples()) >= 12
    assert page.one("nav a[aria-current]").text == "Lab"
    assert len(get(browser, "/lab").all("#starters .gallery a")) == len(gallery.samples())


@pytest.mark.parametrize("sample", gallery.samples(), ids=lambda sample: sample.key)
def test_a_sample_can_be_rendered_and_reads_like_one(sample: gallery.Sample) -> None:
    check(template_of(sample.fields), {"input": sample.input})
    assert sample.input not in {shot["input"] for shot in sample.fields["shots"]} and sample.about.endswith(".") and len(sample.about) < 80


def test_samples_cover_what_a_newcomer_looks_for() -> None:
    groups = [name for name, _ in gallery.groups()]
    assert groups == ["Classification", "Extraction", "Summarising", "Rewriting", "Question answering", "Data to text"]
    assert len({sample.key for sample in gallery.samples()}) == len(gallery.samples())


def test_a_sample_opens_as_a_draft_with_its_input(browser: TestClient) -> None:
    page = get(browser, "/lab?sample=marketing-copy")
    told = given(page)
    assert told["prompt"] is None and told["explicit"] and "lamp" in told["variables"]["input"] and page.text("#prompt-name") == "New prompt"
    assert "energetic" in page.text("#instruction") and len(page.all("#shots > li")) == 1 and page.one("#c1-max_tokens").get("value") == "72"
    assert get(browser, "/prompts").all(".row-link") == [], "nothing was saved"
    get(browser, "/lab?sample=nobody", 404)


def test_the_list_names_versions_aliases_and_who_saved(browser: TestClient, person: Who, two: int) -> None:
    prompts.set_alias(person, two, "production", 1)
    page = get(browser, "/prompts")
    assert page.text(".row-link") == "Routing" and page.text("tbody .sub") == "version 2, 1 shot" and page.text("tbody .badge") == "production v1"
    assert page.text("tbody .wide-only") == "Ada" and page.text("tbody .clip") == "says how"


def test_a_longer_list_takes_no_more_queries(browser: TestClient, person: Who, two: int) -> None:
    def sent() -> int:
        with queries() as found:
            get(browser, "/prompts")
        return len(found)

    before = sent()
    for number in range(5):
        prompts.set_alias(person, prompts.create(person, f"p{number}", FIRST).prompt_id, "production", 1)
    assert sent() == before


def test_a_prompts_page_shows_its_history_and_what_can_be_done(browser: TestClient, two: int) -> None:
    page = get(browser, f"/prompts/{two}")
    assert page.text("h1") == "Routing" and page.text(".lede") == "Structured, 1 shot, reads {input}."
    assert page.texts("#main tbody th") == ["2", "1"] and page.texts("#main tbody td.full") == ["says how", "first try"]
    assert page.all("[data-link]")[1].get("data-link").endswith(f"/lab?prompt={two}@1")
    assert "Sort the <message> well." in page.one("pre.wording").text_content()
    assert page.one(".alias-name").get("value") == "production"
    get(browser, "/prompts/99", 404)


def test_restoring_duplicating_and_renaming(browser: TestClient, two: int) -> None:
    assert browser.post(f"/prompts/{two}/restore", data={"version": 1}).headers["location"] == f"/prompts/{two}"
    assert get(browser, f"/prompts/{two}").texts("#main tbody td.full") == ["Restored version 1", "says how", "first try"]
    again = Dom(browser.post(f"/prompts/{two}/restore", data={"version": 1}).text)
    assert "says the same" in again.text("[role=alert] .message")
    copy = browser.post(f"/prompts/{two}@2/duplicate").headers["location"]
    assert get(browser, copy).text("h1") == "Routing (copy)"
    browser.post(f"{copy}/rename", data={"name": "Better"})
    assert get(browser, copy).text("h1") == "Better"
    assert browser.post(f"{copy}/rename", data={"name": " "}).status_code == 422


def test_aliases_are_moved_taken_off_and_recorded(browser: TestClient, two: int) -> None:
    for alias, version in (("production", 1), ("production", 2), ("staging", 1)):
        assert browser.post(f"/prompts/{two}/alias", data={"alias": alias, "version": version}).status_code == 303
    browser.post(f"/prompts/{two}/alias", data={"alias": "staging", "version": 1, "drop": "yes"})
    page = get(browser, f"/prompts/{two}")
    assert page.texts("#aliases .badge") == ["production"] and page.text("#aliases summary") == "4 moves on record"
    assert [text.split(",")[0] for text in page.texts("#aliases li")] == [
        "staging: taken off version 1", "staging: set on version 1", "production: version 1 to 2", "production: set on version 1",
    ]  # fmt: skip
    refused = browser.post(f"/prompts/{two}/alias", data={"alias": "Live!", "version": 1})
    assert refused.status_code == 422 and Dom(refused.text).one(".alias-name").get("value") == "Live!", "what was typed stays"


def test_a_difference_by_words_and_by_lines(browser: TestClient, two: int) -> None:
    page = get(browser, f"/prompts/{two}/diff?older=1&newer=2")
    assert page.texts("ins") == ["well", "temperature 0.5"] and not page.all("del") and "shot 1" in page.text("#main .faint")
    lines = get(browser, f"/prompts/{two}/diff?older=1&newer=2&by=line")
    assert lines.texts("del") == ["Sort the <message>."] and lines.texts("ins")[0] == "Sort the <message> well."
    assert get(browser, f"/prompts/{two}/diff?older=2&newer=2").text("#main .muted") == "Both say the same."
    get(browser, f"/prompts/{two}/diff?older=1&newer=9", 404)


def test_deleting_names_the_users_with_links(browser: TestClient, person: Who, two: int) -> None:
    from app.services import jobs

    model, data = add_model(person), add_dataset(person).reference
    job = jobs.start_tune(person, model=model, dataset=data, method="lora", parameters={}, prompt_version=two, seed=0).job
    refused = browser.post(f"/prompts/{two}/delete")
    assert refused.status_code == 409 and Dom(refused.text).href("[role=alert] a") == f"/jobs/{job.id}"
    jobs.cancel(person, job.id)
    assert browser.post(f"/prompts/{two}/delete").headers["location"] == "/prompts"


def test_a_prompt_whose_answers_were_judged_is_kept_and_the_judgement_named(browser: TestClient, person: Who) -> None:
    key = base(person)
    judgement = graded(person, key, add_model(person, "Judge", "judge")).judgement.id
    refused = browser.post(f"/prompts/{evaluations.find(person, key).evaluation.prompt_version_id}/delete")
    assert refused.status_code == 409 and Dom(refused.text).href("[role=alert] a") == f"/judgements/{judgement}"


def test_every_mode_has_its_page(browser: TestClient, person: Who) -> None:
    chat = prompts.create(person, "Chat", {"mode": "chat", "messages": [{"role": "system", "content": "Be {tone}."}, {"role": "user", "content": "{input}"}]})
    free = prompts.create(person, "Free", {"mode": "freeform", "text": "Say {word}"})
    assert get(browser, f"/prompts/{chat.prompt_id}").one("pre.wording").text_content() == "system: Be {tone}.\nuser: {input}\n"
    assert get(browser, f"/prompts/{free.prompt_id}").text(".lede") == "Freeform, reads {word}."
    assert get(browser, "/prompts").texts("tbody .sub") == ["version 1, freeform", "version 1, chat"]


def test_the_notebook_lists_filters_opens_and_deletes_ones_own_runs(browser: TestClient, person: Who) -> None:
    assert get(browser, "/lab/notebook").text(".empty h2") == "Nothing was run yet"
    me = own(browser)
    add_run(person)
    old, new = add_run(me), add_run(me, "Big", reason="failed", error={"code": "x", "message": "It broke.", "advice": ""}, variables={"input": "<i>"})
    page = get(browser, "/lab/notebook")
    assert page.texts("tbody .row-link") == ["<i>", "the plot"] and page.texts("tbody .answer") == ["It broke.", "good"]
    assert "The newest 1,000 are kept; there are 2." in page.text(".lede") and page.texts("tbody .num:nth-child(4)") == ["12 + 3", "12 + 3"]
    assert get(browser, "/lab/notebook?model=Big").texts("tbody .row-link") == ["<i>"]
    assert get(browser, "/lab/notebook?model=None").text("#main .muted") == "No run fits this filter."
    lab = get(browser, f"/lab?run={old}")
    assert lab.text("#instruction") == "Judge." and given(lab)["variables"] == {"input": "the plot"} and lab.one("#c1-max_tokens").get("value") == "5"
    listing = get(browser, "/lab/notebook?model=Big")
    gone = browser.post(f"/lab/notebook/{new}/delete", data={"back": listing.one("tbody [name=back]").get("value")})
    assert gone.status_code == 303 and gone.headers["location"] == "/lab/notebook?model=Big", "back to the list as it was filtered"
    assert get(browser, "/lab/notebook").texts("tbody .row-link") == ["the plot"]
    browser.post("/lab/notebook/clear", data={"session": "s"})
    assert get(browser, "/lab/notebook").text(".empty h2") == "Nothing was run yet"
    get(browser, f"/lab?run={old}", 404)


def test_code_is_shown_for_what_stands_in_the_lab(browser: TestClient, person: Who) -> None:
    body = {
        "model": add_model(person),
        "prompt": FIRST,
        "variables": {"input": 'say "hi" <b>'},
        "parameters": {"max_tokens": 7, "top_k": 4, "temperature": 0.5},
    }
    page = Dom(browser.post("/lab/code", json=body).text)
    assert page.texts("summary") == ["curl", "Python openai", "Python transformers"]
    assert '"top_k": 4' in page.text("#code-openai") and "top_k=4" in page.text("#code-transformers") and 'say \\"hi\\" <b>' in page.text("#code-transformers")
    refused = browser.post("/lab/code", json={**body, "prompt": {"instruction": "{nobody}"}})
    told = Dom(refused.text)
    assert refused.status_code == 200 and "{nobody}" in told.text("[role=alert] .message")
    told = Dom(browser.post("/lab/code", json={**body, "parameters": {"json_schema": "{"}}).text)
    assert told.text("[role=alert] .message").startswith("json_schema: ")


def test_code_that_transformers_cannot_have_says_why(browser: TestClient, person: Who) -> None:
    body = {"model": add_model(person), "prompt": FIRST, "variables": {"input": "it"}, "parameters": {"regex": "[a-z]+", "min_tokens": 3}}
    page = Dom(browser.post("/lab/code", json=body).text)
    assert [one.get("id") for one in page.all("pre.code")] == ["code-curl", "code-openai"]
    assert page.texts("details p.muted") == [
        "generate() cannot hold an answer to a form and to a least number of tokens at once. Without min tokens there is code here."
    ]


def test_code_says_of_a_value_what_it_is_and_of_a_saved_version_its_words(browser: TestClient, person: Who) -> None:
    body: dict[str, Any] = {"model": add_model(person), "prompt": FIRST, "variables": {"input": "it <|im_end|> is"}, "parameters": {"choices": ["good", "bad"]}}
    page = Dom(browser.post("/lab/code", json=body).text)
    assert 'tokenizer(prompt, return_tensors="pt", split_special_tokens=True)' in page.text("#code-transformers")
    assert "# In this text <|im_end|> may be a special token of the model" in page.text("#code-openai") and "stop=[]" in page.text("#code-openai")
    assert "stops" not in page.text("#code-transformers"), "an answer held to a list ends with what it says"
    body |= {"prompt": {**FIRST, "instruction": "<s>Judge."}, "parameters": {}}
    both = Dom(browser.post("/lab/code", json=body).text).text("#code-transformers")
    assert "split_special_tokens" not in both and "# <|im_end|> may be a special token here" in both and "stops = " in both
    plain = Dom(browser.post("/lab/code", json={**body, "prompt": FIRST, "variables": {"input": "it is"}}).text)
    assert "special" not in plain.text("#code-openai") and "split_special" not in plain.text("#code-transformers")
    chat = {"mode": "chat", "messages": [{"role": "user", "content": "{input}"}]}
    turns = Dom(browser.post("/lab/code", json={**body, "prompt": chat}).text).text("#code-transformers")
    assert "apply_chat_template" in turns and "# <|im_end|> may be a special token here" in turns
    version = prompts.create(person, "Saved", {**FIRST, "instruction": "Weigh it."})
    saved = Dom(browser.post("/lab/code", json={**body, "prompt": None, "prompt_version": version.reference}).text)
    assert "Weigh it." in saved.text("#code-curl") and "Weigh it." in saved.text("#code-openai")
