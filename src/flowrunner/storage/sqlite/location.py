"""A SQLite file as the location of the stored data."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.appends import AppendOp, append_together
from flowrunner.storage.audit_chain import ChainReport
from flowrunner.storage.database import Database, OnDuration, unmeasured
from flowrunner.storage.migrations import Schema
from flowrunner.storage.sqlite.audit import check_chain_of
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.sqlite.migrations import migrate_sqlite, schema_of_sqlite
from flowrunner.storage.sqlite.presence import is_there


class SoleOwnership:
    """Ownership where there is no other server. Implements `ports.Ownership`."""

    is_held = True
    is_lost = False
    is_silent = False
    epoch: int | None = None

    async def until(self, condition: Callable[[], bool]) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """Implements `storage.location.Location`."""

    path: Path

    async def has_data(self) -> bool:
        """Return whether there is a database. Raises: UnusableDatabase."""
        return is_there(self.path)

    async def schema(self) -> Schema:
        """Return the schema of the database. Raises: UnusableDatabase."""
        return schema_of_sqlite(self.path) if is_there(self.path) else Schema(None)

    async def migrate(self) -> None:
        """Migrate to the newest schema. Raises: UnknownSchema, UnusableDatabase."""
        migrate_sqlite(self.path)

    @property
    def mark(self) -> Path:
        """Return the path of the file that names the place to which the database was moved."""
        return self.path.with_name(f"{self.path.name}.moved")

    async def check(self, *, to_serve: bool = False) -> list[str]:
        """Raise FlowRunnerError if the database was moved: its executions continue there. Return no warnings."""
        if is_there(self.mark):
            place = self.mark.read_text().strip()
            raise FlowRunnerError(
                f"{self.path} was copied to PostgreSQL ({place}), and its executions continue there: a server on the"
                " file would run all of them twice. Set FLOWRUNNER_DATABASE_URL. To continue with the file instead,"
                f" make sure that nothing uses the copy, and delete {self.mark}"
            )
        return []

    def open(
        self,
        *,
        on_commit: Callable[[int], None] = lambda size: None,
        on_duration: OnDuration = unmeasured,
        is_standby: bool = False,
    ) -> Database:
        return SqliteDatabase(self.path, bulk={AppendOp: append_together}, on_commit=on_commit, on_duration=on_duration)

    @contextlib.asynccontextmanager
    async def ownership(self, *, is_shared: bool = False) -> AsyncIterator[SoleOwnership]:
        yield SoleOwnership()

    async def check_audit(self, *, expected: tuple[int, str] | None) -> ChainReport:
        """Check the audit log, also while a server writes to it. Raises: FlowRunnerError."""
        return await asyncio.to_thread(check_chain_of, self.path, expected=expected)
