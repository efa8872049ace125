"""The values to redact for one workspace: its secrets, and replaced values that may still appear."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Set
from datetime import datetime
from typing import Final, TypeAlias

from flowrunner.security.redaction import SecretRedactor

# Maximum of replaced values; the oldest are forgotten first. Together with 200 current secrets, this is the number
# of values that the search is tested with.
MOST_REPLACED: Final = 800
MOST_REPLACED_BYTES: Final = 1024 * 1024

OnChange: TypeAlias = Callable[[Collection[str]], Awaitable[None]]


class HiddenValues(SecretRedactor):
    """A redactor that follows the values of a workspace.

    Args:
        on_change: Called with all values before they are redacted.

    Attributes:
        is_complete: All stored values are redacted. The vault that reads them sets it.
    """

    def __init__(self, on_change: OnChange | None = None) -> None:
        super().__init__()
        self.is_complete = False
        self._on_change = on_change
        # The time since which each value is known to be no longer stored; None if it is stored, or will be soon.
        self._replaced_at: dict[str, datetime | None] = {}
        self._is_building = asyncio.Lock()

    @property
    def known(self) -> Set[str]:
        """Return the values that are redacted, and those that are about to be."""
        return self.values | self._replaced_at.keys()

    @property
    def has_replaced(self) -> bool:
        return any(at is not None for at in self._replaced_at.values())

    async def learn(self, values: Iterable[str]) -> None:
        """Add values. They are redacted when this returns."""
        wanted = dict.fromkeys(value for value in values if value)
        self._replaced_at |= wanted
        if not wanted.keys() <= self.values:
            await self._rebuild(wanted.keys())

    async def compare(self, stored: Collection[str], *, at: datetime) -> None:
        """Add the stored values, and mark all others as replaced."""
        present = set(stored)
        for value, replaced_at in self._replaced_at.items():
            if replaced_at is None and value not in present:
                self._replaced_at[value] = at
        self._drop_the_oldest()
        await self.learn(present)

    async def forget(self, *, before: datetime) -> None:
        """Stop redacting values that were replaced before this time."""
        self._drop({value for value, at in self._replaced_at.items() if at is not None and at < before})
        if self.values - self._replaced_at.keys():
            await self._rebuild(None)

    async def _rebuild(self, wanted: Set[str] | None) -> None:
        """Update the redactor on a thread.

        Args:
            wanted: If all of these are already redacted after waiting for the lock, nothing is done.
        """
        async with self._is_building:
            if wanted is not None and wanted <= self.values:
                return
            while True:
                prepared = await asyncio.to_thread(self.prepare, [*self._replaced_at, *(wanted or ())])
                if self._on_change is not None:
                    await self._on_change(prepared.needles.keys())
                # A dropped value may have been added again meanwhile, because its caller saw it as still redacted.
                if self.values & self._replaced_at.keys() <= prepared.needles.keys():
                    break
            self.use(prepared)

    def _drop_the_oldest(self) -> None:
        replaced = [(at, value) for value, at in self._replaced_at.items() if at is not None]
        # The sort is stable, so values with the same time stay in the order in which they were added.
        replaced.sort(key=lambda item: item[0])
        sizes = [len(value.encode("utf-8", "surrogatepass")) for _, value in replaced]
        count, size, dropped = len(replaced), sum(sizes), 0
        if count <= MOST_REPLACED and size <= MOST_REPLACED_BYTES:
            return
        # A quarter is dropped at once, because each drop rebuilds the whole search.
        while count > MOST_REPLACED * 3 // 4 or size > MOST_REPLACED_BYTES * 3 // 4:
            count, size, dropped = count - 1, size - sizes[dropped], dropped + 1
        self._drop({value for _, value in replaced[:dropped]})

    def _drop(self, values: Collection[str]) -> None:
        for value in values:
            del self._replaced_at[value]
