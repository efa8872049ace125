"""Client addresses of requests that arrive through trusted proxies.

Any client can send `X-Forwarded-For`. Each proxy appends the address of its own client, so the header is read
from the end, up to the first address that is not a trusted proxy.
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
    """The trusted proxies. Args: trusted: Their networks."""

    def __init__(self, trusted: Collection[Any]) -> None:
        self._trusted = tuple(trusted)
        # Called for every request, mostly with the same few addresses.
        self._is_trusted = lru_cache(_KEPT)(self._look_up)

    def resolve(self, scope: Scope) -> None:
        """Replace the proxy's address in the scope by the client's."""
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
    """Parse an address as proxies write it: some add a port, and put IPv6 addresses in brackets."""
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
