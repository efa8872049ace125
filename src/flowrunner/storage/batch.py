"""Pieces of work that share a transaction, and what its commit tells about writing."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.storage.database import WriteOp

MAX_BATCH: Final = 1000
# So that one transaction takes a fraction of the shortest `database_timeout`; what is larger by itself goes alone.
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
_SHARE_AFTER_A_FAILURE: Final = 8
# Executions that one line of the log names.
_MOST_NAMED: Final = 10
# What the last commit told about writing holds for so long: if it went well, and if it failed.
_TRUST_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Pending:
    """A piece of work, and who waits for it."""

    work: WriteOp
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    is_settled: bool = False

    def settle(self) -> None:
        """Tell the one who waits what became of it."""
        self.is_settled = True
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class BatchLimit:
    """How much work shares a transaction: much less after a failure, and twice as much after each success."""

    def __init__(self) -> None:
        self._count, self._size = MAX_BATCH, MAX_BATCH_BYTES

    def take(self, waiting: deque[Pending]) -> list[Pending]:
        """Take the next batch, in the order of submission: at least one piece of work."""
        batch = [waiting.popleft()]
        size = batch[0].work.size
        while waiting and len(batch) < self._count:
            size += waiting[0].work.size
            if size > self._size:
                break
            batch.append(waiting.popleft())
        return batch

    def lower(self, failed: Sequence[Pending]) -> None:
        """Make the next batches much smaller than the one that failed."""
        self._count = max(len(failed) // _SHARE_AFTER_A_FAILURE, 1)
        self._size = sum(pending.work.size for pending in failed) // _SHARE_AFTER_A_FAILURE

    def raise_again(self) -> None:
        self._count = min(self._count * 2, MAX_BATCH)
        self._size = min(max(self._size, 1) * 2, MAX_BATCH_BYTES)


def by_kind(batch: Sequence[Pending], kinds: Collection[type[WriteOp]]) -> dict[type[WriteOp], list[WriteOp]]:
    """The works of the given kinds."""
    groups: dict[type[WriteOp], list[WriteOp]] = {}
    for pending in batch:
        kind = type(pending.work)
        if kind in kinds:
            groups.setdefault(kind, []).append(pending.work)
    return groups


def executions_of(batch: Sequence[Pending]) -> list[ExecutionId]:
    """Return the executions that the work is about, for the log: the first few."""
    return sorted({id for pending in batch if (id := pending.work.execution_id) is not None})[:_MOST_NAMED]


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
