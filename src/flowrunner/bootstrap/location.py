"""Where an installation is kept, by its settings."""

from pathlib import Path
from typing import Final

from flowrunner.security.keys import UnsafeDataDir, told_if_unwritable
from flowrunner.settings import Settings
from flowrunner.storage.location import Location, location_of
from flowrunner.storage.migrations import HEAD

DATABASE_FILE: Final = "flowrunner.db"


def stored_at(settings: Settings) -> Location:
    """Where the program stores."""
    return location_of(
        settings.database_url,
        file=settings.data_dir / DATABASE_FILE,
        readers=settings.database_readers,
        statement_seconds=settings.database_timeout,
    )


async def is_newest_schema(settings: Settings) -> bool:
    """Whether the database is as this version has it. Raises: FlowRunnerError."""
    return await stored_at(settings).revision() == HEAD


def make_private(path: Path) -> None:
    """Make the database if it is new, and close it and its log to others. Raises: UnsafeDataDir."""
    with told_if_unwritable(path):
        if not path.exists():
            path.touch(mode=0o600)
    # A backup that was put back has the mode that a copy gets.
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if file.exists() and file.stat().st_mode & 0o077:
            try:
                file.chmod(0o600)
            except OSError as error:
                raise UnsafeDataDir(f"{file} can be read by others, and cannot be closed: {error.strerror}") from None
