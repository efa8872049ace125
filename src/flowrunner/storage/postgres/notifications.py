"""Which executions have new events: said to other processes, and heard from them.

It is said after the commit, not in it: PostgreSQL commits transactions that notify one after the other. What a process
has not said when it is killed, whoever goes on with its executions says again, and whoever takes over all of them says
so.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import asyncpg
import structlog

from flowrunner.storage.postgres.connections import is_trouble, options

CHANNEL: Final = "flowrunner_events"
# By this the session is known for one of the processes that use this schema of the database: see `storage.keys`.
JOIN: Final = "SELECT pg_advisory_lock_shared(hashtext('flowrunner process'), hashtext(current_schema()))"
NOTIFY: Final = "SELECT pg_notify($1, told) FROM unnest($2::text[]) AS told"
# Says on the way what the process is called by now.
PING: Final = "SELECT set_config('application_name', $1, false)"
# PostgreSQL takes less than 8,000 bytes in one notification.
_IDS_A_NOTIFICATION: Final = 100
# In place of an id: there may be new events of any execution.
_ANY: Final = "*"
_PING_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.02
_LAST_WORDS_SECONDS: Final = 1.0

logger = structlog.get_logger()


class NotificationChannel:
    """What one process says and hears.

    Args:
        connection: Lends one to say it with.
    """

    def __init__(
        self, url: str, connection: "Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]"
    ) -> None:
        self._url = url
        self._connection = connection
        # What is said here is heard here, too.
        self._sender = secrets.token_hex(4)
        self._untold: dict[str, None] = {}
        self._telling: asyncio.Task[None] | None = None

    def notify(self, execution_ids: Iterable[str]) -> None:
        """Tell other processes of the executions soon, and again if that fails."""
        self._untold |= dict.fromkeys(execution_ids)
        if self._untold and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell_all(), name="news")

    def notify_gap(self) -> None:
        """Tell all processes, this one too, that some news may never have been told."""
        self.notify([_ANY])

    async def close(self) -> None:
        """Say what is still to be said, if that does not take long."""
        if self._telling is not None:
            await asyncio.wait((self._telling,), timeout=_LAST_WORDS_SECONDS)
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _tell_all(self) -> None:
        while self._untold:
            ids = list(self._untold)
            self._untold = {}
            try:
                async with self._connection() as connection:
                    await connection.execute(NOTIFY, CHANNEL, self._letters(ids))
            except Exception as error:
                if not is_trouble(error):
                    raise
                logger.warning("news.not_told", error=repr(error))
                self._untold |= dict.fromkeys(ids)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                # What comes in the meantime is told together.
                await asyncio.sleep(_PAUSE_SECONDS)

    def _letters(self, ids: list[str]) -> list[str]:
        starts = range(0, len(ids), _IDS_A_NOTIFICATION)
        return [",".join((self._sender, *ids[start : start + _IDS_A_NOTIFICATION])) for start in starts]

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        """Fills `storage.database.Database.listen`."""

        def mark_stale(connection: Any, pid: int, channel: str, payload: str) -> None:
            sender, *ids = payload.split(",")
            if _ANY in ids:
                on_gap()
            elif sender != self._sender:
                for id in ids:
                    on_notification(id)

        while True:
            connection = None
            try:
                settings = options(statement_seconds=_PING_SECONDS, application_name=name())
                connection = await asyncpg.connect(self._url, **settings)
                await connection.fetchval(JOIN)
                await connection.add_listener(CHANNEL, mark_stale)
                on_gap()
                while True:
                    await asyncio.sleep(_PING_SECONDS)
                    await connection.fetchval(PING, name())
            except Exception as error:
                if not is_trouble(error):
                    raise
                logger.warning("news.interrupted", error=repr(error))
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_PING_SECONDS)
