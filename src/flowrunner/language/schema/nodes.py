"""Schema of nodes: the common keys, and the keys of each type."""

from collections.abc import Sequence

from flowrunner.domain.flow import COMMON_ERRORS, DEFAULT_ACTION
from flowrunner.language.schema.node_types import DescribedNodeType
from flowrunner.language.schema.older_forms import NODE_KEYS as OLDER_NODE_KEYS
from flowrunner.language.schema.older_forms import params_of
from flowrunner.language.schema.pieces import Schema, object_of, ref, text


def node_schema(types: Sequence[DescribedNodeType]) -> Schema:
    properties: Schema = {
        "type": {
            "description": "The node type.",
            "type": "string",
            "enum": [node_type.name for node_type in types],
            "enumDescriptions": [node_type.summary for node_type in types],
        },
        "description": text("For people.", maxLength=10_000),
        "if": {
            "description": "An expression; if it is false the node is skipped, and takes `next.skipped` or `default`.",
            "type": ["string", "boolean"],
        },
        "params": {"description": "Parameters of the node type.", "type": ["object", "null"]},
        "timeout": ref("timeout"),
        "retry": ref("retry"),
        "output": {"description": 'The value that later nodes read instead of the whole result: "${result.body}".'},
        "next": ref("next"),
        "idempotent": {
            "description": (
                "false: an attempt that a crash interrupted is not repeated; the node ends with error.interrupted. "
                "true: the node may be repeated, also by `defaults.retry`."
            ),
            "type": "boolean",
        },
        **OLDER_NODE_KEYS,
        "nodes": {"description": "The nodes inside, which run for each element, or as long as `when` is true."},
        "branches": {"description": "The branches by name, which run at the same time."},
        "start": {"description": "The first of the nodes inside; required only if it is not clear."},
    }
    return {
        **object_of(properties, required=["type"]),
        "allOf": [
            {
                "if": {"properties": {"type": {"const": node_type.name}}, "required": ["type"]},
                "then": _of_type(node_type),
            }
            for node_type in types
        ],
    }


def _of_type(node_type: DescribedNodeType) -> Schema:
    """Return the rules for the nodes of one type."""
    properties: Schema = {
        "params": {
            "description": node_type.summary,
            "allOf": [params_of(node_type.name)],
        },
        "next": _edges(node_type),
    }
    required = ["params"] if node_type.params_schema().get("required") else []
    if node_type.child_scopes == "nodes":
        properties["nodes"] = ref("nodes")
        properties["start"] = {"type": "string"}
        required.append("nodes")
    else:
        properties["nodes"] = properties["start"] = False
    if node_type.child_scopes == "branches":
        properties["branches"] = {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": ref("branch"),
        }
        required.append("branches")
    else:
        properties["branches"] = False
    if node_type.child_scopes is not None:
        # The nodes inside have retries of their own.
        properties["retry"] = False
    return {"properties": properties, **({"required": required} if required else {})}


def _edges(node_type: DescribedNodeType) -> Schema:
    """Return the edges of a node type. All other names are allowed too, because they may come from its params."""
    families = [*node_type.errors, *(e for e in COMMON_ERRORS if e not in node_type.errors)]
    actions = node_type.actions_of({}) or {DEFAULT_ACTION}
    known = [*sorted(actions), "error", *(f"error.{family}" for family in families if family != "*")]
    return {"properties": {action: {"type": "string"} for action in known}}
