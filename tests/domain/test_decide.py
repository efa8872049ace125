"""The laws of `decide`, checked on random flows in a simulated process that crashes."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.simulation import (
    NOON,
    REQUESTED,
    Behaviour,
    Plan,
    ScopePlan,
    Simulation,
    Timed,
    flow_with,
    node,
    plans,
    repeatable,
    simulation,
    with_steps,
)
from flowrunner.domain.decide import MAX_INTERRUPTIONS, about_to_resume, decide, may_decide
from flowrunner.domain.decisions import Finish, Record, Resume, Start, Wait
from flowrunner.domain.events import (
    EVENT_TYPES,
    HANDLERS,
    ROOT,
    Admitted,
    Cancelled,
    Completed,
    ErrorValue,
    Event,
    Failed,
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
from flowrunner.domain.flow import MAX_STEPS, FlowLimits, Graph, Node
from flowrunner.domain.retry import RetryPolicy
from flowrunner.domain.status import Status, StepStatus
from flowrunner.domain.transitions import IllegalEvent, apply, replay
from flowrunner.domain.values import memory_of
from flowrunner.domain.waits import ApprovalWait, ChildWait, SignalWait, WaitFor
from support.conformance import SHARE
from support.flows import flow_of

# For each possible point of a crash, whether the process crashes there; from a seed, like the plans.
crashes = st.builds(
    lambda seed, share: [chance.random() < share for chance in [random.Random(seed)] for _ in range(300)],
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.03, 0.3, 0.8]),
)
MANY = settings(max_examples=round(400 * SHARE))


@MANY
@given(plans())
def test_every_flow_without_loops_ends(plan: Plan) -> None:
    run = Simulation(plan)

    ending = run.run()

    assert isinstance(ending, Completed | Failed)
    assert all(e.iteration == 1 for e, _ in run.journal if isinstance(e, NodeStarted))


@given(plans(), st.integers(1, 12))
def test_every_flow_ends_within_its_steps(plan: Plan, most: int) -> None:
    run = Simulation(with_steps(plan, most))

    ending = run.run()

    assert ending is not None
    started = [e for e, _ in run.journal if isinstance(e, NodeStarted)]
    assert len([e for e in started if not is_handler(e.scope)]) <= most


def test_crashes_change_nothing_but_the_attempts_that_they_interrupt() -> None:
    """The flows have loops, branches, sub-flows, waits, delays, retries, handlers and limits; some are queued."""
    steps = deaths = 0
    seen: set[str] = set()

    @settings(max_examples=1000)
    @given(plans(), crashes, st.booleans())
    def play(plan: Plan, crashes: list[bool], is_queued: bool) -> None:
        nonlocal steps, deaths
        # A node that must not run twice fails when a crash interrupts it.
        plan = repeatable(plan)
        undisturbed = Simulation(plan, is_queued=is_queued)
        undisturbed.run()
        run = Simulation(plan, crashes, is_queued=is_queued)
        run.run()

        assert as_if_undisturbed(run.journal) == as_if_undisturbed(undisturbed.journal)
        steps += sum(isinstance(e, NodeStarted) for e, _ in run.journal)
        deaths += run.lives - 1
        seen.update(type(e).__name__ for e, _ in run.journal)
        seen.update(run.plan.scope_plans[name].kind for name in run.plan.scope_plans)
        seen.update(
            ["flow"] * bool(run.subflows), {e.scope for e, _ in run.journal if isinstance(e, NodeStarted)} & HANDLERS
        )

    play()

    assert steps >= 10_000
    assert deaths >= 3_000
    kinds = {kind.__name__ for kind in EVENT_TYPES.values()} - {"Cancelled", "InputEdited"}
    assert seen == kinds | HANDLERS | {"foreach", "while", "parallel", "flow"}


@given(plans(), crashes)
def test_nothing_is_decided_where_no_scope_is_ready_no_step_is_timed_and_the_flow_has_no_timeout(
    plan: Plan, crashes: list[bool]
) -> None:
    run = Simulation(plan, crashes)
    run.run()
    state, settled = ExecutionState(), 0

    for event, at in run.journal:
        apply(state, event, at)
        if not may_decide(run.flow, state):
            settled += 1
            assert decide(run.flow, state, running=state.running, now=NOON + timedelta(days=1)) == ()

    # After its end at least.
    assert settled or run.flow.limits.timeout_seconds is not None


def as_if_undisturbed(journal: Sequence[Timed]) -> Sequence[Timed]:
    """Return the events without interrupted attempts and without the numbers of attempts."""
    return [
        (replace(cast("Any", event), attempt=0) if hasattr(event, "attempt") else event, at)
        for event, at in journal
        if not (isinstance(event, NodeStarted) and event.interrupted)
    ]


@given(plans(), crashes)
def test_a_replay_of_the_events_equals_the_live_state(plan: Plan, crashes: list[bool]) -> None:
    run = Simulation(plan, crashes)
    live = ExecutionState()

    run.run()

    assert replay(run.journal) == run.state
    for length, (event, at) in enumerate(run.journal, 1):
        apply(live, event, at)
        assert live.seq == length
        waiting = [current for current in map(live.at, live.timed) if current.waiting is not None]
        for current in reversed(waiting):
            key = current.waiting.signal_key if current.waiting is not None else None
            first = next(each for each in waiting if each.waiting is not None and each.waiting.signal_key == key)
            assert key is None or live.waiting_for(key) is first
        assert (live.status is Status.WAITING) == (live.is_idle and any(each.waits_externally for each in waiting))
    assert live == run.state


@given(plans(), crashes)
def test_the_memory_that_is_held_is_that_of_the_steps_that_are_kept(plan: Plan, crashes: list[bool]) -> None:
    run, live = Simulation(plan, crashes), ExecutionState()

    run.run()

    for event, at in run.journal:
        apply(live, event, at)
        steps = [step for frame in live.frames.values() for step in frame.steps.values()]
        others = memory_of(live.input) + sum(map(memory_of, live.vars.values()))
        assert live.held_bytes == others + sum(step.all_held_bytes for step in steps)
        for step in steps:
            if step.status is StepStatus.COMPLETED:
                assert step.held_bytes >= memory_of(step.result)
            if step.status is StepStatus.RESUMING and step.waiting is not None:
                wait = step.waiting
                taken = [answer.payload for answer in step.answers] or [step.signal]
                values = [wait.result, wait.wait_for.describe(), *taken]
                assert step.held_bytes == sum(map(memory_of, values))


@MANY
@given(plans(), crashes)
def test_a_completed_step_never_starts_again(plan: Plan, crashes: list[bool]) -> None:
    run = Simulation(plan, crashes)

    run.run()

    done: set[Step] = set()
    attempts: dict[Step, int] = {}
    for event, _ in run.journal:
        if isinstance(event, NodeStarted):
            step = Step(event.node, event.iteration, event.scope)
            assert step not in done
            assert event.attempt == attempts.get(step, 0) + 1
            attempts[step] = event.attempt
        elif isinstance(event, NodeCompleted):
            done.add(Step(event.node, event.iteration, event.scope))


@given(plans(), crashes)
def test_a_crash_adds_an_attempt_and_uses_up_no_retry(plan: Plan, crashes: list[bool]) -> None:
    run = Simulation(plan, crashes)
    failures: dict[Step, int] = {}
    nodes = dict(_nodes(plan.flow))

    run.run()

    for event, _ in run.journal:
        if isinstance(event, NodeFailed):
            step = Step(event.node, event.iteration, event.scope)
            failures[step] = failures.get(step, 0) + 1
            policy = nodes[event.node].retry
            assert failures[step] <= 1 + (policy.max_retries if policy else 0)
    # Each crash can interrupt every running step once.
    started = [e for e, _ in run.journal if isinstance(e, NodeStarted)]
    for name in {e.node for e in started}:
        for scope in {e.scope for e in started if e.node == name}:
            assert sum(e.interrupted for e in started if (e.node, e.scope) == (name, scope)) <= run.lives - 1


@given(plans(), st.data())
def test_nothing_follows_a_final_event(plan: Plan, data: st.DataObject) -> None:
    run = Simulation(plan)
    run.run()
    event = data.draw(st.sampled_from([e for e, _ in run.journal] + [Cancelled(reason="late")]))

    assert decide(run.flow, run.state, running=(), now=NOON) == ()
    with pytest.raises(IllegalEvent):
        apply(run.state, event, NOON)


@MANY
@given(plans(), plans(), st.data())
def test_an_illegal_event_changes_nothing(plan: Plan, other: Plan, data: st.DataObject) -> None:
    run, foreign = Simulation(plan), Simulation(other)
    run.run()
    foreign.run()
    length = data.draw(st.integers(0, len(run.journal) - 1))
    event = data.draw(st.sampled_from([e for e, _ in (*run.journal, *foreign.journal)]))
    state = replay(run.journal[:length])

    try:
        apply(state, event, NOON)
    except IllegalEvent:
        assert state == replay(run.journal[:length])
    else:
        assert state.seq == length + 1


def test_a_handler_that_does_not_start_with_its_first_step_changes_nothing() -> None:
    run = simulation(node("a"), node("tidy"), outcomes={"a": ["~60"]}, on_finish="tidy")
    run.run(most_events=3)
    run.cancel()
    before = copy.deepcopy(run.state)

    for iteration, attempt in ((2, 1), (1, 2)):
        late = NodeStarted(node="tidy", node_type="test", iteration=iteration, attempt=attempt, scope="on_finish")
        with pytest.raises(IllegalEvent, match="out of order"):
            apply(run.state, late, NOON)

    assert run.state == before


@MANY
@given(plans(), st.integers(1, 12), crashes)
def test_on_finish_runs_to_its_end_however_few_steps_are_left(plan: Plan, most: int, crashes: list[bool]) -> None:
    flow = plan.flow
    plan = replace(plan, flow=replace(flow, on_finish=flow.on_finish or flow.start))
    run = Simulation(with_steps(plan, most), crashes)

    run.run()

    handled = [e for e, _ in run.journal if isinstance(e, ScopeEnded) and e.scope == "on_finish"]
    assert len(handled) == 1
    assert handled[0].error is None or handled[0].error.type != "limit.steps"


def test_a_handler_that_never_ends_leaves_the_other_one_its_steps() -> None:
    run = simulation(
        node("a"), node("again", {"default": "again"}), node("tidy"), outcomes={"a": ["!http.404"]},
        on_failure="again", on_finish="tidy", limits=FlowLimits(max_steps=5),
    )  # fmt: skip

    ending = run.run()

    assert isinstance(ending, Failed)
    assert ending.error.type == "http.404"
    ended = {e.scope: e for e, _ in run.journal if isinstance(e, ScopeEnded)}
    assert ended["on_failure"].error is not None
    assert ended["on_failure"].error.type == "limit.steps"
    assert ended["on_finish"].outcome == "completed"


@MANY
@given(plans(), st.integers(1, 60), crashes, st.booleans())
def test_an_execution_can_be_cancelled_at_any_event(
    plan: Plan, length: int, crashes: list[bool], is_queued: bool
) -> None:
    run = Simulation(plan, crashes, is_queued=is_queued)
    run.begin()
    run.run(most_events=length)
    if run.state.ending is not None:
        return
    ended = run.state.root.ended
    length = len(run.journal)

    run.cancel()
    # One that never began has nothing to finish, and waits for no slot to end.
    assert not run.state.is_queued or run.state.ending is not None
    ending = run.run()

    if ended is None:
        assert ending == Cancelled(reason="by hand")
        after = [e for e, _ in run.journal[length:] if isinstance(e, NodeStarted)]
        assert all(e.scope.partition("/")[0] == "on_finish" for e in after)
    else:
        # The flow had ended before the cancellation, so its outcome stands.
        kinds = {"completed": Completed, "failed": Failed, "cancelled": Cancelled}
        assert isinstance(ending, kinds[ended.outcome])


@MANY
@given(plans(), crashes)
def test_handlers_run_once_and_after_everything_else(plan: Plan, crashes: list[bool]) -> None:
    run = Simulation(plan, crashes)

    ending = run.run()

    events = [e for e, _ in run.journal]
    begun = [e.scope for e in events if isinstance(e, NodeStarted) and e.scope in HANDLERS and e.attempt == 1]
    firsts = list(dict.fromkeys(begun))
    wanted = [key for key in ("on_failure", "on_finish") if getattr(plan.flow, key) is not None]
    assert firsts == [key for key in wanted if key == "on_finish" or isinstance(ending, Failed)]
    if firsts:
        (end,) = [i for i, e in enumerate(events) if isinstance(e, ScopeEnded) and e.scope == ROOT]
        assert all(is_handler(e.scope) for e in events[end + 1 :] if isinstance(e, NodeStarted))


@given(plans())
def test_an_execution_waits_only_if_it_has_nothing_to_do(plan: Plan) -> None:
    """The status follows from the state after every event. Simulations check the converse."""
    run = Simulation(plan)
    run.run()

    state = ExecutionState()
    for event, at in run.journal:
        apply(state, event, at)
        if state.is_idle:
            decisions = decide(run.flow, state, running=(), now=at)
            assert decisions == () or isinstance(decisions[0], Wait) or state.due_at == at


def is_handler(scope: str) -> bool:
    return scope.partition("/")[0] in HANDLERS


def _nodes(graph: Graph) -> Iterator[tuple[str, Node]]:
    for name, one in graph.nodes.items():
        yield name, one
        for inner in one.child_scopes.values():
            yield from _nodes(inner)


# Single rules


def test_nothing_is_decided_before_the_execution_exists() -> None:
    assert decide(flow_with(node("a")), ExecutionState(), running=(), now=NOON) == ()


def test_a_step_under_way_is_left_alone() -> None:
    run = simulation(node("a"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    assert decide(run.flow, run.state, running={Step("a", 1)}, now=NOON) == ()


def test_an_interrupted_step_runs_again() -> None:
    run = simulation(node("a"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    again = NodeStarted(node="a", node_type="test", iteration=1, attempt=2, interrupted=True)
    assert decide(run.flow, run.state, running=(), now=NOON) == (Start(again),)


def test_all_interrupted_steps_are_decided_on_at_once() -> None:
    keys = [str(number) for number in range(50)]
    inside = Graph(start="in", nodes={"in": node("in")})
    run = Simulation(Plan(flow_with(node("each", child_scopes={"": inside})), {}, {}))
    run.record(Started(node="each", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(node="each", node_type="test", iteration=1, attempt=1))
    run.record(
        ScopesOpened(
            node="each",
            node_type="test",
            iteration=1,
            attempt=1,
            keys=keys,
            inputs=[None] * 50,
            concurrency=50,
            needed=50,
        )
    )
    for key in keys:
        run.record(NodeStarted(node="in", node_type="test", iteration=1, attempt=1, scope=f"each.1[{key}]"))

    decisions = decide(run.flow, run.state, running={Step("in", 1, "each.1[7]")}, now=NOON)

    assert [d.event.scope for d in decisions if isinstance(d, Start)] == [
        f"each.1[{key}]" for key in keys if key != "7"
    ]


def test_a_step_opens_no_scopes_while_others_of_it_run() -> None:
    inside = Graph(start="in", nodes={"in": node("in")})
    run = Simulation(Plan(flow_with(node("each", child_scopes={"": inside})), {}, {}))
    for event in loop_of_rounds(1)[:-1]:
        run.record(event)
    before = copy.deepcopy(run.state)

    with pytest.raises(IllegalEvent, match=r"^each\.1 opens scopes while others are running$"):
        run.record(loop_of_rounds(2)[-4])

    assert run.state == before


def test_an_interrupted_step_that_must_not_run_twice_fails_as_interrupted() -> None:
    run = simulation(node("a", {"error.interrupted": "b"}, repeatable=False), node("b"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    assert isinstance(run.run(), Completed)
    failures = [e for e, _ in run.journal if isinstance(e, NodeFailed)]
    assert [(e.error.type, e.retry_at) for e in failures] == [("interrupted", None)]


RESUMED: Final[Mapping[str, tuple[str, WaitFor, str]]] = {
    "approval": ("{prompt: x}", ApprovalWait("x"), "approval:a.1"),
    "wait": ("{key: k}", SignalWait("k"), "signal:k"),
    "flow": ("{flow: other}", ChildWait("exec-2", "flow-2"), "flow:exec-2"),
}


@pytest.mark.parametrize("type", RESUMED)
@pytest.mark.parametrize("has_effects", [False, True])
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_step_that_was_about_to_resume_at_a_crash_fails_only_if_that_may_have_an_effect(
    type: str, has_effects: bool, repeatable: bool
) -> None:
    params, wait, key = RESUMED[type]
    flow = flow_of(f"nodes: {{a: {{type: {type}, params: {params}, idempotent: {str(repeatable).lower()}}}}}")
    if has_effects:
        # As a node type of another package may.
        flow = replace(flow, nodes={"a": replace(flow.nodes["a"], resumes_purely=False)})
    events: list[Event] = [
        Started(node="a", node_type=type, input=None, cause=REQUESTED),
        NodeStarted(node="a", node_type=type, iteration=1, attempt=1),
        NodeWaiting(node="a", node_type=type, iteration=1, attempt=1, wait_for=wait),
        SignalReceived(key=key, payload={"approved": True}, by="account-1"),
    ]
    state = replay([(event, NOON) for event in events])

    here = decide(flow, state, running=(), now=NOON)
    (after_crash,) = decide(flow, state, running=(), now=NOON, cut_off=about_to_resume(state))

    assert here == (Resume(Step("a", 1)),)
    assert isinstance(after_crash, Start | Record)
    if has_effects and not repeatable:
        assert isinstance(after_crash.event, NodeFailed)
        assert after_crash.event.error.type == "interrupted"
    else:
        assert isinstance(after_crash.event, NodeStarted)
        assert (after_crash.event.attempt, after_crash.event.interrupted) == (2, True)


@pytest.mark.parametrize(("interruptions", "is_over"), [(1, False), (2, True)])
def test_a_crash_while_a_step_waits_costs_one_of_the_steps_that_an_execution_may_start(
    interruptions: int, is_over: bool
) -> None:
    flow = flow_of("{nodes: {a: {type: wait, params: {key: k}, next: b}, b: {type: log, params: {message: x}}}}")
    flow = replace(flow, limits=FlowLimits(max_steps=3))
    attempts = range(2, 2 + interruptions)
    events: list[Event] = [
        Started(node="a", node_type="wait", input=None, cause=REQUESTED),
        NodeStarted(node="a", node_type="wait", iteration=1, attempt=1),
        NodeWaiting(node="a", node_type="wait", iteration=1, attempt=1, wait_for=SignalWait("k")),
        SignalReceived(key="k", payload=None, by="account-1"),
        *(NodeStarted(node="a", node_type="wait", iteration=1, attempt=n, interrupted=True) for n in attempts),
        NodeCompleted(node="a", node_type="wait", iteration=1, attempt=attempts[-1], action="default", result=None),
    ]

    (decision,) = decide(flow, replay([(event, NOON) for event in events]), running=(), now=NOON)

    assert isinstance(decision, Finish if is_over else Start)
    assert not is_over or (isinstance(decision.event, Failed) and decision.event.error.type == "limit.steps")


def loop_of_rounds(number: int) -> list[Event]:
    """Return the events of a `while` that opens its rounds one by one, to the end of the last one."""
    events: list[Event] = [
        Started(node="each", node_type="test", input=None, cause=REQUESTED),
        NodeStarted(node="each", node_type="test", iteration=1, attempt=1),
    ]
    for key in map(str, range(number)):
        scope = f"each.1[{key}]"
        opened = ScopesOpened(
            node="each", node_type="test", iteration=1, attempt=1, keys=[key], inputs=[None], concurrency=1, needed=1
        )
        ran = NodeCompleted(
            node="in", node_type="test", iteration=1, attempt=1, action="default", result=key, scope=scope
        )
        events += [
            opened,
            NodeStarted(node="in", node_type="test", iteration=1, attempt=1, scope=scope),
            *(ran, ScopeEnded(scope=scope, outcome="completed")),
        ]
    return events


def test_a_loop_whose_round_has_ended_is_about_to_resume() -> None:
    events = loop_of_rounds(2)
    states = [replay([(event, NOON) for event in events[:count]]) for count in range(1, len(events) + 1)]

    found = [event for event, state in zip(events, states, strict=True) if about_to_resume(state)]

    assert found == [event for event in events if isinstance(event, ScopeEnded)]
    assert about_to_resume(states[-1]) == {Step("each", 1): 1}


def test_crashes_of_a_loop_are_counted_from_its_last_round_on() -> None:
    state = replay([(event, NOON) for event in loop_of_rounds(1)])
    for attempt in (2, 3):
        again = NodeStarted(node="each", node_type="test", iteration=1, attempt=attempt, interrupted=True)
        apply(state, again, NOON)
    before = state.at(Step("each", 1)).interruptions
    opened = ScopesOpened(
        node="each", node_type="test", iteration=1, attempt=3, keys=["1"], inputs=[None], concurrency=1, needed=1
    )

    apply(state, opened, NOON)

    assert (before, state.at(Step("each", 1)).interruptions) == (2, 0)


def opened_state(keys: Sequence[str], **settings: Any) -> ExecutionState:
    """Return the state of an execution whose first step `each.1` has opened scopes."""
    opened = ScopesOpened(
        node="each", node_type="test", iteration=1, attempt=1, keys=keys, inputs=keys, concurrency=len(keys),
        needed=len(keys), **settings,
    )  # fmt: skip
    return replay([(event, NOON) for event in (*loop_of_rounds(0), opened)])


def test_the_parts_of_many_scopes_are_collected_in_their_order_however_they_end() -> None:
    keys = [str(number) for number in range(12)]
    state = opened_state(keys)
    for key in reversed(keys[1:]):
        started = NodeStarted(node="in", node_type="test", iteration=1, attempt=1, scope=f"each.1[{key}]")
        apply(state, started, NOON)
        ended = ScopeEnded(scope=f"each.1[{key}]", outcome="completed", result=int(key), part_bytes=1)
        apply(state, ended, NOON)

    assert state.at(Step("each", 1)).collected({"0": "other"}) == ["other", *range(1, 12)]


@pytest.mark.parametrize(("not_before", "until"), [(1, 2), (2, 1), (None, 1), (1, None)])
def test_scopes_are_due_at_the_earlier_of_their_start_and_their_end(not_before: int | None, until: int | None) -> None:
    at = [None if seconds is None else NOON + timedelta(seconds=seconds) for seconds in (not_before, until)]

    state = opened_state(["0"], not_before=at[0], until=at[1])

    assert state.due_at == NOON + timedelta(seconds=1)


def test_a_failed_scope_names_the_innermost_step_that_failed() -> None:
    state, error = opened_state(["0"]), ErrorValue(type="a.b", message="m", node="in")
    at: dict[str, Any] = {"node": "in", "node_type": "test", "iteration": 1, "attempt": 1, "scope": "each.1[0]"}
    inner: dict[str, Any] = {**at, "node": "deep", "scope": "each.1[0]/in.1[0]"}
    opened = ScopesOpened(**at, keys=["0"], inputs=[None], concurrency=1, needed=1)
    failures = (NodeFailed(**inner, error=error), ScopeEnded(scope=inner["scope"], outcome="failed", error=error))

    for event in (NodeStarted(**at), opened, NodeStarted(**inner), *failures):
        apply(state, event, NOON)

    scopes = state.at(Step("in", 1, "each.1[0]")).open
    assert scopes is not None
    assert scopes.failed_at is not None
    assert scopes.failed_at.step == Step("deep", 1, "each.1[0]/in.1[0]")
    assert scopes.errors == {"0": error}


def test_a_node_that_keeps_ending_the_process_fails_in_the_end() -> None:
    run = simulation(node("a"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    starts = 0
    while not run.state.status.is_final:
        (decision,) = decide(run.flow, run.state, running=(), now=NOON)
        assert isinstance(decision, Start | Record | Finish)
        run.record(decision.event)
        starts += isinstance(decision.event, NodeStarted)

    assert starts == MAX_INTERRUPTIONS + 1
    assert isinstance(run.state.ending, Failed)
    assert run.state.ending.error.type == "worker_crashed"


def test_a_loop_ends_with_a_clear_error() -> None:
    run = simulation(node("a", {"default": "a"}))

    ending = run.run()

    assert isinstance(ending, Failed)
    assert ending.error.type == "limit.steps"
    assert run.state.started_attempts[ROOT] == MAX_STEPS


def test_a_loop_counts_the_visits_of_a_node() -> None:
    again = RetryPolicy(max_retries=1)
    run = simulation(node("a", {"default": "b"}), node("b", {"error": "a"}, retry=again), outcomes={"b": ["!timeout"]})

    run.run()

    starts = [(e.node, e.iteration, e.attempt) for e, _ in run.journal if isinstance(e, NodeStarted)]
    assert starts[:6] == [("a", 1, 1), ("b", 1, 1), ("b", 1, 2), ("a", 2, 1), ("b", 2, 1), ("b", 2, 2)]


@pytest.mark.parametrize(
    ("error", "target"),
    [
        ("http.404", "exact"),
        ("http.410", "class"),
        ("http.503", "family"),
        ("http.too_large", "family"),
        ("timeout", "any"),
        ("connection.refused", "any"),
    ],
)
def test_the_longest_matching_error_edge_wins(error: str, target: str) -> None:
    edges = {"error": "any", "error.http": "family", "error.http.4xx": "class", "error.http.404": "exact"}

    assert node("a", edges).error_target(error) == target


def test_an_error_never_takes_the_default_edge() -> None:
    run = simulation(node("a", {"default": "b"}), node("b"), outcomes={"a": ["!timeout"]})

    ending = run.run()

    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.error.node) == ("timeout", "a")


def test_the_last_result_flows_on_after_an_error() -> None:
    run = simulation(node("a", {"default": "b"}), node("b", {"error": "c"}), node("c"), outcomes={"b": ["!timeout"]})

    run.run()

    assert run.state.root.steps["c"].input == ["a", {"n": 1}]
    assert run.state.root.error is not None
    assert run.state.root.error.type == "timeout"


def test_every_kind_of_event_has_a_name_of_its_own() -> None:
    assert len(EVENT_TYPES) == 14


def test_a_loop_gives_what_its_runs_gave_in_the_order_of_their_elements() -> None:
    inside = Graph(start="in", nodes={"in": node("in")})
    plan = Plan(
        flow_with(node("each", child_scopes={"": inside})),
        {"each": Behaviour(["default"]), "in": Behaviour(["default"])},
        {"each": ScopePlan(kind="foreach", runs=3, concurrency=2)},
    )

    assert Simulation(plan).run() == Completed(result=[["in", ["item", key]] for key in "012"])


def test_a_variable_keeps_its_value_until_it_is_set_again() -> None:
    run = simulation(node("a", {"default": "b"}), node("b"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    for name, values in (("a", {"x": 1, "y": 1}), ("b", {"y": 2})):
        run.record(NodeStarted(node=name, node_type="test", iteration=1, attempt=1))
        done = NodeCompleted(
            node=name, node_type="test", iteration=1, attempt=1, action="default", result=None, vars=values
        )
        run.record(done)

    assert run.state.vars == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "event",
    [
        Admitted(),
        NodeStarted(node="a", node_type="test", iteration=1, attempt=3, interrupted=True),
        NodeStarted(node="a", node_type="test", iteration=2, attempt=1),
        NodeStarted(node="a", node_type="test", iteration=1, attempt=2),
    ],
)
def test_an_event_out_of_order_is_rejected(event: Event) -> None:
    run = simulation(node("a"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    with pytest.raises(IllegalEvent):
        run.record(event)
