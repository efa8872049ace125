"""The throttle of failed logins.

Failures are counted by name and address together: an attacker who guesses a password is slowed down without locking
out its owner, who logs in from another address. Failures are also counted by address alone, with a higher limit: one
password may be tried with many names, and each guess costs the server as much as any login.
"""

from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.errors import TooManyRequests
from flowrunner.services.rates import Allowance, SlidingWindow, source_of

FAILURES: Final = 20
# Logins of a name from an address in a minute, successful ones included: each hashes a password and opens a session.
LOGINS: Final = 600
WINDOW: Final = timedelta(minutes=15)


class Throttle:
    """Counters of failed logins: a sliding window by name and address, and a token bucket by address.

    Args:
        most_of_address: Tokens of an address, which are refilled within `WINDOW`; None is no limit.
    """

    def __init__(self, *, most_of_address: int | None = None) -> None:
        self._failures: SlidingWindow[tuple[str, str]] = SlidingWindow(
            FAILURES,
            limit="failed_logins",
            message="Too many failed logins: wait before the next one",
            length=WINDOW,
        )
        self._logins: Allowance[tuple[str, str]] = Allowance(
            LOGINS,
            limit="account_logins",
            message="This account logs in more than {most} times a minute: keep the token, or make one for programs",
        )
        self._addresses: Allowance[str] = Allowance(
            most_of_address,
            limit="anonymous_logins",
            message="More than {most} logins from this address have failed: wait before the next one",
            fills_in=WINDOW,
        )

    def attempt(self, name: str, address: str, *, now: datetime) -> None:
        """Count a login as failed before its password is checked, so that concurrent guesses are limited too.

        Raises: TooManyRequests, with the time to wait; nothing is counted then.
        """
        source = source_of(address)
        key = (name, source)
        self._failures.check(key, at=now)
        self._logins.take(key, at=now)
        try:
            self._addresses.take(source, at=now)
        except TooManyRequests:
            self._logins.give_back(key)
            raise
        self._failures.add(key, at=now)

    def succeeded(self, name: str, address: str) -> None:
        """Count the login as successful, and reset the failures of this name from this address."""
        source = source_of(address)
        self._failures.forget((name, source))
        self._addresses.give_back(source)

    def give_back(self, name: str, address: str) -> None:
        """Undo one `attempt` whose password was never checked."""
        source = source_of(address)
        self._failures.give_back((name, source))
        self._logins.give_back((name, source))
        self._addresses.give_back(source)
