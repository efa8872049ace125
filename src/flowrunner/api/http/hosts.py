"""The host names that the server serves.

With DNS rebinding, a page lets its own name resolve to the address of a server that only its visitor can reach, and
so gets the same origin as that server. The page cannot change the name in `Host`, which is therefore checked.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import Scope

# Probes may use any host name: these paths reveal nothing and change nothing.
_ANY_HOST: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# A name, an IPv4 address or an IPv6 address in brackets, with an optional port.
_LABEL: Final = "[A-Za-z0-9_-]+"
_HOST: Final = re.compile(
    rf"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*\.?))(?::[0-9]{{0,5}})?"
)
_KEPT: Final = 1000
# The longest name of DNS, with a port. Answers about longer ones are not kept: a head has up to 64 KiB.
_MOST_BYTES: Final = 253 + len(":65535")
_SHOWN: Final = 100


class Hosts:
    """The hosts that requests may name.

    Args:
        public_url: The address that browsers use; its host is served.
        allowed: Further names.
    """

    def __init__(self, public_url: str | None = None, allowed: Iterable[str] = ()) -> None:
        names = {name.lower() for name in allowed}
        if public_url is not None:
            names.add(urlsplit(public_url).hostname or "")
        self._names = frozenset(names)
        # Called for every request, mostly with the same few hosts.
        self._is_served = lru_cache(_KEPT)(self._look_up)

    def fault(self, scope: Scope) -> str | None:
        """Return why a request is not served, or None if it is."""
        if scope["path"] in _ANY_HOST:
            return None
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return f"The request has {len(hosts)} Host headers: send one"
        if len(hosts[0]) <= _MOST_BYTES and self._is_served(hosts[0]):
            return None
        shown = hosts[0][:_SHOWN].decode("latin-1")
        return f"The server does not answer to the host '{shown}': name it in the setting allowed_hosts"

    def _look_up(self, host: bytes) -> bool:
        found = _HOST.fullmatch(host.decode("latin-1"))
        if found is None:
            return False
        name = (found["address"] or found["name"]).lower().removesuffix(".")
        return name in self._names or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
