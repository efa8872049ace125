"""The laws of `decide`, checked on random flows that a simulated process runs and crashes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner.domain.decide import MAX_INTERRUPTIONS, MAX_STEPS, Finish, Record, Start, Wait, decide, failed_try
from flowrunner.domain.execution import (
    EVENT_TYPES,
    Cancelled,
    Completed,
    Ending,
    Event,
    ExecutionState,
    Failed,
    Failure,
    IllegalEvent,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Started,
    Status,
    Step,
    NodeWaiting,
    replay,
)
from flowrunner.domain.expression import Constant
from flowrunner.domain.flow import Flow, Node
from flowrunner.domain.retry import RetryPolicy
from flowrunner.domain.values import JSON

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
ERRORS = ("http.503", "http.404", "timeout", "connection.refused")


@dataclass(frozen=True)
class Behaviour:
    """What the tries of a node give, in order; the last one is repeated.

    A try is an action, an error type that starts with "!", or a wait that starts with "~".
    """

    tries: Sequence[str]

    def outcome(self, failures: int) -> str:
        return self.tries[min(failures, len(self.tries) - 1)]


@dataclass
class Simulation:
    """One execution, advanced as an engine would, in a process that dies at chosen moments.

    Attributes:
        crashes: At each point where a process could die: whether it does.
    """

    flow: Flow
    behaviours: dict[str, Behaviour]
    crashes: list[bool] = field(default_factory=list)
    now: datetime = NOON
    journal: list[tuple[Event, datetime]] = field(default_factory=list)
    state: ExecutionState = field(default_factory=ExecutionState)
    running: set[Step] = field(default_factory=set)
    lives: int = 1
    # Once more than this the crashes stop, so that a run stays below the cap on interruptions.
    most_lives: int = 15

    def record(self, event: Event) -> None:
        self.state.apply(event, self.now)
        self.journal.append((event, self.now))
        self.now += timedelta(milliseconds=1)

    def dies_here(self) -> bool:
        if not self.crashes or not self.crashes.pop() or self.lives > self.most_lives:
            return False
        self.lives += 1
        self.running.clear()
        self.state = replay(self.journal)
        return True

    def run(self) -> Ending:
        if not self.journal:
            start = self.flow.nodes[self.flow.start]
            self.record(Started(node=start.name, node_type=start.type, input={"n": 1}))
        while self.state.ending is None:
            self.dies_here()
            decisions = decide(self.flow, self.state, running=self.running, now=self.now)
            if not decisions:
                self.finish_steps()
            for decision in decisions:
                match decision:
                    case Start(event):
                        self.record(event)
                        self.running.add(Step(event.node, event.iteration))
                    case Record(event) | Finish(event):
                        self.record(event)
                    case Wait(until):
                        assert until > self.now, "a wait that is over is no wait"
                        self.now = until
        return self.state.ending

    def finish_steps(self) -> None:
        assert self.running, "nothing to do and nothing under way: the execution would be stuck"
        for step in list(self.running):
            # The process may die between the effect of the step and its record.
            if self.dies_here():
                return
            self.running.discard(step)
            self.record(self.outcome_of(step))

    def outcome_of(self, step: Step) -> Event:
        current = self.state.steps[step.node]
        outcome = self.behaviours[step.node].outcome(current.failures)
        facts = {"node": step.node, "node_type": current.node_type, "iteration": step.iteration}
        if outcome.startswith("!"):
            error = Failure(type=outcome[1:], message=f"{step.node} failed", node=step.node)
            return failed_try(self.flow, current, error, now=self.now, draw=0.5)
        result: JSON = [step.node, current.input]
        if outcome.startswith("~"):
            until = self.now + timedelta(seconds=float(outcome[1:]))
            return NodeWaiting(**facts, attempt=current.attempts, until=until, result=result)
        return NodeCompleted(**facts, attempt=current.attempts, action=outcome, result=result)


def node(name: str, next: dict[str, str] | None = None, **settings: object) -> Node:
    return Node(name=name, type="test", params=Constant({}), next=next or {}, **settings)  # type: ignore[arg-type]


def flow_with(*nodes: Node) -> Flow:
    return Flow(
        name="", description="", version="", tags=(), start=nodes[0].name, nodes={n.name: n for n in nodes}, vars={}
    )


@st.composite
def simulations(draw: st.DrawFn, *, counts_time: bool = True) -> Simulation:
    """Acyclic flows: edges lead only to later nodes.

    Args:
        counts_time: Whether retries may depend on the time that passes, which crashes change.
    """
    count = draw(st.integers(1, 6))
    names = [f"n{i}" for i in range(count)]
    nodes, behaviours = [], {}
    for i, name in enumerate(names):
        later = st.sampled_from(names[i + 1 :]) if i + 1 < count else st.nothing()
        keys = st.sampled_from(["default", "other", "error", "error.http", "error.http.5xx", "error.timeout"])
        edges = draw(st.dictionaries(keys, later, max_size=4)) if i + 1 < count else {}
        retry = draw(
            st.none()
            | st.builds(
                RetryPolicy,
                max_retries=st.integers(0, 3),
                first_delay=st.floats(0, 5),
                max_elapsed=st.none() | st.floats(0, 20) if counts_time else st.none(),
            )
        )
        nodes.append(node(name, edges, retry=retry))
        tries = st.sampled_from(["default", "other", "return", "~0.5", "~3600", *(f"!{e}" for e in ERRORS)])
        behaviours[name] = Behaviour(draw(st.lists(tries, min_size=1, max_size=4)))
    return Simulation(flow_with(*nodes), behaviours)


def fresh(simulation: Simulation, crashes: Sequence[bool] = ()) -> Simulation:
    return Simulation(simulation.flow, simulation.behaviours, list(crashes))


@given(simulations())
def test_every_flow_without_loops_ends(simulation: Simulation) -> None:
    ending = simulation.run()

    assert isinstance(ending, Completed | Failed)
    assert len(simulation.state.steps) <= len(simulation.flow.nodes)
    assert all(step.step.iteration == 1 for step in simulation.state.steps.values())


@given(simulations(), st.lists(st.booleans(), max_size=60))
def test_a_replay_of_the_events_equals_the_live_state(simulation: Simulation, crashes: list[bool]) -> None:
    run = fresh(simulation, crashes)
    run.run()

    assert replay(run.journal) == run.state
    for length in range(1, len(run.journal)):
        assert replay(run.journal[:length]).seq == length


@settings(max_examples=300)
@given(simulations(counts_time=False), st.lists(st.booleans(), max_size=80))
def test_crashes_do_not_change_how_an_execution_ends(simulation: Simulation, crashes: list[bool]) -> None:
    undisturbed = fresh(simulation).run()

    assert fresh(simulation, crashes).run() == undisturbed


@given(simulations(), st.lists(st.booleans(), max_size=80))
def test_a_completed_step_never_starts_again(simulation: Simulation, crashes: list[bool]) -> None:
    run = fresh(simulation, crashes)
    run.run()

    done: set[tuple[str, int]] = set()
    tries: dict[tuple[str, int], int] = {}
    for event, _ in run.journal:
        if isinstance(event, NodeStarted):
            step = (event.node, event.iteration)
            assert step not in done
            assert event.attempt == tries.get(step, 0) + 1
            tries[step] = event.attempt
        elif isinstance(event, NodeCompleted):
            done.add((event.node, event.iteration))


@given(simulations(), st.lists(st.booleans(), max_size=60))
def test_a_crash_adds_a_try_and_takes_none_from_the_retries(simulation: Simulation, crashes: list[bool]) -> None:
    run = fresh(simulation, crashes)
    run.run()

    started = [e for e, _ in run.journal if isinstance(e, NodeStarted)]
    assert sum(e.interrupted for e in started) <= run.lives - 1
    for step in run.state.steps.values():
        policy = run.flow.nodes[step.step.node].retry
        assert step.failures <= 1 + (policy.max_retries if policy else 0)


@given(simulations(), st.data())
def test_nothing_follows_a_final_event(simulation: Simulation, data: st.DataObject) -> None:
    simulation.run()
    event = data.draw(st.sampled_from([e for e, _ in simulation.journal] + [Cancelled(reason="late")]))

    assert decide(simulation.flow, simulation.state, running=(), now=NOON) == ()
    with pytest.raises(IllegalEvent):
        simulation.state.apply(event, NOON)


@given(simulations(), st.data())
def test_an_illegal_event_changes_nothing(simulation: Simulation, data: st.DataObject) -> None:
    simulation.run()
    length = data.draw(st.integers(0, len(simulation.journal) - 1))
    event = data.draw(st.sampled_from([e for e, _ in simulation.journal]))
    state = replay(simulation.journal[:length])

    try:
        state.apply(event, NOON)
    except IllegalEvent:
        assert state == replay(simulation.journal[:length])
    else:
        assert state.seq == length + 1


@given(simulations(), st.integers(0, 60))
def test_an_execution_can_be_cancelled_after_any_event_but_the_last(simulation: Simulation, length: int) -> None:
    simulation.run()
    state = replay(simulation.journal[: 1 + min(length, len(simulation.journal) - 2)])

    state.apply(Cancelled(reason="by hand"), NOON)

    assert state.status is Status.CANCELLED


# Single rules


def test_nothing_is_decided_before_the_execution_exists() -> None:
    assert decide(flow_with(node("a")), ExecutionState(), running=(), now=NOON) == ()


def test_a_step_under_way_is_left_alone() -> None:
    run = Simulation(flow_with(node("a")), {})
    run.record(Started(node="a", node_type="test", input=None))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    assert decide(run.flow, run.state, running={Step("a", 1)}, now=NOON) == ()


def test_an_interrupted_step_runs_again() -> None:
    run = Simulation(flow_with(node("a")), {})
    run.record(Started(node="a", node_type="test", input=None))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    again = NodeStarted(node="a", node_type="test", iteration=1, attempt=2, interrupted=True)
    assert decide(run.flow, run.state, running=(), now=NOON) == (Start(again),)


def test_an_interrupted_step_that_must_not_run_twice_fails_as_interrupted() -> None:
    flow = flow_with(node("a", {"error.interrupted": "b"}, repeatable=False), node("b"))
    run = Simulation(flow, {"b": Behaviour(["default"])})
    run.record(Started(node="a", node_type="test", input=None))
    run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=1))

    assert isinstance(run.run(), Completed)
    failures = [e for e, _ in run.journal if isinstance(e, NodeFailed)]
    assert [(e.error.type, e.retry_at) for e in failures] == [("interrupted", None)]


def test_a_node_that_keeps_ending_the_process_fails_in_the_end() -> None:
    run = Simulation(flow_with(node("a")), {})
    run.record(Started(node="a", node_type="test", input=None))
    starts = 0
    while not run.state.status.is_final:
        (decision,) = decide(run.flow, run.state, running=(), now=NOON)
        assert not isinstance(decision, Wait)
        run.record(decision.event)
        starts += isinstance(decision.event, NodeStarted)

    assert starts == MAX_INTERRUPTIONS + 1
    assert isinstance(run.state.ending, Failed)
    assert run.state.ending.error.type == "worker_crashed"


def test_a_loop_ends_with_a_clear_error() -> None:
    run = Simulation(flow_with(node("a", {"default": "a"})), {"a": Behaviour(["default"])})

    ending = run.run()

    assert isinstance(ending, Failed)
    assert ending.error.type == "limit.steps"
    assert run.state.started_tries == MAX_STEPS


def test_a_loop_counts_the_visits_of_a_node() -> None:
    flow = flow_with(node("a", {"default": "b"}), node("b", {"error": "a"}, retry=RetryPolicy(max_retries=1)))
    run = Simulation(flow, {"a": Behaviour(["default"]), "b": Behaviour(["!timeout"])})

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
    run = Simulation(flow_with(node("a", {"default": "b"}), node("b")), {"a": Behaviour(["!timeout"])})

    ending = run.run()

    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.error.node) == ("timeout", "a")


def test_what_flows_on_after_an_error_is_the_last_result() -> None:
    flow = flow_with(node("a", {"default": "b"}), node("b", {"error": "c"}), node("c"))
    run = Simulation(flow, {"a": Behaviour(["default"]), "b": Behaviour(["!timeout"]), "c": Behaviour(["default"])})

    run.run()

    assert run.state.steps["c"].input == ["a", {"n": 1}]
    assert run.state.error is not None
    assert run.state.error.type == "timeout"


def test_every_kind_of_event_has_a_name_of_its_own() -> None:
    assert len(EVENT_TYPES) == 9
