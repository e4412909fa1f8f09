"""Who gets in: nobody anywhere without a session or a token, no foreign page, no foreign host name."""

import re

import pytest
from starlette.testclient import TestClient

from app.domain import user as users
from app.domain.access import Who
from app.doors import COOKIE

OPEN = {"/sign-in", "/welcome/{secret}", "/healthz", "/readyz", "/api/v1/machines/join"}


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Every (method, path) of the application, with numbers for parameters."""
    found = []
    for included in client.app.routes:  # type: ignore[attr-defined]
        for one in getattr(included, "effective_route_contexts", list)():
            if one.path not in OPEN:
                path = re.sub(r"{\w+(:\w+)?}", "1", one.path)
                found += [(method, path) for method in sorted(one.methods or ()) if method not in ("HEAD", "OPTIONS")]
    return found


def test_nothing_answers_without_sign_in(anonymous: TestClient) -> None:
    known = routes(anonymous)
    assert len(known) > 40
    for method, path in known:
        answer = anonymous.request(method, path, headers={"Origin": "http://localhost"})
        closed = answer.status_code == 401 or (answer.status_code == 303 and answer.headers["location"] == "/sign-in")
        assert closed, f"{method} {path} answered {answer.status_code}"


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer ' OR 1=1--", "Basic YTpi", "Bearer", ""])
def test_a_wrong_token_is_refused_everywhere_the_same(anonymous: TestClient, header: str) -> None:
    for path in ("/api/v1/jobs", "/v1/models"):
        answer = anonymous.get(path, headers={"Authorization": header})
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "sign_in_needed"


def test_v1_takes_no_cookie(anonymous: TestClient, person: Who) -> None:
    sign_in(anonymous, person)
    assert anonymous.get("/api/v1/jobs").status_code == 200
    assert anonymous.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
        {"Origin": "http://localhost:9999"},
    ],
)
def test_a_foreign_page_cannot_use_the_cookie(anonymous: TestClient, person: Who, headers: dict[str, str]) -> None:
    sign_in(anonymous, person)
    for method, path in routes(anonymous):
        if method != "GET":
            answer = anonymous.request(method, path, headers=headers)
            assert answer.status_code == 403, f"{method} {path} answered {answer.status_code}"


def test_a_foreign_host_name_is_refused(anonymous: TestClient) -> None:
    answer = anonymous.get("/healthz", headers={"Host": "attacker.example"})
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "unknown_host"
    assert anonymous.get("/healthz", headers={"Host": "127.0.0.1:8000"}).status_code == 200


def test_every_answer_carries_the_security_headers(anonymous: TestClient) -> None:
    for path in ("/sign-in", "/healthz", "/static/app.css", "/api/v1/jobs", "/nowhere"):
        headers = anonymous.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"] and "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_signed_out_session_is_dead(anonymous: TestClient, person: Who) -> None:
    secret = sign_in(anonymous, person)
    assert anonymous.post("/sign-out", headers={"Origin": "http://localhost"}).status_code == 303
    anonymous.cookies.set(COOKIE, secret)
    assert anonymous.get("/api/v1/jobs").status_code == 401


def sign_in(client: TestClient, person: Who) -> str:
    from app.db import transaction

    with transaction() as session:
        secret = users.start_session(session, session.get_one(users.User, person.user_id))
    client.cookies.set(COOKIE, secret)
    return secret
