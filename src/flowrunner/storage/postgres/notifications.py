"""Notifications between processes about executions that have new events.

They are sent after the commit, because PostgreSQL serializes the commits of transactions that notify. If a process is
killed before it sends them, the processes that take over its executions notify again; a process that takes over all
executions reports a gap.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import asyncpg
import structlog

from flowrunner.retrying import retry, rising
from flowrunner.storage.postgres.connections import is_database_failure, options, text_for_log
from flowrunner.tasks import cancel_all

CHANNEL: Final = "flowrunner_events"
# This lock marks the session as one of a process that uses this schema of the database: see `storage.keys`.
REGISTER: Final = "SELECT pg_advisory_lock_shared(hashtext('flowrunner process'), hashtext(current_schema()))"
NOTIFY: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
# Also updates the name of the process.
PING: Final = "SELECT set_config('application_name', $1, false)"
# A payload must be shorter than 8,000 bytes.
_IDS_A_NOTIFICATION: Final = 100
# In place of an id: any execution may have new events.
_ANY: Final = "*"
_PING_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.02
_FLUSH_SECONDS: Final = 1.0
# Rising, so that an error that lasts does not fill the log.
_seconds_after_unexpected: Final = rising(2.0, 4.0, 8.0, 16.0, 30.0)

logger = structlog.get_logger()


class NotificationChannel:
    """The notifications that one process sends and receives.

    Args:
        connection: Lends a connection for sending.
    """

    def __init__(
        self, url: str, connection: "Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]"
    ) -> None:
        self._url = url
        self._connection = connection
        # A process receives its own notifications too, and ignores them by this id.
        self._sender = secrets.token_hex(4)
        self._pending: dict[str, None] = {}
        self._sending: asyncio.Task[None] | None = None

    def notify(self, execution_ids: Iterable[str]) -> None:
        """Notify other processes of the executions soon, and retry if that fails."""
        self._pending |= dict.fromkeys(execution_ids)
        if self._pending and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send_all(), name="notifications")

    def notify_gap(self) -> None:
        """Notify all processes, including this one, that notifications may have been missed."""
        self.notify([_ANY])

    async def close(self) -> None:
        """Send what is pending, if that does not take long."""
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=_FLUSH_SECONDS)
            await cancel_all(self._sending)

    async def _send_all(self) -> None:
        while self._pending:
            await _keep_trying(self._send_once, "notify.failed", seconds=_RETRY_SECONDS)
            # Notifications that arrive meanwhile are sent together.
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _send_once(self) -> None:
        ids, self._pending = self._pending, {}
        try:
            async with self._connection() as connection:
                await connection.execute(NOTIFY, CHANNEL, self._payloads(list(ids)))
        except BaseException:
            self._pending |= ids
            raise

    def _payloads(self, ids: list[str]) -> list[str]:
        starts = range(0, len(ids), _IDS_A_NOTIFICATION)
        return [",".join((self._sender, *ids[start : start + _IDS_A_NOTIFICATION])) for start in starts]

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        """Implement `storage.database.Database.listen`."""

        def receive(connection: Any, pid: int, channel: str, payload: str) -> None:
            sender, *ids = payload.split(",")
            if _ANY in ids:
                on_gap()
            elif sender != self._sender:
                for id in ids:
                    on_notification(id)

        async def listen_once() -> None:
            settings = options(statement_seconds=_PING_SECONDS, application_name=name())
            connection = await asyncpg.connect(self._url, **settings)
            try:
                await connection.fetchval(REGISTER)
                await connection.add_listener(CHANNEL, receive)
                on_gap()
                while True:
                    await asyncio.sleep(_PING_SECONDS)
                    await connection.fetchval(PING, name())
            finally:
                connection.terminate()

        await _keep_trying(listen_once, "notify.listening_failed", seconds=_PING_SECONDS)


async def _keep_trying(call: Callable[[], Awaitable[None]], event: str, *, seconds: float) -> None:
    """Repeat the call after any error until it succeeds: without it, this process would miss or send no notifications.

    Args:
        event: The log event of an error.
        seconds: The delay while the database is unavailable. After other errors in a row it rises.
    """
    unexpected = 0

    def failed(error: Exception, attempts: int) -> None:
        nonlocal unexpected
        if is_database_failure(error):
            unexpected = 0
            logger.warning(event, error=text_for_log(error))
        else:
            unexpected += 1
            logger.error(event, exc_info=error)

    def delay(attempts: int) -> float:
        return _seconds_after_unexpected(unexpected) if unexpected else seconds

    await retry(call, on=Exception, delay=delay, on_failure=failed)
