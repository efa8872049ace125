"""What a courier has not done yet while Temporal is away."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from temporalio.service import RPCError, RPCStatusCode

from flowrunner.dispatch import tries
from flowrunner.dispatch.temporal import courier as courier_module
from flowrunner.dispatch.temporal.courier import Courier
from flowrunner.domain.values import ExecutionId
from support.databases import MARA


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
    monkeypatch.setattr(courier_module, "_MOST_UNDER_WAY", 3)
    monkeypatch.setattr(tries, "seconds_after", lambda tries: 0.0)
    client, nothing = Away(), cast("Any", None)
    courier = Courier(cast("Any", client), "queue", journal=nothing, letters=nothing, vault=nothing, clock=nothing)

    def begin(*ids: str) -> None:
        for id in ids:
            courier.keep_trying(partial(courier.begin, ExecutionId(id), MARA), "temporal.not_begun", id)

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 # they go on in their own time
                await asyncio.sleep(0)

    begin("a", "b", "c")
    await until(lambda: min(client.asked.count(id) for id in "abc") > 3)

    begin(*"defghij")
    await until(lambda: len(courier._under_way) <= 3)
    assert set(client.asked) == set("abcdefghij")
    await courier.close()
