"""A PostgreSQL database as the location of the stored data."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from flowrunner.storage.appends import AcquireOp, AppendOp, append_together
from flowrunner.storage.audit_chain import ChainReport, check_chain
from flowrunner.storage.database import Database, OnDuration, unmeasured
from flowrunner.storage.migrations import Schema, UnusableDatabase
from flowrunner.storage.postgres.concurrent_appends import acquire_concurrently, append_concurrently
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.postgres.migrations import migrate_postgres, schema_of_postgres
from flowrunner.storage.postgres.ownership import PostgresOwnership, ownership_of
from flowrunner.storage.postgres.server_check import check_server


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """Implements `storage.location.Location`.

    Attributes:
        readers: The maximum number of connections for reading.
        statement_seconds: The maximum duration of a statement.
    """

    url: str = field(repr=False)
    readers: int = 10
    statement_seconds: float = 30.0

    async def check(self, *, to_serve: bool = False) -> list[str]:
        return await check_server(self.url, readers=self.readers if to_serve else None)

    async def has_data(self) -> bool:
        return (await self.schema()).revision is not None

    async def schema(self) -> Schema:
        """Return the schema of the database. Raises: UnusableDatabase."""
        return await schema_of_postgres(self.url)

    async def migrate(self) -> None:
        """Migrate to the newest schema. Raises: UnknownSchema, UnusableDatabase."""
        await migrate_postgres(self.url)

    def open(
        self,
        *,
        on_commit: Callable[[int], None] = lambda size: None,
        on_duration: OnDuration = unmeasured,
        is_standby: bool = False,
    ) -> Database:
        return PostgresDatabase(
            self.url,
            bulk={AppendOp: append_together},
            concurrent={AppendOp: append_concurrently, AcquireOp: acquire_concurrently},
            on_commit=on_commit,
            on_duration=on_duration,
            readers=self.readers,
            statement_seconds=self.statement_seconds,
            is_standby=is_standby,
        )

    def ownership(self, *, is_shared: bool = False) -> AbstractAsyncContextManager[PostgresOwnership]:
        return ownership_of(self.url, is_shared=is_shared)

    async def check_audit(self, *, expected: tuple[int, str] | None) -> ChainReport:
        """Check the audit log, also while a server writes to it. Raises: FlowRunnerError."""
        if (await self.schema()).revision is None:
            raise UnusableDatabase("The database is empty: the first start of a server creates its tables")
        database = self.open()
        try:
            return await database.read_long(lambda tx: check_chain(tx, expected=expected))
        finally:
            await database.close()
