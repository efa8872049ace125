"""The stored form of events."""

import json
from typing import get_args

import pytest

from flowrunner.domain.causes import ChildOf, Requested, Rerun, StartCause
from flowrunner.domain.events import Started
from flowrunner.domain.values import AccountId, ExecutionId, FlowId
from flowrunner.ports.event_codec import decode_event, encode_event

BY_MARA = Requested(by=AccountId("account-mara"))
CHILD = ChildOf(
    execution_id=ExecutionId("exec-1"), step="call.1", failures=2, flows=(FlowId("flow-1"),), is_awaited=False
)
WHOLE = Rerun(by=AccountId("account-mara"), of=ExecutionId("exec-1"))
FROM_A_STEP = Rerun(
    by=AccountId("account-mara"), of=ExecutionId("exec-2"), from_step="each.1[4]/push.1", keys_of=ExecutionId("exec-1")
)
CAUSES: tuple[StartCause, ...] = (BY_MARA, Requested(by=None), CHILD, WHOLE, FROM_A_STEP)


def started(cause: StartCause) -> Started:
    return Started(node="a", node_type="log", input={"n": [1]}, cause=cause, is_queued=True, flow_name="Sync")


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_the_cause_of_an_execution_is_read_as_it_was_written(cause: StartCause) -> None:
    event = started(cause)

    assert decode_event(Started.type, encode_event(event)) == event


def test_a_start_is_stored_with_the_same_fields_whatever_its_cause() -> None:
    fields = {"node", "node_type", "input", "by", "parent", "rerun_of", "is_queued", "flow_name"}

    assert all(json.loads(encode_event(started(cause))).keys() == fields for cause in CAUSES)


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
