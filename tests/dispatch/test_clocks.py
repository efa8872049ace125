"""Clocks of machines that go wrong by a few seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from dispatch.cluster import Cluster
from flowrunner.clock import SystemClock
from flowrunner.domain.status import Status


@dataclass
class WrongClock(SystemClock):
    wrong_by: timedelta

    def __post_init__(self) -> None:
        super().__init__()

    def now(self) -> datetime:
        return super().now() + self.wrong_by


@pytest.mark.parametrize("seconds", [-5, 5])
async def test_a_wait_is_as_long_as_the_worker_says_whatever_temporal_s_clock_shows(
    machines: Cluster, seconds: int
) -> None:
    machines.clock = WrongClock(timedelta(seconds=seconds))
    async with machines.server() as front, machines.worker():
        await front.save("nodes: {rest: {type: delay, params: {duration: 3s}}}")
        id = await front.start()
        assert await front.until_ended(id) == [Status.COMPLETED]
        history = await front.client.get_workflow_handle(id).fetch_history()

    (seconds_waited,) = timers(history.events)
    assert 0 < seconds_waited <= 3


async def test_a_newer_execution_takes_the_place_of_one_by_a_server_whose_clock_is_ahead(machines: Cluster) -> None:
    machines.clock = WrongClock(timedelta(seconds=5))
    async with machines.server() as ahead:
        machines.clock = WrongClock(timedelta(seconds=-5))
        async with machines.server() as behind, machines.worker():
            await ahead.save("""
                limits: {concurrency: {max: 1, on_limit: replace}}
                nodes: {ask: {type: wait, params: {key: go}}}
                """)
            older = await ahead.start()
            await ahead.until_waiting(older)
            newer = await behind.start()

            assert newer < older
            assert await behind.until_ended(older) == [Status.CANCELLED]
            # Whoever looks for what was left undone sees it in the same way.
            await ahead.dispatcher._reconcile_all()
            await behind.until_waiting_for(newer, "ask")
            await behind.signals.send(behind.caller, newer, "go", None)
            assert await behind.until_ended(newer) == [Status.COMPLETED]


def timers(events: Sequence[HistoryEvent]) -> list[float]:
    return [
        event.timer_started_event_attributes.start_to_fire_timeout.ToMilliseconds() / 1000
        for event in events
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
    ]


def test_the_time_is_that_of_the_machine_also_after_its_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, given = SystemClock(), (5_000, 5_000, 5_001, 3_000, 3_000, 2_999, 9_000, 0)
    shown = []
    for milliseconds in given:
        monkeypatch.setattr("flowrunner.clock.time.time_ns", lambda now=milliseconds: now * 1_000_000 + 999_999)
        shown.append(clock.now())
    monkeypatch.undo()

    assert shown == [datetime.fromtimestamp(milliseconds / 1000, UTC) for milliseconds in given]
