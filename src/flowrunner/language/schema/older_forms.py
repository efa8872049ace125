"""Schema of the older forms that `language.legacy` rewrites or reads."""

from collections.abc import Mapping
from typing import Any, Final

from flowrunner.domain.values import JSON
from flowrunner.language.legacy import DELAY, PARAMETERS, RETRY, WAIT, WITH_TIMEOUT
from flowrunner.language.schema.pieces import Schema, object_of, params_name, ref, text, whole

NODE_KEYS: Final[Schema] = {
    "hooks": {
        "description": "JavaScript around the node (older form).",
        **object_of(
            {
                "prep": text("Runs before the node, and may change its params: `context`."),
                "exec": text("Runs in place of the node."),
                "post": text("Runs after the node, and may change its `result`."),
            }
        ),
    },
    "batch": {
        "description": "Runs the node once for each element of its input, as `item` (older form).",
        **object_of(
            {
                "strategy": {"enum": ["serial", "parallel", "worker_pool"]},
                "max_parallel": {"description": "Elements at a time.", **whole(1, 1000)},
            }
        ),
    },
}


def or_seconds(duration: Schema) -> Schema:
    """Return the schema of a timeout, which may also be a number of seconds."""
    return {"if": {"type": "number"}, "then": {"exclusiveMinimum": 0}, "else": duration}


def older_retry_keys(current: Schema) -> Schema:
    """Return the schema of the older keys of `retry`.

    Args:
        current: Schema of the current keys.
    """
    return {
        old: {
            **{key: value for key, value in current[name].items() if key != "default"},
            "description": f"Older form of `{name}`.",
            "deprecationMessage": f"write {name}",
        }
        for old, name in RETRY.items()
    }


def with_older_parameters(type_name: str, params: Mapping[str, JSON]) -> dict[str, Any]:
    """Return the parameters of a node type, in the schema as pydantic writes it, with their older forms."""
    schema: dict[str, Any] = dict(params)
    properties = dict(schema.get("properties", {}))
    for old, name in PARAMETERS.get(type_name, {}).items():
        properties[old] = {**properties[name], "deprecationMessage": f"write {name}"}
    if type_name in WITH_TIMEOUT:
        choices = properties["timeout"]["anyOf"]
        seconds = [
            {**choice, "type": ["string", "number"]} if choice == {"type": "string"} else choice for choice in choices
        ]
        properties["timeout"] = {**properties["timeout"], "anyOf": seconds}
    return {**schema, "properties": properties} if properties else schema


def params_of(type_name: str) -> Schema:
    """Return the schema of the parameters of a type; those of `wait` may be a `duration`, as for `delay`."""
    params = ref(params_name(type_name))
    if type_name != WAIT:
        return params
    return {
        "if": {"required": ["duration"], "not": {"required": ["key"]}},
        "then": ref(params_name(DELAY)),
        "else": params,
    }
