"""Keys that people bring along from other systems, where flows say the same in more than one word."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.suggestions import squashed

_IN_METADATA: Final = "put it under 'metadata'"
_IN_LIMITS: Final = "put it under 'limits'"
_STARTED: Final = "a flow does not say what starts it: POST /api/v1/flows/{id}/run does"
_BEFORE: Final = "the node before it leads here: write 'next' there"
_ON_ERROR: Final = "write next: {error: <node>}"
_LOOP: Final = "write a node of type foreach, with this one under its own 'nodes'"
_SCRIPT: Final = "write type: transform, params: {script: …}"

OF_FLOWS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("name", "description", "version", "tags", "title"), _IN_METADATA),
    **dict.fromkeys(("maxsteps", "concurrency"), _IN_LIMITS),
    **dict.fromkeys(("on", "trigger", "triggers", "schedule", "schedules", "cron"), _STARTED),
    "timeout": "put it under 'limits', or under 'defaults' for every node",
    "retry": "put it under 'defaults'",
    "retries": "put it under 'defaults': retry: {max: 3}",
    "secrets": "an account keeps its secrets; expressions read them as ${secrets.NAME}",
    **dict.fromkeys(("edges", "connections", "links"), "each node says where it leads: next: <node>"),
    **dict.fromkeys(("type", "params", "next"), "give the node a name, and put it under 'nodes'"),
}
OF_NODES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("needs", "dependson", "depends", "dependencies", "requires", "after", "runafter", "previous", "inputsfrom"),
        _BEFORE,
    ),
    **dict.fromkeys(
        ("onerror", "onfailure", "onfail", "catch", "error", "errors", "rescue", "continueonerror", "fallback"),
        _ON_ERROR,
    ),
    **dict.fromkeys(("name", "id"), "a node's name is its key under 'nodes'; 'description' is for people"),
    **dict.fromkeys(("foreach", "each", "loop", "withitems", "items"), _LOOP),
    **dict.fromkeys(("run", "script", "code"), _SCRIPT),
}
# What stands under these leads from one node to another, where it is meant for that.
_LEADING: Final = frozenset((_BEFORE, _ON_ERROR))


def is_edge(key: str) -> bool:
    """Whether a key of a node that is none is meant to join it to others."""
    return OF_NODES.get(squashed(key)) in _LEADING
