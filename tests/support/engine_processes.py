"""The engine processes of a server, as the system lists them."""

from collections.abc import Sequence
from pathlib import Path


def engine_processes_of(pid: int) -> Sequence[int]:
    """Return the engine processes that a server has started and that have not ended."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, task.read_text().split())
    return sorted(child for child in children if is_engine_process(child))


def is_engine_process(pid: int) -> bool:
    """Return whether it runs, and is an engine process."""
    try:
        return b"flowrunner.engine_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
