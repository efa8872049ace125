"""Processes as `support.dependencies.machine` opens them, where a Temporal server says what they advance."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from dispatch.cluster import Cluster, Side, UntimedEngine
from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.dispatch.temporal.worker import TemporalWorker
from flowrunner.domain.values import ExecutionId
from flowrunner.nodes import built_in
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.journal import Journal
from flowrunner.ports.sandbox import Sandbox
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from support.databases import MARA, account
from support.dependencies import FakeHttp, Machine, SteppingClock

_LOOK_SECONDS: Final = 0.02
# A nudge that was lost, with the process that it was for, is made up for.
_AGAIN_SECONDS: Final = 1.0


@dataclass
class DistributedMachine(Machine):
    """A server and a worker that live and die together."""

    worker: TemporalWorker

    @property
    def in_memory(self) -> int:
        return self.worker.active

    def look_at_timers(self) -> None:
        """They are looked at all the time."""


def machine_on(url: str) -> Callable[..., Any]:
    """Args: url: Of Temporal, and a queue there."""

    @asynccontextmanager
    async def opened(
        place: str,
        *,
        clock: SteppingClock,
        http: FakeHttp,
        wrap: Callable[[Journal, Database], Journal],
        wrap_concurrency: Callable[[ConcurrencyLimits], ConcurrencyLimits],
        sandbox: Sandbox,
    ) -> AsyncIterator[Machine]:
        types = dict(built_in())
        machines = Cluster(
            TemporalAddress.read(url), place, http, types, sandbox,
            clock=clock, engine=UntimedEngine, wrap=wrap, wrap_concurrency=wrap_concurrency,
        )  # fmt: skip
        async with machines.life() as (side, worker):
            accounts = SqlAccounts(side.database)
            if not await accounts.any():
                await accounts.create(account(MARA), password_hash="x")
            timers = asyncio.create_task(_nudge_what_is_due(side, clock))
            try:
                yield DistributedMachine(
                    place,
                    side.database,
                    side.journal,
                    side.deps,
                    side.dispatcher,  # type: ignore[arg-type]
                    clock,
                    http,
                    machines.broadcast,
                    side.vault,
                    side.library,  # type: ignore[arg-type]
                    types,
                    side.executions,
                    side.signals,
                    side.reruns,
                    worker,
                )
            finally:
                timers.cancel()
                await asyncio.gather(timers, return_exceptions=True)

    return opened


async def _nudge_what_is_due(side: Side, clock: SteppingClock) -> None:
    """What Temporal's timers do where the clock is its own."""
    loop, nudged = asyncio.get_running_loop(), dict[ExecutionId, float]()
    while True:
        for id, workspace_id in await side.due.due(now=clock.now(), limit=100):
            if loop.time() - nudged.get(id, 0.0) > _AGAIN_SECONDS:
                nudged[id] = loop.time()
                await side.workflows.nudge(id, workspace_id)
        await asyncio.sleep(_LOOK_SECONDS)
