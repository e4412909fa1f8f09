"""The endpoints' pages: the form keeps what was typed, a test shows what was found, models are taken with their prices, keys are never shown."""

import json

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import user as users
from app.domain.access import Who
from app.domain.endpoint import Window
from app.services import endpoints
from app.settings import settings
from tests.dom import Dom, get, words
from tests.pages.conftest import PASSWORD
from tests.remote.servers import Server
from tests.rows import add_model

KEY = "sesame"


@pytest.fixture(autouse=True)
def places(model_server: Server, fault_server: Server, monkeypatch: pytest.MonkeyPatch, broker: str) -> None:
    del broker
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place, fault_server.place]))
    settings.cache_clear()


def add(browser: TestClient, server: Server, path: str = "v1", name: str = "vendor") -> str:
    answer = browser.post("/endpoints", data={"name": name, "url": f"{server.address}/{path}", "key": KEY, "concurrency": "2", "time_out": ""})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_the_list_begins_with_this_installation(browser: TestClient, model_server: Server) -> None:
    page = get(browser, "/endpoints")
    assert page.texts("tbody th") == ["local"] and "no engine process" in page.text("tbody tr") and page.href(".page-head .button.primary") == "/endpoints/new"
    add(browser, model_server)
    page = get(browser, "/endpoints")
    assert page.texts("tbody th") == ["local", "vendor"] and "not tested" in words(page.all("tbody tr")[1])


def test_what_is_refused_stands_at_its_field_and_nothing_typed_is_lost(browser: TestClient) -> None:
    answer = browser.post("/endpoints", data={"name": "vendor", "url": "http://169.254.169.254/", "key": KEY, "concurrency": "7", "time_out": "30"})
    page = Dom(answer.text)
    assert answer.status_code == 422 and "not on the open internet" in page.text("#url-error")
    assert [page.one(f"#{name}").get("value") for name in ("name", "url", "concurrency", "time_out")] == ["vendor", "http://169.254.169.254/", "7", "30"]
    assert KEY not in answer.text
    answer = browser.post("/endpoints", data={"name": "vendor", "url": "https://api.example.com", "key": "two words"})
    assert answer.status_code == 422 and "has no spaces" in Dom(answer.text).text("#key-error") and "two words" not in answer.text
    answer = browser.post("/endpoints", data={"name": "vendor", "url": "https://api.example.com", "concurrency": "0"})
    assert answer.status_code == 422 and "out of range" in Dom(answer.text).text("#concurrency-error")


def test_a_test_shows_what_the_server_can_do(browser: TestClient, model_server: Server) -> None:
    place = add(browser, model_server, "plain/v1")
    assert "Not tested yet" in get(browser, place).text("#tested")
    answer = browser.post(f"{place}/test", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    part = Dom(answer.text)
    assert "It answers: 1 model listed" in part.text(".sentence") and "<!doctype" not in answer.text.lower()
    assert part.texts(".facts dd .badge") == ["yes", "yes", "no"] and "does not echo" in part.text(".facts")
    assert part.texts("tbody th") == ["tiny", "every other model"]
    assert KEY not in get(browser, place).root.text_content() and KEY not in browser.get(place).text


def test_models_are_taken_with_their_prices(browser: TestClient, model_server: Server) -> None:
    place = add(browser, model_server)
    browser.post(f"{place}/test")
    form = {"name-0": "tiny", "use-0": "on", "input-0": "0.15", "output-0": "0.6", "name-1": "*", "input-1": "1", "output-1": "", "more": "org/unlisted"}
    assert browser.post(f"{place}/models", data=form).status_code == 303
    page = get(browser, place)
    assert page.texts("tbody .full code") == ["vendor/org/unlisted", "vendor/tiny"]
    assert [box.get("value") for box in page.all("tbody input[type=number]")] == ["", "", "0.15", "0.6", "1", "0"]
    remote = get(browser, "/models").texts("section:last-of-type tbody td:nth-child(2)")
    assert remote == ["vendor/org/unlisted", "vendor/tiny"] or remote == ["vendor/tiny", "vendor/org/unlisted"]
    option = get(browser, "/lab").all("[data-part=model] optgroup[label='Remote'] option")
    assert {one.text for one in option} == {"vendor/org/unlisted", "vendor/tiny"} and all(one.get("data-remote") is not None for one in option)
    answer = browser.post(f"{place}/models", data={"name-0": "tiny", "use-0": "on", "input-0": "cheap"})
    assert answer.status_code == 422 and "not a number" in Dom(answer.text).text("#models .error")
    assert "cheap" in [box.get("value") for box in Dom(answer.text).all("tbody input[type=number]")], "what was typed stays to be corrected"


def test_windows_are_said_for_models_and_what_the_server_lists_is_seen(browser: TestClient, model_server: Server, person: Who) -> None:
    place, local = add(browser, model_server, "told/v1"), add_model(person)
    browser.post(f"{place}/test")
    page = get(browser, place)
    assert [box.get("placeholder") for box in page.all("tbody [name^=window]")] == ["400", "–"], "as listed, and nobody knows"
    form = {"name-0": "tiny", "use-0": "on", "window-0": "", "tokenizer-0": str(local), "name-1": "*", "window-1": "8,192", "tokenizer-1": ""}
    assert browser.post(f"{place}/models", data=form).status_code == 303
    page = get(browser, place)
    assert [box.get("value") for box in page.all("tbody [name^=window]")] == ["", "8192"]
    assert page.one("[name=tokenizer-0] option[selected]").text == "Starter"
    endpoint = endpoints.recent(person)[0][0].endpoint
    assert endpoint.window("tiny") == Window(400, local) and endpoint.window("any") == Window(8192)
    answer = browser.post(f"{place}/models", data={"name-0": "tiny", "use-0": "on", "window-0": "many"})
    assert answer.status_code == 422 and Dom(answer.text).text("#models .error") and "many" in answer.text


def test_a_remote_model_has_a_page_of_what_it_is(browser: TestClient, model_server: Server) -> None:
    place = add(browser, model_server)
    browser.post(f"{place}/models", data={"more": "tiny"})
    page = get(browser, "/models/1")
    assert page.texts(".page-head .button") == ["Try in Lab"] and "vendor/tiny" in page.text(".facts") and not page.all(".figures")
    assert place in {link.get("href") for link in page.all("main a")}


def test_another_address_needs_the_key_again(browser: TestClient, model_server: Server, fault_server: Server) -> None:
    place = add(browser, model_server)
    moved = {"name": "vendor", "url": f"{fault_server.address}/fine/v1", "key": "", "concurrency": "2", "time_out": "60"}
    answer = browser.post(place, data=moved)
    page = Dom(answer.text)
    assert answer.status_code == 422 and "is not sent elsewhere" in page.text("#key-error") and page.one("details.drawer").get("open") is not None
    assert page.one("#url").get("value") == moved["url"] and model_server.address in page.text(".lede")
    assert browser.post(place, data={**moved, "key": "another"}).status_code == 303
    assert fault_server.address in get(browser, place).text(".lede")
    assert browser.post(place, data={**moved, "forget": "on"}).status_code == 303 and "without a key" in get(browser, place).text(".lede")


def test_a_failed_test_says_why_and_what_to_do(browser: TestClient, fault_server: Server) -> None:
    place = add(browser, fault_server, "html/v1")
    browser.post(f"{place}/test")
    notice = get(browser, place).text("#tested .notice")
    assert "not the OpenAI protocol" in notice and "/v1" in notice and "garbage" in notice and "hunter2" not in notice


def test_deleting_takes_it_away(browser: TestClient, model_server: Server) -> None:
    place = add(browser, model_server)
    assert browser.post(f"{place}/delete").headers["location"] == "/endpoints"
    get(browser, place, 404)


def test_members_see_and_change_nothing(browser: TestClient, visitor: TestClient, model_server: Server) -> None:
    place = add(browser, model_server)
    browser.post(f"{place}/models", data={"more": "tiny"})
    with transaction() as session:
        secret = users.invite(session, "member")
    browser.post("/sign-out")
    assert visitor.post(f"/welcome/{secret}", data={"name": "Mem", "password": PASSWORD}).status_code == 303
    page = get(visitor, place)
    assert page.texts("main dl.facts dt") == ["vendor/tiny"] and not page.all("main form")
    assert not get(visitor, "/endpoints").all(".page-head .button") and "Only an administrator" in get(visitor, "/endpoints/new").text(".empty")
    for path in (place, f"{place}/test", f"{place}/models", f"{place}/delete"):
        assert visitor.post(path, data={}).status_code == 403
