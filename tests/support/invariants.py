"""What must be true of a database however its server ended.

Nothing here uses the program: the checks read the file with SQL alone, so that a fault of the
program cannot hide itself. Each gives its violations as sentences; none means that all is well.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from flowrunner.ports.event_codec import in_full, type_of
from support.databases import Place, reading, rows_of

TERMINAL: Final = {
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
}
FINAL_STATUSES: Final = frozenset(TERMINAL.values())
_STEP_EVENTS: Final = ("node.started", "node.completed", "node.failed", "node.waiting", "scopes.opened")
_HANDLERS: Final = ("on_failure", "on_finish")
_TOKENS_PER_EPOCH: Final = 10**11
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What the fields of events that are not stored mean to these checks.
_DEFAULTS: Final[dict[str, Any]] = {
    "scope": "", "interrupted": False, "retry_at": None, "deadline": None, "not_before": None, "ignore_failures": False,
    "parent": None,
}  # fmt: skip


def check_database(place: Place, *, all_ended: bool = True) -> list[str]:
    """Violations of the journal's promises in a database; its server must have stopped.

    Args:
        all_ended: Whether every execution must have reached a final state.
    """
    with reading(place):
        return _violations(place, all_ended)


def _violations(place: Place, all_ended: bool) -> list[str]:
    violations = []
    if isinstance(place, Path):
        integrity = rows_of(place, "PRAGMA integrity_check")[0][0]
        if integrity != "ok":
            violations.append(f"the file is damaged: {integrity}")
    violations += _check_tables(place)
    violations += _check_children(place)
    violations += _check_concurrency(place)
    for execution in _executions(place):
        violations += [f"{execution.id}: {violation}" for violation in _check_execution(execution, all_ended)]
    return violations


def check_accepted(place: Place, ids: Iterable[str], *, all_ended: bool = True) -> list[str]:
    """Executions that were answered with 2xx, and are not there or have not ended."""
    stored = dict(rows_of(place, "SELECT id, status FROM executions"))
    violations = []
    for id in ids:
        if id not in stored:
            violations.append(f"{id}: was accepted and is lost")
        elif all_ended and stored[id] not in FINAL_STATUSES:
            violations.append(f"{id}: was accepted and is still {stored[id]}")
    return violations


def check_effects(place: Place, keys: Iterable[str]) -> list[str]:
    """Violations in what a receiver saw.

    Args:
        keys: The `Idempotency-Key` of every request it got, repeats included.
    """
    seen = Counter(keys)
    attempts: Counter[str] = Counter()
    for id, data in rows_of(place, "SELECT execution_id, data FROM readable_events WHERE type = 'node.started'"):
        event = fields_of(data)
        attempts[f"{id}.{step_of(event)}"] += 1
    violations = []
    for key, count in seen.items():
        if key not in attempts:
            violations.append(f"an effect carries the key {key!r}, which is that of no step")
        elif count > attempts[key]:
            violations.append(f"{key}: {count} effects of {attempts[key]} recorded attempts")
    return violations


def fields_of(data: str) -> dict[str, Any]:
    """All fields of a stored event. Those with a default, which are not stored, have it here."""
    return {**_DEFAULTS, **json.loads(data)}


def step_of(event: dict[str, Any]) -> str:
    """What an event calls the step it is about, as in idempotency keys."""
    name = f"{event['node']}.{event['iteration']}"
    return f"{event['scope']}/{name}" if event["scope"] else name


@dataclass(frozen=True, slots=True)
class _Execution:
    id: str
    status: str
    started_at: int
    completed_at: int | None
    error: str | None
    is_idle: bool
    wake_at: int | None
    waiting_for: str | None
    rerun_of: str | None
    last_seq: int
    events: Sequence[tuple[int, int, str, dict[str, Any]]]


def _executions(place: Place) -> Iterator[_Execution]:
    events: defaultdict[str, list[tuple[int, int, str, dict[str, Any]]]] = defaultdict(list)
    for id, seq, at, type, data in rows_of(
        place, "SELECT execution_id, seq, at, type, data FROM events ORDER BY execution_id, seq"
    ):
        # Not by the view, because SQLite reads no deep values.
        events[id].append((seq, at, type_of(type) or type, fields_of(in_full(type, data))))
    for row in rows_of(
        place,
        "SELECT id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, rerun_of, last_seq"
        " FROM executions ORDER BY id",
    ):
        yield _Execution(*(*row, events[row[0]]))


def _check_tables(place: Place) -> Iterator[str]:
    for (id,) in rows_of(
        place, "SELECT DISTINCT execution_id FROM events WHERE execution_id NOT IN (SELECT id FROM executions)"
    ):
        yield f"{id}: has events and does not exist"
    # Fencing tokens of single executions lie between the epoch of the last claim and the next one.
    query = f"SELECT id, epoch FROM executions WHERE epoch >= (SELECT epoch FROM engine) + {_TOKENS_PER_EPOCH}"
    for id, epoch in rows_of(place, query):
        yield f"{id}: has the epoch {epoch}, which nobody has claimed"
    for key, count in rows_of(
        place,
        "SELECT idempotency_key, count(*) FROM executions WHERE idempotency_key IS NOT NULL"
        " GROUP BY workspace_id, idempotency_key HAVING count(*) > 1",
    ):
        yield f"the request {key!r} made {count} executions"
    for id, size, of_events, has_first in rows_of(place, _said_to(place, _EVENT_BYTES)):
        # A purge takes the events before their execution.
        if size < of_events or (size != of_events and has_first):
            yield f"{id}: has events of {of_events} bytes, and says {size}"
    for id, stored, kept in rows_of(place, _said_to(place, _KEPT_BYTES)):
        if stored != kept:
            yield f"{id}: keeps {kept} bytes, and {stored} are counted"


def _said_to(place: Place, statement: str) -> str:
    """The statement, which is written for PostgreSQL, in the words of the database."""
    if isinstance(place, Path):
        # The function is newer than the oldest SQLite that is supported.
        statement = re.sub(r"octet_length\((.*?)\)", r"length(CAST(\1 AS BLOB))", statement)
        statement = statement.replace("(data::json ->> 'is_queued')::boolean", "(data ->> '$.is_queued')")
    return statement


_EVENT_BYTES: Final = """
SELECT id, size, (SELECT coalesce(sum(octet_length(data)), 0) FROM events WHERE execution_id = id),
       EXISTS (SELECT 1 FROM events WHERE execution_id = id AND seq = 1)
  FROM executions
"""
_KEPT_BYTES: Final = """
SELECT workspace_id, sum(stored),
       (SELECT coalesce(sum(CASE WHEN completed_at IS NULL THEN (size + 4095) / 4096 * 4096 ELSE size END), 0)
            FROM executions WHERE workspace_id = usage.workspace_id)
       + (SELECT coalesce(sum(octet_length(definition)), 0) FROM revisions WHERE workspace_id = usage.workspace_id)
       + (SELECT coalesce(sum(octet_length(name || description || tags)), 0)
            FROM flows WHERE workspace_id = usage.workspace_id)
       + (SELECT coalesce(sum(size), 0) FROM hook_deliveries WHERE workspace_id = usage.workspace_id)
       + (SELECT 512 * count(*) FROM callback_deliveries WHERE workspace_id = usage.workspace_id)
       + (SELECT coalesce(sum(octet_length(sealed)), 0) FROM secrets WHERE workspace_id = usage.workspace_id)
       + (SELECT coalesce(sum(octet_length(value)), 0) FROM config_values WHERE workspace_id = usage.workspace_id)
       + (SELECT coalesce(sum(octet_length(namespace || key || value)), 0)
            FROM store_entries WHERE workspace_id = usage.workspace_id)
  FROM usage GROUP BY workspace_id
"""


def _check_execution(execution: _Execution, all_ended: bool) -> Iterator[str]:
    numbers = [seq for seq, *_ in execution.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its events are numbered {numbers}"
    if execution.last_seq != len(numbers):
        yield f"its summary stands at event {execution.last_seq} of {len(numbers)}"
    types = [type for _, _, type, _ in execution.events]
    if types[:1] != ["execution.started"] or types.count("execution.started") != 1:
        yield f"it starts {types.count('execution.started')} times, first with {types[:1]}"
    yield from _check_end(execution, types, all_ended)
    yield from _check_begin(execution)
    yield from _Course(execution).violations()


def _check_end(execution: _Execution, types: Sequence[str], all_ended: bool) -> Iterator[str]:
    endings = [type for type in types if type in TERMINAL]
    if execution.status in FINAL_STATUSES:
        if len(endings) != 1:
            yield f"is {execution.status} with {len(endings)} final events"
        elif types[-1] != endings[0]:
            yield f"has {types[-1]} after {endings[0]}"
        elif TERMINAL[endings[0]] != execution.status:
            yield f"is {execution.status} and ended with {endings[0]}"
        if execution.events and execution.completed_at != execution.events[-1][1]:
            yield f"ended at {execution.completed_at}, its last event is of {execution.events[-1][1]}"
        if (
            endings == ["execution.failed"]
            and execution.events[-1][3].get("error", {}).get("message") != execution.error
        ):
            yield f"its summary has another error than its last event: {execution.error!r}"
    else:
        if endings:
            yield f"is {execution.status} after {endings}"
        if all_ended:
            yield f"has not ended: it is {execution.status}"
        if execution.is_idle and execution.wake_at is None and execution.waiting_for in (None, "[]"):
            yield "waits for nothing"


def _check_begin(execution: _Execution) -> Iterator[str]:
    """Nothing begins while an execution waits for a concurrency slot."""
    is_queued = bool(execution.events) and bool(execution.events[0][3].get("is_queued"))
    for seq, _, type, _ in execution.events:
        if type == "execution.admitted":
            if not is_queued:
                yield f"event {seq}: is admitted, and did not wait for a slot"
            is_queued = False
        elif type == "node.started" and is_queued:
            yield f"event {seq}: begins before it has a slot"


def _check_children(place: Place) -> Iterator[str]:
    """Executions that others have started, and what those were told of them."""
    steps = {
        (id, step_of(fields_of(data)))
        for id, data in rows_of(place, "SELECT execution_id, data FROM readable_events WHERE type = 'node.started'")
    }
    children: Counter[tuple[str, str, int]] = Counter()
    ends: dict[str, dict[str, Any]] = {}
    parents: dict[str, str | None] = {}
    for id, parent_id, status, first, type, last in rows_of(place, _FIRST_AND_LAST):
        started, ended = json.loads(first), json.loads(in_full(type, last))
        ends[id] = {"status": status} | {name: ended[name] for name in ("result", "error") if name in ended}
        parents[id] = parent_id
        origin = started.get("parent")
        if origin is None:
            if parent_id is not None:
                yield f"{id}: has the parent {parent_id} and knows nothing of it"
            continue
        if parent_id not in (None, origin["execution_id"]):
            yield f"{id}: has the parent {parent_id}, and was started for {origin['execution_id']}"
        if (origin["execution_id"], origin["step"]) not in steps:
            yield f"{id}: was started for {origin['step']} of {origin['execution_id']}, which never ran"
        children[origin["execution_id"], origin["step"], origin["failures"]] += 1
    for (parent, step, failures), count in children.items():
        if count > 1:
            yield f"{parent}: attempt {failures + 1} of {step} has started {count} executions"
    told: Counter[str] = Counter()
    for id, data in rows_of(place, "SELECT execution_id, data FROM events WHERE type = 'signal.received'"):
        event = json.loads(data)
        kind, _, child = event["key"].partition(":")
        if kind != "flow":
            continue
        told[child] += 1
        if parents.get(child) != id:
            yield f"{id}: is told of the end of {child}, which it did not wait for"
        elif any(event["payload"].get(name) != value for name, value in ends[child].items() if name != "error"):
            yield f"{id}: is told that {child} ended with {event['payload']}, and it did with {ends[child]}"
    for child, count in told.items():
        if count > 1:
            yield f"{child}: its end was told {count} times"


_FIRST_AND_LAST: Final = """
SELECT id, parent_id, status, first.data, last.type, last.data
  FROM executions
  JOIN events first ON first.execution_id = id AND first.seq = 1
  JOIN events last ON last.execution_id = id AND last.seq = last_seq
"""


def _check_concurrency(place: Place) -> Iterator[str]:
    """Of executions that share a limit, no more are under way at any moment than it says."""
    moments: list[tuple[str, int, int, str, int]] = []
    # An event has the time at which it was recorded, and is committed later: how much later differs by process.
    has_commit_times = isinstance(place, str) and rows_of(place, "SHOW track_commit_timestamp") == [("on",)]
    for id, key, most, completed_at, began_at in rows_of(
        place, _UNDER_WAY_BY_COMMITS if has_commit_times else _said_to(place, _UNDER_WAY)
    ):
        if began_at is not None:
            # What ends in the same moment ended first.
            moments.append((key, began_at, 1, id, most))
            moments.append((key, completed_at if completed_at is not None else 2**62, 0, id, most))
    under_way: dict[str, set[str]] = {}
    for key, _, begins, id, most in sorted(moments):
        ones = under_way.setdefault(key, set())
        if not begins:
            ones.discard(id)
            continue
        ones.add(id)
        if len(ones) > most:
            yield f"{id}: is one of {len(ones)} under way together, of which there may be {most}: {sorted(ones)}"


_UNDER_WAY: Final = """
SELECT id, concurrency_key, concurrency_limit, completed_at,
       (SELECT min(at) FROM events
         WHERE execution_id = id
           AND (type = 'execution.admitted'
                OR (type IN ('b', 'execution.started') AND NOT coalesce((data::json ->> 'is_queued')::boolean, false))))
  FROM executions WHERE concurrency_key IS NOT NULL
"""
_UNDER_WAY_BY_COMMITS: Final = """
SELECT e.id, concurrency_key, concurrency_limit,
       (SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM events
         WHERE execution_id = e.id AND seq = e.last_seq AND e.completed_at IS NOT NULL),
       (SELECT min(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM events
         WHERE execution_id = e.id
           AND (type = 'execution.admitted'
                OR (type IN ('b', 'execution.started') AND NOT coalesce((data::json ->> 'is_queued')::boolean, false))))
  FROM executions e WHERE concurrency_key IS NOT NULL
"""


def _wait_of(step: str, event: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the key of the signal that a step waits for, and the moment at which its wait ends."""
    wait = event.get("wait_for")
    if wait is None:
        # The form of older databases.
        return event["key"], event["until"]
    names = {"signal": wait.get("key"), "approval": step, "flow": wait.get("execution_id")}
    key = f"{wait['type']}:{names[wait['type']]}" if wait["type"] in names else None
    return key, min(filter(None, (wait.get("moment"), event["deadline"])), default=None)


def _is_handler(scope: str) -> bool:
    return scope.partition("/")[0] in _HANDLERS


@dataclass(slots=True)
class _Opened:
    """The scopes that a step has opened last."""

    event: dict[str, Any]
    begun: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Notified:
    """The runs of the node that an approval notifies, since it began to wait."""

    node: str
    remind_seconds: float | None
    count: int = 0
    began_at: datetime | None = None
    current: str | None = None


class _Course:
    """Goes through the events of one execution, and finds what cannot be."""

    def __init__(self, execution: _Execution) -> None:
        self._execution = execution
        self._attempts: dict[str, int] = {}
        self._visits: dict[tuple[str, str], int] = {}
        self._closed: dict[str, str] = {}
        self._due: dict[str, datetime] = {}
        self._keys: dict[str, str] = {}
        self._signals: Counter[str] = Counter()
        self._opened: dict[str, _Opened] = {}
        self._notified: dict[str, _Notified] = {}
        # The step under way in each scope, and the scopes that have ended.
        self._current: dict[str, str] = {}
        self._over: set[str] = set()
        # What a rerun keeps of another execution comes without the signals it got.
        self._is_kept = execution.rerun_of is not None

    def violations(self) -> Iterator[str]:
        for seq, at, type, event in self._execution.events:
            moment = _EPOCH + timedelta(milliseconds=at)
            match type:
                case "log":
                    self._is_kept = self._is_kept and event["message"] != "Execution started"
                    continue
                case "signal.received":
                    self._signals[event["key"]] += 1
                    continue
                case "scope.ended":
                    found = self._end_scope(event)
                case _ if type in _STEP_EVENTS:
                    found = self._look(type, event, moment)
                case _ if type in TERMINAL:
                    found = (f"the flow has not ended, and {s} is under way" for s in self._handlers_without_an_end())
                case _:
                    continue
            yield from (f"event {seq}: {violation}" for violation in found)

    def _handlers_without_an_end(self) -> list[str]:
        return [scope for scope in self._current if _is_handler(scope) and "" not in self._over]

    def _look(self, type: str, event: dict[str, Any], moment: datetime) -> Iterator[str]:
        step = step_of(event)
        if step in self._closed:
            yield f"{type} of {step}, which has {self._closed[step]}"
        if type == "node.started":
            yield from self._start(step, event, moment)
            return
        if event["attempt"] != self._attempts.get(step):
            yield f"{type} of attempt {event['attempt']} of {step}, which is at {self._attempts.get(step)}"
        if event["scope"] in self._over:
            yield f"{type} of {step}, whose scope has ended"
        match type:
            case "node.completed":
                yield from self._complete(step, event, moment)
                self._close(step, event, "completed")
            case "node.waiting":
                self._keys.pop(step, None)
                key, due = _wait_of(step, event)
                if key is not None:
                    self._keys[step] = key
                if due is not None:
                    self._due[step] = datetime.fromisoformat(due)
                self._expect_notices(step, event)
            case "scopes.opened":
                before = self._opened.get(step)
                if before is not None and before.active:
                    yield f"{step} opens scopes while {sorted(before.active)} of it are under way"
                self._opened[step] = _Opened(event)
            case _ if event["retry_at"] is None:
                yield from self._leave_scopes(step)
                self._close(step, event, "failed for good")
            case _:
                self._due[step] = datetime.fromisoformat(event["retry_at"])

    def _close(self, step: str, event: dict[str, Any], how: str) -> None:
        self._closed[step] = how
        self._current.pop(event["scope"], None)
        self._opened.pop(step, None)
        self._notified.pop(step, None)

    def _start(self, step: str, event: dict[str, Any], moment: datetime) -> Iterator[str]:
        scope, visit = event["scope"], (event["scope"], event["node"])
        yield from self._enter(scope, event["node"], step, moment)
        if self._current.get(scope, step) != step:
            yield f"{step} starts while {self._current[scope]} is under way"
        if event["attempt"] != self._attempts.get(step, 0) + 1:
            yield f"attempt {event['attempt']} of {step} after {self._attempts.get(step, 0)}"
        if step not in self._attempts and event["iteration"] != self._visits.get(visit, 0) + 1:
            yield f"{step} after visit {self._visits.get(visit, 0)}"
        if not event.get("interrupted") and step in self._due and moment < self._due[step]:
            yield f"another attempt of {step} before {self._due[step]}"
        self._attempts[step], self._visits[visit] = event["attempt"], event["iteration"]
        self._current[scope] = step
        self._due.pop(step, None)

    def _enter(self, scope: str, node: str, step: str, moment: datetime) -> Iterator[str]:
        """Whether a step may start in a scope; the first begins it."""
        if scope in self._over:
            yield f"{step} starts, and its scope has ended"
        if scope in _HANDLERS and "" not in self._over:
            yield f"{step} starts before the flow has ended"
        owner, bracket, key = scope.rpartition("[")
        key = key.removesuffix("]")
        if not bracket:
            return
        notified = self._notified.get(owner)
        if notified is not None:
            yield from self._enter_notice(notified, scope, key, node, moment)
            return
        opened = self._opened.get(owner)
        if opened is None or key not in opened.event["keys"]:
            yield f"{step} starts in a scope that nothing has opened"
        elif key not in opened.begun:
            if len(opened.active) >= opened.event["concurrency"]:
                yield f"{scope} begins while {len(opened.active)} beside it are under way"
            not_before = opened.event["not_before"]
            if not_before is not None and moment < datetime.fromisoformat(not_before):
                yield f"{scope} begins before {not_before}"
            opened.begun.add(key)
            opened.active.add(key)

    def _expect_notices(self, step: str, event: dict[str, Any]) -> None:
        wait = event.get("wait_for") or {}
        if wait.get("notify") is not None:
            self._notified[step] = _Notified(wait["notify"], wait.get("remind_seconds"))

    def _enter_notice(self, notified: _Notified, scope: str, key: str, node: str, moment: datetime) -> Iterator[str]:
        if scope == notified.current:
            return
        if key != f"notify.{notified.count + 1}":
            yield f"{scope} begins after {notified.count} notices"
        if node != notified.node:
            yield f"{scope} begins with {node}, and {notified.node} is to be run"
        if notified.current is not None:
            yield f"{scope} begins while {notified.current} is under way"
        if notified.began_at is not None:
            seconds = notified.remind_seconds
            if seconds is None or moment < notified.began_at + timedelta(seconds=seconds):
                yield f"{scope} reminds too early"
        notified.count, notified.began_at, notified.current = notified.count + 1, moment, scope

    def _end_scope(self, event: dict[str, Any]) -> Iterator[str]:
        scope = event["scope"]
        if scope in self._over:
            yield f"{scope or 'the flow'} ends a second time"
        if event["outcome"] == "completed" and scope in self._current:
            yield f"{scope or 'the flow'} has completed while {self._current[scope]} of it is under way"
        self._over.add(scope)
        for other in [s for s in self._current if s == scope or s.startswith(f"{scope}/") or not scope]:
            if scope or not _is_handler(other):
                self._over.add(other)
                del self._current[other]
        owner, bracket, key = scope.rpartition("[")
        key = key.removesuffix("]")
        opened = self._opened.get(owner)
        if not bracket:
            return
        notified = self._notified.get(owner)
        if notified is not None and scope == notified.current:
            notified.current = None
            return
        if opened is None or key not in opened.active:
            yield f"{scope} ends, and has not begun"
            return
        opened.active.discard(key)
        if event["outcome"] == "completed":
            opened.completed.add(key)

    def _complete(self, step: str, event: dict[str, Any], moment: datetime) -> Iterator[str]:
        due, key = self._due.get(step), self._keys.get(step)
        is_early = due is None or moment < due
        if key is None and due is not None and moment < due:
            yield f"{step} waited until {moment} and not until {due}"
        if key is not None and is_early:
            self._signals[key] -= 1
            if self._signals[key] < 0 and not self._is_kept:
                yield f"{step} went on without the signal it waited for"
        opened = self._opened.get(step)
        if opened is None:
            yield from self._leave_scopes(step)
            return
        keys, needed = opened.event["keys"], opened.event["needed"]
        ended = len(opened.begun) - len(opened.active)
        if len(opened.completed) < needed and not (opened.event["ignore_failures"] and ended == len(keys)):
            yield f"{step} completes with {len(opened.completed)} of its scopes; it needs {needed} of {len(keys)}"
        yield from self._leave_scopes(step)

    def _leave_scopes(self, step: str) -> Iterator[str]:
        opened = self._opened.get(step)
        if opened is not None and opened.active:
            yield f"{step} ends while {sorted(opened.active)} of it are under way"
        notified = self._notified.get(step)
        if notified is not None and notified.current is not None:
            yield f"{step} ends while {notified.current} is under way"
