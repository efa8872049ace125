"""Calls between the processes of a server: results and errors, order, cancellation, and the end of the other side."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import pytest
from structlog.testing import capture_logs

from flowrunner.dispatch.processes import channel as channel_module
from flowrunner.dispatch.processes import engine_processes
from flowrunner.dispatch.processes.channel import Channel
from flowrunner.dispatch.processes.engine_processes import EngineProcesses, ProcessReport
from flowrunner.dispatch.processes.packed import (
    LoadAnswer,
    PackedAppend,
    PackedSignal,
    PackedStart,
    pack_append,
    pack_start,
    unpack_append,
    unpack_start,
)
from flowrunner.dispatch.processes.remote_execution import Entry, RemoteExecution
from flowrunner.dispatch.processes.requests import ProcessRequests, ServerParts
from flowrunner.dispatch.processes.served_engine import ServedEngine
from flowrunner.dispatch.processes.server_ports import ServerJournal, ServerMemory
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import LimitReached, NotFound, Unavailable
from flowrunner.domain.events import Event, NodeCompleted, NodeStarted, Step
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.engine.engine import FlowEngine
from flowrunner.engine.event_log import Replay
from flowrunner.plugin import NodeFailure, StepContext
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.dispatch import Cancel, Signal
from flowrunner.ports.event_codec import encode_event
from flowrunner.ports.journal import (
    Append,
    Fenced,
    NewExecution,
    Quota,
    Recorded,
    StoredExecution,
    Summary,
    TakeEvents,
)
from flowrunner.security.memory_room import FairMemory
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from support.databases import MARA, NOON, OMAR, REQUESTED, creation
from support.dependencies import Acting, machine
from support.flows import flow_of
from support.waiting import PATIENCE_SECONDS


def given(end: Channel) -> Callable[[], Channel]:
    return lambda: end


@asynccontextmanager
async def connected(handlers: Mapping[str, Any] | None = None) -> AsyncIterator[tuple[Channel, Channel]]:
    """Two ends of a channel, of which the second serves the handlers."""
    loop, ends = asyncio.get_running_loop(), (Channel(), Channel())
    ends[1].serve(handlers or {})
    for end, side in zip(ends, socket.socketpair(), strict=True):
        await loop.create_unix_connection(given(end), sock=side)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()
        await asyncio.wait([end.lost for end in ends], timeout=PATIENCE_SECONDS)


async def test_results_of_functions_coroutines_and_futures_come_back() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text

    async with connected({"now": lambda text: text, "later": later, "future": lambda: future}) as (caller, _):
        waiting = caller.call("future", returns=str)
        assert await caller.call("now", "a", returns=str) == "a"
        assert await caller.call("later", "b", returns=str) == "b"
        future.set_result("c")
        assert await waiting == "c"


@pytest.mark.parametrize(
    "error",
    [
        NotFound("flow"),
        LimitReached("too much", limit="stored", most=3),
        Fenced("owned by another"),
        Unavailable("not now"),
        NodeFailure("http.timeout", "it took too long", retry_after=2.0),
    ],
)
async def test_errors_arrive_as_they_were_raised(error: Exception) -> None:
    def fail() -> None:
        raise error

    async with connected({"fail": fail}) as (caller, _):
        with pytest.raises(type(error)) as raised:
            await caller.call("fail")

    assert str(raised.value) == str(error)
    assert vars(error).items() <= vars(raised.value).items()


async def test_other_errors_arrive_with_their_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError("of the engine")

    async with connected({"fail": fail}) as (caller, _):
        with pytest.raises(RuntimeError, match="ZeroDivisionError: of the engine"):
            await caller.call("fail")


@pytest.mark.parametrize("outcome", ["result", "coroutine", "error", "too much", "cancelled", "withdrawn", "told"])
async def test_nothing_is_kept_of_a_call_that_is_over(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    monkeypatch.setattr(channel_module, "MAX_FRAME_BYTES", 1000)
    endless: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def later() -> str:
        await asyncio.sleep(0)
        if outcome == "error":
            raise NotFound("flow")
        return "x" * (2000 if outcome == "too much" else 1)

    async with connected({"later": later, "endless": lambda: endless, "now": lambda: 1}) as ends:
        caller, served = ends
        match outcome:
            case "result":
                await caller.call("now", returns=int)
            case "coroutine":
                await caller.call("later", returns=str)
            case "error" | "too much":
                with pytest.raises((NotFound, RuntimeError)):
                    await caller.call("later", returns=str)
            case "cancelled":
                call = caller.call("endless")
                await caller.call("now", returns=int)
                assert served._running
                call.cancel()
            case "withdrawn":
                caller.call("later").cancel()
            case _:
                caller.notify("now")
        # What was sent before it has arrived, and so has what that has caused.
        for _ in range(2):
            await caller.call("now", returns=int)

        # What may be called stays.
        kept = [vars(end) | {"_handlers": ()} for end in ends]
        assert [
            (name, value)
            for end in kept
            for name, value in end.items()
            if isinstance(value, dict | list | set | bytearray) and value
        ] == []


async def test_what_is_told_before_a_result_arrives_before_it() -> None:
    seen: list[int] = []

    def add(number: int) -> None:
        seen.append(number)

    async with connected() as (one, other):

        def count() -> int:
            for number in range(200):
                other.notify("add", number)
            return 200

        one.serve({"add": add})
        other.serve({"count": count})

        assert await one.call("count", returns=int) == 200
        assert seen == list(range(200))


async def test_a_cancelled_call_is_cancelled_on_the_other_side() -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with connected({"wait": wait, "answer": lambda: answer}) as (caller, _), asyncio.timeout(PATIENCE_SECONDS):
        call, asked = caller.call("wait"), caller.call("answer")
        await began.wait()
        call.cancel()
        asked.cancel()
        await ended.wait()
        while not answer.cancelled():  # noqa: ASYNC110 # it is cancelled by a message
            await asyncio.sleep(0.01)


async def test_calls_fail_when_the_other_side_ends_and_what_it_had_asked_for_goes_on() -> None:
    may_end, done = asyncio.Event(), asyncio.Event()

    async def store() -> None:
        await may_end.wait()
        done.set()

    async with connected() as (server, process), asyncio.timeout(PATIENCE_SECONDS):
        server.serve({"store": store})
        asked = process.call("store")
        waiting = server.call("never answered")
        process.serve({"never answered": asyncio.get_running_loop().create_future})
        await asyncio.sleep(0.05)
        process.abort()
        with pytest.raises((Unavailable, KeyError)):
            await waiting
        with pytest.raises(Unavailable):
            await server.call("anything")
        may_end.set()
        await done.wait()
        assert asked.exception() is not None


async def test_values_that_cannot_be_sent_fail_their_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_FRAME_BYTES", 10_000)

    def same(value: int) -> int:
        return value

    handlers = {"same": same, "function": lambda: object, "long": lambda: "x" * 20_000}
    async with connected(handlers) as (caller, _):
        calls = [
            caller.call("same", 1, returns=int),
            caller.call("same", object(), returns=int),
            caller.call("same", "x" * 20_000, returns=int),
            caller.call("same", "not a number", returns=int),
            caller.call("same", returns=int),
            caller.call("unknown", returns=int),
            caller.call("function"),
            caller.call("long"),
            caller.call("same", 2, returns=int),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert [results[0], results[-1]] == [1, 2]
    assert all(isinstance(result, Exception) for result in results[1:-1])


# The last one is what another format would make a program of.
@pytest.mark.parametrize(
    "frame",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x05\x80\x04K\x01."],
)
async def test_bytes_that_are_no_message_close_the_connection(frame: bytes) -> None:
    async with connected() as (caller, served), asyncio.timeout(PATIENCE_SECONDS):
        assert caller._transport is not None
        caller._transport.write(frame)
        await served.lost


def test_an_append_is_the_same_after_it_was_packed() -> None:
    at = datetime(2026, 11, 28, 3, 4, 5, 678901, tzinfo=UTC)
    ended = NodeCompleted(node="a", node_type="http.request", iteration=1, attempt=2, action="default", result=[1, "é"])
    begun = NodeStarted(node="b", node_type="log", iteration=1, attempt=1, scope="each.1[2]")
    append = Append(
        execution_id=ExecutionId("exec-1"),
        epoch=7,
        after=3,
        records=[Recorded(4, at, ended, encode_event(ended), at), Recorded(5, at, begun, encode_event(begun))],
        summary=Summary(status=Status.WAITING, is_idle=True, wake_at=at),
        messages=[3],
        audit=[AuditEntry(at=at, action="execution.signalled", object=("execution", "exec-1"), details={"n": 1.5})],
        quota=Quota(WorkspaceId("w"), UNLIMITED),
    )

    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(pack_append(append)), type=PackedAppend)
    again = unpack_append(sent, create=None, workspace_id=WorkspaceId("w"), limits=UNLIMITED)

    assert again == append
    assert [record.since for record in again.records] == [at, None]


@asynccontextmanager
async def remote(handlers: Mapping[str, Any]) -> AsyncIterator[tuple[RemoteExecution, Channel]]:
    async with connected(handlers) as (server, process):
        requests = ProcessRequests(ServerParts(deps=None, definitions=None, hidden=None, link_key=bytes), server)  # type: ignore[arg-type]
        held = requests.hold(ExecutionId("exec-1"), None)
        execution = RemoteExecution(requests, held, workspace_id=WorkspaceId("w"), fencing_token=1, cut_off={})
        yield execution, process


async def test_a_signal_to_a_process_that_dies_has_an_unknown_outcome_and_a_cancellation_none() -> None:
    loop = asyncio.get_running_loop()

    def receive(number: int, signal: PackedSignal) -> "asyncio.Future[bool]":
        return loop.create_future()

    def cancel(number: int, request: Cancel, message: int | None) -> "asyncio.Future[bool]":
        return loop.create_future()

    unanswered = {"receive": receive, "cancel": cancel}
    async with remote(unanswered) as (execution, process), asyncio.timeout(PATIENCE_SECONDS):
        signalled: asyncio.Future[bool] = loop.create_future()
        cancelled: asyncio.Future[bool] = loop.create_future()
        execution.receive(Signal(key="signal:go", payload=None), signalled)
        execution.cancel(Cancel(reason="test"), cancelled)
        await asyncio.sleep(0.05)
        process.abort()

        with pytest.raises(Unavailable, match="Outcome unknown"):
            await signalled
        # The dispatcher repeats a cancellation, which has the same effect twice.
        assert not cancelled.done()


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_an_execution_whose_load_is_given_up_stays_in_no_process(*, is_cancelled: bool) -> None:
    dropped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def load(number: int, id: ExecutionId) -> None:
        asked.set()
        if not is_cancelled:
            raise Unavailable("the database does not answer")
        await asyncio.Event().wait()

    handlers = {"load": load, "drop": dropped.set_result}
    async with connected(handlers) as (server, _), asyncio.timeout(PATIENCE_SECONDS):
        requests = ProcessRequests(ServerParts(deps=None, definitions=None, hidden=None, link_key=bytes), server)  # type: ignore[arg-type]
        held = requests.hold(ExecutionId("exec-1"), None)
        loading = asyncio.ensure_future(Entry(requests, held, epoch=1).load())
        await asked.wait()
        if is_cancelled:
            loading.cancel()
        with pytest.raises(asyncio.CancelledError if is_cancelled else Unavailable):
            await loading

        assert await dropped == held.number


async def test_a_load_tells_what_a_process_knows_of_its_execution() -> None:
    cut_off = {Step("a", 2, "each.1[4]"): 3, Step("b", 1): 1}
    resumed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def load(number: int, id: ExecutionId) -> LoadAnswer:
        return WorkspaceId("mara"), Status.WAITING, list(cut_off.items())

    def resume_after_hold(number: int, items: list[tuple[Step, int]]) -> None:
        resumed.set_result((number, dict(items)))

    handlers = {"load": load, "resume_after_hold": resume_after_hold}
    async with connected(handlers) as (server, _), asyncio.timeout(PATIENCE_SECONDS):
        requests = ProcessRequests(ServerParts(deps=None, definitions=None, hidden=None, link_key=bytes), server)  # type: ignore[arg-type]
        held = requests.hold(ExecutionId("exec-1"), None)
        execution = await Entry(requests, held, epoch=1).load()
        assert execution is not None
        found = (execution.workspace_id, execution.status, execution.cut_off)
        execution.resume_after_hold({Step("b", 1): 1})

        assert found == ("mara", Status.WAITING, cut_off)
        assert await resumed == (held.number, {Step("b", 1): 1})


async def hides_nothing(workspace_id: WorkspaceId) -> Sequence[str]:
    return ()


@asynccontextmanager
async def large_execution(tmp_path: Path) -> AsyncIterator[tuple[FairMemory, ProcessRequests, Channel]]:
    """The memory of a server with a large execution `exec-1` that waits, and a process that may ask for it."""
    async with (
        machine(tmp_path / "data.db") as engine,
        connected() as (server, process),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        memory = engine.deps.memory = FairMemory()
        await engine.save("nodes: {a: {type: delay, params: {duration: 2h}}}")
        await engine.start(id="exec-1", input=[[]] * 60_000)
        await engine.until_parked("exec-1")
        definitions = SqlFlows(engine.database)
        parts = ServerParts(deps=engine.deps, definitions=definitions, hidden=hides_nothing, link_key=bytes)
        requests = ProcessRequests(parts, server)
        server.serve(requests.handlers)
        yield memory, requests, process


async def test_the_memory_of_a_large_execution_is_held_until_it_leaves_the_process(tmp_path: Path) -> None:
    async with large_execution(tmp_path) as (memory, requests, process):
        before, replay = memory.memory.held(MARA), Replay()

        held = requests.hold(ExecutionId("exec-1"), None)
        stored = await ServerJournal(process).load(held.id, replay.add)
        loaded = memory.memory.held(MARA)
        requests.leave(held)

    assert replay.state.seq == stored.last_seq
    assert before == 0
    assert loaded > 4
    assert memory.memory.held(MARA) == 0


async def test_the_portions_of_an_execution_are_taken_in_order_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    async def load(journal: SqlJournal, id: ExecutionId, take: TakeEvents, loading: object) -> StoredExecution:
        for number in (1, 2, 3):
            await take([(NodeStarted(node="a", iteration=1, node_type="delay", attempt=1), NOON)] * number)
        return await journal.stored(id)

    async def take(events: Sequence[tuple[Event, datetime]]) -> None:
        number = len(events)
        seen.append(("begin", number))
        # The earlier ones take longer.
        await asyncio.sleep(0.04 / number)
        seen.append(("end", number))

    async with large_execution(tmp_path) as (_, _, process):
        monkeypatch.setattr(SqlJournal, "load", load)
        await ServerJournal(process).load(ExecutionId("exec-1"), take)

    assert seen == [(what, number) for number in (1, 2, 3) for what in ("begin", "end")]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 # slots have no events
        await asyncio.sleep(0.01)


async def test_memory_that_an_execution_waits_for_when_its_process_dies_is_not_kept(tmp_path: Path) -> None:
    async with large_execution(tmp_path) as (memory, requests, process):
        async with memory.memory.hold(MARA, 64):
            held = requests.hold(ExecutionId("exec-1"), None)
            loading = asyncio.ensure_future(ServerJournal(process).load(held.id, Replay().add))
            await until(lambda: memory.reading.held(MARA) > 0)
            process.abort()
            with pytest.raises(Unavailable):
                await loading
            requests.leave(held)
        await until(lambda: not memory.reading.held(MARA))

    assert memory.memory.held(MARA) == 0


class Process:
    pid = 1

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def wait(self) -> int:
        await self.channel.lost
        return 0

    def kill(self) -> None:
        self.channel.abort()


def open_engine(epoch: int, key: bytes) -> None:
    pass


def report(key: bytes) -> ProcessReport:
    return ProcessReport()


ALIVE: Final[Mapping[str, Any]] = {"open": open_engine, "report": report}


async def test_a_process_that_hangs_while_it_starts_is_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_processes, "_START_SECONDS", 0.05)
    ended: list[str] = []

    async with machine(tmp_path / "data.db") as alone, connected(ALIVE) as (ours, _), asyncio.timeout(PATIENCE_SECONDS):

        async def start() -> Process:
            if not ended:
                # Its node types block while they are imported.
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    ended.append("the first")
            return Process(ours)

        definitions = SqlFlows(alone.database)
        parts = ServerParts(deps=alone.deps, definitions=definitions, hidden=hides_nothing, link_key=bytes)
        processes = EngineProcesses(FlowEngine(alone.deps), parts, start, count=1)
        await processes.open()
        running = processes.running
        await processes.close()

    assert (ended, running) == (["the first"], 1)


async def test_a_process_that_does_not_take_a_new_secret_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would show the secret in what its executions log."""
    monkeypatch.setattr(engine_processes, "_HIDE_SECONDS", 0.05)

    def hide(workspace_id: WorkspaceId, values: Sequence[bytes]) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    handlers = {**ALIVE, "hide": hide}
    async with (
        machine(tmp_path / "data.db") as alone,
        connected(handlers) as (ours, theirs),
        asyncio.timeout(PATIENCE_SECONDS),
    ):

        async def start() -> Process:
            return Process(ours)

        definitions = SqlFlows(alone.database)
        parts = ServerParts(deps=alone.deps, definitions=definitions, hidden=hides_nothing, link_key=bytes)
        processes = EngineProcesses(FlowEngine(alone.deps), parts, start, count=1)
        await processes.open()
        await processes.hide(OMAR, ["a secret of a workspace that it has nothing of"])
        before = theirs.lost.done()
        await theirs.call("hidden", MARA, returns=list[bytes])
        await processes.hide(MARA, ["a new secret"])
        await asyncio.wait([theirs.lost], timeout=PATIENCE_SECONDS)
        after = theirs.lost.done()
        await processes.close()

    assert (before, after) == (False, True)


Begin: TypeAlias = Callable[[Channel, PackedStart], Awaitable[bool]]


def new_execution(id: str) -> NewExecution:
    return NewExecution(
        id=ExecutionId(id),
        workspace_id=MARA,
        flow_id=FlowId("flow-1"),
        revision_id=RevisionId("rev-flow-1"),
        started_at=NOON,
        cause=REQUESTED,
    )


@asynccontextmanager
async def started_by(tmp_path: Path, *begins: Begin, **options: Any) -> AsyncIterator[object]:
    """The outcome of a start by processes, each of which begins it in its own way.

    Args:
        begins: Given the channel of the process and what it is to begin.
    """
    loop = asyncio.get_running_loop()
    left = list(begins)
    fails = [True]

    async def start() -> Process:
        if fails:
            # It is killed while the server starts.
            fails.clear()
            raise Unavailable("it has ended")
        ours, theirs = Channel(), Channel()
        own = left.pop(0)

        async def begin(number: int, start: PackedStart) -> bool:
            return await own(theirs, start)

        theirs.serve({**ALIVE, "begin": begin})
        for end, side in zip((ours, theirs), socket.socketpair(), strict=True):
            await loop.create_unix_connection(given(end), sock=side)
        return Process(ours)

    async with machine(tmp_path / "data.db", **options) as alone, asyncio.timeout(PATIENCE_SECONDS):
        await alone.save("nodes: {a: {type: transform, params: {value: 1}}}")
        new = new_execution("exec-1")
        flow = await alone.library.get(MARA, new.revision_id)
        definitions = SqlFlows(alone.database)
        parts = ServerParts(deps=alone.deps, definitions=definitions, hidden=hides_nothing, link_key=bytes)
        processes = EngineProcesses(FlowEngine(alone.deps), parts, start, count=1)
        await processes.open()
        try:
            begun = await asyncio.gather(processes.begin(new, flow, {}, at_once=True), return_exceptions=True)
            yield begun[0]
        finally:
            await processes.close()


async def begin_well(channel: Channel, start: PackedStart) -> bool:
    return True


async def test_a_start_waits_for_another_process_when_the_only_one_has_just_died(tmp_path: Path) -> None:
    async def die(channel: Channel, start: PackedStart) -> bool:
        # Before anything of the execution is sent.
        channel.abort()
        return False

    async with started_by(tmp_path, die, begin_well) as begun:
        assert isinstance(begun, RemoteExecution)


async def test_a_start_whose_process_dies_while_it_is_stored_has_the_outcome_of_that(tmp_path: Path) -> None:
    is_under_way, has_died = asyncio.Event(), asyncio.Event()

    class Away:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        async def append(self, append: Append) -> None:
            is_under_way.set()
            await has_died.wait()
            raise Unavailable("the database is away")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    async def die(channel: Channel, start: PackedStart) -> bool:
        append = creation("exec-1", epoch=1)
        appending = asyncio.ensure_future(ServerJournal(channel).append(append))
        await is_under_way.wait()
        channel.abort()
        await asyncio.wait([appending])
        has_died.set()
        return True

    async with started_by(tmp_path, die, begin_well, wrap=lambda journal, _: Away(journal)) as begun:
        assert isinstance(begun, Unavailable)
        assert str(begun) == "the database is away"


async def test_a_process_that_replaces_another_is_told_what_that_one_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_processes, "_restart_seconds", lambda failures: 0.0)
    loop = asyncio.get_running_loop()
    # Of each process, when it first reports.
    states: list[dict[str, Any]] = []
    channels: list[Channel] = []

    async def start() -> Process:
        knows: dict[str, Any] = {}
        ours, theirs = Channel(), Channel()

        def set_others_wait(others_wait: bool) -> None:
            knows["others_wait"] = others_wait

        def stop() -> None:
            knows["stop"] = True

        def report(key: bytes) -> ProcessReport:
            # It is asked for after all else.
            states.append(dict(knows))
            return ProcessReport()

        theirs.serve({"open": open_engine, "report": report, "set_others_wait": set_others_wait, "stop": stop})
        for end, side in zip((ours, theirs), socket.socketpair(), strict=True):
            await loop.create_unix_connection(given(end), sock=side)
        channels.append(theirs)
        return Process(ours)

    async with machine(tmp_path / "data.db") as alone, asyncio.timeout(PATIENCE_SECONDS):
        definitions = SqlFlows(alone.database)
        parts = ServerParts(deps=alone.deps, definitions=definitions, hidden=hides_nothing, link_key=bytes)
        processes = EngineProcesses(FlowEngine(alone.deps), parts, start, count=1)
        await processes.open()
        try:
            tellings: Sequence[Callable[[], None]] = (
                lambda: processes.set_others_wait(True),
                lambda: processes.set_others_wait(False),
                lambda: processes.set_others_wait(True),
                processes.stop,
            )
            for tell in tellings:
                await until(lambda: len(states) == len(channels))
                tell()
                channels[-1].abort()
                started = len(channels)
                await until(lambda started=started: len(channels) > started)  # type: ignore[misc]
            await until(lambda: len(states) == len(channels))
        finally:
            await processes.close()

    assert states == [
        {"others_wait": False},
        {"others_wait": True},
        {"others_wait": False},
        {"others_wait": True},
        {"others_wait": True, "stop": True},
    ]


async def test_a_process_that_does_not_answer_gets_a_start_only_if_none_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_processes, "_SILENCE_SECONDS", 0.01)
    monkeypatch.setattr(engine_processes, "_REPORT_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    answers = [asyncio.Event(), asyncio.Event()]
    reports, starts = [0, 0], list[int]()
    numbers = iter(range(2))

    async def start() -> Process:
        number = next(numbers)
        answers[number].set()

        async def report(key: bytes) -> ProcessReport:
            await answers[number].wait()
            reports[number] += 1
            return ProcessReport()

        async def begin(_: int, start: PackedStart) -> bool:
            starts.append(number)
            return True

        ours, theirs = Channel(), Channel()
        theirs.serve({"open": open_engine, "report": report, "begin": begin})
        for end, side in zip((ours, theirs), socket.socketpair(), strict=True):
            await loop.create_unix_connection(given(end), sock=side)
        return Process(ours)

    async with machine(tmp_path / "data.db") as alone, asyncio.timeout(30):
        await alone.save("nodes: {a: {type: transform, params: {value: 1}}}")
        flow = await alone.library.get(MARA, RevisionId("rev-flow-1"))
        definitions = SqlFlows(alone.database)
        parts = ServerParts(deps=alone.deps, definitions=definitions, hidden=hides_nothing, link_key=bytes)
        processes = EngineProcesses(FlowEngine(alone.deps), parts, start, count=2)

        async def begin(count: int) -> None:
            for _ in range(count):
                new = new_execution(f"exec-{len(starts)}")
                await processes.begin(new, flow, {}, at_once=True)

        await processes.open()
        try:
            for number, count in enumerate((3, 4)):
                with capture_logs() as logs:
                    answers[number].clear()
                    await until(lambda: any(log["event"] == "engine_process.silent" for log in logs))
                await begin(count)
            reports[0] = 0
            answers[0].set()
            # With the second report it is known to answer again.
            await until(lambda: reports[0] >= 2)
            await begin(1)
        finally:
            await processes.close()

    # The one that does not answer has fewer executions each time.
    assert starts == [1, 1, 1, 0, 0, 0, 0, 0]


def test_a_start_is_the_same_after_it_was_packed() -> None:
    slot = ConcurrencySlot("key", 2, is_queued=True)
    new = replace(new_execution("exec-1"), flow_name="Orders", labels={"team": "core"}, config={"A": [1]}, slot=slot)
    started = new.first_event(flow_of("nodes: {a: {type: transform, params: {value: 1}}}"), {"n": 1}, "00-1-2-01")

    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(pack_start(new, started)), type=PackedStart)

    assert unpack_start(sent) == (new, started)


async def test_an_earlier_stay_of_an_execution_in_a_process_does_not_end_a_later_one() -> None:
    async with connected() as (server, _):
        requests = ProcessRequests(ServerParts(deps=None, definitions=None, hidden=None, link_key=bytes), server)  # type: ignore[arg-type]
        earlier, later = (requests.hold(ExecutionId("exec-1"), None) for _ in range(2))

        requests.leave(earlier)

        assert requests.executions == {"exec-1": later}
        requests.leave(later)
        assert requests.executions == {}


@pytest.mark.parametrize(("elements", "stays"), [(1, True), (60_000, False)])
async def test_a_large_new_execution_is_left_to_the_server_that_reserves_its_memory(
    tmp_path: Path, elements: int, stays: bool
) -> None:
    async with machine(tmp_path / "data.db") as alone, connected() as (_, process):
        await alone.save("nodes: {a: {type: wait, params: {key: go}}}")
        new = new_execution("exec-1")
        flow = await alone.library.get(MARA, new.revision_id)
        served = ServedEngine(FlowEngine(replace(alone.deps, memory=ServerMemory(process))), alone.library)

        begun = await served.handlers["begin"](1, pack_start(new, new.first_event(flow, [[]] * elements, "")))
        served.handlers["drop"](1)

    assert begun is stays


async def test_an_execution_that_the_server_drops_does_not_go_on_in_its_process(tmp_path: Path) -> None:
    has_begun, goes_on, is_stopped = (asyncio.Event() for _ in range(3))

    async def act(value: Any, context: StepContext) -> None:
        has_begun.set()
        try:
            await goes_on.wait()
        except asyncio.CancelledError:
            is_stopped.set()
            raise

    types = [Acting("act", act)]
    async with machine(tmp_path / "data.db", types=types) as alone, asyncio.timeout(PATIENCE_SECONDS):
        await alone.save("nodes: {a: {type: act}}")
        new = new_execution("exec-1")
        flow = await alone.library.get(MARA, new.revision_id)
        served = ServedEngine(FlowEngine(alone.deps), alone.library)
        assert await served.handlers["begin"](1, pack_start(new, new.first_event(flow, {}, "")))
        await has_begun.wait()

        served.handlers["drop"](1)

        await is_stopped.wait()
