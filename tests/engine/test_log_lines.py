"""What is kept of the lines that an execution writes."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowrunner.domain.events import ErrorValue, Logged, NodeCompleted, NodeFailed
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.engine import event_log, log_lines
from flowrunner.plugin import StepContext
from flowrunner.ports.journal import Recorded
from flowrunner.ports.telemetry import ObservedExecution
from support.databases import MARA, NOON
from support.dependencies import Acting, Machine, machine

from .events import of_type

FAILED = NodeFailed(
    node="a", node_type="log", iteration=2, attempt=3, error=ErrorValue(type="http.503", message="secret")
)


async def test_log_lines_are_kept_up_to_a_limit_and_then_a_mark(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_LOG_LINES", 20)
    events = await engine.run("nodes: {a: {type: log, params: {message: hello}, next: a}}")

    messages = [line.message for line in of_type(Logged, events)]
    assert messages[:20] == ["Execution started", *["hello"] * 19]
    assert messages[20] == "Log truncated: 20 lines are kept of an execution"
    assert len([m for m in messages if m.startswith("Log truncated")]) == 1
    assert messages[-1].startswith("Execution failed")
    assert len(messages) == 22


async def test_lines_about_failed_tries_are_capped_like_others(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_LOG_LINES", 10)

    events = await engine.run("nodes: {a: {type: fail, retry: {max: 40, delay: 0s, errors: ['*']}}}")

    lines = [line.message for line in of_type(Logged, events)]
    assert len(lines) == 10 + 1 + 1
    assert lines[-2].startswith("Log truncated")
    assert lines[-1].startswith("Execution failed")


async def test_a_truncated_log_stays_truncated_after_a_restart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MAX_LOG_LINES", 10)

    async def chatty(value: Any, context: StepContext) -> Any:
        for n in range(100):
            context.log("info", str(n))
        if context.attempt == 1:
            await asyncio.Event().wait()

    types = [Acting("act", chatty)]
    async with machine(path, types=types) as first:
        await first.save("nodes: {a: {type: act}}")
        await first.start()

        async def has_mark() -> bool:
            return "Log truncated" in str(await first.events())

        await first.until(has_mark)
    async with machine(path, types=types) as second:
        await second.until_ended()
        lines = of_type(Logged, await second.events())

    assert len([line for line in lines if line.message.startswith("Log truncated")]) == 1
    assert len(lines) <= 13


async def test_a_log_that_is_full_as_the_flow_ends_says_that_lines_of_its_handlers_are_dropped(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_LOG_LINES", 3)

    events = await engine.run(
        """
        nodes:
          a: {type: log, params: {message: one}, next: b}
          b: {type: log, params: {message: two}}
          last: {type: log, params: {message: dropped}}
        on_finish: last
        """
    )

    messages = [line.message for line in of_type(Logged, events)]
    assert messages[:3] == ["Execution started", "one", "two"]
    assert messages[3].startswith("Execution completed")
    assert messages[4:] == ["Log truncated: 3 lines are kept of an execution"]


async def test_the_lines_of_a_running_node_appear_before_it_ends(path: Path) -> None:
    async def slow(value: Any, context: StepContext) -> Any:
        context.log("info", "half way", {"n": 1})
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("act", slow)]) as engine:
        await engine.save("nodes: {a: {type: act}}")
        id = await engine.start()

        async def has_line() -> bool:
            return any(line.message == "half way" for line in of_type(Logged, await engine.events()))

        await engine.until(has_line)
        await engine.dispatcher.cancel(id, reason="enough")


async def test_a_line_of_too_much_data_says_so(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: log, params: {message: m, data: '${input}'}}}", "x" * 200_000)

    (line,) = [line for line in of_type(Logged, events) if line.message == "m"]
    assert "65536 are kept at most" in str(line.data)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (NodeCompleted(node="a", node_type="log", iteration=2, attempt=3, result=1, action="default"),
        {"state": "completed"}),
        (NodeCompleted(node="a", node_type="log", iteration=2, attempt=3, result=1, action="default", skipped=True),
        {"state": "skipped"}),
        (FAILED, {"state": "failed", "error_type": "http.503"}),
        (replace(FAILED, retry_at=NOON), {"state": "retrying", "error_type": "http.503"}),
    ],
)  # fmt: skip
def test_the_server_s_log_has_the_end_of_each_attempt_without_its_values(
    monkeypatch: pytest.MonkeyPatch, event: Any, state: dict[str, str]
) -> None:
    logged: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(log_lines, "logger", SimpleNamespace(debug=lambda name, **facts: logged.append((name, facts))))
    execution = ObservedExecution(execution_id=ExecutionId("exec-1"), workspace_id=MARA, flow_id=FlowId("flow-1"))

    log_lines.log_step(execution, event, Recorded(1, NOON, event, b"{}", since=NOON - timedelta(seconds=1.5)))

    assert logged == [
        (
            "step.finished",
            {
                "execution_id": "exec-1", "workspace_id": MARA, "step": "a.2", "node": "a", "type": "log", "attempt": 3,
                "duration_ms": 1500, **state,
            },
        )
    ]  # fmt: skip
