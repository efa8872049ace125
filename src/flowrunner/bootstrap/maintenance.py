"""Maintenance commands of an installation. Most of them require that no server runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from flowrunner.bootstrap.data import open_data
from flowrunner.bootstrap.location import existing, stored_at
from flowrunner.bootstrap.ownership import locked, owning
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.metrics import Metrics
from flowrunner.ports.keys import KeyKind, KeyRotation
from flowrunner.ports.page import Page
from flowrunner.security.keys import open_data_dir
from flowrunner.settings import Settings
from flowrunner.storage.audit_chain import ChainReport
from flowrunner.storage.location import Location, location_of
from flowrunner.storage.migrations import HEAD, Schema
from flowrunner.storage.sqlite.location import SqliteFile


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Migrate the database to the schema of this version; return the previous and the current revision.

    Raises:
        FlowRunnerError: If the migration is impossible, or a server is using the file.
    """
    location = stored_at(settings)
    await location.check()
    before = (await location.schema()).revision
    if settings.database_url is not None:
        await location.migrate()
        return before, await _revision(location)
    if before is None:
        # The database needs keys, which the first start creates. No directory is created here.
        raise FlowRunnerError(f"There is no database in {settings.data_dir}: the first start of the server creates it")
    open_data_dir(settings.data_dir)
    with locked(settings.data_dir):
        await location.migrate()
    return before, await _revision(location)


async def _revision(location: Location) -> str:
    revision = (await location.schema()).revision
    assert revision is not None, "just migrated"
    return revision


async def schema_of(settings: Settings) -> tuple[Schema, str]:
    """Return the schema of the database, and the revision of this version. Raises: FlowRunnerError."""
    location = stored_at(settings)
    await location.check()
    return await location.schema(), HEAD


async def copy_installation(source: Path, url: str, *, on_table: Callable[[str, int], None]) -> dict[str, int]:
    """Copy a SQLite database completely into an empty PostgreSQL database, and compare the two.

    Args:
        on_table: Called for each copied table with its number of rows.

    Returns:
        The number of rows of each table.

    Raises:
        FlowRunnerError: If nothing was copied. The message contains the reason.
    """
    from flowrunner.storage.copying import NotCopied, copy_to_postgres
    from flowrunner.storage.postgres.connections import CannotConnect

    target = location_of(url, file=source)
    schema = await location_of(None, file=source).schema()
    if schema.revision is None:
        raise FlowRunnerError(f"There is no database {source}")
    schema.check_can_migrate(f"The database {source}")
    if schema.revision != HEAD:
        raise FlowRunnerError(
            f"{source} has the schema of another version: start the server of this version on it once"
        )
    await target.check()
    with locked(source.parent):
        async with target.ownership() as ownership:
            if not ownership.is_held:
                raise FlowRunnerError("A FlowRunner server is using the target: stop it first")
            await target.migrate()
            # Marked before the copy, so that no server starts on the file by accident afterwards.
            mark, parts = SqliteFile(source).mark, urlsplit(url)
            was_marked, place = mark.exists(), f"{parts.hostname or ''}{parts.path}\n"
            if not was_marked:
                mark.write_text(place)
            try:
                counts = await copy_to_postgres(source, url, on_table=on_table)
                mark.write_text(place)
                return counts
            except NotCopied as error:
                # After an interruption, the copy may be complete.
                if not was_marked and not isinstance(error.__cause__, CannotConnect):
                    mark.unlink()
                raise


async def verify_audit(settings: Settings, *, copy: Path | None, expected: tuple[int, str] | None) -> ChainReport:
    """Verify the audit log of the database or of a copy of its file. A server may be using the database.

    Raises:
        FlowRunnerError: If the database or its audit log does not exist.
    """
    location = await existing(settings) if copy is None else location_of(None, file=copy)
    return await location.check_audit(expected=expected)


async def rotate_stored_keys(settings: Settings, kinds: Sequence[KeyKind]) -> Sequence[KeyRotation]:
    """Replace keys while no server runs; return the state of the requested rotations.

    Raises:
        FlowRunnerError: If the data directory is unusable, or a server is using it.
    """
    if settings.database_url is None and not await stored_at(settings).has_data():
        raise FlowRunnerError(f"There is no database in {settings.data_dir}: start the server first")
    async with owning(settings) as ownership:
        if not ownership.is_held:
            raise FlowRunnerError("A FlowRunner server is active on the database: stop it, or replace keys through it")
        return await _rotate(settings, kinds)


async def _rotate(settings: Settings, kinds: Sequence[KeyKind]) -> Sequence[KeyRotation]:
    async with open_data(settings, clock=SystemClock(), metrics=Metrics(), is_serving=False) as stored:
        if await stored.rotator.others():
            raise FlowRunnerError(
                "Servers or workers are running on the database: replace keys through a server, or stop all of them"
            )
        asked = [rotation.id for rotation in await stored.keys.request(None, kinds)]
        await stored.keys.advance()
        rotations, _ = await stored.keys.page(Page(limit=100, offset=0))
        return [rotation for rotation in reversed(rotations) if rotation.id in asked]
