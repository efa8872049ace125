"""The JSON Schema of the flow language, for editors: what may be written where, and what it means.

It is draft-07, which every editor's YAML support knows. It says less than the reader of flow documents,
which knows edges, expressions and values as well. What it refuses the reader refuses too, but for keys
that are left empty.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from flowrunner.domain.duration import HINT as DURATION_HINT
from flowrunner.domain.events import LOG_LEVELS
from flowrunner.domain.flow import COMMON_ERRORS
from flowrunner.domain.json_schema import TYPES
from flowrunner.domain.retry import PASSING_ERRORS
from flowrunner.domain.values import JSON

Schema: TypeAlias = dict[str, Any]

_DURATION: Final = r"^((\d+(\.\d+)?(ms|s|m|h|d))+|P(?=.)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)$"
_EXPRESSION: Final = r"\$\{"


class DescribedNodeType(Protocol):
    """What the schema tells of a node type; `flow.NodeTypeSpec` is one.

    Attributes:
        params_schema: Its parameters as JSON Schema, as pydantic writes it.
        summary: What it does, in a sentence.
        actions_of: Actions that a node with these parameters can end with.
        inner: Which key of a node holds nodes of its own, `nodes` or `branches`, if one does.
    """

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def actions_of(self) -> Callable[[Mapping[str, JSON]], frozenset[str]]: ...
    @property
    def errors(self) -> Sequence[str]: ...
    @property
    def inner(self) -> str | None: ...
    @property
    def params_schema(self) -> Callable[[], Mapping[str, JSON]]: ...


def flow_schema(node_types: Mapping[str, DescribedNodeType]) -> JSON:
    """The schema of a whole flow document."""
    types = [node_types[name] for name in sorted(node_types)]
    definitions: Schema = {"node": _node(types), **_parts(types)}
    for node_type in types:
        definitions |= _params(node_type)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A FlowRunner flow",
        "description": "Named nodes, joined by edges.",
        **_object(_document(), required=["nodes"]),
        "definitions": definitions,
    }


def node_type_schema(node_type: DescribedNodeType) -> JSON:
    """The schema of the parameters of one node type."""
    definitions = _params(node_type)
    own = definitions.pop(_params_name(node_type.name))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **own,
        **({"definitions": definitions} if definitions else {}),
    }


# The document


def _document() -> Schema:
    node_name = {"type": "string", "description": "A node of this flow."}
    return {
        "metadata": {
            "description": "What people see of the flow.",
            **_object(
                {
                    "name": _text("The flow's name.", maxLength=200),
                    "description": _text("What the flow is for.", maxLength=10_000),
                    "version": _text('Your own label of this version: quote it, as in "1.4.0".', maxLength=200),
                    "tags": {
                        "description": "Words to find the flow by.",
                        "type": "array",
                        "maxItems": 50,
                        "items": {"type": "string", "minLength": 1, "maxLength": 100},
                    },
                }
            ),
        },
        "inputs": {
            "description": (
                "What the flow takes as input: a JSON Schema for each name. Checked before an execution exists. "
                "A name must be given unless it has a default or says `required: false`."
            ),
            "type": "object",
            "additionalProperties": {
                "allOf": [{"$ref": "#/definitions/jsonSchema"}],
            },
        },
        "vars": {"description": "Constants, read as ${vars.name}. No expressions in them.", "type": "object"},
        "defaults": {
            "description": "For every node that does not say otherwise.",
            **_object({"timeout": _ref("timeout"), "retry": _ref("retry")}),
        },
        "limits": {"description": "Bounds of an execution.", **_object(_limits())},
        "outputs": {
            "description": "The result of the flow, by name; the last node's result if absent.",
        },
        "start": {**node_name, "description": "The node that comes first; needed only if it is not clear."},
        "on_failure": {**node_name, "description": "The node that runs once when the execution fails."},
        "on_finish": {**node_name, "description": "The node that runs once, however the execution ends."},
        "nodes": _ref("nodes"),
        "tests": {
            "description": "Tests that `flowrunner test` runs offline: mocked nodes, real edges and expressions.",
            "type": "object",
            "additionalProperties": _ref("test"),
        },
    }


def _limits() -> Schema:
    concurrency = _object(
        {
            "max": {"description": "Executions at a time.", **_whole(1, 10_000)},
            "key": _text("Counted for each value of this by itself: ${flow.input.region}."),
            "on_limit": {
                "description": "What becomes of one too many: it waits, is refused, or takes the place of the oldest.",
                "enum": ["queue", "reject", "replace"],
                "default": "queue",
            },
        },
        required=["max"],
    )
    return {
        "timeout": {"description": "How long an execution may take.", "allOf": [_ref("duration")]},
        "max_steps": {"description": "Steps that an execution may take, tries counted.", **_whole(1, 1_000_000)},
        "concurrency": {"description": "How many executions may run at a time.", **concurrency},
    }


# Nodes


def _node(types: Sequence[DescribedNodeType]) -> Schema:
    properties: Schema = {
        "type": {
            "description": "What the node does.",
            "type": "string",
            "enum": [node_type.name for node_type in types],
            "enumDescriptions": [node_type.summary for node_type in types],
        },
        "description": _text("For people.", maxLength=10_000),
        "if": {
            "description": "An expression; if it is false the node is skipped, and takes `next.skipped` or `default`.",
            "type": ["string", "boolean"],
        },
        "params": {"description": "What the node type needs.", "type": ["object", "null"]},
        "timeout": _ref("timeout"),
        "retry": _ref("retry"),
        "output": {"description": 'What later nodes see in place of the whole result: "${result.body}".'},
        "next": _ref("next"),
        "idempotent": {
            "description": (
                "false: a try that a crash cut off is not repeated, the node ends with error.interrupted. "
                "true: it may be repeated, also by `defaults.retry`."
            ),
            "type": "boolean",
        },
        "hooks": {
            "description": "JavaScript around the node (older form).",
            **_object(
                {
                    "prep": _text("Runs before the node, and may change its params: `context`."),
                    "exec": _text("Runs in place of the node."),
                    "post": _text("Runs after the node, and may change its `result`."),
                }
            ),
        },
        "batch": {
            "description": "Runs the node once for each element of its input, as `item` (older form).",
            **_object(
                {
                    "strategy": {"enum": ["serial", "parallel", "worker_pool"]},
                    "max_parallel": {"description": "Elements at a time.", **_whole(1, 1000)},
                }
            ),
        },
        "nodes": {"description": "The nodes inside: run for each element, or as long as `when` holds."},
        "branches": {"description": "What runs side by side: nodes for each name."},
        "start": {"description": "The one of the nodes inside that comes first; needed only if it is not clear."},
    }
    return {
        **_object(properties, required=["type"]),
        "allOf": [
            {
                "if": {"properties": {"type": {"const": node_type.name}}, "required": ["type"]},
                "then": _of_type(node_type),
            }
            for node_type in types
        ],
    }


def _of_type(node_type: DescribedNodeType) -> Schema:
    """What holds for the nodes of one type."""
    properties: Schema = {
        "params": {
            "description": node_type.summary,
            "allOf": [{"$ref": f"#/definitions/{_params_name(node_type.name)}"}],
        },
        "next": _edges(node_type),
    }
    required = ["params"] if node_type.params_schema().get("required") else []
    if node_type.inner == "nodes":
        properties["nodes"] = _ref("nodes")
        properties["start"] = {"type": "string"}
        required.append("nodes")
    else:
        properties["nodes"] = properties["start"] = False
    if node_type.inner == "branches":
        properties["branches"] = {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": _ref("branch"),
        }
        required.append("branches")
    else:
        properties["branches"] = False
    if node_type.inner is not None:
        # The nodes inside have tries of their own.
        properties["retry"] = False
    return {"properties": properties, **({"required": required} if required else {})}


def _edges(node_type: DescribedNodeType) -> Schema:
    """Where a node of the type can lead. Other names may come from its own params, so all are taken."""
    families = [*node_type.errors, *(e for e in COMMON_ERRORS if e not in node_type.errors)]
    known = [*sorted(node_type.actions_of({})), "error", *(f"error.{family}" for family in families if family != "*")]
    return {"properties": {action: {"type": "string"} for action in known}}


def _parts(types: Sequence[DescribedNodeType]) -> Schema:
    families = {family for node_type in types for family in node_type.errors} | set(COMMON_ERRORS)
    errors = sorted((families | set(PASSING_ERRORS)) - {"*"})
    delay: Schema = {"description": "The wait before the first further try.", "allOf": [_ref("duration")]}
    tries: Schema = {"description": "Further tries after the first.", **_whole(0, 1000)}
    return {
        "duration": {
            "description": "500ms, 10s, 5m, 2h, 1d, 1h30m, or PT10S.",
            "type": "string",
            "pattern": _DURATION,
            "patternErrorMessage": DURATION_HINT,
            "examples": ["500ms", "10s", "5m", "2h", "1d"],
        },
        "timeout": {"description": "How long one try may take.", "allOf": [_ref("duration")]},
        "retry": {
            "description": "When to try again after a failure.",
            **_object(
                {
                    "max": {**tries, "default": 3},
                    "delay": delay,
                    "backoff": {
                        "description": "Factor by which each wait is longer than the one before.",
                        "type": "number",
                        "minimum": 1,
                        "maximum": 100,
                        "default": 2,
                    },
                    "max_delay": {"description": "The longest wait.", "allOf": [_ref("duration")]},
                    "jitter": {
                        "description": "Share of each wait that is drawn at random.",
                        "type": "number",
                        "minimum": 0,
                        "maximum": 1,
                        "default": 0.2,
                    },
                    "errors": {
                        "description": "Errors that are worth another try; `*` is every error.",
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
                        "description": "No try begins later than this after the first one.",
                        "allOf": [_ref("duration")],
                    },
                    "max_retries": {**tries, "description": "Older form of `max`.", "deprecationMessage": "write max"},
                    "wait": {**delay, "description": "Older form of `delay`.", "deprecationMessage": "write delay"},
                }
            ),
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
            "additionalProperties": _ref("node"),
        },
        "branch": _object(
            {"nodes": _ref("nodes"), "start": _text("The node that comes first."), "description": _text("For people.")},
            required=["nodes"],
        ),
        **_tests(),
        "jsonSchema": _json_schema(),
    }


def _tests() -> Schema:
    def successive(name: str) -> Schema:
        """One for each time, or one for all of them."""
        return {"anyOf": [_ref(name), {"type": "array", "minItems": 1, "maxItems": 1000, "items": _ref(name)}]}

    def by_name(description: str, values: Schema) -> Schema:
        return {"description": description, "type": "object", "additionalProperties": values}

    names = {"type": "array", "items": {"type": "string"}}
    after = {"description": "How long after the start.", "allOf": [_ref("duration")]}
    error_type = _text("Such as http.503, timeout or connection.refused.", minLength=1)
    mocks = by_name("What nodes give, by name or path, in place of running.", successive("mock"))
    return {
        "test": _object(
            {
                "description": _text("For people."),
                "input": {"description": "The execution's input.", "type": "object"},
                "mocks": mocks,
                "flows": by_name("Mocks for nodes of other flows that run too, by flow.", _object({"mocks": mocks})),
                "secrets": by_name("Values of secrets; others have one that tells its name.", {"type": "string"}),
                "signals": by_name("What steps that wait for a signal are told, by key.", successive("givenSignal")),
                "approvals": by_name("How approvals are answered, by node.", successive("givenApproval")),
                "cancel_after": {
                    "description": "When somebody cancels the execution.",
                    "allOf": [_ref("duration")],
                },
                "now": _text("What the clock shows at the start: 2027-01-31T08:00:00Z."),
                "expect": _ref("expectation"),
            }
        ),
        "mock": _object(
            {
                "result": {"description": "What the node gives; its `output` is worked out from that."},
                "action": _text("How the node ends, for the edge that it takes."),
                "error": {
                    "anyOf": [
                        error_type,
                        _object({"type": error_type, "message": _text(""), "data": {}}, required=["type"]),
                    ]
                },
            }
        ),
        "givenSignal": _object({"payload": {"description": "What the signal brings."}, "after": after}),
        "givenApproval": _object(
            {
                "approved": {"type": "boolean"},
                "by": _text("Who answers."),
                "data": {"description": "What the form of the approval asks for."},
                "after": after,
            },
            required=["approved"],
        ),
        "expectation": {
            "description": "How it must end.",
            **_object(
                {
                    "status": {"enum": ["completed", "failed", "cancelled", "waiting"]},
                    "path": {"description": "The flow's own nodes in the order they ran.", **names},
                    "handlers": {"description": "The nodes of on_failure and on_finish that ran.", **names},
                    "result": {"description": "The result of the flow, exactly."},
                    "result_contains": {"description": "A part of the result: maps may hold more keys."},
                    "error": {
                        "description": "The error that it fails with.",
                        "anyOf": [
                            {"type": "string"},
                            _object(
                                {
                                    "type": _text("Its type, or a family such as http.5xx."),
                                    "message": _text("A part of its message."),
                                    "node": _text("Where it came from."),
                                }
                            ),
                        ],
                    },
                    "logs": {
                        "description": "What some line of the log says, in part.",
                        "anyOf": [_ref("expectedLog"), {"type": "array", "items": _ref("expectedLog")}],
                    },
                    "tries": by_name("How often nodes were tried in all.", _whole(0)),
                }
            ),
        },
        "expectedLog": {
            "anyOf": [
                {"type": "string"},
                _object({"level": {"enum": sorted(LOG_LEVELS)}, "message": _text("A part of its message.")}),
            ]
        },
    }


def _json_schema() -> Schema:
    """JSON Schema as inputs and forms may use it."""
    inner = _ref("jsonSchema")
    count, flag = _whole(0), {"type": "boolean"}
    type_name = {"enum": list(TYPES)}
    schemas = {"type": "array", "minItems": 1, "items": inner}
    named = {"type": "object", "additionalProperties": inner}
    return {
        "type": ["object", "boolean"],
        "properties": {
            "type": {
                "description": "What kind of value it is.",
                "anyOf": [type_name, {"type": "array", "minItems": 1, "items": type_name}],
            },
            "description": _text("What people should give."),
            "title": _text("A name for people."),
            "default": {"description": "What counts if it is left out."},
            "required": {
                "description": "false: the input may be left out. Within an object: the names it must have.",
                "anyOf": [flag, {"type": "array", "items": {"type": "string"}}],
            },
            "enum": {"description": "The values allowed.", "type": "array", "minItems": 1},
            "const": {"description": "The one value allowed."},
            "examples": {"type": "array"},
            "minimum": {"type": "number"},
            "maximum": {"type": "number"},
            "exclusiveMinimum": {"type": "number"},
            "exclusiveMaximum": {"type": "number"},
            "multipleOf": {"type": "number", "exclusiveMinimum": 0},
            **dict.fromkeys(
                ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), count
            ),
            "pattern": _text("A regular expression, without (?=…) and back-references."),
            "format": {"type": "string", "examples": ["date", "date-time", "email", "uri", "uuid"]},
            "uniqueItems": flag,
            "items": inner,
            "prefixItems": schemas,
            "contains": inner,
            "properties": named,
            "patternProperties": named,
            "additionalProperties": inner,
            "propertyNames": inner,
            "allOf": schemas,
            "anyOf": schemas,
            "oneOf": schemas,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$defs": named,
            "$ref": {"type": "string", "pattern": "^#(/|$)"},
        },
    }


# Parameters


def _params_name(type_name: str) -> str:
    return f"params.{type_name}"


def _params(node_type: DescribedNodeType) -> Schema:
    """The definitions for the parameters of a type: themselves, and what they refer to."""
    written = dict(node_type.params_schema())
    inner = written.pop("$defs", {})
    prefix = f"{node_type.name}."
    definitions: Schema = {
        _params_name(node_type.name): {"title": f"Parameters of {node_type.name}", **_converted(written, prefix)}
    }
    assert isinstance(inner, Mapping)
    for name, schema in inner.items():
        definitions[f"{prefix}{name}"] = {"title": name, **_converted(schema, prefix)}
    return definitions


_KEPT: Final = (
    "type", "description", "enum", "const", "default", "examples", "format", "pattern", "required", "uniqueItems",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "deprecated", "deprecationMessage",
)  # fmt: skip


def _converted(schema: JSON, prefix: str) -> Any:
    """A schema that pydantic wrote, in draft-07, with references to our definitions."""
    if not isinstance(schema, Mapping):
        return schema
    result: Schema = {key: value for key, value in schema.items() if key in _KEPT}
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(alternatives := schema.get(key), Sequence):
            result[key] = [_converted(alternative, prefix) for alternative in alternatives]
    for key in ("properties", "patternProperties"):
        if isinstance(named := schema.get(key), Mapping):
            result[key] = {name: _or_expression(_converted(inner, prefix)) for name, inner in named.items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            result[key] = _or_expression(_converted(schema[key], prefix))
    if isinstance(places := schema.get("prefixItems"), Sequence):
        # What draft 2020-12 calls prefixItems and items is items and additionalItems in draft-07.
        if "items" in result:
            result["additionalItems"] = result.pop("items")
        result["items"] = [_or_expression(_converted(place, prefix)) for place in places]
    if "propertyNames" in schema:
        result["propertyNames"] = _converted(schema["propertyNames"], prefix)
    if isinstance(reference := schema.get("$ref"), str):
        # Draft-07 ignores what stands beside a $ref.
        result["allOf"] = [{"$ref": f"#/definitions/{prefix}{reference.rpartition('/')[2]}"}]
    return _without_null(result)


def _without_null(schema: Schema) -> Schema:
    """`anyOf: [X, null]`, which is how pydantic writes X | None, as one schema: its faults are told better."""
    alternatives = schema.get("anyOf")
    if not isinstance(alternatives, list) or {"type": "null"} not in alternatives or len(alternatives) != 2:
        return schema
    (other,) = [alternative for alternative in alternatives if alternative != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    if isinstance(other.get("type"), str) and not {"enum", "const"} & other.keys():
        return {**other, **rest, "type": [other["type"], "null"]}
    if "enum" in other:
        return {**other, **rest, "type": [other.get("type", "string"), "null"], "enum": [*other["enum"], None]}
    return {**rest, "if": {"type": "null"}, "else": other}


# What a schema may hold and still take every text that an expression could be.
_SAYS_NOTHING: Final = frozenset(("description", "default", "examples", "deprecated", "deprecationMessage", "title"))


def _or_expression(schema: Any) -> Any:
    """The schema, or a text with an expression in it, whose value is known only when the node runs."""
    if not isinstance(schema, dict) or not schema.keys() - _SAYS_NOTHING:
        return schema
    types = schema.get("type")
    if schema.keys() - _SAYS_NOTHING == {"type"} and (
        types == "string" or (isinstance(types, list) and "string" in types)
    ):
        return schema
    said = {key: value for key, value in schema.items() if key in _SAYS_NOTHING}
    rules = {key: value for key, value in schema.items() if key not in _SAYS_NOTHING}
    expression = {"type": "string", "pattern": _EXPRESSION}
    # Editors offer values out of `anyOf`, and tell what is wrong within a list or a map out of `else`.
    if _is_scalar(rules):
        return {**said, "anyOf": [rules, expression]}
    return {**said, "if": expression, "else": rules}


def _is_scalar(rules: Schema) -> bool:
    types = rules.get("type")
    of_scalars = {types} if isinstance(types, str) else set(types or ())
    return bool({"enum", "const"} & rules.keys() or (of_scalars and not of_scalars & {"array", "object"}))


# Pieces


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _text(description: str, **rules: JSON) -> Schema:
    return {"description": description, "type": "string", **rules}


def _whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def _object(properties: Schema, *, required: Sequence[str] = ()) -> Schema:
    """A map of these keys and of those for one's own use."""
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }
