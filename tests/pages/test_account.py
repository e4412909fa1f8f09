"""Sign-in, the one-time link, and the settings page."""

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import user as users
from app.domain.access import Who
from app.doors import COOKIE
from app.services import accounts, attempts
from app.settings import settings
from tests.dom import Dom, get, words
from tests.pages.conftest import PASSWORD


def invite(role: str = "member") -> str:
    with transaction() as session:
        return users.invite(session, role)


@pytest.fixture(autouse=True)
def no_attempts_yet() -> None:
    attempts._limiter.cache_clear()


def test_the_welcome_link_makes_the_first_account_and_signs_it_in(visitor: TestClient) -> None:
    secret = invite("admin")
    page = get(visitor, f"/welcome/{secret}")
    assert "first account" in page.text(".lede")
    response = visitor.post(f"/welcome/{secret}", data={"name": "Ada", "password": PASSWORD})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "path=/" in cookie and "secure" not in cookie
    assert get(visitor, "/").text("button.account") == "Ada"


def test_the_cookie_is_for_https_only_where_the_installation_says_so(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import forget

    monkeypatch.setenv("FETTLE_SECURE_COOKIES", "true")
    forget()
    response = visitor.post(f"/welcome/{invite()}", data={"name": "Ada", "password": PASSWORD})
    assert "secure" in response.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("data", "status", "field", "sentence"),
    [
        ({"name": "Ada", "password": "short"}, 422, "password", "5 characters"),
        ({"name": " ", "password": PASSWORD}, 422, "name", "Choose a name"),
        ({"name": "Grace", "password": PASSWORD}, 409, "name", "already an account"),
    ],
)
def test_what_was_wrong_stands_beside_its_field_and_the_link_stays_good(
    browser: TestClient, data: dict[str, str], status: int, field: str, sentence: str
) -> None:
    secret = invite()
    response = browser.post(f"/welcome/{secret}", data=data)
    page = Dom(response.text)
    assert response.status_code == status
    assert sentence in page.text(f"#{field}-error") and page.one(f"#{field}").get("aria-invalid") == "true"
    assert page.one("#name").get("value") == data["name"]
    assert accounts.invitation(secret)


def test_a_used_link_says_so(visitor: TestClient) -> None:
    secret = invite()
    visitor.post(f"/welcome/{secret}", data={"name": "Ada", "password": PASSWORD})
    page = get(visitor, f"/welcome/{secret}", 404)
    assert page.text("h1") == "This link is used up" and not page.all("#password")
    assert visitor.post(f"/welcome/{secret}", data={"name": "Eve", "password": PASSWORD}).status_code == 422


def test_every_room_asks_for_a_sign_in(visitor: TestClient) -> None:
    for path in ("/", "/lab", "/models", "/settings"):
        response = visitor.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in"), path
    response = visitor.get("/live", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert (response.status_code, response.headers["hx-redirect"]) == (401, "/sign-in")


def test_before_the_first_account_the_door_names_the_link(visitor: TestClient) -> None:
    page = get(visitor, "/sign-in")
    assert "fettle user invite --admin" in page.text(".lede") and not page.all("#password")


def test_signing_out_and_in_again(browser: TestClient) -> None:
    assert browser.get("/sign-in").headers["location"] == "/"
    key = Dom(browser.get("/").text).one("html").get("data-account")
    door = browser.post("/sign-out").headers["location"]
    assert key and door == f"/sign-in?left={key}", "the browser forgets what it kept of this account"
    assert any(script.get("src") == "/static/js/signed-out.js" for script in get(browser, door).all("script"))
    assert COOKIE not in browser.cookies
    assert browser.get("/").status_code == 303
    response = browser.post("/sign-in", data={"name": "Grace", "password": "wrong, all of it"})
    page = Dom(response.text)
    assert response.status_code == 401 and "wrong" in page.text("[role=alert] .message")
    assert page.one("#name").get("value") == "Grace" and page.one("#password").get("value") == ""
    assert browser.post("/sign-in", data={"name": "Grace", "password": PASSWORD}).headers["location"] == "/"


def test_a_session_that_was_ended_is_ended_everywhere(browser: TestClient) -> None:
    cookie = browser.cookies[COOKIE]
    browser.post("/sign-out")
    browser.cookies.set(COOKIE, cookie)
    assert browser.get("/").status_code == 303


def test_too_many_attempts_are_refused_even_with_the_right_password(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.post("/sign-out")
    for _ in range(10):
        attempts.failed("Grace", "testclient")
    response = browser.post("/sign-in", data={"name": "Grace", "password": PASSWORD})
    assert response.status_code == 429 and "Wait 5 minutes" in Dom(response.text).text("[role=alert]")


def test_a_stranger_elsewhere_cannot_lock_a_person_out(browser: TestClient) -> None:
    browser.post("/sign-out")
    for _ in range(10):
        attempts.failed("Grace", "elsewhere")
    assert browser.post("/sign-in", data={"name": "Grace", "password": PASSWORD}).status_code == 303


def test_a_token_is_shown_once_and_works_until_it_is_revoked(browser: TestClient) -> None:
    made = browser.post("/settings/tokens", data={"name": "nightly"}, headers={"HX-Request-Type": "partial"})
    part = Dom(made.text)
    secret = part.text("#secret")
    assert made.status_code == 201 and not part.all("html") and part.one("button[data-copy='#secret']") is not None
    page = get(browser, "/settings")
    assert secret not in words(page.root) and page.text("tbody th") == "nightly" and secret.startswith(page.text("tbody code").rstrip("…"))
    ask = TestClient(browser.app, base_url="http://localhost")
    assert ask.get("/api/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    browser.post(page.one("tbody form").get("action"))
    assert ask.get("/api/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_a_token_needs_a_name(browser: TestClient) -> None:
    response = browser.post("/settings/tokens", data={"name": " "})
    assert response.status_code == 422 and "needs a name" in Dom(response.text).text("#name-error")


def test_an_administrator_invites_and_a_member_may_not(browser: TestClient) -> None:
    link = Dom(browser.post("/settings/invitations").text).text("#link")
    path = "/welcome/" + link.rpartition("/")[2]
    browser.post("/sign-out")
    assert browser.post(path, data={"name": "Mel", "password": PASSWORD}).status_code == 303
    assert not get(browser, "/settings").all("#invitation")
    assert browser.post("/settings/invitations").status_code == 403


def test_an_administrator_sets_a_webhook_and_sees_its_secret_once(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", '["127.0.0.1:9"]')
    settings.cache_clear()
    browser.headers["HX-Request"] = "true"
    refused = browser.post("/settings/webhook", data={"url": "http://10.0.0.1/x"})
    assert (
        refused.status_code == 422
        and "not on the open internet" in Dom(refused.text).text("#url-error")
        and Dom(refused.text).one("#url").get("value") == "http://10.0.0.1/x"
    )
    part = Dom(browser.post("/settings/webhook", data={"url": "http://127.0.0.1:9/hook"}).text)
    assert part.text("#webhook-secret").startswith("whsec_")
    browser.post("/settings/webhook/test")
    del browser.headers["HX-Request"]
    page = get(browser, "/settings")
    assert not page.all("#webhook-secret") and page.one("#url").get("value") == "http://127.0.0.1:9/hook"
    assert page.texts("#webhook-part tbody .badge") == ["on its way"]
    browser.post("/settings/webhook/delete")
    assert not get(browser, "/settings").all("#webhook-part table")


def test_only_administrators_see_and_set_the_webhook(visitor: TestClient, person: Who) -> None:
    del person
    with transaction() as session:
        secret = users.invite(session, "member")
    visitor.post(f"/welcome/{secret}", data={"name": "Lin", "password": PASSWORD})
    assert not get(visitor, "/settings").all("#webhook")
    assert visitor.post("/settings/webhook", data={"url": "https://example.com/x"}).status_code == 403
