"""Which of several servers is the active one on a PostgreSQL database.

It is the one whose session holds a lock. A session ends with its process, and the database ends one that it has
heard nothing of for a while; so the lock of a process that died or hangs is free soon. The lock says who may
claim the journal, and no more: what a process writes counts by the epoch of its claim.

Processes that are active together share the lock, so that none of them is beside a server that is active alone.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg
import structlog

from flowrunner.storage.postgres.connections import as_refusal, close, is_trouble, options

# What is installed twice in one database is in two schemas.
TRY: Final = "SELECT pg_try_advisory_lock(hashtext('flowrunner'), hashtext(current_schema()))"
TRY_TO_SHARE: Final = "SELECT pg_try_advisory_lock_shared(hashtext('flowrunner'), hashtext(current_schema()))"
# A lock of one's own that the database has not missed yet is exclusive: those that share one are others.
IS_SHARED: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks
                WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 2
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND classid::bigint = hashtext('flowrunner')::bigint & 4294967295
                  AND objid::bigint = hashtext(current_schema())::bigint & 4294967295)
"""
HAS_EPOCH: Final = "SELECT to_regclass('engine') IS NOT NULL"
EPOCH: Final = "SELECT epoch FROM engine"
# The lock of a process that hangs is free after so long: a standby has to be active within five seconds.
SILENCE_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 2.0

logger = structlog.get_logger()


class Ownership:
    """Fills `ports.Ownership`: the lock, or the wish to have it.

    Args:
        is_shared: Others like this one may have it too.

    Attributes:
        is_held: This process may claim the database.
        epoch: The epoch of the last claim, by whoever made it, as it was seen last; None if there is none yet.
        is_lost: Processes that share the work have the lock that this one would have alone.
    """

    def __init__(self, url: str, *, is_shared: bool = False) -> None:
        self._url = url
        self._is_shared = is_shared
        self._connection: Any = None
        self._changed = asyncio.Condition()
        self.is_held = False
        self.epoch: int | None = None
        self.is_lost = False

    async def until(self, condition: Callable[[], bool]) -> None:
        """Done when the condition holds; it is looked at whenever something about the ownership was seen."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def look(self) -> None:
        """Take the lock if it is free, and see what has become of the database.

        Raises:
            Exception: What the driver raises, if the database cannot be reached; the lock is lost then.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self.is_held = False
                    self._connection = await asyncpg.connect(
                        self._url,
                        **options(
                            statement_seconds=_ANSWER_SECONDS,
                            application_name="flowrunner ownership",
                            idle_session_timeout=f"{SILENCE_SECONDS * 1000:.0f}",
                        ),
                    )
                if not self.is_held:
                    self.is_held = await self._connection.fetchval(TRY_TO_SHARE if self._is_shared else TRY)
                    # Those that share claim nothing, so that the epoch does not tell.
                    is_taken = not (self.is_held or self._is_shared)
                    self.is_lost = is_taken and await self._connection.fetchval(IS_SHARED)
                if await self._connection.fetchval(HAS_EPOCH):
                    self.epoch = await self._connection.fetchval(EPOCH)
        except BaseException:
            self.is_held = False
            self._drop()
            raise
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def keep(self) -> None:
        """Look again and again, for ever."""
        could_look = True
        while True:
            try:
                await self.look()
                could_look = True
            except Exception as error:
                # Whatever the server says, nobody else looks: without this, none would ever take over.
                if not is_trouble(error) and not isinstance(error, asyncpg.PostgresError):
                    raise
                if could_look:
                    logger.warning("ownership.lost_sight", error=repr(error))
                could_look = False
            await asyncio.sleep(_LOOK_SECONDS)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Let go of the lock."""
        connection, self._connection = self._connection, None
        self.is_held = False
        if connection is not None:
            await close(connection)


@contextlib.asynccontextmanager
async def ownership_of(url: str, *, is_shared: bool = False) -> AsyncIterator[Ownership]:
    """The ownership of a database, watched from now on. Whether it is held is known at once.

    Args: as `Ownership` has them.

    Raises:
        CannotConnect, UnfitServer.
    """
    ownership = Ownership(url, is_shared=is_shared)
    try:
        try:
            await ownership.look()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise as_refusal(error) from None
        keeping = asyncio.create_task(ownership.keep(), name="ownership")
        try:
            yield ownership
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await ownership.close()
