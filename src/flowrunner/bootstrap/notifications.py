"""Updates from other processes that use the same database."""

import contextlib
from collections.abc import AsyncIterator

from flowrunner.bootstrap.housekeeping import following_jobs, run_jobs
from flowrunner.bootstrap.program import Program
from flowrunner.storage.keys import name_of
from flowrunner.tasks import alongside


@contextlib.asynccontextmanager
async def watch_other_processes(program: Program) -> AsyncIterator[None]:
    """Notify subscribers of events that other processes record, and follow changed sessions, secrets and keys."""
    broadcast = program.engine.broadcast
    listen = program.database.listen(
        name=lambda: name_of(program.rotator.holder),
        on_notification=broadcast.mark_stale,
        on_gap=broadcast.mark_all_stale,
    )
    async with alongside(listen, name="listener"), run_jobs(following_jobs(program), program):
        yield
