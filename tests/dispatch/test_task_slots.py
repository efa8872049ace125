"""A worker takes as many workflow tasks as it has slots, and fewer while its event loop is slow."""

import asyncio
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import SlotPermit, SlotReleaseContext

from flowrunner.dispatch.temporal.task_slots import TaskSlots, is_in_time


@dataclass
class Asked:
    """Fills `temporalio.worker.SlotReserveContext`."""

    is_sticky: bool = False
    slot_type: Literal["workflow", "activity", "local-activity"] = "workflow"
    task_queue: str = "queue"
    worker_identity: str = "worker"
    worker_build_id: str = "1"
    worker_deployment_version: WorkerDeploymentVersion | None = None


async def take_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def bring_task(slots: TaskSlots, permit: SlotPermit) -> None:
    # The contexts of the client are protocols.
    context: Any = SimpleNamespace(permit=permit)
    slots.mark_slot_used(context)


async def test_slots_are_given_up_to_the_limit_and_again_after_their_release() -> None:
    slots = TaskSlots(3)
    permits = [await slots.reserve_slot(Asked()) for _ in range(2)]
    permits.append(await slots.reserve_slot(Asked(is_sticky=True)))
    waiting = asyncio.create_task(slots.reserve_slot(Asked(is_sticky=True)))
    await take_turns()

    assert slots.held == 3
    assert not waiting.done()
    assert slots.try_reserve_slot(Asked()) is None

    slots.release_slot(SlotReleaseContext(slot_info=None, permit=permits[2]))
    async with asyncio.timeout(60):
        await waiting
    assert slots.held == 3


@pytest.mark.parametrize("is_sticky", [False, True])
async def test_the_last_slot_is_kept_for_the_kind_of_poll_that_there_is_none_of(is_sticky: bool) -> None:
    slots = TaskSlots(2)
    first = await slots.reserve_slot(Asked(is_sticky=is_sticky))
    same_kind = asyncio.create_task(slots.reserve_slot(Asked(is_sticky=is_sticky)))
    await take_turns()
    assert not same_kind.done()

    for _ in range(2):
        other = await slots.reserve_slot(Asked(is_sticky=not is_sticky))
        bring_task(slots, other)
        slots.release_slot(SlotReleaseContext(slot_info=None, permit=other))
        await take_turns()
        assert not same_kind.done()

    bring_task(slots, first)
    slots.release_slot(SlotReleaseContext(slot_info=None, permit=first))
    async with asyncio.timeout(60):
        await same_kind
    assert slots.held == 1


async def test_a_poll_that_has_brought_a_task_leaves_the_last_slot_to_the_next_poll_of_its_kind() -> None:
    slots = TaskSlots(3)
    bring_task(slots, await slots.reserve_slot(Asked()))
    await slots.reserve_slot(Asked(is_sticky=True))

    async with asyncio.timeout(60):
        await slots.reserve_slot(Asked())

    assert slots.held == 3


async def test_while_turns_are_long_only_the_first_slot_of_each_kind_is_given() -> None:
    slots = TaskSlots(100)
    with slots.advancing():
        await slots.reserve_slot(Asked())
        await take_turns()
        time.sleep(0.3)  # noqa: ASYNC251 # it is what is tested
        await take_turns()
        waiting = asyncio.create_task(slots.reserve_slot(Asked()))
        await take_turns()

        assert not waiting.done()
        await slots.reserve_slot(Asked(is_sticky=True))
        assert slots.held == 2

        # The turns are short again.
        async with asyncio.timeout(60):
            await waiting
    assert slots.held == 3


async def test_long_turns_of_the_past_do_not_count_once_nothing_is_advanced() -> None:
    slots = TaskSlots(100)
    await slots.reserve_slot(Asked())
    with slots.advancing():
        await take_turns()
        time.sleep(0.3)  # noqa: ASYNC251 # it is what is tested
    await take_turns()
    async with asyncio.timeout(60):
        await slots.reserve_slot(Asked())

    assert slots.held == 2


@pytest.mark.parametrize(
    ("waiting", "turn_seconds", "expected"),
    [
        (0, 0.0, True),
        (500, 0.0, True),
        (0, 0.1, True),
        (0, 0.11, False),
        (1, 0.1, False),
        (45, 0.01, True),
        (46, 0.01, False),
        # Polls were answered and ended meanwhile: more are advanced than have slots.
        (-1, 0.1, True),
    ],
)
def test_one_more_task_has_five_turns_and_one_for_each_that_waits_in_half_a_second(
    waiting: int, turn_seconds: float, expected: bool
) -> None:
    assert is_in_time(waiting, turn_seconds=turn_seconds) is expected
