"""The client that starts workflows and sends messages: through the inbox in the database and a nudge in Temporal."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from flowrunner.dispatch.attempts import attempt_all, raise_first, until_done
from flowrunner.dispatch.temporal.lost_tasks import LostTasks
from flowrunner.dispatch.temporal.workflow import NUDGE, TASK_TIMEOUT, WORKFLOW
from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import Cancel, Signal
from flowrunner.ports.inbox import Inbox
from flowrunner.ports.journal import JournalReader, StoredExecution
from flowrunner.ports.secrets import Vault
from flowrunner.tasks import cancel_all

_RPC: Final = timedelta(seconds=10)
# No execution has this id.
_PROBE: Final = "flowrunner-probe"
# Longest delay of one execution by unfinished work for others.
_SETTLE_SECONDS: Final = 5.0
# During an outage of Temporal, work beyond this limit is attempted once and then left to the sweep.
_MAX_RETRYING: Final = 1000


class NewMessage(NamedTuple):
    """A message that is not stored yet. `WorkflowClient.message` has removed its secrets."""

    execution_id: ExecutionId
    workspace_id: WorkspaceId
    content: Signal | Cancel


class WorkflowClient:
    """The client of all workflows. Its background work ends with `settled`, or is repeated by the sweep."""

    def __init__(
        self, client: Client, queue: str, *, journal: JournalReader, inbox: Inbox, vault: Vault, clock: Clock
    ) -> None:
        self._client = client
        self._queue = queue
        self._journal = journal
        self._inbox = inbox
        self._vault = vault
        self._clock = clock
        self._pending: set[asyncio.Task[None]] = set()
        self._lost = LostTasks(client)

    async def is_reachable(self) -> bool:
        """Return whether Temporal answers, and knows its workflows: it looks for one that does not exist there."""
        try:
            await self._client.get_workflow_handle(_PROBE).describe(rpc_timeout=_RPC)
        except RPCError as error:
            # The namespace may be what is not found.
            details = error.grpc_status.details
            return error.status is RPCStatusCode.NOT_FOUND and not any(
                each.Is(NamespaceNotFoundFailure.DESCRIPTOR) for each in details
            )
        return True

    async def begin(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Start the workflow of an execution, if it is not running. Raises: Unavailable."""
        try:
            await self._start(id, workspace_id, WorkflowIDConflictPolicy.FAIL, None)
        except WorkflowAlreadyStartedError:
            return

    async def revive(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Start the workflow of an execution if none is running, or it waits for a dead worker. Raises: Unavailable."""
        if await self._lost.has_to_start(id, workspace_id):
            # A workflow has no data, so nothing is lost with the one that waits.
            await self._start(id, workspace_id, WorkflowIDConflictPolicy.TERMINATE_EXISTING, None)

    async def revive_suspects(self) -> None:
        """Check again the executions that may wait for a dead worker. Raises: Unavailable, after all were attempted."""

        async def check(id: ExecutionId, workspace_id: WorkspaceId) -> None:
            if await self._is_ended(id):
                self._lost.forget(id)
            else:
                await self.revive(id, workspace_id)

        raise_first(await attempt_all(partial(check, *pair) for pair in self._lost.suspects.items()))

    async def _is_ended(self, id: ExecutionId) -> bool:
        try:
            return (await self._journal.stored(id)).status.is_final
        except NotFound:
            return True

    async def nudge(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Wake the workflow of an execution, and start it if necessary. Raises: Unavailable."""
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
                # A workflow that was terminated in Temporal may be started again.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=conflict,
                start_signal=signal,
                task_timeout=TASK_TIMEOUT,
                rpc_timeout=_RPC,
                priority=Priority(fairness_key=workspace_id[:64]),
            )
        except RPCError as error:
            if signal is not None and error.status is RPCStatusCode.INVALID_ARGUMENT:
                # The number of signals to a workflow is limited. It is only reached while a worker has the execution
                # in memory and reads its inbox; a waiting workflow begins a new history long before.
                return
            raise Unavailable(f"Temporal does not answer: {error.status.name.lower()}") from None

    async def message(self, stored: StoredExecution, content: Signal | Cancel) -> NewMessage:
        """Return a message to an execution, without secrets. Raises: RedactionLimit, Unavailable."""
        if isinstance(content, Signal):
            redactor = await self._vault.redactor(stored.workspace_id)
            content = replace(content, payload=await redactor.redact_soon(content.payload))
        return NewMessage(stored.id, stored.workspace_id, content)

    async def send(self, message: NewMessage) -> int:
        """Store a message, nudge the execution, and return the message's number.

        Raises: NotFound; Unavailable, although the message may be stored.
        """
        id, workspace_id, content = message
        number = await self._inbox.send(id, content, at=self._clock.now())
        self.keep_trying(lambda: self.nudge(id, workspace_id), "temporal.nudge_failed", id)
        return number

    async def settled(self) -> None:
        """Wait until the background work is done, for a limited time."""
        if self._pending:
            await asyncio.wait(set(self._pending), timeout=_SETTLE_SECONDS)

    async def close(self) -> None:
        """Drop unfinished background work; the sweep repeats it."""
        await cancel_all(*self._pending)

    def keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        """Repeat the work in the background until it succeeds or has become unnecessary.

        While too much work is pending, each one is attempted only once.
        """
        self._spawn(until_done(work, failure, what, is_over=self._is_over))

    def _is_over(self, attempts: int) -> bool:
        return attempts > 0 and len(self._pending) > _MAX_RETRYING

    async def send_if_open(self, id: ExecutionId, content: Signal | Cancel) -> None:
        """Send a message if the execution has not ended. Raises: NotFound."""
        stored = await self._journal.stored(id)
        if not stored.status.is_final:
            await self.send(await self.message(stored, content))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
