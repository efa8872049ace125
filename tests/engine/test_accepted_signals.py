"""The signals that an execution accepts, by what its steps are doing."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    Completed,
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    SignalReceived,
    Started,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.transitions import apply
from flowrunner.domain.values import AccountId
from flowrunner.domain.waits import ApprovalWait, ChildWait, SignalWait, WaitFor, child_signal_key, signal_key
from flowrunner.engine.mailbox import MAX_EARLY_SIGNALS, is_accepted
from flowrunner.ports.dispatch import Signal

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
MARA, OMAR = AccountId("mara"), AccountId("omar")
STEP: Final[Any] = {"node": "a", "node_type": "any", "iteration": 1, "attempt": 1}
GO, CHILD = signal_key("signal", "go"), child_signal_key("exec-1")
APPROVAL, LINK = signal_key("approval", "a.1"), signal_key("link", "a.1")


def state_after(*events: Event) -> ExecutionState:
    state = ExecutionState()
    apply(state, Started(node="a", node_type="any", input=None, cause=Requested(by=MARA)), NOON)
    for event in (NodeStarted(**STEP), *events):
        apply(state, event, NOON)
    return state


def waiting(wait: WaitFor) -> NodeWaiting:
    return NodeWaiting(**STEP, wait_for=wait)


def received(key: str, by: str | None = None, payload: Any = None) -> SignalReceived:
    return SignalReceived(key=key, payload=payload, by=by)


RUNNING: Final = ()
DONE: Final = (NodeCompleted(**STEP, action="default", result=None),)
OVER: Final = (*DONE, Completed(result=None))
# After the failure of the first attempt, the second runs.
AGAIN: Final = (
    NodeFailed(**STEP, error=ErrorValue(type="http.500", message="No", node="a"), retry_at=NOON),
    NodeStarted(**{**STEP, "attempt": 2}),
)
WAITS: Final = (waiting(SignalWait("go")),)
WAITS_FOR_ANOTHER: Final = (waiting(SignalWait("stop")),)
WAITS_FOR_CHILD: Final = (waiting(ChildWait("exec-1", "f")),)
WAITS_FOR_TWO: Final = (waiting(ApprovalWait("Well?", count=2, link=True)),)
ONE_OF_TWO: Final = (*WAITS_FOR_TWO, received(APPROVAL, MARA, {"approved": True}))
BOTH: Final = (*ONE_OF_TWO, received(APPROVAL, OMAR, {"approved": True}))
LINK_REVOKED: Final = (*WAITS_FOR_TWO, received(LINK, MARA))
BY_LINK: Final = (*WAITS_FOR_TWO, received(APPROVAL, None, {"approved": True}))


def signal(key: str, **more: Any) -> Signal:
    return Signal(key=key, payload=None, **more)


@pytest.mark.parametrize(
    ("before", "sent", "expected"),
    [
        # One that no step waits for yet is kept, unless its sender wants to know
        (WAITS, signal(GO), True),
        (WAITS, signal(GO, if_awaited=True), True),
        (RUNNING, signal(GO), True),
        (RUNNING, signal(GO, if_awaited=True), False),
        (WAITS_FOR_ANOTHER, signal(GO, if_awaited=True), False),
        (OVER, signal(GO), False),
        ((*WAITS, received(GO)), signal(GO), True),
        ((*WAITS, received(GO)), signal(GO, if_awaited=True), False),
        # Not without a bound; the one that is waited for is always taken
        ((received(GO),) * (MAX_EARLY_SIGNALS - 1), signal(GO), True),
        ((received(GO),) * MAX_EARLY_SIGNALS, signal(GO), False),
        ((*WAITS_FOR_ANOTHER, *(received(f"{GO}{n}") for n in range(MAX_EARLY_SIGNALS))), signal(GO), False),
        ((*WAITS, *(received(f"{GO}{n}") for n in range(MAX_EARLY_SIGNALS))), signal(GO), True),
        # The end of a child is for the step that has started it, once
        (WAITS_FOR_CHILD, signal(CHILD, step="a.1"), True),
        (RUNNING, signal(CHILD, step="a.1"), True),
        (RUNNING, signal(CHILD, step="b.1"), False),
        (RUNNING, signal(CHILD, step="a.2"), False),
        (DONE, signal(CHILD, step="a.1"), False),
        (RUNNING, signal(CHILD, step="a.1", failures=0), True),
        # Told again, by a recovery, when the next attempt is about to wait for a child of its own
        (AGAIN, signal(CHILD, step="a.1", failures=0), False),
        (AGAIN, signal(CHILD, step="a.1", failures=1), True),
        (WAITS_FOR_ANOTHER, signal(CHILD, step="a.1"), False),
        ((received(CHILD),), signal(CHILD, step="a.1"), False),
        ((*WAITS_FOR_CHILD, received(CHILD)), signal(CHILD, step="a.1"), False),
        # Of several who approve, each answers once, and may still revoke the link
        (WAITS_FOR_TWO, signal(APPROVAL, by=MARA, if_awaited=True), True),
        (ONE_OF_TWO, signal(APPROVAL, by=MARA, if_awaited=True), False),
        (ONE_OF_TWO, signal(APPROVAL, by=OMAR, if_awaited=True), True),
        (ONE_OF_TWO, signal(LINK, by=MARA, if_awaited=True), True),
        (ONE_OF_TWO, signal(APPROVAL, by=None, if_awaited=True), True),
        (BY_LINK, signal(APPROVAL, by=MARA, if_awaited=True), True),
        (BY_LINK, signal(APPROVAL, by=None, if_awaited=True), True),
        # An answer by a link that was opened before its revocation
        (WAITS_FOR_TWO, signal(APPROVAL, by="link", if_awaited=True), True),
        (LINK_REVOKED, signal(APPROVAL, by="link", if_awaited=True), False),
        (LINK_REVOKED, signal(APPROVAL, by=MARA, if_awaited=True), True),
        (BOTH, signal(APPROVAL, by="kim", if_awaited=True), False),
        (BOTH, signal(LINK, by=MARA, if_awaited=True), False),
    ],
)  # fmt: skip
def test_a_signal_is_accepted_by_what_waits_for_it(before: tuple[Event, ...], sent: Signal, *, expected: bool) -> None:
    assert is_accepted(sent, sent.key, state_after(*before)) is expected
