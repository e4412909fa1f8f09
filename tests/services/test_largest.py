"""Which model behind the registered endpoints is asked for the signal."""

import pytest

from app.domain.access import Who
from app.services import endpoints
from app.services.largest import largest, ranked, size


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama-3.1-70b", 70),
        ("qwen2.5:0.5b", 0.5),
        ("mixtral-8x7b-instruct", 56),
        ("mixtral-8x22B", 176),
        ("qwen3-30b-a3b", 30),
        ("gpt-4o", None),
        ("4bit", None),
    ],
)
def test_a_size_is_read_from_a_name(name: str, billions: float | None) -> None:
    assert size(name) == billions


@pytest.mark.parametrize(
    ("known", "first"),
    [
        ([("qwen2.5:0.5b", 0.0), ("gpt-4o", 12.5)], "gpt-4o"),
        ([("qwen2.5:0.5b", 0.0), ("gpt-4o", 0.0)], "gpt-4o"),
        ([("gpt-4o", 0.0), ("llama-3.1-405b", 0.0)], "llama-3.1-405b"),
        ([("gpt-4o-mini", 0.75), ("gpt-4o", 12.5), ("llama-3.1-8b", 0.1)], "gpt-4o"),
        ([("llama-70b", 0.9), ("mixtral-8x7b", 1.2)], "llama-70b"),
        ([("mixtral-8x7b", 0.0), ("qwen-32b", 0.0)], "mixtral-8x7b"),
        ([("first", 1.0), ("second", 1.0)], "first"),
    ],
)
def test_names_without_a_size_go_by_price_first(known: list[tuple[str, float]], first: str) -> None:
    assert known[ranked(known)[0]][0] == first


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_prices_are_those_of_the_endpoint(person: Who) -> None:
    assert largest(person) is None
    endpoints.create(person, name="here", url="https://h.example.com/v1", models=["qwen2.5:0.5b"])
    prices = {"gpt-4o": {"input": 2.5, "output": 10.0}, "gpt-4o-mini": {"input": 0.15, "output": 0.6}}
    endpoints.create(person, name="there", url="https://api.example.com/v1", models=["gpt-4o-mini", "gpt-4o"], prices=prices)
    found = largest(person)
    assert found is not None and found.remote_name == "gpt-4o"
