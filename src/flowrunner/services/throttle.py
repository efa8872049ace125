"""How often somebody may fail before they have to wait.

Failures are counted by name and address together: who guesses a password is slowed down, and its
owner, who comes from elsewhere, is not locked out by them. They are counted by address alone too, with
more of them allowed: one password may be guessed under ever new names, and each guess costs the server
as much as any login.
"""

from datetime import datetime, timedelta
from typing import Final

from flowrunner.services.rates import Allowance, SlidingWindow, source_of

FAILURES: Final = 20
# Logins of a name from an address in a minute, also if all succeed: each is hashed for, and opens a session.
LOGINS: Final = 600
WINDOW: Final = timedelta(minutes=15)


class Throttle:
    """Counts failures: of a name from an address in a sliding window, and all of an address in a bucket.

    Args:
        most_of_address: Failures at once; in the time of the window as many become free again. None is no limit.
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
        """Count a failure before it is known whether it is one, so that many guesses at once are not free.

        Raises: TooManyRequests, with the time to wait, and nothing is counted.
        """
        source = source_of(address)
        key = (name, source)
        self._failures.check(key, at=now)
        self._logins.take(key, at=now)
        self._addresses.take(source, at=now)
        self._failures.add(key, at=now)

    def succeeded(self, name: str, address: str) -> None:
        """Take note that an attempt was no failure; the failures of this name before it are forgotten."""
        source = source_of(address)
        self._failures.forget((name, source))
        self._addresses.give_back(source)

    def give_back(self, name: str, address: str) -> None:
        """Undo one `attempt`: its password was never checked."""
        source = source_of(address)
        self._failures.give_back((name, source))
        self._logins.give_back((name, source))
        self._addresses.give_back(source)
