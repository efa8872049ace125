"""The checks of what workspaces store and queue against their limits."""

from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import WorkspaceId
from flowrunner.lru_cache import LruCache
from flowrunner.ports.clock import Clock
from flowrunner.ports.usage import UsageReader

# The age up to which a known size is used: a workspace stores little in a second compared with its limit.
_FRESH: Final = timedelta(seconds=1)
_KEPT: Final = 10_000


class UsageLimits:
    """The checks of usage against limits. Stored bytes are read at most once a second for each workspace."""

    def __init__(self, usage: UsageReader, limits: WorkspaceLimits, clock: Clock) -> None:
        self._usage = usage
        self._limits = limits
        self._clock = clock
        self._stored: LruCache[WorkspaceId, tuple[int, datetime]] = LruCache(_KEPT)

    async def check_stored(self, workspace_id: WorkspaceId, *, more: int = 0) -> None:
        """Raises: LimitReached if the workspace may not store more, or not as many bytes ``more``."""
        if self._limits.stored is None:
            return
        now = self._clock.now()
        size, at = self._stored.get(workspace_id) or (0, None)
        # The absolute value: the clock may have been set back.
        if at is None or abs(now - at) >= _FRESH:
            size = await self._usage.stored(workspace_id)
            self._stored.keep(workspace_id, (size, now))
        self._limits.check_stored(size)
        self._limits.check_grown(size + more)

    async def check_queued(self, workspace_id: WorkspaceId) -> None:
        """Raises: TooManyRequests if no further execution of the workspace may be queued for a concurrency slot."""
        if self._limits.queued is not None:
            self._limits.check_queued(await self._usage.queued(workspace_id))
