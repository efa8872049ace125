"""Backups of an installation in one file, and their restoration."""

# A command has the event loop to itself.
# ruff: noqa: ASYNC240

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from flowrunner import __version__
from flowrunner.bootstrap.backup_file import (
    POSTGRESQL,
    SQLITE,
    BackupFile,
    Manifest,
    NotBackup,
    digest_of_file,
    is_backup,
    write_backup,
)
from flowrunner.bootstrap.location import DATABASE_FILE, RESTORATION_FILE, existing, stored_at
from flowrunner.bootstrap.ownership import LOCK_FILE, locked
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import rfc3339
from flowrunner.security.key_files import (
    are_complete,
    are_key_files,
    ids_of,
    read_key_files,
    with_earlier,
    write_key_files,
)
from flowrunner.security.keys import MASTER, explain_unwritable, give_to_owner, open_data_dir
from flowrunner.security.sealing import check_passphrase, seal, unseal
from flowrunner.settings import Settings
from flowrunner.storage.location import Location
from flowrunner.storage.migrations import Schema
from flowrunner.storage.postgres.backup import check_dump, check_schema, dump, load
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sqlite.backup import check_copy, copy_online

_WORKPLACE: Final = ".flowrunner-backup."


async def back_up(settings: Settings, file: Path, *, passphrase: str | None) -> Manifest:
    """Write a checked backup of the installation, whose servers may be running.

    Args:
        passphrase: Seals the keys, which the backup then includes; None leaves them out.

    Raises:
        FlowRunnerError: If no backup was written. An earlier one in ``file`` is unchanged.
    """
    if passphrase is not None:
        check_passphrase(passphrase)
    await existing(settings)
    if file.exists() and not is_backup(file):
        raise FlowRunnerError(f"{file} exists and is not a backup: name another file, so that nothing is overwritten")
    if not file.absolute().parent.is_dir():
        raise FlowRunnerError(f"There is no directory {file.absolute().parent}: create it first")
    with explain_unwritable(file), _workplace(file.absolute()) as place:
        copy = place / "database"
        # A rotation may delete or create a key while the copy is made, and the copy may need either key.
        earlier = read_key_files(settings.data_dir) if passphrase is not None else {}
        schema, needed = await _copy(settings, copy)
        keys = with_earlier(read_key_files(settings.data_dir), earlier) if passphrase is not None else None
        if keys is not None and not (keys and needed <= ids_of(MASTER, keys)):
            raise FlowRunnerError(
                f"{settings.data_dir / 'keys'} does not have the master key of the stored secrets: "
                "run the command where the server runs, or without --with-keys"
            )
        manifest = Manifest(
            version=__version__,
            created_at=rfc3339(SystemClock().now()),
            database=SQLITE if settings.database_url is None else POSTGRESQL,
            schema=schema,
            size=copy.stat().st_size,
            sha256=digest_of_file(copy),
            has_keys=keys is not None,
        )
        draft = place / "backup"
        write_backup(draft, manifest, copy, None if keys is None else _sealed(keys, passphrase or "", manifest))
        with BackupFile(draft) as written:
            written.write_database(None)
        draft.rename(file)
        _sync(file.absolute().parent)
        return manifest


async def _copy(settings: Settings, target: Path) -> tuple[str, frozenset[str]]:
    """Copy the database and check the copy; return its schema and the ids of the master keys that it needs."""
    if settings.database_url is None:
        copy_online(settings.data_dir / DATABASE_FILE, target)
        checked = check_copy(target)
        return checked.schema.revision or "", frozenset(checked.master_key_ids)
    location = stored_at(settings)
    schema = await location.schema()
    # A dump cannot be looked into. A rotation that begins since leaves the earlier key among those of the backup.
    needed = await _master_key_ids(location)
    await dump(settings.database_url, target)
    await check_dump(target)
    return schema.revision or "", needed


async def _master_key_ids(location: Location) -> frozenset[str]:
    database = location.open()
    try:
        return frozenset(await SqlSecrets(database).master_key_ids())
    finally:
        await database.close()


def _sealed(keys: dict[str, str], passphrase: str, manifest: Manifest) -> bytes:
    return seal(json.dumps(keys).encode(), passphrase, bound_to=manifest.sha256.encode())


@contextlib.contextmanager
def _workplace(file: Path) -> Iterator[Path]:
    """Make a directory beside the file that only its owner can enter; delete it when the context ends.

    Those of killed commands are deleted too: each has a whole copy of the database.
    """
    _delete_abandoned(file.parent)
    place = Path(tempfile.mkdtemp(prefix=_WORKPLACE, dir=file.parent))
    try:
        with (place / "lock.new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Under the name that others look for it is locked from the beginning.
            (place / "lock.new").rename(place / LOCK_FILE)
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _delete_abandoned(directory: Path) -> None:
    """Delete directories of backups whose process has ended without doing so."""
    for place in directory.glob(f"{_WORKPLACE}*"):
        with contextlib.suppress(OSError):
            if place.lstat().st_uid != os.geteuid():
                continue
            with (place / LOCK_FILE).open("rb+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)


async def restore(settings: Settings, file: Path, *, ask_passphrase: Callable[[], str]) -> tuple[Manifest, bool]:
    """Restore a backup into an empty data directory, or an empty PostgreSQL database.

    Args:
        ask_passphrase: Called if the keys have to be unsealed.

    Returns:
        The description of the backup, and whether the data directory has the keys.

    Raises:
        FlowRunnerError: If nothing was restored; the message says what to do.
    """
    with BackupFile(file) as backup:
        _check_target(settings, backup.manifest)
        # Before the directory is created, so that a refusal leaves nothing.
        _check_is_empty(settings.data_dir)
        with _undoing_creation(settings.data_dir):
            open_data_dir(settings.data_dir)
            with locked(settings.data_dir), explain_unwritable(settings.data_dir):
                _check_is_empty(settings.data_dir)
                draft = settings.data_dir / RESTORATION_FILE
                # The rest of an interrupted restoration.
                draft.unlink(missing_ok=True)
                try:
                    return await _restore(settings, backup, draft, ask_passphrase)
                except BaseException:
                    # While it is held: a lock that is deleted later may be that of a server.
                    (settings.data_dir / LOCK_FILE).unlink(missing_ok=True)
                    raise
                finally:
                    draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _undoing_creation(directory: Path) -> Iterator[None]:
    """Delete the directories that were created in this context and are empty, if it ends with an error."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()
        raise


def _check_target(settings: Settings, manifest: Manifest) -> None:
    schema = Schema(manifest.schema)
    if not schema.is_usable:
        schema.check_can_migrate(f"The backup, made by FlowRunner {manifest.version},")
    if manifest.database == SQLITE and settings.database_url is not None:
        raise FlowRunnerError(
            "This is a backup of a SQLite file: restore it without FLOWRUNNER_DATABASE_URL; "
            "then 'flowrunner copy' moves it to PostgreSQL"
        )
    if manifest.database == POSTGRESQL and settings.database_url is None:
        raise FlowRunnerError(
            "This is a backup of a PostgreSQL database: name an empty one, made with createdb, "
            "in FLOWRUNNER_DATABASE_URL"
        )


def _check_is_empty(data_dir: Path) -> None:
    """Raise FlowRunnerError if the directory has anything but keys, which may be put there in advance."""
    with explain_unwritable(data_dir):
        found = {path.name for path in data_dir.iterdir()} if data_dir.is_dir() else set()
    if others := sorted(found - {"keys", LOCK_FILE, RESTORATION_FILE}):
        raise FlowRunnerError(
            f"{data_dir} is not empty ({', '.join(others[:3])}): name an empty or new directory with --data-dir. "
            "Nothing is ever restored over existing data"
        )


async def _restore(
    settings: Settings, backup: BackupFile, draft: Path, ask_passphrase: Callable[[], str]
) -> tuple[Manifest, bool]:
    manifest, present = backup.manifest, read_key_files(settings.data_dir)
    sealed = _missing_keys(settings, backup, present, ask_passphrase)
    keys = sealed or present
    free = shutil.disk_usage(settings.data_dir).free
    if free < manifest.size:
        raise FlowRunnerError(
            f"The database of the backup has {manifest.size:,} bytes, and {free:,} are free at {settings.data_dir}: "
            "make room, or name another --data-dir"
        )
    backup.write_database(draft)
    if manifest.database == SQLITE:
        _check_sqlite(settings, draft, keys)
    else:
        await check_dump(draft)
        await _check_database_is_empty(settings)
        await check_schema(settings.database_url or "", draft)
    if sealed:
        write_key_files(settings.data_dir, sealed)
    if manifest.database == SQLITE:
        with draft.open("rb") as file:
            give_to_owner(file.fileno(), settings.data_dir)
        # Last, because the installation exists once it is there.
        draft.rename(settings.data_dir / DATABASE_FILE)
        _sync(settings.data_dir)
    else:
        assert settings.database_url is not None, "checked before"
        await load(settings.database_url, draft)
    return manifest, are_complete(keys)


def _missing_keys(
    settings: Settings, backup: BackupFile, present: dict[str, str], ask_passphrase: Callable[[], str]
) -> dict[str, str] | None:
    """Return the keys of the backup; None if it has none, or the data directory has all of them."""
    # An interrupted restoration may have left some of them.
    if not backup.manifest.has_keys or are_complete(present):
        return None
    sealed = _unsealed(backup.sealed_keys(), ask_passphrase(), backup.manifest)
    if not present.items() <= sealed.items():
        raise FlowRunnerError(
            f"The keys in {settings.data_dir / 'keys'} are not complete, and not those in the backup: "
            "put all files there that were in use when it was made, or none"
        )
    return sealed


def _check_sqlite(settings: Settings, draft: Path, keys: dict[str, str]) -> None:
    checked = check_copy(draft)
    # The schema that counts is that of the database, not the one in the manifest.
    if not checked.schema.is_usable:
        checked.schema.check_can_migrate("The database in the backup")
    if keys and not checked.master_key_ids <= ids_of(MASTER, keys):
        raise FlowRunnerError(
            f"The keys in {settings.data_dir / 'keys'} are not those of the backup, whose secrets could not be "
            "read: put the files there that were in use when it was made"
        )


async def _check_database_is_empty(settings: Settings) -> None:
    location = stored_at(settings)
    await location.check()
    if await location.has_data():
        raise FlowRunnerError("The PostgreSQL database is not empty: name an empty one, made with createdb")


def _unsealed(sealed: bytes, passphrase: str, manifest: Manifest) -> dict[str, str]:
    keys = json.loads(unseal(sealed, passphrase, bound_to=manifest.sha256.encode()))
    if not are_key_files(keys.items()):
        raise NotBackup("The backup holds files that are not keys: it was not made by FlowRunner")
    return dict(keys)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
