"""The end of an expression and the names in it, from tokens alone."""

import pytest

from flowrunner.domain.expression.javascript import (
    MAX_SCRIPT,
    Reference,
    Unclosed,
    end_of_expression,
    has_braces_in_literals,
    references,
)

# Complete expressions; a brace and other text follow each.
WHOLE = [
    "input",
    "{a: 1}.a",
    "(() => { return {a: {}} })()",
    # Texts and templates
    "'}'",
    '"}"',
    r"'\'}'",
    "'a\\\nb}'",
    "'a\\\r\nb}'",
    "'\u2028}'",
    "`}`",
    "`${`${'}'}`}`",
    "`\\`}`",
    "`$}`",
    "`\\${`",
    "`a${{b: '}'}.b}c}`",
    "`${1}` / 2 + `}`",
    # Comments
    "1 /* } */",
    "1 /*/ } */",
    "1 // }\n",
    "1 // }\r",
    "1 // }\u2028",
    "1 // ' \" ` /* \n",
    # Regular expressions
    "/}/",
    "/[/}]/",
    "/\\/}/",
    "/[\\]}]/",
    "/'/.test(`}`)",
    "a.match(/{/)",
    "a ? /}/ : /{/",
    "[/}/, /{/]",
    "!/}/.test(a)",
    "a => /}/",
    "typeof /}/",
    "a || /}/g",
    "(() => { if (a) /}/.test(a); return 1 })()",
    "(() => { while (a.b(c)) /}/.test(a) })()",
    "(() => { {} /}/.test(a) })()",
    "(() => { try {} finally {} /}/.test(a) })()",
    "(() => { return /}/ })()",
    "(async () => { for await (const x of y) /}/.test(x) })()",
    "(() => { for (const x of /}/g) y })()",
    "(() => { for (const of of /}/g) y })()",
    "(() => { for (const [x] of /}/g) y })()",
    "`${/}/}`",
    "/[" + "}" * 2000 + "]/",
    # Divisions
    "a / b / c",
    "a++ / 2 + {b: 1}.b / 3",
    "a-- / 2",
    "(a) / 2 + '/'",
    "[a] / 2 + '/'",
    "({a: 1}.a) / 2 + {b: 2}.b / 3",
    "{a: 1} / 2 + '}/'",
    "1 / 2 + '}/'",
    "1. / 2 + '/'",
    "a.in / 2 + '}/'",
    "of / 2 + '}/'",
    "(of / 2 + '}/')",
    "typeof of / 2 + '}/'",
    "a?.typeof / 2 + '}/'",
    "/a/ / 2 + '}/'",
    "`a` / 2 + '/'",
    "a.if(b) / 2 + '}/'",
    "this / 2 + '}/'",
    "true / 2 + '}/'",
    "a\ufeff/ 2 + '}/'",
    "(() => { return {a: 1} / 2 + '}/' })()",
    "(() => { return {} / 2 + '}/' })()",
    "x => { switch (x) { case {} / 2 + '}/': } }",
]


@pytest.mark.parametrize("source", WHOLE)
def test_an_expression_ends_at_the_brace_that_nothing_in_it_opens(source: str) -> None:
    for rest in ("}", "} and ${b / 2}", "}'", "}/", "}}"):
        text = f"${{{source}{rest}"

        assert end_of_expression(text, 2) == len(text) - len(rest)


@pytest.mark.parametrize(
    "source",
    [
        "`${a}`",
        "f(`${a}`, `${b}`)",
        "a ? `${a}` : `b`",
        "`a` in `${b}`",
        "typeof `${a}`",
        "[`${a}`]",
        "x => `${x}` + '{'",
        r"`\${a}`",
        "`$${a}`",
        "`${`${a}`}`",
        "`${'`'}`",
        "`a` // ${b}",
    ],
)
def test_braces_of_template_literals_are_javascript(source: str) -> None:
    assert has_braces_in_literals(source)


@pytest.mark.parametrize(
    "text",
    [
        "${a}",
        "`a` ${b}",
        "a${b} `c`",
        "see `${a}`",
        "`${a}` is it",
        "`${a}``${b}`",
        "'${a}' + `b`",
        "`${a",
        "it's `${a}`",
        "/${a}/.test(`b`)",
        "/* `${a}` */",
        "`" + "a" * MAX_SCRIPT + "${b}`",
    ],
)
def test_other_braces_are_those_of_text(text: str) -> None:
    assert not has_braces_in_literals(text)


@pytest.mark.parametrize(
    "text",
    ["", "a", "'a", '"a\n"', "'a\r'", "`a", "`${a", "`${a}", "{a: 1", "/* }", "/*/ }", "a // }", "`" + "${`" * 60],
)
def test_an_unclosed_text_is_reported(text: str) -> None:
    with pytest.raises(Unclosed):
        end_of_expression(text, 0)


def test_an_expression_ends_within_the_length_of_a_script() -> None:
    assert end_of_expression(" " * MAX_SCRIPT + "}", 0) == MAX_SCRIPT
    with pytest.raises(Unclosed):
        end_of_expression(" " * (MAX_SCRIPT + 1) + "}", 0)


def names(source: str) -> set[str]:
    """Return the names that a script reads from its scope, as `root.key.key`; with a ? if it may define the name."""
    return {
        ".".join((reference.root, *reference.keys)) + "?" * reference.is_defined for reference in references(source)
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input", {"input"}),
        ("input.a.b", {"input.a.b"}),
        ("input?.a?.['b']?.[0].c", {"input.a.b"}),
        ('nodes["a b"].result.x', {"nodes.a b.result.x"}),
        ("nodes['a' + b].result", {"nodes", "b"}),
        ("nodes[`a`].result", {"nodes"}),
        (r"nodes['\x61'].result", {"nodes"}),
        ("a . b", {"a.b"}),
        ("a /* . */ .b // .c\n .d", {"a.b.d"}),
        ("5..toFixed(a)", {"a"}),
        ("1.5.b + a", {"a"}),
        ("a.b + a.b + a.c", {"a.b", "a.c"}),
        (r"\u0061.b + \u{63}", {"a.b", "c"}),
        ("ünder.$x + _y", {"ünder.$x", "_y"}),
        # Texts, comments and regular expressions contain no names
        ("'a' + \"b\" + `c` + /d/.e", set()),
        ("1 // a\n/* b */", set()),
        ("1 // a\rb", {"b"}),
        ("1 // a\u2028b", {"b"}),
        ("x++ / a / y", {"x", "a", "y"}),
        ("(() => { if (x) /a/.test(y) })()", {"x", "y"}),
        # Templates
        ("`a ${b.c} ${`${d}`}`", {"b.c", "d"}),
        ("`${a}`.b", {"a"}),
        ("`${a} ${b}`", {"a", "b"}),
        ("f`${a}`", {"f", "a"}),
        # Members and keys
        ("a.b(c.d)", {"a.b", "c.d"}),
        ("({a: b, c, ['d']: e, [f]: g, 'h': i, j() {}})", {"b", "c", "e", "f", "g", "i", "j?"}),
        ("a ? b : c", {"a", "b", "c"}),
        ("[a ? b : c, d ? e : f]", set("abcdef")),
        ("{...a, ...b.c}", {"a", "b.c"}),
        ("class { #a = 1; b() { return this.#a } }", {"b?"}),
        # Names that the script defines
        ("x => x + a", {"x?", "a"}),
        ("(x, {y, z: [w]}, ...v) => x + y + z + w + v + a", {"x?", "y?", "z?", "w?", "v?", "a"}),
        ("async x => x", {"x?"}),
        ("function f(x) { return f(x) + a }", {"f?", "x?", "a"}),
        ("function* f(x) { yield x }", {"f?", "x?"}),
        ("const x = a, y = b; let z; x + y + z", {"x?", "y?", "z?", "a", "b"}),
        ("const x = f(a, b), y = 2; y", {"x?", "y?", "f", "a", "b"}),
        ("const {x, y: [z]} = a; x + z", {"x?", "z?", "a"}),
        ("for (const x of a) x + b", {"x?", "a", "b"}),
        ("for (const x in a) x", {"x?", "a"}),
        ("for (let i = 0, n = a.length; i < n; i++) b(i)", {"i?", "n?", "a.length", "b"}),
        ("try { a } catch (e) { e }", {"a", "e?"}),
        ("try { a } catch ({message}) { message }", {"a", "message?"}),
        ("try { a } catch { b; c; d; e(input) }", {"a", "b", "c", "d", "e", "input"}),
        ("catch", set()),
        ("class A extends B { m(x) { return x } static s() {} } new A()", {"A?", "B", "m?", "x?", "s?"}),
        ("class A extends (b) { m() {} }", {"A?", "b", "m?"}),
        ("=> (a)", {"a"}),
        ("outer: for (;;) { continue outer }", {"outer?"}),
        ("x = 1; x", {"x?"}),
        ("x == 1", {"x"}),
        # The same name in the script and in its scope
        ("[1].map(input => input.x).concat(input.y)", {"input?"}),
        ("const x = `${input.a}`; x", {"x?", "input.a"}),
        ("const {x = input.a} = vars; x", {"x?", "input?", "vars"}),
        ("secrets => secrets.A", {"secrets", "secrets.A"}),
        ("const {A} = secrets", {"A?", "secrets"}),
    ],
)
def test_the_names_that_a_script_reads(source: str, expected: set[str]) -> None:
    assert names(source) == expected


@pytest.mark.timeout(15)
@pytest.mark.parametrize(
    "source",
    [
        "let a," * 10_000,
        "a + " * 16_000 + "a",
        ")=>" * 20_000,
        "(/[/]" + "[/]" * 20_000,
        "(/[" * 20_000,
        "/**/" * 16_000,
        "/*/" * 20_000,
        "{" * 60_000,
        "`${" * 20_000,
        "'" * 65_000,
    ],
)
def test_no_script_takes_long_to_read(source: str) -> None:
    """The slowest known script takes a third of a second; without a bound it took half a minute."""
    try:
        references(source)
    except Unclosed:
        return


def test_a_reference_is_reported_once() -> None:
    assert references("a.b + a.b") == (Reference("a", ("b",)),)
