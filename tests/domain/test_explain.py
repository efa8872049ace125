"""The description of what an execution waits for, made of its events alone."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.causes import Requested
from flowrunner.domain.events import ErrorValue, Event, NodeFailed, NodeStarted, NodeWaiting, SignalReceived, Started
from flowrunner.domain.explain import latest_approval, waiting_for
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import rfc3339
from flowrunner.domain.waits import ApprovalWait, ChildWait, SignalWait, TimeWait, WaitFor

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
STEP: Final[dict[str, Any]] = {"node": "a", "node_type": "t", "iteration": 1, "attempt": 1}
BEGINNING: Final = (Started(node="a", node_type="t", input=None, cause=Requested(by=None)), NodeStarted(**STEP))


def waits(*events: Event) -> Any:
    """Return what an execution waits for after these events of its first step."""
    return waiting_for(replay([(event, NOON) for event in (*BEGINNING, *events)]))


def waiting(wait_for: WaitFor, deadline: datetime | None = None) -> NodeWaiting:
    return NodeWaiting(**STEP, wait_for=wait_for, deadline=deadline)


def test_a_step_that_runs_waits_for_nothing() -> None:
    assert waits() == []


def test_a_retry_tells_of_the_error_and_of_the_attempt_that_comes() -> None:
    failed = NodeFailed(**STEP, error=ErrorValue(type="http.500", message="no", data={"d": 1}), retry_at=NOON + HOUR)

    assert waits(failed) == [
        {
            "type": "retry", "node": "a", "step": "a.1", "until": rfc3339(NOON + HOUR), "attempt": 2,
            "error": {"type": "http.500", "message": "no"},
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wait_for", "deadline", "until", "described"),
    [
        (SignalWait("go"), None, None, {"type": "signal", "key": "go"}),
        (SignalWait("go"), NOON + HOUR, NOON + HOUR, {"type": "signal", "key": "go"}),
        (TimeWait(NOON + HOUR), None, NOON + HOUR, {"type": "delay"}),
        (TimeWait(NOON + 2 * HOUR, {"type": "poll", "n": 1}), NOON + HOUR, NOON + HOUR, {"type": "poll", "n": 1}),
        (TimeWait(NOON + HOUR), NOON + 2 * HOUR, NOON + HOUR, {"type": "delay"}),
        (ChildWait("exec-2", "flow-2"), None, None, {"type": "flow", "execution_id": "exec-2", "flow_id": "flow-2"}),
    ],
)
def test_a_wait_is_described_with_its_end(
    wait_for: WaitFor, deadline: datetime | None, until: datetime | None, described: dict[str, Any]
) -> None:
    shown = None if until is None else rfc3339(until)

    assert waits(waiting(wait_for, deadline)) == [{"node": "a", "step": "a.1", "until": shown, **described}]


def test_an_approval_tells_since_when_and_of_several_who_has_answered_but_not_with_what() -> None:
    one = ApprovalWait("ok?", form={"type": "object"}, roles=["editor"], members=["m"], link=True)
    three = ApprovalWait("ok?", count=3)
    answer = SignalReceived(
        key="approval:a.1", payload={"approved": True, "by": "mara", "at": "now", "data": {"secret": 1}}, by="mara"
    )
    common = {"type": "approval", "node": "a", "step": "a.1", "until": None, "prompt": "ok?", "since": rfc3339(NOON)}

    assert waits(waiting(one)) == [
        {**common, "form": {"type": "object"}, "roles": ["editor"], "members": ["m"], "link": True}
    ]
    assert waits(waiting(three)) == [{**common, "count": 3, "answers": [], "missing": 3}]
    assert waits(waiting(three), answer) == [
        {**common, "count": 3, "answers": [{"approved": True, "by": "mara", "at": "now"}], "missing": 2}
    ]


def test_the_latest_approval_is_that_which_began_last_and_other_waits_are_none() -> None:
    state = replay([(event, NOON) for event in (*BEGINNING, waiting(ApprovalWait("ok?")))])

    assert latest_approval(state) == NOON
    assert latest_approval(replay([(event, NOON) for event in (*BEGINNING, waiting(SignalWait("go")))])) is None
