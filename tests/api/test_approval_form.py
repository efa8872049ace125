"""The form of a link's page: any schema that expressions may resolve to makes a page, in bounded time."""

import html
import itertools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from flowrunner.api.approval_form import (
    APPROVE,
    DECISION,
    MAX_FORM_BYTES,
    MOST_CHOICES,
    MOST_FIELDS,
    data_of,
    decision_of,
    fields_of,
    parsed_form,
    shown_value,
    whole_data_of,
)
from flowrunner.api.approval_page import question
from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.domain.events import Step
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.domain.waits import ApprovalWait
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.schemas import RustSchemas
from flowrunner.services.approval_links import LinkedApproval
from flowrunner.services.signals import checked_data
from support.databases import NOON

KEYWORDS: Final = (
    "type", "format", "title", "description", "default", "enum", "const", "minLength", "maxLength", "pattern",
    "minimum", "maximum", "multipleOf", "items", "prefixItems", "minItems", "uniqueItems", "properties", "required",
    "additionalProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "anyOf",
    "allOf", "oneOf", "not", "if", "then", "else", "contains", "$ref", "$defs", "definitions", "$schema", "examples",
)  # fmt: skip
VALUES: Final[tuple[JSON, ...]] = (
    None, True, False, 0, -1, 201, 10**30, 1.5, 1e300, "", "x", "201", "string", "date", [], [None], ["x"], [["x"]],
    [{}], {}, {"x": 1}, {"": {}}, {"x": {"type": "string"}}, {"$ref": "#"},
)  # fmt: skip


def approval_of(form: JSON) -> LinkedApproval:
    return LinkedApproval(
        place=ApprovalPlace(ExecutionId("exec-1"), 3, None),
        workspace_id=WorkspaceId("ws-1"),
        flow_name="f",
        step=Step("ask", 1),
        wait=ApprovalWait("ok?", form),
        until=NOON + timedelta(days=1),
    )


def page_of(form: JSON) -> str:
    return bytes(question(approval_of(form)).body).decode()


def answered(form: JSON, text: str) -> None:
    """Answer as the page does. Raises: only what the page reports."""
    fields = fields_of(form)
    sent = {field.key: text for field in fields}
    try:
        data = whole_data_of(fields, data_of(fields, sent))
        checked_data(form, data, approved=True, schemas=RustSchemas())
    except (Conflict, InvalidInput):
        pass


def test_a_maximum_length_that_is_no_number_is_ignored() -> None:
    page = page_of({"properties": {"note": {"type": "string", "maxLength": "many"}}})

    assert '<input id="field.note" name="field.note" value="">' in page


def test_a_field_with_a_default_may_be_left_empty() -> None:
    properties: JSON = {
        "note": {"type": "string"},
        "size": {"type": "integer", "default": 3},
        "tag": {"type": "string"},
    }

    fields = fields_of({"properties": properties, "required": ["note", "size"]})

    assert [(field.name, field.is_required) for field in fields] == [("note", True), ("size", False), ("tag", False)]


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_no_keyword_of_another_type_breaks_the_page_or_its_answer(keyword: str) -> None:
    bases: tuple[dict[str, Any], ...] = ({}, {"type": "string"}, {"type": "object", "properties": {"y": {}}})
    for base, value in itertools.product(bases, VALUES):
        inner: JSON = {**base, keyword: value}
        outer: JSON = {"type": "object", "properties": {"n": inner}}
        for form in (inner, outer):
            assert page_of(form).endswith("</html>")
            for text in ("", "0", "yes", "[1]", "2026-01-01"):
                answered(form, text)


def test_text_beside_numbers_or_null_is_typed_as_it_is() -> None:
    types: dict[str, JSON] = {
        "note": ["string", "null"], "count": ["integer", "null"], "amount": ["integer", "string"],
        "price": ["string", "number", "boolean"],
    }  # fmt: skip
    fields = fields_of({"properties": {name: {"type": each} for name, each in types.items()}})
    assert [field.kind for field in fields] == ["text", "integer", "scalar", "scalar"]

    def read(**sent: str) -> JSON:
        return data_of(fields, {f"field.{name}": text for name, text in sent.items()})

    assert read(note="12 pieces", count="3", amount="12 pieces", price="free") == {
        "note": "12 pieces", "count": 3, "amount": "12 pieces", "price": "free",
    }  # fmt: skip
    assert read(amount="12", price="0.5") == {"amount": 12, "price": 0.5}
    assert read(amount="1.5", price="true") == {"amount": "1.5", "price": True}
    assert read(amount="true", price="007") == {"amount": "true", "price": "007"}


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "array", "items": {"type": "string"}}, '["a", "b"]'),
        ({"type": ["array", "null"]}, "[1, 2]"),
        ({"type": "object", "properties": {"street": {"type": "string"}}}, '{"street": "…"}'),
        ({}, '"text", 12 or [1, 2]'),
    ],
)
def test_a_field_of_json_says_what_to_write(schema: JSON, example: str) -> None:
    form: JSON = {"properties": {"tags": schema}}

    assert f"Write JSON, such as {html.escape(example)}" in page_of(form)
    with pytest.raises(InvalidInput, match=re.escape(f"must be JSON, such as {example}")):
        data_of(fields_of(form), {"field.tags": "a, b"})


@pytest.mark.parametrize("form", VALUES)
def test_a_form_that_is_no_schema_makes_a_page(form: JSON) -> None:
    assert page_of(form).endswith("</html>")
    answered(form, "1")


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"type": "boolean"}, {}),
        ({"type": "boolean", "default": True}, {}),
        ({"enum": [False, True]}, {"field.ok": "0"}),
        ({"type": ["string", "boolean"]}, {"field.ok": "false"}),
        ({"type": ["boolean", "object"]}, {"field.ok": "false"}),
    ],
)
def test_false_is_an_answer(schema: JSON, sent: dict[str, str]) -> None:
    form: JSON = {"type": "object", "properties": {"ok": schema, "note": {"type": "string"}}, "required": ["ok"]}
    fields = fields_of(form)

    data = whole_data_of(fields, data_of(fields, sent))

    assert checked_data(form, data, approved=True, schemas=RustSchemas()) == {"ok": False}


def test_a_whole_answer_may_be_false() -> None:
    assert data_of(fields_of({"type": "boolean"}), {"field.": "false"}) is False


def test_boxes_that_are_not_ticked_are_no_answer_of_a_rejection() -> None:
    fields = fields_of({"properties": {"ok": {"type": "boolean"}, "note": {"type": "string"}}})

    assert data_of(fields, {"answer": "reject", "field.note": ""}) is None
    assert data_of(fields, {"answer": "reject", "field.note": "no"}) == {"ok": False, "note": "no"}


def test_many_choices_are_written_by_hand() -> None:
    few = {"properties": {"a": {"enum": list(range(MOST_CHOICES))}}}
    many = {"properties": {"a": {"enum": list(range(MOST_CHOICES + 1))}}}
    texts = {"properties": {"a": {"type": "string", "enum": [f"x{n}" for n in range(MOST_CHOICES + 1)]}}}

    assert page_of(few).count("<option") == MOST_CHOICES + 1
    assert [field.kind for field in fields_of(many)] == ["json"]
    assert data_of(fields_of(many), {"field.a": "7"}) == {"a": 7}
    assert data_of(fields_of(texts), {"field.a": "x7"}) == {"a": "x7"}


# By kind of a field: its schema, what is typed at most, and the value of that.
KINDS: Final[dict[str, tuple[JSON, str, JSON]]] = {
    "text": ({"type": "string"}, "x", "x"),
    "lines": ({"type": "string", "maxLength": 201}, "x\r\ny", "x\ny"),
    "number": ({"type": "number"}, "0.5", 0.5),
    "integer": ({"type": "integer"}, "12", 12),
    "boolean": ({"type": "boolean"}, "yes", True),
    "choice": ({"enum": [7, 8, 9]}, "2", 9),
    "date": ({"type": "string", "format": "date"}, "2026-01-31", "2026-01-31"),
    "scalar": ({"type": ["string", "integer"]}, "12", 12),
    "json": ({"type": "array"}, "[1]", [1]),
}
_LONGEST_NAME: Final = 200


@pytest.mark.parametrize("length", [1, _LONGEST_NAME])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, MOST_FIELDS])
def test_every_form_that_is_shown_can_be_sent(count: int, kind: str, length: int) -> None:
    schema, text, value = KINDS[kind]
    names = [chr(0x4E00 + number) * length for number in range(count)]
    fields = fields_of({"properties": dict.fromkeys(names, schema)})
    assert {field.kind for field in fields} == {kind}

    # As a browser does it, with the button that was pressed.
    sent = parsed_form(urlencode({**{field.key: text for field in fields}, DECISION: APPROVE}).encode())

    assert decision_of(sent)
    assert data_of(fields, sent) == dict.fromkeys(names, value)


@pytest.mark.parametrize("default", ["好" * 16_000, "好" * 8_100, "好" * 300, '"' * 16_000, ["好"] * 3_000], ids=len)
@pytest.mark.parametrize("type", ["string", "array"])
@pytest.mark.parametrize("count", [1, 2, MOST_FIELDS])
def test_a_form_can_be_sent_as_it_is_shown(count: int, type: str, default: JSON) -> None:
    names = [chr(0x4E00 + number) * _LONGEST_NAME for number in range(count)]
    fields = fields_of({"properties": {name: {"type": type, "default": default} for name in names}})

    body = urlencode({**{field.key: shown_value(field, field.default) for field in fields}, DECISION: APPROVE})

    assert len(body) <= MAX_FORM_BYTES * 3 // 4
    assert data_of(fields, parsed_form(body.encode())) is not None


@pytest.mark.parametrize(("count", "length"), [(0, 1), (MOST_FIELDS + 1, 1), (1, 0), (1, _LONGEST_NAME + 1)])
def test_a_form_with_more_or_longer_names_than_are_shown_is_one_field(count: int, length: int) -> None:
    form: JSON = {"properties": {chr(0x4E00 + number) * length: {"type": "string"} for number in range(count)}}

    assert [(field.key, field.kind) for field in fields_of(form)] == [("field.", "json")]


@pytest.mark.parametrize("text", [str(MOST_CHOICES), "-1", "1.0", " ", "x", "9" * 5000])
def test_only_a_place_among_the_choices_is_one(text: str) -> None:
    fields = fields_of({"properties": {"a": {"enum": list(range(MOST_CHOICES))}}})

    assert data_of(fields, {"field.a": str(MOST_CHOICES - 1)}) == {"a": MOST_CHOICES - 1}
    with pytest.raises(InvalidInput) as refused:
        data_of(fields, {"field.a": text})
    assert [fault.path for fault in refused.value.faults] == ["data.a"]


LONG: Final = "<" * 400_000
LONG_FORMS: Final[dict[str, Callable[[], JSON]]] = {
    "choices": lambda: {"properties": {f"p{n}": {"enum": [0] * 10_000} for n in range(50)}},
    "choices of all fields": lambda: {"properties": {f"p{n}": {"enum": ["\u202e" * 80] * 190} for n in range(50)}},
    "long choices": lambda: {"properties": {"a": {"enum": [LONG, LONG]}}},
    "choices inside choices": lambda: {"properties": {"a": {"enum": [[[]] * 300_000]}}},
    "title": lambda: {"properties": {"a": {"title": LONG}}},
    "description": lambda: {"properties": {"a": {"description": LONG}}},
    "names": lambda: {"properties": {LONG: {"type": "string"}}},
    "default": lambda: {"properties": {"a": {"type": "string", "default": LONG}}},
    "default of lists": lambda: {"properties": {"a": {"default": [[]] * 300_000}}},
    "titles that are lists": lambda: {"properties": {"a": {"title": [[]] * 300_000, "description": [[]] * 300_000}}},
    "required": lambda: {"required": [[]] * 300_000, "properties": {"a": {}}},
}


@pytest.mark.parametrize("name", LONG_FORMS)
def test_s61_the_page_of_a_long_form_is_short(name: str) -> None:
    assert len(page_of(LONG_FORMS[name]())) < 300_000


def test_s61_faults_of_an_answer_are_shown_to_a_bounded_number_and_length() -> None:
    form: JSON = {"properties": {"a": {"items": {"type": "integer"}}}}
    with pytest.raises(InvalidInput) as refused:
        checked_data(form, {"a": ["x" * 50] * 1000}, approved=True, schemas=RustSchemas())

    page = bytes(question(approval_of(form), sent={}, faults=refused.value.faults, status=422).body).decode()

    assert page.count("<li>") == 20


def test_a_property_without_a_name_is_written_as_json() -> None:
    fields = fields_of({"properties": {"": {"type": "string"}}})

    assert data_of(fields, {"field.": '{"": "x"}'}) == {"": "x"}


@pytest.mark.parametrize(("sent", "place"), [(None, 1), ({}, None), ({"size": "2"}, 2), ({"size": "0"}, 0)])
def test_the_choice_that_was_made_or_is_the_default_is_selected(sent: dict[str, str] | None, place: int | None) -> None:
    form: JSON = {"properties": {"size": {"enum": ["S", "M", "L"], "default": "M"}}}
    (field,) = fields_of(form)
    texts = None if sent is None else {field.key: sent.get("size", "")}

    page = bytes(question(approval_of(form), sent=texts).body).decode()

    selected = re.findall(r'<option value="(\d+)" selected>', page)
    assert selected == ([] if place is None else [str(place)])


@pytest.mark.parametrize(
    ("default", "sent", "is_ticked"),
    [(True, None, True), (False, None, False), (True, "", False), (False, "yes", True)],
)
def test_a_box_is_ticked_by_its_default_or_by_what_was_sent(default: bool, sent: str | None, is_ticked: bool) -> None:
    form: JSON = {"properties": {"sure": {"type": "boolean", "default": default}}}
    (field,) = fields_of(form)

    page = bytes(question(approval_of(form), sent=None if sent is None else {field.key: sent}).body).decode()

    assert (f'type="checkbox" name="{field.key}" value="yes" checked>' in page) is is_ticked
