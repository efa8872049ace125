"""Effects of executions on each other: parents and children, and executions that share a concurrency limit."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.children import ChildExecutions, UnreconciledChild
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.dispatch import PARENT_HAS_ENDED, PARENT_HAS_GONE_ON, REPLACED, Engine, Signal
from flowrunner.ports.journal import Fenced, NewExecution

logger = structlog.get_logger()


class LinkingDispatcher(ABC):
    """The base of dispatchers, which implements `ports.ExecutionLinks`; subclasses reach the executions."""

    def __init__(self, engine: Engine, concurrency: ConcurrencyLimits, children: ChildExecutions) -> None:
        self._engine = engine
        self._concurrency = concurrency
        self._children = children

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        try:
            await self._start(new, flow, input)
        except Fenced:
            if isinstance(new.cause, ChildOf):
                # The parent execution is fenced, too, and leaves memory.
                raise
            # The server is about to detect the loss of its ownership.
            raise Unavailable("Another server is active on this database: try again in a moment") from None

    @abstractmethod
    async def _start(self, new: NewExecution, flow: Flow, input: JSON) -> None: ...

    @abstractmethod
    async def _send(self, id: ExecutionId, signal: Signal) -> None:
        """Send a signal, if the execution has not ended."""
        ...

    @abstractmethod
    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        """Cancel the execution; handlers of its end that have begun continue."""
        ...

    @abstractmethod
    async def _resume_admitted(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Have an execution advance that has got its concurrency slot."""
        ...

    @abstractmethod
    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        """Repeat the work in the background until it succeeds or has become unnecessary.

        Args:
            failure: The log event of a failed attempt.
            what: The subject of the work in that event.
        """
        ...

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None:
        self._keep_trying(lambda: self._send(parent_id, signal), "notify.failed", parent_id)

    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        self._keep_trying(lambda: self._end(id, reason=reason), "cancel.failed", id)

    def reconcile_children(self, parent_id: ExecutionId) -> None:
        async def reconcile() -> None:
            await self._reconcile_children(await self._children.unreconciled(parent_id))

        self._keep_trying(reconcile, "children.reconcile_failed", parent_id)

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        return False

    def replace(self, by: ExecutionId) -> None:
        self._keep_trying(lambda: self._replace(by), "concurrency.replace_failed", by)

    def release_slot(self, key: str) -> None:
        self._keep_trying(self._admit_from_queue(key), "concurrency.admit_failed", key)

    async def _reconcile_all(self) -> None:
        """Repeat notifications between executions that may have been lost."""
        by_parent: defaultdict[ExecutionId, list[UnreconciledChild]] = defaultdict(list)
        for pair in await self._children.unreconciled():
            by_parent[pair.parent].append(pair)
        queued = await self._concurrency.queued_keys()
        for parent, pairs in by_parent.items():
            try:
                await self._reconcile_children(pairs)
            except Exception as error:
                # Continue with the other parents.
                logger.warning("children.reconcile_failed", what=parent, reason=str(error))
                self.reconcile_children(parent)
        for key in queued:
            self._keep_trying(partial(self._reconcile_queue, key), "concurrency.reconcile_failed", key)

    async def _reconcile_children(self, pairs: Sequence[UnreconciledChild]) -> None:
        """Repeat notifications between one execution and its children. Raises: NotFound."""
        unfinished: list[ExecutionId] = []
        for pair in pairs:
            if pair.parent_has_ended:
                self.cancel_soon(pair.child, reason=PARENT_HAS_ENDED)
            elif not pair.child_has_ended:
                unfinished.append(pair.child)
            elif (signal := await self._engine.end_of(pair.child)) is not None:
                self.child_ended(pair.parent, signal)
        if unfinished:
            for child in await self._engine.orphaned_children(pairs[0].parent, unfinished):
                self.cancel_soon(child, reason=PARENT_HAS_GONE_ON)

    async def _reconcile_queue(self, key: str) -> None:
        """Admit queued executions; if the newest one replaces older ones, cancel those first."""
        last = await self._concurrency.last_queued(key)
        if last is not None and await self._engine.replaces(last):
            await self._replace(last)
        self.release_slot(key)

    async def _replace(self, by: ExecutionId) -> None:
        for id in await self._concurrency.older_with_key(by):
            self.cancel_soon(id, reason=REPLACED)

    def _admit_from_queue(self, key: str) -> Callable[[], Awaitable[None]]:
        has_failed = False

        async def admit() -> None:
            nonlocal has_failed
            try:
                while (admitted := await self._concurrency.admit(key)) is not None:
                    self._resume_soon(*admitted)
            except Unavailable:
                has_failed = True
                raise
            if has_failed:
                # The failed call may have admitted one, without returning it.
                for admitted in await self._concurrency.holding_slot(key):
                    self._resume_soon(*admitted)

        return admit

    def _resume_soon(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        # In the background: a failure for one execution must not delay the next.
        self._keep_trying(lambda: self._resume_admitted(id, workspace_id), "admission.failed", id)
