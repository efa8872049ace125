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


async def admitted_after(slots: FairSlots, *wanted: tuple[str, int]) -> tuple[list[int], list[asyncio.Task[None]]]:
    """Ask for slots one after the other; return where the numbers of the served requests will be, and the requests."""
    served: list[int] = []

    async def take(number: int, workspace_id: str, count: int) -> None:
        await slots.take(WorkspaceId(workspace_id), count)
        served.append(number)

    tasks = [asyncio.create_task(take(number, *each)) for number, each in enumerate(wanted)]
    await pause()
    return served, tasks


async def pause() -> None:
    """Let the tasks go on as far as they can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_request_that_fits_waits_behind_an_earlier_one_of_its_workspace_and_for_no_other() -> None:
    slots = FairSlots(total=4, share=4, sure=0)

    served, tasks = await admitted_after(slots, ("a", 2), ("a", 3), ("a", 1), ("b", 1))
    assert served == [0, 3]
    tasks[1].cancel()
    await pause()

    assert served == [0, 3, 2]
    slots.give_back(WorkspaceId("a"), 3)
    slots.give_back(WorkspaceId("b"), 1)
    assert [slots.held(WorkspaceId(id)) for id in "ab"] == [0, 0]


async def test_workspaces_that_wait_are_served_in_turn() -> None:
    slots = FairSlots(total=1, share=1, sure=0)

    served, tasks = await admitted_after(slots, ("z", 1), ("a", 1), ("a", 1), ("b", 1), ("a", 1), ("c", 1))
    for workspace_id in "zabcaa":
        slots.give_back(WorkspaceId(workspace_id))
        await pause()

    assert served == [0, 1, 3, 5, 2, 4]
    assert all(task.done() for task in tasks)


@pytest.mark.parametrize(
    ("sure", "held", "wanted", "is_free"),
    [
        # The total is 8, and the share of a workspace 6.
        (0, [("a", 4)], ("b", 4), True), (0, [("a", 4)], ("b", 5), False), (0, [], ("a", 9), True),
        (0, [("a", 4)], ("a", 2), True), (0, [("a", 4)], ("a", 3), False),
        (2, [("a", 4), ("b", 3)], ("b", 1), True), (2, [("a", 4), ("b", 3)], ("b", 2), False),
        (2, [("a", 6), ("b", 2)], ("c", 6), True), (2, [("a", 6), ("b", 2), ("c", 1)], ("c", 1), True),
        (2, [("a", 6), ("b", 2), ("c", 1)], ("c", 2), False),
    ],
)  # fmt: skip
async def test_each_workspace_has_its_sure_slots_or_one_request_and_a_share_of_the_rest(
    sure: int, held: list[tuple[str, int]], wanted: tuple[str, int], is_free: bool
) -> None:
    slots = FairSlots(total=8, share=6, sure=sure)
    for workspace_id, count in held:
        assert slots.take_at_once(WorkspaceId(workspace_id), count)

    assert slots.take_at_once(WorkspaceId(wanted[0]), wanted[1]) is is_free


async def test_what_is_left_over_of_slots_goes_to_those_that_wait() -> None:
    slots, a = FairSlots(total=4, share=4, sure=0), WorkspaceId("a")

    served, _ = await admitted_after(slots, ("a", 3), ("a", 3))
    slots.keep(a, 3, kept=2)
    assert slots.held(a) == 2
    slots.keep(a, 2, kept=1)
    await pause()

    assert (served, slots.held(a)) == ([0, 1], 4)
    slots.keep(a, 9, kept=4)
    assert slots.held(a) == 4


@pytest.mark.parametrize(
    ("processes", "free"),
    [(1, {"b": 4, "c": 2}), (2, {"b": 2, "c": 1}), (3, {"b": 1, "c": 1}), (100, {"b": 1, "c": 1})],
)
def test_several_processes_have_the_slots_of_one_together_and_each_has_some(
    processes: int, free: dict[str, int]
) -> None:
    slots = FairSlots.of_process(processes, total=8, share=4, sure=2)
    assert slots.take_at_once(WorkspaceId("a"), 99)

    found = {}
    for workspace_id in free:
        while slots.take_at_once(WorkspaceId(workspace_id)):
            pass
        found[workspace_id] = slots.held(WorkspaceId(workspace_id))

    assert found == free
