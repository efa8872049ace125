"""Validation of JSON Schemas, and an estimate of the work that checking values with them takes.

The supported language is JSON Schema 2020-12 without the parts of unbounded cost. A schema refers only to parts of
itself (`$ref: "#/…"`) and never recursively, so it unfolds to a tree of known size.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeGuard

from flowrunner.domain.errors import quoted
from flowrunner.domain.flow import ParamFault
from flowrunner.domain.values import JSON
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.language.yaml_source import Keys

MAX_SUBSCHEMAS: Final = 2_000
MAX_LEVELS: Final = 50
MAX_PATTERN_CHARACTERS: Final = 1_000

TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")


class InvalidPattern(ValueError):
    """Pattern that cannot be used. The message says why in plain words."""


class Matcher(Protocol):
    """Compiled schema."""

    def fits(self, value: JSON) -> bool: ...

    def faults(self, value: JSON, *, first_only: bool) -> Sequence[ParamFault]:
        """Return the faults of a value, by keys within it, in plain words."""
        ...


class SchemaEngine(Protocol):
    """Engine that compares values with schemas. It performs no I/O."""

    def pattern_cost(self, pattern: str) -> float:
        """Return the worst-case nanoseconds for each character of text.

        Raises:
            InvalidPattern: If the pattern does not compile, is too large, or takes more than linear time.
        """
        ...

    def matcher(self, schema: JSON) -> Matcher:
        """Compile ``schema``, which has no faults."""
        ...


@dataclass(frozen=True, slots=True)
class Weight:
    """Work that checking a value with a schema takes.

    Attributes:
        visits: Maximum number of comparisons for each value inside the checked value.
        per_character: Maximum nanoseconds for each character of text.
        per_number: Maximum nanoseconds for each number as `numbers_in` counts them.
        levels: Depth of the schema with its references unfolded.
        has_choice: One fault may hold the faults of many alternatives.
        has_names: An object may have a fault for each of its names, which each hold a copy of the object.
    """

    visits: int = 1
    per_character: float = 0.0
    per_number: float = 0.0
    levels: int = 1
    has_choice: bool = False
    has_names: bool = False


def read_schema(schema: JSON, engine: SchemaEngine, at: Keys = ()) -> tuple[Sequence[ParamFault], Weight]:
    """Return every fault of a schema, with keys that begin with ``at``, and its weight, valid only without faults."""
    reader = _SchemaReader(schema, engine, at)
    reader.visit(schema, (), 1)
    # References are followed here and not recursively, because a chain of them may have any length.
    while reader.targets:
        target = reader.targets.pop()
        reader.visit(_at(schema, target), target, 1)
    weight = Weight()
    if not reader.faults:
        weight = reader.weigh(())
    return tuple(reader.faults), weight


# Keywords by the type of their value.
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS: Final = (
    "minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains", "minProperties", "maxProperties",
)  # fmt: skip
_FLAGS: Final = ("uniqueItems", "deprecated", "readOnly", "writeOnly")
_TEXTS: Final = ("title", "description", "$comment", "contentEncoding", "contentMediaType", "format")
_SCHEMAS: Final = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
_LISTS_OF_SCHEMAS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS_OF_SCHEMAS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_OTHERS: Final = (
    "type", "enum", "const", "default", "examples", "multipleOf", "pattern", "required", "dependentRequired", "$ref",
    "$schema",
)  # fmt: skip
_UNSUPPORTED: Final = (
    "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema", "dependencies",
)  # fmt: skip
_KEYWORDS: Final = (
    *_NUMBERS, *_COUNTS, *_FLAGS, *_TEXTS, *_SCHEMAS, *_LISTS_OF_SCHEMAS, *_MAPS_OF_SCHEMAS, *_OTHERS,
)  # fmt: skip
_PAIRS: Final = (
    ("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"),
    ("minContains", "maxContains"), ("minProperties", "maxProperties"),
)  # fmt: skip
# The engine reads these as URIs, fails on others, and decodes a % that leads elsewhere.
_ADDRESS: Final = re.compile(r"https?://[\w.-]+(?::[0-9]+)?(?:/[\w.~-]*)*#?", re.ASCII)
_REFERENCE: Final = re.compile(r"#(?:/[\w\-.~!$&'()*+,;=:@/?]*)?", re.ASCII)
# Definitions add weight only where they are referred to.
_DEFINITIONS: Final = ("$defs", "definitions")


def looks_like_fields(schema: Mapping[str, JSON]) -> bool:
    """Return True for a map of names to schemas where a schema belongs: only the values have keywords."""
    return bool(schema) and all(
        key not in _KEYWORDS and key not in _UNSUPPORTED and not key.startswith("x-") and _has_keyword(value)
        for key, value in schema.items()
    )


def _has_keyword(value: JSON) -> bool:
    return isinstance(value, Mapping) and any(key in _KEYWORDS for key in value)


@dataclass(slots=True)
class _SchemaReader:
    """Reader of one schema."""

    root: JSON
    engine: SchemaEngine
    at: Keys
    faults: list[ParamFault] = field(default_factory=list)
    visited: set[Keys] = field(default_factory=set)
    targets: list[Keys] = field(default_factory=list)
    weights: dict[Keys, Weight] = field(default_factory=dict)
    pattern_costs: dict[str, float] = field(default_factory=dict)
    in_progress: set[Keys] = field(default_factory=set)

    def visit(self, schema: JSON, keys: Keys, level: int) -> None:
        if keys in self.visited or len(self.visited) > MAX_SUBSCHEMAS:
            return
        self.visited.add(keys)
        if len(self.visited) > MAX_SUBSCHEMAS:
            self.fault((), "too_large", f"the schema has more than {MAX_SUBSCHEMAS} parts")
            return
        if level > MAX_LEVELS:
            self.fault(keys, "too_deep", f"the schema is more than {MAX_LEVELS} levels deep")
            return
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            hint = f"write {{type: {schema}}}" if schema in TYPES else "for example {type: string}"
            self.fault(keys, "type", "must be a JSON Schema", hint)
            return
        for keyword, value in schema.items():
            self.keyword(keyword, value, (*keys, keyword), level)
        for least, most in _PAIRS:
            low, high = schema.get(least), schema.get(most)
            if _is_number(low) and _is_number(high) and low > high:  # type: ignore[operator] # both are numbers
                self.fault((*keys, least), "range", f"is more than {most}, so nothing fits")

    def keyword(self, keyword: str, value: JSON, keys: Keys, level: int) -> None:
        if keyword in _NUMBERS:
            self.expect(_is_number(value), keys, "must be a number")
        elif keyword in _COUNTS:
            self.expect(_is_count(value), keys, "must be a whole number from 0")
        elif keyword in _FLAGS:
            self.expect(isinstance(value, bool), keys, "must be true or false")
        elif keyword in _TEXTS:
            self.expect(isinstance(value, str), keys, "must be text")
        elif keyword in _SCHEMAS:
            if keyword == "items" and isinstance(value, list):
                self.fault(keys, "type", "must be a JSON Schema", "one schema for each place is called prefixItems")
            else:
                self.visit(value, keys, level + 1)
        elif keyword in _LISTS_OF_SCHEMAS:
            if self.expect(isinstance(value, list) and len(value) > 0, keys, "must be a list of JSON Schemas"):
                for index, item in enumerate(value):  # type: ignore[arg-type] # a list, as just seen
                    self.visit(item, (*keys, index), level + 1)
        elif keyword in _MAPS_OF_SCHEMAS:
            if self.expect(isinstance(value, Mapping), keys, "must be a map of names to JSON Schemas"):
                for name, item in value.items():  # type: ignore[union-attr] # a map, as just seen
                    if keyword == "patternProperties":
                        self.pattern(name, (*keys, name))
                    self.visit(item, (*keys, name), level + 1)
        elif keyword in _UNSUPPORTED:
            hint = "write dependentRequired or dependentSchemas" if keyword == "dependencies" else None
            self.fault(keys, "unsupported", f"{keyword} is not supported in flows", hint)
        elif keyword in _OTHERS:
            self.other(keyword, value, keys)
        else:
            # JSON Schema ignores unknown keywords. Probable typing errors are reported all the same.
            near = difflib.get_close_matches(keyword[:100], _KEYWORDS, n=1, cutoff=0.8)
            if near and not keyword.startswith("x-"):
                self.fault(keys, "unknown_key", f"unknown keyword {quoted(keyword)}", f"did you mean '{near[0]}'?")

    def other(self, keyword: str, value: JSON, keys: Keys) -> None:
        match keyword:
            case "type":
                names = value if isinstance(value, list) else [value]
                for index, name in enumerate(names):
                    if name not in TYPES:
                        place = (*keys, index) if isinstance(value, list) else keys
                        self.fault(place, "type", f"must be one of: {', '.join(TYPES)}", _type_hint(name))
                if not names or len({str(name) for name in names}) != len(names):
                    self.fault(keys, "type", "must name each type once")
            case "enum":
                self.expect(isinstance(value, list) and len(value) > 0, keys, "must be a list of the values allowed")
            case "examples":
                self.expect(isinstance(value, list), keys, "must be a list")
            case "multipleOf":
                is_above_zero = _is_number(value) and value > 0  # type: ignore[operator] # a number
                self.expect(is_above_zero, keys, "must be a number above 0")
            case "required":
                hint = "list the names in the schema around this one" if isinstance(value, bool) else None
                self.expect(_is_names(value), keys, "must be a list of names, each once", hint)
            case "dependentRequired":
                is_good = isinstance(value, Mapping) and all(_is_names(names) for names in value.values())
                self.expect(is_good, keys, "must be a map of names to lists of names")
            case "pattern":
                if self.expect(isinstance(value, str), keys, "must be text"):
                    self.pattern(str(value), keys)
            case "$ref":
                self.reference(value, keys)
            case "$schema":
                is_address = isinstance(value, str) and _ADDRESS.fullmatch(value) is not None
                hint = "for example https://json-schema.org/draft/2020-12/schema"
                self.expect(is_address, keys, "must be the address of a schema", hint)

    def pattern(self, pattern: str, keys: Keys) -> None:
        if len(pattern) > MAX_PATTERN_CHARACTERS:
            self.fault(keys, "too_long", f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters")
        elif pattern not in self.pattern_costs:
            try:
                self.pattern_costs[pattern] = self.engine.pattern_cost(pattern)
            except InvalidPattern as error:
                self.fault(keys, "pattern", f"the pattern cannot be used: {error}")

    def reference(self, value: JSON, keys: Keys) -> None:
        if not isinstance(value, str):
            self.fault(keys, "type", "must be text")
            return
        if value != "#" and not value.startswith("#/"):
            self.fault(
                keys, "reference", "a schema refers only to parts of itself", 'for example $ref: "#/$defs/address"'
            )
            return
        if _REFERENCE.fullmatch(value) is None:
            message = "a reference consists of the characters of a URI, without %"
            self.fault(keys, "reference", message, "choose a name of letters without accents, digits, - and _")
            return
        target = _target(self.root, value)
        if target is None:
            self.fault(keys, "reference", f"there is no {quoted(value)} in this schema")
            return
        self.targets.append(target)

    def weigh(self, keys: Keys, level: int = 1) -> Weight:
        """Return the weight of the subschema at ``keys``, with its references unfolded."""
        if (known := self.weights.get(keys)) is not None:
            return known
        if keys in self.in_progress:
            self.fault(keys, "recursive", "the schema refers to what it is part of, which is not supported")
            return Weight()
        if level > MAX_LEVELS:
            self.fault(keys, "too_deep", f"the schema is more than {MAX_LEVELS} levels deep")
            return Weight()
        self.in_progress.add(keys)
        weight = self._sum(_at(self.root, keys), keys, level)
        self.in_progress.discard(keys)
        self.weights[keys] = weight
        if weight.visits > MAX_SUBSCHEMAS and not self.faults:
            self.fault((), "too_large", f"the schema has more than {MAX_SUBSCHEMAS} parts, references unfolded")
        if weight.levels > MAX_LEVELS and not self.faults:
            self.fault(keys, "too_deep", f"the schema is more than {MAX_LEVELS} levels deep, references unfolded")
        return weight

    def _sum(self, schema: JSON, keys: Keys, level: int) -> Weight:
        if not isinstance(schema, Mapping):
            return Weight()
        visits, per_character, per_number, parts = 1, 0.0, 0.0, list[Weight]()
        for keyword, value in schema.items():
            place = (*keys, keyword)
            if keyword in _SCHEMAS:
                parts.append(self.weigh(place, level + 1))
            elif keyword in _LISTS_OF_SCHEMAS and isinstance(value, list):
                parts += [self.weigh((*place, index), level + 1) for index in range(len(value))]
            elif keyword in _MAPS_OF_SCHEMAS and keyword not in _DEFINITIONS and isinstance(value, Mapping):
                parts += [self.weigh((*place, name), level + 1) for name in value]
                if keyword == "patternProperties":
                    per_character += sum(self.pattern_costs[name] for name in value)
            elif keyword == "$ref" and (target := _target(self.root, str(value))) is not None:
                parts.append(self.weigh(target, level + 1))
            elif keyword == "pattern":
                per_character += self.pattern_costs[str(value)]
            elif keyword in ("format", "minLength", "maxLength"):
                per_character += _TEXT_COST
            elif keyword in ("enum", "const", "required", "dependentRequired"):
                visits += size_of(value)[0]
                per_number += _NUMBER_COST
            elif keyword in (*_NUMBERS, "multipleOf"):
                per_number += _FRACTION_COST if isinstance(value, float) else _NUMBER_COST
            if self.faults:
                break
        return Weight(
            visits + sum(part.visits for part in parts),
            per_character + sum(part.per_character for part in parts),
            per_number + sum(part.per_number for part in parts),
            1 + max((part.levels for part in parts), default=0),
            "anyOf" in schema or "oneOf" in schema or any(part.has_choice for part in parts),
            "propertyNames" in schema or any(part.has_names for part in parts),
        )

    def expect(self, holds: bool, keys: Keys, message: str, hint: str | None = None) -> bool:
        if not holds:
            self.fault(keys, "type", message, hint)
        return holds

    def fault(self, keys: Keys, code: str, message: str, hint: str | None = None) -> None:
        self.faults.append(ParamFault(keys=(*self.at, *keys), code=code, message=message, hint=hint))


_TEXT_COST: Final = 5.0
# The engine compares fractions, and numbers of many digits, as exact quotients.
_NUMBER_COST: Final = 100.0
_FRACTION_COST: Final = 1_000.0
LONGEST_NUMBER: Final = 20


def size_of(value: JSON) -> tuple[int, int]:
    """Return the number of values in ``value``, including itself, and of characters, including keys."""
    todo: list[Any] = [value]
    values = characters = 0
    while todo:
        item = todo.pop()
        values += 1
        # Most values are scalars, and comparing the type itself is the fastest check.
        kind = type(item)
        if kind is str:
            characters += len(item)
        elif kind is dict:
            characters += sum(map(len, item))
            todo.extend(item.values())
        elif kind is list or kind is tuple:
            todo.extend(item)
    return values, characters


def numbers_in(value: JSON) -> int:
    """Return the number of numbers in ``value``; one that takes many digits to write out counts as twenty."""
    todo: list[Any] = [value]
    found = 0
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind is dict:
            todo.extend(item.values())
        elif kind is list or kind is tuple:
            todo.extend(item)
        elif kind is int or kind is float:
            found += 1 if not item or 1e-15 < abs(item) < 1e15 else LONGEST_NUMBER
    return found


def has_default(schema: JSON) -> TypeGuard[Mapping[str, JSON]]:
    return isinstance(schema, Mapping) and "default" in schema


def filled(schema: JSON, value: JSON) -> JSON:
    """Return ``value`` with the defaults of properties that it leaves out, at any depth of `properties`.

    Defaults are completed in the same way.
    """
    if not isinstance(schema, Mapping) or not isinstance(value, Mapping):
        return value
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return value
    result = dict(value)
    for name, inner in properties.items():
        if name in value:
            result[name] = filled(inner, value[name])
        elif has_default(inner):
            result[name] = filled(inner, inner["default"])
    return result


def _target(root: JSON, reference: str) -> Keys | None:
    """Return the keys of the target of a reference into ``root``, or None if there is no target."""
    keys: list[str | int] = []
    value = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            keys.append(name)
            value = value[name]
        elif isinstance(value, list) and (index := natural_number_of(name)) is not None and index < len(value):
            keys.append(index)
            value = value[index]
        else:
            return None
    return tuple(keys)


def _at(root: JSON, keys: Keys) -> JSON:
    value = root
    for key in keys:
        value = value[key]  # type: ignore[index] # the keys were found in it
    return value


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: JSON) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: JSON) -> bool:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return False
    return len(set(value)) == len(value)


# Names of types in other languages.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "text": "string", "str": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean",
    "list": "array", "map": "object", "dict": "object", "none": "null", "date": "string",
}  # fmt: skip


def _type_hint(name: JSON) -> str | None:
    if name is None:
        return 'quote it: "null"'
    if not isinstance(name, str):
        return None
    if name.lower() == "any":
        return "leave type out to allow any value"
    near = type_meant(name)
    return f"did you mean '{near}'?" if near else None


def type_meant(name: str) -> str | None:
    """Return the type that a name probably means, or None if that is not clear."""
    if name.lower() in _OTHER_NAMES:
        return _OTHER_NAMES[name.lower()]
    return next(iter(difflib.get_close_matches(name[:100], TYPES, n=1)), None)
