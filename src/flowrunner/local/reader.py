"""Assembly of the reader of flow documents, from parts that are imported as a document needs them."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.nodes import NodeTypesOnDemand
from flowrunner.plugin import NodeType
from flowrunner.schemas import RustSchemas
from flowrunner.services.flow_reader import FlowReader

if TYPE_CHECKING:
    from flowrunner.sandbox.pool import JailedSandbox


class LazySandbox:
    """Implements `ports.Sandbox`. Imports the real sandbox for the first script, because most flows have none.

    Args:
        before_scripts: Called before the import, to configure logging: the import loads the logger.
    """

    def __init__(self, before_scripts: Callable[[], None]) -> None:
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

            self._opened = JailedSandbox(1)
        return self._opened


def node_types() -> Mapping[str, NodeType[Any]]:
    """Return the node types by name; report one that cannot be used on the standard error."""
    return NodeTypesOnDemand(lambda reason: print(f"flowrunner: {reason}", file=sys.stderr))


class SpecsOnDemand(Mapping[str, NodeTypeSpec]):
    """Specifications of node types, each made when it is first asked for."""

    def __init__(self, node_types: Mapping[str, NodeType[Any]]) -> None:
        self._node_types = node_types
        self._specs: dict[str, NodeTypeSpec] = {}

    def __getitem__(self, name: str) -> NodeTypeSpec:
        if name not in self._specs:
            self._specs[name] = self._node_types[name].spec()
        return self._specs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._node_types

    def __iter__(self) -> Iterator[str]:
        return iter(self._node_types)

    def __len__(self) -> int:
        return len(self._node_types)


def node_type_specs() -> Mapping[str, NodeTypeSpec]:
    """Return the specifications of the node types by name."""
    return SpecsOnDemand(node_types())


def flow_reader() -> FlowReader:
    """Return the reader of flow documents."""
    return FlowReader(node_type_specs(), RustSchemas())
