"""Rate limits: by account for authenticated requests, by address for all others."""

import ipaddress
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, NamedTuple, TypeVar

from flowrunner.domain.errors import RequestLimit, TooManyRequests
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import AccountId
from flowrunner.lru_cache import LruCache
from flowrunner.ports.clock import Clock

K = TypeVar("K", bound=Hashable)

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 1_000_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
# Counters kept, to bound the memory that requests from many addresses take; the least recently used are dropped first.
_KEPT: Final = 100_000


class Rates:
    """Limits on requests; None is no limit.

    Args:
        most: Requests of an account in a minute.
        most_anonymous: Requests without a valid token from an address in a minute.
        most_changes: Changing requests of an account in an hour.
        most_of_hook: Verified requests to a webhook trigger in a minute.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most: int | None,
        most_anonymous: int | None,
        most_changes: int | None = None,
        most_of_hook: int | None = None,
    ) -> None:
        self._clock = clock
        self._accounts: Allowance[AccountId] = Allowance(
            most,
            limit="account_requests",
            message="This account makes more than {most} requests a minute: send requests less often",
        )
        self._changes: Allowance[AccountId] = Allowance(
            most_changes,
            limit="account_changes",
            message="This account makes more than {most} changes an hour: send requests less often",
            fills_in=_HOUR,
        )
        self._hooks: Allowance[TriggerId] = Allowance(
            most_of_hook,
            limit="hook_requests",
            message="This webhook gets more than {most} requests a minute: send requests less often",
        )
        self._addresses: Allowance[str] = Allowance(
            most_anonymous,
            limit="anonymous_requests",
            message="More than {most} requests a minute without a valid token come from this address",
        )

    def known(self, account_id: AccountId) -> "Remaining | None":
        """Count a request of an account; return what is left. Raises: TooManyRequests."""
        return self._accounts.take(account_id, at=self._clock.now())

    def change(self, account_id: AccountId) -> "Remaining | None":
        """Count a request that may change the account's data; return what is left. Raises: TooManyRequests."""
        return self._changes.take(account_id, at=self._clock.now())

    def anonymous(self, address: str) -> "Remaining | None":
        """Count an unauthenticated request; return what is left. Raises: TooManyRequests."""
        return self._addresses.take(source_of(address), at=self._clock.now())

    def verified(self, address: str) -> None:
        """Undo the count of a request as unauthenticated."""
        self._addresses.give_back(source_of(address))

    def hook(self, id: TriggerId) -> None:
        """Count a verified request to a webhook trigger. Raises: TooManyRequests."""
        self._hooks.take(id, at=self._clock.now())


def source_of(address: str) -> str:
    """Return the key of a client: its IPv4 address, or its whole IPv6 /64 network, of which it may use any address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))


class Remaining(NamedTuple):
    """The rest of an allowance.

    Attributes:
        tokens: Requests that would be served at once.
        full_in_seconds: Time until the whole limit is there again.
    """

    allowed: RequestLimit
    tokens: int
    full_in_seconds: int


class Allowance(Generic[K]):
    """A token bucket for each key.

    Args:
        most: Tokens in a full bucket; None is no limit.
        limit: Name of the limit, for the error.
        message: Message of the error, with `{most}` in it.
        fills_in: Time in which an empty bucket is full again.
    """

    def __init__(self, most: int | None, *, limit: str, message: str, fills_in: timedelta = _MINUTE) -> None:
        self._allowed = None if most is None else RequestLimit(limit, most, int(fills_in.total_seconds()))
        self._message = message
        self._buckets: Buckets[K] | None = None if most is None else Buckets(most, fills_in=fills_in)

    def take(self, key: K, *, at: datetime) -> Remaining | None:
        """Take a token, and return what is left; None without a limit.

        Raises:
            TooManyRequests: There is no token; with the time to wait.
        """
        buckets, allowed = self._buckets, self._allowed
        if buckets is None or allowed is None:
            return None
        now = (at - _EPOCH) // _MICROSECOND * 1000
        missing = buckets.take(key, now=now)
        if missing:
            raise TooManyRequests(
                self._message.format(most=allowed.most),
                retry_after=timedelta(microseconds=missing / 1000),
                limit=allowed.limit,
                most=allowed.most,
                seconds=allowed.seconds,
            )
        tokens, seconds = buckets.left(key, now=now)
        return Remaining(allowed, tokens, seconds)

    def give_back(self, key: K) -> None:
        """Undo one `take`."""
        if self._buckets is not None:
            self._buckets.give_back(key)


class SlidingWindow(Generic[K]):
    """A sliding window for each key: at most ``most`` events in any span of this length.

    Args: as of `Allowance`.
    """

    def __init__(self, most: int, *, limit: str, message: str, length: timedelta) -> None:
        self._most = most
        self._limit = limit
        self._message = message
        self._length = length
        self._times: LruCache[K, list[datetime]] = LruCache(_KEPT)

    def take(self, key: K, *, at: datetime) -> None:
        """Add an event. Raises: as `check`; nothing is added then."""
        self.check(key, at=at)
        self.add(key, at=at)

    def check(self, key: K, *, at: datetime) -> None:
        """Raises: TooManyRequests, with the time to wait, if the window is full."""
        recent = self._recent(key, at)
        if len(recent) >= self._most:
            raise TooManyRequests(
                self._message.format(most=self._most),
                retry_after=recent[0] + self._length - at,
                limit=self._limit,
                most=self._most,
                seconds=int(self._length.total_seconds()),
            )

    def add(self, key: K, *, at: datetime) -> None:
        self._times.keep(key, [*self._recent(key, at), at])

    def give_back(self, key: K) -> None:
        """Undo the last `add`."""
        times = self._times.get(key)
        if times:
            times.pop()

    def forget(self, key: K) -> None:
        """Undo every `add`."""
        self._times.forget(key)

    def _recent(self, key: K, at: datetime) -> list[datetime]:
        times = self._times.get(key)
        if times and times[-1] > at:
            # The clock was set back. They count as of now, so that nobody gets new attempts by that, and nobody waits
            # until the clock has caught up.
            times[:] = [min(time, at) for time in times]
        return [time for time in times or () if at - time < self._length]


class Buckets(Generic[K]):
    """A token bucket for each key.

    Times are whole nanoseconds since an arbitrary moment, so that no token is lost to rounding.

    Args:
        tokens: Tokens in a full bucket.
        fills_in: Time in which an empty bucket is full again.
    """

    def __init__(self, tokens: int, *, fills_in: timedelta = _MINUTE) -> None:
        self._fills_in = fills_in // _MICROSECOND * 1000
        # A bucket may have more tokens than there are nanoseconds.
        self._cost = max(self._fills_in // tokens, 1)
        # The moment when each bucket is full again. A full bucket needs no entry.
        self._full_at: LruCache[K, int] = LruCache(_KEPT)

    def take(self, key: K, *, now: int) -> int:
        """Take a token and return 0, or return the nanoseconds until there is one.

        Source: the "virtual scheduling algorithm" of ITU-T I.371, known as GCRA.
        """
        full_at = max(self._full_at.get(key) or now, now)
        if full_at > now + self._fills_in:
            # The clock was set back, so the stored moment says nothing about earlier requests.
            full_at = now
        missing = full_at + self._cost - now - self._fills_in
        if missing > 0:
            return missing
        self._full_at.keep(key, full_at + self._cost)
        return 0

    def left(self, key: K, *, now: int) -> tuple[int, int]:
        """Return the number of tokens, and the seconds until the bucket is full."""
        full_at = self._full_at.get(key)
        full_in = 0 if full_at is None or full_at <= now else full_at - now
        return (self._fills_in - full_in) // self._cost, -(-full_in // _SECOND)

    def give_back(self, key: K) -> None:
        """Undo one `take` that returned 0."""
        full_at = self._full_at.get(key)
        if full_at is not None:
            self._full_at.keep(key, full_at - self._cost)
