"""The report on the installation, for its admins."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from flowrunner.ports.system import DatabaseFacts, DatabaseInspector
from flowrunner.services.system import System, SystemParts
from support.databases import NOON
from support.dependencies import SteppingClock


@dataclass
class Given:
    listeners: int

    async def facts(self) -> DatabaseFacts:
        return DatabaseFacts(size=4096, listeners=self.listeners)


@pytest.mark.parametrize(
    ("dispatcher", "listeners", "processes"),
    # The only process that advances executions listens to no others.
    [("local", 0, 1), ("local", 2, 3), ("temporal", 0, 1), ("temporal", 1, 1), ("temporal", 3, 3)],
)
async def test_the_report_counts_what_runs(dispatcher: Any, listeners: int, processes: int) -> None:
    parts = SystemParts(database="sqlite", dispatcher=dispatcher, most_active=10, script_workers=2)
    clock, inspector = SteppingClock(), cast("DatabaseInspector", Given(listeners))
    system = System(
        parts, inspector, clock,
        active=lambda: 3, engine_processes=lambda: None, queued=lambda: 4, streams=lambda: 5,
    )  # fmt: skip
    clock.advance(hours=1)

    report = await system.report()

    assert (report.parts, report.processes, report.engine_processes) == (parts, processes, None)
    assert (report.active, report.queued, report.streams, report.database.size) == (3, 4, 5, 4096)
    assert abs((report.started_at - NOON).total_seconds()) < 60
