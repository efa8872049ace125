"""What is done to an installation by a command, most of it while no server runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from flowrunner.bootstrap.data import open_data
from flowrunner.bootstrap.location import DATABASE_FILE, stored_at
from flowrunner.bootstrap.ownership import locked, owning
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.metrics import Metrics
from flowrunner.ports import KeyKind, KeyRotation, Page
from flowrunner.security.keys import open_data_dir
from flowrunner.settings import Settings
from flowrunner.storage.audit_chain import ChainReport
from flowrunner.storage.location import Location, location_of
from flowrunner.storage.migrations import HEAD, Schema
from flowrunner.storage.sqlite.location import SqliteFile


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the database to the schema of this version; gives the schema of before, and the present one.

    Raises:
        FlowRunnerError: If it cannot be, or a server is using the file.
    """
    location = stored_at(settings)
    await location.check()
    before = (await location.schema()).revision
    if settings.database_url is not None:
        await location.migrate()
        return before, await _revision(location)
    open_data_dir(settings.data_dir)
    if before is None:
        # It belongs with the keys, which the first start makes.
        raise FlowRunnerError(f"There is no database in {settings.data_dir}: the first start of the server makes it")
    with locked(settings.data_dir):
        await location.migrate()
    return before, await _revision(location)


async def _revision(location: Location) -> str:
    revision = (await location.schema()).revision
    assert revision is not None, "it was migrated just now"
    return revision


async def schema_of(settings: Settings) -> tuple[Schema, str]:
    """Return the schema that the database has, and the one of this version. Raises: FlowRunnerError."""
    location = stored_at(settings)
    await location.check()
    return await location.schema(), HEAD


async def copy_installation(source: Path, url: str, *, tell: Callable[[str, int], None]) -> dict[str, int]:
    """Copy a SQLite database with all that is in it into an empty PostgreSQL database, and compare the two.

    Args:
        tell: Is told of each table that has arrived, and how many rows it has.

    Returns:
        The number of rows by table.

    Raises:
        FlowRunnerError: If nothing was copied; the message says why.
    """
    from flowrunner.storage.copying import NotCopied, copy_to_postgres
    from flowrunner.storage.postgres.connections import CannotConnect

    target = location_of(url, file=source)
    schema = await location_of(None, file=source).schema()
    if schema.revision is None:
        raise FlowRunnerError(f"There is no database {source}")
    schema.check_can_migrate(f"The database {source}")
    if schema.revision != HEAD:
        raise FlowRunnerError(f"{source} is of another version: start the server of this version on it once")
    await target.check()
    with locked(source.parent):
        async with target.ownership() as ownership:
            if not ownership.is_held:
                raise FlowRunnerError("A FlowRunner server is using the target: stop it first")
            await target.migrate()
            # Before the copy: once that is there, nothing may start on the file by accident.
            mark, parts = SqliteFile(source).mark, urlsplit(url)
            was_marked, place = mark.exists(), f"{parts.hostname or ''}{parts.path}\n"
            if not was_marked:
                mark.write_text(place)
            try:
                counts = await copy_to_postgres(source, url, tell=tell)
                mark.write_text(place)
                return counts
            except NotCopied as error:
                # After an interruption all of it may be there.
                if not was_marked and not isinstance(error.__cause__, CannotConnect):
                    mark.unlink()
                raise


async def verify_audit(
    settings: Settings, *, copy: Path | None = None, expected: tuple[int, str] | None
) -> ChainReport:
    """Check the audit log of the database, also while a server is using it, or of a copy of the file.

    Raises:
        FlowRunnerError: If there is no such database, or no audit log in it.
    """
    location = stored_at(settings) if copy is None else location_of(None, file=copy)
    return await location.check_audit(expected=expected)


async def rotate_stored_keys(settings: Settings, kinds: Sequence[KeyKind]) -> Sequence[KeyRotation]:
    """Replace keys while no server runs; gives the rotations that were asked for, as they are then.

    Raises:
        FlowRunnerError: If the data directory is not fit for it, or a server is using it.
    """
    if settings.database_url is None and not (settings.data_dir / DATABASE_FILE).exists():
        raise FlowRunnerError(f"There is no database in {settings.data_dir}: start the server first")
    async with owning(settings) as ownership:
        if not ownership.is_held:
            raise FlowRunnerError("A FlowRunner server is active on the database: stop it, or ask it to replace keys")
        return await _rotate(settings, kinds)


async def _rotate(settings: Settings, kinds: Sequence[KeyKind]) -> Sequence[KeyRotation]:
    async with open_data(settings, clock=SystemClock(), metrics=Metrics(), is_serving=False) as stored:
        if await stored.rotator.others():
            raise FlowRunnerError(
                "Servers or workers are running on the database: ask a server to replace keys, or stop all of them"
            )
        asked = [rotation.id for rotation in await stored.keys.request(None, kinds)]
        await stored.keys.advance()
        rotations, _ = await stored.keys.page(Page(limit=100, offset=0))
        return [rotation for rotation in reversed(rotations) if rotation.id in asked]
