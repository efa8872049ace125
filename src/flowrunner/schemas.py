"""Schema engine based on jsonschema-rs. Implements `language.json_schema.SchemaEngine`.

The library holds the GIL while it works and has no limits, so `language.json_schema` limits its inputs.
"""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from flowrunner.domain.errors import quoted
from flowrunner.domain.flow import ParamFault
from flowrunner.domain.values import JSON
from flowrunner.language.json_schema import InvalidPattern, Matcher

if TYPE_CHECKING:
    import jsonschema_rs

# Maximum bytes of a compiled pattern, with the worst-case nanoseconds for each character of text. Measured with
# patterns that defeat the cache of the engine, such as `[ab]*a[ab]{500}c`.
_PATTERN_SIZES: Final = ((4_096, 200.0), (16_384, 800.0), (65_536, 4_000.0))
# A pattern that needs more than this is reported as invalid or far too large.
_LARGEST_REPORTED_BYTES: Final = 1 << 20
# Cache of each pattern, which fills with the states of the automaton. A larger one does not help the slowest patterns.
_CACHE_BYTES: Final = 128 * 1024

# Formats that are checked. The others are annotations, as the standard allows. `regex` is one of them, because
# compiling a text from outside has no bound.
FORMATS: Final = frozenset(
    (
        "date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6",
        "uri", "uri-reference", "uuid",
    )
)  # fmt: skip
_UNCHECKED_FORMATS: Final = (
    "regex", "idn-email", "idn-hostname", "iri", "iri-reference", "uri-template", "json-pointer",
    "relative-json-pointer",
)  # fmt: skip
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


class RustSchemas:
    """Schema engine. It loads the library on first use, which takes 20 ms, because most flows have no inputs."""

    def pattern_cost(self, pattern: str) -> float:
        for bytes, nanoseconds in _PATTERN_SIZES:
            try:
                _validator({"pattern": pattern}, size=bytes)
            except ValueError:
                continue
            return nanoseconds
        # The library gives no reason, so only a higher limit distinguishes a large pattern from an invalid one.
        try:
            _validator({"pattern": pattern}, size=_LARGEST_REPORTED_BYTES)
        except ValueError:
            raise InvalidPattern(
                "it is not a regular expression, or far too large, or uses (?=…), (?!…) or \\1, which have no bound"
            ) from None
        raise InvalidPattern("it is too large: repeat less, or check the length with maxLength")

    def matcher(self, schema: JSON) -> Matcher:
        return RustMatcher(schema)


class RustMatcher:
    """Implements `language.json_schema.Matcher`."""

    def __init__(self, schema: JSON) -> None:
        self._schema = schema
        self._validator = _validator(schema, size=_PATTERN_SIZES[-1][0])

    def fits(self, value: JSON) -> bool:
        try:
            return self._validator.is_valid(value)
        except (ValueError, RecursionError):
            return False

    def faults(self, value: JSON, *, first_only: bool) -> Sequence[ParamFault]:
        import jsonschema_rs

        try:
            if first_only:
                self._validator.validate(value)
            errors = list(self._validator.iter_errors(value))
        except jsonschema_rs.ValidationError as error:
            errors = [error]
        except (ValueError, RecursionError):
            # Text with half a surrogate pair, or more levels than the library supports.
            return (ParamFault(keys=(), code="type", message="is nested too deeply, or holds what JSON cannot"),)
        return _once([fault for error in errors for fault in self._faults_of(error)])

    def _faults_of(self, error: "jsonschema_rs.ValidationError") -> Sequence[ParamFault]:
        at, kind = tuple(error.instance_path), error.kind
        match kind.name:
            case "additionalProperties":
                known = self._names_beside(error.schema_path)
                return [
                    ParamFault(
                        keys=(*at, name),
                        code="unknown_key",
                        message=f"there is no {quoted(name)} here",
                        hint=_near(name, known),
                    )
                    for name in kind.value
                ]
            case "required":
                return [ParamFault(keys=(*at, kind.value), code="required", message="is missing")]
            case "anyOf" | "oneOf":
                return self._choice_faults(error)
            case "propertyNames":
                inner = kind.as_dict()["error"]
                faults = self._faults_of(inner)
                reason = faults[0].message if faults else "does not fit"
                name = inner.instance if isinstance(inner.instance, str) else ""
                return [ParamFault(keys=(*at, name), code="name", message=f"its name {reason}")]
            case "type":
                return [
                    ParamFault(
                        keys=at,
                        code="type",
                        # Of a webhook, a key that is missing in the body is null.
                        message=f"must be {_types(kind.value)}{', and is null' if error.instance is None else ''}",
                        hint=_hint_for_type(kind.value, error.instance),
                    )
                ]
            case "enum":
                return [
                    ParamFault(
                        keys=at,
                        code="enum",
                        message=f"must be one of: {_listed(kind.value)}",
                        hint=_near_value(error.instance, kind.value),
                    )
                ]
            case "contains":
                word = "more than allowed" if error.schema_path[-1] == "maxContains" else "too few"
                return [ParamFault(keys=at, code="contains", message=f"has {word} of the entries asked for")]
        code, words = _WORDS.get(kind.name, (kind.name, "does not fit"))
        if kind.value == 1:
            words, _, counted = words.rpartition(" ")
            words = f"{words} {_ONE_OF.get(counted, counted)}"
        return [ParamFault(keys=at, code=code, message=words.format(_number(kind.value)))]

    def _choice_faults(self, error: "jsonschema_rs.ValidationError") -> Sequence[ParamFault]:
        """Return the faults of the intended alternative if it is clear, and otherwise one fault."""
        at = tuple(error.instance_path)
        alternatives: list[list[jsonschema_rs.ValidationError]] = error.kind.as_dict()["context"]
        if any(not errors for errors in alternatives):
            return [ParamFault(keys=at, code="no_match", message="fits more than one of the forms it may have")]
        meant = [errors for errors in alternatives if not any(_is_other_type(e, at) for e in errors)]
        if len(meant) == 1:
            return [fault for inner in meant[0] for fault in self._faults_of(inner)]
        if not meant:
            types = [t for errors in alternatives for e in errors if e.kind.name == "type" for t in e.kind.value]
            consts = [e.kind.value for errors in alternatives for e in errors if e.kind.name == "const"]
            if types and not consts:
                return [ParamFault(keys=at, code="type", message=f"must be {_types(list(dict.fromkeys(types)))}")]
            if consts and not types:
                return [ParamFault(keys=at, code="enum", message=f"must be one of: {_listed(consts)}")]
        return [ParamFault(keys=at, code="no_match", message="fits none of the forms it may have")]

    def _names_beside(self, schema_path: Sequence[str | int]) -> Sequence[str]:
        """Return the properties beside the `additionalProperties` at ``schema_path``."""
        schema: Any = self._schema
        for key in schema_path[:-1]:
            try:
                schema = schema[key]
            except (LookupError, TypeError):
                return ()
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        return tuple(properties) if isinstance(properties, Mapping) else ()


def _validator(schema: JSON, *, size: int) -> "jsonschema_rs.Validator":
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        schema,  # type: ignore[arg-type] # any JSON; ValueError if it is not a schema
        # Linear time in the length of the text, for every pattern.
        pattern_options=jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=_CACHE_BYTES),
        validate_formats=True,
        formats=dict.fromkeys(_UNCHECKED_FORMATS, _always),
        # By default the library would fetch the target of a `$ref` from the network or from files.
        offline=True,
        # Without a mask each fault also holds the value as text, which may be a megabyte.
        mask="…",
    )


def _always(_: str) -> bool:
    return True


def _is_other_type(error: "jsonschema_rs.ValidationError", at: Sequence[str | int]) -> bool:
    """Return whether an error shows that an alternative is for another type of value, and so was not intended."""
    here = tuple(error.instance_path)
    return (error.kind.name == "type" and here == at) or (error.kind.name == "const" and len(here) <= len(at) + 1)


_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "minimum": ("range", "must be at least {}"),
    "maximum": ("range", "must be at most {}"),
    "exclusiveMinimum": ("range", "must be more than {}"),
    "exclusiveMaximum": ("range", "must be less than {}"),
    "multipleOf": ("multiple_of", "must be a multiple of {}"),
    "minLength": ("too_short", "must have at least {} characters"),
    "maxLength": ("too_long", "must have at most {} characters"),
    "minItems": ("too_short", "must have at least {} entries"),
    "maxItems": ("too_long", "must have at most {} entries"),
    "minProperties": ("too_short", "must have at least {} keys"),
    "maxProperties": ("too_long", "must have at most {} keys"),
    "uniqueItems": ("unique", "must not have the same entry twice"),
    "pattern": ("pattern", "must match the pattern {}"),
    "format": ("format", "must be text of the format {}"),
    "const": ("const", "must be {}"),
    "not": ("not", "is what it must not be"),
    "falseSchema": ("unknown_key", "must not be there"),
}

_ONE_OF: Final = {"characters": "character", "entries": "entry", "keys": "key"}

_TYPE_WORDS: Final[Mapping[str, str]] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _types(names: Sequence[str]) -> str:
    # "null" last: "text or null".
    words = [_TYPE_WORDS.get(name, name) for name in sorted(names, key=lambda name: name == "null")]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) <= 200 else "of its schema"
    return _short(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else "the value of its schema"


def _listed(values: Sequence[Any]) -> str:
    shown = [value if isinstance(value, str) and value else _short(value) for value in values[:20]]
    return ", ".join(shown) + (f" and {len(values) - 20} more" if len(values) > 20 else "")


def _near(name: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(name[:100], known, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(known[:20])}" if known else None


def _near_value(value: Any, allowed: Sequence[Any]) -> str | None:
    if not isinstance(value, str):
        return None
    near = difflib.get_close_matches(value[:100].lower(), [a for a in allowed[:200] if isinstance(a, str)], n=1)
    return f"did you mean '{near[0]}'?" if near else None


def _hint_for_type(names: Sequence[str], value: Any) -> str | None:
    if isinstance(value, str) and len(value) <= 30:
        if ("integer" in names or "number" in names) and _reads_as_number(value, whole="number" not in names):
            return f"send it without quotes: {value}"
        if "boolean" in names and value.lower() in ("true", "false"):
            return f"send it without quotes: {value.lower()}"
    if "string" in names and isinstance(value, int | float):
        return f'send it in quotes: "{_short(value)}"'
    if "array" in names and value is not None and not isinstance(value, Mapping):
        return "send it in brackets: [ … ]"
    return None


def _reads_as_number(text: str, *, whole: bool) -> bool:
    """Return whether a text is a number of JSON."""
    if _NUMBER.fullmatch(text) is None:
        return False
    number = float(text)
    return math.isfinite(number) and (number.is_integer() or not whole)


def _once(faults: Sequence[ParamFault]) -> Sequence[ParamFault]:
    """Remove the repeated faults that alternatives and `allOf` cause."""
    return list(dict.fromkeys(faults))
