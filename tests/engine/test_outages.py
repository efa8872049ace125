"""Executions of which something cannot be had at the moment: a secret, or their events."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowrunner.dispatch import local
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Completed
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.engine import dependencies, event_log
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.due_executions import DueExecutions
from flowrunner.ports.journal import Append, Journal
from flowrunner.security.vault import AesVault
from support.dependencies import PATIENCE_SECONDS, Machine, SteppingClock, machine, secret


@pytest.mark.parametrize("node", ["{type: webhook, params: {url: 'http://peer/', body: '${secrets.KEY}'}}",
                                  "{type: transform, params: {value: '${secrets.KEY}'}}"])  # fmt: skip
async def test_a_secret_that_cannot_be_read_at_the_moment_is_waited_for(
    engine: Machine, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    monkeypatch.setattr(dependencies, "_RETRY_SECONDS", 0.01)
    vault, reads = engine.vault, 0

    async def reveal(workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        nonlocal reads
        reads += 1
        if reads < 3:
            raise Unavailable("The database cannot be read at the moment")
        return await AesVault.reveal(vault, workspace_id, names)

    monkeypatch.setattr(vault, "reveal", reveal)
    await secret(engine, "KEY", "a-value-of-some-length")

    events = await engine.run(f"nodes: {{a: {node}}}")

    assert isinstance(events[-1], Completed)
    assert reads == 3


async def test_one_that_is_due_and_cannot_be_loaded_is_looked_at_less_and_less_often(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []
    looked = asyncio.Event()
    looks = dues = 0

    def seconds_after(count: int) -> float:
        attempts.append(count)
        return 0.0 if count < 3 else 3600.0

    class Unreadable:
        def __init__(self, journal: Journal) -> None:
            self._journal = journal

        async def load(self, id: ExecutionId, *_: Any) -> Any:
            nonlocal looks
            looks += 1
            raise OSError("planted")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    class CountedDue:
        def __init__(self, due: DueExecutions) -> None:
            self._due = due

        async def due(self, **more: Any) -> Any:
            nonlocal dues
            dues += looks >= 3
            if dues >= 3:
                looked.set()
            return await self._due.due(**more)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._due, name)

    clock = SteppingClock()
    async with machine(path, clock=clock) as first:
        await first.save("nodes: {a: {type: delay, params: {duration: 1h}, next: b}, b: {type: return}}")
        await first.start()
        await first.until_parked()
        clock.advance(hours=2)
    monkeypatch.setattr(local, "seconds_after", seconds_after)
    async with machine(
        path,
        clock=clock,
        wrap=lambda journal, _: Unreadable(journal),
        wrap_due=CountedDue,
    ):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await looked.wait()
        assert attempts == [1, 2, 3]
        assert looks == 3
    async with machine(path, clock=clock) as last:
        assert await last.until_ended() is Status.COMPLETED


async def test_one_that_could_not_be_loaded_once_goes_on_when_its_next_wait_is_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnreadableOnce:
        def __init__(self, journal: Journal) -> None:
            self._journal = journal
            self.looks = 0

        async def load(self, id: ExecutionId, *more: Any) -> Any:
            self.looks += 1
            if self.looks == 1:
                raise OSError("planted")
            return await self._journal.load(id, *more)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    monkeypatch.setattr(local, "seconds_after", lambda attempts: 0.0)
    pause = "{type: delay, params: {duration: 1h}, next: %s}"
    clock = SteppingClock()
    async with machine(path, clock=clock) as first:
        await first.save(f"nodes: {{a: {pause % 'b'}, b: {pause % 'c'}, c: {{type: return}}}}")
        await first.start()
        await first.until_parked()
        clock.advance(hours=2)

    async with machine(path, clock=clock, wrap=lambda journal, _: UnreadableOnce(journal)) as second:

        async def has_begun_the_second_wait() -> bool:
            return await second.rows("SELECT count(*) FROM events WHERE type = 'node.waiting'") == [(2,)]

        await second.until(has_begun_the_second_wait)
        await second.until_parked()
        clock.advance(hours=2)
        second.look_at_timers()

        assert await second.until_ended() is Status.COMPLETED


async def test_who_asks_for_an_execution_that_does_not_load_is_not_kept_waiting_by_a_stop(path: Path) -> None:
    class Hanging:
        def __init__(self, journal: Journal) -> None:
            self._journal = journal

        async def load(self, id: ExecutionId, *more: Any) -> Any:
            if not loading.is_set():
                loading.set()
                await asyncio.Event().wait()
            return await self._journal.load(id, *more)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    loading = asyncio.Event()
    loading.set()
    async with machine(path, wrap=lambda journal, _: Hanging(journal)) as engine:
        await engine.save("nodes: {a: {type: wait, params: {key: go}}}")
        await engine.start()
        await engine.until_parked()
        loading.clear()
        asking = asyncio.ensure_future(engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key="go", payload=1)))
        await loading.wait()

        await engine.dispatcher.close()

        with pytest.raises(Unavailable):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asking


async def test_a_stop_does_not_wait_for_a_database_that_takes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, journal: Journal) -> None:
            self._journal = journal

        async def append(self, append: Append) -> None:
            if append.after:
                refused.set()
                raise Unavailable("The disk is full")
            await self._journal.append(append)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    refused = asyncio.Event()
    monkeypatch.setattr(event_log, "_RETRY_DELAY", lambda attempts: 0.0)
    async with machine(path, wrap=lambda journal, _: Full(journal)) as engine:
        await engine.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        await engine.start()
        await refused.wait()

        async with asyncio.timeout(PATIENCE_SECONDS):
            await engine.dispatcher.drain(seconds=3600)

    async with machine(path) as next_one:
        assert await next_one.until_ended() is Status.COMPLETED
