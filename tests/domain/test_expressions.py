"""Expressions: plain paths, which are evaluated here, and code for the JavaScript engine."""

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowrunner.domain.expression import (
    MAX_RENDERED,
    NOWHERE,
    PARAMETER_NAMES,
    Code,
    CodeKind,
    CodePlace,
    Constant,
    ExpressionFailed,
    ExpressionSyntax,
    Keys,
    Literal,
    Path,
    Template,
    Text,
    TooMuchFilledIn,
    Value,
    codes_of,
    compile_template,
    compile_text,
    expressions_of,
    is_true,
    reading,
    value_of,
)
from flowrunner.domain.expression import render as rendered
from flowrunner.domain.expression.javascript import MAX_SCRIPT, Reference
from flowrunner.domain.expression.javascript_values import json_text
from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.values import JSON
from support.lazy import Lazy

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
    return rendered(compile_text(text, PARAMETER_NAMES), scope)


@dataclass
class Somewhere:
    """A place in a document with the given rules, which records all reports and visits."""

    kind: CodeKind | None = None
    names: frozenset[str] = PARAMETER_NAMES
    faults: list[tuple[Keys, str]] = field(default_factory=list)
    visited: list[tuple[str, str, tuple[str | int, ...]]] = field(default_factory=list)
    older_names: Mapping[str, str] = field(default_factory=dict)
    has_config: bool = True

    def code_at(self, at: Keys) -> CodeKind | None:
        return self.kind

    def names_at(self, at: Keys) -> frozenset[str]:
        return self.names

    def place_of(self, at: Keys) -> CodePlace:
        return NOWHERE

    def report(self, at: Keys, fault: ExpressionSyntax) -> None:
        self.faults.append((at, fault.code))

    def visit(self, at: Keys, text: str, root: str, keys: Sequence[str | int], *, has_default: bool = False) -> None:
        self.visited.append((text, root, tuple(keys)))


def template_of(value: Any, **settings: Any) -> Template:
    place = Somewhere(**settings)
    template = compile_template(value, place, ())
    assert place.faults == []
    return template


# Plain paths


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
        # Half of a surrogate pair is not valid text; the sandbox returns the same character.
        ("${input.text[1]}", "\ufffd"),
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
def test_a_key_read_from_null_is_an_error_that_names_the_expression(text: str) -> None:
    with pytest.raises(ExpressionFailed) as error:
        render(text)
    assert text in str(error.value)
    assert "of null" in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${true}", True),
        ("${ null }", None),
        ("${0}", 0),
        ("${-0}", 0),
        ("${-12.50}", -12.5),
        ("${2.0}", 2),
        ("${''}", ""),
        ("${'a}b'}", "a}b"),
        ('${"$"}{', "${"),
        ("x${1.0}", "x1"),
    ],
)
def test_literals_are_evaluated_at_once(text: str, value: object) -> None:
    template = compile_text(text, PARAMETER_NAMES)

    assert codes_of(template) == ()
    assert rendered(template, {}) == value
    assert type(rendered(template, {})) is type(value)


@pytest.mark.parametrize("text", ["${input.user.tags[١]}", "${1٣}", "${1.٣}"])
def test_digits_of_other_scripts_are_left_to_the_engine_which_rejects_them(text: str) -> None:
    assert len(codes_of(compile_text(text, PARAMETER_NAMES))) == 1


# Valid and invalid templates


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("${", "expression.syntax"),
        ("${input", "expression.syntax"),
        ("a ${input.x b", "expression.syntax"),
        ("${}", "expression.syntax"),
        ("${ }", "expression.syntax"),
        ("${'a}", "expression.syntax"),
        ("${input['a\"]}", "expression.syntax"),
        ("${`a}", "expression.syntax"),
        ("${`a${`}", "expression.syntax"),
        ("${/* } */ 1", "expression.syntax"),
        ("${(a => { return a)}", "expression.syntax"),
        ("${inptu.a}", "expression.unknown_name"),
        ("${process.env}", "expression.unknown_name"),
        ("${require('fs')}", "expression.unknown_name"),
        ("${result}", "expression.unknown_name"),
        ("${1 + inptu}", "expression.unknown_name"),
        ("${`a${inptu}`}", "expression.unknown_name"),
        ("${nodes}", "expression.node"),
        ("${secrets}", "expression.secret"),
        ("${secrets[0]}", "expression.secret"),
        ("${secrets[input.x]}", "expression.secret"),
        ("${Object.keys(secrets)}", "expression.secret"),
        ("${(secrets => secrets.A)({A: 1})}", "expression.secret"),
        # Lists of users would name the two values A and B.
        ("${config['A B']}", "expression.config"),
        ("${Boolean(config['A B'])}", "expression.config"),
        ("${config.\u00e4}", "expression.config"),
        (f"${{{'1+' * (MAX_SCRIPT // 2)}1}}", "expression.syntax"),
    ],
)
def test_an_expression_that_cannot_be_evaluated_is_rejected(text: str, code: str) -> None:
    with pytest.raises(ExpressionSyntax) as error:
        compile_text(text, PARAMETER_NAMES)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("${inptu.a}", "did you mean 'input'?"),
        ("${[1].map(x => x + varss.y)}", "did you mean 'vars'?"),
        ("${process.env}", "known names: config, error, execution, flow, input, nodes, secrets, trigger, vars"),
        ("${}", "write ${input}, or '$${' for a literal '${'"),
        ("a ${b", "end it with '}', or write '$${' for a literal '${'"),
        ("${nodes}", "write ${nodes.<name>.result}"),
        ("${secrets}", "write ${secrets.NAME}"),
    ],
)
def test_a_refusal_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ExpressionSyntax) as error:
        compile_text(text, PARAMETER_NAMES)
    assert error.value.hint == hint


@pytest.mark.parametrize(
    ("source", "references"),
    [
        ("input.a + 1", {("input", ("a",))}),
        ("input.a()", {("input", ("a",))}),
        ("input[-1]", {("input", ())}),
        ("input[vars.a]", {("input", ()), ("vars", ("a",))}),
        ("input?.a", {("input", ("a",))}),
        ("secrets.A + secrets['B']", {("secrets", ("A",)), ("secrets", ("B",))}),
        ("Math.max(...nodes.a.result)", {("nodes", ("a", "result"))}),
        ("`${input.a}`", {("input", ("a",))}),
        # The name may be the script's own or not: the value is passed, and its keys are not checked.
        ("((input) => input.x)(vars)", {("input", ()), ("vars", ())}),
    ],
)
def test_everything_but_a_plain_path_is_left_to_javascript(
    source: str, references: set[tuple[str, tuple[str, ...]]]
) -> None:
    template = compile_text(f"${{{source}}}", PARAMETER_NAMES)

    (code,) = codes_of(template)
    assert code.script == Script(source)
    assert {(reference.root, reference.keys) for reference in code.references} == references


@pytest.mark.parametrize(
    "source", ["input.toString", "input.a.constructor.name", "input.__proto__", "input.a.map.length", "this", "NaN"]
)
def test_inherited_members_are_left_to_javascript(source: str) -> None:
    found = list(expressions_of(compile_text(f"${{{source}}}", PARAMETER_NAMES)))

    # Only as the last key may a path have an inherited member, which has no form in JSON.
    assert [type(one) for one in found] == [Path if source == "input.toString" else Code]


def test_a_brace_within_quotes_does_not_end_the_expression() -> None:
    assert render("${input['}']}", {"input": {"}": 1}}) == 1


def test_data_is_never_evaluated() -> None:
    assert render("${input}", {"input": "${secrets.KEY}"}) == "${secrets.KEY}"
    assert render("a ${input.x}", {"input": {"x": "${input}"}}) == "a ${input}"


def test_the_values_filled_in_are_bounded_together() -> None:
    scope = {"input": "x" * (MAX_RENDERED // 4)}

    assert rendered(template_of(["${input}"] * 3), scope) == [scope["input"]] * 3
    for value in (["${input}"] * 5, "${input}" * 5, {"a": {"b": ["${input}"] * 5}}):
        with pytest.raises(ExpressionFailed, match="more than 4194304 characters together"):
            rendered(template_of(value), scope)


def test_a_text_counts_once_however_many_of_its_characters_are_read() -> None:
    text = "é" * (MAX_RENDERED // 4)

    assert rendered(template_of("${input[0]}" * 9 + "${input.length}"), {"input": text}) == f"ééééééééé{len(text)}"


def test_the_text_of_a_value_counts_where_it_is_longer_than_the_value() -> None:
    # Six characters of the text for each of the value.
    scope = {"input": ["\x01" * (MAX_RENDERED // 4)]}

    assert rendered(template_of("${input}"), scope) == scope["input"]
    with pytest.raises(TooMuchFilledIn, match=r"reached at \$\{input\}"):
        rendered(template_of("as text: ${input}"), scope)


@pytest.mark.parametrize(
    "value",
    [Lazy(lambda: "x" * 1_000_000), Lazy(lambda: [0] * 250_000), Lazy(lambda: {"a": ["x" * 1000] * 1000})],
)
@pytest.mark.parametrize("text", ["${input}", "${input} "])
def test_naming_a_long_value_often_takes_no_more_memory_than_naming_it_until_it_is_too_much(
    text: str, value: Any
) -> None:
    template = template_of([text] * 400)

    tracemalloc.start()
    try:
        with pytest.raises(TooMuchFilledIn):
            rendered(template, {"input": value})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Visiting a list takes eight bytes per element.
    assert peak < 8 * MAX_RENDERED


class CountedText(str):
    conversions = 0

    def encode(self, *arguments: Any) -> bytes:
        CountedText.conversions += 1
        return super().encode(*arguments)


def test_a_text_is_converted_once_however_often_its_characters_are_read() -> None:
    text = CountedText("é" * 1000)
    CountedText.conversions = 0

    value = rendered(template_of(["${input.length}", "${input[7]}"] * 500), {"input": text})

    assert value == [1000, "é"] * 500
    assert CountedText.conversions == 1


def test_the_error_of_a_rendering_that_is_too_large_names_an_expression() -> None:
    with pytest.raises(ExpressionFailed, match=r"reached at \$\{input.page\}: use only the parts that are needed"):
        rendered(template_of({"body": "${input.page}"}), {"input": {"page": "x" * (MAX_RENDERED + 1)}})


# Strings that are JavaScript without braces


@pytest.mark.parametrize("mark", ["\n", "\r"])
def test_a_key_or_a_text_ends_in_the_line_it_begins_in(mark: str) -> None:
    for source in (f'input["a{mark}b"]', f"'a{mark}b'"):
        place = Somewhere(kind=CodeKind.EXPRESSION)

        compile_template(source, place, ())

        assert place.faults == [((), "expression.syntax")]


def test_an_expression_that_is_too_long_says_so() -> None:
    with pytest.raises(ExpressionSyntax, match=f"is not closed within {MAX_SCRIPT} characters"):
        compile_text(f"${{{'1+' * (MAX_SCRIPT // 2)}1}}", PARAMETER_NAMES)


def condition(source: str) -> Template:
    return template_of(source, kind=CodeKind.CONDITION)


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (None, False),
        (False, False),
        (0, False),
        (-0.0, False),
        ("", False),
        (True, True),
        (0.5, True),
        ("0", True),
        ("false", True),
        ([], True),
        ({}, True),
    ],
)
def test_a_condition_asks_for_the_truth_of_a_plain_path_as_javascript_would(value: Any, truth: bool) -> None:
    assert rendered(condition("input.x"), {"input": {"x": value}}) is truth
    assert is_true(value) is truth


def test_a_condition_may_be_written_with_braces() -> None:
    assert condition("${input.x}") == condition("input.x")


def test_a_condition_that_is_code_gives_its_truth_alone() -> None:
    template = condition("input.x > 1")
    (code,) = codes_of(template)

    assert code.script == Script("!!(input.x > 1\n)")
    assert rendered(template, {}, {code: True}) is True


def test_a_condition_that_fails_renders_to_its_error() -> None:
    failure = rendered(condition("input.x.y"), {"input": {"x": None}})

    assert isinstance(failure, ExpressionFailed)
    assert str(failure) == "${input.x.y}: cannot read 'y' of null"


def test_a_condition_that_takes_more_than_may_be_filled_in_fails_at_once() -> None:
    """The error is raised, not returned to the node type: the rest of the template cannot be rendered either."""
    with pytest.raises(TooMuchFilledIn):
        rendered(condition("input.length"), {"input": "é" * (MAX_RENDERED + 1)})


@pytest.mark.parametrize("text", ["a ${input}", "${input} ", "${input}${input}", "$${input}"])
def test_a_condition_is_one_expression(text: str) -> None:
    place = Somewhere(kind=CodeKind.CONDITION)

    compile_template(text, place, ("x",))

    assert place.faults == [(("x",), "expression.syntax")]


def test_the_body_of_a_script_is_unchanged() -> None:
    source = "const x = `${input.a}`;\nreturn {x, y: vars.y}"

    template = template_of(source, kind=CodeKind.BODY)

    references = (Reference("input", ("a",)), Reference("vars", ("y",)))
    assert template == Value(Code(source, Script(source, is_body=True), NOWHERE, references))


@pytest.mark.parametrize(
    ("is_body", "outcome", "message", "type"),
    [
        (False, ScriptError("TypeError: x"), "${a.b} at nodes.n (line 3): TypeError: x", "expression"),
        (True, ScriptError("TypeError: x"), "The script at nodes.n (line 3): TypeError: x", "script"),
        (True, ScriptError("TypeError: x", 4), "The script at nodes.n (line 3), line 4 of it: TypeError: x", "script"),
    ],
)
def test_a_javascript_error_names_the_place(is_body: bool, outcome: ScriptError, message: str, type: str) -> None:
    code = Code("a.b", Script("a.b", is_body), CodePlace("nodes.n", 3, 5), ())

    failure = value_of(code, ScriptOutcome(error=outcome))

    assert isinstance(failure, ExpressionFailed)
    assert (str(failure), failure.type) == (message, type)


def test_every_name_that_an_expression_reads_is_visited() -> None:
    place = Somewhere()

    compile_template({"a": "${input.x} and ${nodes.b.result}", "b": ["${flow.input.y + vars.z}"]}, place, ())

    assert place.visited == [
        ("${input.x}", "input", ("x",)),
        ("${nodes.b.result}", "nodes", ("b", "result")),
        ("${flow.input.y + vars.z}", "flow", ("input", "y")),
        ("${flow.input.y + vars.z}", "vars", ("z",)),
    ]


# Arbitrary input

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


@given(json_values)
def test_a_value_without_expressions_is_unchanged(value: Any) -> None:
    assume("${" not in json.dumps(value, ensure_ascii=False))

    assert template_of(value) == Constant(value)


@given(json_values, st.sampled_from(["a${b", "${", "$${input}", "x"]))
def test_an_escaped_value_gives_the_value(value: Any, extra: str) -> None:
    value = {"a": value, "b": [extra.replace("$${", "${")]}
    assume("$${" not in json.dumps(value, ensure_ascii=False))

    assert rendered(template_of(escaped(value)), {}) == value


@given(st.text(max_size=30) | st.text("${}[].'\"\\`/ input0", max_size=30))
def test_no_text_breaks_the_compiler(text: str) -> None:
    try:
        template = compile_text(text, PARAMETER_NAMES)
    except ExpressionSyntax:
        return
    assert isinstance(template, Constant | Value | Text)
    values = dict.fromkeys(codes_of(template), "value")
    try:
        rendered(template, SCOPE, values)
    except ExpressionFailed as error:
        message = str(error)
    else:
        return
    assert "${" in message


@given(
    json_values, st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\"'\\\n\r"), max_size=4), max_size=4)
)
def test_a_path_reads_the_value_at_its_keys(value: Any, keys: list[str]) -> None:
    # A path through an inherited member is left to the JavaScript engine.
    assume("__proto__" not in keys and reading._INHERITED.isdisjoint(keys[:-1]))
    document = value
    for key in reversed(keys):
        document = {key: document}
    path = "input" + "".join(f'["{key}"]' for key in keys)

    assert render(f"${{{path}}}", {"input": document}) == value


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), st.integers(0, 25))
def test_text_is_counted_in_utf_16_units(text: str, index: int) -> None:
    scope = {"input": text}
    units = text.encode("utf-16-le")
    character = render(f"${{input[{index}]}}", scope)

    assert render("${input.length}", scope) == len(units) // 2
    if 2 * index < len(units):
        assert character == units[2 * index : 2 * index + 2].decode("utf-16-le", "replace")
    else:
        assert character is None


@given(st.sampled_from([Literal, Path]), json_values)
def test_a_path_within_a_list_is_rendered_in_its_place(kind: type, value: Any) -> None:
    text = "${input}" if kind is Path else "${7}"

    assert rendered(template_of([{"a": [text, "x"]}, 1]), {"input": value}) == [
        {"a": [value if kind is Path else 7, "x"]},
        1,
    ]


@pytest.mark.parametrize("value", [[1, 2], "ab"])
def test_an_index_of_more_digits_than_any_value_has_gives_null(value: Any) -> None:
    assert render(f"${{input['{'9' * 5000}']}}", {"input": value}) is None


def test_a_value_nested_deeper_than_calls_may_be_becomes_part_of_a_text() -> None:
    value: JSON = [1.0, "é"]
    for _ in range(50_000):
        value = {"a": [value, {}], "b": 1e21}

    text = json_text(value)

    assert text == '{"a":[' * 50_000 + '[1,"é"]' + ',{}],"b":1e+21}' * 50_000
