"""Runs the tests of flows: offline, on a clock of their own."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.events import Event, Failed, Failure, Started
from flowrunner.domain.execution import replay
from flowrunner.domain.explain import waiting_for
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.flowtest.memory import NOBODY, GivenFlow, GivenFlows, MemoryJournal, MemoryVault, new_execution
from flowrunner.flowtest.mock_registry import MockedType, MockRegistry
from flowrunner.flowtest.paths import Edge, Trace, taken, trace
from flowrunner.flowtest.subflows import GivenSubFlows
from flowrunner.flowtest.verdict import Mismatch, mismatches, status_of
from flowrunner.flowtest.virtual_time import ClockedSandbox, NullBroadcast, VirtualClock, VirtualTimeDispatcher
from flowrunner.language.flow_tests import FlowTest, Mock, NodePath, read_mocks
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.plugin import HttpAnswer, HttpClient, NodeFailure, NodeType
from flowrunner.ports import ParentStep, Redactor, Sandbox
from flowrunner.services.admission import InputForms


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What tests run with that is real."""

    node_types: Mapping[str, NodeType[Any]]
    sandbox: Sandbox
    schemas: SchemaEngine
    make_redactor: Callable[[Iterable[str]], Redactor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTestResult:
    """How a test went.

    Attributes:
        problems: What kept it from meaning anything.
        seconds: How long it took.
        virtual_seconds: How long the execution took by its own clock.
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


class _NoNetwork:
    """Fills `ports.HttpClients`: whatever a node type says of itself, nothing gets out."""

    def of(self, workspace_id: WorkspaceId) -> HttpClient:
        return self

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def hold(self, *, is_long: bool = False) -> AbstractAsyncContextManager[HttpClient]:
        return nullcontext(self)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
        on_long: Callable[[], Awaitable[None]] | None = None,
    ) -> HttpAnswer:
        raise NodeFailure("egress.forbidden", "Tests of flows run offline")


async def run_flow_test(
    given: GivenFlow, test: FlowTest, flows: GivenFlows, kit: Runtime, *, most_seconds: float = 60.0
) -> FlowTestResult:
    """Run one test of a flow; others it may start are among ``flows``.

    Args:
        most_seconds: How long it may take. It leaps over every wait, so that what takes longer turns in a circle.
    """
    began = time.monotonic()
    journal, clock = MemoryJournal(), VirtualClock(test.now)
    cast = MockRegistry(journal=journal, flows=flows, mocks={})
    cast.mocks = _mocks(given, test, flows, cast.problems)
    deps = EngineDependencies(
        journal=journal,
        library=flows,
        vault=MemoryVault(test.secrets, kit.make_redactor, otherwise=lambda name: f"value of {name}"),
        broadcast=NullBroadcast(),
        sandbox=ClockedSandbox(kit.sandbox, clock),
        node_types={name: MockedType(real, cast) for name, real in kit.node_types.items()},
        http=_NoNetwork(),
        clock=clock,
        # Of every wait before a further try, the longest.
        draw=lambda: 0.0,
        short_wait=0.0,
    )
    engine = FlowEngine(deps)
    stage = VirtualTimeDispatcher(engine, journal, clock, kit.schemas, cast.problem)
    ids = (ExecutionId(f"exec_{number}") for number in itertools.count(1))
    forms = InputForms(kit.schemas)

    def missing(parent: ParentStep, flow: str) -> None:
        cast.problem(f"the step '{parent.step}' starts the flow '{flow}': give it a mock, or give that flow's file too")

    deps.connect(
        links=stage,
        flows=GivenSubFlows(
            flows=flows, dispatcher=stage, forms=forms, clock=clock, next_id=lambda: next(ids), on_missing=missing
        ),
    )
    await engine.open()
    id = next(ids)
    events: Sequence[Event]
    waits: Sequence[JSON] = ()
    try:
        input = await forms.check(NOBODY, given.revision_id, given.flow, test.input)
    except InvalidInput as error:
        events = _refused(given.flow, test.input, error)
    else:
        try:
            async with asyncio.timeout(most_seconds):
                await stage.start(new_execution(id, given, clock.now()), given.flow, input)
                await stage.play(id, given.flow, test)
        except TimeoutError:
            cast.problems.append(f"the test did not end within {most_seconds:g} s: does the flow turn in a circle?")
        _, recorded = await journal.load(id)
        events = [event for event, _ in recorded]
        if id in journal.open_ones:
            waits = waiting_for(replay(recorded))
    return FlowTestResult(
        test=test,
        status=status_of(events),
        # Where it did not run as meant, what came of it means nothing.
        mismatches=() if cast.problems else mismatches(given.flow, events, test.expect, waits),
        problems=cast.problems,
        events=events,
        trace=trace(given.flow, events),
        edges=frozenset(taken(given.flow, events)),
        seconds=time.monotonic() - began,
        virtual_seconds=(clock.now() - test.now).total_seconds(),
    )


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


def _refused(flow: Flow, input: Mapping[str, JSON], error: InvalidInput) -> Sequence[Event]:
    """What stands for an execution that does not come to exist because of its input."""
    start = flow.nodes[flow.start]
    return [
        Started(node=start.name, node_type=start.type, input=dict(input), by=NOBODY),
        Failed(error=Failure(type="input.invalid", message=str(error))),
    ]
