"""The runs of the node that an approval notifies, as decisions from the events alone."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from flowrunner.domain.causes import Requested
from flowrunner.domain.decide import decide
from flowrunner.domain.decisions import Decision, Record, Resume, Start, Wait
from flowrunner.domain.events import (
    ROOT,
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.step_state import MOST_NOTICES, StepState
from flowrunner.domain.transitions import apply, replay
from flowrunner.domain.waits import ApprovalWait
from flowrunner.language import read_flow
from support.flows import specs

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
FLOW: Final = read_flow(
    "nodes:\n"
    "  ask: {type: approval, params: {link: true, notify: tell, remind: 4h}, timeout: 10h}\n"
    "  tell: {type: log, params: {message: x}}\n",
    specs(),
)
WAIT: Final = ApprovalWait("ok?", link=True, notify="tell", remind_seconds=4 * 3600.0)
BEGINNING: Final = (
    Started(node="ask", node_type="approval", input=None, cause=Requested(by=None)),
    NodeStarted(node="ask", node_type="approval", iteration=1, attempt=1),
    NodeWaiting(node="ask", node_type="approval", iteration=1, attempt=1, wait_for=WAIT, deadline=NOON + 10 * HOUR),
)
ANSWER: Final = SignalReceived(key="approval:ask.1", payload={"approved": True}, by="link")


def notice(number: int) -> tuple[NodeStarted, NodeCompleted, ScopeEnded]:
    """Return the events of a whole run of the node."""
    scope = f"ask.1[notify.{number}]"
    started = NodeStarted(node="tell", node_type="log", iteration=1, attempt=1, scope=scope)
    completed = NodeCompleted(
        node="tell", node_type="log", iteration=1, attempt=1, action="default", result=None, scope=scope
    )
    return started, completed, ScopeEnded(scope=scope, outcome="completed")


def after(*events: Event, at: datetime = NOON) -> ExecutionState:
    return replay([(event, at) for event in (*BEGINNING, *events)])


def decided(state: ExecutionState, *, at: datetime = NOON, running: tuple[Step, ...] = ()) -> tuple[Decision, ...]:
    return decide(FLOW, state, running=running, now=at)


def test_the_node_starts_as_soon_as_the_wait_is_recorded_and_after_each_crash_until_its_start_is() -> None:
    started = notice(1)[0]

    assert decided(after()) == (Start(started),)
    (again,) = decided(after(started))
    assert isinstance(again, Start)
    assert (again.event.attempt, again.event.interrupted, again.event.scope) == (2, True, started.scope)


def test_after_its_end_nothing_happens_before_the_reminder_which_counts_from_its_start() -> None:
    state = after(*notice(1))

    assert decided(state) == (Wait(NOON + 4 * HOUR),)
    assert decided(state, at=NOON + 4 * HOUR) == (Start(notice(2)[0]),)
    assert decided(after(*notice(1), *notice(2), *notice(3), at=NOON)) == (Wait(NOON + 4 * HOUR),)
    # The deadline comes before the next reminder.
    late = replay([*((event, NOON) for event in BEGINNING), *((event, NOON + 8 * HOUR) for event in notice(1))])
    assert decided(late, at=NOON + 8 * HOUR) == (Wait(NOON + 10 * HOUR),)


def test_an_answer_stops_the_node_and_the_approval_goes_on() -> None:
    state = after(notice(1)[0], ANSWER)

    cancelled = Record(ScopeEnded(scope="ask.1[notify.1]", outcome="cancelled"))
    running = (Step("tell", 1, "ask.1[notify.1]"),)
    assert decided(state, running=running) == (cancelled, Resume(Step("ask", 1)))
    apply(state, cancelled.event, NOON)
    assert decided(state) == (Resume(Step("ask", 1)),)


def test_the_node_is_inside_every_scope_that_its_approval_is_in() -> None:
    """So it stops when a loop or a branch around the approval ends."""
    round, of_notice = "each.1[0]", "each.1[0]/ask.1[notify.1]"
    events = (
        Started(node="each", node_type="foreach", input=None, cause=Requested(by=None)),
        NodeStarted(node="each", node_type="foreach", iteration=1, attempt=1),
        ScopesOpened(
            node="each", node_type="foreach", iteration=1, attempt=1, keys=["0", "1"], inputs=[None, None],
            concurrency=2, needed=2,
        ),
        *(replace(event, scope=round) for event in BEGINNING[1:]),
        NodeStarted(node="tell", node_type="log", iteration=1, attempt=1, scope=of_notice),
        NodeStarted(node="ask", node_type="approval", iteration=1, attempt=1, scope="each.1[1]"),
    )  # fmt: skip
    state = replay([(event, NOON) for event in events])

    assert [frame.scope for frame in state.within(round)] == [round, of_notice]
    assert [frame.scope for frame in state.within("each.1[1]")] == ["each.1[1]"]
    assert len(list(state.within(ROOT))) == 4


def test_a_revoked_link_is_sent_no_more_and_the_approval_waits_on() -> None:
    revoked = SignalReceived(key="link:ask.1", payload=None, by="account-1")

    for state in (after(revoked), after(*notice(1), revoked)):
        assert decided(state) == (Wait(NOON + 10 * HOUR),)
        assert state.status.value == "waiting"
    answered = after(*notice(1), revoked, ANSWER)
    assert decided(answered) == (Resume(Step("ask", 1)),)


def test_the_runs_are_bounded() -> None:
    events = [event for number in range(1, MOST_NOTICES + 1) for event in notice(number)]

    assert decided(after(*events)) == (Wait(NOON + 10 * HOUR),)


def test_the_deadline_ends_the_wait_and_the_node_that_still_runs() -> None:
    state = after(notice(1)[0])

    cancelled, ended = decided(state, at=NOON + 10 * HOUR, running=(Step("tell", 1, "ask.1[notify.1]"),))

    assert cancelled == Record(ScopeEnded(scope="ask.1[notify.1]", outcome="cancelled"))
    assert isinstance(ended, Record)
    assert isinstance(ended.event, NodeCompleted)


REVOKED: Final = SignalReceived(key="link:ask.1", payload=None, by="account-1")
# Fields that count the attempts, or tell of the last one.
COUNTS: Final = ("attempts", "failures", "error", "wait_seq", "waiting")


def test_a_type_of_a_plugin_that_fails_at_its_deadline_ends_the_node_that_still_runs() -> None:
    begun = (*BEGINNING[:2], replace(BEGINNING[2], fail_at_deadline=True), notice(1)[0])
    state = replay([(event, NOON) for event in begun])

    cancelled, failed = decided(state, at=NOON + 10 * HOUR, running=(Step("tell", 1, "ask.1[notify.1]"),))

    assert cancelled == Record(ScopeEnded(scope="ask.1[notify.1]", outcome="cancelled"))
    assert isinstance(failed, Record)
    assert isinstance(failed.event, NodeFailed)
    assert failed.event.error.type == "timeout"


@pytest.mark.parametrize("before", [(), notice(1), (REVOKED,), (*notice(1), *notice(2), REVOKED)])
@pytest.mark.parametrize("answers", [1, 2])
def test_nothing_of_an_earlier_attempt_is_left_when_an_approval_waits_again(
    before: Sequence[Event], answers: int
) -> None:
    """Its answers are needed anew, its link is valid, and its node is told again."""
    first, second = (
        NodeWaiting(
            node="ask", node_type="approval", iteration=1, attempt=attempt, deadline=NOON + 10 * HOUR,
            wait_for=replace(WAIT, count=answers),
        )
        for attempt in (1, 2)
    )  # fmt: skip
    failed = NodeFailed(
        node="ask", node_type="approval", iteration=1, attempt=1, retry_at=NOON,
        error=ErrorValue(type="expression", message="its post hook failed"),
    )  # fmt: skip
    began, given = BEGINNING[:2], [replace(ANSWER, by=f"account-{number}") for number in range(answers)]
    again = (failed, replace(BEGINNING[1], attempt=2), second)

    new = replay([(event, NOON) for event in (*began, first)])
    retried = replay([(event, NOON) for event in (*began, first, *before, *given, *again)])

    step = Step("ask", 1)
    fields = [field.name for field in dataclasses.fields(StepState) if field.name not in COUNTS]
    assert {name: getattr(retried.at(step), name) for name in fields} == {
        name: getattr(new.at(step), name) for name in fields
    }
    assert decided(retried) == decided(new) == (Start(notice(1)[0]),)
