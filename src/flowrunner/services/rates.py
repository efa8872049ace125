"""How often somebody may ask: accounts by who they are, anybody else by where they come from."""

from collections import OrderedDict
from collections.abc import Hashable
from datetime import timedelta
from typing import Final, Generic, TypeVar

from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.values import AccountId
from flowrunner.ports import Clock
from flowrunner.services.throttle import source_of

K = TypeVar("K", bound=Hashable)

_MINUTE: Final = 60_000_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
# Requests from ever new addresses must not fill the memory; the ones that came first are forgotten first.
_KEPT: Final = 100_000


class Rates:
    """Args: most, most_anonymous: Requests in a minute; None is no limit."""

    def __init__(self, clock: Clock, *, most: int | None, most_anonymous: int | None) -> None:
        self._clock = clock
        self._began_at = clock.now()
        self._most = most
        self._most_anonymous = most_anonymous
        self._accounts: Buckets[AccountId] | None = None if most is None else Buckets(most)
        self._addresses: Buckets[str] | None = None if most_anonymous is None else Buckets(most_anonymous)

    def known(self, account_id: AccountId) -> None:
        """Count a request of an account. Raises: TooManyRequests."""
        if self._accounts is None or self._most is None:
            return
        missing = self._accounts.take(account_id, now=self._now())
        if missing:
            raise TooManyRequests(
                f"This account makes more than {self._most} requests a minute: ask less often",
                retry_after=timedelta(microseconds=missing / 1000),
                limit="account_requests",
                most=self._most,
            )

    def anonymous(self, address: str) -> None:
        """Count a request by nobody who is known. Raises: TooManyRequests."""
        if self._addresses is None or self._most_anonymous is None:
            return
        missing = self._addresses.take(source_of(address), now=self._now())
        if missing:
            raise TooManyRequests(
                f"More than {self._most_anonymous} requests a minute without a valid token come from this address",
                retry_after=timedelta(microseconds=missing / 1000),
                limit="anonymous_requests",
                most=self._most_anonymous,
            )

    def _now(self) -> int:
        return (self._clock.now() - self._began_at) // _MICROSECOND * 1000


class Buckets(Generic[K]):
    """A bucket for each of many, which holds a minute's worth of tokens and fills up again in a minute.

    Times are whole nanoseconds from any moment on, so that no token is lost to rounding.

    Args:
        per_minute: Tokens.
    """

    def __init__(self, per_minute: int) -> None:
        self._cost = _MINUTE // per_minute
        # When each bucket will be full again; one that is full is as good as none.
        self._full_at: OrderedDict[K, int] = OrderedDict()

    def take(self, key: K, *, now: int) -> int:
        """Take a token; gives 0, or else how long it takes until there is one.

        Source: the "virtual scheduling algorithm" of ITU-T I.371, known as GCRA.
        """
        full_at = max(self._full_at.get(key, now), now)
        if full_at > now + _MINUTE:
            # The clock was set back: no bucket is emptier than empty.
            full_at = self._full_at[key] = now + _MINUTE
        missing = full_at + self._cost - now - _MINUTE
        if missing > 0:
            return missing
        self._full_at[key] = full_at + self._cost
        if len(self._full_at) > _KEPT:
            self._full_at.popitem(last=False)
        return 0
