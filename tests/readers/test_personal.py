"""What seems to be personal data or a secret, and what only looks like it."""

import pytest

from app.readers import Example
from app.readers.personal import has_personal_data, is_personal

KEY = "Zq7" * 12


@pytest.mark.parametrize(
    "text",
    [
        "write to jo.doe+x@mail.example.org, please",
        f"my key is sk-{KEY}",
        f"sk-proj-{KEY[:20]}-{KEY}",
        f"sk-ant-api03-{KEY}_{KEY}",
        f"stripe: sk_live_{KEY}",
        f"ghp_{KEY}",
        f"github_pat_11AAAA_{KEY}",
        f"xoxb-123456789012-{KEY}",
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz",
        "-----BEGIN PRIVATE KEY-----",
        "4111 1111 1111 1111 is my card",
        "card 4111-1111-1111-1111, 12/27",
        "4111 1111 1111 1111 12/27",
        "378282246310005",
        "3782 822463 10005",
        "4222222222222",
        "6304000000000000000",
        "pay to DE89 3704 0044 0532 0130 00 AT ONCE",
        "GB82WEST12345698765432",
        "NO93 8601 1117 947",
        "call +49 (0)30 / 123 456-78",
        "+4915112345678",
        "+1 (555) 010-9999",
    ],
)
def test_it_is_seen(text: str) -> None:
    assert is_personal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@home and a@b",
        "order 4111 1111 1111 1112 has not arrived",
        "1234567890123456",
        "0000 0000 0000 0000",
        "the value is 0.4111111111111111",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "at 1700000000000 ms",
        "DE89 3704 0044 0532 0130 01",
        "risk-averse-people-never-1-2-3-do-that",
        "sk-slovak-language-support-team",
        "+5 points, 2+2=4, +100",
        "AKIA is a place, and MALAYSIA too",
        "-----BEGIN CERTIFICATE-----",
        "2024-01-31 10:20:30.123456",
        "+" * 2_000 + "4" * 2_000,
    ],
)
def test_it_only_looks_like_it(text: str) -> None:
    assert not is_personal(text)


def test_every_column_of_a_row_is_looked_at() -> None:
    for row in (Example(1, "jo@example.org", "a"), Example(1, "x", "jo@example.org"), Example(1, "x", None, None, {"from": "jo@example.org"})):
        assert has_personal_data(row)
    assert not has_personal_data(Example(1, "x", "a", None, {"from": "jo"})) and not has_personal_data(Example(1, "x"))
