"""What a node type says of its parameters, as draft-07 says it, with an expression wherever a value may stand."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowrunner.domain.values import JSON
from flowrunner.language.schema.node_types import DescribedNodeType
from flowrunner.language.schema.pieces import Schema

_EXPRESSION: Final = r"\$\{"


def params_name(type_name: str) -> str:
    return f"params.{type_name}"


def params_definitions(node_type: DescribedNodeType) -> Schema:
    """The definitions for the parameters of a type: themselves, and what they refer to."""
    written = dict(node_type.params_schema())
    child_scopes = written.pop("$defs", {})
    prefix = f"{node_type.name}."
    definitions: Schema = {
        params_name(node_type.name): {"title": f"Parameters of {node_type.name}", **_converted(written, prefix)}
    }
    assert isinstance(child_scopes, Mapping)
    for name, schema in child_scopes.items():
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
            result[key] = {
                name: _or_expression(_converted(child_scopes, prefix)) for name, child_scopes in named.items()
            }
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
