"""Commands `migrate` and `copy`."""

import asyncio
from pathlib import Path
from typing import Final

import click

from flowrunner.bootstrap.location import DATABASE_FILE
from flowrunner.bootstrap.maintenance import copy_installation, schema_of
from flowrunner.bootstrap.maintenance import migrate as migrate_database
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import Settings, postgres_url

_SQLITE: Final = "sqlite:///"


def migrate(settings: Settings, *, check: bool) -> bool:
    """Migrate or check the database; return whether this version can use it. Raises: FlowRunnerError."""
    if check:
        schema, newest = asyncio.run(schema_of(settings))
        has = "no schema yet" if schema.revision is None else f"the schema {schema.revision}"
        click.echo(f"The database has {has}; that of this version is {newest}")
        if schema.is_newer and schema.is_usable:
            click.echo("A newer version of FlowRunner wrote it, and this one can use it all the same", err=True)
        elif schema.is_obsolete:
            click.echo("A version before the first release made it, and no migration leads from it", err=True)
        elif schema.is_newer:
            click.echo("A newer version of FlowRunner wrote it: use that one, or a newer one", err=True)
        elif not schema.is_usable:
            click.echo("'flowrunner migrate' brings it there, and so does the start of the server", err=True)
        return schema.is_usable
    before, newest = asyncio.run(migrate_database(settings))
    click.echo(f"The database has the schema {newest}" + ("" if before == newest else f"; before: {before or 'none'}"))
    return True


def copy(settings: Settings, *, source: str | None, target: str | None) -> None:
    """Copy a SQLite file to PostgreSQL. Raises: FlowRunnerError."""
    if source is not None and not source.startswith(_SQLITE):
        raise FlowRunnerError("--from takes the URL of a SQLite file: sqlite:////var/lib/flowrunner/flowrunner.db")
    path = settings.data_dir / DATABASE_FILE if source is None else Path(source.removeprefix(_SQLITE))
    url = settings.database_url if target is None else target
    if url is None:
        raise FlowRunnerError("--to takes the URL of a PostgreSQL database: postgresql://user:password@host/name")
    if url.startswith("sqlite:"):
        raise FlowRunnerError(
            "--to takes no SQLite file: an installation moves from SQLite to PostgreSQL, and not back"
        )
    try:
        postgres_url(url)
    except ValueError as error:
        raise FlowRunnerError(f"The URL given with --to {error}") from None
    # A server locks the directory that holds the file, so a symbolic link is resolved first.
    path = path.resolve()
    counts = asyncio.run(copy_installation(path, url, on_table=_print_count))
    click.echo(
        f"{counted(sum(counts.values()), 'row is', 'rows are')} in PostgreSQL as in {path}. "
        "Now start the server with FLOWRUNNER_DATABASE_URL, and with the keys in its data directory"
    )


def _print_count(table: str, rows: int) -> None:
    click.echo(f"  {table}: {counted(rows, 'row')}")
