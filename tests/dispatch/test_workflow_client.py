"""Background work of the workflow client during an outage of Temporal."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.service import RPCError, RPCStatusCode

from flowrunner.dispatch import attempts
from flowrunner.dispatch.temporal import workflow_client
from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.dispatch import Signal
from flowrunner.security.redaction import SecretRedactor
from support.databases import MARA
from support.dependencies import SteppingClock


class Away:
    """Temporal's client, as long as Temporal is away."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def start_workflow(self, workflow: str, execution_id: str, *, id: str, **more: Any) -> None:
        self.asked.append(id)
        raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")


async def test_what_cannot_be_done_while_temporal_is_away_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workflow_client, "_MAX_RETRYING", 3)
    monkeypatch.setattr(attempts, "seconds_after", lambda failed: 0.0)
    client, nothing = Away(), cast("Any", None)
    workflows = WorkflowClient(
        cast("Any", client), "queue", journal=nothing, inbox=nothing, vault=nothing, clock=nothing
    )

    def begin(*ids: str) -> None:
        for id in ids:
            workflows.keep_trying(partial(workflows.begin, ExecutionId(id), MARA), "temporal.start_failed", id)

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 # they go on in their own time
                await asyncio.sleep(0)

    begin("a", "b", "c")
    await until(lambda: min(client.asked.count(id) for id in "abc") > 3)

    begin(*"defghij")
    await until(lambda: len(workflows._pending) <= 3)
    assert set(client.asked) == set("abcdefghij")
    await workflows.close()


class Box:
    """The stored messages."""

    def __init__(self) -> None:
        self.contents: list[Any] = []

    async def send(self, id: ExecutionId, content: Any, *, at: object) -> int:
        self.contents.append(content)
        return len(self.contents)


class NotedRedactor(SecretRedactor):
    """Notes on which threads values are searched."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def redact(self, value: JSON) -> JSON:
        self.threads.append(threading.get_ident())
        return super().redact(value)


async def test_secrets_in_a_long_signal_are_hidden_beside_the_event_loop() -> None:
    box, redactor = Box(), NotedRedactor()
    redactor.add(["the-secret-value"])

    class OneRedactor:
        async def redactor(self, workspace_id: WorkspaceId) -> SecretRedactor:
            return redactor

    workflows = WorkflowClient(
        cast("Any", Away()), "queue", journal=cast("Any", None), inbox=cast("Any", box),
        vault=cast("Any", OneRedactor()), clock=SteppingClock(),
    )  # fmt: skip
    stored: Any = SimpleNamespace(id=ExecutionId("a"), workspace_id=MARA)
    for length in (10, 1_000_000):
        signal = Signal(key="signal:go", payload={"text": "x" * length + " the-secret-value"})
        await workflows.send(await workflows.message(stored, signal))
    await workflows.close()

    assert [content.payload["text"][-5:] for content in box.contents] == ["x ***", "x ***"]
    short, long = redactor.threads
    assert short == threading.get_ident()
    assert long != threading.get_ident()
