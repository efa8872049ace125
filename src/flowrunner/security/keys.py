"""The key files in the data directory. They are created once, never over existing data, and replaced on demand."""

import contextlib
import errno
import fcntl
import hashlib
import os
import resource
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flowrunner.domain.errors import FlowRunnerError

KEY_BYTES: Final = 32
# The kinds of keys that are stored as files.
MASTER: Final = "master"
SIGNING: Final = "signing"
_NEXT: Final = "next"


class UnsafeDataDir(FlowRunnerError):
    """A data directory that is accessible to others, incomplete or unusable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of an installation.

    Attributes:
        others: Replaced keys that may still be needed, and the next keys, by kind.
    """

    master: bytes = field(repr=False)
    signing: bytes = field(repr=False)
    others: Mapping[str, Sequence[bytes]] = field(repr=False)


class KeyRing:
    """The known keys of a kind by id, one of which is in use."""

    def __init__(self, kind: str, present: bytes, others: Iterable[bytes] = ()) -> None:
        self._kind = kind
        self._keys: dict[str, bytes] = {}
        for key in others:
            self.learn(key)
        self.id = self.learn(present)

    @property
    def ids(self) -> Set[str]:
        return frozenset(self._keys)

    @property
    def present(self) -> bytes:
        return self._keys[self.id]

    def find(self, id: str) -> bytes | None:
        return self._keys.get(id)

    def learn(self, key: bytes) -> str:
        """Add a key; return its id."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a {self._kind} key has {KEY_BYTES} bytes")
        id = key_id(self._kind, key)
        self._keys[id] = key
        return id

    def use(self, id: str) -> None:
        """Use a known key from now on. The others still open what they have sealed or signed."""
        assert id in self._keys, "only a known key can be used"
        self.id = id

    def forget(self, id: str) -> None:
        self._keys.pop(id, None)


def key_id(kind: str, key: bytes) -> str:
    """Return the public id of a key, which reveals nothing about the key."""
    return hashlib.sha256(f"flowrunner {kind} key id".encode() + key).hexdigest()[:16]


def open_data_dir(path: Path) -> None:
    """Create the directory with access for its owner only; reject one that is accessible to others.

    Raises:
        UnsafeDataDir.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnsafeDataDir(f"Cannot create the data directory {path}: {error.strerror}") from None
    _check_private(path, 0o700)


def make_directory(path: Path) -> None:
    """Create a directory in the data directory, for its owner only, unless there is one."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)


def make_file(path: Path) -> None:
    """Create an empty file in the data directory, for its owner only, unless there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    try:
        give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)


def give_to_owner(descriptor: int, directory: Path) -> None:
    """Give the open file that root has created to the owner of its directory.

    Otherwise a command that root runs would leave files that a server with a user of its own cannot read.
    """
    if os.geteuid() != 0:
        return
    around = directory.stat()
    if os.fstat(descriptor).st_uid != around.st_uid:
        # Some file systems have no owners, and some containers may not change them.
        with contextlib.suppress(OSError):
            os.fchown(descriptor, around.st_uid, around.st_gid)


def load_keys(data_dir: Path, *, has_data: bool) -> Keys:
    """Load the keys of this installation, and create them if it is new.

    Args:
        has_data: A database exists. A missing key is an error then, because a new one could not decrypt
            stored data.

    Raises:
        UnsafeDataDir.
    """
    # Core dumps would contain the keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    directory = data_dir / "keys"
    with explain_unwritable(directory):
        if not has_data and not directory.exists():
            # Another process may be creating it at the same time.
            make_directory(directory)
            _sync_directory(data_dir)
        if directory.exists():
            _check_private(directory, 0o700)
        if not has_data:
            _make_missing(data_dir)
        return Keys(
            master=_load(directory / f"{MASTER}.key"),
            signing=_load(directory / f"{SIGNING}.key"),
            others={kind: _others(directory, kind) for kind in (MASTER, SIGNING)},
        )


def _make_missing(data_dir: Path) -> None:
    """Create missing keys. Of several processes that start in the same directory, one creates them for all."""
    files = [data_dir / "keys" / f"{kind}.key" for kind in (MASTER, SIGNING)]
    # If all keys exist, nothing is written, not even a lock: the directory may be mounted read-only.
    if all(file.exists() for file in files):
        return
    with _locked_keys(data_dir):
        for file in files:
            if not file.exists():
                _write_new_key(file)


def read_keys(data_dir: Path, kind: str) -> Sequence[bytes]:
    """Return all keys of a kind: current, replaced and next. Raises: UnsafeDataDir."""
    directory = data_dir / "keys"
    # In this order, because the current key may become one of the others while this runs.
    return [*_others(directory, kind), _load(directory / f"{kind}.key"), *_others(directory, kind)]


def _others(directory: Path, kind: str) -> list[bytes]:
    return [_load(path) for path in sorted(directory.glob(f"{kind}.*.key"))]


def next_key(data_dir: Path, kind: str) -> bytes:
    """Return the next key, which will replace the current one. A new one is created if there is none.

    Raises:
        UnsafeDataDir.
    """
    with _locked_keys(data_dir) as directory:
        path = directory / f"{kind}.{_NEXT}.key"
        if not path.exists():
            _write_new_key(path)
        return _load(path)


def put_in_place(data_dir: Path, kind: str, id: str) -> None:
    """Make a key in the directory the current one; the previous one is kept under its id.

    After a crash, the file contains one of the two, and neither is lost.
    """
    path = data_dir / "keys" / f"{kind}.key"
    if key_id(kind, _load(path)) == id:
        return
    with _locked_keys(data_dir) as directory:
        present = _load(path)
        if key_id(kind, present) == id:
            return
        kept = _kept(path, kind, key_id(kind, present))
        if not kept.exists():
            write_private(kept, present.hex() + "\n")
        for other in directory.glob(f"{kind}.*.key"):
            if key_id(kind, _load(other)) == id:
                other.rename(path)
                _sync_directory(directory)
                return


def drop_next_key(data_dir: Path, kind: str, id: str) -> None:
    """Delete the next key if it has this id, because another key was chosen."""
    with _locked_keys(data_dir) as directory:
        path = directory / f"{kind}.{_NEXT}.key"
        if path.exists() and key_id(kind, _load(path)) == id:
            path.unlink()


@contextlib.contextmanager
def _locked_keys(data_dir: Path) -> Iterator[Path]:
    """Lock the directory of the keys, which other processes may share, and yield it."""
    directory = data_dir / "keys"
    make_file(directory / ".lock")
    descriptor = os.open(directory / ".lock", os.O_WRONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(descriptor)


def forget_key(data_dir: Path, kind: str, id: str) -> None:
    """Delete a replaced key."""
    with _locked_keys(data_dir) as directory:
        _kept(directory / f"{kind}.key", kind, id).unlink(missing_ok=True)
        _sync_directory(directory)


def _kept(path: Path, kind: str, id: str) -> Path:
    return path.with_name(f"{kind}.{id}.key")


def _write_new_key(path: Path) -> None:
    write_private(path, secrets.token_hex(KEY_BYTES) + "\n")


def _load(path: Path) -> bytes:
    if not path.exists():
        raise UnsafeDataDir(
            f"{path} is missing, but there is a database: restore the key from your backup, or copy the directory "
            "'keys' from another server of the database. "
            "FlowRunner never creates a new key over existing data"
        )
    _check_private(path, 0o600)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise UnsafeDataDir(
            f"Cannot read {path}: {error.strerror}{_whose(path)}: "
            "run the command as the user that the server runs as, and let this user own the file"
        ) from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UnsafeDataDir(f"{path} does not contain a key of 64 hexadecimal digits")
    return key


def write_private(path: Path, text: str) -> None:
    """Create a file that only its owner can read. After a crash, it exists completely or not at all.

    Raises:
        FileExistsError.
    """
    # The caller has locked the data directory or the keys, so no other process creates the file, and an existing draft
    # is left over from a crash.
    if path.exists():
        raise FileExistsError(path)
    _write_over(path, text)


def _write_over(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        give_to_owner(descriptor, path.parent)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check_private(path: Path, mode: int) -> None:
    found = path.stat()
    actual = stat.S_IMODE(found.st_mode)
    if actual & 0o077:
        chown = "" if found.st_uid == os.geteuid() else f"chown {os.geteuid()} {path} && "
        raise UnsafeDataDir(f"{path} can be read by others (mode {actual:04o}): run '{chown}chmod {mode:o} {path}'")


_MAY_NOT: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Explain why ``path`` cannot be created or written, and name its owner if permission is denied.

    Raises:
        UnsafeDataDir.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_MAY_NOT, *_NO_ROOM):
            raise
        whose = "" if error.errno in _NO_ROOM else _whose(path)
        raise UnsafeDataDir(f"Cannot write to {path}: {error.strerror}{whose}") from None


def _whose(path: Path) -> str:
    """Return a clause that names the owner of the path, if that is another user."""
    owner, user = _owner(path), os.geteuid()
    return "" if owner in (None, user) else f"; it belongs to user {owner}, and this is user {user}"


def _owner(path: Path) -> int | None:
    """Return the owner of the path or of its closest existing parent."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return place.stat().st_uid
    return None
