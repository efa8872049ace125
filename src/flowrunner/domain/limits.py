"""Limits on the resources of one workspace, and on the sockets of one account."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import LimitReached, TooManyRequests

# Time after which a client retries when executions have to end or sockets to close first.
SOON: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceLimits:
    """Limits of each workspace; None is no limit.

    Attributes:
        active: Active executions, which are in memory; further ones are queued.
        queued: Executions queued to become active; separately, executions queued for a concurrency slot.
        flows: Flows that are not deleted.
        stored: Stored bytes: see `ports.UsageReader`.
    """

    active: int | None = None
    queued: int | None = None
    flows: int | None = None
    stored: int | None = None

    def check_queued(self, count: int) -> None:
        """Raises: TooManyRequests if no further execution may be queued."""
        if self.queued is not None and count >= self.queued:
            queued = counted(self.queued, "execution of this workspace is", "executions of this workspace are")
            raise TooManyRequests(
                f"Queue limit reached: {queued} already queued. Try again when some have ended, or cancel some",
                retry_after=SOON,
                limit="workspace_queued",
                most=self.queued,
            )

    def check_stored(self, size: int) -> None:
        """Raises: LimitReached if nothing more may be stored."""
        if self.stored is not None and size >= self.stored:
            raise LimitReached(
                f"Storage limit reached: this workspace stores {size} bytes, and may store {self.stored}. Delete flows "
                "and revisions that are not needed, or wait until old executions are deleted",
                limit="workspace_stored",
                most=self.stored,
            )

    def check_grown(self, size: int) -> None:
        """Raises: LimitReached if ``size`` is more than may be stored."""
        if self.stored is not None and size > self.stored:
            raise LimitReached(
                f"Storage limit exceeded: this workspace would store {size} bytes, and may store {self.stored}. Delete "
                "flows and revisions that are not needed, or wait until old executions are deleted",
                limit="workspace_stored",
                most=self.stored,
            )


UNLIMITED: Final = WorkspaceLimits()


def check_count(what: str, count: int, most: int | None, *, limit: str) -> None:
    """Raises: LimitReached if the workspace already has ``most`` of them."""
    if most is not None and count >= most:
        raise LimitReached(
            f"A workspace may have at most {most} {what}: delete one that is not needed", limit=limit, most=most
        )


def check_account_sockets(count: int, most: int | None) -> None:
    """Raises: TooManyRequests if an account with ``count`` open sockets may not open another."""
    if most is not None and count >= most:
        raise TooManyRequests(
            f"WebSocket limit reached: this account already has {most} open WebSockets. Close some",
            retry_after=SOON,
            limit="account_sockets",
            most=most,
        )


def check_all_sockets(count: int, most: int) -> None:
    """Raises: TooManyRequests if the server has ``most`` open sockets."""
    if count >= most:
        raise TooManyRequests(
            f"WebSocket limit reached: this server already has {most} open WebSockets. Try again later",
            retry_after=SOON,
            limit="max_sockets",
            most=most,
        )
