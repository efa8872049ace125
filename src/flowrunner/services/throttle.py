"""How often somebody may fail before they have to wait.

Failures are counted by name and address together: who guesses a password is slowed down, and its
owner, who comes from elsewhere, is not locked out by them.
"""

import ipaddress
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.errors import TooManyRequests

FAILURES: Final = 20
WINDOW: Final = timedelta(minutes=15)
# Guesses under ever new names must not fill the memory; the oldest are forgotten first.
_KEPT: Final = 100_000


class Throttle:
    """Counts failures within a sliding window."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], list[datetime]] = OrderedDict()

    def check(self, name: str, address: str, *, now: datetime) -> None:
        """Raises: TooManyRequests, with the time to wait, after too many failures."""
        recent = self._recent(name, address, now)
        if len(recent) >= FAILURES:
            raise TooManyRequests(
                "Too many failed logins: wait before the next one",
                retry_after=recent[0] + WINDOW - now,
                limit="failed_logins",
                most=FAILURES,
            )

    def failed(self, name: str, address: str, *, now: datetime) -> None:
        key = (name, source_of(address))
        self._failures[key] = [*self._recent(name, address, now), now]
        self._failures.move_to_end(key)
        if len(self._failures) > _KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        self._failures.pop((name, source_of(address)), None)

    def _recent(self, name: str, address: str, now: datetime) -> list[datetime]:
        return [at for at in self._failures.get((name, source_of(address)), ()) if now - at < WINDOW]


def source_of(address: str) -> str:
    """What one client comes from: an address, or the whole of an IPv6 network, of which it may use any."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))
