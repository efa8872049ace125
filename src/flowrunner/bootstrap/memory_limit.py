"""The memory that the system lets this process use, and whether the values of executions fit into it."""

from pathlib import Path
from typing import Final

from flowrunner.domain.counted import counted
from flowrunner.settings import Settings

_MIB: Final = 2**20
# What is not a value of an execution takes as much again: the program, the database's cache, requests.
_SHARE: Final = 2
HINT: Final = (
    "lower the settings execution_memory or processes, or raise the limit: otherwise the system ends the server"
)


def memory_limit(*, own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of memory that the control groups (v2) of this process may use; None without a limit.

    Args:
        own: Names the group of this process. In a container that is mostly the root of what it sees.
        root: The directory of all groups.
    """
    try:
        named = next((line[3:] for line in own.read_text().splitlines() if line.startswith("0::/")), None)
    except OSError:
        return None
    if named is None:
        return None
    group = root / named.strip("/")
    limits = [_limit_of(one) for one in (group, *group.parents) if one.is_relative_to(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit_of(group: Path) -> int | None:
    try:
        text = (group / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def memory_fault(settings: Settings, limit: int | None) -> str | None:
    """Return why the values of executions may take more memory than the process may use; None if they may not."""
    if limit is None:
        return None
    there_is = f"the limit of this container or service, {limit // _MIB} MiB"
    if settings.execution_memory is None:
        return f"the values of executions have no limit (execution_memory is 0), unlike {there_is}"
    # Of several processes, the first one advances no executions.
    holding = max(settings.processes - 1, 1)
    if settings.execution_memory * holding * _SHARE <= limit:
        return None
    processes = f" in each of {counted(holding, 'process', 'processes')}" if holding > 1 else ""
    memory = f"{settings.execution_memory // _MIB} MiB (execution_memory){processes}"
    return f"the values of executions may take {memory}, which is more than half of {there_is}"
