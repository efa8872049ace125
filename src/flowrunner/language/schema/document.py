"""Schema of a flow document."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.duration import HINT as DURATION_HINT
from flowrunner.domain.flow import COMMON_ERRORS
from flowrunner.domain.retry import PASSING_ERRORS
from flowrunner.domain.values import JSON
from flowrunner.language.schema.json_schemas import json_schema
from flowrunner.language.schema.node_types import DescribedNodeType
from flowrunner.language.schema.nodes import node_schema
from flowrunner.language.schema.older_forms import older_retry_keys, or_seconds
from flowrunner.language.schema.params import params_definitions
from flowrunner.language.schema.pieces import Schema, object_of, params_name, ref, text, whole
from flowrunner.language.schema.tests import tests_definitions
from flowrunner.language.schema.triggers import triggers_definitions, triggers_schema

_DURATION: Final = r"^((\d+(\.\d+)?(ms|s|m|h|d))+|P(?=.)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)$"


def flow_schema(node_types: Mapping[str, DescribedNodeType]) -> JSON:
    """Return the schema of a whole flow document."""
    types = [node_types[name] for name in sorted(node_types)]
    definitions: Schema = {"node": node_schema(types), **_parts(types)}
    for node_type in types:
        definitions |= params_definitions(node_type)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A FlowRunner flow",
        "description": "Named nodes, joined by edges.",
        **object_of(_document(), required=["nodes"]),
        "definitions": definitions,
    }


def node_type_schema(node_type: DescribedNodeType) -> JSON:
    """Return the schema of the parameters of one node type."""
    definitions = params_definitions(node_type)
    own = definitions.pop(params_name(node_type.name))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **own,
        **({"definitions": definitions} if definitions else {}),
    }


def _document() -> Schema:
    node_name = {"type": "string", "description": "A node of this flow."}
    return {
        "metadata": {
            "description": "Information for people.",
            **object_of(
                {
                    "name": text("The flow's name.", maxLength=200),
                    "description": text("What the flow is for.", maxLength=10_000),
                    "version": text('Your own label of this version: quote it, as in "1.4.0".', maxLength=200),
                    "tags": {
                        "description": "Words that people search flows by.",
                        "type": "array",
                        "maxItems": 50,
                        "items": {"type": "string", "minLength": 1, "maxLength": 100},
                    },
                    "mcp": {
                        "description": "Agents find the flow as a tool of the MCP server, which takes its inputs.",
                        "type": "boolean",
                        "default": False,
                    },
                }
            ),
        },
        "inputs": {
            "description": (
                "The input of the flow: a JSON Schema for each name. It is checked before an execution is created. "
                "An input is required unless it has a default or `required: false`. With `searchable: true`, lists "
                "find executions by its value."
            ),
            "type": "object",
            "additionalProperties": {
                "allOf": [{"$ref": "#/definitions/jsonSchema"}],
            },
        },
        "vars": {"description": "Constants, read as ${vars.name}. They cannot hold expressions.", "type": "object"},
        "defaults": {
            "description": "Settings of every node that does not set its own.",
            **object_of({"timeout": ref("timeout"), "retry": ref("retry")}),
        },
        "limits": {"description": "Bounds of an execution.", **object_of(_limits())},
        "outputs": {
            "description": "The result of the flow, by name; the last node's result if absent.",
        },
        "start": {**node_name, "description": "The first node; required only if it is not clear."},
        "on_failure": {**node_name, "description": "The node that runs once when the execution fails."},
        "on_finish": {**node_name, "description": "The node that runs once, however the execution ends."},
        "nodes": ref("nodes"),
        "triggers": triggers_schema(),
        "tests": {
            "description": "Tests that `flowrunner test` runs offline: mocked nodes, real edges and expressions.",
            "type": "object",
            "additionalProperties": ref("test"),
        },
    }


_TIMEOUT: Final = or_seconds(ref("duration"))


def _limits() -> Schema:
    concurrency = object_of(
        {
            "max": {"description": "Executions at a time.", **whole(1, 10_000)},
            "key": text("The limit applies to each value of this expression separately: ${flow.input.region}."),
            "on_limit": {
                "description": "What happens at the limit: a new execution waits, is rejected, or replaces the oldest.",
                "enum": ["queue", "reject", "replace"],
                "default": "queue",
            },
        },
        required=["max"],
    )
    return {
        "timeout": {**_TIMEOUT, "description": "How long an execution may take."},
        "max_steps": {
            "description": "Steps that an execution may take, including retries.",
            **whole(1, 1_000_000),
        },
        "concurrency": {"description": "How many executions may run at a time.", **concurrency},
    }


def _parts(types: Sequence[DescribedNodeType]) -> Schema:
    families = {family for node_type in types for family in node_type.errors} | set(COMMON_ERRORS)
    errors = sorted((families | set(PASSING_ERRORS)) - {"*"})
    retry: Schema = {
        "max": {"description": "Retries after the first attempt.", **whole(0, 1000), "default": 3},
        "delay": {"description": "The wait before the first retry.", "allOf": [ref("duration")]},
        "backoff": {
            "description": "Factor by which each wait is longer than the one before.",
            "type": "number",
            "minimum": 1,
            "maximum": 100,
            "default": 2,
        },
        "max_delay": {"description": "The longest wait.", "allOf": [ref("duration")]},
        "jitter": {
            "description": "Share of each wait that is drawn at random.",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.2,
        },
        "errors": {
            "description": "Errors to retry after; `*` is every error.",
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {"enum": ["*", *errors]},
                    {"type": "string", "pattern": r"^\*$|^\w+([.-]\w+)*$"},
                ]
            },
            "default": list(PASSING_ERRORS),
        },
        "max_elapsed": {
            "description": "No attempt starts later than this after the first one.",
            "allOf": [ref("duration")],
        },
    }
    return {
        "duration": {
            "description": "500ms, 10s, 5m, 2h, 1d, 1h30m, or PT10S.",
            "type": "string",
            "pattern": _DURATION,
            "patternErrorMessage": DURATION_HINT,
            "examples": ["500ms", "10s", "5m", "2h", "1d"],
        },
        "timeout": {**_TIMEOUT, "description": "How long one attempt may take."},
        "retry": {
            "description": "When to try again after a failure.",
            **object_of({**retry, **older_retry_keys(retry)}),
        },
        "next": {
            "description": "Where each action leads: a node's name, or a map of actions and errors to names.",
            "type": ["string", "object", "null"],
            "additionalProperties": {"type": "string"},
        },
        "nodes": {
            "description": "The nodes by name.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"minLength": 1, "maxLength": 200, "pattern": r"^[^/\[\]]*$"},
            "additionalProperties": ref("node"),
        },
        "branch": object_of(
            {"nodes": ref("nodes"), "start": text("The first node."), "description": text("For people.")},
            required=["nodes"],
        ),
        **tests_definitions(),
        **triggers_definitions(),
        "jsonSchema": json_schema(),
    }
