"""The bounds on events in memory: one execution at a time for each account, and a share for each workspace."""

import asyncio
import weakref
from collections import Counter
from typing import Any

import pytest

from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.events import Logged, Started
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.security.memory_room import FairMemory
from flowrunner.services.replays import Replays
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR_ACCOUNT, REQUESTED


class SlowJournal:
    """A journal that holds its reads until `held` is set, and counts concurrent reads by the prefix of the id."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.reading: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def load(self, id: ExecutionId, take: Any, loading: Any) -> None:
        whose = id.partition("-")[0]
        self.reading[whose] += 1
        self.most[whose] = max(self.most[whose], self.reading[whose])
        await self.held.wait()
        self.reading[whose] -= 1
        if id.endswith("gone"):
            raise NotFound("execution")
        await take([id])


async def test_an_account_reads_one_execution_at_a_time_and_keeps_no_other_from_it() -> None:
    journal = SlowJournal()
    replays = Replays(journal, FairMemory())  # type: ignore[arg-type] # it loads, and that is all that is asked of it

    async def read(account_id: AccountId, id: str) -> Any:
        return await replays.of(caller_of(account_id), ExecutionId(id), lambda events: events[0])

    reads = [asyncio.create_task(read(MARA_ACCOUNT, f"mara-{n}")) for n in range(10)]
    reads.append(asyncio.create_task(read(OMAR_ACCOUNT, "omar-1")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert journal.reading == {"mara": 1, "omar": 1}
    journal.held.set()

    assert await asyncio.gather(*reads) == [*(f"mara-{n}" for n in range(10)), "omar-1"]
    assert journal.most == {"mara": 1, "omar": 1}


async def test_a_read_that_fails_releases_the_lock() -> None:
    journal = SlowJournal()
    journal.held.set()
    replays = Replays(journal, FairMemory())  # type: ignore[arg-type] # as above

    with pytest.raises(NotFound):
        await replays.of(caller_of(MARA_ACCOUNT), ExecutionId("mara-gone"), len)

    assert await replays.of(caller_of(MARA_ACCOUNT), ExecutionId("mara-1"), len) == 1


@pytest.mark.parametrize("way", ["of", "of_state", "read"])
async def test_the_memory_of_what_cannot_be_evaluated_is_given_back(way: str) -> None:
    class Large:
        async def load(self, id: ExecutionId, take: Any, loading: Any) -> None:
            await loading.take(MARA, 10 * 2**20)
            await take([(Started(node="a", node_type="wait", input=None, cause=REQUESTED), NOON)])

    def fail(_: object) -> None:
        held.append(room.memory.held(MARA))
        raise Conflict("It waits for nothing")

    held: list[int] = []
    room = FairMemory()
    replays = Replays(Large(), room)  # type: ignore[arg-type] # as above
    whose = () if way == "read" else (caller_of(MARA_ACCOUNT),)
    with pytest.raises(Conflict):
        await getattr(replays, way)(*whose, ExecutionId("mara-1"), fail)

    assert held == [11]
    assert room.memory.held(MARA) == 0


class Line(Logged):
    """A line that can be referred to weakly."""


async def test_the_events_behind_a_state_are_not_kept() -> None:
    class ManyPortions:
        """A journal with an execution of many lines, which counts those that are in memory."""

        async def load(self, id: ExecutionId, take: Any, loading: Any) -> None:
            await take([(Started(node="a", node_type="wait", input=None, cause=REQUESTED), NOON)])
            for _ in range(20):
                lines = [(Line(level="info", message="hello"), NOON) for _ in range(50)]
                seen.extend(weakref.ref(line) for line, _ in lines)
                await take(lines)
                del lines
                most_alive.append(await still_alive())

    async def still_alive() -> int:
        """Return how many lines are in memory; the thread that has taken the last ones lets go of them in a moment."""
        for _ in range(6000):
            if (count := sum(line() is not None for line in seen)) <= 50:
                break
            await asyncio.sleep(0.01)
        return count

    seen: list[weakref.ref[Line]] = []
    most_alive: list[int] = []
    replays = Replays(ManyPortions(), FairMemory())  # type: ignore[arg-type] # as above

    assert await replays.of_state(caller_of(MARA_ACCOUNT), ExecutionId("e"), lambda state: state.log_lines) == 1000
    assert max(most_alive) <= 50
