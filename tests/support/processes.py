"""What processes this one has started, by pid."""

import os
from pathlib import Path


def children(pid: int | None = None) -> set[int]:
    """The living children of a process, by default of this one; zombies do not count."""
    parent = pid or os.getpid()
    found = set()
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            found |= {int(child) for child in path.read_text().split()}
        except OSError:
            continue
    return {child for child in found if is_alive(child)}


def fork_servers() -> set[int]:
    """The sandboxes of this process; the servers and databases of other tests are its children, too."""
    return {pid for pid in children() if _runs(pid, b"worker.py")}


def sandboxed() -> set[int]:
    """All processes of the sandboxes of this process."""
    return fork_servers().union(*map(descendants, fork_servers()))


def _runs(pid: int, program: bytes) -> bool:
    try:
        return program in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def descendants(pid: int | None = None) -> set[int]:
    found = children(pid)
    for child in list(found):
        found |= descendants(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
