"""Which processes may use an installation at a time."""

import contextlib
import fcntl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog

from flowrunner.bootstrap.location import make_private, stored_at
from flowrunner.dispatch.temporal.address import InvalidAddress, TemporalAddress
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.ports import Ownership
from flowrunner.security.keys import told_of_rights
from flowrunner.settings import LOCAL, InvalidSettings, Settings

logger = structlog.get_logger()


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
    for warning in await location.check():
        logger.warning("database.unsafe", warning=warning)
    async with location.ownership(is_shared=is_shared(settings)) as ownership:
        yield ownership


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory, which one server may use at a time."""
    path = data_dir / "lock"
    make_private(path)
    with told_of_rights(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FlowRunnerError(
                f"Another FlowRunner server is using {data_dir}: stop it, or choose another --data-dir"
            ) from None
        yield
