"""Write operations that share a transaction, and the outcome of the last commit."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.storage.database import WriteOp
from flowrunner.storage.repeated_errors import RepeatedErrors, as_field

logger = structlog.get_logger()

MAX_BATCH: Final = 1000
# One transaction must take a fraction of the shortest `database_timeout`. A larger operation gets one of its own.
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
_SHARE_AFTER_A_FAILURE: Final = 8
# Executions named in one log event.
_MOST_NAMED: Final = 10
# Time for which a commit shows whether writing works: after a success, and after a failure.
_SUCCESS_SECONDS: Final = 5.0
_FAILURE_SECONDS: Final = 1.0


@dataclass(slots=True)
class Pending:
    """A submitted operation with its outcome and the future of its caller."""

    work: WriteOp
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    is_resolved: bool = False

    def resolve(self) -> None:
        """Set the outcome on the future of the caller."""
        self.is_resolved = True
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class BatchLimit:
    """Limit of operations that share a transaction: a failure reduces it to an eighth, each success doubles it."""

    def __init__(self) -> None:
        self._count, self._size = MAX_BATCH, MAX_BATCH_BYTES

    def take(self, waiting: deque[Pending]) -> list[Pending]:
        """Take the next batch of at least one operation, in the order of submission."""
        batch = [waiting.popleft()]
        if not waiting:
            return batch
        size = batch[0].work.size
        while waiting and len(batch) < self._count:
            size += waiting[0].work.size
            if size > self._size:
                break
            batch.append(waiting.popleft())
        return batch

    def lower(self, failed: Sequence[Pending]) -> None:
        """Limit the next batches to a fraction of the one that failed."""
        self._count = max(len(failed) // _SHARE_AFTER_A_FAILURE, 1)
        self._size = sum(pending.work.size for pending in failed) // _SHARE_AFTER_A_FAILURE

    def raise_again(self) -> None:
        self._count = min(self._count * 2, MAX_BATCH)
        self._size = min(max(self._size, 1) * 2, MAX_BATCH_BYTES)


def by_kind(batch: Sequence[Pending], kinds: Collection[type[WriteOp]]) -> dict[type[WriteOp], list[WriteOp]]:
    """Group the operations that are of the given kinds."""
    groups: dict[type[WriteOp], list[WriteOp]] = {}
    for pending in batch:
        kind = type(pending.work)
        if kind in kinds:
            groups.setdefault(kind, []).append(pending.work)
    return groups


def executions_of(batch: Sequence[Pending]) -> list[ExecutionId]:
    """Return the first executions that the operations change, for the log."""
    return sorted({id for pending in batch if (id := pending.work.execution_id) is not None})[:_MOST_NAMED]


class CommitFailures:
    """The log of failed commits."""

    def __init__(self) -> None:
        self._repeated = RepeatedErrors()

    def report(self, batch: Sequence[Pending], error: str, *, at: float, is_damage: bool, **hint: str) -> None:
        """Log that a commit has failed, unless the same error was logged a moment ago.

        Args:
            at: The time of `time.monotonic()`.
            is_damage: A part of the database cannot be read: the executions that need it are named each time.
        """
        repeats = 0 if is_damage else self._repeated.count(error, at=at)
        if repeats is None:
            return
        executions = executions_of(batch)
        logger.error(
            "storage.commit_failed", error=error, size=len(batch), executions=executions, **as_field(repeats), **hint
        )


class Writability:
    """Check whether writing works, by the outcomes of commits."""

    def __init__(self) -> None:
        # When the last commit ended, and whether it failed.
        self._last_commit = (time.monotonic(), False)
        # When the last one failed for a reason that most commits meet.
        self._refused_at = -math.inf
        self._trial: asyncio.Future[Any] | None = None

    def note(self, *, has_failed: bool, is_refused: bool = False) -> None:
        """Note the outcome of a commit.

        Args:
            is_refused: It failed because nothing, or nothing more, can be written, such as on a full disk. A success
                soon after shows little then: of a commit that changes nothing, or needs no more room.
        """
        now = time.monotonic()
        self._last_commit = (now, has_failed)
        if is_refused:
            self._refused_at = now

    async def check(self, try_one: Callable[[], Awaitable[Any]]) -> None:
        """Raise Unavailable if the last commit failed; if it is too long ago, commit once more to find out."""
        now, (ended_at, has_failed) = time.monotonic(), self._last_commit
        if now - self._refused_at < _FAILURE_SECONDS:
            raise Unavailable("A commit was refused a moment ago")
        if now - ended_at < (_FAILURE_SECONDS if has_failed else _SUCCESS_SECONDS):
            if has_failed:
                raise Unavailable("The last commit failed")
            return
        if self._trial is None or self._trial.done():
            self._trial = asyncio.ensure_future(self._try(try_one))
        # One trial for all callers at a time: cancelling one caller must not cancel it.
        await asyncio.shield(self._trial)

    async def _try(self, try_one: Callable[[], Awaitable[Any]]) -> None:
        try:
            await try_one()
        except Unavailable:
            # Its commit may have succeeded, without it.
            self.note(has_failed=True)
            raise
