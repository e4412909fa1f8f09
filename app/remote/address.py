"""Where an endpoint may be. One strict reading of its URL, used to check it and to connect, and one rule for every address a name stands for.

The grammar is a narrow part of RFC 3986 on purpose: what two parsers could read differently (user names, backslashes, fragments, numbers
that are not dotted quads, letters beyond ASCII) is refused rather than interpreted.
"""

import ipaddress
import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import Invalid

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_URL = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?((?:/[a-z0-9._~-]+)*)/?", re.IGNORECASE | re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that some resolvers take for a part of an IPv4 address."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
DEFAULT_PATH = "/v1"
LONGEST = 500


@dataclass(frozen=True)
class Address:
    """The parts of an endpoint's URL. `host` is lower case; an IPv6 address stands without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def place(self) -> str:
        """`host:port`, as FETTLE_ALLOWED_ENDPOINTS names it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """What a key belongs to: it is never sent anywhere else."""
        return f"{self.scheme}://{self.place}"

    @property
    def url(self) -> str:
        return self.origin + self.path


def parse(text: str, path: str = DEFAULT_PATH) -> Address:
    """An endpoint's URL in its parts; without a path it is `/v1`, or another default. Raises Invalid for everything that could be read in two ways."""
    match = _URL.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or any(part in (".", "..") for part in match[4].split("/")):
        raise _refused("This is not an address that an endpoint can have.")
    scheme, host = match[1].lower(), match[2].lower().strip("[]")
    port = int(match[3]) if match[3] else {"http": 80, "https": 443}[scheme]
    if not 1 <= port <= 65535:
        raise _refused(f"There is no port {port}.")
    if "[" in match[2] or _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            raise _refused(f"{host} is not an IP address in its usual form.") from None
    elif len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise _refused(f"{host} is not a host name.")
    return Address(scheme, host, port, match[4] or path)


def _refused(sentence: str) -> Invalid:
    return Invalid(
        "bad_address", sentence, "Write it like https://api.example.com/v1: no user name, no query, nothing but letters, digits, dots and dashes.",
        detail={"field": "url"},
    )  # fmt: skip


def is_public(ip: Ip) -> bool:
    """Is this an address of the open internet, whichever way it is written? IPv4 inside IPv6 (mapped, 6to4, Teredo, NAT64) counts as what it carries."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local)


def check(address: Address, ips: Collection[Ip], allowed: Collection[str]) -> None:
    """Raises Invalid unless every address that the host stands for may be asked: public ones over https, others only where they are allowed by name."""
    if address.place in {one.lower() for one in allowed}:
        return
    advice = f'An administrator of the machine may allow it: FETTLE_ALLOWED_ENDPOINTS=["{address.place}"].'
    if not ips or not all(is_public(ip) for ip in ips):
        raise Invalid("private_address", f"{address.host} is not on the open internet.", advice, detail={"field": "url"})
    if address.scheme != "https":
        raise Invalid("plain_http", "A key and prompts would travel unencrypted over http.", f"Use https. {advice}", detail={"field": "url"})


def addresses(found: Sequence[tuple[Any, Any, int, str, tuple[Any, ...]]]) -> list[Ip]:
    """The IP addresses in what getaddrinfo gave, in its order, each once."""
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def early_check(address: Address, allowed: Collection[str]) -> None:
    """The same check when a URL is entered, so that a mistake is told there. A name that does not resolve now is let pass: it is checked at every connection."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        if address.place not in allowed and address.scheme != "https":
            check(address, [ipaddress.ip_address("1.1.1.1")], allowed)
        return
    check(address, addresses(found), allowed)
