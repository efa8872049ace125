"""Where a program stores: in a SQLite file of its own, or in a PostgreSQL database."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from flowrunner.ports import Ownership
from flowrunner.storage.audit_chain import ChainReport
from flowrunner.storage.database import Database
from flowrunner.storage.migrations import Schema
from flowrunner.storage.sqlite.location import SqliteFile


class Location(Protocol):
    async def check(self) -> list[str]:
        """Find out whether the database server will do; gives warnings. Raises: UnfitServer."""
        ...

    async def has_data(self) -> bool:
        """Whether there is a database, which keys belong to. Raises: CannotConnect, UnusableDatabase."""
        ...

    async def schema(self) -> Schema:
        """Return the schema that the database has. Raises: CannotConnect, UnusableDatabase."""
        ...

    async def migrate(self) -> None:
        """Bring it to the newest schema, unless it has a newer one that this version can use.

        Raises: CannotConnect, UnknownSchema, UnusableDatabase.
        """
        ...

    def open(self, *, on_commit: Callable[[int], None] = lambda size: None, is_standby: bool = False) -> Database:
        """Args: as the databases have them."""
        ...

    def ownership(self, *, is_shared: bool = False) -> AbstractAsyncContextManager[Ownership]:
        """Try to become the active server, or one of several that share the work, from now on.

        Raises: CannotConnect.
        """
        ...

    async def check_audit(self, *, expected: tuple[int, str] | None) -> ChainReport:
        """Check the audit log, also while a server writes it. Raises: FlowRunnerError."""
        ...


def location_of(url: str | None, *, file: Path, readers: int = 10, statement_seconds: float = 30.0) -> Location:
    """The PostgreSQL database at a URL; the SQLite file if there is none."""
    if url is None:
        return SqliteFile(file)
    # The driver takes longer to load than a small command to run.
    from flowrunner.storage.postgres.location import PostgresUrl

    return PostgresUrl(url=url, readers=readers, statement_seconds=statement_seconds)
