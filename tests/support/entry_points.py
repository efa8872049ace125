"""The entry points of installed packages, found once."""

import importlib.metadata
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any


def remember_entry_points() -> None:
    """Let this process and its forks read the packages of a directory again only when some came or went.

    Each program looks for installed node types when it starts: in the many packages that tests need, for 8 ms.
    """
    importlib.metadata.entry_points = _entry_points  # type: ignore[assignment]
    _entry_points()


def _entry_points(**params: Any) -> EntryPoints:
    # What is found first stands for all packages of its name.
    found: dict[str, Sequence[EntryPoint]] = {}
    for directory in map(Path, dict.fromkeys(sys.path)):
        if directory.is_dir():
            for name, entries in _installed(str(directory.absolute()), directory.stat().st_mtime_ns):
                found.setdefault(name, entries)
    return EntryPoints(entry for entries in found.values() for entry in entries).select(**params)


@lru_cache(maxsize=64)
def _installed(directory: str, changed_at: int) -> Sequence[tuple[str, Sequence[EntryPoint]]]:
    packages = importlib.metadata.distributions(path=[directory])
    return [(package.name.lower().replace("-", "_"), tuple(package.entry_points)) for package in packages]
