"""The memory for loaded executions: each gives back what it has taken, and nothing else."""

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.security.memory_room import FairMemory

MARA, ID, MIB = WorkspaceId("mara"), ExecutionId("exec-1"), 2**20


async def test_an_execution_that_found_no_room_gives_none_back() -> None:
    room = FairMemory()
    first, second = room.loading(), room.loading()
    assert first.take_at_once(MARA, 63 * MIB)

    assert not second.take_at_once(MARA, 63 * MIB)
    second.give_back()

    # The first one has all that a workspace may have.
    assert not room.loading().take_at_once(MARA, 0)
    first.give_back()
    assert room.loading().take_at_once(MARA, 63 * MIB)


async def test_what_an_execution_does_not_need_after_all_is_free_before_it_leaves() -> None:
    room = FairMemory()
    loading = room.loading()
    await loading.take(MARA, 63 * MIB)

    loading.keep(ID, 31 * MIB)

    assert not room.loading().take_at_once(MARA, 32 * MIB)
    assert room.loading().take_at_once(MARA, 31 * MIB)
    loading.give_back()
    loading.give_back()
    assert room.loading().take_at_once(MARA, 31 * MIB)
    assert not room.loading().take_at_once(MARA, 0)
