"""Slots that workspaces share: all that were taken come back, however their holders end."""

import asyncio
import random
from typing import Final

import pytest

from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from support.waiting import PATIENCE_SECONDS

TOTAL: Final = 12
SHARE: Final = 8


@pytest.mark.parametrize("seed", range(20))
async def test_all_slots_come_back_however_their_holders_end(seed: int) -> None:
    chance = random.Random(seed)  # no secret
    slots = FairSlots(total=TOTAL, share=SHARE, sure=1)
    most, held = 0, 0

    async def use(workspace_id: WorkspaceId, wanted: int) -> None:
        nonlocal most, held
        async with slots.hold(workspace_id, wanted):
            # Who wants more than the share of a workspace gets that.
            count = min(wanted, SHARE)
            held += count
            most = max(most, held)
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                if chance.random() < 0.3:
                    raise ValueError
            finally:
                held -= count

    tasks = []
    for _ in range(200):
        workspace_id = WorkspaceId(chance.choice("abc"))
        tasks.append(asyncio.create_task(use(workspace_id, chance.randint(1, SHARE + 2))))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            # While it waits, is admitted or holds them, or after that.
            chance.choice(tasks[-10:]).cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*tasks, return_exceptions=True)

    # One workspace may hold more than there are: what is sure to it, or the only request that it makes.
    assert TOTAL <= most <= TOTAL + 3 * SHARE
    assert [slots.held(WorkspaceId(id)) for id in "abc"] == [0, 0, 0]
    assert slots.take_at_once(WorkspaceId("a"), SHARE)
    assert slots.take_at_once(WorkspaceId("b"), TOTAL - SHARE)
