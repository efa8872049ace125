"""Hears of new events that another process has written."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from flowrunner.storage.postgres.connections import is_trouble, options
from flowrunner.storage.postgres.transaction import CHANNEL

# Says on the way what the process is called by now.
PING: Final = "SELECT set_config('application_name', $1, false)"
_PING_SECONDS: Final = 2.0

logger = structlog.get_logger()


async def listen(
    url: str, *, name: Callable[[], str], on_news: Callable[[str], None], on_gap: Callable[[], None]
) -> None:
    """Call ``on_news`` with the id of each execution that has new events, for ever.

    Args:
        name: What the session is called, as it is at any time.
        on_gap: Is called when some may have gone unheard.
    """

    def hear(connection: Any, pid: int, channel: str, payload: str) -> None:
        for id in payload.split(","):
            on_news(id)

    while True:
        connection = None
        try:
            connection = await asyncpg.connect(url, **options(statement_seconds=_PING_SECONDS, application_name=name()))
            await connection.add_listener(CHANNEL, hear)
            on_gap()
            while True:
                await asyncio.sleep(_PING_SECONDS)
                await connection.fetchval(PING, name())
        except Exception as error:
            if not is_trouble(error):
                raise
            logger.warning("listener.interrupted", error=repr(error))
        finally:
            if connection is not None:
                connection.terminate()
        await asyncio.sleep(_PING_SECONDS)
