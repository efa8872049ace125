"""Assembly of the reader of flows."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.nodes import installed
from flowrunner.plugin import NodeType
from flowrunner.schemas import RustSchemas
from flowrunner.services.language import Language

if TYPE_CHECKING:
    from flowrunner.sandbox.pool import JailedSandbox


class LazySandbox:
    """Implements `ports.Sandbox`. Imports the real sandbox for the first script, because most flows have none.

    Args:
        before_scripts: Called before the import, to configure logging: the import loads the logger.
    """

    def __init__(self, workers: int, before_scripts: Callable[[], None]) -> None:
        self._workers = workers
        self._before_scripts = before_scripts
        self._opened: JailedSandbox | None = None

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        return await self._pool.evaluate(workspace_id, scripts, scope, now=now)

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        return await self._pool.check(scripts)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @property
    def _pool(self) -> "JailedSandbox":
        if self._opened is None:
            self._before_scripts()
            from flowrunner.sandbox.pool import JailedSandbox

            self._opened = JailedSandbox(self._workers)
        return self._opened


def node_types() -> Mapping[str, NodeType[Any]]:
    """Return the node types by name; report one that cannot be used on the standard error."""
    return installed(lambda reason: print(f"flowrunner: {reason}", file=sys.stderr))


def node_type_specs() -> Mapping[str, NodeTypeSpec]:
    """Return the specifications of the node types by name."""
    return {name: node_type.spec() for name, node_type in node_types().items()}


@contextlib.asynccontextmanager
async def open_language(*, before_scripts: Callable[[], None]) -> AsyncIterator[Language]:
    """Open the reader of flows. No process starts before the first JavaScript."""
    sandbox = LazySandbox(1, before_scripts)
    try:
        yield Language(node_type_specs(), RustSchemas(), sandbox)
    finally:
        await sandbox.close()
