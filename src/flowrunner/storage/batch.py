"""Pieces of work that share a transaction, and what its commit tells about writing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowrunner.domain.errors import Unavailable
from flowrunner.storage.database import Work

MAX_BATCH: Final = 1000
# What the last commit told about writing holds for so long: if it went well, and if it failed.
_TRUST_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Pending:
    """A piece of work, and who waits for it."""

    work: Work
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell the one who waits what became of it."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def by_kind(batch: Sequence[Pending], kinds: Collection[type[Work]]) -> dict[type[Work], list[Work]]:
    """The works of the given kinds."""
    groups: dict[type[Work], list[Work]] = {}
    for pending in batch:
        kind = type(pending.work)
        if kind in kinds:
            groups.setdefault(kind, []).append(pending.work)
    return groups


class Writability:
    """Whether writing works, as far as commits have shown."""

    def __init__(self) -> None:
        # When the last commit ended, and whether it failed.
        self._last_commit = (time.monotonic(), False)
        self._trial: asyncio.Future[Any] | None = None

    def note(self, *, has_failed: bool) -> None:
        self._last_commit = (time.monotonic(), has_failed)

    async def check(self, try_one: Callable[[], Awaitable[Any]]) -> None:
        """Raises: Unavailable: By the last commit, or by one more if that says too little."""
        ended_at, has_failed = self._last_commit
        if time.monotonic() - ended_at < (_RETRY_SECONDS if has_failed else _TRUST_SECONDS):
            if has_failed:
                raise Unavailable("The last commit failed")
            return
        if self._trial is None or self._trial.done():
            self._trial = asyncio.ensure_future(try_one())
        # One trial for all who ask meanwhile: it must outlive the one who is tired of waiting.
        await asyncio.shield(self._trial)
