"""What executions do to each other: parents and their children, and those that share turns."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports import PARENT_HAS_ENDED, PARENT_HAS_GONE_ON, REPLACED, Engine, Journal, Signal, UnreconciledChild

logger = structlog.get_logger()


class ChildExecutions(ABC):
    """Fills `ports.ExecutionLinks` for a dispatcher, which says how executions are reached, wherever they are."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal

    @abstractmethod
    async def _tell(self, id: ExecutionId, signal: Signal) -> None: ...

    @abstractmethod
    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        """Cancel it; handlers of its end that have begun go on."""
        ...

    @abstractmethod
    async def _let_in(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        """Have it advanced: it has its turn now."""
        ...

    @abstractmethod
    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        """Begin to do the work, again and again until it is done, or there is nothing to be done.

        Args:
            failure: What the log calls it when it fails.
        """
        ...

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None:
        self._keep_trying(lambda: self._tell(parent_id, signal), "execution.parent_not_told", parent_id)

    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        self._keep_trying(lambda: self._end(id, reason=reason), "execution.not_cancelled", id)

    def reconcile_children(self, parent_id: ExecutionId) -> None:
        async def settle() -> None:
            await self._reconcile_children(await self._journal.unreconciled_children(parent_id))

        self._keep_trying(settle, "execution.not_settled", parent_id)

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        return False

    def replace(self, by: ExecutionId) -> None:
        self._keep_trying(lambda: self._replace(by), "execution.not_replaced", by)

    def release_slot(self, key: str) -> None:
        self._keep_trying(self._admit_from_queue(key), "execution.not_admitted", key)

    async def _reconcile_all(self) -> None:
        """Tell executions what they may have missed of each other."""
        by_parent: defaultdict[ExecutionId, list[UnreconciledChild]] = defaultdict(list)
        for pair in await self._journal.unreconciled_children():
            by_parent[pair.parent].append(pair)
        queued = await self._journal.queued_keys()
        for parent, pairs in by_parent.items():
            try:
                await self._reconcile_children(pairs)
            except Exception as error:
                # The others do not wait for it.
                logger.warning("execution.not_settled", what=parent, reason=str(error))
                self.reconcile_children(parent)
        for key in queued:
            self._keep_trying(partial(self._reconcile_queue, key), "execution.turns_not_settled", key)

    async def _reconcile_children(self, pairs: Sequence[UnreconciledChild]) -> None:
        """Tell one execution of the ends of its children, and its children of its own. Raises: NotFound."""
        under_way: list[ExecutionId] = []
        for pair in pairs:
            if pair.parent_has_ended:
                self.cancel_soon(pair.child, reason=PARENT_HAS_ENDED)
            elif not pair.child_has_ended:
                under_way.append(pair.child)
            elif (signal := await self._engine.end_of(pair.child)) is not None:
                self.child_ended(pair.parent, signal)
        if under_way:
            for child in await self._engine.orphaned_children(pairs[0].parent, under_way):
                self.cancel_soon(child, reason=PARENT_HAS_GONE_ON)

    async def _reconcile_queue(self, key: str) -> None:
        """Let in whoever can be, and let the last one take the place of the others if that is how its flow has it."""
        last = await self._journal.last_queued(key)
        if last is not None and await self._engine.replaces(last):
            await self._replace(last)
        self.release_slot(key)

    async def _replace(self, by: ExecutionId) -> None:
        for id in await self._journal.older_with_key(by):
            self.cancel_soon(id, reason=REPLACED)

    def _admit_from_queue(self, key: str) -> Callable[[], Awaitable[None]]:
        has_failed = False

        async def admit() -> None:
            nonlocal has_failed
            try:
                while (admitted := await self._journal.admit(key)) is not None:
                    self._let_in_soon(*admitted)
            except Unavailable:
                has_failed = True
                raise
            if has_failed:
                # One may have been admitted all the same, and nobody was told which.
                for admitted in await self._journal.holding_slot(key):
                    self._let_in_soon(*admitted)

        return admit

    def _let_in_soon(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        # One that cannot be told now is told later, and the next one meanwhile.
        self._keep_trying(lambda: self._let_in(id, workspace_id), "execution.not_let_in", id)
