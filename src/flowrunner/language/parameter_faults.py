"""Faults of node parameters, by the keys of the document and in plain words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from flowrunner.domain.flow import ParamFault
from flowrunner.domain.suggestions import Suggestions, did_you_mean
from flowrunner.domain.values import JSON
from flowrunner.language.yaml_source import Keys

# Error of a pydantic model: `{loc, type, msg, ctx}`. `loc` also names alternatives of a value, which are not keys of
# the document.
Found = Mapping[str, Any]

_KINDS: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
}
# The context in which parameters of a flow are validated, where expressions stand for values. Validators of authors may
# look something up in it.
AS_WRITTEN: Final[Mapping[str, Any]] = MappingProxyType({"as_written": True})
# For a number in place of a text.
IN_QUOTES: Final = "put it in quotes"
BOUNDS: Final[Mapping[str, str]] = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}


def parameter_faults(
    found: Sequence[Found], params: JSON, known_at: Callable[[Keys], Sequence[str]], *, most: int | None
) -> list[ParamFault]:
    """Return one fault for each invalid value, and for each missing or unknown key.

    Args:
        known_at: Returns the keys that are allowed in place of the last one of a path.
        most: Maximum number of values with faults; None for all.
    """
    by_keys: dict[Keys, list[Found]] = {}
    further: list[ParamFault] = []
    for one in found:
        keys = _keys_of(one, params)
        if most is not None and keys not in by_keys and len(by_keys) == most:
            further = [ParamFault(keys=(), code="param", message="other values are wrong too")]
            break
        by_keys.setdefault(keys, []).append(one)
    outer = {keys[:length] for keys in by_keys for length in range(len(keys))}
    faults = [
        _fault(keys, group, params)
        for keys, group in by_keys.items()
        # For a value with alternatives, the faults inside the intended alternative say more.
        if not (keys in outer and _has_alternatives(keys, group))
    ]
    return [*_with_meant_keys(faults, known_at), *further]


def _with_meant_keys(faults: Sequence[ParamFault], known_at: Callable[[Keys], Sequence[str]]) -> list[ParamFault]:
    """Add hints to the faults of unknown keys, and drop the fault of a missing key that one of them means."""
    suggestions = Suggestions()
    lacking: dict[Keys, list[str]] = {}
    unclear: dict[Keys, list[Keys]] = {}
    meant: dict[Keys, str] = {}
    for fault in faults:
        if fault.code == "unknown_key":
            near = suggestions.nearest(str(fault.keys[-1]), known_at(fault.keys))
            if near is None:
                unclear.setdefault(fault.keys[:-1], []).append(fault.keys)
            else:
                meant[fault.keys] = near
    reported = {(*keys[:-1], name) for keys, name in meant.items()}
    for fault in faults:
        if fault.code == "required" and fault.keys not in reported:
            lacking.setdefault(fault.keys[:-1], []).append(str(fault.keys[-1]))
    for owner, keys in unclear.items():
        # One key is unknown and one is missing: the unknown key means the missing one.
        if len(keys) == len(lacking.get(owner, ())) == 1:
            meant[keys[0]] = lacking[owner][0]
            reported.add((*owner, lacking[owner][0]))
    return [
        replace(fault, hint=_hint(meant.get(fault.keys), known_at(fault.keys)))
        if fault.code == "unknown_key"
        else fault
        for fault in faults
        if not (fault.code == "required" and fault.keys in reported)
    ]


def _hint(meant: str | None, known: Sequence[str]) -> str:
    return f"known parameters: {', '.join(known)}" if meant is None else f"did you mean '{meant}'?"


def _keys_of(found: Found, params: JSON) -> Keys:
    keys: list[str | int] = []
    value = params
    location: Sequence[str | int] = found["loc"]
    for place, key in enumerate(location):
        if isinstance(value, Mapping) and key in value:
            value = value[str(key)]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        elif found["type"] != "missing" or place < len(location) - 1:
            continue
        keys.append(key)
    return tuple(keys)


def _has_alternatives(keys: Keys, group: Sequence[Found]) -> bool:
    return any(len(found["loc"]) > len(keys) for found in group)


def _fault(keys: Keys, group: Sequence[Found], params: JSON) -> ParamFault:
    others = [found for found in group if found["type"] not in _KINDS and found["type"] != "literal_error"]
    if not others:
        return _of_another_kind(keys, group, params)
    kind, context = str(others[0]["type"]), others[0].get("ctx", {})
    if kind == "missing":
        return ParamFault(keys=keys, code="required", message=f"'{keys[-1]}' is missing")
    if kind == "extra_forbidden":
        message = f"'{keys[-1]}' is not a parameter of this node type"
        return ParamFault(keys=keys, code="unknown_key", message=message)
    if context.get("min_length") == 1:
        return ParamFault(keys=keys, code="param", message="must not be empty")
    if kind in BOUNDS:
        return ParamFault(keys=keys, code="param", message=BOUNDS[kind].format(**context))
    return ParamFault(keys=keys, code="param", message=str(others[0]["msg"]).removeprefix("Value error, "))


def _of_another_kind(keys: Keys, group: Sequence[Found], params: JSON) -> ParamFault:
    value = _at(params, keys)
    literals = [word for found in group if found["type"] == "literal_error" for word in _literals(found)]
    kinds = list(dict.fromkeys(_KINDS[found["type"]] for found in group if found["type"] in _KINDS))
    if "a number" in kinds and "a whole number" in kinds:
        kinds.remove("a whole number")
    hint = None
    if isinstance(value, str) and (near := did_you_mean(value.lower(), literals)):
        hint = near
    elif "text" in kinds and isinstance(value, int | float):
        hint = IN_QUOTES
    if not kinds:
        return ParamFault(keys=keys, code="param", message=f"must be one of: {', '.join(literals)}", hint=hint)
    *first, last = [*literals, *kinds]
    words = f"{', '.join(first)} or {last}" if first else last
    found = ", and is null" if value is None else ""
    return ParamFault(keys=keys, code="param", message=f"must be {words}{found}", hint=hint)


def _literals(found: Found) -> Sequence[str]:
    """Return the single words of `'json', 'text' or 'base64'`."""
    return [word.strip("'") for word in str(found["ctx"]["expected"]).replace(" or ", ", ").split(", ")]


def _at(params: JSON, keys: Keys) -> JSON:
    value = params
    for key in keys:
        value = value[key]  # type: ignore[index] # only a missing value has keys that lead nowhere
    return value
