"""Comparison of an execution with the expectations of its test."""

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, cast

from flowrunner.domain.counted import counted
from flowrunner.domain.events import Cancelled, Completed, ErrorValue, Event, Failed, Logged
from flowrunner.domain.flow import Flow
from flowrunner.domain.retry import matches_error
from flowrunner.domain.values import JSON
from flowrunner.flowtest.paths import trace
from flowrunner.language.flow_tests import ANY, Expectation, ExpectedLog, dotted_path

# Lines. Comparing more of them takes seconds.
_MOST_COMPARED: Final = 2000


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Difference from the expectation, described by ``lines``."""

    what: str
    expected: JSON
    actual: JSON
    lines: tuple[str, ...]


def status_of(events: Sequence[Event]) -> str:
    match events[-1] if events else None:
        case Completed():
            return "completed"
        case Failed():
            return "failed"
        case Cancelled():
            return "cancelled"
        case _:
            return "waiting"


def mismatches(
    flow: Flow, events: Sequence[Event], expect: Expectation, waits: Sequence[JSON] = ()
) -> Sequence[Mismatch]:
    """Return the differences from the expectation.

    Args:
        waits: Waits of an execution that has not ended, as `domain.explain` writes them.
    """
    return list(_mismatches(flow, events, expect, waits))


def _mismatches(flow: Flow, events: Sequence[Event], expect: Expectation, waits: Sequence[JSON]) -> Iterator[Mismatch]:
    last, status = events[-1], status_of(events)
    if status != expect.status:
        error = last.error if isinstance(last, Failed) else None
        reason = f": {_described(error)}" if error is not None else ""
        line = f"expected {expect.status}, but it {_is(status)}{reason}"
        yield Mismatch("status", expect.status, status, (line, *map(_awaited, waits)))
    was = trace(flow, events)
    for what, names, actual in (("path", expect.path, was.path), ("handlers", expect.handlers, was.handlers)):
        if names is not None and names != actual:
            yield Mismatch(what, list(names), list(actual), _difference(names, actual))
    if isinstance(last, Completed):
        if expect.result is not ANY and not same(expect.result, last.result):
            lines = _difference(_pretty(expect.result), _pretty(last.result))
            yield Mismatch("result", cast("JSON", expect.result), last.result, lines)
        if expect.result_contains is not ANY:
            missing = list(_missing(expect.result_contains, last.result, "result"))
            if missing:
                wanted = cast("JSON", expect.result_contains)
                yield Mismatch("result_contains", wanted, last.result, tuple(missing))
    if isinstance(last, Failed) and expect.error is not None:
        yield from _wrong_error(last.error, expect)
    yield from _missing_logs(events, expect.logs)
    for path, count in expect.tries.items():
        actual_count = was.tries.get(path, 0)
        if actual_count != count:
            name = dotted_path(path)
            line = f"expected {counted(count, 'attempt')} of '{name}', got {actual_count}"
            yield Mismatch("tries", {name: count}, {name: actual_count}, (line,))


def _wrong_error(error: ErrorValue, expect: Expectation) -> Iterator[Mismatch]:
    wanted = expect.error
    assert wanted is not None, "called only if an error is expected"
    lines = []
    if wanted.type is not None and not matches_error(wanted.type, error.type):
        lines.append(f"expected the type {wanted.type}, but it is {error.type}: {error.message}")
    if wanted.message is not None and wanted.message not in error.message:
        lines.append(f"expected a message with {wanted.message!r}, but it is {error.message!r}")
    if wanted.node is not None and wanted.node != error.node:
        lines.append(f"expected the error of the node '{wanted.node}', but it is from '{error.node}'")
    if lines:
        wanted_json: JSON = {
            key: value
            for key, value in (("type", wanted.type), ("message", wanted.message), ("node", wanted.node))
            if value is not None
        }
        yield Mismatch("error", wanted_json, error.as_json(), tuple(lines))


def _missing_logs(events: Sequence[Event], wanted: Sequence[ExpectedLog]) -> Iterator[Mismatch]:
    lines = [event for event in events if isinstance(event, Logged)]
    for line in wanted:
        if not any(line.message in said.message and line.level in (None, said.level) for said in lines):
            level = "" if line.level is None else f" of the level {line.level}"
            yield Mismatch(
                "logs",
                {"level": line.level, "message": line.message},
                [f"{said.level}: {said.message}" for said in lines],
                (
                    f"no line{level} contains {line.message!r}; the lines are:",
                    *(f"  {s.level}: {s.message}" for s in lines[:20]),
                ),
            )


def same(one: object, other: object) -> bool:
    """Return whether two values are the same JSON: `1` and `1.0` are, `1` and `true` are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _missing(expected: object, actual: object, at: str) -> Iterator[str]:
    """Yield the parts of ``expected`` that ``actual`` lacks. Maps may have more keys; lists must be as long."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key in actual:
                yield from _missing(value, actual[key], f"{at}.{key}")
            else:
                yield f"{at} has no '{key}'; it has: {', '.join(map(str, actual)) or 'nothing'}"
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from _missing(one, other, f"{at}[{index}]")
    elif not same(expected, actual):
        yield f"{at}: expected {_short(expected)}, but it is {_short(actual)}"


def _difference(expected: Sequence[str], actual: Sequence[str]) -> tuple[str, ...]:
    if len(expected) + len(actual) > _MOST_COMPARED:
        pairs = enumerate(zip_longest(expected, actual, fillvalue=""), 1)
        number, (wanted, got) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        return (
            f"expected {counted(len(expected), 'line')}, got {len(actual)}; the first difference is in line {number}:",
            f"-{wanted}",
            f"+{got}",
        )
    found = difflib.unified_diff(expected, actual, "expected", "actual", n=3, lineterm="")
    return tuple(line for line in found if not line.startswith("@@"))


def _pretty(value: object) -> Sequence[str]:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).splitlines()


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _described(error: ErrorValue) -> str:
    return f"{error.type}: {error.message}" + ("" if error.node is None else f" (at {error.node})")


def _awaited(wait: JSON) -> str:
    match wait:
        case {"type": "signal", "step": step, "key": key}:
            return f"  {step} waits for the signal '{key}'. Give it: signals: {{{key}: {{payload: …}}}}"
        case {"type": "approval", "step": step, "node": node}:
            return f"  {step} waits for an approval. Answer: approvals: {{{node}: {{approved: true}}}}"
        case {"type": "flow", "step": step}:
            return f"  {step} waits for the flow that it has started, which waits indefinitely"
        case {"step": step, "type": kind}:
            return f"  {step} waits ({kind})"
        case _:
            return "  it waits"


def _is(status: str) -> str:
    return {"completed": "completed", "failed": "failed", "cancelled": "was cancelled"}.get(
        status, "waits indefinitely"
    )
