"""What FlowRunner reads of JavaScript by itself is what the JavaScript engine makes of it."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowrunner.domain.expression import (
    PARAMETER_NAMES,
    Condition,
    ExpressionFailed,
    Literal,
    Path,
    Value,
    compile_text,
    parse_expression,
    render,
)
from flowrunner.domain.expression.javascript import Unclosed, end_of_expression
from flowrunner.domain.expression.script import Script, ScriptOutcome
from flowrunner.domain.values import WorkspaceId
from flowrunner.sandbox.pool import JailedSandbox

A: Final = WorkspaceId("a")
SETTINGS: Final = settings(deadline=None, database=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


class Engine:
    """The sandbox, asked from where nothing is awaited."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._sandbox = JailedSandbox(1)

    def evaluate(self, sources: Sequence[str], scope: Any) -> Sequence[ScriptOutcome]:
        return self._runner.run(self._sandbox.evaluate(A, [Script(source) for source in sources], scope))

    def parses(self, sources: Sequence[str]) -> list[bool]:
        return [fault is None for fault in self._runner.run(self._sandbox.check([Script(s) for s in sources]))]

    def close(self) -> None:
        self._runner.run(self._sandbox.close())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with asyncio.Runner() as runner:
        found = Engine(runner)
        try:
            yield found
        finally:
            found.close()


# Plain paths

KEYS: Final = (
    "a", "b", "0", "1", "01", "-1", "length", "x y", "ü", "constructor", "toString", "__proto__", "map", "valueOf",
    "", "é😀", "null", "if", "$", "_",
)  # fmt: skip
texts = st.text(st.sampled_from("ab😀é\x00\u2028\"'\\ "), max_size=4)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
data = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        # A key of this name in JavaScript's own objects is no entry of its own.
        | st.dictionaries(st.sampled_from([key for key in KEYS if key != "__proto__"]), inner, max_size=5)
    ),
    max_leaves=25,
)


OF_LISTS: Final = ("0", "1", "2", "01", "-1", "length", "map", "a")


@st.composite
def paths(draw: st.DrawFn, input: Any) -> str:
    """Ways into the input, and now and then past what there is."""
    source, value = "input", input
    for _ in range(draw(st.integers(0, 4))):
        known = list(value) if isinstance(value, dict) else OF_LISTS if isinstance(value, list | str) else KEYS
        key = draw(st.sampled_from(known or KEYS) | st.sampled_from(KEYS))
        forms = [f"[{json.dumps(key, ensure_ascii=False)}]", f"[ '{key}' ]"]
        if key.isidentifier() or key == "$":
            forms += [f".{key}"] * 4 + [f" . {key}"]
        if key in ("0", "1", "2"):
            forms += [f"[{key}]"] * 3
        source += draw(st.sampled_from(["", "", "", " ", "\n"])) + draw(st.sampled_from(forms))
        value = _inner(value, key)
    return source


def _inner(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    return value[int(key)] if isinstance(value, list) and key.isdigit() and int(key) < len(value) else None


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[str]]:
    input = draw(data)
    return input, draw(st.lists(paths(input) | literals, min_size=8, max_size=20))


literals = st.sampled_from(["true", "false", "null", "0", "-0", "7", "-12.50", "0.1", "123456789012345", "''", "'ü\"'"])


def answers(sources: Sequence[str], scope: Any, engine: Engine) -> Iterator[tuple[str, Any, Any]]:
    """Each source that is evaluated without the engine, with what either makes of it; "error" for an error."""
    plain = []
    for source in sources:
        found = parse_expression(source, PARAMETER_NAMES)
        if isinstance(found, Path | Literal):
            plain.append((source, found))
    for (source, found), outcome in zip(plain, engine.evaluate([s for s, _ in plain], scope), strict=True):
        try:
            ours = render(Value(found), scope)
        except ExpressionFailed:
            ours = "error"
        yield source, ours, "error" if outcome.error is not None else outcome.value


@SETTINGS
@given(case=cases())
def test_a_plain_path_gives_what_the_engine_gives(engine: Engine, case: tuple[Any, list[str]]) -> None:
    input, sources = case

    for source, ours, theirs in answers(sources, {"input": input}, engine):
        assert _as_doubles(ours) == _as_doubles(theirs), source


def _as_doubles(value: Any) -> Any:
    """Told apart as JavaScript does: whole numbers beyond 2 ** 53 keep their digits in plain paths alone."""
    match value:
        case bool():
            return str(value)
        case int() | float():
            return float(value)
        case list():
            return [_as_doubles(item) for item in value]
        case dict():
            return {key: _as_doubles(item) for key, item in value.items()}
    return value


@SETTINGS
@given(value=data)
def test_a_condition_holds_where_the_engine_says_so(engine: Engine, value: Any) -> None:
    (theirs,) = engine.evaluate(["!!input"], {"input": value})

    assert render(Condition(Path("input", "input", ())), {"input": value}) is theirs.value


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


@SETTINGS
@given(values=st.lists(numbers, min_size=10, max_size=40))
def test_numbers_are_turned_to_text_as_the_engine_does(engine: Engine, values: list[float]) -> None:
    scope = {"input": values}
    sources = [f"String(input[{index}])" for index in range(len(values))] + ["JSON.stringify(input)"]
    theirs = [outcome.value for outcome in engine.evaluate(sources, scope)]

    ours = [render_text(f"${{input[{index}]}}", scope) for index in range(len(values))]

    for our, their in zip([*ours, render_text("${input}", scope)], theirs, strict=True):
        if our != their:
            assert isinstance(our, str)
            assert isinstance(their, str)
            # ECMAScript wants the shortest digits that tell the number from others; quickjs gives some a digit more.
            assert (json.loads(our), len(our) <= len(their)) == (json.loads(their), True)


def render_text(text: str, scope: Any) -> str:
    return str(render(compile_text(f"{text}.", PARAMETER_NAMES), scope))[:-1]


# Where an expression ends

gaps = st.sampled_from(["", "", " ", "\n", " /*}*/ ", " /*'*/ ", " //}\n", "//`\r", "/*/*/"])
names = st.sampled_from(["a", "b.c", "of", "x.if", "this", "1", "2.", "null"])
marked = st.text(st.sampled_from("}{'\"`/$[(a "), max_size=4)


def glued(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced: list[st.SearchStrategy[str]] = []
    for part in parts:
        spaced += [gaps, st.just(part) if isinstance(part, str) else part]
    return st.tuples(*spaced).map("".join)


regexes = st.lists(
    st.sampled_from(["a", "}", "'", '"', "`", "\\/", "\\}", "[/}]", "[\\]/]", "$", "\\["]), min_size=1, max_size=3
).map(lambda parts: f"/{''.join(parts)}/")
quoted = st.tuples(st.sampled_from("'\""), marked).map(
    lambda two: two[0] + two[1].replace(two[0], "\\" + two[0]) + two[0]
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "/", "/", "/", "&&", " in ", " instanceof ", "<"])
    statements = (
        glued("if", "(", inner, ")", inner, ";")
        | glued("{", inner, "}", inner, ";")
        | glued("for (const x of ", inner, ")", inner, ";")
        | glued("try {", inner, "} finally {}", inner, ";")
        | glued("return ", inner, ";")
    )
    return (
        glued(inner, operators, inner)
        | glued("(", inner, ")")
        | glued("[", inner, "]")
        | glued("{a:", inner, "}")
        | glued("a++", operators, inner)
        | glued("!", inner)
        | glued("typeof ", inner)
        | glued(inner, "?", inner, ":", inner)
        | glued("f(", inner, ")")
        | glued("x", "=>", inner)
        | glued("(", "()", "=>", "{", statements, statements, "}", ")")
        | glued("(", "function", "(", ")", "{", statements, "}", ")")
        | st.tuples(marked, inner, marked).map(
            lambda three: f"`{_in_template(three[0])}${{{three[1]}}}{_in_template(three[2])}`"
        )
    )


def _in_template(text: str) -> str:
    return text.replace("`", "\\`").replace("$", "\\$")


expressions = st.recursive(names | quoted | regexes | st.just("``"), larger, max_leaves=8)


def test_an_expression_ends_where_the_engine_ends_it(engine: Engine) -> None:
    compared = 0

    @settings(SETTINGS, max_examples=400)
    @given(expression=expressions, rest=marked)
    # Words that are keywords only elsewhere, before a division and before a regular expression.
    @example(expression="(function(){{a}of/a; /*}*/ })", rest="")
    @example(expression="(()=>{for (const {a} of/}/)f(a)})", rest="/")
    @example(expression="(()=>{for (const [a] of/}/)f(a)})", rest="/")
    def compare(expression: str, rest: str) -> None:
        nonlocal compared
        text = f"{expression}}}{rest}"
        # The shortest that is an expression by itself. The bracket stands in its last line, where a comment hides it.
        braces = [at for at, character in enumerate(text) if character == "}"]
        parses = engine.parses([f"({text[:at]})" for at in braces])
        if True not in parses:
            return
        compared += 1
        try:
            end = end_of_expression(text, 0)
        except Unclosed as error:
            raise AssertionError(f"{text!r}: {error}") from None
        assert end == braces[parses.index(True)], text

    compare()
    assert compared > 200


def test_half_of_a_character_is_read_as_the_engine_writes_it(engine: Engine) -> None:
    scope = {"input": ["a", "b😀"]}
    compared = list(answers(["input[1].length", "input[1][1]", "input[1][3]"], scope, engine))

    assert [(ours, theirs) for _, ours, theirs in compared] == [(3, 3), ("\ufffd", "\ufffd"), (None, None)]
