"""The stored form of events."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest

from flowrunner.domain.causes import Chained, ChildOf, Hook, Requested, Rerun, Scheduled, StartCause, stored_fields
from flowrunner.domain.events import (
    EVENT_TYPES,
    Admitted,
    Cancelled,
    Completed,
    ErrorValue,
    Event,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
)
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import AccountId, ExecutionId, FlowId
from flowrunner.domain.waits import WAITS_OF_STEPS, ApprovalWait, ChildWait, SignalWait, TimeWait, WaitFor
from flowrunner.ports.event_codec import (
    COMPACT_DEFAULTS,
    COMPACT_TYPES,
    PartialDecoder,
    decode_event,
    encode_event,
    fields_of,
    in_full,
    stored_type,
)
from flowrunner.ports.journal import Unreadable
from flowrunner.storage.journal import event_of_row
from support.databases import MARA, Place, add_flows, change, rows_of

BY_MARA = Requested(by=AccountId("account-mara"))
CHILD = ChildOf(
    execution_id=ExecutionId("exec-1"), step="call.1", failures=2, flows=(FlowId("flow-1"),), is_awaited=False, depth=4
)
WHOLE = Rerun(by=AccountId("account-mara"), of=ExecutionId("exec-1"))
FROM_A_STEP = Rerun(
    by=AccountId("account-mara"), of=ExecutionId("exec-2"), from_step="each.1[4]/push.1", keys_of=ExecutionId("exec-1")
)
NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
NIGHTLY = Scheduled(trigger=TriggerId("trig-1"), name="nightly", due_at=NOON)
BY_HAND = Scheduled(trigger=TriggerId("trig-1"), name="nightly", due_at=NOON, by=AccountId("account-mara"))
PUSHED = Hook(trigger=TriggerId("trig-2"), name="pushed", delivery="deliv-1", by=AccountId("account-mara"), depth=3)
AFTER = Chained(
    trigger=TriggerId("trig-3"), name="after", of=ExecutionId("exec-1"), depth=2, by=AccountId("account-mara")
)
CAUSES: tuple[StartCause, ...] = (
    BY_MARA, Requested(by=None), CHILD, WHOLE, FROM_A_STEP, NIGHTLY, BY_HAND, PUSHED, AFTER,
)  # fmt: skip


def started(cause: StartCause) -> Started:
    return Started(node="a", node_type="log", input={"n": [1]}, cause=cause, is_queued=True, flow_name="Sync")


def test_each_field_of_a_cause_is_tried_with_another_value_than_its_default() -> None:
    for kind in get_args(StartCause):
        for field in fields(kind):
            assert any(getattr(cause, field.name) != field.default for cause in CAUSES if type(cause) is kind), field


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_the_cause_of_an_execution_is_read_as_it_was_written(cause: StartCause) -> None:
    event = started(cause)

    assert decode_event(stored_type(event), encode_event(event)) == event


def test_a_start_is_stored_with_the_fields_of_its_own_cause() -> None:
    for cause in CAUSES:
        stored = json.loads(encode_event(started(cause)))

        assert stored == {
            "n": "a", "t": "log", "input": {"n": [1]}, "is_queued": True, "flow_name": "Sync",
            **json.loads(msgspec.json.encode({k: v for k, v in stored_fields(cause).items() if v is not None})),
        }  # fmt: skip


STEP: dict[str, Any] = {"node": "a", "node_type": "log", "iteration": 1, "attempt": 1}
COMPACT_STEP = {"n": "a", "t": "log"}
# Of each type an event whose optional fields have their defaults, with the fields that are stored.
SHORTEST: tuple[tuple[Event, Mapping[str, Any]], ...] = (
    (Admitted(), {}),
    (NodeStarted(**STEP), COMPACT_STEP),
    (NodeCompleted(**STEP, action="default", result=None), COMPACT_STEP | {"r": None}),
    (
        NodeFailed(**STEP, error=ErrorValue(type="t", message="m")),
        STEP | {"error": {"type": "t", "message": "m", "node": None, "data": None, "retry_after": None}},
    ),
    (
        ScopesOpened(**STEP, keys=["0"], inputs=[1], concurrency=1, needed=1),
        STEP | {"keys": ["0"], "inputs": [1], "concurrency": 1, "needed": 1},
    ),
    (ScopeEnded(scope="a.1[0]", outcome="completed"), {"scope": "a.1[0]", "outcome": "completed"}),
    (SignalReceived(key="signal:go", payload=1), {"key": "signal:go", "payload": 1}),
    (InputEdited(node="a", iteration=1, input=None), {"node": "a", "iteration": 1, "input": None}),
    (Logged(level="info", message="m"), {"m": "m"}),
    (Completed(result={"n": 1}), {"r": {"n": 1}}),
    (Failed(error=ErrorValue(type="t", message="m", node="a")), {
        "error": {"type": "t", "message": "m", "node": "a", "data": None, "retry_after": None}
    }),
    (Cancelled(reason="enough"), {"reason": "enough"}),
)  # fmt: skip


def test_each_type_of_event_is_tried_with_its_defaults() -> None:
    assert {type(event) for event, _ in SHORTEST} | {Started, NodeWaiting} == set(EVENT_TYPES.values())


@pytest.mark.parametrize(("event", "stored"), SHORTEST, ids=lambda value: type(value).__name__)
def test_an_event_is_stored_without_its_defaults(event: Event, stored: Mapping[str, Any]) -> None:
    data = encode_event(event)

    assert json.loads(data) == stored
    assert decode_event(stored_type(event), data) == event


@pytest.mark.parametrize("event", [event for event, _ in SHORTEST], ids=lambda event: str(event.type))
def test_an_event_with_all_its_fields_is_read(event: Event) -> None:
    assert decode_event(event.type, msgspec.json.encode(event)) == event


@pytest.mark.parametrize("event", [event for event, _ in SHORTEST], ids=lambda event: str(event.type))
def test_the_names_of_an_event_are_those_of_its_class(event: Event) -> None:
    assert msgspec.json.decode(in_full(stored_type(event), encode_event(event).decode()), type=type(event)) == event


# The kinds with a compact form, with a value in each field.
FULL: tuple[Event, ...] = (
    NodeStarted(node="a", node_type="log", iteration=2, attempt=3, interrupted=True, scope="b.1[0]"),
    NodeCompleted(
        node="a", node_type="log", iteration=2, attempt=3, action="high", result={"n": [1, None, "\0é", 1.5, True]},
        scope="b.1[0]", skipped=True, is_last=True, vars={"t": "x", "o": None}, collected={"0": [1]},
    ),
    NodeCompleted(**STEP, action="default", result=None),
    NodeCompleted(**STEP, action="default", result=False),
    Logged(
        level="error", message="m \"é\" \0", node="a", node_type="log", data={"n": "data"}, scope="b.1[0]", iteration=2
    ),
    Logged(level="info", message="", data="text", node="a", node_type="log", iteration=1, attempt=2),
    NodeStarted(**STEP),
    Completed(result={"result": None}),
    *map(started, CAUSES),
    Started(
        node="a", node_type="log", input=None, cause=BY_MARA, is_queued=True, flow_name="Sync", labels={"a": "b"},
        traceparent="00-1-2-00",
    ),
)  # fmt: skip


def test_each_compact_kind_is_tried_with_each_field() -> None:
    kinds = {EVENT_TYPES[type] for type in COMPACT_TYPES}

    assert {type(event) for event in FULL} == kinds
    assert {
        (type(event), field.name)
        for event in FULL
        for field in fields(event)
        if getattr(event, field.name) not in (field.default, COMPACT_DEFAULTS.get(field.name))
    } == {(kind, field.name) for kind in kinds for field in fields(kind)}


@pytest.mark.parametrize("event", FULL, ids=lambda event: str(event.type))
def test_a_compact_event_is_read_as_it_was_written(event: Event) -> None:
    stored, data = stored_type(event), encode_event(event)

    assert decode_event(stored, data) == event
    # As a version before has stored it.
    assert decode_event(event.type, in_full(stored, data.decode())) == event
    full = json.loads(in_full(stored, data.decode()))
    assert full == {**full, **fields_of(event, data)}


class SomeFields(msgspec.Struct):
    node: str = ""
    attempt: int = 1
    result: msgspec.Raw = msgspec.Raw()
    message: str = ""
    vars: dict[str, msgspec.Raw] = {}


@pytest.mark.parametrize("event", FULL, ids=lambda event: str(event.type))
def test_some_fields_are_read_of_either_form(event: Event) -> None:
    stored, data = stored_type(event), encode_event(event).decode()
    decoder = PartialDecoder(SomeFields)

    compact, older = decoder.decode(stored, data), decoder.decode(event.type, in_full(stored, data))

    for name in SomeFields.__struct_fields__:
        assert getattr(compact, name) == getattr(older, name), name
    assert compact.node == (getattr(event, "node", None) or "")


def test_the_readable_view_names_what_is_stored_in_either_form(path: Place) -> None:
    add_flows(path)
    change(
        path,
        "INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, last_seq, epoch, is_idle,"
        " is_queued, is_active, size) VALUES ('e', ?, 'flow-1', 'rev-1', 'running', 0, 100, 0, false, false, false, 0)",
        MARA,
    )
    events = [*FULL, *(event for event, _ in SHORTEST)]
    expected: list[tuple[str, object]] = []
    for event in events:
        stored, data = stored_type(event), encode_event(event).decode()
        for type, text in ((stored, data), (event.type, in_full(stored, data))):
            shown = in_full(type, text)
            # PostgreSQL cannot decode NUL.
            if type != event.type and isinstance(path, str):
                shown = shown.replace("\\u0000", "\\ufffd")
            expected.append((event.type, json.loads(shown)))
            change(path, "INSERT INTO events VALUES ('e', ?, 0, ?, ?)", len(expected), type, text)

    rows = rows_of(path, "SELECT type, data FROM readable_events WHERE execution_id = 'e' ORDER BY seq")

    assert [(type, json.loads(data)) for type, data in rows] == expected


def test_every_kind_of_cause_is_tried() -> None:
    assert {type(cause) for cause in CAUSES} == set(get_args(StartCause))


@pytest.mark.parametrize(
    ("stored", "cause"),
    [
        ({"by": "account-mara", "parent": None, "rerun_of": None}, BY_MARA),
        ({}, Requested(by=None)),
        (
            {
                "by": None,
                "parent": {"execution_id": "exec-1", "step": "call.1", "failures": 2, "flows": ["flow-1"]},
                "rerun_of": None,
            },
            ChildOf(execution_id=ExecutionId("exec-1"), step="call.1", failures=2, flows=(FlowId("flow-1"),)),
        ),
        ({"by": "account-mara", "parent": None, "rerun_of": {"execution_id": "exec-1", "from": None}}, WHOLE),
        (
            {
                "by": "account-mara",
                "parent": None,
                "rerun_of": {"execution_id": "exec-2", "from": "each.1[4]/push.1", "keys_of": "exec-1"},
            },
            FROM_A_STEP,
        ),
    ],
)
def test_an_event_of_the_first_schema_has_its_cause(stored: dict[str, object], cause: StartCause) -> None:
    text = json.dumps(
        {"node": "a", "node_type": "log", "input": {"n": [1]}, "is_queued": True, "flow_name": "Sync"} | stored
    )

    assert decode_event(Started.type, text) == started(cause)


NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
OLDER_WAITING = {
    "node": "a", "node_type": "wait", "iteration": 1, "attempt": 1, "until": None, "result": None, "action": "timeout",
    "key": None, "fail_at_deadline": False, "details": None, "scope": "",
}  # fmt: skip
LINK_TO_CHILD = {"execution_id": "exec-1", "flow_id": "flow-1"}


def read_waiting(event: object) -> NodeWaiting:
    found = decode_event(NodeWaiting.type, msgspec.json.encode(event))
    assert type(found) is NodeWaiting
    return found


WAITS: tuple[WaitFor, ...] = (
    SignalWait("paid"), SignalWait("paid", {"type": "payment"}), ApprovalWait("?", {"type": "object"}, ["admin"]),
    ApprovalWait("?"), ChildWait("exec-1", "flow-1"), TimeWait(NOON), TimeWait(NOON, {"type": "poll"}),
)  # fmt: skip


def test_every_kind_of_wait_is_tried() -> None:
    assert {type(wait) for wait in WAITS} == set(get_args(WaitFor)) == set(WAITS_OF_STEPS.values())


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: type(wait).__name__)
def test_a_wait_is_read_as_it_was_written(wait: WaitFor) -> None:
    event = NodeWaiting(
        node="a", node_type="t", iteration=2, attempt=3, wait_for=wait, deadline=NOON, result=1, action="timeout",
        fail_at_deadline=True, scope="b.1[0]",
    )  # fmt: skip

    assert decode_event(NodeWaiting.type, encode_event(event)) == event


@pytest.mark.parametrize(
    ("written", "wait"),
    [
        ({"key": "signal:go", "details": {"type": "signal", "key": "go"}}, SignalWait("go")),
        ({"key": "signal:go", "details": {"type": "payment"}}, SignalWait("go", {"type": "payment"})),
        ({"key": "approval:a.1", "details": {"type": "approval", "prompt": "Well?"}}, ApprovalWait("Well?")),
        (
            {"key": "approval:a.1", "details": {"type": "approval", "prompt": "", "form": {"a": 1}, "roles": ["user"]}},
            ApprovalWait("", {"a": 1}, ["user"]),
        ),
        ({"key": "flow:exec-1", "details": {"type": "flow", **LINK_TO_CHILD}}, ChildWait("exec-1", "flow-1")),
        ({"until": NOON, "details": {"type": "delay"}}, TimeWait(NOON)),
        ({"until": NOON, "details": {"type": "poll", "n": 1}}, TimeWait(NOON, {"type": "poll", "n": 1})),
        ({"until": NOON}, TimeWait(NOON)),
    ],
)
def test_the_wait_of_an_older_event_is_read(written: dict[str, Any], wait: WaitFor) -> None:
    event = read_waiting({**OLDER_WAITING, **written})

    assert event.wait_for == wait
    assert (event.signal_key, event.due_at) == (written.get("key"), written.get("until"))
    assert event.wait_for.describe() == written.get("details", {"type": "delay"})


def test_an_older_wait_fails_at_its_deadline() -> None:
    for key in ("signal:go", None):
        assert read_waiting({**OLDER_WAITING, "until": NOON, "key": key, "fail_at_deadline": True}).fails_when_due


@pytest.mark.parametrize(
    "wait", [None, {}, {"type": "dance"}, {"type": ["signal"]}, {"type": "signal"}, {"type": "delay", "moment": "x"}]
)
def test_a_wait_of_no_known_form_is_unreadable(wait: Any) -> None:
    event = asdict(NodeWaiting(node="a", node_type="t", iteration=1, attempt=1, wait_for=SignalWait("go")))

    with pytest.raises(Unreadable, match=r"Event 4 of this execution \(node.waiting\) cannot be read"):
        event_of_row(4, 0, "node.waiting", msgspec.json.encode({**event, "wait_for": wait}).decode())
