"""Exclusive and shared use of an installation by processes."""

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from flowrunner.bootstrap.background import Background, running
from flowrunner.bootstrap.location import make_private, stored_at
from flowrunner.clock import SystemClock
from flowrunner.dispatch.temporal.address import InvalidAddress, TemporalAddress
from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.ports.ownership import Ownership
from flowrunner.security.keys import explain_unwritable
from flowrunner.settings import LOCAL, InvalidSettings, Settings
from flowrunner.storage.location import Location

logger = structlog.get_logger()

LOCK_FILE: Final = "lock"
_CHECK_SECONDS: Final = 60.0


def is_shared(settings: Settings) -> bool:
    """Return True if several processes are active on one database.

    Raises:
        InvalidSettings: If the settings contradict each other.
    """
    if settings.dispatch == LOCAL:
        return False
    if settings.processes > 1:
        raise InvalidSettings("FLOWRUNNER_PROCESSES: with Temporal, start more workers instead of processes")
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
    check = _DatabaseCheck(location)
    for warning in await check.first():
        logger.warning("database.unsafe", warning=warning)
    job = Background(name="database.check", every=_CHECK_SECONDS, run=check.again)
    async with location.ownership(is_shared=is_shared(settings)) as ownership, running([job], clock=SystemClock()):
        yield ownership


class _DatabaseCheck:
    """The check of the database server's settings, at the start and later."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._known: Sequence[str] = ()

    async def first(self) -> Sequence[str]:
        """Return the warnings of the start. Raises: FlowRunnerError."""
        self._known = await self._location.check(to_serve=True)
        return self._known

    async def again(self) -> None:
        """Log settings that have changed to ones that a start would warn about or reject."""
        try:
            found = await self._location.check(to_serve=True)
        except Unavailable:
            # Callers that need the database report this themselves.
            return
        except FlowRunnerError as error:
            found = [str(error)]
        for warning in found:
            if warning not in self._known:
                logger.error("database.unsafe", warning=warning)
        self._known = found


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock the data directory. Only one server may use it at a time."""
    path = data_dir / LOCK_FILE
    make_private(path)
    with explain_unwritable(path):
        file = path.open("w")
    # The directory too: a lock that somebody deletes, taking it for an old one, keeps no other server away.
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    _held.update((file.fileno(), directory))
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A failed restoration deletes its lock, which another process may have opened before.
            is_current = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_current = False
        if not is_current:
            raise FlowRunnerError(
                f"Another FlowRunner server is using {data_dir}: stop it, or choose another --data-dir"
            )
        yield
    finally:
        # Before another file can have one of the numbers.
        _held.difference_update((file.fileno(), directory))
        file.close()
        os.close(directory)


# The files of the lock that this process holds.
_held: Final[set[int]] = set()


def _let_go() -> None:
    """Close the lock in a forked process, which would hold it after the end of the server: node types may fork."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
