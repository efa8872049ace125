"""Pictures of graphs, made in the sandbox by the layout of the web interface."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Final

import flowrunner
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import invalid
from flowrunner.domain.expression.script import Script
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.language.sketch import Sketch
from flowrunner.ports.sandbox import Sandbox

_LAYOUT: Final = Path(flowrunner.__file__).parent / "web" / "flow-picture.js"


async def svg_of(sketch: Sketch, sandbox: Sandbox, workspace_id: WorkspaceId) -> str:
    """Return the graph as an SVG document. Raises: InvalidInput if it is too large for one evaluation; Unavailable."""
    script, graph = await asyncio.to_thread(lambda: (_script(), _graph(sketch)))
    (outcome,) = await sandbox.evaluate(workspace_id, [script], {"graph": graph})
    if outcome.error is not None and outcome.error.limit is not None:
        size = f"{counted(len(sketch.nodes), 'node')} and {counted(len(sketch.edges), 'edge')}"
        raise invalid(
            "definition",
            f"the graph of {size} is too large for a picture",
            hint="Mermaid has no such limit, and the web interface saves pictures of it",
        )
    if not isinstance(outcome.value, str):
        raise RuntimeError(f"the layout of the graph failed: {outcome.error}")
    return outcome.value


@cache
def _script() -> Script:
    return Script(f"{_LAYOUT.read_text(encoding='utf-8')}\nreturn flow.picture(graph)", is_body=True)


def _graph(sketch: Sketch) -> JSON:
    """Return the graph as `Graph` in ui/src/graph/model.ts."""
    return {
        "nodes": [
            {
                "id": node.id,
                "label": node.name,
                "type": node.type or "",
                "parent": node.parent,
                "branch": node.branch,
                "isStart": node.is_start,
            }
            for node in sketch.nodes
        ],
        "edges": [{"source": edge.source, "target": edge.target, "action": edge.action} for edge in sketch.edges],
    }
