"""Work that is read in batches: nobody's work delays that of others, and nothing is remembered for long."""

import asyncio
import gc
import weakref
from collections.abc import Collection, Sequence

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.services import fair_batches
from flowrunner.services.fair_batches import handle_fairly
from support.waiting import PATIENCE_SECONDS

MARA, OMAR = WorkspaceId("mara"), WorkspaceId("omar")


class Work:
    """An item of a workspace."""

    def __init__(self, workspace: WorkspaceId, number: int) -> None:
        self.workspace, self.number = workspace, number


class Queue:
    """The work that is left, in the order in which it is read."""

    def __init__(self, *items: Work) -> None:
        self.items = [*items]
        self.done: list[Work] = []

    async def read(self, outside: Collection[WorkspaceId] = ()) -> Sequence[Work]:
        return [item for item in self.items if item.workspace not in outside][:4]

    async def handle(self, item: Work) -> None:
        self.items.remove(item)
        self.done.append(item)


async def fairly(queue: Queue) -> None:
    slots = FairSlots(total=4, share=3, sure=1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await handle_fairly(
            queue.read, queue.handle, key=lambda item: item, workspace=lambda item: item.workspace, slots=slots
        )


async def test_everything_is_handled_once() -> None:
    items = [Work(workspace, number) for number in range(20) for workspace in (MARA, OMAR)]
    queue = Queue(*items)

    await fairly(queue)

    assert sorted(queue.done, key=items.index) == items


async def test_work_that_takes_long_delays_no_other_workspace() -> None:
    released = asyncio.Event()

    class Slow(Queue):
        async def handle(self, item: Work) -> None:
            if item.workspace == MARA:
                await released.wait()
            await super().handle(item)
            if item.workspace == OMAR and len(self.done) == 5:
                released.set()

    queue = Slow(*(Work(MARA, number) for number in range(10)), *(Work(OMAR, number) for number in range(5)))

    await fairly(queue)

    assert [item.workspace for item in queue.done] == [OMAR] * 5 + [MARA] * 10


async def test_work_that_comes_as_fast_as_it_is_done_delays_no_other_workspace() -> None:
    class Endless(Queue):
        async def handle(self, item: Work) -> None:
            await super().handle(item)
            if item.workspace == MARA and len(self.done) < 500:
                self.items.insert(0, Work(MARA, item.number))
            elif item.workspace == OMAR and item.number < 3:
                self.items.append(Work(OMAR, item.number + 1))

    queue = Endless(*(Work(MARA, number) for number in range(10)), Work(OMAR, 0))

    await fairly(queue)

    assert [item.number for item in queue.done[:100] if item.workspace == OMAR] == [0, 1, 2, 3]


async def test_a_bounded_number_of_workspaces_is_handled_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_batches, "_MOST_WORKSPACES", 2)
    monkeypatch.setattr(fair_batches, "_LOOK_SECONDS", 0.0)
    most, begun = 0, set[WorkspaceId]()

    class Slow(Queue):
        async def read(self, outside: Collection[WorkspaceId] = ()) -> Sequence[Work]:
            return (await super().read(outside))[:1]

        async def handle(self, item: Work) -> None:
            nonlocal most
            begun.add(item.workspace)
            most = max(most, len(begun))
            for _ in range(20):
                await asyncio.sleep(0)
            begun.discard(item.workspace)
            await super().handle(item)

    queue = Slow(*(Work(WorkspaceId(name), number) for name in "abcde" for number in range(2)))

    await fairly(queue)

    assert most == 2
    assert len(queue.done) == 10


async def test_an_error_in_one_workspace_is_raised_when_the_others_are_done() -> None:
    class Failing(Queue):
        async def handle(self, item: Work) -> None:
            if item.workspace == MARA:
                raise Unavailable("not now")
            await super().handle(item)

    queue = Failing(*(Work(MARA, number) for number in range(4)), *(Work(OMAR, number) for number in range(9)))

    with pytest.raises(Unavailable):
        await fairly(queue)

    assert [item.workspace for item in queue.items] == [MARA] * 4


async def test_what_cannot_be_done_is_not_tried_again_at_once() -> None:
    tries = 0

    class Stuck(Queue):
        async def handle(self, item: Work) -> None:
            nonlocal tries
            tries += 1

    await fairly(Stuck(Work(MARA, 0)))

    assert tries == 1


async def test_what_has_failed_is_tried_again_although_other_work_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_batches, "_REST_SECONDS", 0.01)
    tries = 0

    class Endless(Queue):
        async def handle(self, item: Work) -> None:
            nonlocal tries
            if item.workspace == OMAR:
                tries += 1
                if tries == 1:
                    raise Unavailable("not now")
            await super().handle(item)
            if item.workspace == MARA and item.number < 2000 and tries < 2:
                await asyncio.sleep(0.001)
                self.items.append(Work(MARA, item.number + 1))

    queue = Endless(Work(OMAR, 0), Work(MARA, 0))

    with pytest.raises(Unavailable):
        await fairly(queue)

    assert tries == 2
    assert len(queue.done) < 2000


@pytest.mark.parametrize("ends_by", ["a cancellation", "an error of the next read"])
async def test_what_is_under_way_is_cancelled_when_the_run_ends(monkeypatch: pytest.MonkeyPatch, ends_by: str) -> None:
    monkeypatch.setattr(fair_batches, "_LOOK_SECONDS", 0.0)
    begun, cancelled = asyncio.Event(), []

    class Slow(Queue):
        async def read(self, outside: Collection[WorkspaceId] = ()) -> Sequence[Work]:
            if outside and begun.is_set():
                raise OSError("planted")
            return await super().read(outside)

        async def handle(self, item: Work) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(item.number)
                raise

    running = asyncio.create_task(fairly(Slow(Work(MARA, 0), Work(MARA, 1))))
    await begun.wait()
    if ends_by == "a cancellation":
        running.cancel()

    for _ in range(100):
        await asyncio.sleep(0)

    assert running.done()
    assert running.cancelled() or isinstance(running.exception(), OSError)
    assert cancelled == [0, 1]


async def test_what_was_handled_long_ago_is_forgotten() -> None:
    handled: list[weakref.ref[Work]] = []

    class Endless(Queue):
        async def handle(self, item: Work) -> None:
            self.items.remove(item)
            handled.append(weakref.ref(item))
            if len(handled) < 200:
                self.items.append(Work(MARA, 0))

    queue = Endless(Work(MARA, 0))
    running = asyncio.create_task(fairly(queue))
    while len(handled) < 150:  # noqa: ASYNC110 # the work itself goes on meanwhile
        await asyncio.sleep(0)
    gc.collect()

    assert sum(item() is not None for item in handled) < 10
    await running
