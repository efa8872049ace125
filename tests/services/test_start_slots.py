"""Requests that start executions: how many are done at the same time, and how many wait."""

import asyncio
from typing import Final

import pytest

from flowrunner.domain.errors import QueueFull
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.services.start_slots import MOST_WAITING, MOST_WAITING_OF_ACCOUNT, StartSlots

OURS, THEIRS = WorkspaceId("ours"), WorkspaceId("theirs")
MARA, OMAR = AccountId("mara"), AccountId("omar")
FOR_OTHERS: Final = MOST_WAITING - MOST_WAITING_OF_ACCOUNT


async def waiting(slots: StartSlots, count: int, account: AccountId) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(slots.take(OURS, account)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def busy() -> tuple[StartSlots, int]:
    """Return slots of which the workspace has all that it may have, and their number."""
    slots, held = StartSlots(), 0
    while not (first := (await waiting(slots, 1, MARA))[0]).cancel():
        held += 1
    await asyncio.wait([first])
    return slots, held


async def refusal(slots: StartSlots, account: AccountId) -> str | None:
    """Return the limit that one more start is over; None if it waits."""
    (task,) = await waiting(slots, 1, account)
    error = None if task.cancel() else task.exception()
    return error.limit if isinstance(error, QueueFull) else None


async def test_an_account_and_its_workspace_have_a_bounded_number_of_starts_that_wait() -> None:
    slots, _ = await busy()
    tasks = await waiting(slots, MOST_WAITING_OF_ACCOUNT, MARA)

    assert await refusal(slots, MARA) == "account_starts"
    tasks += await waiting(slots, FOR_OTHERS, OMAR)
    assert await refusal(slots, OMAR) == "workspace_starts"

    await slots.take(THEIRS, OMAR)
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize(("account", "own"), [(MARA, MOST_WAITING_OF_ACCOUNT), (OMAR, FOR_OTHERS)])
async def test_a_start_that_waits_no_longer_makes_room_for_exactly_one(account: AccountId, own: int) -> None:
    slots, _ = await busy()
    tasks = await waiting(slots, own, account)
    others = await waiting(slots, MOST_WAITING_OF_ACCOUNT if account == OMAR else 0, MARA)

    for number in range(1, 4):
        # One gets a slot, and another one gives up.
        slots.give_back(OURS)
        tasks[-number].cancel()
        await asyncio.sleep(0)
        assert slots.full(OURS, account, more=1) is None
        assert slots.full(OURS, account, more=2) is not None

        others += await waiting(slots, 2, account)

        assert slots.full(OURS, account) is not None
    for task in tasks + others:
        task.cancel()


async def test_starts_that_are_about_to_wait_count() -> None:
    slots, held = await busy()

    assert slots.full(OURS, MARA, more=MOST_WAITING_OF_ACCOUNT - 1) is None
    assert slots.full(OURS, MARA, more=MOST_WAITING_OF_ACCOUNT) is not None
    assert slots.full(THEIRS, MARA) is None
    assert held == 64
