"""The stored data of an installation: the keys in its data directory, and the database."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from flowrunner.bootstrap.location import DATABASE_FILE, RESTORATION_FILE, make_private, stored_at
from flowrunner.bootstrap.ownership import is_shared, locked
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.metrics import Metrics
from flowrunner.ports.secrets import WrongKey
from flowrunner.security.credentials import JwtIssuer
from flowrunner.security.keys import MASTER, SIGNING, KeyRing, Keys, load_keys, open_data_dir
from flowrunner.security.rotation import FileKeyRotator
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.services.keys import KeyRotations
from flowrunner.settings import Settings
from flowrunner.storage.database import Database
from flowrunner.storage.keys import SqlKeyRotations
from flowrunner.storage.location import Location
from flowrunner.storage.migrations import HEAD
from flowrunner.storage.secrets import SqlSecrets

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStorage:
    """The opened data directory and database."""

    database: Database
    secrets: SqlSecrets
    vault: AesVault
    tokens: JwtIssuer
    signing_keys: KeyRing
    rotator: FileKeyRotator
    keys: KeyRotations


async def check_data_dir(settings: Settings) -> None:
    """Check the data directory and the keys of a standby that cannot use the database before it migrates it.

    Otherwise it would only find that it is unusable when the other server has ended.

    Raises:
        FlowRunnerError.
    """
    open_data_dir(settings.data_dir)
    if await stored_at(settings).has_data():
        load_keys(settings.data_dir, has_data=True)


@contextlib.asynccontextmanager
async def open_data(
    settings: Settings,
    *,
    clock: SystemClock,
    metrics: Metrics,
    is_standby: bool = False,
    is_serving: bool = True,
) -> AsyncIterator[OpenStorage]:
    """Lock the data directory, and open the keys and the database.

    Args:
        is_standby: Another server is active, so nothing is written.
        is_serving: This process is a server or a worker. If not, no server or worker may be running.

    Raises:
        FlowRunnerError: If the data directory, the keys or the database are unusable.
    """
    open_data_dir(settings.data_dir)
    location = stored_at(settings)
    has_file = settings.database_url is None
    # With a database server, `Ownership` decides which process may write, and several servers may share the keys.
    with locked(settings.data_dir) if has_file else contextlib.nullcontext():
        has_data = await location.has_data()
        draft = settings.data_dir / RESTORATION_FILE
        if not has_data:
            _check_restoration(draft)
        else:
            # A restoration into a database server that was killed after all of its data was there.
            draft.unlink(missing_ok=True)
        keys = load_keys(settings.data_dir, has_data=has_data)
        if has_file:
            make_private(settings.data_dir / DATABASE_FILE)
        if not is_standby:
            await _migrate(location, is_reported=is_serving)
        database = location.open(
            on_commit=metrics.database.committed, on_duration=metrics.database.took, is_standby=is_standby
        )
        try:
            yield await _with_keys(settings, database, keys, clock, is_serving=is_serving)
        finally:
            await database.close()


async def _migrate(location: Location, *, is_reported: bool) -> None:
    before = await location.schema()
    await location.migrate()
    if is_reported and before.revision is not None and not before.is_usable:
        logger.info("database.migrated", earlier_schema=before.revision, schema=HEAD)


async def _with_keys(
    settings: Settings, database: Database, keys: Keys, clock: SystemClock, *, is_serving: bool
) -> OpenStorage:
    """Return the database with what the keys open in it. Raises: WrongKey."""
    secrets = SqlSecrets(database)
    master_keys = MasterKeys(keys.master, keys.others[MASTER])
    signing_keys = KeyRing(SIGNING, keys.signing, keys.others[SIGNING])
    await _check_master_keys(secrets, master_keys)
    vault = AesVault(secrets, master_keys, clock)
    rotations = SqlKeyRotations(database)
    rotator = FileKeyRotator(
        settings.data_dir,
        rotations=rotations,
        secrets=secrets,
        vault=vault,
        master_keys=master_keys,
        signing_keys=signing_keys,
        clock=clock,
        token_life=timedelta(seconds=settings.token_life),
        is_shared=is_serving and is_shared(settings),
    )
    await rotator.follow()
    if is_serving:
        await _check_shared_keys(rotator)
    return OpenStorage(
        database=database,
        secrets=secrets,
        vault=vault,
        tokens=JwtIssuer(signing_keys),
        signing_keys=signing_keys,
        rotator=rotator,
        keys=KeyRotations(rotations, rotator, clock),
    )


def _check_restoration(file: Path) -> None:
    """Raise FlowRunnerError if a restoration was interrupted, instead of starting without its data."""
    if file.exists():
        raise FlowRunnerError(
            f"A restoration into {file.parent} was interrupted, and there is no database yet: run 'flowrunner restore' "
            f"again, or delete {file} to start without data"
        )


async def _check_shared_keys(rotator: FileKeyRotator) -> None:
    """Raise WrongKey if another running process uses keys that are missing here."""
    if kinds := {kind for kind, _ in await rotator.foreign_keys()}:
        which = " and ".join(f"{kind} key" for kind in sorted(kinds))
        raise WrongKey(
            f"Another process on this database uses a different {which}: its tokens or secrets cannot be read here. "
            "Copy the directory 'keys' from that process's data directory"
        )


async def _check_master_keys(store: SqlSecrets, master_keys: MasterKeys) -> None:
    if not await store.master_key_ids() <= master_keys.ids:
        raise WrongKey(
            "The master key in the data directory is not the one that encrypted the stored secrets: "
            "restore the files keys/master*.key from your backup"
        )
