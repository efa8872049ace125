"""The values of scopes, which are evaluated beside whatever else the execution does, and runs of quick nodes."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Cancelled, Completed, Failed, NodeCompleted
from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.engine import dependencies
from flowrunner.ports.dispatch import Signal
from flowrunner.sandbox.pool import JailedSandbox
from support.dependencies import PATIENCE_SECONDS, FakeHttp, machine, never
from support.invariants import check_database

from .events import ending, of_type


class AwaySandbox:
    """A sandbox that evaluates nothing until it is back.

    Attributes:
        asked: Set once something was to be evaluated.
    """

    def __init__(self, real: JailedSandbox) -> None:
        self.is_away = True
        self.asked = asyncio.Event()
        self._real = real

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        self.asked.set()
        if self.is_away:
            raise Unavailable("The sandbox is busy")
        return await self._real.evaluate(workspace_id, scripts, scope, now=now)

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        return await self._real.check(scripts)


@pytest.fixture
def away(sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch) -> AwaySandbox:
    monkeypatch.setattr(dependencies, "_RETRY_SECONDS", 0.01)
    return AwaySandbox(sandbox)


OUTPUTS = """
nodes: {a: {type: http.request, params: {url: "http://peer/", method: POST}}}
outputs: {n: "${1 + 1}"}
"""
COLLECT = (
    'each: {type: foreach, params: {items: [1, 2], concurrency: 2, collect: "${result + 1}"},'
    ' nodes: {n: {type: transform, params: {value: "${input}"}}}}'
)


async def test_an_effect_before_the_outputs_is_recorded_while_these_cannot_be_evaluated(
    path: Path, away: AwaySandbox
) -> None:
    http = FakeHttp()
    async with machine(path, http=http, sandbox=away) as first:
        await first.save(OUTPUTS)
        await first.start()
        await away.asked.wait()

        async def is_recorded() -> bool:
            return bool(of_type(NodeCompleted, await first.events()))

        await first.until(is_recorded)
    away.is_away = False
    async with machine(path, http=http, sandbox=away) as second:
        assert await second.until_ended() is Status.COMPLETED
        assert ending(await second.events()) == Completed(result={"n": 2})
    assert len(http.requests) == 1
    assert check_database(path) == []


async def test_an_execution_is_cancelled_while_its_outputs_cannot_be_evaluated(path: Path, away: AwaySandbox) -> None:
    async with machine(path, sandbox=away) as engine:
        await engine.save(OUTPUTS)
        id = await engine.start()
        await away.asked.wait()

        async with asyncio.timeout(PATIENCE_SECONDS):
            await engine.dispatcher.cancel(id, reason="no")

        assert ending(await engine.events()) == Cancelled(reason="no")
        away.is_away = False
    assert check_database(path) == []


async def test_an_execution_times_out_while_what_a_loop_collects_cannot_be_evaluated(
    path: Path, away: AwaySandbox
) -> None:
    async with machine(path, sandbox=away) as engine:
        await engine.save(f"limits: {{timeout: 1h}}\nnodes: {{{COLLECT}}}")
        await engine.start()
        await away.asked.wait()
        engine.clock.advance(hours=2)
        # A message wakes it, as its clock is moved by hand.
        await engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key="signal:any", payload=None))

        assert await engine.until_ended() is Status.FAILED
        end = ending(await engine.events())
    assert isinstance(end, Failed)
    assert end.error.type == "timeout"
    assert check_database(path) == []


async def test_other_branches_go_on_while_what_a_loop_collects_cannot_be_evaluated(
    path: Path, away: AwaySandbox
) -> None:
    flow = f"""
    nodes:
      both:
        type: parallel
        branches:
          one: {{nodes: {{{COLLECT}}}}}
          two: {{nodes: {{w: {{type: wait, params: {{key: go}}, next: after}}, after: {{type: return}}}}}}
    """
    async with machine(path, sandbox=away) as engine:
        await engine.save(flow)
        id = await engine.start()
        await away.asked.wait()

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await engine.dispatcher.signal(id, Signal(key="signal:go", payload=7))

        async def has_gone_on() -> bool:
            return "after" in [event.node for event in of_type(NodeCompleted, await engine.events())]

        await engine.until(has_gone_on)
        away.is_away = False
        assert await engine.until_ended() is Status.COMPLETED
        result: Any = ending(await engine.events()).result
    assert result["one"] == [2, 3]
    assert check_database(path) == []


MANY = """
nodes:
  both:
    type: parallel
    branches:
      slow: {nodes: {a: {type: http.request, params: {url: "http://peer/"}}}}
      quick:
        nodes:
          each:
            type: foreach
            params: {items: "${input}", concurrency: 10}
            nodes: {n: {type: transform, params: {value: 1}}}
limits: {max_steps: 10000}
"""


async def test_many_quick_steps_do_not_delay_a_step_beside_them(path: Path) -> None:
    completed: list[int] = []
    async with machine(path) as engine:

        async def ask(request: Any) -> Any:
            completed.append(len(of_type(NodeCompleted, await engine.events())))
            return await never(request)

        engine.http.at("http://peer/", ask)
        await engine.save(MANY)
        id = await engine.start(input=list(range(2000)))
        await engine.until_requested("http://peer/")

        async def has_counted() -> bool:
            return bool(completed)

        await engine.until(has_counted)
        await engine.dispatcher.cancel(id, reason="enough")
    assert completed[0] < 500


async def test_a_cancel_is_not_delayed_by_many_quick_steps(path: Path) -> None:
    async with machine(path) as engine:
        engine.http.at("http://peer/", never)
        await engine.save(MANY)
        id = await engine.start(input=list(range(3000)))
        await engine.until_requested("http://peer/")

        await engine.dispatcher.cancel(id, reason="enough")

        assert len(of_type(NodeCompleted, await engine.events())) < 1500
    assert check_database(path) == []
