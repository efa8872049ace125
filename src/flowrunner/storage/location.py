"""Location of the stored data: a SQLite file or a PostgreSQL database."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from flowrunner.ports.ownership import Ownership
from flowrunner.storage.audit_chain import ChainReport
from flowrunner.storage.database import Database, OnDuration, unmeasured
from flowrunner.storage.migrations import Schema
from flowrunner.storage.sqlite.location import SqliteFile


class Location(Protocol):
    """A place where data is stored, open or not."""

    async def check(self, *, to_serve: bool = False) -> list[str]:
        """Check that the database server is suitable and return warnings.

        Args:
            to_serve: For a FlowRunner server, which needs more connections than other commands.

        Raises:
            UnfitServer.
        """
        ...

    async def has_data(self) -> bool:
        """Return whether there is a database. Raises: CannotConnect, UnusableDatabase."""
        ...

    async def schema(self) -> Schema:
        """Return the schema of the database. Raises: CannotConnect, UnusableDatabase."""
        ...

    async def migrate(self) -> None:
        """Migrate to the newest schema, unless it has a newer one that this version can use.

        Raises: CannotConnect, UnknownSchema, UnusableDatabase.
        """
        ...

    def open(
        self,
        *,
        on_commit: Callable[[int], None] = lambda size: None,
        on_duration: OnDuration = unmeasured,
        is_standby: bool = False,
    ) -> Database:
        """Open the database. Args: Those of the databases."""
        ...

    def ownership(self, *, is_shared: bool = False) -> AbstractAsyncContextManager[Ownership]:
        """Start trying to become the active server, or one of several that share the work.

        Raises: CannotConnect.
        """
        ...

    async def check_audit(self, *, expected: tuple[int, str] | None) -> ChainReport:
        """Check the audit log, also while a server writes to it. Raises: FlowRunnerError."""
        ...


def location_of(url: str | None, *, file: Path, readers: int = 10, statement_seconds: float = 30.0) -> Location:
    """Return the PostgreSQL database at ``url``, or the SQLite file if that is None."""
    if url is None:
        return SqliteFile(file)
    # Importing the driver would take longer than a small command.
    from flowrunner.storage.postgres.location import PostgresUrl

    return PostgresUrl(url=url, readers=readers, statement_seconds=statement_seconds)
