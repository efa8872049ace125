"""Where a request comes from that a proxy has passed on.

Anybody can send an `X-Forwarded-For`. It is believed as far as it was written by proxies that are trusted:
each adds the address that it was asked from to the end, so it is read from there, up to the first address
that is nobody's who is trusted.
"""

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final, TypeAlias

from starlette.datastructures import Headers
from starlette.types import Scope

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_KEPT: Final = 1000


class Proxies:
    """Args: trusted: The networks of proxies that are believed."""

    def __init__(self, trusted: Collection[Any]) -> None:
        self._trusted = tuple(trusted)
        # It is asked with every request, and mostly of the same few.
        self._is_trusted = lru_cache(_KEPT)(self._look_up)

    def resolve(self, scope: Scope) -> None:
        """Put the client that a trusted proxy names in the place of the proxy."""
        if not self._trusted or scope.get("client") is None:
            return
        host, port = scope["client"]
        address = _address(host)
        if address is None or not self._is_trusted(address):
            return
        named = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        while self._is_trusted(address) and named:
            before = _address(named.pop())
            if before is None:
                break
            address = before
        scope["client"] = (str(address), port)

    def _look_up(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """An address as proxies write it: some with the port, and then one of IPv6 in brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
