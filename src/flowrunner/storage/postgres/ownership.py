"""Ownership of a PostgreSQL database, which makes one of several servers the active one.

The owner is the server whose session holds an advisory lock. A session ends with its process, and the database ends a
session that was silent for a few seconds; so the lock of a process that died or hangs is released soon. The lock only
permits a server to claim the journal: the epoch of the claim decides whether a write is accepted.

On an overloaded machine a process can be silent for so long although it works, and its heir as well: they would take
over from each other without end, and load the same executions each time. So a process that loses the lock soon after
it was given it may be silent for twice as long the next time.

Processes that are active together share the lock, so that none of them runs beside a server that is active alone.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg
import structlog

from flowrunner.storage.postgres.connections import (
    DRIVER_ERRORS,
    as_refusal,
    close,
    is_database_failure,
    options,
    text_for_log,
)
from flowrunner.tasks import alongside

# Several installations in one database are in different schemas.
TRY: Final = "SELECT pg_try_advisory_lock(hashtext('flowrunner'), hashtext(current_schema()))"
TRY_TO_SHARE: Final = "SELECT pg_try_advisory_lock_shared(hashtext('flowrunner'), hashtext(current_schema()))"
# A lost session of this process, which the database has not ended yet, would hold an exclusive lock; so a shared lock
# belongs to other processes.
IS_SHARED: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks
                WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 2
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND classid::bigint = hashtext('flowrunner')::bigint & 4294967295
                  AND objid::bigint = hashtext(current_schema())::bigint & 4294967295)
"""
HAS_EPOCH: Final = "SELECT to_regclass('engine') IS NOT NULL"
EPOCH: Final = "SELECT epoch FROM engine"
SET_SILENCE: Final = "SELECT set_config('idle_session_timeout', $1, false)"
# The lock of a process that hangs is released after this time: a standby must be active within five seconds.
SILENCE_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.5
# It is shorter than the silence: the lock is given up here before another process has it.
_ANSWER_SECONDS: Final = 2.0
# A lock that is kept for so long was not lost soon.
_STEADY_SECONDS: Final = 600.0
# How many times as long a process may be silent at most.
_MOST_PATIENCE: Final = 8
# A restart of the database takes less.
_SILENT_SECONDS: Final = 10.0

logger = structlog.get_logger()


class PostgresOwnership:
    """The lock of the database, held or requested. Implements `ports.Ownership`.

    Args:
        is_shared: Other processes that share the work may hold it too.

    Attributes:
        is_held: True while this process may claim the database.
        epoch: The epoch of the last claim by any process, as last read; None before the first.
        is_lost: True if this process requests the lock exclusively and processes that share the work hold it.
        is_silent: True if the database has not answered for longer than another process needs to take over.
    """

    def __init__(self, url: str, *, is_shared: bool = False) -> None:
        self._url = url
        self._is_shared = is_shared
        self._connection: Any = None
        self._changed = asyncio.Condition()
        self.is_held = False
        self.epoch: int | None = None
        self.is_lost = False
        self._answered_at = time.monotonic()
        self._taken_at = 0.0
        self._patience = 1

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self._answered_at > _SILENT_SECONDS

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is evaluated after every check of the lock."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def look(self) -> None:
        """Take the lock if it is free, and read the epoch.

        Raises:
            Exception: An error of the driver, if the database cannot be reached. The lock is lost then.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS * self._patience):
                if self._connection is None or self._connection.is_closed():
                    self._note_loss()
                    self._connection = await asyncpg.connect(
                        self._url,
                        **options(
                            statement_seconds=_ANSWER_SECONDS * self._patience,
                            application_name="flowrunner ownership",
                            idle_session_timeout=f"{SILENCE_SECONDS * self._patience * 1000:.0f}",
                        ),
                    )
                if not self.is_held:
                    self.is_held = await self._connection.fetchval(TRY_TO_SHARE if self._is_shared else TRY)
                    self._taken_at = time.monotonic()
                    # Processes that share the work do not change the epoch, so only the lock shows them.
                    is_taken = not (self.is_held or self._is_shared)
                    self.is_lost = is_taken and await self._connection.fetchval(IS_SHARED)
                if await self._connection.fetchval(HAS_EPOCH):
                    self.epoch = await self._connection.fetchval(EPOCH)
                if self._patience > 1 and self.is_held and time.monotonic() - self._taken_at > _STEADY_SECONDS:
                    await self._connection.execute(SET_SILENCE, f"{SILENCE_SECONDS * 1000:.0f}")
                    self._patience = 1
            self._answered_at = time.monotonic()
        except BaseException:
            self._note_loss()
            self._drop()
            raise
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def keep(self) -> None:
        """Check the lock repeatedly, until cancelled. After a failed check it is lost, and requested again."""
        could_look = True
        while True:
            try:
                await self.look()
                could_look = True
            except Exception as error:
                # Continue after any error: without this task, this process would never take over again.
                if could_look and is_database_failure(error):
                    logger.warning("ownership.check_failed", error=text_for_log(error))
                elif could_look:
                    logger.error("ownership.check_failed", exc_info=error)
                could_look = False
            await asyncio.sleep(_LOOK_SECONDS)

    def _note_loss(self) -> None:
        if self.is_held and time.monotonic() - self._taken_at < _STEADY_SECONDS:
            self._patience = min(self._patience * 2, _MOST_PATIENCE)
        self.is_held = False

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Release the lock."""
        connection, self._connection = self._connection, None
        self.is_held = False
        if connection is not None:
            await close(connection)


@contextlib.asynccontextmanager
async def ownership_of(url: str, *, is_shared: bool = False) -> AsyncIterator[PostgresOwnership]:
    """Request the ownership of a database, and check it until the context ends. `is_held` is valid at once.

    Args: Those of `PostgresOwnership`.

    Raises:
        CannotConnect, UnfitServer: If the first check fails.
    """
    ownership = PostgresOwnership(url, is_shared=is_shared)
    try:
        try:
            await ownership.look()
        except DRIVER_ERRORS as error:
            raise as_refusal(error) from None
        async with alongside(ownership.keep(), name="ownership"):
            yield ownership
    finally:
        await ownership.close()
