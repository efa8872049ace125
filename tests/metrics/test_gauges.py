"""Gauges of the parts of a program, also while the database does not answer."""

import asyncio
import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowrunner.bootstrap import telemetry
from flowrunner.bootstrap.telemetry import StoredBacklog
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.engine_processes import ProcessReport
from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import FlowId
from flowrunner.metrics import Metrics
from flowrunner.ports.system import Backlog, RunningExecutions, RunningFlow
from flowrunner.settings import Settings
from support.databases import MARA, NOON

LATE = Backlog(
    is_paused=True, callbacks=3, due_since=NOON - timedelta(seconds=90),
    waiting_for_slot_since=NOON - timedelta(seconds=5), waiting_for_concurrency_since=NOON - timedelta(seconds=7),
    job_runs={"jobs": NOON},
)  # fmt: skip
RUNNING = RunningExecutions(number=9, flows=[RunningFlow(MARA, FlowId("flow-1"), "Nightly\nsync", 7)])
DISPATCHER: Any = SimpleNamespace(oldest_queued_seconds=1.0, is_queue_known=True)


class Inspector:
    """The inspector of a database that answers, or does not."""

    def __init__(self, *answers: Backlog | None) -> None:
        self._answers = iter(answers)

    async def backlog(self) -> Backlog:
        found = next(self._answers)
        if found is None:
            raise Unavailable("The database does not answer")
        return found

    async def running(self, *, most_flows: int) -> RunningExecutions:
        return replace(RUNNING, flows=RUNNING.flows[:most_flows])


async def test_the_backlog_is_not_known_while_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_BACKLOG_SECONDS", 0.0)
    inspector: Any = Inspector(LATE, None, LATE)
    clock: Any = SimpleNamespace(now=lambda: NOON)
    backlog, metrics = StoredBacklog(inspector, clock, most_flows=5), Metrics()
    telemetry._add_backlog(metrics, backlog, DISPATCHER)

    seen = []
    for _ in range(3):
        await backlog.refresh()
        seen.append({name: value for name, value in _values(metrics).items() if name[0].startswith(BACKLOG)})

    known = {
        ("flowrunner_oldest_queued_seconds", "active"): "5.0",
        ("flowrunner_oldest_queued_seconds", "concurrency"): "7.0",
        ("flowrunner_schedule_lag_seconds",): "90.0",
        ("flowrunner_paused",): "1.0",
        ("flowrunner_callbacks_pending",): "3.0",
        ("flowrunner_flow_executions_running", MARA, "flow-1", "Nightly_sync"): "7",
        ("flowrunner_flow_executions_running", "other", "other", "other"): "2",
        ("flowrunner_background_last_run_timestamp_seconds", "jobs"): str(NOON.timestamp()),
    }
    unknown = {
        ("flowrunner_oldest_queued_seconds", "active"): "1.0",
        ("flowrunner_schedule_lag_seconds",): "nan",
        ("flowrunner_paused",): "nan",
        ("flowrunner_callbacks_pending",): "nan",
    }
    assert seen == [known, unknown, known]


async def test_a_slow_count_of_running_executions_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_LONGEST_WAIT_SECONDS", 0.0)

    class SlowCount(Inspector):
        async def running(self, *, most_flows: int) -> RunningExecutions:
            await asyncio.Event().wait()
            return RUNNING

    inspector: Any = SlowCount(LATE)
    backlog, metrics = StoredBacklog(inspector, SystemClock()), Metrics()
    telemetry._add_backlog(metrics, backlog, DISPATCHER)

    await backlog.refresh()
    values = _values(metrics)

    assert (values["flowrunner_paused",], values["flowrunner_callbacks_pending",]) == ("1.0", "3.0")
    assert not any(name == "flowrunner_flow_executions_running" for name, *_ in values)


@pytest.mark.parametrize(("token", "is_named"), [(None, False), ("a-token-of-prometheus", True)])
async def test_running_flows_are_named_only_to_those_who_have_a_token(
    token: str | None, is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "SqlInspector", lambda database: Inspector(LATE))
    settings, metrics = Settings(data_dir=tmp_path, metrics_token=token, metrics_flows=5), Metrics()
    telemetry.add_gauges(metrics, **parts(), settings=settings, clock=SystemClock())

    await metrics.refresh()
    running = [name[1:] for name in _values(metrics) if name[0] == "flowrunner_flow_executions_running"]

    assert running == [(MARA, "flow-1", "Nightly_sync")] * is_named + [("other", "other", "other")]


async def test_the_backlog_stays_known_while_another_reader_of_the_metrics_has_it_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    class SlowInspector(Inspector):
        async def backlog(self) -> Backlog:
            found = await super().backlog()
            if found != LATE:
                begun.set()
                await may_end.wait()
            return found

    inspector: Any = SlowInspector(LATE, replace(LATE, callbacks=4))
    clock: Any = SimpleNamespace(now=lambda: NOON)
    backlog = StoredBacklog(inspector, clock)
    await backlog.refresh()
    monkeypatch.setattr(backlog, "_asked_at", -telemetry._BACKLOG_SECONDS)

    reading = asyncio.create_task(backlog.refresh())
    await begun.wait()
    await backlog.refresh()
    meanwhile = backlog.last
    may_end.set()
    await reading

    assert (meanwhile, backlog.last) == (LATE, replace(LATE, callbacks=4))


async def test_what_was_not_due_at_the_last_reading_is_not_late_before_the_next() -> None:
    times = iter([NOON, NOON, NOON + timedelta(seconds=9)])
    inspector: Any = Inspector(replace(LATE, due_since=NOON + timedelta(seconds=1)))
    clock: Any = SimpleNamespace(now=lambda: next(times))
    backlog, metrics = StoredBacklog(inspector, clock), Metrics()
    telemetry._add_backlog(metrics, backlog, DISPATCHER)

    await backlog.refresh()
    values = _values(metrics)

    assert values["flowrunner_schedule_lag_seconds",] == "0.0"
    assert values["flowrunner_oldest_queued_seconds", "concurrency"] == "7.0"


async def test_a_queue_in_the_database_is_not_known_while_it_does_not_answer(tmp_path: Path) -> None:
    answers = iter([(4, NOON - timedelta(seconds=9)), None, (0, None)])

    async def waiting() -> tuple[int, datetime | None]:
        if (answer := next(answers)) is None:
            raise Unavailable("The database does not answer")
        return answer

    unused: Any = SimpleNamespace()
    admission: Any = SimpleNamespace(waiting=waiting)
    clock: Any = SimpleNamespace(now=lambda: NOON)
    stores: Any = dict.fromkeys(("journal", "due", "concurrency", "children", "inbox"), unused)
    dispatcher = TemporalDispatcher(unused, unused, admission, **stores, clock=clock)
    parts: Any = {
        "advancing": SimpleNamespace(active=0),
        "database": SimpleNamespace(connections=lambda: SimpleNamespace(most=8, open=0, used=0, waiting=0)),
        "sandbox": SimpleNamespace(busy=0, waiting=0),
    }
    metrics, queue = Metrics(), ("flowrunner_executions_queued", "flowrunner_oldest_queued_seconds")
    telemetry.add_gauges(
        metrics, dispatcher=dispatcher, **parts, processes=None, settings=Settings(data_dir=tmp_path), clock=clock
    )

    def seen() -> dict[str, str]:
        return {name: value for (name, *_), value in _values(metrics).items() if name in queue}

    unknown = {"flowrunner_executions_queued": "nan"}
    assert seen() == unknown
    await dispatcher.count_queued()
    assert seen() == {"flowrunner_executions_queued": "4.0", "flowrunner_oldest_queued_seconds": "9.0"}
    with pytest.raises(Unavailable):
        await dispatcher.count_queued()
    assert seen() == unknown
    await dispatcher.count_queued()
    assert seen() == {"flowrunner_executions_queued": "0.0", "flowrunner_oldest_queued_seconds": "0.0"}


async def test_readiness_is_checked_for_each_collection() -> None:
    reasons, metrics = iter([None, "the database does not answer", None]), Metrics()

    async def readiness() -> str | None:
        return next(reasons)

    telemetry.add_readiness(metrics, readiness)
    seen = []
    for _ in range(3):
        await metrics.refresh()
        seen.append(_values(metrics)["flowrunner_ready",])

    assert seen == ["1.0", "0.0", "1.0"]


BACKLOG = tuple(
    f"flowrunner_{name}"
    for name in ("oldest_", "schedule_", "paused", "callbacks_pending", "flow_", "background_last_")
)


def _values(metrics: Metrics) -> dict[tuple[str, ...], str]:
    return {
        (sample.name, *sample.labels.values()): str(sample.value)
        for family in metrics.collect()
        for sample in family.samples
    }


def test_scripts_of_all_processes_are_counted_together() -> None:
    sandbox: Any = SimpleNamespace(busy=1, waiting=2)
    reports = [ProcessReport(busy_scripts=3, waiting_scripts=5), ProcessReport(waiting_scripts=1)]
    settings, processes = Settings(script_workers=4), SimpleNamespace(reports=reports)

    alone = telemetry._script_workers(settings, sandbox, None)
    together = telemetry._script_workers(settings, sandbox, processes)  # type: ignore[arg-type]

    assert (alone, together) == ({"most": 4, "busy": 1, "waiting": 2}, {"most": 4, "busy": 4, "waiting": 8})


def parts() -> Any:
    reports = [ProcessReport(cpu_seconds=1.5, memory=1000), ProcessReport(cpu_seconds=2.5, memory=3000)]
    return {
        "dispatcher": SimpleNamespace(queued=3, oldest_queued_seconds=0.0, is_queue_known=True),
        "advancing": SimpleNamespace(active=2),
        "database": SimpleNamespace(connections=lambda: SimpleNamespace(most=8, open=5, used=4, waiting=1)),
        "sandbox": SimpleNamespace(busy=0, waiting=0),
        "processes": SimpleNamespace(running=2, restarts=7, reports=reports),
    }


def test_the_disk_of_the_data_directory_counts_only_if_the_database_is_there(tmp_path: Path) -> None:
    is_counted = []

    for url in (None, "postgresql://127.0.0.1/flowrunner"):
        metrics, settings = Metrics(), Settings(data_dir=tmp_path, database_url=url)
        telemetry.add_gauges(metrics, **parts(), settings=settings, clock=SystemClock())
        is_counted.append(("flowrunner_disk_free_bytes",) in _values(metrics))

    assert is_counted == [True, False]


def test_the_gauges_of_the_parts_have_their_values(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for kind, at in (("master", 100), ("signing", 200)):
        (tmp_path / "keys" / f"{kind}.key").touch()
        os.utime(tmp_path / "keys" / f"{kind}.key", (0, at))
    metrics = Metrics()

    telemetry.add_gauges(metrics, **parts(), settings=Settings(data_dir=tmp_path), clock=SystemClock())

    values = _values(metrics)
    free = float(values.pop(("flowrunner_disk_free_bytes",)))
    use = os.statvfs(tmp_path)
    assert 0 < free <= use.f_blocks * use.f_frsize
    assert (
        values.items()
        >= {
            ("flowrunner_executions_active",): "2.0",
            ("flowrunner_executions_queued",): "3.0",
            ("flowrunner_database_connections", "most"): "8",
            ("flowrunner_database_connections", "open"): "5",
            ("flowrunner_database_connections", "used"): "4",
            ("flowrunner_database_connections", "waiting"): "1",
            ("flowrunner_key_changed_timestamp_seconds", "master"): "100.0",
            ("flowrunner_key_changed_timestamp_seconds", "signing"): "200.0",
            ("flowrunner_engine_processes",): "2.0",
            ("flowrunner_engine_process_restarts",): "7.0",
            ("flowrunner_engine_process_cpu_seconds", "1"): "1.5",
            ("flowrunner_engine_process_cpu_seconds", "2"): "2.5",
            ("flowrunner_engine_process_memory_bytes", "1"): "1000",
            ("flowrunner_engine_process_memory_bytes", "2"): "3000",
        }.items()
    )
