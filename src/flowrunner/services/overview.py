"""Use cases of screens that show many executions at once: an overview, and numbers over time."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import invalid
from flowrunner.domain.status import FINAL, Status
from flowrunner.domain.values import FlowId, milliseconds
from flowrunner.ids import first_id
from flowrunner.ports.clock import Clock
from flowrunner.ports.overview import IdRange, OverviewReader, RecentActivity, RecentExecution, RecentFlow
from flowrunner.services.account_locks import AccountLocks

# Executions of a flow that are shown, and that its percentiles are of.
SHOWN_OF_A_FLOW: Final = 20
_OPEN_ONES: Final = 10
MOST_BUCKETS: Final = 200
# What is counted exactly in one bucket of one status.
MOST_IN_A_BUCKET: Final = 10_000
_SAMPLE: Final = 1000
_DEFAULT_SPAN: Final = timedelta(days=1)
# Limits of the distribution of durations, in milliseconds: 0, 1, 2, 5, 10 … up to 11 days.
_EDGES: Final = (0, *(step * 10**power for power in range(9) for step in (1, 2, 5)), 10**9)
# Reads at a time over all accounts, so that the other connections stay free. An account has one of them.
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of durations, in milliseconds.

    Attributes:
        sample: The number of durations.
    """

    sample: int
    p50: int
    p95: int

    @classmethod
    def of(cls, durations: Sequence[int]) -> "Percentiles | None":
        """Return the percentiles, each one of the durations; None if there is none."""
        if not durations:
            return None
        ordered = sorted(durations)

        def at(share: float) -> int:
            return ordered[math.ceil(share * len(ordered)) - 1]

        return cls(sample=len(ordered), p50=at(0.5), p95=at(0.95))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowActivity:
    """The recent activity of a flow.

    Attributes:
        failure: Its last execution that has ended, if that has failed.
    """

    flow: RecentFlow
    failure: RecentExecution | None
    durations: Percentiles | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    at: datetime
    activity: RecentActivity
    flows: Sequence[FlowActivity]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The executions that started within a bucket of time. Args: is_exact: No number is a lower bound."""

    first: datetime
    end: datetime
    counts: Mapping[Status, int]
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionHistogram:
    """Numbers of executions over time, and the distribution of the durations of the last ones that completed.

    Attributes:
        distribution: Durations from and up to, in milliseconds, and how many are between.
    """

    buckets: Sequence[Bucket]
    durations: Percentiles | None
    distribution: Sequence[tuple[int, int, int]]


class Overviews:
    def __init__(self, reader: OverviewReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._locks = AccountLocks()
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def of_workspace(self, caller: Caller, *, flows: int, ids: Sequence[FlowId] | None = None) -> Overview:
        """Return the overview of the workspace that the request acts in.

        Args:
            flows: The maximum number of flows, those with the newest executions first.
            ids: Ids of the flows to return, instead of the newest ones; of an unknown one there is nothing.
        """
        async with self._locks.of(caller), self._reading:
            activity = await self._reader.activity(
                caller.workspace_id, flows=flows, of_each=SHOWN_OF_A_FLOW, open_ones=_OPEN_ONES, ids=ids
            )
        return Overview(at=self._clock.now(), activity=activity, flows=[_activity_of(flow) for flow in activity.flows])

    async def histogram(
        self, caller: Caller, *, flow_id: FlowId | None, since: datetime | None, until: datetime | None, buckets: int
    ) -> ExecutionHistogram:
        """Count the executions that started between two moments, by default of the last day. Raises: InvalidInput."""
        end = self._clock.now() if until is None else until
        first = end - _DEFAULT_SPAN if since is None else since
        if (end - first) / buckets < timedelta(milliseconds=1):
            raise invalid("since", "must be before 'until' by a millisecond for each bucket")
        moments = [first + (end - first) * number / buckets for number in range(buckets + 1)]
        # Several moments may be in one millisecond after rounding, and ids have milliseconds.
        ranges = [IdRange(first_id("exec", a), first_id("exec", b)) for a, b in pairwise(moments)]
        within = IdRange(ranges[0].first, ranges[-1].end)
        async with self._locks.of(caller), self._reading:
            counts = await self._reader.counts(caller.workspace_id, flow_id, ranges, most=MOST_IN_A_BUCKET + 1)
            durations = await self._reader.durations(caller.workspace_id, flow_id, within, most=_SAMPLE)
        return ExecutionHistogram(
            buckets=[_bucket(a, b, found) for (a, b), found in zip(pairwise(moments), counts, strict=True)],
            durations=Percentiles.of(durations),
            distribution=_distribution(durations),
        )


def _activity_of(flow: RecentFlow) -> FlowActivity:
    ended = next((one for one in flow.executions if one.status in FINAL), None)
    durations = [
        milliseconds(one.completed_at - one.started_at)
        for one in flow.executions
        if one.status is Status.COMPLETED and one.completed_at is not None
    ]
    return FlowActivity(
        flow=flow,
        failure=ended if ended is not None and ended.status is Status.FAILED else None,
        durations=Percentiles.of(durations),
    )


def _bucket(first: datetime, end: datetime, counts: Mapping[Status, int]) -> Bucket:
    bounded = {status: min(count, MOST_IN_A_BUCKET) for status, count in counts.items()}
    return Bucket(first, end, bounded, is_exact=bounded == dict(counts))


def _distribution(durations: Sequence[int]) -> Sequence[tuple[int, int, int]]:
    """Return how many durations are between two limits, from the shortest to the longest."""
    found = [(low, high, sum(low <= duration < high for duration in durations)) for low, high in pairwise(_EDGES)]
    while found and not found[-1][2]:
        found.pop()
    while found and not found[0][2]:
        found.pop(0)
    return found
