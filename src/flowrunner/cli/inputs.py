"""Inputs and answers from the command line."""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from flowrunner.cli.documents import STDIN, check_read_once
from flowrunner.cli.text import plain
from flowrunner.domain.values import JSON


def read_inputs(inputs: Sequence[str], params: Sequence[str], schemas: Mapping[str, Any]) -> Mapping[str, JSON]:
    """Return the input values by name. The last of several values for one name is used.

    Args:
        inputs: Each `NAME=VALUE`, a JSON object, `@FILE` with one, or `-` for the standard input.
        params: Each `NAME=VALUE`.
        schemas: The `inputs` of the flow: which of them may be text.

    Raises:
        click.UsageError: If a value has another form or cannot be read.
    """
    check_read_once(*inputs)
    values: dict[str, JSON] = {}
    for given in inputs:
        if given == STDIN:
            values |= _object("the standard input", sys.stdin.buffer.read())
        elif given.startswith("@"):
            values |= _object(given[1:], _content("--input", Path(given[1:])))
        elif given.lstrip().startswith("{"):
            values |= _object("--input", given)
        else:
            values |= _pair("--input", given, schemas)
    for given in params:
        values |= _pair("--param", given, schemas)
    return values


def read_bytes(option: str, given: str) -> bytes:
    """Return the text of `@FILE`, of `-`, or the argument itself. Raises: click.UsageError."""
    if given == STDIN:
        return sys.stdin.buffer.read()
    return _content(option, Path(given[1:])) if given.startswith("@") else given.encode()


def read_text(option: str, given: str) -> str:
    """Return the same as text. Raises: click.UsageError."""
    try:
        return read_bytes(option, given).decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{option}: it is not UTF-8 text") from None


def read_json(option: str, given: str) -> JSON:
    """Return the same as a JSON value. Raises: click.UsageError."""
    return _json(option, read_bytes(option, given))


def read_json_or_text(option: str, given: str) -> JSON:
    """Return a JSON object or list, or otherwise the text. Raises: click.UsageError."""
    text = read_text(option, given)
    try:
        value = _read(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text


def read_any_json_or_text(given: str) -> JSON:
    """Return any JSON value, or otherwise the text without its last line break. Raises: click.UsageError."""
    text = read_text("VALUE", given)
    try:
        return _read(text)
    except (ValueError, RecursionError):
        return text.removesuffix("\n")


def pairs(option: str, given: Iterable[str]) -> Mapping[str, Sequence[JSON]]:
    """Return the values of `NAME` or `NAME=JSON` by name; null without JSON. Raises: click.UsageError."""
    found: dict[str, list[JSON]] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not name:
            raise click.UsageError(f"{option} begins with a name, and not '{plain(one)}'")
        found.setdefault(name, []).append(_json(f"{option} {name}", text) if equals else None)
    return found


def _pair(option: str, given: str, schemas: Mapping[str, Any]) -> Mapping[str, JSON]:
    """Return the value as JSON if it is JSON, unless the flow takes text in its place, or nothing but text."""
    name, equals, text = given.partition("=")
    if not equals or not name:
        # `Path.is_file` raises an error for a name that no file can have.
        is_file = option == "--input" and os.path.isfile(given)
        hint = f": did you mean @{given}?" if is_file else ""
        forms = "NAME=VALUE, a JSON object, @FILE or -" if option == "--input" else "NAME=VALUE"
        raise click.UsageError(f"{option} takes {forms}, and not '{plain(given)}'{plain(hint)}")
    schema = schemas.get(name)
    if isinstance(schema, dict) and schema.get("type") in ("string", ["string"]):
        return {name: text}
    try:
        value = _read(text)
    except (ValueError, RecursionError):
        return {name: text}
    return {name: text if _lists(schema, text) and not _lists(schema, value) else value}


def _lists(schema: Any, value: JSON) -> bool:
    """Return whether the types and values that a schema lists include a value. Its other rules are not regarded."""
    if not isinstance(schema, dict):
        return schema is not False
    types = schema.get("type")
    if types is not None and not _types(value).intersection([types] if isinstance(types, str) else types):
        return False
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    # In Python, True is equal to 1.
    if values is not None and not any(value == each and _types(value) & _types(each) for each in values):
        return False
    choices = [each for key in ("anyOf", "oneOf") if (each := schema.get(key)) is not None]
    is_chosen = all(any(_lists(one, value) for one in choice) for choice in choices)
    return is_chosen and all(_lists(one, value) for one in schema.get("allOf", ()))


def _types(value: JSON) -> frozenset[str]:
    match value:
        case None:
            return frozenset({"null"})
        case bool():
            return frozenset({"boolean"})
        case str():
            return frozenset({"string"})
        case int():
            return frozenset({"integer", "number"})
        case float():
            return frozenset({"number"})
        case list():
            return frozenset({"array"})
        case _:
            return frozenset({"object"})


def _object(source: str, text: str | bytes) -> Mapping[str, Any]:
    value = _json(source, text)
    if not isinstance(value, dict):
        raise click.UsageError(f'{plain(source)} is not a JSON object, such as {{"name": "value"}}')
    return value


def _content(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.UsageError(f"{option}: {path} cannot be read: {error.strerror}") from None


def _json(source: str, text: str | bytes) -> JSON:
    try:
        return _read(text)
    except RecursionError:
        raise click.UsageError(f"{plain(source)} is nested too deeply") from None
    except ValueError as error:
        raise click.UsageError(f"{plain(source)} is not JSON: {error}") from None


def _read(text: str | bytes) -> JSON:
    value: JSON = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    return value


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"there is no {name} in it")
