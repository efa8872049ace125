"""The fair queue serves workspaces round-robin, and none starves the others."""

import time

from hypothesis import given
from hypothesis import strategies as st

from flowrunner.dispatch.fair_queue import ActiveLimit, FairQueue
from flowrunner.domain.values import ExecutionId, WorkspaceId

MARA, LENA = WorkspaceId("mara"), WorkspaceId("lena")


def queue_of(**waiting: int) -> FairQueue:
    queue = FairQueue()
    for workspace, count in waiting.items():
        for number in range(count):
            queue.add(ExecutionId(f"{workspace}-{number}"), WorkspaceId(workspace))
    return queue


def taken(queue: FairQueue) -> list[str]:
    order: list[str] = []
    while (found := queue.take()) is not None:
        order.append(found[0])
    return order


def test_a_long_backlog_delays_only_the_workspace_that_owns_it() -> None:
    queue = queue_of(mara=4, lena=2)

    assert taken(queue) == ["mara-0", "lena-0", "mara-1", "lena-1", "mara-2", "mara-3"]


def test_a_late_execution_is_next_after_one_of_each_waiting_workspace() -> None:
    queue = queue_of(mara=1000)
    assert [queue.take(), queue.take()] == [("mara-0", MARA), ("mara-1", MARA)]

    queue.add(ExecutionId("lena-0"), LENA)

    assert {queue.take(), queue.take()} == {("mara-2", MARA), ("lena-0", LENA)}


def test_workspaces_without_a_free_slot_are_skipped_and_keep_their_place() -> None:
    queue = queue_of(mara=2, lena=1)

    assert queue.take(unless=[MARA]) == ("lena-0", LENA)
    assert queue.take(unless=[MARA]) is None
    assert taken(queue) == ["mara-0", "mara-1"]


def test_what_was_removed_is_not_taken() -> None:
    queue = queue_of(mara=3)

    queue.remove(ExecutionId("mara-1"))
    queue.remove(ExecutionId("unknown"))

    assert len(queue) == 2
    assert taken(queue) == ["mara-0", "mara-2"]


def test_what_comes_back_has_its_place_again() -> None:
    queue = queue_of(mara=4)
    times = {id: queue.remove(ExecutionId(id)) for id in ("mara-0", "mara-2")}

    for id in ("mara-2", "mara-0"):
        queue.add(ExecutionId(id), MARA, since=times[id])

    assert queue.remove(ExecutionId("unknown")) is None
    assert taken(queue) == ["mara-0", "mara-1", "mara-2", "mara-3"]


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_everything_comes_out_once_and_in_the_order_of_its_workspace(workspaces: list[str]) -> None:
    queue = FairQueue()
    for number, workspace in enumerate(workspaces):
        queue.add(ExecutionId(f"{workspace}-{number:03}"), WorkspaceId(workspace))

    order = taken(queue)

    assert sorted(order) == sorted(f"{a}-{n:03}" for n, a in enumerate(workspaces))
    for workspace in set(workspaces):
        own = [id for id in order if id.startswith(workspace)]
        assert own == sorted(own)
    assert len(queue) == 0


def test_a_few_of_each_workspace_get_slots_when_another_has_taken_them_all() -> None:
    limit = ActiveLimit(most=3, sure=2)
    for _ in range(3):
        assert limit.has_free_slot(MARA)
        limit.enter(MARA)

    assert not limit.has_free_slot(MARA)
    assert limit.has_free_slot(LENA)
    limit.enter(LENA)
    limit.enter(LENA)

    assert not limit.has_free_slot(LENA)
    assert set(limit.full_workspaces()) == {MARA, LENA}


def test_a_freed_slot_can_be_taken_again() -> None:
    limit = ActiveLimit(most=1, sure=0)
    limit.enter(None)
    assert not limit.has_free_slot(MARA)

    limit.leave(None)

    assert limit.has_free_slot(MARA)
    assert list(limit.full_workspaces()) == []


def test_a_workspace_has_its_own_limit_even_while_there_are_free_slots() -> None:
    limit = ActiveLimit(most=10, sure=2, most_of_one=3)
    for _ in range(3):
        assert limit.has_free_slot(MARA)
        limit.enter(MARA)

    assert not limit.has_free_slot(MARA)
    assert list(limit.full_workspaces()) == [MARA]
    assert limit.has_free_slot(LENA)


def test_no_workspace_is_sure_of_more_than_its_own_limit() -> None:
    limit = ActiveLimit(most=2, sure=5, most_of_one=1)
    limit.enter(MARA)
    limit.enter(LENA)

    assert not limit.has_free_slot(MARA)
    assert limit.has_free_slot(WorkspaceId("omar"))


def test_the_ones_of_a_workspace_are_counted_while_they_wait() -> None:
    queue = queue_of(mara=3, lena=1)
    queue.take()
    queue.remove(ExecutionId("mara-2"))

    assert (queue.count(MARA), queue.count(LENA), queue.count(WorkspaceId("omar"))) == (1, 1, 0)


def test_the_longest_wait_is_that_of_the_execution_that_was_added_first() -> None:
    queue, now = FairQueue(), time.monotonic()
    assert queue.oldest_seconds == 0

    for workspace_id, seconds in ((MARA, 5), (MARA, 90), (LENA, 40)):
        queue.add(ExecutionId(f"{workspace_id}-{seconds}"), workspace_id, since=now - seconds)

    assert 90 <= queue.oldest_seconds < 180
