"""The JavaScript sandbox."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.values import JSON, WorkspaceId


class Sandbox(Protocol):
    """Evaluation of JavaScript outside the server's process, with bounds on time, memory and output."""

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        """Evaluate scripts in one exchange with one worker; return the outcome of each.

        No script sees the changes of another.

        Args:
            scope: The names that the scripts may read.
            now: The fixed moment that `Date` shows to the scripts; None for the real time.

        Raises:
            Unavailable: If no worker is available.
        """
        ...

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        """Return the syntax error of each script, or None, without running any. Raises: Unavailable."""
        ...
