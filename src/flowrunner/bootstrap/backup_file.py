"""The file of a backup: a ZIP archive of a manifest, the database, and the sealed keys if it has any."""

import hashlib
import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from flowrunner.domain.errors import FlowRunnerError

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
_FORMAT: Final = "flowrunner-backup-1"
_MANIFEST, _DATABASE, _KEYS = "manifest.json", "database", "keys.sealed"
_LONGEST_MANIFEST: Final = 64 * 1024
_LONGEST_KEYS: Final = 1024 * 1024
_CHUNK: Final = 1024 * 1024
# Besides its own error, the library raises others for names and versions that it does not know.
_UNREADABLE: Final = (zipfile.BadZipFile, NotImplementedError, UnicodeError)
# Other methods may take as much memory as the file demands.
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_DAMAGED: Final = "is damaged: use another backup, or copy this one again from where it is kept"


class NotBackup(FlowRunnerError):
    """A file that is no backup, or a damaged one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of a backup.

    Attributes:
        version: The version of FlowRunner that made it.
        created_at: RFC 3339, UTC.
        database: `SQLITE`, a file, or `POSTGRESQL`, a dump.
        schema: The revision of the database's schema.
        size: Bytes of the database.
        sha256: The digest of the database, in hexadecimal digits.
        has_keys: The keys are in the backup, sealed.
    """

    version: str
    created_at: str
    database: str
    schema: str
    size: int
    sha256: str
    has_keys: bool


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_backup(path: Path, manifest: Manifest, database: Path, sealed_keys: bytes | None) -> None:
    """Write a new file that only its owner can read, durably."""
    document = json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=2)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        # Level 1: a third of the size at a small part of the time of higher ones.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(_MANIFEST, document)
            if sealed_keys is not None:
                archive.writestr(_KEYS, sealed_keys)
            archive.write(database, _DATABASE)
        file.flush()
        os.fsync(file.fileno())


class BackupFile:
    """An open backup.

    Raises:
        NotBackup: If it is no backup, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Opening a pipe would wait for its other end.
        if path.exists() and not path.is_file():
            raise NotBackup(f"{path} is not a file")
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise NotBackup(f"There is no file {path}") from None
        except OSError as error:
            raise NotBackup(f"{path} cannot be read: {error.strerror}") from None
        except _UNREADABLE:
            raise NotBackup(f"{path} is not a backup, or {_DAMAGED}") from None
        self.manifest = _manifest_of(path, self._read(_MANIFEST, _LONGEST_MANIFEST))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._archive.close()

    def sealed_keys(self) -> bytes:
        return self._read(_KEYS, _LONGEST_KEYS)

    def write_database(self, target: Path | None) -> None:
        """Write the database into a new file, or only check it if the file is None. Raises: NotBackup."""
        if target is None:
            self._copy_database(None)
            return
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            self._copy_database(file)
            file.flush()
            os.fsync(file.fileno())

    def _copy_database(self, target: IO[bytes] | None) -> None:
        digest, size = hashlib.sha256(), 0
        with self._reading(_DATABASE) as member:
            while chunk := self._next(member):
                size += len(chunk)
                # The archive may unpack to more than it declares.
                if size > self.manifest.size:
                    break
                digest.update(chunk)
                if target is not None:
                    target.write(chunk)
        if (size, digest.hexdigest()) != (self.manifest.size, self.manifest.sha256):
            raise NotBackup(f"{self._path} {_DAMAGED}")

    def _read(self, name: str, longest: int) -> bytes:
        with self._reading(name) as member:
            found = self._next(member, longest + 1)
        if len(found) > longest:
            raise NotBackup(f"{self._path} {_DAMAGED}")
        return found

    def _reading(self, name: str) -> IO[bytes]:
        try:
            member = self._archive.getinfo(name)
            if member.compress_type not in _METHODS:
                raise NotImplementedError
            return self._archive.open(member)
        except (KeyError, RuntimeError, OSError, *_UNREADABLE):
            raise NotBackup(f"{self._path} is not a backup, or {_DAMAGED}") from None

    def _next(self, member: IO[bytes], size: int = _CHUNK) -> bytes:
        try:
            return member.read(size)
        except (zipfile.BadZipFile, EOFError, OSError, zlib.error):
            raise NotBackup(f"{self._path} {_DAMAGED}") from None


def is_backup(path: Path) -> bool:
    """Return whether the file begins like a backup."""
    try:
        with BackupFile(path):
            return True
    except NotBackup:
        return False


def _manifest_of(path: Path, text: bytes) -> Manifest:
    try:
        document: dict[str, Any] = json.loads(text)
        written = document.pop("format")
        if written != _FORMAT:
            raise NotBackup(f"{path} was made by a newer version of FlowRunner ({written}): restore it with that one")
        manifest = Manifest(**document)
        kinds = {name: type(value) for name, value in asdict(manifest).items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise NotBackup(f"{path} is not a backup, or {_DAMAGED}") from None
    if kinds != Manifest.__annotations__ or manifest.database not in (SQLITE, POSTGRESQL):
        raise NotBackup(f"{path} is not a backup, or {_DAMAGED}")
    return manifest
