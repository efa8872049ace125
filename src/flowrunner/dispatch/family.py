"""What executions do to each other: parents and their children, and those that share turns."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.ports import PARENT_HAS_ENDED, PARENT_HAS_GONE_ON, REPLACED, Engine, Journal, Signal, Unsettled

logger = structlog.get_logger()


class Family(ABC):
    """Fills `ports.Relatives` for a dispatcher, which says how executions are reached, wherever they are."""

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
    async def _let_in(self, id: ExecutionId, account_id: AccountId) -> None:
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

    def look_for_orphans(self, parent_id: ExecutionId) -> None:
        async def settle() -> None:
            await self._settle(await self._journal.unsettled(parent_id))

        self._keep_trying(settle, "execution.not_settled", parent_id)

    def waits_for_room(self, id: ExecutionId) -> bool:
        return False

    def replace(self, by: ExecutionId) -> None:
        self._keep_trying(lambda: self._replace(by), "execution.not_replaced", by)

    def turn_is_free(self, key: str) -> None:
        self._keep_trying(self._admission(key), "execution.not_admitted", key)

    async def _settle_all(self) -> None:
        """Tell executions what they may have missed of each other."""
        by_parent: defaultdict[ExecutionId, list[Unsettled]] = defaultdict(list)
        for pair in await self._journal.unsettled():
            by_parent[pair.parent].append(pair)
        queued = await self._journal.queued_keys()
        for parent, pairs in by_parent.items():
            try:
                await self._settle(pairs)
            except Exception as error:
                # The others do not wait for it.
                logger.warning("execution.not_settled", what=parent, reason=str(error))
                self.look_for_orphans(parent)
        for key in queued:
            self._keep_trying(partial(self._settle_turns, key), "execution.turns_not_settled", key)

    async def _settle(self, pairs: Sequence[Unsettled]) -> None:
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
            for child in await self._engine.left_behind(pairs[0].parent, under_way):
                self.cancel_soon(child, reason=PARENT_HAS_GONE_ON)

    async def _settle_turns(self, key: str) -> None:
        """Let in whoever can be, and let the last one take the place of the others if that is how its flow has it."""
        last = await self._journal.last_queued(key)
        if last is not None and await self._engine.replaces(last):
            await self._replace(last)
        self.turn_is_free(key)

    async def _replace(self, by: ExecutionId) -> None:
        for id in await self._journal.older_in_turn(by):
            self.cancel_soon(id, reason=REPLACED)

    def _admission(self, key: str) -> Callable[[], Awaitable[None]]:
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
                for admitted in await self._journal.having_turn(key):
                    self._let_in_soon(*admitted)

        return admit

    def _let_in_soon(self, id: ExecutionId, account_id: AccountId) -> None:
        # One that cannot be told now is told later, and the next one meanwhile.
        self._keep_trying(lambda: self._let_in(id, account_id), "execution.not_let_in", id)
