"""Whether the database and the three ledgers agree: of clients, of the receiver, and of subscribers.

As in `support.invariants`, a violation is a sentence; none means that all is well.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chaos.flows import KINDS
from chaos.load import Ledger
from support.client import FINAL, Client
from support.databases import Place, rows_of
from support.invariants import fields_of, step_of

_SENDING: Final = ("webhook", "http.request")
# Of so many executions what the API tells is read again.
_READ_AGAIN: Final = 60


@dataclass(frozen=True, slots=True)
class Told:
    """What the API says once all is over."""

    executions: dict[str, Any]
    logs: dict[str, list[Any]]
    messages: dict[str, list[Any]]


def what_the_api_tells(client: Client) -> Told:
    listed: dict[str, Any] = {}
    while True:
        page = client.get("/api/v1/executions", limit=1000, offset=len(listed)).json
        listed |= {execution["id"]: execution for execution in page["executions"]}
        if not page["executions"]:
            break
    ended = sorted(id for id, execution in listed.items() if execution["status"] in FINAL)
    some = ended[:: max(1, len(ended) // _READ_AGAIN)]
    return Told(
        executions=listed,
        logs={id: client.logs(id) for id in some},
        messages={id: client.messages(id) for id in some},
    )


def check_requests(place: Place, ledger: Ledger) -> list[str]:
    """Violations of what clients were answered."""
    found: list[str] = []
    numbers: dict[int, list[str]] = defaultdict(list)
    for id, data in rows_of(place, "SELECT execution_id, data FROM events WHERE seq = 1"):
        started = json.loads(data)
        if started.get("parent") is None:
            numbers[started["input"]["number"]].append(id)
    for number, ids in numbers.items():
        if len(ids) > 1:
            found.append(f"request {number} made {ids}")
        if number in ledger.accepted and ledger.accepted[number] not in ids:
            found.append(f"request {number} was answered {ledger.accepted[number]} and made {ids}")
        if number not in ledger.accepted and number not in ledger.unanswered:
            found.append(f"{ids} of request {number}: nobody asked for it")
    return found


def check_ends(place: Place, ledger: Ledger) -> list[str]:
    """Executions that clients know of and that did not give what they have to."""
    ends = {
        id: (type, json.loads(data).get("result"))
        for id, type, data in rows_of(
            place, "SELECT id, type, data FROM executions JOIN readable_events ON execution_id = id AND seq = last_seq"
        )
    }
    kinds = list(KINDS.values())
    return [
        f"{id} of request {number} has ended with {ends[id]}"
        for number, id in ledger.accepted.items()
        if id in ends and ends[id] != ("execution.completed", kinds[number % len(kinds)].expected(number))
    ]


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often steps were tried, by idempotency key."""

    begun: Counter[str]
    interrupted: Counter[str]
    # Of steps that send something.
    completed: frozenset[str]


def attempts_of(place: Place) -> Attempts:
    begun, interrupted, completed = Counter[str](), Counter[str](), set[str]()
    for id, type, data in rows_of(
        place, "SELECT execution_id, type, data FROM readable_events WHERE type IN ('node.started', 'node.completed')"
    ):
        event = fields_of(data)
        key = f"{id}.{step_of(event)}"
        if type == "node.started":
            begun[key] += 1
            interrupted[key] += event["interrupted"]
        elif event["node_type"] in _SENDING:
            completed.add(key)
    return Attempts(begun, interrupted, frozenset(completed))


def check_attempts(attempts: Attempts, effects: Counter[str]) -> list[str]:
    """Steps that ran more often than something cut them off, and ones that are said to have sent something."""
    return [
        *(
            f"{key}: {count} attempts, of which {attempts.interrupted[key]} were interrupted"
            for key, count in attempts.begun.items()
            if count > 1 + attempts.interrupted[key]
        ),
        *(
            f"{key}: {effects[key]} effects, {attempts.interrupted[key]} interrupted attempts"
            for key in attempts.completed
            if not 1 <= effects[key] <= 1 + attempts.interrupted[key]
        ),
    ]


def check_children(place: Place) -> list[str]:
    """Steps that have completed and have started another number of executions than one."""
    children: Counter[tuple[str, str]] = Counter()
    for (data,) in rows_of(place, "SELECT data FROM events WHERE seq = 1"):
        if (parent := json.loads(data).get("parent")) is not None:
            children[parent["execution_id"], parent["step"]] += 1
    steps = [
        (id, step_of(event))
        for id, data in rows_of(place, "SELECT execution_id, data FROM readable_events WHERE type = 'node.completed'")
        if (event := fields_of(data))["node_type"] == "flow"
    ]
    return [f"{step} of {id} has started {children[id, step]} executions" for id, step in steps
            if children[id, step] != 1]  # fmt: skip


def check_messages(place: Place, told: Told, ledger: Ledger) -> list[str]:
    """Where REST, WebSockets and subscribers during the faults differ from the database."""
    found: list[str] = []
    stored = dict(rows_of(place, "SELECT id, status FROM executions"))
    if {id: execution["status"] for id, execution in told.executions.items()} != stored:
        found.append("the list of executions is not what is stored")
    events: dict[str, list[tuple[int, str, Any]]] = defaultdict(list)
    for id, seq, type, data in rows_of(
        place, "SELECT execution_id, seq, type, data FROM readable_events ORDER BY execution_id, seq"
    ):
        events[id].append((seq, type, json.loads(data)))
    for id, messages in [*told.messages.items(), *ledger.seen.items()]:
        if not _are_told_by(messages, events[id]):
            found.append(f"{id}: subscribers saw {[(m['seq'], m['type']) for m in messages]}")
    for id, lines in told.logs.items():
        written = [event["message"] for _, type, event in events[id] if type == "log"]
        if [line["message"] for line in lines] != written:
            found.append(f"{id}: the log says {lines}")
    if not ledger.seen:
        found.append("nobody watched")
    # Those that subscribed while it ran and those that read it later saw the same, byte for byte.
    for id, messages in ledger.seen.items():
        if id in told.messages and told.messages[id] != messages:
            found.append(f"{id}: live and replayed messages differ")
    return found


def _are_told_by(messages: Sequence[dict[str, Any]], events: Sequence[tuple[int, str, Any]]) -> bool:
    return [message["seq"] for message in messages] == [seq for seq, _, _ in events] and all(
        _is_told_by(message, type, event) for message, (_, type, event) in zip(messages, events, strict=True)
    )


def _is_told_by(message: dict[str, Any], type: str, event: Any) -> bool:
    match type:
        case "execution.started" | "node.started":
            return bool(message["type"] == "execution_update" and message["node_id"] == event["node"])
        case "node.completed":
            return bool(message["type"] == "node_completed" and message["result"] == event["result"])
        case "log":
            return bool(message["type"] == "log" and message["message"] == event["message"])
        case "execution.completed":
            return bool(message["type"] == "execution_completed" and message["result"] == event["result"])
        case _:
            return True
