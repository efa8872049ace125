"""Exclusive and shared use of an installation by processes."""

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from flowrunner.bootstrap.location import make_private, stored_at
from flowrunner.dispatch.temporal.address import InvalidAddress, TemporalAddress
from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.ports import Ownership
from flowrunner.security.keys import explain_unwritable
from flowrunner.settings import LOCAL, InvalidSettings, Settings
from flowrunner.storage.location import Location

logger = structlog.get_logger()

_CHECK_SECONDS: Final = 60.0


def is_shared(settings: Settings) -> bool:
    """Return True if several processes are active on one database.

    Raises:
        InvalidSettings: If the settings contradict each other.
    """
    if settings.dispatch == LOCAL:
        return False
    if settings.database_url is None:
        raise InvalidSettings("Temporal's workers share a PostgreSQL database: set FLOWRUNNER_DATABASE_URL")
    try:
        TemporalAddress.read(settings.dispatch)
    except InvalidAddress as error:
        raise InvalidSettings(f"FLOWRUNNER_DISPATCH: {error}") from None
    return True


@contextlib.asynccontextmanager
async def owning(settings: Settings) -> AsyncIterator[Ownership]:
    """Try to become the active server of the database, or one of several that share the work.

    Raises:
        FlowRunnerError: If the database server does not meet the requirements.
    """
    location = stored_at(settings)
    warnings = await location.check()
    for warning in warnings:
        logger.warning("database.unsafe", warning=warning)
    async with location.ownership(is_shared=is_shared(settings)) as ownership:
        checking = asyncio.create_task(_keep_checking(location, warnings), name="database-check")
        try:
            yield ownership
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)


async def _keep_checking(location: Location, known: Sequence[str]) -> None:
    """Log settings of the database server that have changed to ones that a start would warn about or reject.

    Args:
        known: The warnings that are already logged.
    """
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        try:
            found = await location.check()
        except Unavailable:
            # Callers that need the database report this themselves.
            continue
        except FlowRunnerError as error:
            found = [str(error)]
        for warning in found:
            if warning not in known:
                logger.error("database.unsafe", warning=warning)
        known = found


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock the data directory. Only one server may use it at a time."""
    path = data_dir / "lock"
    make_private(path)
    with explain_unwritable(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FlowRunnerError(
                f"Another FlowRunner server is using {data_dir}: stop it, or choose another --data-dir"
            ) from None
        yield
