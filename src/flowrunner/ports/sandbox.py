"""What evaluates JavaScript."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flowrunner.domain.expression.script import Script, ScriptFault, ScriptOutcome
from flowrunner.domain.values import JSON, WorkspaceId


class Sandbox(Protocol):
    """Evaluates JavaScript, outside the server's process and within bounds."""

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        """What each script comes to, in one exchange with one worker.

        None of them sees what another has changed.

        Args:
            scope: The names the scripts may start from.
            now: The moment that `Date` shows to the scripts, and stays at; None for the real time.

        Raises:
            Unavailable: If no worker can be had.
        """
        ...

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptFault | None]:
        """What keeps each script from being JavaScript at all; nothing is run. Raises: Unavailable."""
        ...
