"""The log of executions that were interrupted, of which one cause may interrupt hundreds."""

import asyncio
from typing import Final

import structlog

from flowrunner.domain.values import ExecutionId

logger = structlog.get_logger()

_SECONDS: Final = 1.0
_MOST_IDS: Final = 20


class Interruptions:
    """Writes one line for all executions that one reason has interrupted within a second."""

    def __init__(self) -> None:
        self._found: dict[str, list[ExecutionId]] = {}

    def add(self, id: ExecutionId, reason: str) -> None:
        if not self._found:
            asyncio.get_running_loop().call_later(_SECONDS, self.write)
        self._found.setdefault(reason, []).append(id)

    def write(self) -> None:
        """Write what has not been written yet."""
        found, self._found = self._found, {}
        for reason, ids in found.items():
            logger.warning("execution.interrupted", execution_ids=ids[:_MOST_IDS], count=len(ids), reason=reason)
