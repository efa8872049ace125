"""The values to hide for one account: those of its secrets, and replaced ones that may still show."""

import asyncio
from collections.abc import Collection, Iterable, Set
from datetime import datetime
from typing import Final

from flowrunner.security.redaction import SecretRedactor

# When replaced values are more than this, the oldest are forgotten. With the 200 values of present secrets they are as
# many as a search is tested with.
MOST_REPLACED: Final = 800
MOST_REPLACED_BYTES: Final = 1024 * 1024


class HiddenValues:
    """Keeps a redactor that hides the values."""

    def __init__(self) -> None:
        self.redactor = SecretRedactor()
        # Since when each value is known not to be stored; None for one that is, or is about to be.
        self._replaced_at: dict[str, datetime | None] = {}
        self._is_building = asyncio.Lock()

    @property
    def has_replaced(self) -> bool:
        return any(at is not None for at in self._replaced_at.values())

    async def learn(self, values: Iterable[str]) -> None:
        """Hide these values too; they are hidden when it returns."""
        wanted = dict.fromkeys(value for value in values if value)
        self._replaced_at |= wanted
        if not wanted.keys() <= self.redactor.values:
            await self._rebuild(wanted.keys())

    async def compare(self, stored: Collection[str], *, at: datetime) -> None:
        """Learn the values that are stored, and note that all others have been replaced or deleted."""
        present = set(stored)
        for value, replaced_at in self._replaced_at.items():
            if replaced_at is None and value not in present:
                self._replaced_at[value] = at
        self._drop_the_oldest()
        await self.learn(present)

    async def forget(self, *, before: datetime) -> None:
        """Stop hiding the values that were replaced before that."""
        self._drop({value for value, at in self._replaced_at.items() if at is not None and at < before})
        if self.redactor.values - self._replaced_at.keys():
            await self._rebuild(None)

    async def _rebuild(self, wanted: Set[str] | None) -> None:
        """Bring the redactor up to date, on a thread.

        Args:
            wanted: Nothing is left to do if all of these are hidden when its turn comes.
        """
        async with self._is_building:
            if wanted is not None and wanted <= self.redactor.values:
                return
            while True:
                prepared = await asyncio.to_thread(self.redactor.prepare, [*self._replaced_at, *(wanted or ())])
                # A value that was dropped may have come back meanwhile: its caller saw that it was hidden still.
                if self.redactor.values & self._replaced_at.keys() <= prepared.needles.keys():
                    break
            self.redactor.use(prepared)

    def _drop_the_oldest(self) -> None:
        replaced = [(at, value) for value, at in self._replaced_at.items() if at is not None]
        # The sort is stable: of those noticed at the same time, the last one learned comes last.
        replaced.sort(key=lambda item: item[0])
        sizes = [len(value.encode("utf-8", "surrogatepass")) for _, value in replaced]
        count, size, dropped = len(replaced), sum(sizes), 0
        if count <= MOST_REPLACED and size <= MOST_REPLACED_BYTES:
            return
        # A quarter at once, as what is dropped makes the whole search be built again.
        while count > MOST_REPLACED * 3 // 4 or size > MOST_REPLACED_BYTES * 3 // 4:
            count, size, dropped = count - 1, size - sizes[dropped], dropped + 1
        self._drop({value for _, value in replaced[:dropped]})

    def _drop(self, values: Collection[str]) -> None:
        for value in values:
            del self._replaced_at[value]
