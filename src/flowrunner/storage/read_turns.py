"""Turns of accounts at the connections that read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowrunner.domain.values import personal_workspace
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.read_turns import READS_FOR


class ReadTurns:
    """The reads for requests that are handed over at the same time, with accounts served in turn.

    Otherwise the many reads of one account would wait in front of those of all others.

    Args:
        most: Reads of all accounts together.
        most_of_an_account: Reads of one of them.
        seconds: The longest wait for a turn; None for no limit.
    """

    def __init__(self, *, most: int, most_of_an_account: int, seconds: float | None = None) -> None:
        self._slots = FairSlots(total=most, share=most_of_an_account, sure=0)
        self._seconds = seconds

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for a turn of the account that the read is for, if any. Raises: TimeoutError."""
        account_id = READS_FOR.get()
        if account_id is None:
            yield
            return
        key = personal_workspace(account_id)
        if not self._slots.take_at_once(key):
            async with asyncio.timeout(self._seconds):
                await self._slots.take(key)
        try:
            yield
        finally:
            self._slots.give_back(key)
