"""The wait that the link of an approval answers: the one that it was made for, and no other one of the step."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    Cancelled,
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    SignalReceived,
    Started,
)
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import ExecutionId
from flowrunner.domain.waits import ApprovalWait
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.services.approval_links import LinkEnd, _linked

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
ASK: Final[Any] = {"node": "ask", "node_type": "approval", "iteration": 1}
# The output of the node has failed after the answer, and it asks again.
EVENTS: Final = (
    Started(node="ask", node_type="approval", input=None, cause=Requested(by=None)),
    NodeStarted(**ASK, attempt=1),
    NodeWaiting(**ASK, attempt=1, wait_for=ApprovalWait("ok?", link=True)),
    SignalReceived(key="approval:ask.1", payload={"approved": True, "by": "link"}, by="link"),
    NodeFailed(**ASK, attempt=1, error=ErrorValue(type="expression", message="no"), retry_at=NOON),
    NodeStarted(**ASK, attempt=2),
    NodeWaiting(**ASK, attempt=2, wait_for=ApprovalWait("ok?", link=True), deadline=NOON + timedelta(hours=1)),
)
FIRST, SECOND = 3, 7


def place(seq: int, since: datetime | None = NOON) -> ApprovalPlace:
    return ApprovalPlace(ExecutionId("exec-1"), seq, since)


@pytest.mark.parametrize(
    ("length", "seq", "expected"),
    [
        (3, FIRST, None),
        (4, FIRST, "answered"),
        (6, FIRST, "answered"),
        (7, FIRST, "answered"),
        (7, SECOND, None),
        # No wait began there, or the execution is not so long.
        (7, 2, "ended"),
        (7, 8, "ended"),
    ],
)
def test_a_link_answers_the_wait_that_it_was_made_for(length: int, seq: int, expected: LinkEnd | None) -> None:
    found = _linked([(event, NOON) for event in EVENTS[:length]], place(seq), NOON)

    if expected is not None:
        assert found == expected
        return
    assert isinstance(found, StepState)
    assert found.wait_seq == seq


def test_a_link_from_before_a_restore_answers_no_other_question_that_has_got_the_number() -> None:
    events = [(event, NOON) for event in EVENTS]

    assert _linked(events, place(SECOND, NOON - timedelta(milliseconds=1)), NOON) == "ended"
    # One of an earlier version has no time.
    assert isinstance(_linked(events, place(SECOND, None), NOON), StepState)


def test_a_link_answers_until_the_end_of_its_wait() -> None:
    events = [(event, NOON) for event in EVENTS]

    assert isinstance(_linked(events, place(SECOND), NOON + timedelta(minutes=59)), StepState)
    assert _linked(events, place(SECOND), NOON + timedelta(hours=1)) == "expired"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        # The deadline's own action, or another one: that of a member's answer.
        (NodeCompleted(**ASK, attempt=2, action="late", result=None), "expired"),
        (NodeCompleted(**ASK, attempt=2, action="approved", result=None), "answered"),
        (Cancelled(reason="by a user"), "ended"),
    ],
)
def test_a_link_says_how_its_wait_has_ended(last: Event, expected: LinkEnd) -> None:
    waiting = NodeWaiting(
        **ASK, attempt=2, wait_for=ApprovalWait("ok?", link=True), deadline=NOON + timedelta(hours=1), action="late"
    )

    assert _linked([(event, NOON) for event in (*EVENTS[:-1], waiting, last)], place(SECOND), NOON) == expected
