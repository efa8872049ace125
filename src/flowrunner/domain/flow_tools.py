"""Flows that agents find as tools of the MCP server."""

import re
import unicodedata
from typing import Final, NamedTuple

from flowrunner.domain.values import FlowId

# Of no other tool: a flow cannot take the name of one.
PREFIX: Final = "flow_"
# The names that all clients take have 64 characters at most.
_MOST_CHARACTERS: Final = 60
MOST_INPUT_BYTES: Final = 16 * 1024
# Tools in a workspace: each takes room in the context of its agents.
MOST_TOOLS: Final = 50
_OTHERS: Final = re.compile(r"[^a-z0-9]+")


class FlowTool(NamedTuple):
    """A flow as a tool.

    Attributes:
        inputs: The JSON Schema of its input, as JSON.
    """

    name: str
    inputs: str


class PublishedFlow(NamedTuple):
    id: FlowId
    name: str
    description: str
    tool: FlowTool


def tool_name(flow_name: str) -> str | None:
    """Return the name of a flow's tool, such as `flow_order_sync` for `Order sync`; None if nothing is left of it."""
    parts = unicodedata.normalize("NFKD", flow_name.casefold())
    plain = "".join(part for part in parts if not unicodedata.combining(part))
    words = _OTHERS.sub("_", plain).strip("_")[: _MOST_CHARACTERS - len(PREFIX)].strip("_")
    return PREFIX + words if words else None
