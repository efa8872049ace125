"""The most that one account may use, so that none takes what the others need."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from flowrunner.domain.errors import LimitReached, TooManyRequests

# When to ask again for what becomes free as executions go on, and as subscribers leave.
SOON: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each account; None is no limit.

    Attributes:
        active: Executions in memory; further ones wait.
        queued: Executions that wait to come into memory, and likewise ones that wait for a turn of their flow.
        flows: Ones that are not deleted.
        stored: Bytes: see `ports.UsageReader`.
        sockets: Open WebSockets.
    """

    active: int | None = None
    queued: int | None = None
    flows: int | None = None
    stored: int | None = None
    sockets: int | None = None

    def check_queued(self, count: int) -> None:
        """Raises: TooManyRequests if no further execution may wait."""
        if self.queued is not None and count >= self.queued:
            raise TooManyRequests(
                f"{self.queued} executions of this account wait to be run, which is as many as may: "
                "try again when some have ended, or cancel some",
                retry_after=SOON,
                limit="account_queued",
                most=self.queued,
            )

    def check_stored(self, size: int) -> None:
        """Raises: LimitReached if nothing more may be stored."""
        if self.stored is not None and size >= self.stored:
            raise LimitReached(
                f"This account keeps {size} bytes here, and may keep {self.stored}: delete flows and revisions that "
                "are not needed, or wait until executions that have ended are deleted in time",
                limit="account_stored",
                most=self.stored,
            )

    def check_grown(self, size: int) -> None:
        """Raises: LimitReached if so much may not be stored."""
        if self.stored is not None and size > self.stored:
            raise LimitReached(
                f"The account would then keep {size} bytes here, and may keep {self.stored}: delete flows and "
                "revisions that are not needed, or wait until executions that have ended are deleted in time",
                limit="account_stored",
                most=self.stored,
            )

    def check_sockets(self, count: int) -> None:
        """Raises: TooManyRequests if no further socket may be opened."""
        if self.sockets is not None and count >= self.sockets:
            raise TooManyRequests(
                f"This account has {self.sockets} open WebSockets, which is as many as it may have: close some",
                retry_after=SOON,
                limit="account_sockets",
                most=self.sockets,
            )


UNLIMITED: Final = Limits()


def check_count(what: str, count: int, most: int | None, *, limit: str) -> None:
    """Raises: LimitReached if the account may not have one more of them."""
    if most is not None and count >= most:
        raise LimitReached(
            f"An account has at most {most} {what}: delete one that is not needed", limit=limit, most=most
        )


def check_all_sockets(count: int, most: int) -> None:
    """Raises: TooManyRequests if no further socket may be opened by anybody."""
    if count >= most:
        raise TooManyRequests(
            f"{most} WebSockets are open, which is as many as this server takes: try again in a moment",
            retry_after=SOON,
            limit="max_sockets",
            most=most,
        )
