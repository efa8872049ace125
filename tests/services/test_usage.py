"""The limits of what workspaces store."""

import pytest

from flowrunner.domain.errors import LimitReached
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import WorkspaceId
from flowrunner.services.usage import UsageLimits
from support.databases import MARA, NOON
from support.dependencies import SteppingClock


class Usage:
    """Implements `ports.UsageReader`."""

    size = 0

    async def stored(self, workspace_id: WorkspaceId) -> int:
        return self.size

    async def queued(self, workspace_id: WorkspaceId) -> int:
        return 0


@pytest.mark.parametrize("seconds", [1, -2, -3600])
async def test_what_a_workspace_stores_is_read_each_second_also_after_the_clock_was_set_back(seconds: int) -> None:
    usage, clock = Usage(), SteppingClock(NOON)
    limits = UsageLimits(usage, WorkspaceLimits(stored=10), clock)
    await limits.check_stored(MARA)

    usage.size = 100
    await limits.check_stored(MARA)
    clock.advance(seconds=seconds)

    with pytest.raises(LimitReached):
        await limits.check_stored(MARA)
