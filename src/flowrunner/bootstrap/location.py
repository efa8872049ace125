"""The location of an installation's data, from its settings."""

import os
from pathlib import Path
from typing import Final

from flowrunner.dispatch.temporal.address import DEFAULT_PORT, TemporalAddress
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.security.keys import UnsafeDataDir, explain_unwritable, make_file
from flowrunner.settings import LOCAL, Settings
from flowrunner.storage.location import Location, location_of
from flowrunner.storage.postgres.servers import servers_at, socket_port

DATABASE_FILE: Final = "flowrunner.db"
# The data of a restoration until it is complete.
RESTORATION_FILE: Final = "restore.new"


def stored_at(settings: Settings) -> Location:
    """Return the location of the database."""
    return location_of(
        settings.database_url,
        file=settings.data_dir / DATABASE_FILE,
        readers=settings.database_readers,
        statement_seconds=settings.database_timeout,
    )


async def has_usable_schema(settings: Settings) -> bool:
    """Return True if this version can use the database without a migration. Raises: FlowRunnerError."""
    return (await stored_at(settings).schema()).is_usable


async def existing(settings: Settings) -> Location:
    """Return the location of a database that exists. Raises: FlowRunnerError."""
    location = stored_at(settings)
    if not await location.has_data():
        raise FlowRunnerError(
            f"There is no database in {settings.data_dir}: name its directory with --data-dir, "
            "or the database with FLOWRUNNER_DATABASE_URL"
        )
    return location


def own_servers(settings: Settings) -> frozenset[tuple[str, int]]:
    """Return host and port of each server in the settings. Raises: FlowRunnerError if the database has none."""
    found: set[tuple[str, int]] = set()
    if settings.database_url is not None:
        for host, port in servers_at(settings.database_url, os.environ):
            # A server with a socket mostly listens on the port of the same number, too.
            found.add(("127.0.0.1", socket_port(host, port)) if host.startswith("/") else (host, port))
    if settings.dispatch != LOCAL:
        found.add(_host_and_port(TemporalAddress.read(settings.dispatch).target, DEFAULT_PORT))
    return frozenset(found)


def _host_and_port(text: str, otherwise: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    number = natural_number_of(port)
    return host.strip("[]"), otherwise if number is None else number


def make_private(path: Path) -> None:
    """Create the file if it is new, and remove other users' access to it and its log. Raises: UnsafeDataDir."""
    with explain_unwritable(path):
        make_file(path)
        if not path.exists():
            # A link to a file that is not there yet.
            path.touch(mode=0o600)
    # A restored backup has the default mode of a copy.
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if file.exists() and file.stat().st_mode & 0o077:
            try:
                file.chmod(0o600)
            except OSError as error:
                raise UnsafeDataDir(
                    f"{file} can be read by others, and its mode cannot be changed: {error.strerror}"
                ) from None
