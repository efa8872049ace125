"""Streams that end with what their callers may no longer read."""

import asyncio
import inspect
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flowrunner.api.open_streams import GOING_AWAY, SESSION_ENDED, TRY_AGAIN, OpenStreams
from flowrunner.clock import SystemClock
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.services.known_callers import KnownCallers

CALLER = cast("Caller", SimpleNamespace(account_id=AccountId("a"), admitted_to={"w"}))


class TwoSessions:
    """Two sessions of one account, of which one has ended."""

    def __init__(self) -> None:
        self.admitted = 0
        self.looks = Counter[str]()

    async def family_of(self, caller: Caller) -> str:
        self.admitted += 1
        return "ended" if self.admitted % 2 else "alive"

    async def present(self, family: str) -> Caller | None:
        self.looks[family] += 1
        return None if family == "ended" else CALLER


async def test_s61_each_session_is_looked_up_once_for_all_of_its_streams() -> None:
    sessions = TwoSessions()
    services: Any = SimpleNamespace(sessions=sessions, known_callers=KnownCallers())
    streams = OpenStreams(services, SystemClock(), most=100, most_of_account=100)
    opened = [await streams.admit(CALLER, [WorkspaceId("w")]) for _ in range(40)]

    await streams.end_sessions(AccountId("a"))

    assert [stream.ended.done() for stream in opened] == [True, False] * 20
    assert sessions.looks == {"ended": 1, "alive": 1}


async def test_a_change_of_a_workspace_ends_the_streams_of_it_that_may_not_be_read_any_more() -> None:
    services: Any = SimpleNamespace(sessions=TwoSessions(), known_callers=KnownCallers())
    streams = OpenStreams(services, SystemClock(), most=100, most_of_account=100)
    # The caller is admitted to one of the two.
    shown = [["v"], ["w"], ["v", "w"], ["w"]]
    opened = [await streams.admit(CALLER, [WorkspaceId(id) for id in each]) for each in shown for _ in range(2)]

    await streams.revalidate_workspace(WorkspaceId("w"))

    # Of each two streams the session of the first one has ended.
    assert [stream.ended.done() for stream in opened] == [False, False, True, False, True, True, True, False]


class SessionsWithoutDatabase(TwoSessions):
    async def present(self, family: str) -> Caller | None:
        raise Unavailable("The database cannot be reached at the moment")


async def test_a_stream_that_begins_as_the_database_goes_away_asks_its_client_to_come_again() -> None:
    services: Any = SimpleNamespace(sessions=SessionsWithoutDatabase(), known_callers=KnownCallers())
    streams = OpenStreams(services, SystemClock(), most=100, most_of_account=100)
    stream = await streams.admit(CALLER, [WorkspaceId("w")])
    begun: list[str] = []

    async def send() -> int:
        begun.append("sending")
        return 1000

    async def receive() -> None:
        begun.append("receiving")

    code = await streams.serve(stream, send(), receive())

    assert code == TRY_AGAIN
    assert begun == []


class BrokenSessions(TwoSessions):
    async def present(self, family: str) -> Caller | None:
        raise KeyError("a role of a newer version")


async def test_what_a_stream_would_have_done_is_closed_if_its_session_cannot_be_read_for_any_reason() -> None:
    services: Any = SimpleNamespace(sessions=BrokenSessions(), known_callers=KnownCallers())
    streams = OpenStreams(services, SystemClock(), most=100, most_of_account=100)
    stream = await streams.admit(CALLER, [WorkspaceId("w")])

    async def wait() -> Any:
        raise AssertionError("it was begun")

    sending, receiving = wait(), wait()
    with pytest.raises(KeyError):
        await streams.serve(stream, sending, receiving)

    assert {inspect.getcoroutinestate(each) for each in (sending, receiving)} == {inspect.CORO_CLOSED}


class SlowSessions(TwoSessions):
    """It looks a session up only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def family_of(self, caller: Caller) -> str:
        await self.may_answer.wait()
        return "alive"


async def test_a_stream_that_is_about_to_be_admitted_as_all_are_closed_is_refused() -> None:
    """A server that steps down would never send it anything, and never close it."""
    sessions = SlowSessions()
    services: Any = SimpleNamespace(sessions=sessions, known_callers=KnownCallers())
    streams = OpenStreams(services, SystemClock(), most=100, most_of_account=100)
    admitted = asyncio.create_task(streams.admit(CALLER, [WorkspaceId("w")]))
    await asyncio.sleep(0)

    await streams.close()
    sessions.may_answer.set()

    with pytest.raises(Unavailable, match="connect again"):
        await admitted
    assert streams.count == 0


@pytest.mark.parametrize("end", ["returns", "fails", "is cancelled"])
async def test_a_stream_counts_until_it_has_ended_however_it_ends(end: str) -> None:
    services: Any = SimpleNamespace(sessions=TwoSessions(), known_callers=KnownCallers())
    streams = OpenStreams(services, SystemClock(), most=100, most_of_account=100)
    counted: list[int] = []

    async def use() -> None:
        with streams.until_left(await streams.admit(CALLER, [WorkspaceId("w")])):
            counted.append(streams.count)
            if end == "fails":
                raise ConnectionError
            await asyncio.sleep(0 if end == "returns" else 60)

    using = asyncio.create_task(use())
    for _ in range(3):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.gather(using, return_exceptions=True)

    assert counted == [1]
    assert streams.count == 0


@pytest.mark.parametrize(
    ("end", "code"), [("sent", 1000), ("gone", None), ("stopped", GOING_AWAY), ("expired", SESSION_ENDED)]
)
async def test_a_stream_ends_at_the_first_of_its_ends_and_leaves_nothing_running(end: str, code: int | None) -> None:
    """A session that expires is not looked up: nothing announces its end."""
    clock, sessions = SystemClock(), TwoSessions()
    life = timedelta(seconds=0.05 if end == "expired" else 60)
    caller = cast("Caller", SimpleNamespace(**vars(CALLER), expires_at=clock.now() + life))
    known = KnownCallers()
    services: Any = SimpleNamespace(sessions=sessions, known_callers=known)
    streams = OpenStreams(services, clock, most=100, most_of_account=100)
    stream = await streams.admit(caller, [WorkspaceId("w")], since=known.changes)
    cancelled: list[str] = []

    async def go_on(name: str) -> None:
        if name == end:
            return
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    async def send() -> int:
        await go_on("sent")
        return 1000

    if end == "stopped":
        asyncio.get_running_loop().call_later(0.01, streams.end_all, GOING_AWAY)
    async with asyncio.timeout(10):
        ended = await streams.serve(stream, send(), go_on("gone"))

    assert ended == code
    assert cancelled == [name for name in ("sent", "gone") if name != end]
    assert not sessions.looks
