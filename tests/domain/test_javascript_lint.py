"""Detection of changes to a script's inputs that have no effect."""

import pytest

from flowrunner.domain.expression.javascript_lint import assignment, lost_changes, read_before_defined

NAMES = frozenset({"input", "vars", "flow", "nodes"})


def changes(script: str) -> list[str]:
    return [change.text for change in lost_changes(script, NAMES, kept="vars")]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("input.x = 1; return 2", ["input.x ="]),
        ("vars.n += 1; return vars.n", ["vars.n +="]),
        ("return vars.n++", ["vars.n++"]),
        ("--vars['n']; return 1", ["--vars['n']"]),
        ("delete input.secret; return 1", ["delete input.secret"]),
        ("vars.list.push(1)\nvars.list[0].n ??= 2\nreturn 1", ["vars.list.push", "vars.list[0].n ??="]),
        ("vars = {}; return vars.n", ["vars ="]),
    ],
)
def test_a_change_of_a_copy_is_found(script: str, found: list[str]) -> None:
    assert changes(script) == found


@pytest.mark.parametrize(
    "script",
    [
        "input.x = 1; return input",
        "const input = {}; input.x = 1; return 1",
        "return vars.n == 1 || vars.n === 2 || vars.n <= 3 || vars.n >= 4 || vars.n != 5",
        "return input.items.map(vars => { vars.n = 1; return vars })",
        "const own = {vars: 1}; own.vars = 2; return own",
        "return 'vars.n = 1' /* vars.n = 1 */",
        "return [...vars.list].push(1)",
        "return vars.n => 1",
    ],
)
def test_changes_that_are_used_are_not_reported(script: str) -> None:
    assert changes(script) == []


@pytest.mark.parametrize("expression", ["const x = 1; x", "let y = 2", "vars.n += 1", "a == 1", "(x = 1) => x"])
def test_a_declaration_is_not_taken_for_a_comparison(expression: str) -> None:
    assert assignment(expression) is None


@pytest.mark.parametrize("before", ["a === 1 && b ", "a == 1 || b ", "a !== 1 && b ", "a <= 1 && b ", "x => x; b "])
def test_an_assignment_is_found_behind_operators_that_contain_its_sign(before: str) -> None:
    assert assignment(f"{before}= 2") == len(before)


@pytest.mark.parametrize(
    ("script", "member"),
    [
        ("const a = config.X; function f(config) { return config.Y } return f({})", "X"),
        ("return [config?.X, ...input.map(config => config.Y)]", "X"),
        ("send({config: 1}, config.X); function f(config) { return 1 }", "X"),
        ("const config = {X: 1}; return config.X", None),
        ("return input.map(config => config.X)", None),
        ("return [input.config.X, {config: 1}, config.X]", None),
        ("const f = config => config.a; return config.X", "X"),
        ("const f = config => config.a\nreturn config.X", "X"),
        ("function f(config) { return config.a } return config.X", "X"),
        ("const f = {a(config) { return config.a }, b: config.X}", "X"),
        ("const config = {...input, url: config.X}; return config.url", "X"),
        ("const f = config => config.a ||\n  config.b\n  + config.c; return 1", None),
        ("try { f() } catch (config) { return config.a }", None),
        ("const config = {a: 1}\nreturn config.a", None),
        ("const config = `${input}`\nsend(config.a)", None),
        ("const config = {a: 1}, b = config.a; return b", None),
        ("const config = {a: 1, b: () => config.a, c() { return config.a }}; return config.b()", None),
        ("if (input) { const config = {a: 1}; return config.a }", None),
        ("for (const config of input) { send(config.a) }", None),
        ("const {config} = input; return config.a", None),
    ],
)
def test_a_read_before_the_script_has_a_variable_of_that_name_is_found(script: str, member: str | None) -> None:
    assert read_before_defined(script, "config") == member


def test_a_key_that_is_computed_is_no_part_of_the_name_that_is_changed() -> None:
    found = lost_changes("vars[input.k] = 1; vars.a[0].b = 2; return 1", NAMES, kept="vars")

    assert [change.keys for change in found] == [(), ("a", "b")]
