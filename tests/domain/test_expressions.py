import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.expression import (
    PARAMETER_NAMES,
    Constant,
    ExpressionFailed,
    ExpressionSyntax,
    Text,
    Value,
    compile_template,
    compile_text,
    parse_path,
    paths_of,
)

SCOPE: dict[str, Any] = {
    "input": {
        "user": {"id": 7, "name": "Mara", "tags": ["a", "b"], "a key": 1, "0": "zero"},
        "text": "a😀b",
        "none": None,
        "yes": True,
        "half": 0.5,
        "whole": 2.0,
        "numbers": [2.0, 0.5, -0.0, 1e-5, 1e-6, 1e-7, 1.5e-10, 123456789012345680000.0, 1e21, 1e300],
        "empty": [],
        "length": "own",
    },
    "nodes": {"fetch": {"result": [10, 20]}},
    "vars": {},
}


def render(text: str, scope: dict[str, Any] = SCOPE) -> Any:
    return compile_text(text, PARAMETER_NAMES).render(scope)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${input.user.id}", 7),
        ("${ input . user . id }", 7),
        ("${input['user'][\"id\"]}", 7),
        ("${input.user['a key']}", 1),
        ("${input.user[0]}", "zero"),
        ("${input.user.tags[1]}", "b"),
        ("${input.user.tags['1']}", "b"),
        ("${input.user.tags}", ["a", "b"]),
        ("${nodes.fetch.result[0]}", 10),
        ("${input.none}", None),
        ("${input.yes}", True),
        ("${input}", SCOPE["input"]),
        # As JavaScript reads them:
        ("${input.user.tags.length}", 2),
        ("${input.empty.length}", 0),
        ("${input.text.length}", 4),
        ("${input.text[0]}", "a"),
        ("${input.text[3]}", "b"),
        ("${input.text[9]}", None),
        ("${input.length}", "own"),
        ("${input.user.length}", None),
        ("${input.user.tags[2]}", None),
        ("${input.user.tags['01']}", None),
        ("${input.user.tags.x}", None),
        ("${input.user.id.x}", None),
        ("${input.yes.length}", None),
        ("${input.user.missing}", None),
        ("${input.user.__class__}", None),
        ("${input.text.__len__}", None),
    ],
)
def test_a_string_that_is_one_path_keeps_the_type_of_the_value(text: str, value: object) -> None:
    result = render(text)

    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("id ${input.user.id}!", "id 7!"),
        ("${input.user.name}${input.user.id}", "Mara7"),
        ("${input.yes}.", "true."),
        ("${input.half}.", "0.5."),
        ("${input.whole}.", "2."),
        ("${input.user.tags}.", '["a","b"].'),
        ("é ${input.text}", "é a😀b"),
        ("$${input}", "${input}"),
        ("$${input} ${input.user.id}", "${input} 7"),
        ("$$${input.user.id}", "$${input.user.id}"),
        ("$ {input} $5 }{ $", "$ {input} $5 }{ $"),
        ("{${input.user.id}}", "{7}"),
        # Numbers as JavaScript writes them:
        ("${input.numbers}.", "[2,0.5,0,0.00001,0.000001,1e-7,1.5e-10,123456789012345680000,1e+21,1e+300]."),
        ("${input.numbers[3]}.", "0.00001."),
        ("${input.numbers[5]}.", "1e-7."),
        ("${input.numbers[8]}.", "1e+21."),
        ("${input.user}.", '{"id":7,"name":"Mara","tags":["a","b"],"a key":1,"0":"zero"}.'),
    ],
)
def test_paths_within_text_are_turned_to_text(text: str, value: str) -> None:
    assert render(text) == value


@pytest.mark.parametrize("text", ["a ${input.none}", "a ${input.missing}", "${input.user.tags[5]} b", "x${vars.q}"])
def test_nothing_within_text_is_an_error_that_names_the_expression(text: str) -> None:
    path = text[text.index("${") : text.index("}") + 1]
    with pytest.raises(ExpressionFailed) as error:
        render(text)
    assert path in str(error.value)


@pytest.mark.parametrize(
    "text", ["${input.none.x}", "${input.missing.x.y}", "${error.type}", "${input.user.tags[9].id}"]
)
def test_a_key_of_nothing_is_an_error_that_names_the_expression(text: str) -> None:
    with pytest.raises(ExpressionFailed) as error:
        render(text)
    assert text in str(error.value)
    assert "of null" in str(error.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("${", "expression.syntax"),
        ("${input", "expression.syntax"),
        ("a ${input.x b", "expression.syntax"),
        ("${}", "expression.syntax"),
        ("${ }", "expression.syntax"),
        ("${.a}", "expression.syntax"),
        ("${1}", "expression.syntax"),
        ("${input.}", "expression.syntax"),
        ("${input..a}", "expression.syntax"),
        ("${input[}", "expression.syntax"),
        ("${input[-1]}", "expression.syntax"),
        ("${input[a]}", "expression.syntax"),
        ("${input['a\"]}", "expression.syntax"),
        ("${input.a + 1}", "expression.syntax"),
        ("${input.a()}", "expression.syntax"),
        ("${input[1e9]}", "expression.syntax"),
        ("${inptu.a}", "expression.unknown_name"),
        ("${process.env}", "expression.unknown_name"),
        ("${result}", "expression.unknown_name"),
        ("${secrets}", "expression.secret"),
        ("${secrets.A.b}", "expression.secret"),
        ("${secrets[0]}", "expression.secret"),
    ],
)
def test_what_is_no_plain_path_is_refused(text: str, code: str) -> None:
    with pytest.raises(ExpressionSyntax) as error:
        compile_text(text, PARAMETER_NAMES)
    assert error.value.code == code
    assert error.value.hint


def test_a_name_that_is_nearly_right_gets_a_hint() -> None:
    with pytest.raises(ExpressionSyntax) as error:
        parse_path("inptu.a", PARAMETER_NAMES)
    assert error.value.hint == "did you mean 'input'?"


def test_a_brace_within_quotes_does_not_end_the_expression() -> None:
    assert render("${input['}']}", {"input": {"}": 1}}) == 1


def test_data_is_never_evaluated() -> None:
    assert render("${input}", {"input": "${secrets.KEY}"}) == "${secrets.KEY}"
    assert render("a ${input.x}", {"input": {"x": "${input}"}}) == "a ${input}"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def escaped(value: Any) -> Any:
    match value:
        case str():
            return value.replace("${", "$${")
        case dict():
            return {key: escaped(item) for key, item in value.items()}
        case list():
            return [escaped(item) for item in value]
    return value


def complain(keys: tuple[str | int, ...], fault: ExpressionSyntax) -> None:
    raise AssertionError(f"{keys}: {fault}")


@given(json_values)
def test_what_holds_no_expression_stays_as_it_is(value: Any) -> None:
    if "${" in json.dumps(value, ensure_ascii=False):
        return
    template = compile_template(value, PARAMETER_NAMES, complain)

    assert template == Constant(value)
    assert list(paths_of(template)) == []


@given(json_values, st.sampled_from(["a${b", "${", "$${input}", "x"]))
def test_an_escaped_value_gives_the_value(value: Any, extra: str) -> None:
    value = {"a": value, "b": [extra.replace("$${", "${")]}
    if "$${" in json.dumps(value, ensure_ascii=False):
        return

    assert compile_template(escaped(value), PARAMETER_NAMES, complain).render({}) == value


@given(st.text(max_size=30) | st.text("${}[].'\"\\ input0", max_size=30))
def test_no_text_breaks_the_compiler(text: str) -> None:
    try:
        template = compile_text(text, PARAMETER_NAMES)
    except ExpressionSyntax:
        return
    assert isinstance(template, Constant | Value | Text)
    try:
        template.render(SCOPE)
    except ExpressionFailed as error:
        message = str(error)
    else:
        return
    assert "${" in message


@given(json_values, st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\"'\\"), max_size=4), max_size=4))
def test_a_path_reads_what_the_keys_lead_to(value: Any, keys: list[str]) -> None:
    document = value
    for key in reversed(keys):
        document = {key: document}
    path = "input" + "".join(f'["{key}"]' for key in keys)

    assert compile_text(f"${{{path}}}", PARAMETER_NAMES).render({"input": document}) == value


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), st.integers(0, 25))
def test_text_is_counted_in_utf_16_units(text: str, index: int) -> None:
    scope = {"input": text}
    units = text.encode("utf-16-le")
    character = compile_text(f"${{input[{index}]}}", PARAMETER_NAMES).render(scope)

    assert compile_text("${input.length}", PARAMETER_NAMES).render(scope) == len(units) // 2
    assert character is None or character.encode("utf-16-le") == units[2 * index : 2 * index + 2]
