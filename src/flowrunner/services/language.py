"""The flow language of this server: its reader, help for editors, and warnings that depend on what is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from flowrunner.domain.errors import Fault, InvalidFlow
from flowrunner.domain.expression import CodePlace
from flowrunner.domain.flow import Flow, NodeTypeSpec
from flowrunner.domain.schedules import next_due
from flowrunner.domain.triggers import Schedule
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.language import Reading
from flowrunner.language.fixes import with_fixes
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.language.schema import flow_schema, node_type_schema
from flowrunner.language.sketch import Sketch, sketch_of
from flowrunner.ports.sandbox import Sandbox
from flowrunner.services.flow_picture import svg_of
from flowrunner.services.flow_reader import FlowReader, with_script_faults

# A text up to this length is read without waiting for longer ones.
_SHORT_CHARACTERS: Final = 4096


class Language:
    """The flow language of this server.

    Args:
        has_links: The server can make links to approvals.
    """

    def __init__(
        self,
        node_types: Mapping[str, NodeTypeSpec],
        schemas: SchemaEngine,
        sandbox: Sandbox,
        *,
        has_links: bool = True,
    ) -> None:
        self.node_types = node_types
        self._reader = FlowReader(node_types, schemas, has_links=has_links)
        self._sandbox = sandbox
        # A long document keeps a CPU busy: reading one at a time leaves the other CPUs to executions.
        self._long_reading = asyncio.Lock()

    async def study(self, text: str) -> Reading:
        """Return the flow and every fault of a document, those of its JavaScript included. Raises: Unavailable."""
        reading = await self._read(text)
        if not reading.codes:
            return reading
        return with_script_faults(reading, await self._sandbox.check([code.script for code in reading.codes]))

    async def _read(self, text: str) -> Reading:
        # On a thread: even a short document may take a while.
        if len(text) <= _SHORT_CHARACTERS:
            return await asyncio.to_thread(self._reader.read, text)
        async with self._long_reading:
            return await asyncio.to_thread(self._reader.read, text)

    async def with_fixes(self, text: str, faults: Sequence[Fault]) -> Sequence[Fault]:
        """Return the faults of a document with the edits that remove them."""
        return await asyncio.to_thread(with_fixes, text, faults)

    async def sketch(self, text: str) -> Sketch:
        """Return the graph of a document as far as it can be read."""
        return await asyncio.to_thread(sketch_of, text, self.node_types)

    async def svg(self, sketch: Sketch, workspace_id: WorkspaceId) -> str:
        """Return a graph as an SVG document. Raises: InvalidInput if it is too large; Unavailable."""
        return await svg_of(sketch, self._sandbox, workspace_id)

    async def schema(self) -> JSON:
        """Return the JSON Schema of flow documents."""
        # On a thread: it takes about ten milliseconds.
        return await asyncio.to_thread(flow_schema, self.node_types)

    async def params_schemas(self) -> Mapping[str, JSON]:
        """Return the JSON Schema of the parameters of each node type, by its name."""
        types = sorted(self.node_types.items())
        return await asyncio.to_thread(lambda: {name: node_type_schema(spec) for name, spec in types})

    async def read(self, text: str) -> Flow:
        """Raises: InvalidFlow with every fault; Unavailable."""
        reading = await self.study(text)
        if reading.flow is None:
            faults = [fault for fault in reading.faults if not fault.is_warning]
            raise InvalidFlow(await self.with_fixes(text, faults))
        return reading.flow


def unclear_calls(reading: Reading, called: Mapping[str, int]) -> Sequence[Fault]:
    """Return a warning for each called flow that does not exist, or whose name several flows have.

    Args:
        called: The number of the workspace's flows with each name.
    """
    warnings = []
    for name, count in called.items():
        if count == 0 and not (reading.flow is not None and name == reading.flow.name):
            hint = "save that flow first, or the node fails with flow.not_found"
            warnings.append(_warning(reading.flows[name], "flow.unknown", f"there is no flow '{name}'", hint))
        elif count > 1:
            message = f"several flows are called '{name}'"
            hint = "write the id of the flow to call, or the node fails with flow.ambiguous"
            warnings.append(_warning(reading.flows[name], "flow.ambiguous", message, hint))
    return warnings


def unknown_sources(reading: Reading, known: Mapping[str, int]) -> Sequence[Fault]:
    """Return a warning for each flow that does not exist and whose ends would start this one.

    Args:
        known: The number of the workspace's flows with each name.
    """
    hint = "nothing starts this flow until a flow has that name or id"
    return [
        _warning(place, "flow.unknown", f"there is no flow '{name}'", hint)
        for name, place in reading.listened.items()
        if known.get(name) == 0
    ]


def past_schedules(reading: Reading, now: datetime) -> Sequence[Fault]:
    """Return a warning for each schedule that has no due time left."""
    hint = "give it a later moment, or remove the trigger"
    return [
        _warning(reading.trigger_places[name], "trigger.past", "the schedule has no due time left", hint)
        for name, trigger in (reading.flow.triggers if reading.flow is not None else {}).items()
        if isinstance(trigger.spec, Schedule) and next_due(trigger.spec, now) is None
    ]


def _warning(place: CodePlace, code: str, message: str, hint: str) -> Fault:
    return Fault(
        path=place.path, line=place.line, column=place.column, code=code, message=message, hint=hint, is_warning=True
    )
