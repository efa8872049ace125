"""Readiness of the program."""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from flowrunner.api.http.standby import STANDBY
from flowrunner.dispatch.processes.engine_processes import EngineProcesses
from flowrunner.domain.errors import Unavailable
from flowrunner.ports.dispatch import OpenDispatcher
from flowrunner.storage.database import Database

logger = structlog.get_logger()

_READY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Readiness:
    """A check that returns the reason why the program is not ready, or None if it is ready.

    Probes ask again and again: the log has another answer than the last one, and not each.
    """

    dispatcher: OpenDispatcher
    database: Database
    processes: EngineProcesses | None = None
    is_standby: bool = False
    is_stopping: bool = False
    _last: str | None = None

    async def __call__(self) -> str | None:
        reason = await self._reason()
        if reason != self._last:
            self._last = reason
            logger.info("readiness.changed", is_ready=reason is None, reason=reason)
        return reason

    async def _reason(self) -> str | None:
        if self.is_stopping:
            return "stopping"
        if not self.is_standby and not self.dispatcher.is_open:
            return "the engine is not active"
        if not self.is_standby and self.processes is not None and not self.processes.running:
            return "no engine process is running"
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self.database.check_readable()
        except (TimeoutError, Unavailable):
            return "the database does not answer"
        if self.is_standby:
            return STANDBY
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self.database.check_writable()
        except (TimeoutError, Unavailable):
            return "the database cannot be written"
        return None
