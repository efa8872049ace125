"""The memory that the system lets a server use, beside what its executions may hold."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flowrunner.bootstrap.memory_limit import memory_fault, memory_limit
from flowrunner.settings import Settings

MIB = 2**20


def limit_in(tmp_path: Path, group: str, limits: Mapping[str, str]) -> int | None:
    """Return the limit of a process in a group, where these groups have limits."""
    own, root = tmp_path / "own", tmp_path / "groups"
    own.write_text(f"1:cpu:/other\n{group}\n")
    for name, limit in {".": "", **limits}.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        if limit:
            (root / name / "memory.max").write_text(f"{limit}\n")
    return memory_limit(own=own, root=root)


@pytest.mark.parametrize(
    ("group", "limits", "limit"),
    [
        ("0::/", {".": "536870912"}, 512 * MIB),
        ("0::/", {".": "max"}, None),
        ("0::/", {}, None),
        ("0::/system.slice/flows.service", {"system.slice/flows.service": "1000"}, 1000),
        ("0::/a/b", {"a": "1000", "a/b": "2000"}, 1000),
        ("0::/a/b", {"a": "max", "a/b": "2000"}, 2000),
        ("0::/a", {"b": "1000"}, None),
        ("9:memory:/a", {"a": "1000"}, None),
    ],
)
def test_the_lowest_limit_of_the_groups_around_a_process_holds(
    tmp_path: Path, group: str, limits: Mapping[str, str], limit: int | None
) -> None:
    assert limit_in(tmp_path, group, limits) == limit


def test_a_system_without_groups_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit(own=tmp_path / "none", root=tmp_path) is None


@pytest.mark.parametrize(
    ("memory", "processes", "limit", "fault"),
    [
        (512 * MIB, 1, 1024 * MIB, None),
        (512 * MIB, 2, 1024 * MIB, None),
        (512 * MIB, 3, None, None),
        (512 * MIB, 3, 2048 * MIB, None),
        (
            512 * MIB,
            2,
            1024 * MIB - 1,
            "the values of executions may take 512 MiB (execution_memory), which is more than half of the limit of "
            "this container or service, 1023 MiB",
        ),
        (
            512 * MIB,
            3,
            2048 * MIB - 1,
            "the values of executions may take 512 MiB (execution_memory) in each of 2 processes, which is more than "
            "half of the limit of this container or service, 2047 MiB",
        ),
        (
            None,
            1,
            512 * MIB,
            "the values of executions have no limit (execution_memory is 0), unlike the limit of this container or "
            "service, 512 MiB",
        ),
    ],
)
def test_executions_that_may_hold_more_than_there_is_are_a_fault(
    memory: int | None, processes: int, limit: int | None, fault: str | None
) -> None:
    assert memory_fault(Settings(execution_memory=memory, processes=processes), limit) == fault
