"""Updates from other processes that use the same database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.storage.keys import name_of

logger = structlog.get_logger()

# Maximum delay after which a process sees ended sessions and new secrets of other processes.
REFRESH_SECONDS: Final = 2.0


@contextlib.asynccontextmanager
async def watch_other_processes(program: Program) -> AsyncIterator[None]:
    """Notify subscribers of events that other processes record, and follow changed sessions, secrets and keys."""
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
        asyncio.create_task(_refresh(program), name="refresh"),
    )
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _refresh(program: Program) -> None:
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        program.services.identity.revalidate_sessions()
        program.vault.mark_stale()
        for part, refresh in (("sessions", program.live.revalidate_sessions), ("keys", program.rotator.follow)):
            try:
                await refresh()
            except Unavailable as error:
                logger.warning("refresh.unavailable", part=part, reason=str(error))
            except Exception:
                # The next round may succeed.
                logger.exception("refresh.failed", part=part)
