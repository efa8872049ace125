"""How many executions of an account workers have in memory at once, all of them together."""

from dataclasses import replace
from datetime import datetime

from flowrunner.dispatch.temporal.courier import Courier
from flowrunner.domain.limits import Limits
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.ports import ActiveExecution, Clock, NewExecution, Rooms


class Door:
    """Lets executions in, in the order in which they have asked.

    One that finds no room waits as a row, and as a workflow that is nudged when there is some. Whoever makes room lets
    the next one in; what is left undone by that is done by whoever looks.
    """

    def __init__(self, rooms: Rooms, courier: Courier, clock: Clock, *, limits: Limits) -> None:
        self._rooms = rooms
        self._courier = courier
        self._clock = clock
        self._limits = limits

    def counted(self, new: NewExecution) -> NewExecution:
        """One that begins with room, or waits for it, or is refused because too many do."""
        return replace(new, limits=self._limits)

    async def keeps_waiting(self, id: ExecutionId) -> bool:
        """Whether an execution that has just begun is without room."""
        return self._limits.active is not None and await self._rooms.is_waiting(id)

    async def waiting(self) -> int:
        """How many executions of all accounts wait for room or for a worker that begins them."""
        return await self._rooms.waiting()

    async def enter(self, id: ExecutionId) -> bool:
        """Whether the execution may be in memory; otherwise it is nudged when it may."""
        return await self._rooms.enter(id, most=self._limits.active, at=self._clock.now())

    async def leave(self, run: ActiveExecution, id: ExecutionId) -> None:
        """It waits for something, and has left memory."""
        if self._limits.active is not None:
            await self._rooms.leave(id, run.mark)
            self.has_room_again(run.account_id)

    def has_room_again(self, account_id: AccountId) -> None:
        """Let in who waits, as one of the account has left or ended. Where there is room for all, nobody does."""
        if self._limits.active is not None:
            self._courier.keep_trying(lambda: self._let_in(account_id), "execution.not_let_in", account_id)

    async def look(self, *, late: datetime, limit: int) -> None:
        """Let in who waits while there is room, and tell again those that should have come by now."""
        for account_id in await self._rooms.accounts_waiting():
            await self._let_in(account_id)
        for id, account_id in await self._rooms.expected(since=late, limit=limit):
            await self._courier.nudge(id, account_id)

    async def look_for_lost(self, *, limit: int) -> None:
        """Have a worker look at those that should have left or come, in case that nobody knows of them any more."""
        for id, account_id in await self._rooms.resting(limit=limit):
            await self._courier.begin(id, account_id)
        for id, account_id in await self._rooms.untold(limit=limit):
            await self._courier.nudge(id, account_id)

    async def _let_in(self, account_id: AccountId) -> None:
        while (id := await self._rooms.let_in(account_id, most=self._limits.active)) is not None:
            await self._courier.nudge(id, account_id)
