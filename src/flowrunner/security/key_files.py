"""The key files of a data directory as text, for backups."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from flowrunner.security.keys import KEY_BYTES, MASTER, SIGNING, key_id, make_directory, open_data_dir, write_private

_NAME: Final = re.compile(rf"({MASTER}|{SIGNING})(\.[0-9a-f]{{16}}|\.next)?\.key")
_KEY: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")
_CURRENT: Final = frozenset({f"{MASTER}.key", f"{SIGNING}.key"})


def read_key_files(data_dir: Path) -> dict[str, str]:
    """Return the keys in hexadecimal digits, by the names of their files."""
    found = {}
    for path in sorted((data_dir / "keys").glob("*.key")):
        # A rotation may have moved it meanwhile; the key is then in another file.
        if _NAME.fullmatch(path.name) and path.exists():
            found[path.name] = path.read_text().strip()
    return found


def with_earlier(files: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    """Return the files, and the earlier keys that are not among them under the names of replaced keys."""
    known = set(files.values())
    kept = {
        f"{_kind(name)}.{key_id(_kind(name), bytes.fromhex(key))}.key": key
        for name, key in earlier.items()
        if key not in known
    }
    return {**kept, **files}


def ids_of(kind: str, files: Mapping[str, str]) -> frozenset[str]:
    """Return the public ids of the keys of a kind."""
    return frozenset(key_id(kind, bytes.fromhex(key)) for name, key in files.items() if _kind(name) == kind)


def are_complete(files: Mapping[str, str]) -> bool:
    """Return whether a server can start with the keys: whether the current one of each kind is among them."""
    return files.keys() >= _CURRENT


def write_key_files(data_dir: Path, files: Mapping[str, str]) -> None:
    """Write the keys that a data directory lacks. After a crash, those in it are not complete.

    Raises: ValueError if these are not files of keys.
    """
    if not are_key_files(files.items()):
        raise ValueError("not files of keys")
    make_directory(data_dir / "keys")
    open_data_dir(data_dir / "keys")
    present = read_key_files(data_dir)
    # The current keys last, because they show that all others are there.
    for name in sorted(files.keys() - present.keys(), key=lambda name: (name in _CURRENT, name)):
        write_private(data_dir / "keys" / name, files[name] + "\n")


def are_key_files(files: Iterable[tuple[str, str]]) -> bool:
    """Return whether all names are those of key files, and all texts keys."""
    return all(_NAME.fullmatch(name) and _KEY.fullmatch(key) for name, key in files)


def _kind(name: str) -> str:
    return name.partition(".")[0]
