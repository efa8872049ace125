"""Percentiles and distributions of what an overview shows."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowrunner.domain.account import NEVER, Caller, Session
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.status import Status
from flowrunner.domain.values import AccountId, ExecutionId, FlowId, SessionId, WorkspaceId
from flowrunner.ids import first_id
from flowrunner.ports.overview import IdRange, RecentActivity, RecentExecution, RecentFlow
from flowrunner.services.overview import MOST_IN_A_BUCKET, SHOWN_OF_A_FLOW, Overviews, Percentiles
from support.databases import MARA, NOON

CALLER = Caller(account_id=AccountId(MARA), role="user", credential=Session(SessionId("s"), NOON), expires_at=NEVER)


class Stopped:
    def now(self) -> datetime:
        return NOON


class Given:
    """A reader that gives what a test says."""

    def __init__(self, statuses: Sequence[Status] = (), durations: Sequence[int] = (), most: int = 0) -> None:
        self.statuses = statuses
        self.given = durations
        self.most = most
        self.asked: list[IdRange] = []

    async def activity(
        self,
        workspace_id: WorkspaceId,
        *,
        flows: int,
        of_each: int,
        open_ones: int,
        ids: Sequence[FlowId] | None = None,
    ) -> RecentActivity:
        executions = [
            RecentExecution(
                id=ExecutionId(f"exec-{n}"),
                status=status,
                started_at=NOON,
                completed_at=NOON + timedelta(seconds=n) if status.is_final else None,
            )
            for n, status in enumerate(self.statuses)
        ]
        flow = RecentFlow(id=FlowId("flow-1"), name="F", is_disabled=False, executions=executions)
        return RecentActivity(counts={}, waiting=[], running=[], flows=[flow], failing_flows=0)

    async def counts(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, ranges: Sequence[IdRange], *, most: int
    ) -> Sequence[Mapping[Status, int]]:
        self.asked = list(ranges)
        return [{Status.COMPLETED: self.most} for _ in ranges]

    async def durations(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, within: IdRange, *, most: int
    ) -> Sequence[int]:
        return self.given


@pytest.mark.parametrize(
    ("statuses", "is_failing"),
    [
        ([Status.FAILED, Status.COMPLETED], True),
        ([Status.COMPLETED, Status.FAILED], False),
        ([Status.RUNNING, Status.FAILED], True),
        ([Status.CANCELLED, Status.FAILED], False),
        ([Status.RUNNING], False),
        ([], False),
    ],
)
async def test_a_flow_is_failing_if_the_last_execution_that_has_ended_failed(
    statuses: Sequence[Status], is_failing: bool
) -> None:
    (flow,) = (await Overviews(Given(statuses), Stopped()).of_workspace(CALLER, flows=1)).flows

    assert (flow.failure is not None) == is_failing


def test_a_percentile_is_one_of_the_durations() -> None:
    assert Percentiles.of([]) is None
    assert Percentiles.of([7]) == Percentiles(sample=1, p50=7, p95=7)
    assert Percentiles.of([3, 1, 2]) == Percentiles(sample=3, p50=2, p95=3)
    assert Percentiles.of([*range(100, 0, -1)]) == Percentiles(sample=100, p50=50, p95=95)


async def test_the_buckets_cover_the_time_without_gaps() -> None:
    reader = Given()
    since, until = NOON - timedelta(hours=1), NOON

    found = await Overviews(reader, Stopped()).histogram(CALLER, flow_id=None, since=since, until=until, buckets=7)

    assert (found.buckets[0].first, found.buckets[-1].end) == (since, until)
    assert [one.end for one in reader.asked[:-1]] == [one.first for one in reader.asked[1:]]
    assert (reader.asked[0].first, reader.asked[-1].end) == (first_id("exec", since), first_id("exec", until))


async def test_a_number_that_is_a_lower_bound_is_marked() -> None:
    for most, is_exact in ((3, True), (MOST_IN_A_BUCKET, True), (MOST_IN_A_BUCKET + 1, False)):
        found = await Overviews(Given(most=most), Stopped()).histogram(
            CALLER, flow_id=None, since=None, until=None, buckets=1
        )

        assert found.buckets[0].counts == {Status.COMPLETED: min(most, MOST_IN_A_BUCKET)}
        assert found.buckets[0].is_exact is is_exact


async def test_durations_are_distributed_between_their_shortest_and_longest() -> None:
    reader = Given(durations=[3, 4, 12, 70])

    found = await Overviews(reader, Stopped()).histogram(CALLER, flow_id=None, since=None, until=None, buckets=1)

    assert found.distribution == [(2, 5, 2), (5, 10, 0), (10, 20, 1), (20, 50, 0), (50, 100, 1)]


async def test_a_duration_at_a_limit_belongs_to_what_begins_there() -> None:
    reader = Given(durations=[0, 1, 1, 2, 5])

    found = await Overviews(reader, Stopped()).histogram(CALLER, flow_id=None, since=None, until=None, buckets=1)

    assert found.distribution == [(0, 1, 1), (1, 2, 2), (2, 5, 1), (5, 10, 1)]


async def test_a_time_too_short_for_its_buckets_is_rejected() -> None:
    for since in (NOON, NOON + timedelta(days=1), NOON - timedelta(milliseconds=5)):
        with pytest.raises(InvalidInput):
            await Overviews(Given(), Stopped()).histogram(CALLER, flow_id=None, since=since, until=NOON, buckets=10)


class Slow(Given):
    """A reader whose counts take until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[WorkspaceId] = []
        self.released = asyncio.Event()

    async def counts(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, ranges: Sequence[IdRange], *, most: int
    ) -> Sequence[Mapping[Status, int]]:
        self.readers.append(workspace_id)
        await self.released.wait()
        return await super().counts(workspace_id, flow_id, ranges, most=most)


async def test_many_histograms_of_an_account_do_not_delay_another() -> None:
    reader = Slow()
    overviews, other = Overviews(reader, Stopped()), replace(CALLER, account_id=AccountId("acct-other"))

    async with asyncio.TaskGroup() as tasks:
        for caller in (*[CALLER] * 20, other):
            tasks.create_task(overviews.histogram(caller, flow_id=None, since=None, until=None, buckets=1))
        for _ in range(5):
            await asyncio.sleep(0)
        reading = list(reader.readers)
        reader.released.set()

    assert reading == [CALLER.workspace_id, other.workspace_id]
    assert len(reader.readers) == 21


async def test_as_many_flows_are_read_as_are_asked_for_each_with_its_last_executions() -> None:
    asked: list[dict[str, Any]] = []

    class Noting(Given):
        async def activity(self, workspace_id: WorkspaceId, **what: Any) -> RecentActivity:
            asked.append(what)
            return await super().activity(workspace_id, **what)

    await Overviews(Noting(), Stopped()).of_workspace(CALLER, flows=7, ids=[FlowId("flow-1")])

    assert asked[0] | {"open_ones": 0} == {"flows": 7, "of_each": SHOWN_OF_A_FLOW, "open_ones": 0, "ids": ["flow-1"]}
