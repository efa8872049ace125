"""What a process hears of the others that use the same database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.storage.keys import name_of

logger = structlog.get_logger()

# How old what a process knows of others' acts may be: ended sessions, new secrets.
NEWS_SECONDS: Final = 2.0


@contextlib.asynccontextmanager
async def hearing(program: Program) -> AsyncIterator[None]:
    """Subscribers are told of what other processes record, and what those end or change is seen here, too."""
    broadcast = program.broadcast
    tasks = (
        asyncio.create_task(
            program.database.listen(
                name=lambda: name_of(program.rotator.holder),
                on_notification=broadcast.mark_stale,
                on_gap=broadcast.mark_all_stale,
            ),
            name="listener",
        ),
        asyncio.create_task(_look_again(program), name="news"),
    )
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _look_again(program: Program) -> None:
    while True:
        await asyncio.sleep(NEWS_SECONDS)
        program.services.identity.revalidate_sessions()
        program.vault.revalidate_sessions()
        for what, look in (("sessions", program.live.revalidate_sessions), ("keys", program.rotator.follow)):
            try:
                await look()
            except Unavailable as error:
                logger.warning("news.not_looked_at", what=what, reason=str(error))
            except Exception:
                # Whatever it is, the next look may well find out more.
                logger.exception("news.look_failed", what=what)
