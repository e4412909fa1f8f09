"""Where an endpoint may be: one strict grammar, every address of a name checked, the socket pinned to what was checked."""

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.remote import address
from app.remote.address import check, early_check, is_public, parse
from app.remote.client import Client
from app.remote.spec import RemoteError
from tests.remote.conftest import spec_of
from tests.remote.servers import Server

pytestmark = pytest.mark.security


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.example.com/v1", "https://api.example.com:443/v1"),
        ("HTTPS://API.Example.com", "https://api.example.com:443/v1"),
        ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://10.0.0.7:8000/openai/v1", "http://10.0.0.7:8000/openai/v1"),
    ],
)
def test_a_plain_url_is_read(text: str, url: str) -> None:
    assert parse(text).url == url == parse(url).url


AMBIGUOUS = [
    "http://allowed.example\\@127.0.0.1:6379/", "http://allowed#@127.0.0.1", "http://127.0.0.1:80\\@allowed/", "http://user:pw@host", "http://host?x=1", "http://ho\tst/",
    "http://host/\n", " http://host", "ftp://host", "file:///etc/passwd", "//host", "host", "", "http://", "http://127.1", "http://0x7f000001", "http://2130706433", "http://0",
    "http://017700000001", "http://0x7f.1", "http://localhost.", "http://１２７.0.0.1", "http://host:0", "http://host:99999", "http://host/../x", "http://[fe80::1%25eth0]/",
    "http://[::1", "http://host..example", "http://-host", "http://" + "a" * 600, "http://127.0.0.0x1", "http://Kelvin.example", "http://ⓔxample.com", "http://exam_ple.com",
]  # fmt: skip


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_two_parsers_could_read_differently_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert caught.value.status == 422


INSIDE = [  # addresses to refuse, not to bind
    "127.0.0.1", "0.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "fe80::1", "fc00::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:53aa:64c:0:fbff:80ff:fffe", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_that_is_not_on_the_open_internet_is_known(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(Invalid) as caught:
        early_check(parse(f"https://{host}/v1"), ())
    assert caught.value.code == "private_address" and "FETTLE_ALLOWED_ENDPOINTS" in caught.value.advice


@given(st.integers(0, 2**32 - 1))
def test_ipv4_inside_ipv6_counts_as_what_it_carries(number: int) -> None:
    plain = ipaddress.IPv4Address(number)
    for wrapped in (f"::ffff:{plain}", f"64:ff9b::{plain}"):
        assert is_public(ipaddress.ip_address(wrapped)) == is_public(plain)


@given(st.text(max_size=60))
def test_whatever_is_written_is_read_one_way_or_refused(text: str) -> None:
    for given_text in (text, f"https://{text}", f"https://a.example/{text}"):
        try:
            found = parse(given_text)
        except Invalid:
            continue
        assert parse(found.url) == found and found.url.isascii() and not set(found.url) & set("@\\#?% ")


def test_public_addresses_need_https_and_private_ones_their_name_on_the_list() -> None:
    public = [ipaddress.ip_address("1.1.1.1")]
    check(parse("https://api.example.com"), public, ())
    with pytest.raises(Invalid) as caught:
        check(parse("http://api.example.com"), public, ())
    assert caught.value.code == "plain_http"
    private = [ipaddress.ip_address("127.0.0.1")]
    check(parse("http://localhost:11434"), private, ["localhost:11434"])
    for other in ("http://localhost:11435", "http://127.0.0.1:11434"):
        with pytest.raises(Invalid):
            check(parse(other), private, ["localhost:11434"])


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    mixed = [ipaddress.ip_address("1.1.1.1"), ipaddress.ip_address("10.0.0.1")]
    with pytest.raises(Invalid):
        check(parse("https://api.example.com"), mixed, ())


def test_a_name_that_turns_private_between_check_and_connection_is_refused_at_the_socket(
    fault_server: Server, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when the endpoint is saved, 127.0.0.1 when it is asked."""
    answers = iter(["93.184.216.34"])

    def resolver(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers, "127.0.0.1"), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    url = f"https://rebind.example:{fault_server.port}/fine/v1"
    early_check(parse(url), ())
    before = len(fault_server.requests())

    async def run() -> None:
        async with Client(spec_of(fault_server, "fine/v1", broker, url=url, allowed=(), time_out=5.0)) as client:
            await client.models()

    with pytest.raises(RemoteError) as caught:
        asyncio.run(run())
    assert caught.value.code == "private_address" and len(fault_server.requests()) == before


def test_the_connection_goes_to_the_address_that_was_checked(fault_server: Server, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved once for a connection; the socket is given the number, not the name."""
    asked: list[str] = []

    def resolver(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    place = f"model.example:{fault_server.port}"

    async def run() -> None:
        async with Client(spec_of(fault_server, "", broker, url=f"http://{place}/shape/v1", allowed=(place,), time_out=5.0)) as client:
            await client.models()

    with pytest.raises(RemoteError) as caught:
        asyncio.run(run())
    assert caught.value.code == "garbage", "it was reached under a name that no real resolver knows"
    assert asked.count("model.example") == 1 and all(host == "127.0.0.1" for host in asked if host != "model.example")
    assert fault_server.requests("shape")[-1]["headers"]["host"] == place


def test_a_name_that_does_not_resolve_now_may_be_saved_over_https_only() -> None:
    early_check(parse("https://nobody.invalid/v1"), ())
    with pytest.raises(Invalid):
        early_check(parse("http://nobody.invalid/v1"), ())
    assert address.parse("https://nobody.invalid").port == 443
