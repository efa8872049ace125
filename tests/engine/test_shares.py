"""What workspaces share: the processes that evaluate JavaScript."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import NodeCompleted
from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId, WorkspaceId
from flowrunner.ports.read_turns import READS_FOR
from services.callers import caller_of
from support.databases import MARA_ACCOUNT
from support.dependencies import PATIENCE_SECONDS, Acting, machine


class BusySandbox:
    """A sandbox that is busy for the first evaluations."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        if self.refusals > 0:
            self.refusals -= 1
            raise Unavailable("too much of it is waiting")
        return [ScriptOutcome(42, None, ()) for _ in scripts]

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        return [None for _ in scripts]

    async def close(self) -> None:
        pass


SCRIPTS = """
outputs: {answer: "${nodes.a.result + 1}"}
nodes: {a: {type: transform, params: {value: "${6 * 7}"}}}
"""


async def test_a_step_waits_while_no_javascript_can_be_evaluated(tmp_path: Path) -> None:
    async with machine(tmp_path / "flowrunner.db", sandbox=BusySandbox(1)) as opened:
        events = await opened.run(SCRIPTS)

    assert [event.result for event in events if isinstance(event, NodeCompleted)] == [42]
    assert events[-1].type == "execution.completed"


async def test_a_stop_leaves_a_step_that_waits_for_javascript_to_the_next_start(tmp_path: Path) -> None:
    busy = BusySandbox(1_000)
    async with machine(tmp_path / "flowrunner.db", sandbox=busy) as opened:
        await opened.save(SCRIPTS)
        await opened.start()
        await asyncio.sleep(0.05)
        await opened.dispatcher.drain(seconds=5)

        assert await opened.status() is Status.RUNNING
    busy.refusals = 0
    async with machine(tmp_path / "flowrunner.db", sandbox=busy) as opened:
        assert await opened.until_ended() is Status.COMPLETED


async def test_a_stop_leaves_outputs_that_wait_for_javascript_to_the_next_start(tmp_path: Path) -> None:
    class OnceThenBusy(BusySandbox):
        evaluations = 0

        async def evaluate(
            self,
            workspace_id: WorkspaceId,
            scripts: Sequence[Script],
            scope: Mapping[str, JSON],
            *,
            now: datetime | None = None,
        ) -> Sequence[ScriptOutcome]:
            self.evaluations += 1
            self.refusals = 0 if self.evaluations == 1 else self.refusals
            if self.evaluations == 2:
                self.refusals = 1_000
            return await super().evaluate(workspace_id, scripts, scope)

    busy = OnceThenBusy(0)
    async with machine(tmp_path / "flowrunner.db", sandbox=busy) as opened:
        await opened.save(SCRIPTS)
        await opened.start()

        async def asks_for_the_outputs() -> bool:
            return busy.evaluations >= 2

        await opened.until(asks_for_the_outputs)
        await opened.dispatcher.drain(seconds=5)
        assert await opened.status() is Status.RUNNING
    async with machine(tmp_path / "flowrunner.db", sandbox=BusySandbox(0)) as opened:
        assert await opened.until_ended() is Status.COMPLETED


async def test_the_limit_of_active_executions_holds_however_many_get_signals(path: Path) -> None:
    under_way, most, may_end = 0, 0, asyncio.Event()

    async def work(value: object, context: object) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await may_end.wait()
        under_way -= 1

    async with machine(path, types=[Acting("test.work", work)], limits=WorkspaceLimits(active=2)) as engine:
        await engine.save("nodes: {ask: {type: wait, params: {key: go}, next: work}, work: {type: test.work}}")
        ids = [f"e{n}" for n in range(10)]
        for id in ids:
            await engine.start(id=id)
            await engine.until_parked(id)

        # All are answered, and each signal is durable, while two are active.
        told = (engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId(id), "go", None) for id in ids)
        await asyncio.gather(*told)

        async def has_room_for_two() -> bool:
            return engine.in_memory == 2 and engine.dispatcher.queued == 8

        await engine.until(has_room_for_two)
        await engine.dispatcher.cancel(ExecutionId("e9"), reason="by hand")
        assert await engine.status("e9") is Status.CANCELLED
        may_end.set()
        for id in ids[:-1]:
            assert await engine.until_ended(id) is Status.COMPLETED

    assert most == 2


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.005)


async def test_an_execution_that_is_being_read_for_a_signal_is_not_read_again_when_there_is_room(path: Path) -> None:
    reads: list[ExecutionId] = []
    may_read, may_end = asyncio.Event(), asyncio.Event()
    may_read.set()

    class Slow:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        async def load(self, id: ExecutionId, *more: Any) -> Any:
            reads.append(id)
            await may_read.wait()
            return await self._journal.load(id, *more)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    async def work(value: object, context: object) -> None:
        await may_end.wait()

    limits, types = WorkspaceLimits(active=1), [Acting("test.work", work)]
    async with machine(path, types=types, limits=limits, wrap=lambda journal, _: Slow(journal)) as engine:
        await engine.save("nodes: {ask: {type: wait, params: {key: go}, next: work}, work: {type: test.work}}")
        for id in ("e1", "e2"):
            await engine.start(id=id)
            await engine.until_parked(id)
        for id in ("e1", "e2"):
            await engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId(id), "go", None)
        await until(lambda: engine.dispatcher.queued == 1)
        reads.clear()
        may_read.clear()

        sending = asyncio.create_task(engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId("e2"), "more", None))
        await until(lambda: reads == ["e2"])
        may_end.set()
        # The first one has left.
        await until(lambda: engine.in_memory == 1)
        may_read.set()
        await sending
        await until(lambda: engine.in_memory == 0)
        assert reads == ["e2"]
        assert [await engine.status(id) for id in ("e1", "e2")] == [Status.COMPLETED] * 2


async def test_executions_do_not_read_in_the_turn_of_the_request_that_made_room_for_them(path: Path) -> None:
    seen: list[AccountId | None] = []

    async def work(value: object, context: object) -> None:
        seen.append(READS_FOR.get())

    async with machine(path, types=[Acting("test.work", work)], most_active=1) as engine:
        await engine.save("nodes: {work: {type: test.work}}")
        READS_FOR.set(AccountId("omar"))
        for n in range(5):
            await engine.start(id=f"e{n}")
        for n in range(5):
            assert await engine.until_ended(f"e{n}") is Status.COMPLETED

    assert seen == [None] * 5
