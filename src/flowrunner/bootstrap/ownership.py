"""Which processes may use an installation at a time."""

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
from flowrunner.security.keys import told_if_unwritable
from flowrunner.settings import LOCAL, InvalidSettings, Settings
from flowrunner.storage.location import Location

logger = structlog.get_logger()

_CHECK_SECONDS: Final = 60.0


def is_shared(settings: Settings) -> bool:
    """Whether several processes are active on one database.

    Raises:
        InvalidSettings: If they do not go together.
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
    """Try to be the active server on the database, or one of those that share the work, from now on.

    Raises:
        FlowRunnerError: If the database server will not do.
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


async def _keep_checking(location: Location, told: Sequence[str]) -> None:
    """Say so if the database server comes to be one that a start would warn of, or refuse: its settings may change.

    Args:
        told: The warnings of the start.
    """
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        try:
            found = await location.check()
        except Unavailable:
            # Whoever needs it says so.
            continue
        except FlowRunnerError as error:
            found = [str(error)]
        for warning in found:
            if warning not in told:
                logger.error("database.unsafe", warning=warning)
        told = found


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory, which one server may use at a time."""
    path = data_dir / "lock"
    make_private(path)
    with told_if_unwritable(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FlowRunnerError(
                f"Another FlowRunner server is using {data_dir}: stop it, or choose another --data-dir"
            ) from None
        yield
