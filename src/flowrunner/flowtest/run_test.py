"""Flow tests: offline runs of a flow on a virtual clock."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.events import ErrorValue, Event, Failed, Started
from flowrunner.domain.explain import waiting_for
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.flow import Flow
from flowrunner.domain.transitions import replay
from flowrunner.domain.triggers import WebhookTrigger
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, rfc3339
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.flowtest.memory import (
    BY_NOBODY,
    NOBODY,
    GivenFlow,
    GivenFlows,
    MemoryJournal,
    MemorySecrets,
    MemoryStore,
    new_execution,
)
from flowrunner.flowtest.mismatches import Mismatch, mismatches, status_of
from flowrunner.flowtest.mock_registry import MockedType, MockRegistry
from flowrunner.flowtest.offline import NoHttp, NoImap, NoMail, NoSql
from flowrunner.flowtest.paths import Edge, Trace, taken, trace
from flowrunner.flowtest.subflows import GivenSubFlows
from flowrunner.flowtest.virtual_time import ClockedSandbox, NullBroadcast, VirtualClock, VirtualTimeDispatcher
from flowrunner.language.flow_tests import NOT_STARTED, FlowTest, Mock, NodePath, read_mocks
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.plugin import (
    NodeType,
)
from flowrunner.ports.journal import load_whole
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.secrets import Redactor
from flowrunner.services.admission import InputForms
from flowrunner.services.trigger_values import FiredTrigger

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Real parts that flow tests run with."""

    node_types: Mapping[str, NodeType[Any]]
    sandbox: Sandbox
    schemas: SchemaEngine
    make_redactor: Callable[[Iterable[str]], Redactor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTestResult:
    """Result of a flow test.

    Attributes:
        problems: Reasons why the test is not meaningful.
        seconds: Duration of the test.
        virtual_seconds: Duration of the execution by the virtual clock.
    """

    test: FlowTest
    status: str
    mismatches: Sequence[Mismatch]
    problems: Sequence[str]
    events: Sequence[Event]
    trace: Trace
    edges: frozenset[Edge]
    seconds: float
    virtual_seconds: float = 0.0

    @property
    def has_passed(self) -> bool:
        return not self.mismatches and not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """An engine in memory, on a virtual clock, for one test."""

    journal: MemoryJournal
    clock: VirtualClock
    sandbox: Sandbox
    registry: MockRegistry
    forms: InputForms
    dispatcher: VirtualTimeDispatcher
    next_id: Callable[[], ExecutionId]


async def run_flow_test(
    given: GivenFlow, test: FlowTest, flows: GivenFlows, runtime: Runtime, *, most_seconds: float = 60.0
) -> FlowTestResult:
    """Run one test of a flow, which may start the other ``flows``.

    Args:
        most_seconds: Limit of real time. Waits take no real time, so a longer test is probably an endless loop.
    """
    began = time.monotonic()
    machine = await _machine(given, test, flows, runtime)
    problems = machine.registry.problems
    waits: Sequence[JSON] = ()
    try:
        asked = await _input_of(given.flow, test, machine.sandbox, machine.registry.problem)
        if asked is None:
            return _not_started(given.flow, test, problems, seconds=time.monotonic() - began)
        input = await machine.forms.check(NOBODY, given.revision_id, given.flow, asked)
    except InvalidInput as error:
        events = _rejected(given.flow, test.input, error)
    else:
        events, waits = await _execute(machine, given, test, input, most_seconds=most_seconds)
    return FlowTestResult(
        test=test,
        status=status_of(events),
        # With problems, the outcome of the execution is not meaningful.
        mismatches=() if problems else mismatches(given.flow, events, test.expect, waits),
        problems=problems,
        events=events,
        trace=trace(given.flow, events),
        edges=frozenset(taken(given.flow, events)),
        seconds=time.monotonic() - began,
        virtual_seconds=(machine.clock.now() - test.now).total_seconds(),
    )


async def _machine(given: GivenFlow, test: FlowTest, flows: GivenFlows, runtime: Runtime) -> _Machine:
    journal, clock, forms = MemoryJournal(), VirtualClock(test.now), InputForms(runtime.schemas)
    registry = MockRegistry(journal=journal, flows=flows, mocks={})
    registry.mocks = _mocks(given, test, flows, registry.problems)
    sandbox = ClockedSandbox(runtime.sandbox, clock)
    deps = _dependencies(test, runtime, registry, sandbox)
    engine = FlowEngine(deps)
    dispatcher = VirtualTimeDispatcher(engine, journal, clock, runtime.schemas, registry.problem)
    numbers = itertools.count(1)

    def next_id() -> ExecutionId:
        return ExecutionId(f"exec_{next(numbers)}")

    def missing(cause: ChildOf, flow: str) -> None:
        registry.problem(
            f"the step '{cause.step}' starts the flow '{flow}': give it a mock, or give that flow's file too"
        )

    deps.connect(
        links=dispatcher,
        flows=GivenSubFlows(
            flows=flows,
            dispatcher=dispatcher,
            forms=forms,
            clock=clock,
            next_id=next_id,
            config=test.config,
            on_missing=missing,
        ),
    )
    await engine.open()
    return _Machine(
        journal=journal,
        clock=clock,
        sandbox=sandbox,
        registry=registry,
        forms=forms,
        dispatcher=dispatcher,
        next_id=next_id,
    )


def _dependencies(
    test: FlowTest, runtime: Runtime, registry: MockRegistry, sandbox: ClockedSandbox
) -> EngineDependencies:
    return EngineDependencies(
        journal=registry.journal,
        library=registry.flows,
        vault=MemorySecrets(
            test.secrets,
            runtime.make_redactor,
            placeholders={name: f"value of {name}" for name in registry.flows.needed_secrets},
        ),
        broadcast=NullBroadcast(),
        sandbox=sandbox,
        node_types={name: MockedType(real, registry) for name, real in runtime.node_types.items()},
        http=NoHttp(),
        mail=NoMail(),
        imap=NoImap(),
        sql=NoSql(),
        store=MemoryStore(),
        schemas=runtime.schemas,
        clock=sandbox.clock,
        # Every wait before a retry is the longest possible.
        draw=lambda: 0.0,
        short_wait=0.0,
        long_ones_stay=False,
    )


async def _execute(
    machine: _Machine, given: GivenFlow, test: FlowTest, input: Mapping[str, JSON], *, most_seconds: float
) -> tuple[Sequence[Event], Sequence[JSON]]:
    """Return the events of the execution, and its waits if it has not ended."""
    id, journal = machine.next_id(), machine.journal
    new = new_execution(id, given, machine.clock.now(), config=test.config)
    try:
        async with asyncio.timeout(most_seconds):
            await machine.dispatcher.start(new, given.flow, input)
            await machine.dispatcher.run(id, given.flow, test)
    except TimeoutError:
        machine.registry.problems.append(
            f"the test did not end within {most_seconds:g} s: is there an endless loop in the flow?"
        )
    _, recorded = await load_whole(journal, id)
    waits = waiting_for(replay(recorded)) if id in journal.open_ones else ()
    return [event for event, _ in recorded], waits


def _not_started(flow: Flow, test: FlowTest, problems: list[str], *, seconds: float) -> FlowTestResult:
    if test.expect.status != NOT_STARTED and not problems:
        assert test.trigger is not None, "only a trigger starts nothing"
        problems.append(
            f"the trigger '{test.trigger.name}' starts nothing: its 'when' is false. If it must be: "
            f"expect: {{status: {NOT_STARTED}}}"
        )
    return FlowTestResult(
        test=test,
        status=NOT_STARTED,
        mismatches=(),
        problems=problems,
        events=(),
        trace=trace(flow, ()),
        edges=frozenset(),
        seconds=seconds,
    )


async def _input_of(
    flow: Flow, test: FlowTest, sandbox: Sandbox, report: Callable[[str], object]
) -> Mapping[str, JSON] | None:
    """Return the input of a test, or that which its trigger gives.

    None if the trigger starts nothing, because its `when` is false. Raises: InvalidInput.
    """
    if test.trigger is None:
        return test.input
    trigger = flow.triggers.get(test.trigger.name)
    if trigger is None:
        report(f"the flow has no trigger '{test.trigger.name}'")
        return {}
    # Before the first execution of a schedule has completed, there is no last one.
    last: Mapping[str, JSON] = {"last": None} if trigger.reads_last else {}
    values = {"at": rfc3339(test.now), **last, **test.trigger.values}
    fired = FiredTrigger(
        trigger=trigger, flow=flow, values=values, config=test.config, workspace_id=NOBODY, sandbox=sandbox
    )
    spec = trigger.spec
    if isinstance(spec, WebhookTrigger):
        for field, template in (("when", spec.when), ("dedupe", spec.dedupe)):
            if template is None:
                continue
            try:
                value = await fired.value(template)
            except ExpressionFailed as error:
                report(f"the trigger '{trigger.name}' rejects the request: its '{field}' has no value: {error}")
                continue
            if field == "when" and value is not True:
                return None
    await fired.labels()
    return await fired.input()


def _mocks(
    given: GivenFlow, test: FlowTest, flows: GivenFlows, problems: list[str]
) -> Mapping[RevisionId, Mapping[NodePath, Mock]]:
    mocks = {given.revision_id: test.mocks}
    for name, written in test.flow_mocks.items():
        other = flows.find(name)
        if other is None:
            problems.append(f"'flows' names the flow '{name}', which is not among the given files")
            continue
        mocks[other.revision_id], faults = read_mocks(written, other.nodes)
        problems += [f"the mocks of the flow '{name}': {fault.message}" for fault in faults]
    return mocks


def _rejected(flow: Flow, input: Mapping[str, JSON], error: InvalidInput) -> Sequence[Event]:
    """Return the events for an execution that is not created because of its input."""
    start = flow.nodes[flow.start]
    return [
        Started(node=start.name, node_type=start.type, input=dict(input), cause=BY_NOBODY),
        Failed(error=ErrorValue(type="input.invalid", message=str(error))),
    ]
