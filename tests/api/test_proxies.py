"""Who asks is told by proxies that an operator trusts, and by nobody else."""

import ipaddress
from typing import Any, Final

import pytest

from flowrunner.api.http.proxies import Proxies

PROXY: Final = "10.0.0.1"
CLIENT: Final = "198.51.100.7"


def client_of(host: str, *forwarded: str, trusted: tuple[str, ...] = ("10.0.0.0/8", "::1/128")) -> str:
    """The client in the end: `forwarded` are headers as they come in."""
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    scope: dict[str, Any] = {"type": "http", "client": (host, 1), "headers": headers}
    Proxies([ipaddress.ip_network(network) for network in trusted]).resolve(scope)
    return str(scope["client"][0])


@pytest.mark.parametrize(
    ("host", "forwarded", "client"),
    [
        # Nobody who is trusted says anything.
        (CLIENT, ("203.0.113.1",), CLIENT),
        (PROXY, (), PROXY),
        (PROXY, ("",), PROXY),
        # What a proxy adds stands last; what is before it anybody can invent.
        (PROXY, (CLIENT,), CLIENT),
        (PROXY, (f"203.0.113.1, {CLIENT}",), CLIENT),
        (PROXY, ("203.0.113.1", CLIENT), CLIENT),
        (PROXY, (f"10.0.0.9, 203.0.113.1, {CLIENT}",), CLIENT),
        # Proxies behind each other
        (PROXY, (f"203.0.113.1, {CLIENT}, 10.0.0.3, 10.0.0.2",), CLIENT),
        (PROXY, ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        # Ways to write it
        (PROXY, (f"  {CLIENT}  ",), CLIENT),
        (PROXY, (f"{CLIENT}:4711",), CLIENT),
        (PROXY, ("[2001:db8::7]:4711",), "2001:db8::7"),
        (PROXY, ("2001:db8::7",), "2001:db8::7"),
        (PROXY, (f"::ffff:{CLIENT}",), CLIENT),
        (f"::ffff:{PROXY}", (CLIENT,), CLIENT),
        ("::1", (CLIENT,), CLIENT),
        # What is no address ends the search.
        (PROXY, ("unknown",), PROXY),
        (PROXY, (f"{CLIENT}, unknown",), PROXY),
        (PROXY, (f"{CLIENT}, unknown, 10.0.0.2",), "10.0.0.2"),
        (PROXY, ("\xff\x00",), PROXY),
        (PROXY, ("," * 10_000,), PROXY),
    ],
)
def test_s56_the_client_is_the_last_one_that_nobody_trusts(host: str, forwarded: tuple[str, ...], client: str) -> None:
    assert client_of(host, *forwarded) == client


def test_s56_without_trusted_proxies_no_header_counts() -> None:
    assert client_of(PROXY, CLIENT, trusted=()) == PROXY


def test_a_connection_without_an_address_is_left_as_it_is() -> None:
    scope: dict[str, Any] = {"type": "http", "client": None, "headers": []}
    Proxies([ipaddress.ip_network("0.0.0.0/0")]).resolve(scope)

    assert scope["client"] is None
