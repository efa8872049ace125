"""The waits of steps: their descriptions, their signals and their ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowrunner.domain.events import NodeWaiting
from flowrunner.domain.waits import (
    ApprovalWait,
    ChildWait,
    ConcurrencyWait,
    SignalWait,
    TimeWait,
    WaitFor,
    parse_signal_key,
    signal_key,
)

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def waiting(wait: WaitFor, **more: Any) -> NodeWaiting:
    return NodeWaiting(node="a", node_type="test", iteration=2, attempt=1, wait_for=wait, scope="each.1[0]", **more)


@pytest.mark.parametrize(
    ("wait", "described"),
    [
        (SignalWait("paid"), {"type": "signal", "key": "paid"}),
        (SignalWait("paid", {"type": "payment", "invoice": 7}), {"type": "payment", "invoice": 7}),
        (SignalWait("paid", {"invoice": 7}), {"type": "signal", "invoice": 7}),
        (ApprovalWait("Ship?"), {"type": "approval", "prompt": "Ship?"}),
        (
            ApprovalWait("", {"type": "object"}, ["admin"]),
            {"type": "approval", "prompt": "", "form": {"type": "object"}, "roles": ["admin"]},
        ),
        (ChildWait("exec-1", "flow-1"), {"type": "flow", "execution_id": "exec-1", "flow_id": "flow-1"}),
        (TimeWait(NOON), {"type": "delay"}),
        (TimeWait(NOON, {"type": "poll"}), {"type": "poll"}),
        (ConcurrencyWait(), {"type": "concurrency"}),
    ],
)
def test_a_wait_is_described_in_a_fixed_order(wait: WaitFor | ConcurrencyWait, described: dict[str, Any]) -> None:
    assert list(wait.describe().items()) == list(described.items())


@pytest.mark.parametrize(
    ("wait", "key"),
    [
        (SignalWait("paid: yes"), "signal:paid: yes"),
        (ApprovalWait("?"), "approval:each.1[0]/a.2"),
        (ChildWait("exec-1", "flow-1"), "flow:exec-1"),
        (TimeWait(NOON), None),
    ],
)
def test_a_wait_names_the_signal_that_ends_it(wait: WaitFor, key: str | None) -> None:
    assert waiting(wait).signal_key == key
    assert waiting(wait).is_external is isinstance(wait, SignalWait | ApprovalWait)


def test_a_key_is_read_as_it_was_made() -> None:
    assert parse_signal_key(signal_key("signal", "a:b")) == ("signal", "a:b")


def test_a_wait_ends_at_its_moment_or_its_deadline() -> None:
    assert waiting(SignalWait("k")).due_at is None
    assert waiting(SignalWait("k"), deadline=NOON).due_at == NOON
    assert waiting(TimeWait(NOON)).due_at == waiting(TimeWait(NOON), deadline=LATER).due_at == NOON
    assert waiting(TimeWait(LATER), deadline=NOON).due_at == NOON


@pytest.mark.parametrize(
    ("wait", "deadline", "fails"),
    [(SignalWait("k"), NOON, True), (TimeWait(LATER), NOON, True), (TimeWait(NOON), LATER, False)],
)
def test_a_step_fails_at_its_deadline_and_not_at_an_earlier_moment(
    wait: WaitFor, deadline: datetime, fails: bool
) -> None:
    assert waiting(wait, deadline=deadline, fail_at_deadline=True).fails_when_due is fails
    assert waiting(wait, deadline=deadline).fails_when_due is False
