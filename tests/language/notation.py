"""Notation of events in cases, and comparison with expectations."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from flowrunner.domain.events import (
    HANDLERS,
    ROOT,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Step,
)
from flowrunner.domain.waits import TimeWait, parse_signal_key

# Matches any text within a text, and alone any value.
ANYTHING: Final = "…"
_FIRST_VISIT: Final = re.compile(r"\.1(?=$|[/\[])")


def line_of(event: Event) -> str | None:
    """Return an event in the notation of cases; None for log lines, which cases list separately."""
    match event:
        case Logged():
            return None
        case NodeStarted(attempt=attempt, interrupted=interrupted):
            number = f" attempt {attempt}" if attempt > 1 else ""
            return f"{event.type} {_step(event)}{number}{' after a crash' if interrupted else ''}"
        case NodeCompleted(action=action, skipped=skipped):
            what = " skipped" if skipped else "" if action == "default" else f" -> {action}"
            return f"{event.type} {_step(event)}{what}"
        case NodeFailed(error=error, retry_at=retry_at):
            return f"{event.type} {_step(event)} {error.type}{'' if retry_at is None else ', again'}"
        case NodeWaiting(wait_for=wait):
            kind = "" if isinstance(wait, TimeWait) else f" for {wait.type}"
            return f"{event.type} {_step(event)}{kind}"
        case ScopesOpened(keys=keys):
            return f"{event.type} {_step(event)} {' '.join(keys)}".rstrip()
        case ScopeEnded(scope=scope, outcome=outcome):
            return f"{event.type} {scope or 'the flow'} {outcome}"
        case SignalReceived(key=key):
            kind, name = parse_signal_key(key)
            return f"{event.type} {name if kind == 'signal' else kind}"
        case Failed(error=error):
            return f"{event.type} {error.type}"
        case _:
            return event.type


def lines_of(events: Iterable[Event]) -> list[str]:
    return [line for event in events if (line := line_of(event)) is not None]


def path_of(events: Iterable[Event]) -> list[str]:
    """Return the top-level nodes and the handlers in the order of their visits."""
    return [e.node for e in events if isinstance(e, NodeStarted) and e.attempt == 1 and e.scope in (ROOT, *HANDLERS)]


def steps_of(events: Iterable[Event]) -> list[str]:
    """Return every started step: `each[0]/push`; the second visit of a node is `push.2`."""
    started = [e for e in events if isinstance(e, NodeStarted) and e.attempt == 1]
    return [_FIRST_VISIT.sub("", str(Step(e.node, e.iteration, e.scope))) for e in started]


def _step(event: NodeStarted | NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened) -> str:
    return str(Step(event.node, event.iteration, event.scope))


def fits(expected: Any, actual: Any, *, partly: bool = False) -> bool:
    """Return whether a value matches the expectation.

    Args:
        partly: Maps may have more keys than are named.
    """
    match expected:
        case _ if expected == ANYTHING:
            return True
        case str() if ANYTHING in expected:
            pattern = ".*".join(map(re.escape, expected.split(ANYTHING)))
            return isinstance(actual, str) and re.fullmatch(pattern, actual, re.DOTALL) is not None
        case Mapping():
            if not isinstance(actual, Mapping) or not (partly or expected.keys() == actual.keys()):
                return False
            return all(key in actual and fits(value, actual[key], partly=partly) for key, value in expected.items())
        case str():
            return bool(expected == actual)
        case Sequence():
            if not isinstance(actual, Sequence) or isinstance(actual, str) or len(expected) != len(actual):
                return False
            return all(fits(e, a, partly=partly) for e, a in zip(expected, actual, strict=True))
        case bool() | None:
            return expected is actual
        case _:
            return not isinstance(actual, bool) and bool(expected == actual)


def in_order(expected: Sequence[str], actual: Sequence[str]) -> bool:
    """Return whether the lines are among the actual ones, in this order."""
    rest = iter(actual)
    return all(any(fits(line, other) for other in rest) for line in expected)


def by_scope(lines: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the lines of each scope, in their order."""
    found: dict[str, list[str]] = {}
    for line in lines:
        scope = next((word.rpartition("/")[0] for word in line.split() if "/" in word), ROOT)
        if line.startswith("scope.ended ") and (word := line.split()[1]) != "the":
            scope = word
        found.setdefault(scope, []).append(line)
    return found
