"""Random flows, and their executions by a simulated engine in a process that crashes at chosen points."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict, TypeVar
from zlib import crc32

from hypothesis import strategies as st

from flowrunner.domain.causes import Requested
from flowrunner.domain.decide import about_to_resume, decide, evaluated, fail_attempt, node_of
from flowrunner.domain.decisions import (
    Decision,
    Evaluate,
    Finish,
    Record,
    Resume,
    Start,
    Wait,
    cancelled,
)
from flowrunner.domain.events import (
    ROOT,
    Admitted,
    Completed,
    Ending,
    ErrorValue,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.expression import Constant
from flowrunner.domain.flow import Flow, FlowLimits, Graph, Node
from flowrunner.domain.prepared import prepared
from flowrunner.domain.retry import RetryPolicy
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import StepState
from flowrunner.domain.transitions import apply, replay
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import ChildWait, SignalWait, TimeWait, signal_key

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
REQUESTED: Final = Requested(by=None)
ERRORS: Final = ("http.503", "http.404", "timeout", "connection.refused")
Timed = tuple[Event, datetime]
G = TypeVar("G", bound=Graph)


class _Facts(TypedDict):
    node: str
    node_type: str
    iteration: int
    attempt: int
    scope: str


@dataclass(frozen=True)
class Behaviour:
    """The outcomes of a node's attempts.

    An outcome is an action, `skip`, `return`, an error type after "!", a wait of seconds after "~", or a wait for a
    signal: `?` and the seconds until it ends, with `!` after them if the step then fails. `@` is a sub-flow, whose end
    is the step's.

    Attributes:
        is_mixed: Runs of the node in other scopes start at another outcome.
    """

    outcomes: Sequence[str]
    is_mixed: bool = False

    def outcome(self, step: Step, failures: int) -> str:
        if self.is_mixed:
            return self.outcomes[(crc32(str(step).encode()) + failures) % len(self.outcomes)]
        return self.outcomes[min(failures, len(self.outcomes) - 1)]


@dataclass(frozen=True, kw_only=True)
class ScopePlan:
    """The plan of a node's own scopes.

    Attributes:
        runs: Number of elements or iterations of a loop.
        needed: Number that have to complete; None for all.
        seconds: Timeout of all together.
        pause: Seconds between the iterations of a `while`.
    """

    kind: str
    runs: int = 0
    concurrency: int = 1
    needed: int | None = None
    ignore_failures: bool = False
    seconds: float | None = None
    pause: float | None = None


@dataclass(frozen=True)
class Plan:
    """A flow, and the behaviour of its nodes."""

    flow: Flow
    behaviours: Mapping[str, Behaviour]
    scope_plans: Mapping[str, ScopePlan] = field(default_factory=dict)
    subflows: Mapping[str, "Plan"] = field(default_factory=dict)
    # Decides which of the running steps ends first.
    seed: int = 0


@dataclass
class Simulation:
    """An execution of a plan, advanced as the engine does it.

    The clock stands still while a step is running: the duration of a restart has no effect.

    Attributes:
        crashes: For each possible point of a crash, whether the process crashes there.
        subflows: Executions started by its steps, by the key of the signal for their end.
    """

    plan: Plan
    crashes: list[bool] = field(default_factory=list)
    is_queued: bool = False
    now: datetime = NOON
    journal: list[Timed] = field(default_factory=list)
    state: ExecutionState = field(default_factory=ExecutionState)
    running: set[Step] = field(default_factory=set)
    cut_off: Mapping[Step, int] = field(default_factory=dict)
    subflows: dict[str, "Simulation"] = field(default_factory=dict)
    lives: int = 1
    # No crashes after this many, so that a run stays below the limit on interruptions.
    most_lives: int = 15

    @property
    def flow(self) -> Flow:
        return self.plan.flow

    def record(self, event: Event) -> None:
        apply(self.state, event, self.now)
        self.journal.append((event, self.now))

    def dies_here(self) -> bool:
        if not self.crashes or not self.crashes.pop() or self.lives > self.most_lives:
            return False
        self.lives += 1
        self.running.clear()
        self.state = replay(self.journal)
        self.cut_off = about_to_resume(self.state)
        return True

    def begin(self, kept: Sequence[Timed] = ()) -> None:
        start = self.flow.nodes[self.flow.start]
        self.record(
            Started(node=start.name, node_type=start.type, input={"n": 1}, cause=REQUESTED, is_queued=self.is_queued)
        )
        for event, at in kept:
            apply(self.state, event, at)
            self.journal.append((event, at))

    def run(self, most_events: int | None = None) -> Ending | None:
        """Continue to the end, or until there are ``most_events`` events."""
        if not self.journal:
            self.begin()
        while self.state.ending is None and (most_events is None or len(self.journal) < most_events):
            if self.dies_here():
                continue
            decisions = decide(self.flow, self.state, running=self.running, now=self.now, cut_off=self.cut_off)
            if not decisions or isinstance(decisions[0], Wait):
                self.let_time_pass(decisions)
                continue
            for decision in decisions:
                self.act(decision)
                if self.dies_here():
                    break
        return self.state.ending

    def act(self, decision: Decision) -> None:
        match decision:
            case Start(event):
                self.record(event)
                self.running.add(Step(event.node, event.iteration, event.scope))
            case Resume(step):
                self.running.add(step)
            case Record(event):
                if isinstance(event, ScopeEnded):
                    inside = {s.step for frame in self.state.within(event.scope) for s in frame.steps.values()}
                    self.running -= inside
                self.record(event)
            case Evaluate(last) if last.scope == ROOT:
                is_wrong = crc32(f"{self.plan.seed}outputs".encode()) % 5 == 0
                error = ErrorValue(type="expression", message="no outputs")
                right = ScopeEnded(scope=ROOT, outcome="completed", result=["outputs"])
                wrong = ScopeEnded(scope=ROOT, outcome="failed", error=error)
                for following in evaluated(self.flow, self.state, wrong if is_wrong else right):
                    self.act(following)
            case Evaluate(last):
                scope = last.scope
                part = ScopeEnded(scope=scope, outcome="completed", result=scope, part_bytes=len(scope))
                for following in evaluated(self.flow, self.state, part):
                    self.act(following)
            case Finish(event):
                self.record(event)
                self.running.clear()
            case Wait():
                pass

    def let_time_pass(self, decisions: Sequence[Decision]) -> None:
        """End a step, send a signal, or advance the clock, as there is nothing to decide."""
        if self.running:
            step = min(self.running, key=lambda step: crc32(f"{self.plan.seed}{step}".encode()))
            # The process may crash between the effect of the step and its record.
            if not self.dies_here():
                self.running.discard(step)
                self.finish(step)
            return
        # No step is running, so the engine unloads the execution: there must be nothing left to do.
        assert self.state.is_idle, f"parked while it is {self.state.status}"
        assert decide(self.flow, self.state, running=(), now=self.now) == tuple(decisions)
        if self.state.is_queued:
            self.record(Admitted())
            return
        waits = (self.state.at(step).waiting for step in self.state.timed)
        key = next((wait.signal_key for wait in waits if wait and wait.signal_key), None)
        if key in self.subflows:
            self.record(SignalReceived(key=key, payload=self.subflows[key].run_as_subflow()))
            return
        if key is not None and crc32(f"{self.plan.seed}{key}".encode()) % 4:
            self.record(SignalReceived(key=key, payload=["signal", key]))
            return
        if decisions:
            (wait,) = decisions
            assert isinstance(wait, Wait)
            assert wait.until > self.now, "a wait that is over is no wait"
            self.now = wait.until
            return
        assert key is not None, "nothing to do, nothing under way and nothing awaited: the execution would be stuck"
        self.record(SignalReceived(key=key, payload=["signal", key]))

    def run_as_subflow(self) -> JSON:
        """Run to the end; return the payload of the signal to the parent."""
        ending = self.run()
        if isinstance(ending, Failed):
            return {"error": ending.error.type}
        return {"result": ending.result if isinstance(ending, Completed) else None}

    def finish(self, step: Step) -> None:
        current = self.state.at(step)
        chance = crc32(f"{self.plan.seed}.{step}.{current.failures}".encode())
        if chance % 8 == 0:
            self.record(Logged(level="info", message="here", node=step.node, scope=step.scope))
        outcome = self.plan.behaviours[step.node].outcome(step, current.failures)
        if outcome.startswith("?") and chance % 3 == 0 and current.status is StepStatus.RUNNING:
            key = signal_key("signal", str(step))
            if key not in self.state.signals:
                self.record(SignalReceived(key=key, payload=["early"]))
        self.record(self.outcome_of(current, outcome))

    def outcome_of(self, current: StepState, outcome: str) -> Event:
        step, scope_plan = current.step, self.plan.scope_plans.get(current.step.node)
        facts = _Facts(
            node=step.node,
            node_type=current.node_type,
            iteration=step.iteration,
            attempt=current.attempts,
            scope=step.scope,
        )
        result: JSON = [step.node, _shortened(current.input)]
        if outcome == "@":
            return self.after_subflow(current, facts)
        if current.status is StepStatus.RESUMING:
            if outcome.endswith("!"):
                return self.failure(current, "http.503")
            return NodeCompleted(**facts, action="default", result=[step.node, current.signal])
        if current.status is StepStatus.OPEN:
            return self.after_scopes(current, facts, scope_plan)
        if outcome.startswith("!"):
            return self.failure(current, outcome[1:])
        if outcome.startswith("~"):
            moment = self.now + timedelta(seconds=float(outcome[1:]))
            return NodeWaiting(**facts, wait_for=TimeWait(moment), result=result)
        if outcome.startswith("?"):
            return NodeWaiting(
                **facts,
                wait_for=SignalWait(str(step)),
                deadline=self.now + timedelta(seconds=float(outcome[1:].rstrip("!"))),
                fail_at_deadline=outcome.endswith("!"),
                action="timeout",
            )
        if scope_plan is not None and outcome == "default":
            return self.open_scopes(current, facts, scope_plan)
        is_skipped, is_last = outcome == "skip", outcome == "return"
        return NodeCompleted(
            **facts,
            action="skipped" if is_skipped else "default" if is_last else outcome,
            result=current.input if is_skipped else result,
            skipped=is_skipped,
            is_last=is_last,
            vars={step.node: step.iteration} if crc32(step.node.encode()) % 3 == 0 else None,
        )

    def after_subflow(self, current: StepState, facts: _Facts) -> Event:
        child = f"{current.step}.{current.failures}"
        key = signal_key("flow", child)
        if current.status is not StepStatus.RESUMING:
            if key not in self.subflows:
                self.subflows[key] = Simulation(self.plan.subflows[current.step.node], self.crashes)
            return NodeWaiting(**facts, wait_for=ChildWait(child, ""))
        assert isinstance(current.signal, dict), "its end is what it waited for"
        if "error" in current.signal:
            return self.failure(current, str(current.signal["error"]))
        return NodeCompleted(**facts, action="default", result=_shortened(current.signal["result"]))

    def failure(self, current: StepState, type: str) -> Event:
        error = ErrorValue(type=type, message=f"{current.step.node} failed", node=current.step.node)
        return fail_attempt(self.flow, self.state, current, error, now=self.now, draw=0.5)

    def open_scopes(self, current: StepState, facts: _Facts, scope_plan: ScopePlan) -> Event:
        until = None if scope_plan.seconds is None else self.now + timedelta(seconds=scope_plan.seconds)
        if scope_plan.kind == "while":
            if scope_plan.runs == 0:
                return self.gathered(current, facts, {}) or NodeCompleted(
                    **facts, action="default", result=current.input
                )
            return ScopesOpened(**facts, keys=["0"], inputs=[current.input], concurrency=1, needed=1, until=until)
        if scope_plan.kind == "parallel":
            keys = list(node_of(self.flow, self.state, current.step).child_scopes)
        else:
            keys = [str(i) for i in range(scope_plan.runs)]
        return ScopesOpened(
            **facts,
            keys=keys,
            inputs=[["item", key] for key in keys],
            concurrency=scope_plan.concurrency,
            needed=len(keys) if scope_plan.needed is None else min(scope_plan.needed, len(keys)),
            ignore_failures=scope_plan.ignore_failures,
            until=until,
        )

    def after_scopes(self, current: StepState, facts: _Facts, scope_plan: ScopePlan | None) -> Event:
        scopes = current.open
        assert scopes is not None
        assert scope_plan is not None
        assert scopes.may_continue, "a step goes on when enough of its scopes have ended"
        assert not scopes.active, "nothing goes on in the scopes of a step that goes on"
        keys = scopes.opened.keys
        if scope_plan.kind != "while":
            none: dict[str, JSON] = {key: "none" for key in keys if key not in scopes.results}
            if gathered := self.gathered(current, facts, none):
                return gathered
            gave = [scopes.results.get(key, "none") for key in keys]
            return NodeCompleted(**facts, action="default", result=[_shortened(one) for one in gave])
        index, result = int(keys[0]) + 1, scopes.results[keys[0]]
        if index >= scope_plan.runs:
            return self.gathered(current, facts, {}) or NodeCompleted(**facts, action="default", result=result)
        return ScopesOpened(
            **facts,
            keys=[str(index)],
            inputs=[_shortened(result)],
            concurrency=1,
            needed=1,
            not_before=None if scope_plan.pause is None else self.now + timedelta(seconds=scope_plan.pause),
            until=scopes.opened.until,
        )

    def gathered(self, current: StepState, facts: _Facts, others: Mapping[str, JSON]) -> NodeCompleted | None:
        """Return the completion of a loop that collects."""
        if node_of(self.flow, self.state, current.step).collect is None:
            return None
        return NodeCompleted(**facts, action="default", result=None, collected=others)

    def cancel(self) -> None:
        """Cancel the execution as the engine does: stop running steps, then decide on the end."""
        decision = cancelled(self.flow, self.state, "by hand")
        if decision is not None:
            self.running.clear()
            self.act(decision)


def _shortened(value: JSON) -> JSON:
    """Return a value, or its checksum if it is long, so that values do not grow with each step."""
    return value if len(str(value)) < 60 else crc32(str(value).encode())


def node(name: str, next: Mapping[str, str] | None = None, **settings: Any) -> Node:
    return Node(name=name, type="test", params=prepared(Constant({})), next=next or {}, **settings)


def flow_with(*nodes: Node, **settings: Any) -> Flow:
    return Flow(
        name="", description="", version="", tags=(), vars={}, start=nodes[0].name, nodes={n.name: n for n in nodes},
        **settings,
    )  # fmt: skip


def simulation(*nodes: Node, outcomes: Mapping[str, Sequence[str]] | None = None, **settings: object) -> Simulation:
    """Return an execution of these nodes; each attempt ends with `default` unless ``outcomes`` has another."""
    behaviours = {n.name: Behaviour((outcomes or {}).get(n.name, ["default"])) for n in nodes}
    return Simulation(Plan(flow_with(*nodes, **settings), behaviours))


EDGES: Final = ("default", "other", "skipped", "timeout", "error", "error.http", "error.http.5xx", "error.timeout")
OUTCOMES: Final = (
    "default", "default", "default", "other", "skip", "return", "~0.5", "~3600", "?60", "?60!",
    *(f"!{error}" for error in ERRORS),
)  # fmt: skip


def plans(*, has_scopes: bool = True, has_limits: bool = True, has_subflows: bool = True) -> st.SearchStrategy[Plan]:
    """Return a strategy for flows whose edges lead only to later nodes.

    Each is made from a seed: a hypothesis strategy for each detail took a hundred times as long. They shrink by size.

    Args:
        has_limits: Whether an execution may time out.
    """

    def make(seed: int, size: int) -> Plan:
        planner = _Planner(random.Random(seed), has_scopes=has_scopes, has_limits=has_limits)
        return planner.plan(size, has_subflows=has_subflows)

    return st.builds(make, seed=st.integers(0, 2**32), size=st.integers(1, 5))


class _Planner:
    """The generator of a flow and its behaviour."""

    def __init__(self, chance: random.Random, *, has_scopes: bool, has_limits: bool) -> None:
        self.chance = chance
        self.has_scopes = has_scopes
        self.has_limits = has_limits
        self.behaviours: dict[str, Behaviour] = {}
        self.scope_plans: dict[str, ScopePlan] = {}
        self.subflows: dict[str, Plan] = {}

    def plan(self, size: int, *, has_subflows: bool) -> Plan:
        root = self.graph("", size, 0)
        if has_subflows:
            leaves = [name for name in self.behaviours if name not in self.scope_plans]
            for name in self.chance.sample(leaves, min(len(leaves), self.chance.choice((0, 0, 1, 2)))):
                self.behaviours[name] = Behaviour(["@"])
                child = _Planner(self.chance, has_scopes=self.has_scopes, has_limits=self.has_limits)
                self.subflows[name] = child.plan(2, has_subflows=False)
        handlers = [None, *root.nodes]
        flow = flow_with(
            *root.nodes.values(),
            outputs=self.chance.choice((None, prepared(Constant(1)))),
            on_failure=self.chance.choice(handlers),
            on_finish=self.chance.choice(handlers),
            limits=FlowLimits(timeout_seconds=self.limit(1.0, 100.0, 10_000.0)),
        )
        return Plan(flow, self.behaviours, self.scope_plans, self.subflows, self.chance.randrange(2**16))

    def limit(self, *seconds: float) -> float | None:
        return self.chance.choice((None, *seconds)) if self.has_limits else None

    def graph(self, prefix: str, most: int, depth: int) -> Graph:
        names = [f"{prefix}{letter}" for letter in "abcde"[: self.chance.randint(1, most)]]
        nodes = {name: self.node(name, names[index + 1 :], most, depth) for index, name in enumerate(names)}
        return Graph(start=names[0], nodes=nodes)

    def node(self, name: str, later: Sequence[str], most: int, depth: int) -> Node:
        edges = {}
        if later:
            edges = {self.chance.choice(EDGES): self.chance.choice(later) for _ in range(self.chance.randint(0, 4))}
            if self.chance.random() < 0.75:
                # Most nodes have a default edge, so that executions reach many nodes.
                edges["default"] = later[0]
        kinds = ["leaf", "leaf", "foreach", "while", "parallel"] if self.has_scopes and depth < 3 else ["leaf"]
        kind, is_mixed = self.chance.choice(kinds), self.chance.random() < 0.5
        if kind == "leaf":
            outcomes = [self.chance.choice(OUTCOMES) for _ in range(self.chance.randint(1, 4))]
            self.behaviours[name] = Behaviour(outcomes, is_mixed)
            return node(name, edges, retry=self.retry(), repeatable=self.chance.random() < 0.8)
        self.behaviours[name] = Behaviour([self.chance.choice(["default"] * 6 + ["skip", "!http.404"])], is_mixed)
        self.scope_plans[name] = ScopePlan(
            kind=kind,
            runs=self.chance.randint(0, 4),
            concurrency=self.chance.randint(1, 4) if kind == "foreach" else 9,
            needed=self.chance.choice((None, 1, 2)) if kind == "parallel" else None,
            ignore_failures=kind == "foreach" and self.chance.random() < 0.5,
            seconds=self.limit(0.3, 90.0, 5000.0),
            pause=self.chance.choice((None, 60.0)),
        )
        keys = ["left", "middle", "right"][: self.chance.randint(1, 3)] if kind == "parallel" else [""]
        scopes = {key: self.graph(f"{name}{key[:1]}", min(most, 3), depth + 1) for key in keys}
        collects = kind in ("foreach", "while") and self.chance.random() < 0.4
        collect = prepared(Constant(1)) if collects else None
        return node(name, edges, child_scopes=scopes, collect=collect, timeout_seconds=None)

    def retry(self) -> RetryPolicy | None:
        if self.chance.random() < 0.3:
            return None
        return RetryPolicy(
            max_retries=self.chance.randint(0, 3),
            first_delay=self.chance.choice((0.0, 0.5, 5.0)),
            max_elapsed=self.chance.choice((None, None, 0.0, 20.0)),
        )


def with_steps(plan: Plan, most: int) -> Plan:
    """Return the plan with another limit on steps."""
    flow = plan.flow
    return replace(plan, flow=replace(flow, limits=replace(flow.limits, max_steps=most)))


def repeatable(plan: Plan) -> Plan:
    """Return the plan with all nodes repeatable after a crash."""
    subflows = {name: repeatable(child) for name, child in plan.subflows.items()}
    return replace(plan, flow=_all_repeatable(plan.flow), subflows=subflows)


def _all_repeatable(graph: G) -> G:
    nodes = {
        name: replace(
            one,
            repeatable=True,
            child_scopes={key: _all_repeatable(inner) for key, inner in one.child_scopes.items()},
        )
        for name, one in graph.nodes.items()
    }
    return replace(graph, nodes=nodes)
