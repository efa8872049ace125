"""What must be true of a database however its server ended.

Nothing here uses the program: the checks read the file with SQL alone, so that a fault of the
program cannot hide itself. Each gives its violations as sentences; none means that all is well.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from support.databases import Place, rows_of

TERMINAL: Final = {
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
}
FINAL_STATUSES: Final = frozenset(TERMINAL.values())
_STEP_EVENTS: Final = ("node.started", "node.completed", "node.failed", "node.waiting")
_LEAST_MARK: Final = 2**61
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def check_database(place: Place, *, all_ended: bool = True) -> list[str]:
    """Violations of the journal's promises in a database; its server must have stopped.

    Args:
        all_ended: Whether every execution must have reached a final state.
    """
    violations = []
    if isinstance(place, Path):
        integrity = rows_of(place, "PRAGMA integrity_check")[0][0]
        if integrity != "ok":
            violations.append(f"the file is damaged: {integrity}")
    violations += _check_tables(place)
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
    tries: Counter[str] = Counter()
    for id, data in rows_of(place, "SELECT execution_id, data FROM events WHERE type = 'node.started'"):
        event = json.loads(data)
        tries[f"{id}.{event['node']}.{event['iteration']}"] += 1
    violations = []
    for key, count in seen.items():
        if key not in tries:
            violations.append(f"an effect carries the key {key!r}, which is that of no step")
        elif count > tries[key]:
            violations.append(f"{key}: {count} effects of {tries[key]} recorded tries")
    return violations


@dataclass(frozen=True, slots=True)
class _Execution:
    id: str
    status: str
    started_at: int
    completed_at: int | None
    error: str | None
    wake_at: int | None
    last_seq: int
    events: Sequence[tuple[int, int, str, dict[str, Any]]]


def _executions(place: Place) -> Iterator[_Execution]:
    events: defaultdict[str, list[tuple[int, int, str, dict[str, Any]]]] = defaultdict(list)
    for id, seq, at, type, data in rows_of(
        place, "SELECT execution_id, seq, at, type, data FROM events ORDER BY execution_id, seq"
    ):
        events[id].append((seq, at, type, json.loads(data)))
    for row in rows_of(
        place, "SELECT id, status, started_at, completed_at, error, wake_at, last_seq FROM executions ORDER BY id"
    ):
        yield _Execution(*row, events=events[row[0]])


def _check_tables(place: Place) -> Iterator[str]:
    for (id,) in rows_of(
        place, "SELECT DISTINCT execution_id FROM events WHERE execution_id NOT IN (SELECT id FROM executions)"
    ):
        yield f"{id}: has events and does not exist"
    # Marks of single executions, which are drawn and not counted, lie beyond all epochs.
    query = f"SELECT id, epoch FROM executions WHERE epoch > (SELECT epoch FROM engine) AND epoch < {_LEAST_MARK}"
    for id, epoch in rows_of(place, query):
        yield f"{id}: has the epoch {epoch}, which nobody has claimed"
    for key, count in rows_of(
        place,
        "SELECT idempotency_key, count(*) FROM executions WHERE idempotency_key IS NOT NULL"
        " GROUP BY account_id, idempotency_key HAVING count(*) > 1",
    ):
        yield f"the request {key!r} made {count} executions"
    for id, size, of_events, has_first in rows_of(place, _counting_bytes(_EVENT_BYTES, place)):
        # A purge takes the events before their execution.
        if size < of_events or (size != of_events and has_first):
            yield f"{id}: has events of {of_events} bytes, and says {size}"
    for id, stored, kept in rows_of(place, _counting_bytes(_KEPT_BYTES, place)):
        if stored != kept:
            yield f"{id}: keeps {kept} bytes, and {stored} are counted"


def _counting_bytes(statement: str, place: Place) -> str:
    """The statement in the words of the database."""
    if isinstance(place, Path):
        # The function is newer than the oldest SQLite that is supported.
        return re.sub(r"octet_length\((.*?)\)", r"length(CAST(\1 AS BLOB))", statement)
    return statement


_EVENT_BYTES: Final = """
SELECT id, size, (SELECT coalesce(sum(octet_length(data)), 0) FROM events WHERE execution_id = id),
       EXISTS (SELECT 1 FROM events WHERE execution_id = id AND seq = 1)
  FROM executions
"""
_KEPT_BYTES: Final = """
SELECT account_id, stored,
       (SELECT coalesce(sum(size), 0) FROM executions WHERE account_id = usage.account_id)
       + (SELECT coalesce(sum(octet_length(definition)), 0) FROM revisions WHERE account_id = usage.account_id)
       + (SELECT coalesce(sum(octet_length(name || description || tags)), 0)
            FROM flows WHERE account_id = usage.account_id)
       + (SELECT coalesce(sum(octet_length(sealed)), 0) FROM secrets WHERE account_id = usage.account_id)
  FROM usage
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
    yield from _check_steps(execution)


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
        if execution.status == "waiting" and execution.wake_at is None:
            yield "waits for nothing"


def _check_steps(execution: _Execution) -> Iterator[str]:
    tries: dict[tuple[str, int], int] = {}
    iterations: dict[str, int] = {}
    closed: dict[tuple[str, int], str] = {}
    due: dict[tuple[str, int], datetime] = {}
    cancelled_or_ended = False
    for seq, at, type, event in execution.events:
        if type in TERMINAL:
            cancelled_or_ended = True
        if type not in _STEP_EVENTS:
            continue
        step = (event["node"], event["iteration"])
        name = f"{step[0]}.{step[1]}"
        moment = _EPOCH + timedelta(milliseconds=at)
        if cancelled_or_ended:
            yield f"{type} of {name} after its end"
        if step in closed:
            yield f"event {seq}: {type} of {name}, which has {closed[step]}"
        if type == "node.started":
            if event["attempt"] != tries.get(step, 0) + 1:
                yield f"event {seq}: try {event['attempt']} of {name} after {tries.get(step, 0)}"
            if step not in tries and step[1] != iterations.get(step[0], 0) + 1:
                yield f"event {seq}: {name} after iteration {iterations.get(step[0], 0)}"
            if not event.get("interrupted") and step in due and moment < due[step]:
                yield f"event {seq}: another try of {name} before {due[step]}"
            tries[step] = event["attempt"]
            iterations[step[0]] = step[1]
            due.pop(step, None)
            continue
        if event["attempt"] != tries.get(step):
            yield f"event {seq}: {type} of try {event['attempt']} of {name}, which is at {tries.get(step)}"
        if type == "node.completed":
            if step in due and moment < due[step]:
                yield f"event {seq}: {name} waited until {moment} and not until {due[step]}"
            closed[step] = "completed"
        elif type == "node.waiting":
            due[step] = datetime.fromisoformat(event["until"])
        elif event.get("retry_at") is None:
            closed[step] = "failed for good"
        else:
            due[step] = datetime.fromisoformat(event["retry_at"])
