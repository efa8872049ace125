"""Values of inputs on the command line: which are text, and which are JSON."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import click
import pytest

from flowrunner.cli.documents import read_documents
from flowrunner.cli.inputs import read_any_json_or_text, read_inputs, read_json, read_json_or_text
from flowrunner.cli.reruns import rerun_one
from flowrunner.client import Client

TEXT_OR_NULL = {"type": ["string", "null"]}
TEXT_OR_INTEGER = {"type": ["string", "integer"]}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        # Text alone: whatever it looks like.
        ({"type": "string"}, "123", "123"),
        ({"type": "string"}, '"a"', '"a"'),
        ({"type": ["string"]}, "null", "null"),
        # Without a type: JSON, if it is.
        (None, "123", 123),
        (True, "123", 123),
        ({}, '"123"', "123"),
        ({}, "{a", "{a"),
        ({"maxLength": 9}, "true", True),
        # Text among other types: these come first, if they fit.
        (TEXT_OR_NULL, "123", "123"),
        (TEXT_OR_NULL, "true", "true"),
        (TEXT_OR_NULL, "[1]", "[1]"),
        (TEXT_OR_NULL, "null", None),
        (TEXT_OR_NULL, '"null"', "null"),
        (TEXT_OR_INTEGER, "123", 123),
        (TEXT_OR_INTEGER, '"123"', "123"),
        # A version, and not a number whose last digit does not count.
        (TEXT_OR_INTEGER, "1.0", "1.0"),
        (TEXT_OR_INTEGER, "null", "null"),
        (TEXT_OR_INTEGER, "true", "true"),
        ({"type": ["string", "number"]}, "123", 123),
        ({"type": ["string", "number"]}, "1.5", 1.5),
        ({"type": ["string", "boolean"]}, "1", "1"),
        ({"type": ["string", "boolean"]}, "true", True),
        ({"type": ["string", "array"]}, "[1]", [1]),
        ({"type": ["string", "array"]}, "{}", "{}"),
        ({"type": ["string", "object"]}, "{}", {}),
        # No text: it is JSON, and the server says what is wrong.
        ({"type": ["integer", "null"]}, "1.5", 1.5),
        ({"type": "integer"}, "true", True),
        # A number that is too large is no text for that.
        ({"type": ["string", "integer"], "maximum": 9}, "123", 123),
        # Listed values.
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": ["1", 1]}, "1", 1),
        ({"enum": ["1", True]}, "1", "1"),
        ({"enum": ["1", "2"]}, "3", 3),
        ({"enum": ["en", "null", None]}, "null", None),
        ({"const": "1"}, "1", "1"),
        ({"type": ["string", "integer"], "enum": ["1", 2]}, "1", "1"),
        # Choices.
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "123", "123"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "123", 123),
        ({"anyOf": [{"enum": ["7"]}, False]}, "7", "7"),
        ({"allOf": [{"type": ["string", "integer"]}, {"type": ["string", "null"]}]}, "123", "123"),
        ({"type": ["string", "integer"], "anyOf": [{"type": "string"}, {"type": "null"}]}, "123", "123"),
        ({"anyOf": [{"$ref": "#/$defs/x"}, {"type": "string"}]}, "123", 123),
    ],
)
def test_a_value_is_of_a_type_that_the_flow_declares(schema: Any, text: str, value: Any) -> None:
    schemas = {} if schema is None else {"x": schema}

    (by_param,), (by_input,) = (
        read_inputs(inputs, params, schemas).items() for inputs, params in (([], [f"x={text}"]), ([f"x={text}"], []))
    )

    assert repr(by_param) == repr(by_input) == repr(("x", value))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_number_that_json_cannot_have_is_text_or_a_fault(number: str) -> None:
    assert read_inputs([f"x={number}"], (), {}) == {"x": number}
    with pytest.raises(click.UsageError, match=f"there is no {number} in it"):
        read_inputs([f'{{"x": {number}}}'], (), {})


def test_what_is_too_deep_to_be_json_is_text() -> None:
    deep = "[" * 100_000

    assert read_inputs([f"x={deep}"], (), {}) == {"x": deep}
    assert read_json_or_text("--data", deep) == read_any_json_or_text(deep) == deep
    with pytest.raises(click.UsageError):
        read_json("--data", deep)


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_inputs(["-", "-"], (), {}),
        lambda: rerun(node_input="-", inputs=["-"]),
        lambda: read_documents(["-", "-"]),
    ],
    ids=["run", "rerun", "documents"],
)
def test_the_standard_input_is_read_once(read: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"x": 1}')))

    with pytest.raises(click.UsageError, match="can be read once"):
        read()


def rerun(*, node_input: str, inputs: Sequence[str]) -> int:
    return rerun_one(
        Client(), "exec-1", {"from": "a"}, node_input=node_input, inputs=inputs, labels_set=(),
        wait=False, follow=False, timeout=None, dry_run=False,
    )  # fmt: skip
