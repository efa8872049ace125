"""Fields of a plain HTML form for the JSON Schema of an approval, and the data of what is sent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl

from flowrunner.domain.errors import Fault, InvalidInput, invalid
from flowrunner.domain.strict_json import InvalidJson, loads
from flowrunner.domain.values import JSON, left_after
from flowrunner.domain.whole_numbers import natural_number_of

FieldKind: TypeAlias = Literal["text", "lines", "number", "integer", "boolean", "choice", "date", "scalar", "json"]
PREFIX: Final = "field."
DECISION: Final = "answer"
APPROVE, REJECT = "approve", "reject"
# Fields of a form that are shown, and characters of their names; a longer form is one field of JSON.
MOST_FIELDS: Final = 50
_MOST_NAME: Final = 200
# Choices of a field, and the size of those of a form as `left_after` counts it; a field with more is written by hand.
MOST_CHOICES: Final = 200
_MOST_CHOICES_CHARACTERS: Final = 32 * 1024
# Characters of labels and hints that are shown, and the size of the defaults of a form as `left_after` counts it. A
# default that is not shown is applied if its field is left empty.
_MOST_LABEL: Final = 200
_MOST_HINT: Final = 2_000
_MOST_DEFAULTS_CHARACTERS: Final = 16 * 1024
# What an answer may have: a browser sends nine bytes for a character of the names and the defaults, each with a
# character of another script, and people change them.
MAX_FORM_BYTES: Final = 512 * 1024
# From this length on, a text is edited in several lines.
_LONG_TEXT: Final = 200
_NUMBERS: Final = {"number": "a number, such as 12 or 0.5", "integer": "a whole number, such as 12"}
_SCALARS: Final = ("string", "number", "integer", "boolean")
# Name of the one field of a schema that is no object with properties.
_WHOLE: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field of a form.

    Attributes:
        name: The property; "" for the whole data as JSON.
        choices: The values to choose from, each chosen by its place.
        types: The types of JSON that a scalar takes beside text.
        example: A value of JSON, as it is typed.
    """

    name: str
    label: str
    kind: FieldKind
    is_required: bool = False
    hint: str = ""
    choices: Sequence[JSON] = ()
    default: JSON = None
    types: Sequence[str] = ()
    example: str = ""

    @property
    def key(self) -> str:
        """Return its name in the HTML form."""
        return PREFIX + self.name


def fields_of(schema: JSON) -> list[FormField]:
    """Return the fields for the data of an answer; none without a schema.

    Resolved expressions may give any keyword of the schema a value of another type, which is then ignored.
    """
    if schema is None:
        return []
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if (
        not isinstance(properties, Mapping)
        or not 0 < len(properties) <= MOST_FIELDS
        or not all(0 < len(name) <= _MOST_NAME for name in properties)
    ):
        return [FormField(name=_WHOLE, label="Data (JSON)", kind="json", example=_example_of(schema))]
    assert isinstance(schema, Mapping), "it has properties"
    required = schema.get("required")
    names = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    fields, left, defaults_left = list[FormField](), _MOST_CHOICES_CHARACTERS, _MOST_DEFAULTS_CHARACTERS
    for name, each in properties.items():
        field = _field(name, each, left, defaults_left, is_required=name in names)
        left, defaults_left = left_after(field.choices, left), left_after(field.default, defaults_left)
        fields.append(field)
    return fields


def _field(name: str, schema: JSON, left: int, defaults_left: int, *, is_required: bool) -> FormField:
    """Return the field of a property. Args: left, defaults_left: Sizes that its choices and its default may have."""
    known: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
    choices, kind, default = known.get("enum"), _kind_of(known, left), known.get("default")
    return FormField(
        name=name,
        label=_cut(known.get("title"), _MOST_LABEL) or name,
        kind=kind,
        is_required=is_required and "default" not in known,
        hint=_cut(known.get("description"), _MOST_HINT),
        choices=choices if kind == "choice" and isinstance(choices, list) else (),
        default=None if left_after(default, defaults_left) < 0 else default,
        types=_types_of(known) if kind == "scalar" else (),
        example=_example_of(known) if kind == "json" else "",
    )


def _types_of(schema: Mapping[str, Any]) -> list[str]:
    """Return the types of a schema but null, which an empty field stands for."""
    types = schema.get("type")
    return [
        each for each in (types if isinstance(types, list) else [types]) if isinstance(each, str) and each != "null"
    ]


def _example_of(schema: JSON) -> str:
    """Return a value of JSON for people who do not know how it is written."""
    known: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
    items = known.get("items")
    match _types_of(known):
        case ["array"]:
            return '["a", "b"]' if isinstance(items, Mapping) and items.get("type") == "string" else "[1, 2]"
        case ["object"]:
            properties = known.get("properties")
            name = next(iter(properties), "key") if isinstance(properties, Mapping) else "key"
            return json.dumps({_cut(name, 40): "…"}, ensure_ascii=False)
        case _:
            return '"text", 12 or [1, 2]'


def _cut(text: JSON, most: int) -> str:
    """Return the beginning of a text; "" for another value."""
    if not isinstance(text, str):
        return ""
    return text if len(text) <= most else f"{text[:most]}…"


def _kind_of(schema: Mapping[str, Any], left: int) -> FieldKind:
    choices = schema.get("enum")
    is_few = isinstance(choices, list) and 0 < len(choices) <= MOST_CHOICES
    if is_few and left_after(choices, left) >= 0:
        return "choice"
    types = _types_of(schema)
    if len(types) > 1 and "string" in types and all(each in _SCALARS for each in types):
        return "scalar"
    match types[0] if len(types) == 1 else None:
        case "string" if schema.get("format") == "date":
            return "date"
        case "string":
            longest = schema.get("maxLength")
            return "lines" if isinstance(longest, int | float) and longest > _LONG_TEXT else "text"
        case "number":
            return "number"
        case "integer":
            return "integer"
        case "boolean":
            return "boolean"
        case _:
            return "json"


def parsed_form(body: bytes) -> dict[str, str]:
    """Return what a form has sent. Raises: InvalidInput if it is not urlencoded text, or names a field twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=2 * MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise invalid("body", "cannot be read: send the form of this page") from None
    sent = dict(pairs)
    if len(sent) < len(pairs):
        raise invalid("body", "names a field twice: send the form of this page")
    if any("\0" in text for pair in pairs for text in pair):
        raise invalid("body", "has a character that no form sends")
    return sent


def decision_of(sent: Mapping[str, str]) -> bool:
    """Return whether the answer is an approval. Raises: InvalidInput."""
    if sent.get(DECISION) not in (APPROVE, REJECT):
        raise invalid(DECISION, "choose one of the two answers")
    return sent[DECISION] == APPROVE


def data_of(fields: Sequence[FormField], sent: Mapping[str, str]) -> JSON:
    """Return the data of an answer; None if nothing was filled in. Raises: InvalidInput with every fault."""
    unknown = sent.keys() - {DECISION} - {field.key for field in fields}
    faults = [Fault(path=name[:60], code="unknown_key", message="is no field of this form") for name in sorted(unknown)]
    data: dict[str, JSON] = {}
    for field in fields:
        text = sent.get(field.key, "")
        if text == "" and field.kind != "boolean":
            continue
        try:
            data[field.name] = _value_of(field, text)
        except ValueError as error:
            faults.append(Fault(path=f"data.{field.name}".rstrip("."), code="type", message=str(error)))
    if faults:
        raise InvalidInput(faults)
    # Boxes that are not ticked are no answer by themselves: a rejection may leave the form empty.
    is_empty = not any(sent.get(field.key) for field in fields)
    return None if is_empty else data.get(_WHOLE, data)


def whole_data_of(fields: Sequence[FormField], data: JSON) -> JSON:
    """Return the data of an approval: fields that were left empty answer the form, with false for each box."""
    if data is not None or not fields or fields[0].name == _WHOLE:
        return data
    return {field.name: False for field in fields if field.kind == "boolean"}


def _value_of(field: FormField, text: str) -> JSON:
    """Raises: ValueError."""
    match field.kind:
        case "boolean":
            return text != ""
        case "number" | "integer":
            try:
                number: JSON = loads(text.strip().encode())
            except InvalidJson:
                number = None
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"must be {_NUMBERS[field.kind]}")
            return number
        case "choice":
            chosen = natural_number_of(text)
            if chosen is None or chosen >= len(field.choices):
                raise ValueError("must be one of the choices")
            return field.choices[chosen]
        case "json":
            try:
                value: JSON = loads(text.encode())
            except InvalidJson as error:
                raise ValueError(f"must be JSON, such as {field.example}: {error}") from None
            return value
        case "scalar":
            return _scalar(field.types, text.replace("\r\n", "\n"))
        case _:
            return text.replace("\r\n", "\n")


def _scalar(types: Sequence[str], text: str) -> JSON:
    """Return a number, true or false that was typed where the type takes it, or else the text."""
    try:
        value: JSON = loads(text.strip().encode())
    except InvalidJson:
        return text
    if isinstance(value, bool):
        return value if "boolean" in types else text
    if isinstance(value, int) and "integer" in types:
        return value
    return value if isinstance(value, int | float) and "number" in types else text


def shown_value(field: FormField, value: JSON) -> str:
    """Return a value as text of the field."""
    if value is None:
        return ""
    return value if isinstance(value, str) and field.kind != "json" else json.dumps(value, ensure_ascii=False)
