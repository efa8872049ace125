"""Brings executions what they are told, wherever they are: a letter in the database, and a nudge by Temporal."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from flowrunner.dispatch.attempts import until_done
from flowrunner.dispatch.temporal.workflow import NUDGE, TASK_TIMEOUT, WORKFLOW
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports import Cancel, Clock, Inbox, Journal, Signal, StoredExecution, Vault

_RPC: Final = timedelta(seconds=10)
# What cannot be done for one execution holds up the others no longer than that.
_SETTLE_SECONDS: Final = 5.0
# While Temporal is away, ever more cannot be done; what is beyond is tried once and left to whoever looks for it.
_MOST_UNDER_WAY: Final = 1000


class WorkflowClient:
    """What it sets going is done with `settled`, or found again by whoever looks for it."""

    def __init__(
        self, client: Client, queue: str, *, journal: Journal, inbox: Inbox, vault: Vault, clock: Clock
    ) -> None:
        self._client = client
        self._queue = queue
        self._journal = journal
        self._inbox = inbox
        self._vault = vault
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()

    async def begin(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Have the execution advanced; nothing happens if it is being advanced. Raises: Unavailable."""
        try:
            await self._start(id, workspace_id, WorkflowIDConflictPolicy.FAIL, None)
        except WorkflowAlreadyStartedError:
            return

    async def nudge(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Have the execution look for what has come for it. Raises: Unavailable."""
        await self._start(id, workspace_id, WorkflowIDConflictPolicy.USE_EXISTING, NUDGE)

    async def _start(
        self, id: ExecutionId, workspace_id: WorkspaceId, conflict: WorkflowIDConflictPolicy, signal: str | None
    ) -> None:
        try:
            await self._client.start_workflow(
                WORKFLOW,
                id,
                id=id,
                task_queue=self._queue,
                # One that somebody has ended in Temporal is no end of the execution.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=conflict,
                start_signal=signal,
                task_timeout=TASK_TIMEOUT,
                rpc_timeout=_RPC,
                priority=Priority(fairness_key=workspace_id[:64]),
            )
        except RPCError as error:
            if signal is not None and error.status is RPCStatusCode.INVALID_ARGUMENT:
                # A workflow takes so many signals and no more. It gets there while a worker has the execution in
                # memory, which reads its letters; one that waits begins a new history long before.
                return
            raise Unavailable(f"Temporal does not answer: {error.status.name.lower()}") from None

    async def send(self, stored: StoredExecution, content: Signal | Cancel) -> int:
        """Write a letter and nudge the execution; gives the number of the letter, which is durable on return.

        Raises: RedactionLimit.
        """
        if isinstance(content, Signal):
            redactor = await self._vault.redactor(stored.workspace_id)
            content = replace(content, payload=await redactor.redact_soon(content.payload))
        number = await self._inbox.send(stored.id, content, at=self._clock.now())
        self.keep_trying(lambda: self.nudge(stored.id, stored.workspace_id), "temporal.not_nudged", stored.id)
        return number

    async def settled(self) -> None:
        """Done when all that was set going until now is done, or does not get done for a while."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=_SETTLE_SECONDS)

    async def close(self) -> None:
        """Leave what is not done to whoever looks for it."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        """Begin to do the work, again and again until it is done, or there is nothing to be done.

        Where very much is left undone already, it is tried once.
        """
        self._spawn(until_done(work, failure, what, is_over=self._is_over))

    def _is_over(self, tries: int) -> bool:
        return tries > 0 and len(self._under_way) > _MOST_UNDER_WAY

    async def send_if_open(self, id: ExecutionId, content: Signal | Cancel) -> None:
        """Post a letter if the execution has not ended. Raises: NotFound."""
        stored = await self._journal.stored(id)
        if not stored.status.is_final:
            await self.send(stored, content)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
