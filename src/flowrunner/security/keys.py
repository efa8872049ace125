"""The keys in the data directory: made once, never again over data, and replaced on demand."""

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
# The kinds of keys that are files.
MASTER: Final = "master"
SIGNING: Final = "signing"
_NEXT: Final = "next"


class UnsafeDataDir(FlowRunnerError):
    """The data directory cannot be trusted, or lacks what it must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Attributes: others: What was replaced and may still be needed, and what is to come next, by kind."""

    master: bytes = field(repr=False)
    signing: bytes = field(repr=False)
    others: Mapping[str, Sequence[bytes]] = field(repr=False)


class KeyRing:
    """The keys of a kind that a process knows, by id, and which of them it uses."""

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
        """Gives its id."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a {self._kind} key has {KEY_BYTES} bytes")
        id = key_id(self._kind, key)
        self._keys[id] = key
        return id

    def use(self, id: str) -> None:
        """Of those it knows; the others stay good for what they have sealed or signed."""
        assert id in self._keys, "only a key that is known can be used"
        self.id = id

    def forget(self, id: str) -> None:
        self._keys.pop(id, None)


def key_id(kind: str, key: bytes) -> str:
    """What a key is known by; tells nothing of it."""
    return hashlib.sha256(f"flowrunner {kind} key id".encode() + key).hexdigest()[:16]


def open_data_dir(path: Path) -> None:
    """Make the directory, for its owner alone; refuse one that others can enter.

    Raises:
        UnsafeDataDir.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnsafeDataDir(f"Cannot make the data directory {path}: {error.strerror}") from None
    _check_private(path, 0o700)


def load_keys(data_dir: Path, *, has_data: bool) -> Keys:
    """The keys of this installation, made if it is new.

    Args:
        has_data: There is a database already. Then a missing key is an error: a new one could
            open nothing of what is stored.

    Raises:
        UnsafeDataDir.
    """
    # What the process leaves when it crashes must not hold them.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    directory = data_dir / "keys"
    with explain_unwritable(directory):
        if not has_data and not directory.exists():
            # Another process may be making it at this moment.
            directory.mkdir(mode=0o700, exist_ok=True)
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
    """Make the keys that are not there. Of processes that start at once in one directory, one makes them for all."""
    files = [data_dir / "keys" / f"{kind}.key" for kind in (MASTER, SIGNING)]
    # Nothing is written where they are: not to a lock either, in a directory that is mounted read-only.
    if all(file.exists() for file in files):
        return
    with _alone(data_dir):
        for file in files:
            if not file.exists():
                _write_new_key(file)


def read_keys(data_dir: Path, kind: str) -> Sequence[bytes]:
    """Every key of the kind that is there now, whatever its part. Raises: UnsafeDataDir."""
    directory = data_dir / "keys"
    # In this order: the present one may become one of the others meanwhile.
    return [*_others(directory, kind), _load(directory / f"{kind}.key"), *_others(directory, kind)]


def _others(directory: Path, kind: str) -> list[bytes]:
    return [_load(path) for path in sorted(directory.glob(f"{kind}.*.key"))]


def next_key(data_dir: Path, kind: str) -> bytes:
    """The key that is to take the place of the present one: the one that lies there for it, or a new one.

    Raises:
        UnsafeDataDir.
    """
    with _alone(data_dir) as directory:
        path = directory / f"{kind}.{_NEXT}.key"
        if not path.exists():
            _write_new_key(path)
        return _load(path)


def put_in_place(data_dir: Path, kind: str, id: str) -> None:
    """Make one of the keys in the directory the present one, which is kept under its id.

    However this ends, the file holds the one or the other, and none is lost.
    """
    path = data_dir / "keys" / f"{kind}.key"
    if key_id(kind, _load(path)) == id:
        return
    with _alone(data_dir) as directory:
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
    """Delete the key that was to take the place of the present one, if it is that: another one does."""
    with _alone(data_dir) as directory:
        path = directory / f"{kind}.{_NEXT}.key"
        if path.exists() and key_id(kind, _load(path)) == id:
            path.unlink()


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[Path]:
    """The directory of the keys, which other processes may share."""
    directory = data_dir / "keys"
    descriptor = os.open(directory / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(descriptor)


def forget_key(data_dir: Path, kind: str, id: str) -> None:
    """Delete a key that was replaced."""
    with _alone(data_dir) as directory:
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
            "of keys from another server of the database. "
            "FlowRunner never makes a new key over existing data"
        )
    _check_private(path, 0o600)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (ValueError, OSError):
        key = b""
    if len(key) != KEY_BYTES:
        raise UnsafeDataDir(f"{path} does not hold a key: 64 hexadecimal digits")
    return key


def write_private(path: Path, text: str) -> None:
    """Make a file that only its owner can read; however this ends, it is there whole or not at all.

    Raises:
        FileExistsError.
    """
    # Whoever writes here holds the data directory or that of the keys: nobody else makes the file meanwhile, and a
    # draft that is there is left over from a kill.
    if path.exists():
        raise FileExistsError(path)
    _write_over(path, text)


def _write_over(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
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
    """Around what makes or writes ``path``: says why it cannot be, and whose it is where the user may not.

    Raises:
        UnsafeDataDir.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_MAY_NOT, *_NO_ROOM):
            raise
        owner, user = _owner(path), os.geteuid()
        whose = (
            ""
            if owner in (None, user) or error.errno in _NO_ROOM
            else f"; it belongs to user {owner}, and this is user {user}"
        )
        raise UnsafeDataDir(f"Cannot write to {path}: {error.strerror}{whose}") from None


def _owner(path: Path) -> int | None:
    """Of what is there, or would hold it."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return place.stat().st_uid
    return None
