"""Scripts come to what JavaScript says, and to nothing else."""

import asyncio
import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.expression.script import Script, ScriptOutcome
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.sandbox import fork_server, pool
from flowrunner.sandbox.fork_server import Worker
from flowrunner.sandbox.messages import CHECK
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.sandbox.worker import MAX_LINE_TEXT, MAX_LINES
from support.open_files import without_files
from support.processes import children, descendants, fork_servers, sandboxed
from support.waiting import PATIENCE_SECONDS

A: Final = WorkspaceId("a")
B: Final = WorkspaceId("b")
LOOP: Final = "(() => { for (;;); })()"
TRUNCATED: Final = (
    "warn", f"Log truncated: {MAX_LINES} lines and 1 MB of them are kept of the scripts of a node"
)  # fmt: skip


async def outcome(
    sandbox: JailedSandbox, source: str, scope: Mapping[str, JSON] | None = None, *, is_body: bool = False
) -> ScriptOutcome:
    (found,) = await sandbox.evaluate(A, [Script(source, is_body)], scope or {})
    return found


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 1", 2),
        ("input.a", [1, {"b": None}]),
        ("input['a'][0]", 1),
        ("1.5", 1.5),
        ("-0", 0),
        ("NaN", None),
        ("1 / 0", None),
        ("2 ** 53", 2**53),
        ("1e21", 1e21),
        ("5e-324", 5e-324),
        ("null", None),
        ("undefined", None),
        ("true", True),
        ("() => 1", None),
        ("Symbol('x')", None),
        ("[undefined, () => 1, NaN]", [None, None, None]),
        ("({a: undefined, b: 1})", {"b": 1}),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("new Date(2026, 0, 1)", "2026-01-01T00:00:00.000Z"),
        ("/a/", {}),
        ("({toJSON: () => 'mine'})", "mine"),
        ("'ä€😀'", "ä€😀"),
        ("text", "ä€😀\x00\u2028\"\\"),
        ("text.length", 8),
        ("'😀'[0] + 'x' + '😀'[1]", "\ufffdx\ufffd"),
        (r"'\\ud800'", "\\ud800"),
        ("({'😀': '\\ud83d\\ude00'})", {"😀": "😀"}),
        ("({__proto__: null, a: 1})", {"a": 1}),
        ("JSON.parse('{\"__proto__\": 1}')", {"__proto__": 1}),
        ("`${1 + 1}`", "2"),
        ("1, 2", 2),
        ("1 // a comment", 1),
        ("/* } */ 1", 1),
        ("\n\n  1\n", 1),
        ("typeof missing", "undefined"),
        ("[3, 1, 2].toSorted()", [1, 2, 3]),
        ("Object.groupBy([1, 2, 3], n => n % 2 ? 'odd' : 'even')", {"odd": [1, 3], "even": [2]}),
        ("'a-b'.replaceAll('-', '+')", "a+b"),
        ("/(?<y>\\d+)/.exec('in 2026').groups.y", "2026"),
        ("await 5", 5),
        ("await Promise.all([1, Promise.resolve(2)])", [1, 2]),
        ("Promise.resolve({a: 1})", {"a": 1}),
        ("(async () => { await null; return 'later' })()", "later"),
        ("'await'", "await"),
        ("big", 12345678901234567000),
        ("this === globalThis", True),
    ],
)  # fmt: skip
async def test_an_expression_has_the_value_that_json_gives_it(sandbox: JailedSandbox, source: str, value: Any) -> None:
    scope: Mapping[str, JSON] = {
        "input": {"a": [1, {"b": None}]},
        "text": 'ä€😀\x00\u2028"\\',
        "big": 12345678901234567890,
    }

    found = await outcome(sandbox, source, scope)

    assert found == ScriptOutcome(value)
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("new Set('abca')", ["a", "b", "c"]),
        ("new Set()", []),
        ("new Map([['a', 1], [{b: 2}, null]])", [["a", 1], [{"b": 2}, None]]),
        ("({deep: [new Map([['a', new Set([new Map()])]])]})", {"deep": [[["a", [[]]]]]}),
        ("(async () => new Set([await 1]))()", [1]),
        ("new Set([1, 2]).union(new Set([3]))", [1, 2, 3]),
        ("Map.groupBy([1, 2, 3], n => n % 2)", [[1, [1, 3]], [0, [2]]]),
        ("new (class Bag extends Set {})([1])", [1]),
        ("Object.fromEntries(new Map([['a', 1]]))", {"a": 1}),
        ("[...new Set([1, 1])]", [1]),
        ("Object.create(Map.prototype)", {}),
        ("Object.assign(new Set([1]), {toJSON: () => 'its own'})", "its own"),
        ("(() => { Map.prototype.forEach = null; Array.prototype[Symbol.iterator] = null; return new Map() })()", []),
        ("new Map([[1, 'x'.repeat(100000)]]).size", 1),
    ],
)
async def test_a_map_or_set_gives_what_it_holds(sandbox: JailedSandbox, source: str, value: JSON) -> None:
    assert await outcome(sandbox, source) == ScriptOutcome(value)


async def test_the_log_shows_what_a_map_or_set_holds(sandbox: JailedSandbox) -> None:
    found = await outcome(sandbox, "console.log('seen', new Map([['a', new Set([1])]]))")

    assert found.lines == (("info", 'seen [["a",[1]]]'),)


@pytest.mark.parametrize(
    ("source", "instead"),
    [
        ("new Date(0).toLocaleString('de-DE')", "toISOString()"),
        ("new Date(0).toLocaleDateString(undefined, {timeZone: 'Europe/Berlin'})", "toISOString()"),
        ("new Date(0).toLocaleTimeString([], {hour: '2-digit'})", "toISOString()"),
        ("(1234.5).toLocaleString('de-DE')", "toFixed(2)"),
        ("10n.toLocaleString('en-IN')", "toFixed(2)"),
        ("[1.5, new Date(0)].toLocaleString('de')", "map()"),
        ("'ä'.localeCompare('z', 'sv')", "leave them out"),
        ("['b', 'a'].sort((x, y) => x.localeCompare(y, undefined, {numeric: true}))", "leave them out"),
        ("'I'.toLocaleLowerCase('tr')", "leave it out"),
        ("'i'.toLocaleUpperCase('tr')", "leave it out"),
    ],
)
async def test_a_locale_that_would_be_ignored_is_a_fault(sandbox: JailedSandbox, source: str, instead: str) -> None:
    fault = (await outcome(sandbox, f"\n{source}")).error

    assert fault is not None
    assert "knows neither locales nor time zones here" in fault.message
    assert instead in fault.message
    assert fault.line == 2


async def test_without_a_locale_they_do_what_they_did(sandbox: JailedSandbox) -> None:
    source = (
        "[new Date(0).toLocaleDateString(), (1.5).toLocaleString(), 'a'.localeCompare('b'), 'I'.toLocaleLowerCase()]"
    )

    assert (await outcome(sandbox, source)).value == ["01/01/1970", "1.5", -1, "i"]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("return input * 2", 4),
        ("", None),
        ("const a = 1\nlet b = 2\nreturn {a, b}", {"a": 1, "b": 2}),
        ("function f(n) { return n ? n * f(n - 1) : 1 }\nreturn f(5)", 120),
        ("if (input > 1) return 'more'\nreturn 'less'", "more"),
        ("return await Promise.resolve(3)", 3),
        ("for (const x of [1, 2]) { if (x === 2) return x }", 2),
        ("return 1 // the end", 1),
    ],
)
async def test_a_body_gives_what_it_returns(sandbox: JailedSandbox, source: str, value: JSON) -> None:
    assert await outcome(sandbox, source, {"input": 2}, is_body=True) == ScriptOutcome(value)


@pytest.mark.parametrize(
    ("source", "is_body", "message", "place"),
    [
        ("missing", False, "ReferenceError: missing is not defined", (1, 1)),
        ("\n\n input.a.b", False, "TypeError: cannot read property 'b' of undefined", (3, 2)),
        ("\nnull.x", True, "TypeError: cannot read property 'x' of null", (2, 1)),
        ("1 +", False, "SyntaxError: unexpected token in expression: ')'", (1, None)),
        ("1 +\n\n * 2", False, "SyntaxError: unexpected token in expression: '*'", (3, 2)),
        ("", False, "SyntaxError: unexpected token in expression: ')'", (1, None)),
        ("const x = 1\nconst x = 2", True, "SyntaxError: invalid redefinition of lexical identifier", (2, 9)),
        ("while (true) {}", False, "SyntaxError: unexpected token in expression: 'while'", (1, 1)),
        ("\n[1].map(x => {\n throw new Error('mine') })", False, "Error: mine", (3, 12)),
        ("\n\nJSON.parse('{')", False, "SyntaxError: Expected property name or '}' in JSON", (3, 6)),
        ("return (\n  await Promise.reject(new TypeError('late')))", True, "TypeError: late", (2, 28)),
        ("throw 'a text'", True, "a text", (None, None)),
        ("throw {code: 1}", True, '{"code":1}', (None, None)),
        ("throw null", True, "null", (None, None)),
        ("throw Symbol('s')", True, "Symbol(s)", (None, None)),
        ("({get a() { throw new Error('from a getter') }})", False, "Error: from a getter", (None, None)),
        ("10n", False, "TypeError: BigInt are forbidden in JSON.stringify", (None, None)),
        ("(() => { const a = []; a[0] = a; return a })()", False, "TypeError: circular reference", (None, None)),
        ("new Promise(() => {})", False, "the promise is still pending", (None, None)),
        ("import('os')", False, "ReferenceError: could not load module 'os'", (None, None)),
        ("(function f() { return f() + 1 })()", False, "RangeError: Maximum call stack size exceeded", (1, 23)),
    ],
)  # fmt: skip
async def test_a_fault_says_what_is_wrong_and_where(
    sandbox: JailedSandbox, source: str, is_body: bool, message: str, place: tuple[int | None, int | None]
) -> None:
    found = await outcome(sandbox, source, {"input": {}}, is_body=is_body)

    assert found.value is None
    assert found.error is not None
    assert found.error.message.startswith(message)
    assert (found.error.line, found.error.column) == place
    assert found.error.limit is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("null[name]", "TypeError: cannot read property '…' of null"),
        ("null['Bearer ' + name]", "TypeError: cannot read property '…' of null"),
        ("null['ключ' + name]", "TypeError: cannot read property '…' of null"),
        ("eval(name)", "ReferenceError: '…' is not defined"),
        ("import(name + name + name)", "ReferenceError: a message of 255 characters"),
        ("JSON.parse(name)", "SyntaxError: unexpected token"),
        ("JSON.parse(name + name + name)", "SyntaxError: a message of 255 characters"),
        ("null['a name of its usual length']", "TypeError: cannot read property 'a name of its usual length' of null"),
        ("(() => { throw new TypeError(name) })()", f"TypeError: {'name' * 25}"),
    ],
)
async def test_of_what_the_engine_has_cut_nothing_is_told(sandbox: JailedSandbox, source: str, message: str) -> None:
    # Half of a secret would be told and not be known as one.
    found = await outcome(sandbox, source, {"name": "name" * 25})

    assert found.error is not None
    assert found.error.message == message


async def test_a_long_message_is_not_cut(sandbox: JailedSandbox) -> None:
    found = await outcome(sandbox, "throw new Error('x'.repeat(5000))", is_body=True)

    assert found.error is not None
    assert found.error.message == "Error: a message of 5007 characters"


async def test_console_gives_lines_with_their_levels(sandbox: JailedSandbox) -> None:
    source = """
        console.log('text', 1, {a: [null]}, undefined)
        console.info(new Error('an error'))
        console.debug()
        console.warn('ä\\ud800')
        console.error(Symbol('s'), 10n, () => 1)
    """

    found = await outcome(sandbox, source, is_body=True)

    assert found.error is None
    assert found.lines == (
        ("info", 'text 1 {"a":[null]} undefined'),
        ("info", "Error: an error"),
        ("debug", ""),
        ("warn", "ä\ufffd"),
        ("error", "Symbol(s) 10 () => 1"),
    )


async def test_lines_are_there_when_the_script_fails_or_goes_over_a_limit(
    sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine with other work may take long to fill the memory.
    monkeypatch.setattr(pool, "_WALL_SECONDS", PATIENCE_SECONDS)
    failed = await outcome(sandbox, "console.log('before'); null.x", is_body=True)
    # With long texts it is at the limit of its memory long before that of its time.
    flood = "console.log('before'); const a = []; for (let i = 0;; i++) a.push('x'.repeat(1e5) + i)"
    too_big = await outcome(sandbox, flood, is_body=True)

    assert failed.lines == too_big.lines == (("info", "before"),)
    assert too_big.error is not None
    assert too_big.error.limit == "memory"


async def test_the_lines_of_one_exchange_are_bounded_in_number_and_length(sandbox: JailedSandbox) -> None:
    many = Script("for (let i = 0; i < 2000; i++) console.log(i)", is_body=True)
    long = Script("console.log('x'.repeat(10000)); console.log('x'.repeat(10001))", is_body=True)

    outcomes = await sandbox.evaluate(A, [long, many, many], {})

    assert [len(found.lines) for found in outcomes] == [2, MAX_LINES - 2, 0]
    # The last line says that others are missing.
    assert outcomes[1].lines[MAX_LINES - 4 :] == (("info", f"{MAX_LINES - 4}"), TRUNCATED)
    # Never a part of what may hold a secret.
    assert outcomes[0].lines == (("info", "x" * 10_000), ("info", "a text of 10001 characters"))


async def test_the_lines_of_one_exchange_are_bounded_in_their_text(sandbox: JailedSandbox) -> None:
    # Escaped, each character takes six.
    long = Script(r"for (let i = 0; i < 200; i++) console.log('\x01'.repeat(2000)); console.log('short')", is_body=True)
    few = Script("console.log('after')", is_body=True)

    outcomes = await sandbox.evaluate(A, [long, few], {})

    lines = outcomes[0].lines
    assert 12_000 * (len(lines) - 1) < MAX_LINE_TEXT < 12_100 * (len(lines) + 1)
    # No shorter line comes after the one that says so.
    assert lines[-2:] == (("info", "\x01" * 2000), TRUNCATED)
    assert outcomes[1].value is None
    assert outcomes[1].lines == ()


@pytest.mark.parametrize("first", [
    f"for (let i = 0; i < {MAX_LINES}; i++) console.log(i)",
    rf"for (let i = 0; i < {MAX_LINE_TEXT // 12_009}; i++) console.log('\x01'.repeat(2000))",
], ids=["lines", "text"])  # fmt: skip
async def test_the_first_line_of_a_script_that_has_no_room_left_is_not_dropped_silently(
    sandbox: JailedSandbox, first: str
) -> None:
    full = Script(first, is_body=True)
    more = Script(r"console.log('\x01'.repeat(2000)); console.log('short')", is_body=True)

    outcomes = await sandbox.evaluate(A, [full, more, more], {})

    assert TRUNCATED not in outcomes[0].lines
    assert [found.lines for found in outcomes[1:]] == [(TRUNCATED,), ()]


@pytest.mark.parametrize("length", [499, 500, 501, 512, 513, 8191, 8192, 8193, 100_000, 400_000])
async def test_long_texts_arrive_whole(sandbox: JailedSandbox, length: int) -> None:
    source = f"let s = ''; while (s.length < {length}) s += 'ab€'[s.length % 3]; console.log(s); return [s, s.length]"

    found = await outcome(sandbox, source, is_body=True)

    text = ("ab€" * length)[:length]
    assert found.value == [text, length]
    assert found.lines == (("info", text if length <= 10_000 else f"a text of {length} characters"),)


async def test_the_values_of_one_exchange_are_bounded_together(sandbox: JailedSandbox) -> None:
    half = Script("'x'.repeat(500000)")

    first, second, third = await sandbox.evaluate(A, [half, half, half], {})

    assert first.value == second.value == "x" * 500_000
    assert third.error is not None
    assert third.error.limit == "output"


async def test_a_value_that_is_nested_too_deeply_is_a_fault(sandbox: JailedSandbox) -> None:
    source = "let value = null; for (let i = 0; i < 20000; i++) value = [value]; return value"

    found = await outcome(sandbox, source, is_body=True)

    # By the engine's stack or by the one of what reads it, whichever is smaller here.
    assert found.error is not None
    assert re.search("nested too deeply|Maximum call stack size exceeded", found.error.message)


async def test_what_the_scripts_can_see_is_bounded(sandbox: JailedSandbox) -> None:
    found = await outcome(sandbox, "1", {"input": "x" * (32 * 1024 * 1024)})

    assert found.error is not None
    assert found.error.limit == "memory"
    assert (await outcome(sandbox, "input.length", {"input": "x" * (8 * 1024 * 1024)})).value == 8 * 1024 * 1024


async def test_waiting_requests_take_no_memory_for_what_it_can_see(
    sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine with other work may take long to send all of them.
    monkeypatch.setattr(pool, "_QUEUE_SECONDS", PATIENCE_SECONDS)
    scope = {"input": "x" * (4 * 1024 * 1024)}
    blocked = [asyncio.create_task(sandbox.evaluate(A, [Script(LOOP)], {})) for _ in range(2)]
    await asyncio.sleep(0)

    tracemalloc.start()
    try:
        waiting = [asyncio.create_task(sandbox.evaluate(B, [Script("input.length")], scope)) for _ in range(20)]
        await asyncio.sleep(0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    outcomes = await asyncio.gather(*waiting)

    assert peak < 16 * 1024 * 1024
    assert {found[0].value for found in outcomes} == {4 * 1024 * 1024}
    await asyncio.gather(*blocked)


async def test_of_what_is_too_large_no_more_is_written_than_may_be_sent(sandbox: JailedSandbox) -> None:
    page = "x" * (2 * 1024 * 1024)

    tracemalloc.start()
    try:
        found = await outcome(sandbox, "1", {"nodes": {f"n{number}": {"result": page} for number in range(60)}})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.error is not None
    assert found.error.limit == "memory"
    assert peak < 48 * 1024 * 1024


async def test_many_scripts_share_one_exchange_and_answer_in_order(sandbox: JailedSandbox) -> None:
    outcomes = await sandbox.evaluate(A, [Script(f"n + {i}") for i in range(200)], {"n": 1})

    assert [found.value for found in outcomes] == [1 + i for i in range(200)]


async def test_names_of_the_scope_may_be_any(sandbox: JailedSandbox) -> None:
    scope = {"item": 1, "JSON": 2, "Object": 3, "eval": 4, "ä": 5, "__proto__": 6, "console": 7, "globalThis": 8}

    found = await outcome(sandbox, "[item, JSON, Object, eval, ä, console, globalThis]", scope)

    assert found.value == [1, 2, 3, 4, 5, 7, 8]


async def test_nothing_remains_of_a_script_for_the_next(sandbox: JailedSandbox) -> None:
    changing = Script(
        """
        globalThis.leaked = input.secret; input.n = 2; Array.prototype.map = () => 'mine'
        Object.prototype.polluted = 1; JSON.stringify = () => '"mine"'; JSON.parse = () => ({n: 3})
        String.prototype.toString = Promise.prototype.then = Object.keys = () => { throw 1 }
        Object.freeze(Object.prototype); globalThis.eval = undefined
        return typeof leaked
        """,
        is_body=True,
    )
    looking = Script("[typeof leaked, input.n, [1].map(x => x + 1), ({}).polluted ?? null, JSON.stringify([1])]")
    scope: Mapping[str, JSON] = {"input": {"n": 1, "secret": "s3cret"}}

    together = await sandbox.evaluate(A, [changing, looking], scope)
    later = await sandbox.evaluate(A, [looking], scope)

    assert together[0].value == "string"
    assert together[1].value == later[0].value == ["undefined", 1, [2], None, "[1]"]


async def test_a_script_cannot_change_how_its_own_answer_is_told(sandbox: JailedSandbox) -> None:
    source = """
        const wrong = () => 'wrong'
        Array.prototype[Symbol.iterator] = String.prototype.toJSON = Array.prototype.toJSON = wrong
        String.prototype.slice = JSON.stringify = Reflect.apply = Promise.prototype.then = Object.keys = wrong
        globalThis.String = globalThis.Error = globalThis.Promise = globalThis.JSON = globalThis.eval = wrong
        Object.defineProperty(Object.prototype, '0', {set() { throw 1 }})
        Object.defineProperty(Object.prototype, 'limit', {value: 'time'})
        console.log('a line')
        return {right: true}
    """

    assert await outcome(sandbox, source, is_body=True) == ScriptOutcome({"right": True}, None, (("info", "a line"),))


async def test_workspaces_never_share_a_process(sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the script's time, only that which it computes is limited.
    monkeypatch.setattr(pool, "_WALL_SECONDS", PATIENCE_SECONDS)
    busy = Script("(() => { for (let n = 0; n < 5_000_000; n++); })()")
    seen: dict[WorkspaceId, set[int]] = {A: set(), B: set()}
    await sandbox.evaluate(A, [Script("1")], {})
    for workspace_id in (A, B, A, B, B, A):
        before = ticks_of_workers()
        (found,) = await sandbox.evaluate(workspace_id, [busy], {})
        assert found.error is None
        taken = {pid: ticks - before.get(pid, 0) for pid, ticks in ticks_of_workers().items()}
        # The script takes longer than a process that starts meanwhile.
        pid = max(taken, key=taken.__getitem__)
        assert taken[pid] >= 5
        seen[workspace_id].add(pid)

    assert not seen[A] & seen[B]


def is_busy(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "R"
    except FileNotFoundError:
        return False


def ticks_of_workers() -> dict[int, int]:
    """Return the processor time that each process for scripts has taken, in hundredths of a second."""
    (fork_server,) = fork_servers()
    ticks = {}
    for pid in children(fork_server):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
            ticks[pid] = int(user) + int(system)
    return ticks


async def test_alternating_workspaces_do_not_wait_for_processes_to_start(sandbox: JailedSandbox) -> None:
    await sandbox.evaluate(A, [Script("1")], {})
    began = time.monotonic()

    for number in range(100):
        (found,) = await sandbox.evaluate(WorkspaceId(f"workspace {number % 10}"), [Script(f"{number}")], {})
        assert found.value == number

    assert time.monotonic() - began < 5
    await asyncio.sleep(0.2)
    assert len(sandboxed()) <= 1 + 2 + 2


async def test_a_workspace_with_endless_loops_does_not_keep_the_others_waiting(sandbox: JailedSandbox) -> None:
    loops = [asyncio.create_task(sandbox.evaluate(A, [Script(LOOP)], {})) for _ in range(6)]
    await asyncio.sleep(0.1)

    ended = []
    for _ in range(2):
        assert (await sandbox.evaluate(B, [Script("1")], {}))[0].value == 1
        ended.append(sum(loop.done() for loop in loops))

    # Two run at first. Once one has ended, it is known whose scripts are slow, and a worker is left to others.
    first, second = ended
    assert first <= 2
    assert second - first <= 1
    for loop in loops:
        (found,) = await loop
        assert found.error is not None
        assert found.error.limit == "time"


async def test_a_workspace_whose_scripts_were_slow_has_all_workers_again_later(
    monkeypatch: pytest.MonkeyPatch, sandbox: JailedSandbox
) -> None:
    monkeypatch.setattr("flowrunner.sandbox.pool._SLOW_SECONDS", 0.0)
    (found,) = await sandbox.evaluate(A, [Script(LOOP)], {})
    assert found.error is not None
    assert found.error.limit == "time"

    await asyncio.sleep(0.001)
    running = [asyncio.create_task(sandbox.evaluate(A, [Script("1")], {})) for _ in range(2)]
    await asyncio.sleep(0)

    assert sandbox.busy == 2
    await asyncio.gather(*running)


@pytest.mark.parametrize(
    ("sources", "limit", "most"),
    [
        ([LOOP, "1"], "time", 1),
        # Its answer is sent at once, and comes first however long the machine takes.
        (["(() => { const t = Date.now(); while (Date.now() < t + 50) ; return 1 })()", LOOP], "time", 1),
        (["1", "2", "3"], None, 2),
        (["1", "'x'.repeat(2 ** 29).split('')"], "memory", 2),
    ],
    ids=["the first", "the last", "none", "too large"],
)
async def test_a_workspace_leaves_a_worker_to_the_others_after_any_script_that_took_too_long(
    sandbox: JailedSandbox, sources: list[str], limit: str | None, most: int
) -> None:
    found = await sandbox.evaluate(A, [Script(source) for source in sources], {})
    assert {one.error.limit for one in found if one.error is not None} == ({limit} if limit else set())

    running = [asyncio.create_task(sandbox.evaluate(A, [Script("1")], {})) for _ in range(2)]
    await asyncio.sleep(0)

    assert sandbox.busy == most
    await asyncio.gather(*running)


async def test_workspaces_are_served_round_robin(sandbox: JailedSandbox) -> None:
    order: list[WorkspaceId] = []

    async def run(workspace_id: WorkspaceId) -> None:
        await sandbox.evaluate(
            workspace_id, [Script("(() => { const t = Date.now(); while (Date.now() < t + 20); })()")], {}
        )
        order.append(workspace_id)

    many = [asyncio.create_task(run(A)) for _ in range(30)]
    await asyncio.sleep(0)
    few = [asyncio.create_task(run(B)) for _ in range(3)]
    await asyncio.gather(*many, *few)

    assert max(index for index, workspace_id in enumerate(order) if workspace_id == B) < 15


async def test_who_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch, sandbox: JailedSandbox) -> None:
    monkeypatch.setattr("flowrunner.sandbox.pool._QUEUE_SECONDS", 0.3)
    loops = [asyncio.create_task(sandbox.evaluate(A, [Script(LOOP)], {})) for _ in range(2)]
    await asyncio.sleep(0.1)

    with pytest.raises(Unavailable):
        await sandbox.evaluate(B, [Script("1")], {})

    await asyncio.gather(*loops)
    assert (await sandbox.evaluate(B, [Script("1")], {}))[0].value == 1


class Held:
    """A value of a caller, such as those of an execution."""


async def test_who_waited_too_long_leaves_nothing_to_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch, sandbox: JailedSandbox
) -> None:
    monkeypatch.setattr("flowrunner.sandbox.pool._QUEUE_SECONDS", 0.3)
    loops = [asyncio.create_task(sandbox.evaluate(A, [Script(LOOP)], {})) for _ in range(2)]
    await asyncio.sleep(0.1)

    async def caller() -> weakref.ref[Held]:
        held = Held()
        try:
            await sandbox.evaluate(B, [Script("1")], {})
        except Unavailable:
            return weakref.ref(held)
        raise AssertionError("it did not wait long enough")

    gc.disable()
    try:
        held = await caller()
        # The event loop itself holds the error until the task waits again.
        await asyncio.sleep(0)
        assert held() is None
    finally:
        gc.enable()
    await asyncio.gather(*loops)


async def test_a_cancelled_evaluation_frees_its_place(sandbox: JailedSandbox) -> None:
    for _ in range(3):
        loops = [asyncio.create_task(sandbox.evaluate(A, [Script(LOOP)], {})) for _ in range(4)]
        await asyncio.sleep(0.05)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    assert (await sandbox.evaluate(A, [Script("1")], {}))[0].value == 1
    assert A not in sandbox._slow, "no loop ran until its limit"


async def quickened(sandbox: JailedSandbox) -> None:
    """Known to be quick, so that what waits of it is sent together."""
    await asyncio.gather(*(sandbox.evaluate(A, [Script(f"{n}")], {}) for n in range(40)))


@pytest.fixture
async def alone() -> AsyncIterator[JailedSandbox]:
    """With one worker, which gets all that waits."""
    sandbox = JailedSandbox(workers=1)
    await quickened(sandbox)
    yield sandbox
    await sandbox.close()


async def test_quick_requests_of_one_workspace_are_sent_together(
    alone: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    send = Worker.send

    def noted(self: Worker, messages: Sequence[bytes], count: int) -> None:
        sent.append(len(messages))
        send(self, messages, count)

    monkeypatch.setattr(Worker, "send", noted)

    found = await asyncio.gather(*(outcome(alone, f"{n}") for n in range(20)))

    assert [one.value for one in found] == list(range(20))
    assert max(sent) > 1
    assert sum(sent) == 20


@pytest.mark.parametrize("place", [0, 2, 7])
@pytest.mark.parametrize("source", [LOOP, "'x'.repeat(2 ** 29).split('')"])
async def test_a_script_over_its_limit_takes_none_with_it_that_was_sent_together(
    alone: JailedSandbox, place: int, source: str
) -> None:
    sources = [f"{n}" for n in range(8)]
    sources[place] = source
    order: list[int] = []

    async def run(number: int) -> ScriptOutcome:
        found = await outcome(alone, sources[number])
        order.append(number)
        return found

    found = await asyncio.gather(*(run(number) for number in range(8)))

    assert order == list(range(8))
    fault = found.pop(place).error
    assert fault is not None
    assert fault.limit in ("time", "memory")
    assert [one.value for one in found] == [n for n in range(8) if n != place]


@pytest.mark.parametrize("place", [0, 2])
async def test_who_waits_no_longer_takes_none_with_it_that_was_sent_together(alone: JailedSandbox, place: int) -> None:
    sources = [f"{n}" for n in range(8)]
    sources[place] = LOOP
    running = [asyncio.create_task(outcome(alone, source)) for source in sources]
    await asyncio.sleep(0.1)

    left = running.pop(place)
    left.cancel()
    found = await asyncio.gather(*running)

    assert left.cancelled()
    assert [one.value for one in found] == [n for n in range(8) if n != place]
    assert A not in alone._slow, "it was ended and not waited for"


async def test_what_was_sent_to_a_worker_that_is_killed_is_evaluated_by_another(alone: JailedSandbox) -> None:
    busy = "(() => { const t = Date.now(); while (Date.now() < t + 30) ; return %d })()"
    running = [asyncio.create_task(outcome(alone, busy % n)) for n in range(8)]
    await asyncio.sleep(0.02)

    (fork_server,) = fork_servers()
    for pid in filter(is_busy, children(fork_server)):
        os.kill(pid, signal.SIGKILL)

    assert [one.value for one in await asyncio.gather(*running)] == list(range(8))


async def test_a_repeated_script_has_the_time_that_was_left(
    alone: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []
    answers = JailedSandbox._answers

    async def noted(self: JailedSandbox, worker: Worker, request: Any) -> Any:
        allowed.append(request.seconds_left)
        return await answers(self, worker, request)

    monkeypatch.setattr(JailedSandbox, "_answers", noted)
    running = asyncio.create_task(outcome(alone, LOOP))
    await asyncio.sleep(0.3)
    (fork_server,) = fork_servers()
    for pid in filter(is_busy, children(fork_server)):
        os.kill(pid, signal.SIGKILL)
    fault = (await running).error

    assert fault is not None
    assert fault.limit == "time"
    first, second = allowed
    assert second < first - 0.25


async def test_scripts_are_not_to_blame_while_every_process_ends(
    alone: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = fork_server.ForkServer.worker

    async def ended(self: fork_server.ForkServer) -> Worker:
        # As where the system lets no more processes start.
        worker = await start(self)
        worker.retire()
        return worker

    async def check_often() -> None:
        # The worker that has started before works.
        for _ in range(3):
            assert await alone.check([Script("1")]) == [None]

    monkeypatch.setattr(fork_server.ForkServer, "worker", ended)
    with pytest.raises(Unavailable, match="ended unexpectedly"):
        await check_often()
    with pytest.raises(Unavailable, match="ended unexpectedly"):
        await alone.evaluate(B, [Script("1")], {})

    monkeypatch.setattr(fork_server.ForkServer, "worker", start)
    assert await alone.check([Script("1")]) == [None]
    assert (await outcome(alone, "1 + 1")).value == 2


async def test_a_script_whose_worker_is_killed_each_time_fails_at_the_second(
    alone: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    answers = JailedSandbox._answers

    async def lost(self: JailedSandbox, worker: Worker, request: Any) -> Any:
        nonlocal asked
        if request.kind == CHECK:
            # Whether processes end without a reason of its own.
            return await answers(self, worker, request)
        asked += 1
        worker.retire()
        return []

    monkeypatch.setattr(JailedSandbox, "_answers", lost)
    async with asyncio.timeout(30):
        fault = (await outcome(alone, "1")).error

    assert fault is not None
    assert asked == 2
    # Those after it have workers that answer.
    monkeypatch.setattr(JailedSandbox, "_answers", answers)
    assert (await outcome(alone, "1")).value == 1


# Computes until it has seen so many different milliseconds, so that a pause brings it no nearer to its end.
COMPUTING: Final = """(() => {
  let seen = 0, last = 0
  while (seen < 300) {
    const now = Date.now()
    if (now !== last) { seen++; last = now }
  }
  return 'computed'
})()"""
# More than a script may take in all, which is more than the third of it that a busy machine may take to compute.
PAUSED_SECONDS: Final = 4.5
_WHOLE_SECONDS: Final = 3.5


# Says when it evaluates, and what became of it.
PAUSED_PROGRAM: Final = f"""
import asyncio, sys
from flowrunner.domain.expression.script import Script
from flowrunner.sandbox import pool

pool._WALL_SECONDS = {_WHOLE_SECONDS}

async def main():
    sandbox = pool.JailedSandbox(workers=1)
    await sandbox.evaluate("a", [Script("1")], {{}})
    running = asyncio.create_task(sandbox.evaluate("a", [Script(source) for source in sys.argv[1:]], {{}}))
    await asyncio.sleep(0)
    print("evaluating", flush=True)
    for found in await running:
        print(found.error or found.value, flush=True)
    await sandbox.close()

asyncio.run(main())
"""


# One long script, several, and one that goes on when a promise is settled: each begins before the pause.
@pytest.mark.parametrize("scripts", [[COMPUTING], [COMPUTING, "2"], [f"Promise.resolve({COMPUTING}).then(x => x)"]])
def test_a_pause_of_all_processes_makes_no_script_fail(scripts: list[str]) -> None:
    """As a machine that is suspended, or a debugger, stops them."""
    program = subprocess.Popen(
        [sys.executable, "-c", PAUSED_PROGRAM, *scripts], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert program.stdout is not None
    try:
        while program.stdout.readline() != "evaluating\n":
            assert program.poll() is None
        time.sleep(0.05)
        stopped = [program.pid, *descendants(program.pid)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(PAUSED_SECONDS)
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)

        assert program.stdout.read().splitlines() == ["computed", "2"][: len(scripts)]
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


async def test_a_worker_that_is_stopped_while_the_server_goes_on_is_given_up(alone: JailedSandbox) -> None:
    running = asyncio.create_task(outcome(alone, LOOP))
    await asyncio.sleep(0.05)
    (fork_server,) = fork_servers()
    for pid in filter(is_busy, children(fork_server)):
        os.kill(pid, signal.SIGSTOP)

    fault = (await running).error

    assert fault is not None
    assert fault.limit == "time"
    assert (await outcome(alone, "1")).value == 1


async def test_what_a_worker_may_answer_is_counted_anew_for_what_it_is_sent_next(
    sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Worker] = []
    send = Worker.send

    def noted(self: Worker, *sent: Any) -> None:
        used.append(self)
        send(self, *sent)

    monkeypatch.setattr(Worker, "send", noted)
    monkeypatch.setattr(fork_server, "_MAX_ANSWER", 10_000)

    for _ in range(5):
        assert (await outcome(sandbox, "'x'.repeat(4000)")).value == "x" * 4000

    assert len(used) == 5
    assert len(set(used)) == 1


async def test_a_worker_that_has_checked_a_document_sees_no_other(
    sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Worker] = []
    send = Worker.send

    def noted(self: Worker, *sent: Any) -> None:
        used.append(self)
        send(self, *sent)

    monkeypatch.setattr(Worker, "send", noted)

    for _ in range(3):
        await sandbox.check([Script("a.b")])
        await sandbox.evaluate(A, [Script("1")], {})

    checking, evaluating = used[::2], used[1::2]
    assert len(set(checking)) == 3
    assert len(set(evaluating)) == 1
    assert not set(checking) & set(evaluating)
    assert all(worker.is_lost for worker in checking)


async def test_checking_finds_what_is_no_javascript_and_runs_nothing(sandbox: JailedSandbox) -> None:
    scripts = [
        Script("a.b + missing()"),
        Script("1 +"),
        Script("return 1"),
        Script("return 1", is_body=True),
        Script("let a = 1\nlet a = 2", is_body=True),
        Script("1) + (2"),
        Script("1), (() => { for (;;); })(), (1"),
        Script("1 }), (() => { for (;;); })(), (function () {", is_body=True),
        Script("await x"),
        Script("(() => { for (;;); })()"),
        Script("for (;;);", is_body=True),
        Script("\n\n  b c"),
        Script("...x"),
        Script("a,"),
        Script("/* open"),
    ]

    faults = await sandbox.check(scripts)

    assert [fault is None for fault in faults] == [
        True, False, False, True, False, False, False, False, True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert faults[11] is not None
    assert (faults[11].line, faults[11].column) == (3, 5)
    assert faults[4] is not None
    assert faults[4].line == 2


class Unreadable(dict[str, JSON]):
    """A value that cannot be written for any reason but its form."""

    def items(self) -> Any:
        raise MemoryError


async def test_a_worker_whose_scripts_could_not_be_sent_is_ended(alone: JailedSandbox) -> None:
    await outcome(alone, "1")
    (fork_server,) = fork_servers()
    (worker,) = alone._idle

    with pytest.raises(MemoryError):
        await outcome(alone, "1", {"input": Unreadable(a=1, b=2)})

    assert worker.is_lost
    assert (await outcome(alone, "1 + 1")).value == 2
    assert fork_servers() == {fork_server}


async def test_no_scripts_take_no_process(sandbox: JailedSandbox) -> None:
    assert await sandbox.evaluate(A, [], {}) == []
    assert await sandbox.check([]) == []
    assert fork_servers() == set()


async def test_nothing_is_left_after_closing() -> None:
    sandbox = JailedSandbox(workers=3)
    await sandbox.evaluate(A, [Script("1")], {})
    loop = asyncio.create_task(sandbox.evaluate(B, [Script(LOOP)], {}))
    await asyncio.sleep(0.2)
    assert fork_servers()

    await sandbox.close()

    with pytest.raises(Unavailable):
        await loop
    with pytest.raises(Unavailable):
        await sandbox.evaluate(A, [Script("1")], {})
    assert sandboxed() == set()
    await sandbox.close()


async def test_one_worker_serves_all_workspaces_round_robin() -> None:
    sandbox = JailedSandbox(workers=1)
    try:
        found = await asyncio.gather(
            *(sandbox.evaluate(WorkspaceId(f"{n % 5}"), [Script(f"{n}")], {}) for n in range(50))
        )
    finally:
        await sandbox.close()

    assert [one.value for (one,) in found] == list(range(50))


async def test_a_worker_is_replaced_after_its_number_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_REQUESTS_OF_A_WORKER", 3)
    sandbox = JailedSandbox(workers=1)
    kept = []
    try:
        for _ in range(7):
            assert (await outcome(sandbox, "1 + 1")).value == 2
            kept.append([*sandbox._idle])
    finally:
        await sandbox.close()

    (first, *_), (second, *_), nobody, (third, *_), (fourth, *_), nobody_again, _ = kept
    assert (first is second, third is fourth, first is third) == (True, True, False)
    assert (nobody, nobody_again) == ([], [])


async def test_the_workers_of_the_workspaces_that_were_last_active_are_kept() -> None:
    sandbox = JailedSandbox(workers=2)
    try:
        for name in ("a", "b", "c", "d"):
            await sandbox.evaluate(WorkspaceId(name), [Script("1")], {})
        kept = [worker.workspace_id for worker in sandbox._idle]
    finally:
        await sandbox.close()

    assert kept == ["c", "d"]


async def test_a_fork_server_that_is_killed_is_replaced(sandbox: JailedSandbox) -> None:
    killed: set[int] = set()
    for _ in range(3):
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The one before may take a moment to end.
            while len(found := fork_servers() - killed) != 1:
                assert (await outcome(sandbox, "1")).value == 1
                await asyncio.sleep(0.01)
        (fork_server,) = found
        os.kill(fork_server, signal.SIGKILL)
        killed.add(fork_server)
        # Also at once, before anybody has noticed.
        assert (await outcome(sandbox, "2")).value == 2


async def test_it_says_so_if_it_cannot_start(monkeypatch: pytest.MonkeyPatch, sandbox: JailedSandbox) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")

    with pytest.raises(Unavailable):
        await outcome(sandbox, "1")

    monkeypatch.undo()
    assert (await outcome(sandbox, "1")).value == 1


def test_it_works_on_uvloop_too() -> None:
    async def main() -> list[JSON]:
        sandbox = JailedSandbox()
        try:
            loop, one, two = await asyncio.gather(
                sandbox.evaluate(A, [Script(LOOP)], {}),
                sandbox.evaluate(B, [Script("1")], {}),
                sandbox.evaluate(B, [Script("input.length")], {"input": "x" * 1_000_000}),
            )
            assert loop[0].error is not None
            return [one[0].value, two[0].value]
        finally:
            await sandbox.close()

    assert uvloop.run(main()) == [1, 1_000_000]
    assert sandboxed() == set()


def test_the_server_does_not_load_the_engine() -> None:
    assert "_quickjs" not in sys.modules
    assert "quickjs" not in sys.modules


async def test_what_was_checked_before_changes_nothing_for_what_is_checked_after(sandbox: JailedSandbox) -> None:
    sources = ["1); let x = 1; (2", "(() => { let x = 1; return x })()", "1 +", "1); function x() {} (2", "x => x"]

    together = await sandbox.check([Script(source) for source in sources])
    alone = [(await sandbox.check([Script(source)]))[0] for source in sources]

    assert together == alone
    assert [fault is None for fault in together] == [False, True, False, False, True]


# None for a socket; two sockets and no pipe or null device; a socket pair and no more.
@pytest.mark.parametrize("left", [0, 1, 3, 4])
async def test_a_sandbox_that_cannot_start_for_lack_of_files_is_unavailable_until_there_are_some(
    sandbox: JailedSandbox, left: int
) -> None:
    with without_files(left=left), pytest.raises(Unavailable, match="no process can be started"):
        await outcome(sandbox, "1 + 1")

    assert (await outcome(sandbox, "1 + 1")).value == 2


async def test_a_lack_of_files_ends_no_script_that_runs(sandbox: JailedSandbox) -> None:
    assert (await outcome(sandbox, "1")).value == 1
    before = fork_servers()
    running = asyncio.create_task(
        outcome(
            sandbox, "let n = 0; for (const end = Date.now() + 500; Date.now() < end;) n++; return n > 0", is_body=True
        )
    )
    await asyncio.sleep(0.1)

    with without_files(left=0):
        found = await asyncio.gather(
            *(sandbox.evaluate(WorkspaceId(f"other-{n}"), [Script("1", False)], {}) for n in range(8)),
            return_exceptions=True,
        )

    assert any(isinstance(each, Unavailable) for each in found)
    assert (await running).value is True
    assert fork_servers() == before
