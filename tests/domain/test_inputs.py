"""Inputs and forms: accepted and rejected schemas and values, and bounds on the cost."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.flow import ParamFault
from flowrunner.domain.values import JSON
from flowrunner.language import json_schema
from flowrunner.language.inputs import MAX_FAULTS, Form, Inputs, form_faults, schema_of
from flowrunner.language.json_schema import MAX_LEVELS, MAX_SUBSCHEMAS, InvalidPattern, filled, read_schema
from flowrunner.language.schema_budget import MAX_PATTERNS, SchemaBudget
from flowrunner.schemas import RustSchemas
from support.lazy import Lazy

ENGINE = RustSchemas()
REGION: Mapping[str, JSON] = {
    "region": {"type": "string", "default": "eu"},
    "limit": {"type": "integer", "minimum": 1, "default": 100},
}
# Generous, as the machine may be busy; an unbounded check would take many seconds.
STALL_SECONDS = 2.0


def inputs_faults(schemas: Mapping[str, JSON]) -> list[ParamFault]:
    """Return every fault of the input schemas of a flow."""
    budget = SchemaBudget(ENGINE)
    return [
        replace(fault, keys=("inputs", name, *fault.keys))
        for name, written in schemas.items()
        for fault in form_faults(schema_of(written)[0], budget)
    ]


def check(schemas: Mapping[str, JSON], values: Mapping[str, JSON]) -> Mapping[str, JSON]:
    assert not inputs_faults(schemas)
    return Inputs(schemas, ENGINE).check(values)


def refused(schemas: Mapping[str, JSON], values: Mapping[str, JSON]) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidInput) as error:
        check(schemas, values)
    return [(fault.path, fault.code, fault.message) for fault in error.value.faults]


def only(faults: Sequence[ParamFault]) -> ParamFault:
    assert len(faults) == 1, faults
    return faults[0]


# Values by name


def test_defaults_fill_what_is_left_out() -> None:
    assert check(REGION, {}) == {"region": "eu", "limit": 100}
    assert check(REGION, {"limit": 5}) == {"region": "eu", "limit": 5}


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_an_empty_default_is_a_default(value: JSON) -> None:
    assert check({"x": {"default": value}}, {}) == {"x": value}


def test_every_fault_is_reported_with_its_path() -> None:
    schemas = {**REGION, "token": {"type": "string"}}

    assert refused(schemas, {"limit": 0, "region": 5, "regoin": "us"}) == [
        ("input.regoin", "unknown_key", "the flow has no input 'regoin'"),
        ("input.region", "type", "must be text"),
        ("input.limit", "range", "must be at least 1"),
        ("input.token", "required", "is missing"),
    ]


def test_a_name_must_be_given_unless_it_has_a_default_or_is_not_required() -> None:
    schemas: Mapping[str, JSON] = {
        "must": {"type": "string"},
        "may": {"type": "string", "required": False},
        "null": {"type": ["string", "null"]},
        "anything": True,
    }

    assert [path for path, _, _ in refused(schemas, {})] == ["input.must", "input.null", "input.anything"]
    assert check(schemas, {"must": "x", "null": None, "anything": [1]}) == {"must": "x", "null": None, "anything": [1]}
    assert refused(schemas, {"must": "x", "null": None, "anything": 1, "may": 3}) == [
        ("input.may", "type", "must be text")
    ]


def test_the_values_keep_the_order_of_the_flow() -> None:
    assert list(check(REGION, {"limit": 1, "region": "us"})) == ["region", "limit"]


@pytest.mark.parametrize(
    ("schema", "value", "fault"),
    [
        ({"type": "integer"}, 1.5, ("input.x", "type", "must be a whole number")),
        ({"type": "integer"}, True, ("input.x", "type", "must be a whole number")),
        ({"type": "integer"}, None, ("input.x", "type", "must be a whole number, and is null")),
        ({"type": "number"}, "1", ("input.x", "type", "must be a number")),
        ({"type": "boolean"}, 1, ("input.x", "type", "must be true or false")),
        ({"type": "array"}, {}, ("input.x", "type", "must be a list")),
        ({"type": "object"}, [], ("input.x", "type", "must be an object")),
        ({"type": ["null", "string"]}, 1, ("input.x", "type", "must be text or null")),
        ({"minimum": 1}, 0, ("input.x", "range", "must be at least 1")),
        ({"maximum": 2.5}, 3, ("input.x", "range", "must be at most 2.5")),
        ({"exclusiveMinimum": 0}, 0, ("input.x", "range", "must be more than 0")),
        ({"exclusiveMaximum": 1}, 1, ("input.x", "range", "must be less than 1")),
        ({"multipleOf": 5}, 7, ("input.x", "multiple_of", "must be a multiple of 5")),
        ({"minLength": 2}, "é", ("input.x", "too_short", "must have at least 2 characters")),
        ({"maxLength": 2}, "abc", ("input.x", "too_long", "must have at most 2 characters")),
        ({"minItems": 1}, [], ("input.x", "too_short", "must have at least 1 entry")),
        ({"maxItems": 1}, [1, 2], ("input.x", "too_long", "must have at most 1 entry")),
        ({"minProperties": 1}, {}, ("input.x", "too_short", "must have at least 1 key")),
        ({"maxProperties": 0}, {"a": 1}, ("input.x", "too_long", "must have at most 0 keys")),
        ({"uniqueItems": True}, [1, 1], ("input.x", "unique", "must not have the same entry twice")),
        ({"pattern": "^[a-z]+$"}, "A", ("input.x", "pattern", "must match the pattern ^[a-z]+$")),
        ({"format": "date"}, "1.1.2027", ("input.x", "format", "must be text of the format date")),
        ({"format": "email"}, "nobody", ("input.x", "format", "must be text of the format email")),
        ({"enum": ["eu", "us"]}, "de", ("input.x", "enum", "must be one of: eu, us")),
        ({"const": 1}, 2, ("input.x", "const", "must be 1")),
        ({"not": {"type": "null"}}, None, ("input.x", "not", "is what it must not be")),
        ({"contains": {"const": 1}}, [2], ("input.x", "contains", "has too few of the entries asked for")),
        ({"items": {"type": "integer"}}, [1, "a"], ("input.x[1]", "type", "must be a whole number")),
        ({"prefixItems": [True], "items": False}, [1, 2], ("input.x[1]", "unknown_key", "must not be there")),
        ({"required": ["id"]}, {}, ("input.x.id", "required", "is missing")),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, ("input.x.b", "required", "is missing")),
        (
            {"properties": {"name": {}}, "additionalProperties": False},
            {"nam": 1},
            ("input.x.nam", "unknown_key", "there is no 'nam' here"),
        ),
        (
            {"propertyNames": {"maxLength": 1}},
            {"long": 1},
            ("input.x.long", "name", "its name must have at most 1 character"),
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"minimum": 1}}}},
            [0],
            ("input.x[0]", "range", "must be at least 1"),
        ),
        ({"if": {"type": "integer"}, "then": {"minimum": 3}}, 1, ("input.x", "range", "must be at least 3")),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 3}]},
            1,
            ("input.x", "range", "must be at least 3"),
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            None,
            ("input.x", "type", "must be text or a whole number"),
        ),
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, "c", ("input.x", "enum", "must be one of: a, b")),
        (
            {"oneOf": [{}, {"type": "null"}]},
            None,
            ("input.x", "no_match", "fits more than one of the forms it may have"),
        ),
        (
            {"anyOf": [{"minimum": 3}, {"multipleOf": 2}]},
            1,
            ("input.x", "no_match", "fits none of the forms it may have"),
        ),
        (False, 1, ("input.x", "unknown_key", "must not be there")),
    ],
)
def test_a_fault_is_reported_in_plain_words(schema: JSON, value: JSON, fault: tuple[str, str, str]) -> None:
    assert refused({"x": schema}, {"x": value}) == [fault]


@pytest.mark.parametrize(
    ("schema", "value", "hint"),
    [
        ({"type": "integer"}, "12", "send it without quotes: 12"),
        ({"type": "boolean"}, "True", "send it without quotes: true"),
        ({"type": "string"}, 12, 'send it in quotes: "12"'),
        ({"type": "array"}, 1, "send it in brackets: [ … ]"),
        ({"type": "integer"}, "1.5", None),
        ({"type": "integer"}, "nan", None),
        ({"type": "integer"}, "1_0", None),
        ({"type": "number"}, "٣", None),
        ({"type": "number"}, "-1.5e3", "send it without quotes: -1.5e3"),
        ({"enum": ["production", "staging"]}, "Productoin", "did you mean 'production'?"),
        ({"properties": {"name": {}}, "additionalProperties": False}, {"nmae": 1}, "did you mean 'name'?"),
    ],
)
def test_a_hint_says_what_to_do(schema: JSON, value: JSON, hint: str | None) -> None:
    with pytest.raises(InvalidInput) as error:
        check({"x": schema}, {"x": value})

    assert [fault.hint for fault in error.value.faults] == [hint]


@pytest.mark.parametrize(
    ("values", "hints"),
    [
        ({}, ["the number on the invoice"]),
        # The missing name is not reported: it follows from the misspelled one.
        ({"custmoer": "x"}, ["did you mean 'customer'?"]),
        ({"colour": "x"}, ["known inputs: customer", "the number on the invoice"]),
    ],
)
def test_a_missing_input_is_described_and_a_wrong_name_gets_the_near_one(
    values: Mapping[str, JSON], hints: Sequence[str]
) -> None:
    schemas: Mapping[str, JSON] = {"customer": {"type": "string", "description": "the number on the invoice"}}

    with pytest.raises(InvalidInput) as error:
        check(schemas, values)

    assert [fault.hint for fault in error.value.faults] == hints


def test_a_form_fills_the_defaults_of_its_properties() -> None:
    form = Form(
        {
            "type": "object",
            "properties": {
                "reason": {"type": "string", "default": "none given"},
                "budget": {"type": "object", "properties": {"currency": {"default": "EUR"}, "amount": {}}},
            },
        },
        SchemaBudget(ENGINE),
    )
    given: Mapping[str, JSON] = {"budget": {"amount": 5}}

    checked = form.check(given, SchemaBudget(ENGINE))

    assert checked == {
        "reason": "none given",
        "budget": {"amount": 5, "currency": "EUR"},
    }
    assert given == {"budget": {"amount": 5}}


def checked(schema: JSON, value: JSON) -> JSON:
    budget = SchemaBudget(ENGINE)
    return Form(schema, budget).check(value, budget)


def test_a_form_reports_faults_within_the_data() -> None:
    with pytest.raises(InvalidInput) as error:
        checked({"properties": {"n": {"minimum": 1}}}, {"n": 0})

    assert [fault.path for fault in error.value.faults] == ["data.n"]


def test_a_value_that_json_cannot_hold_does_not_fit() -> None:
    assert refused({"x": {"minLength": 1}}, {"x": "\ud800"})[0][:2] == ("input.x", "type")


def test_an_input_whose_schema_is_no_longer_supported_is_refused() -> None:
    inputs = Inputs({"x": {"dependencies": {"a": ["b"]}}, "y": {"type": "string"}}, ENGINE)

    with pytest.raises(InvalidInput) as error:
        inputs.check({"x": {}, "y": "a"})

    assert [(fault.path, fault.code) for fault in error.value.faults] == [("input.x", "schema")]


# Schemas


@pytest.mark.parametrize(
    ("schema", "path", "code"),
    [
        ("string", "inputs.x", "type"),
        (None, "inputs.x", "type"),
        ([{"type": "string"}], "inputs.x", "type"),
        ({"type": "text"}, "inputs.x.type", "type"),
        ({"type": ["string", "strin"]}, "inputs.x.type[1]", "type"),
        ({"type": []}, "inputs.x.type", "type"),
        ({"type": ["string", "string"]}, "inputs.x.type", "type"),
        ({"type": None}, "inputs.x.type", "type"),
        ({"minimum": "1"}, "inputs.x.minimum", "type"),
        ({"maximum": True}, "inputs.x.maximum", "type"),
        ({"minLength": -1}, "inputs.x.minLength", "type"),
        ({"maxItems": 1.5}, "inputs.x.maxItems", "type"),
        ({"minimum": 3, "maximum": 2}, "inputs.x.minimum", "range"),
        ({"multipleOf": 0}, "inputs.x.multipleOf", "type"),
        ({"enum": []}, "inputs.x.enum", "type"),
        ({"enum": "a"}, "inputs.x.enum", "type"),
        ({"properties": []}, "inputs.x.properties", "type"),
        ({"properties": {"a": {"type": "int"}}}, "inputs.x.properties.a.type", "type"),
        ({"required": ["a", "a"]}, "inputs.x.required", "type"),
        ({"required": "a"}, "inputs.x.required", "type"),
        ({"properties": {"a": {"required": True}}}, "inputs.x.properties.a.required", "type"),
        ({"items": [{}]}, "inputs.x.items", "type"),
        ({"allOf": []}, "inputs.x.allOf", "type"),
        ({"anyOf": [{"type": "strng"}]}, "inputs.x.anyOf[0].type", "type"),
        ({"uniqueItems": "yes"}, "inputs.x.uniqueItems", "type"),
        ({"description": 5}, "inputs.x.description", "type"),
        ({"dependentRequired": {"a": "b"}}, "inputs.x.dependentRequired", "type"),
        ({"pattern": "("}, "inputs.x.pattern", "pattern"),
        ({"pattern": "(?=a)b"}, "inputs.x.pattern", "pattern"),
        ({"pattern": r"(a)\1"}, "inputs.x.pattern", "pattern"),
        ({"pattern": "((a{100}){100}){100}"}, "inputs.x.pattern", "pattern"),
        ({"pattern": "a" * 1001}, "inputs.x.pattern", "too_long"),
        ({"pattern": 5}, "inputs.x.pattern", "type"),
        ({"patternProperties": {"[": {}}}, "inputs.x.patternProperties.[", "pattern"),
        ({"$ref": "http://127.0.0.1/x.json"}, "inputs.x.$ref", "reference"),
        ({"$ref": "file:///etc/passwd"}, "inputs.x.$ref", "reference"),
        ({"$ref": "other.json#/a"}, "inputs.x.$ref", "reference"),
        ({"$ref": "#name"}, "inputs.x.$ref", "reference"),
        ({"$ref": "#/$defs/none"}, "inputs.x.$ref", "reference"),
        # The engine would take it for "%", which may refer to itself.
        ({"$ref": "#/$defs/%25", "$defs": {"%25": {}, "%": {}}}, "inputs.x.$ref", "reference"),
        ({"$ref": "#/$defs/é", "$defs": {"é": {}}}, "inputs.x.$ref", "reference"),
        ({"$ref": "#/enum", "enum": [1]}, "inputs.x.enum", "type"),
        ({"$ref": "#"}, "inputs.x", "recursive"),
        ({"items": {"$ref": "#"}}, "inputs.x", "recursive"),
        ({"$id": "http://127.0.0.1/x"}, "inputs.x.$id", "unsupported"),
        ({"$dynamicRef": "#a"}, "inputs.x.$dynamicRef", "unsupported"),
        ({"unevaluatedProperties": False}, "inputs.x.unevaluatedProperties", "unsupported"),
        ({"dependencies": {"a": ["b"]}}, "inputs.x.dependencies", "unsupported"),
        ({"contentSchema": 5}, "inputs.x.contentSchema", "unsupported"),
        ({"$schema": "draft 7"}, "inputs.x.$schema", "type"),
        ({"minimun": 3}, "inputs.x.minimun", "unknown_key"),
        ({"type": "integer", "minimum": 1, "default": 0}, "inputs.x.default", "default"),
        ({"type": "array", "items": {"type": "string"}, "default": ["a", 1]}, "inputs.x.default[1]", "default"),
        # The default is not compared with what is no schema.
        ({"pattern": "(", "default": 1}, "inputs.x.pattern", "pattern"),
        ({"type": "integr", "default": "a"}, "inputs.x.type", "type"),
    ],
)
def test_a_schema_with_a_fault_is_rejected(schema: JSON, path: str, code: str) -> None:
    from flowrunner.language.yaml_source import dotted

    fault = only(inputs_faults({"x": schema}))

    assert (dotted(fault.keys), fault.code) == (path, code)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "string", "format": "fortune-cookie"},
        {"type": "string", "format": "regex", "default": "("},
        {"x-order": 3, "ui:widget": "textarea", "title": "Region", "examples": ["eu"]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"$schema": "http://127.0.0.1:1/nowhere"},
        {"$defs": {"a": {"type": "string"}}, "items": {"$ref": "#/$defs/a"}, "contains": {"$ref": "#/$defs/a"}},
        {"$defs": {"a/b~c": {"type": "string"}}, "$ref": "#/$defs/a~1b~0c"},
        {"pattern": r"^\p{Lu}[\w-]{2,40}\d+$"},
        {"pattern": r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$"},
        {"properties": {"if": {"type": "string"}, "type": {"type": "string"}, "minimun": {}}},
        {"properties": {"default": {"type": "string"}, "$ref": {"type": "string"}, "pattern": {"const": "("}}},
    ],
)
def test_a_schema_without_a_fault_is_taken(schema: JSON) -> None:
    assert inputs_faults({"x": schema}) == []


def test_every_fault_of_a_schema_is_reported() -> None:
    schema: JSON = {"type": "int", "pattern": "(", "properties": {"a": {"minimum": "1", "$ref": "x"}}}

    faults = form_faults(schema, SchemaBudget(ENGINE))

    assert [fault.code for fault in faults] == ["type", "pattern", "type", "reference"]


def test_types_of_other_languages_get_the_right_name() -> None:
    names = ("int", "Int", "list", "bool", "strng", "ANY", None)
    hints = {name: only(form_faults({"type": name}, SchemaBudget(ENGINE))).hint for name in names}

    assert hints == {
        "int": "did you mean 'integer'?",
        "Int": "did you mean 'integer'?",
        "list": "did you mean 'array'?",
        "bool": "did you mean 'boolean'?",
        "strng": "did you mean 'string'?",
        "ANY": "leave type out to allow any value",
        None: 'quote it: "null"',
    }


# Bounds on the cost


@pytest.fixture
def trap() -> Iterator[tuple[int, list[bytes]]]:
    """A server that records connections."""
    visitors: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def note() -> None:
            while True:
                try:
                    visitor, _ = server.accept()
                except OSError:
                    return
                with visitor:
                    visitor.settimeout(5)
                    visitors.append(visitor.recv(100))
                    visitor.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=note)
        thread.start()
        yield server.getsockname()[1], visitors
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_nothing_is_fetched(trap: tuple[int, list[bytes]]) -> None:
    import jsonschema_rs

    port, visitors = trap
    url = f"http://127.0.0.1:{port}/schema.json"
    for schema in ({"$ref": url}, {"$id": url, "$ref": "other.json"}, {"$schema": url, "$ref": url}):
        assert inputs_faults({"x": schema})
        # The engine alone, without the rules that reject such schemas.
        with pytest.raises(jsonschema_rs.ValidationError):
            ENGINE.matcher(schema)
    assert ENGINE.matcher({"$schema": url}).fits(1)
    assert visitors == []

    # The server records connections: without our setting the library fetches.
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.Draft202012Validator({"$ref": url})
    assert len(visitors) == 1


def bomb(keyword: str, levels: int) -> dict[str, Any]:
    """Return a schema of a few lines that expands to 2 ** levels."""
    definitions: dict[str, Any] = {
        f"a{level}": {keyword: [{"$ref": f"#/$defs/a{level + 1}"}, {"$ref": f"#/$defs/a{level + 1}"}]}
        for level in range(levels)
    }
    if keyword in ("properties", "dependentSchemas"):
        definitions = {
            name: {keyword: dict(zip("ab", schema[keyword], strict=True))} for name, schema in definitions.items()
        }
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{levels}": {"type": "string"}}}


def nested(levels: int) -> JSON:
    schema: JSON = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def chain(length: int) -> JSON:
    definitions: dict[str, JSON] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(length)}
    return {"$defs": {**definitions, f"a{length}": {}}, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        (bomb("allOf", 20), "too_large"),
        (bomb("anyOf", 20), "too_large"),
        (bomb("prefixItems", 20), "too_large"),
        (bomb("properties", 20), "too_large"),
        (bomb("dependentSchemas", 20), "too_large"),
        (Lazy(lambda: {"enum": list(range(MAX_SUBSCHEMAS + 1))}), "too_large"),
        (Lazy(lambda: {"properties": {str(n): {} for n in range(MAX_SUBSCHEMAS + 1)}}), "too_large"),
        (nested(60), "too_deep"),
        (Lazy(lambda: nested(5000)), "too_deep"),
        (chain(60), "too_deep"),
        (Lazy(lambda: chain(1500)), "too_deep"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "recursive"),
        (
            {"$defs": {"a": {"allOf": [{"items": {"$ref": "#/$defs/a"}}] * 2}}, "$ref": "#/$defs/a"},
            "recursive",
        ),
    ],
)
def test_a_schema_that_unfolds_too_far_is_rejected_at_once(schema: JSON, code: str) -> None:
    started = time.process_time()

    faults = form_faults(schema, SchemaBudget(ENGINE))

    assert {fault.code for fault in faults} == {code}
    assert len(faults) < 5
    assert time.process_time() - started < STALL_SECONDS


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", Lazy(lambda: "a" * 1_000_000 + "b")),
        ("^(a|a)*$", Lazy(lambda: "a" * 1_000_000 + "b")),
        (r"(\w+\s?)*:$", Lazy(lambda: "a b " * 250_000)),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", Lazy(lambda: "a" * 1_000_000)),
        ("[ab]*a[ab]{100}c", Lazy(lambda: "ab" * 500_000)),
        ("[ab]*a[ab]{500}c", Lazy(lambda: "abba" * 250_000)),
        ("^(a|b)*a(a|b){300}$", Lazy(lambda: "abaab" * 200_000)),
    ],
)
def test_no_pattern_takes_long_over_a_megabyte(pattern: str, text: str) -> None:
    started = time.process_time()

    (fault,) = refused({"x": {"pattern": pattern}}, {"x": text})

    assert fault[1] in ("pattern", "too_large")
    assert time.process_time() - started < STALL_SECONDS


COSTLY: Final = [f"[ab]*a[ab]{{{number}}}c" for number in range(50, 100)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"allOf": [{"pattern": pattern} for pattern in COSTLY]}, "text"),
        ({"patternProperties": {pattern: {} for pattern in COSTLY}}, "key"),
        ({"properties": {"a": {"items": {"anyOf": [{"pattern": pattern} for pattern in COSTLY]}}}}, "text"),
        ({"allOf": [{"format": "date"}] * 1000}, "text"),
        ({"allOf": [{"minLength": 1, "maxLength": 2_000_000}] * 500}, "text"),
    ],
)
def test_what_a_schema_costs_for_each_character_bounds_the_texts_that_it_checks(schema: JSON, value: str) -> None:
    form = Form(schema, SchemaBudget(ENGINE))
    short, long = (
        ParamFault(keys=(), code="too_large", message="is too large to be checked against its schema")
        in form.faults({text: 1} if value == "key" else text, SchemaBudget(ENGINE))
        for text in ("ab" * 5, "ab" * 500_000)
    )

    assert (short, long) == (False, True)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        # Each of these makes the library copy, compare or format for a very long time.
        (Lazy(lambda: {"items": {"allOf": [{"minimum": -n} for n in range(900)]}}), Lazy(lambda: [1] * 100_000)),
        ({"items": {"type": "string"}}, Lazy(lambda: list(range(200_000)))),
        (
            Lazy(lambda: {"allOf": [{"type": "object", "minProperties": n} for n in range(500)]}),
            Lazy(lambda: [1] * 200_000),
        ),
        ({"items": {"enum": [["x"] * 30] * 30}}, Lazy(lambda: [["x"] * 29] * 10_000)),
        ({"additionalProperties": False}, Lazy(lambda: {str(n): n for n in range(50_000)})),
        (
            {"propertyNames": {"pattern": "^(a|b)*a(a|b){300}$"}},
            Lazy(lambda: {f"{n:x}" * 20: 1 for n in range(50_000)}),
        ),
        ({"propertyNames": {"pattern": "^x"}}, Lazy(lambda: {str(n): 1 for n in range(4_000)})),
        ({"items": {"allOf": [{"multipleOf": 0.1}] * 50}}, Lazy(lambda: [1e308] * 20_000)),
        ({"items": {"allOf": [{"minimum": 0.1}] * 50}}, Lazy(lambda: [2**62] * 50_000)),
        (bomb("allOf", 8), 1),
        ({**bomb("anyOf", 8), "$ref": "#/$defs/a4", "items": {"$ref": "#/$defs/a0"}}, [1] * 100),
        ({"uniqueItems": True}, Lazy(lambda: [{"a": n, "b": [n]} for n in range(50_000)])),
        ({"items": {"format": "email"}}, Lazy(lambda: ["a" * 60] * 15_000)),
        ({"allOf": [{"type": "integer"}] * 1_900}, Lazy(lambda: "x" * 1_000_000)),
        ({"anyOf": [{"type": "integer"}] * 1_900}, Lazy(lambda: "x" * 1_000_000)),
        ({"items": {"allOf": [{"type": "string"}] * 200}}, [1] * 90),
    ],
)
def test_no_value_takes_long(schema: JSON, value: JSON) -> None:
    assert not form_faults(schema, SchemaBudget(ENGINE))
    form = Form(schema, SchemaBudget(ENGINE))
    started = time.process_time()

    with contextlib.suppress(InvalidInput):
        form.check(value, SchemaBudget(ENGINE))

    assert time.process_time() - started < STALL_SECONDS


def test_a_long_list_of_prices_is_checked() -> None:
    price: JSON = {"type": "number", "minimum": 0, "maximum": 100_000, "multipleOf": 0.01}
    schema: JSON = {"items": {"properties": {"price": price, "count": {"type": "integer", "minimum": 1}}}}

    assert not Form(schema, SchemaBudget(ENGINE)).faults([{"price": 19.99, "count": 3}] * 10_000, SchemaBudget(ENGINE))


@pytest.mark.parametrize(
    "unit", [r"\w\W", r"\s", r"\D\S", "(?i:[ -\U0010ffff])", r"(?i)[\u0020-\U0010ffff]", r"(?:\pL{50}){50}", "[^-x]\\s"]
)
def test_getting_the_patterns_of_a_document_ready_does_not_take_long(unit: str) -> None:
    patterns = [unit * ((990 - n) // len(unit)) + "x" * n for n in range(MAX_PATTERNS)]
    budget = SchemaBudget(ENGINE)
    started = time.process_time()

    for pattern in patterns:
        form_faults({"pattern": pattern}, budget)

    assert time.process_time() - started < STALL_SECONDS


def test_a_document_has_a_hundred_patterns_at_most_wherever_they_stand() -> None:
    schemas: Mapping[str, JSON] = {
        f"x{n}": {"pattern": f"^a{n}$", "patternProperties": {f"^b{n}$": {}}} for n in range(MAX_PATTERNS // 2)
    }
    assert not inputs_faults(schemas)
    # A repeated pattern does not count again.
    assert not inputs_faults({**schemas, "again": {"pattern": "^a7$"}})

    fault = only(inputs_faults({**schemas, "more": {"items": {"pattern": "^c$"}}}))

    assert fault.keys == ("inputs", "more", "items", "pattern")
    assert fault.message == "the pattern cannot be used: the schemas of a flow have at most 100 different patterns"


def test_patterns_that_do_not_compile_take_time_from_the_budget_too() -> None:
    budget = SchemaBudget(ENGINE)
    messages: list[str] = []
    for number in range(MAX_PATTERNS):
        with pytest.raises(InvalidPattern) as error:
            budget.pattern_cost(f"({number}")
        messages.append(str(error.value))

    # The engine may try each of them with four sizes.
    assert ["too long to prepare" in message for message in messages] == [False] * 20 + [True] * 80


def test_usual_patterns_are_far_from_the_budget() -> None:
    usual = [
        r"^[\w.+-]+@[\w-]+\.[\w.]+$",
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$",
        r"^\s*(?:[A-Z]{2}\d{2}\s?)+$",
        "(?i)^[a-z]",
        r"(?i)^\w+",
    ]
    schema: JSON = {"allOf": [{"pattern": f"{pattern}|x{n}"} for n, pattern in enumerate(usual * 20)]}

    assert not form_faults(schema, SchemaBudget(ENGINE))


def test_the_inputs_of_one_request_share_one_budget() -> None:
    schema: JSON = {"items": {"allOf": [{"minimum": n} for n in range(-30, 0)]}}
    schemas: dict[str, JSON] = {f"x{n}": schema for n in range(30)}
    values: JSON = [1] * 50_000
    started = time.process_time()

    faults = refused(schemas, dict.fromkeys(schemas, values))

    assert faults[-1] == ("input.x29", "too_large", "is too large to be checked against its schema")
    assert time.process_time() - started < STALL_SECONDS


def test_the_faults_of_a_large_value_are_cut() -> None:
    some: JSON = [1] * 1_000
    many: JSON = [1] * 200_000

    assert len(refused({"x": {"items": {"type": "string"}}}, {"x": some})) == MAX_FAULTS
    assert refused({"x": {"items": {"type": "string"}}}, {"x": many}) == [("input.x[0]", "type", "must be text")]


def test_large_values_that_are_usual_are_checked() -> None:
    order: JSON = {
        "type": "object",
        "required": ["id", "lines"],
        "properties": {
            "id": {"type": "string", "pattern": "^[a-z0-9-]+$"},
            "email": {"type": "string", "format": "email"},
            "lines": {"type": "array", "items": {"properties": {"sku": {"type": "string"}, "n": {"minimum": 1}}}},
        },
    }
    orders: JSON = [
        {"id": f"order-{n}", "email": f"c{n}@example.com", "lines": [{"sku": "a", "n": 1}] * 5} for n in range(5_000)
    ]

    checked = check({"orders": {"type": "array", "items": order}}, {"orders": orders})["orders"]
    assert isinstance(checked, list)
    assert len(checked) == 5_000


def test_the_library_is_not_loaded_before_it_is_used() -> None:
    program = "import flowrunner.schemas, sys; sys.exit('jsonschema_rs' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("index", ["9" * 5000, "2", "-1"])
def test_a_reference_to_an_index_that_there_is_not_leads_nowhere(index: str) -> None:
    fault = only(form_faults({"anyOf": [{"$ref": f"#/anyOf/{index}"}, {}]}, SchemaBudget(ENGINE)))

    assert fault.code == "reference"


def test_a_reference_leads_to_the_last_element_of_a_list() -> None:
    assert form_faults({"anyOf": [{"$ref": "#/anyOf/1"}, {}]}, SchemaBudget(ENGINE)) == ()


@pytest.mark.parametrize(
    ("least", "most", "value"),
    [
        ("minimum", "maximum", 2), ("minLength", "maxLength", "ab"), ("minItems", "maxItems", [1, 1]),
        ("minContains", "maxContains", [1, 1]), ("minProperties", "maxProperties", {"a": 1, "b": 1}),
    ],
)  # fmt: skip
def test_bounds_may_be_equal_but_not_exclude_each_other(least: str, most: str, value: JSON) -> None:
    one_size: Mapping[str, JSON] = {"contains": {"const": 1}, least: 2, most: 2}

    assert check({"x": one_size}, {"x": value}) == {"x": value}
    assert [fault.code for fault in inputs_faults({"x": {**one_size, least: 3}})] == ["range"]


# A schema inside another one, by the keyword that holds it.
HOLDERS: Final[Mapping[str, Callable[[JSON], JSON]]] = {
    **{keyword: lambda inner: inner for keyword in json_schema._SCHEMAS},
    **{keyword: lambda inner: [inner] for keyword in json_schema._LISTS_OF_SCHEMAS},
    **{keyword: lambda inner: {"a": inner} for keyword in json_schema._MAPS_OF_SCHEMAS},
}


@pytest.mark.parametrize("keyword", HOLDERS)
def test_each_keyword_that_holds_schemas_has_them_read_and_counts_as_a_level(keyword: str) -> None:
    def nested(levels: int, innermost: JSON) -> JSON:
        schema = innermost
        for _ in range(levels - 1):
            schema = {keyword: HOLDERS[keyword](schema)}
        return schema

    assert read_schema(nested(MAX_LEVELS, {"type": "string"}), ENGINE)[0] == ()
    assert [fault.code for fault in read_schema(nested(MAX_LEVELS + 1, {"type": "string"}), ENGINE)[0]] == ["too_deep"]
    (fault,), _ = read_schema(nested(3, {"type": "text"}), ENGINE)
    assert (fault.code, fault.keys[-1]) == ("type", "type")


def test_a_default_is_completed_by_those_within_it() -> None:
    inner = {"type": "object", "properties": {"unit": {"default": "kg"}, "amount": {}}, "default": {"amount": 1}}
    schema: Any = {"properties": {"weight": inner, "name": {"default": "x"}}}

    assert filled(schema, {"name": "y"}) == {"name": "y", "weight": {"amount": 1, "unit": "kg"}}
    assert filled(schema, {"weight": {"unit": "g"}}) == {"name": "x", "weight": {"unit": "g"}}


@pytest.mark.parametrize(
    ("written", "schema", "is_required"),
    [
        ({"type": "object", "required": ["a"]}, {"type": "object", "required": ["a"]}, True),
        ({"required": ["a"], "searchable": True}, {"required": ["a"]}, True),
        ({"type": "string", "required": False, "searchable": False}, {"type": "string"}, False),
        ({"type": "string", "required": True}, {"type": "string"}, True), (True, True, True), ({}, {}, True),
    ],
)  # fmt: skip
def test_an_input_s_own_keys_are_flags_and_the_list_of_required_properties_belongs_to_its_schema(
    written: JSON, schema: JSON, is_required: bool
) -> None:
    assert schema_of(written) == (schema, is_required)


def test_the_faults_of_many_inputs_are_cut() -> None:
    many: dict[str, JSON] = {f"x{n}": {"type": "string"} for n in range(MAX_FAULTS + 5)}

    assert len(refused(many, {})) == MAX_FAULTS
