"""The state of the installation, for its admins."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from flowrunner.ports.clock import Clock
from flowrunner.ports.system import DatabaseFacts, DatabaseInspector

DatabaseKind: TypeAlias = Literal["sqlite", "postgresql"]
DispatcherKind: TypeAlias = Literal["local", "temporal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemParts:
    """The parts of the installation that its settings choose.

    Attributes:
        most_active: Executions that one process advances at the same time.
        script_workers: Processes of one server that evaluate JavaScript.
    """

    database: DatabaseKind
    dispatcher: DispatcherKind
    most_active: int
    script_workers: int

    @property
    def is_shared(self) -> bool:
        return self.dispatcher == "temporal"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReport:
    """The state of the installation.

    Attributes:
        processes: Servers and workers on the database, with those that stand by.
        engine_processes: Engine processes that run; None if this process advances executions itself.
        active: Executions in the memory of this process.
        queued: Executions that wait to be advanced.
        streams: Open WebSockets, event streams and waiting requests of this process.
    """

    parts: SystemParts
    database: DatabaseFacts
    processes: int
    engine_processes: int | None
    active: int
    queued: int
    streams: int
    started_at: datetime


class System:
    """The use case of the report.

    Args:
        active: Returns the executions in the memory of this process.
        engine_processes: Returns the number of engine processes that run; None if there are none by the settings.
        queued: Returns the executions that wait to be advanced.
        streams: Returns the open streams of this process.
    """

    def __init__(
        self,
        parts: SystemParts,
        inspector: DatabaseInspector,
        clock: Clock,
        *,
        active: Callable[[], int],
        engine_processes: Callable[[], int | None],
        queued: Callable[[], int],
        streams: Callable[[], int],
    ) -> None:
        self._parts = parts
        self._inspector = inspector
        self._active = active
        self._engine_processes = engine_processes
        self._queued = queued
        self._streams = streams
        self._started_at = clock.now()

    async def report(self) -> SystemReport:
        database = await self._inspector.facts()
        return SystemReport(
            parts=self._parts,
            database=database,
            # The only active process listens to no others.
            processes=max(1, database.listeners + (0 if self._parts.is_shared else 1)),
            engine_processes=self._engine_processes(),
            active=self._active(),
            queued=self._queued(),
            streams=self._streams(),
            started_at=self._started_at,
        )
