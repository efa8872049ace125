"""The index of an execution's steps, made of its events."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.simulation import Plan, Simulation, plans
from domain.test_decide import crashes, is_handler
from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    HANDLERS,
    ROOT,
    Admitted,
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
from flowrunner.domain.status import StepStatus
from flowrunner.domain.transitions import apply
from flowrunner.domain.values import ExecutionId
from flowrunner.domain.waits import ApprovalWait, SignalWait, signal_key
from flowrunner.ports.event_codec import encode_event, stored_type
from flowrunner.ports.steps import StoredEvent
from flowrunner.services.step_entries import ScopeInputs, StoredPlace
from flowrunner.services.step_index import KEPT_WAITS, StepIndex
from flowrunner.services.step_values import StepReading
from support.conformance import SHARE
from support.databases import MARA_ACCOUNT, NOON
from support.steps import GivenEvents

STEP: Any = {"node": "a", "node_type": "approval", "iteration": 1, "attempt": 1}


def index_of(*events: Event) -> StepIndex:
    """Index an execution with these events after its start, a second apart."""
    started = Started(node="a", node_type="approval", input={}, cause=Requested(by=MARA_ACCOUNT))
    index = StepIndex()
    index.add(
        [
            StoredEvent(seq, at(seq), stored_type(event), encode_event(event))
            for seq, event in enumerate([started, *events], start=1)
        ]
    )
    return index


def at(seq: int) -> datetime:
    return NOON + timedelta(seconds=seq)


def answered(*, approved: bool) -> SignalReceived:
    return SignalReceived(key=signal_key("approval", "a.1"), payload={"approved": approved})


def test_an_approval_by_two_waits_for_both_but_ends_with_one_rejection() -> None:
    waiting = NodeWaiting(**STEP, wait_for=ApprovalWait("Well?", count=2))

    for answers, status in (
        ((), "waiting"),
        ((True,), "waiting"),
        ((True, True), "running"),
        ((False,), "running"),
        ((True, False), "running"),
    ):
        index = index_of(NodeStarted(**STEP), waiting, *(answered(approved=answer) for answer in answers))
        assert index[2].status == status, answers


def test_a_signal_goes_to_no_step_that_has_failed_while_it_waited() -> None:
    waiting = NodeWaiting(**STEP, wait_for=SignalWait("go"))
    failed = NodeFailed(**STEP, error=ErrorValue(type="timeout", message="too late"), retry_at=at(9))
    again = {**STEP, "attempt": 2}
    other = {**STEP, "node": "b"}

    index = index_of(
        NodeStarted(**STEP),
        waiting,
        failed,
        NodeStarted(**other),
        NodeWaiting(**other, wait_for=SignalWait("go")),
        SignalReceived(key=signal_key("signal", "go"), payload=1),
        NodeStarted(**again),
    )

    assert [wait.received_seq for wait in index[2].waits] == [None]
    assert [wait.received_seq for wait in index[5].waits] == [7]
    assert [(attempt.number, attempt.status) for attempt in index[2].attempts] == [(1, "failed"), (2, "running")]


def test_rounds_that_may_not_start_yet_are_not_ready_before() -> None:
    inner = {**STEP, "node": "b", "scope": "a.1[0]"}
    for not_before, ready_at in ((None, at(3)), (at(1), at(3)), (at(60), at(60))):
        opened = ScopesOpened(
            **STEP, keys=["0"], inputs=[7], concurrency=1, needed=1, not_before=not_before
        )  # fmt: skip

        index = index_of(NodeStarted(**STEP), opened, NodeStarted(**inner))

        assert index[4].ready_at == ready_at


def test_a_node_that_an_approval_notifies_is_cancelled_with_the_scope_of_the_approval() -> None:
    branches = ScopesOpened(**STEP, keys=["left", "right"], inputs=[1, 1], concurrency=2, needed=1)
    ask: Any = {**STEP, "node": "ask", "scope": "a.1[left]"}
    wait = ApprovalWait("Well?", notify="tell")
    tell: Any = {**STEP, "node": "tell", "scope": "a.1[left]/ask.1[notify.1]"}

    index = index_of(
        NodeStarted(**STEP),
        branches,
        NodeStarted(**ask),
        NodeWaiting(**ask, wait_for=wait),
        NodeStarted(**tell),
        ScopeEnded(scope="a.1[left]", outcome="cancelled"),
    )

    assert {str(entry.step): (entry.status, entry.ended_at) for entry in index.entries()} == {
        "a.1": ("running", None),
        "a.1[left]/ask.1": ("cancelled", at(7)),
        "a.1[left]/ask.1[notify.1]/tell.1": ("cancelled", at(7)),
    }


SHOWN: Final = {StepStatus.RESUMING: "running", StepStatus.OPEN: "running"}


@settings(max_examples=round(300 * SHARE))
@given(plan=plans(), crashes=crashes)
def test_after_each_event_the_steps_are_shown_in_the_state_in_which_they_are(plan: Plan, crashes: list[bool]) -> None:
    run = Simulation(plan, list(crashes))
    run.run(most_events=300)
    state, index = ExecutionState(), StepIndex()

    for seq, (event, at) in enumerate(run.journal, start=1):
        apply(state, event, at)
        index.add([StoredEvent(seq, at, stored_type(event), encode_event(event))])

        present = {str(step.step): step for frame in state.frames.values() for step in frame.steps.values()}
        shown = {str(entry.step): entry for entry in index.entries()}
        # Steps that are open when the flow ends are cancelled; those of its handlers come after that.
        is_over = state.root.ended is not None or state.ending is not None
        for name, step in present.items():
            entry = shown.pop(name)
            ended = entry.status in ("completed", "skipped", "failed", "cancelled")
            if not (is_over and entry.status == "cancelled"):
                assert entry.status == SHOWN.get(step.status, step.status.value), name
                assert len(entry.attempts) == step.attempts
            assert entry.started_at == step.started_at
            assert (entry.ended_at is not None) == ended
        # All others are earlier runs, or belong to scopes that have ended.
        assert all(entry.ended_at is not None for entry in shown.values())
        open_ones = [entry for entry in index.entries() if entry.ended_at is None]
        assert not is_over or all(is_handler(entry.step.scope) for entry in open_ones)
        assert state.ending is None or not open_ones


@given(moves=st.lists(st.sampled_from(("wait", "signal")), max_size=12))
def test_each_wait_shows_the_signal_that_the_step_got(moves: Sequence[str]) -> None:
    step, state = Step("a", 1), ExecutionState()
    events: list[Event] = [NodeStarted(**STEP)]
    apply(state, Started(node="a", node_type="wait", input={}, cause=Requested(by=MARA_ACCOUNT)), at(1))
    apply(state, events[0], at(2))
    got: list[int | None] = []

    for move in moves:
        is_waiting = state.at(step).status is StepStatus.WAITING
        seq = len(events) + 2
        if move == "signal":
            events.append(SignalReceived(key=signal_key("signal", "go"), payload=seq))
        elif is_waiting:
            continue
        else:
            got.append(None)
            events.append(NodeWaiting(**STEP, wait_for=SignalWait("go")))
        apply(state, events[-1], at(seq))
        if got and got[-1] is None and state.at(step).status is StepStatus.RESUMING:
            got[-1] = state.at(step).signal  # type: ignore[assignment] # the number of its event

    assert [wait.received_seq for wait in index_of(*events)[2].waits] == got


@settings(max_examples=round(100 * SHARE))
@given(plan=plans(), crashes=crashes)
def test_the_scopes_of_a_step_are_counted_by_their_outcomes(plan: Plan, crashes: list[bool]) -> None:
    run = Simulation(plan, list(crashes))
    run.run(most_events=300)
    index, total, ended = StepIndex(), Counter[str](), Counter[tuple[str, str]]()

    for seq, (event, at) in enumerate(run.journal, start=1):
        index.add([StoredEvent(seq, at, stored_type(event), encode_event(event))])
        if isinstance(event, ScopesOpened):
            total[str(Step(event.node, event.iteration, event.scope))] += len(event.keys)
        elif isinstance(event, ScopeEnded):
            ended[event.scope.rpartition("[")[0], event.outcome] += 1

    for name in total:
        entry = index.named(name)
        assert entry is not None
        assert entry.scopes is not None
        assert (entry.scopes.total, entry.scopes.completed, entry.scopes.failed, entry.scopes.cancelled) == (
            total[name], ended[name, "completed"], ended[name, "failed"], ended[name, "cancelled"],
        )  # fmt: skip


def test_the_latest_waits_of_a_step_that_polls_are_kept() -> None:
    waits = [NodeWaiting(**STEP, wait_for=SignalWait("go")) for _ in range(KEPT_WAITS + 5)]

    index = index_of(NodeStarted(**STEP), *waits)

    assert [wait.seq for wait in index[2].waits] == list(range(8, KEPT_WAITS + 8))


def test_the_error_of_each_attempt_has_a_size_of_its_own() -> None:
    retried = {**STEP, "retry_at": at(9)}
    errors = [NodeFailed(**retried, error=ErrorValue(type="busy", message="x" * size)) for size in (100_000, 10)]

    index = index_of(NodeStarted(**STEP), errors[0], NodeStarted(**{**STEP, "attempt": 2}), errors[1])

    assert [attempt.error_size for attempt in index[2].attempts] == [len(encode_event(error)) for error in errors]
    reading = StepReading()
    for attempt in index[2].attempts:
        reading.error(attempt, most=1)
    assert reading.size > 100_000


def test_the_node_that_an_approval_notifies_is_ready_when_the_approval_waits() -> None:
    waiting = NodeWaiting(**STEP, wait_for=ApprovalWait("Well?"))
    told = {**STEP, "node": "b", "scope": "a.1[1]"}

    index = index_of(NodeStarted(**STEP), waiting, NodeStarted(**told))

    assert (index[4].ready_at, index[4].started_at, index[4].parent) == (at(3), at(4), 2)


@settings(max_examples=round(100 * SHARE))
@given(plan=plans(), crashes=crashes, is_queued=st.booleans())
def test_steps_are_ready_when_what_comes_before_them_has_ended_and_attempts_without_an_end_are_interrupted(
    plan: Plan, crashes: list[bool], is_queued: bool
) -> None:
    run = Simulation(plan, list(crashes), is_queued=is_queued)
    run.run(most_events=300)
    index, ready, ready_of, failed = StepIndex(), dict[str, datetime](), dict[str, datetime](), set[tuple[str, int]]()

    for seq, (event, _) in enumerate(run.journal, start=1):
        # Each at a time of its own.
        index.add([StoredEvent(seq, at(seq), stored_type(event), encode_event(event))])
        match event:
            case Started() | Admitted() | ScopeEnded(scope="on_failure" | "on_finish" | ""):
                ready[ROOT] = at(seq)
            case ScopesOpened(keys=keys):
                step = Step(event.node, event.iteration, event.scope)
                opened_at = max(at(seq), event.not_before or at(seq))
                ready |= {step.child_scope(key): opened_at for key in keys}
            case NodeStarted():
                around = ROOT if event.scope in HANDLERS and event.scope not in ready else event.scope
                ready_of.setdefault(str(Step(event.node, event.iteration, event.scope)), ready[around])
            case NodeFailed(retry_at=retry_at):
                failed.add((str(Step(event.node, event.iteration, event.scope)), event.attempt))
                if retry_at is None:
                    ready[event.scope] = at(seq)
            case NodeCompleted():
                ready[event.scope] = at(seq)
            case _:
                pass

    assert {str(entry.step): entry.ready_at for entry in index.entries()} == ready_of
    for entry in index.entries():
        name = str(entry.step)
        assert [attempt.status for attempt in entry.attempts[:-1]] == [
            "failed" if (name, attempt.number) in failed else "interrupted" for attempt in entry.attempts[:-1]
        ]


DATA: Final = {"a": 1}


@pytest.mark.parametrize(
    ("data", "most", "shown"),
    [(None, 100, None), (DATA, 7, b'{"a":1}'), (DATA, 6, None), ([], 100, b"[]"), (0, 100, b"0"), ("", 100, b'""')],
)
async def test_the_data_of_an_error_is_shown_if_there_is_any_and_all_of_it_may_be(
    data: Any, most: int, shown: bytes | None
) -> None:
    error = await shown_error(ErrorValue(type="x", message="m", data=data), most=most)

    assert (error.type, error.message, error.data) == ("x", "m", shown)


@pytest.mark.parametrize(("length", "most", "shown"), [(2500, 2500, 2500), (2500, 2499, 2000), (2000, 1, 2000)])
async def test_a_message_is_cut_if_it_is_longer_than_a_preview(length: int, most: int, shown: int) -> None:
    error = await shown_error(ErrorValue(type="x", message="m" * length), most=most)

    assert len(error.message) == shown


async def shown_error(value: ErrorValue, *, most: int) -> Any:
    """Return the error of a step's only attempt, read up to so many bytes."""
    events: list[Event] = [NodeStarted(**STEP), NodeFailed(**STEP, error=value)]
    (attempt,) = index_of(*events)[2].attempts
    reading = StepReading()
    reading.error(attempt, most=most)
    stored = [StoredEvent(n, at(n), stored_type(event), encode_event(event)) for n, event in enumerate(events, start=2)]
    await reading.read(GivenEvents(stored), ExecutionId("any"))
    return reading.found_error(attempt)


def test_the_place_of_a_scope_s_input_is_its_own_in_the_event_of_all() -> None:
    inputs = ScopeInputs(seq=7, event_size=100, sizes=[3, 5], positions={"a": 0, "b": 1})

    assert inputs.take("b") == StoredPlace(seq=7, member="inputs", size=5, event_size=100, position=1)
    assert inputs.positions == {"a": 0}
