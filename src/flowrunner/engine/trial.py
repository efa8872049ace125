"""One attempt of one step without an execution, to try a node."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.causes import Requested
from flowrunner.domain.errors import Fault, InvalidInput, invalid
from flowrunner.domain.events import (
    ROOT,
    ErrorValue,
    Event,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopesOpened,
    Started,
    Step,
)
from flowrunner.domain.flow import Flow, Graph, Node
from flowrunner.domain.store import StoreChange, StoreKey
from flowrunner.domain.suggestions import Suggestions
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies, ExecutionRef, LoadedExecution
from flowrunner.engine.mailbox import StepResult
from flowrunner.engine.node_context import LongValueSlot
from flowrunner.engine.recorder import LinkHidingRedactor, storable_error_soon, storable_soon, without_secrets
from flowrunner.engine.step import CANCEL_GRACE_SECONDS, cancelled_itself, run_step, timed_out
from flowrunner.ids import new_id
from flowrunner.plugin import (
    Collected,
    NodeType,
    Outcome,
    Params,
    RunScopes,
    StepContext,
    Suspend,
)
from flowrunner.ports.node_trials import Trial, TrialContext, TrialLine
from flowrunner.ports.secrets import Redactor
from flowrunner.ports.store import StepStore

MOST_SECONDS: Final = 60.0
_MOST_LINES: Final = 100
_SHOWN_CHARACTERS: Final = 100
# No node has this name, because no name contains a bracket. It stands for the node before the one that is tried.
_BEFORE: Final = "[before]"
_FLOW: Final = FlowId("draft")


@dataclass(frozen=True, slots=True)
class _TriedNode:
    """A node with the nodes around it, each with the key of the scope that leads to the node."""

    node: Node
    around: Sequence[tuple[Node, str]]


class EngineTrials:
    """Implements `ports.NodeTrials`."""

    def __init__(self, deps: EngineDependencies) -> None:
        self._deps = deps
        self._abandoned: set[asyncio.Task[StepResult]] = set()

    def type_of(self, flow: Flow, node: str, results: Collection[str]) -> str:
        place = self._place_of(flow, node)
        _check_names(flow, place, results)
        return place.node.type

    def _place_of(self, flow: Flow, node: str) -> _TriedNode:
        place = next(_places(flow, node, ""), None)
        if place is None:
            raise invalid("node", "the flow has no such node", hint=_hint(flow, node))
        if self._deps.starts_executions(place.node.type):
            raise invalid("node", f"a node of type {place.node.type} starts an execution: run the flow instead")
        return place

    async def run(
        self, flow: Flow, node: str, given: TrialContext, *, workspace_id: WorkspaceId, by: AccountId
    ) -> Trial:
        place = self._place_of(flow, node)
        node_type = self._deps.node_types[place.node.type]
        recorded = _RecordingType(node_type)
        node_types = {**self._deps.node_types, place.node.type: recorded}
        deps = replace(self._deps, node_types=node_types, store=_TrialStore(self._deps.store))
        started_at = deps.clock.now()
        step, events = _history(place, given, by)
        id = ExecutionId(new_id("trial", started_at))
        execution = ExecutionRef(execution_id=id, workspace_id=workspace_id, flow_id=_FLOW, flow=flow, keys_of=id)
        lines: list[Logged] = []

        def report(line: Logged) -> None:
            if len(lines) < _MOST_LINES:
                lines.append(line)

        redactor = await deps.vault.redactor(workspace_id)
        state = replay([(event, started_at) for event in events])
        loaded = LoadedExecution(deps, execution, state, LinkHidingRedactor(redactor))
        slot = LongValueSlot(deps.http, workspace_id)
        try:
            # In a task of its own: a node type may cancel the one that runs it.
            task = asyncio.create_task(run_step(loaded, step, report, slot=slot))
            outcome = await self._outcome_of(task, place.node.name)
            return Trial(
                **await _fields(outcome, redactor, place.node.next),
                has_effects=not node_type.pure,
                node_type=place.node.type,
                started_at=started_at,
                ended_at=deps.clock.now(),
                params=(await without_secrets(recorded.params, redactor))[0],
                lines=[await _line(line, redactor) for line in lines],
            )
        finally:
            await slot.leave()

    async def _outcome_of(self, task: "asyncio.Task[StepResult]", node: str) -> StepResult:
        try:
            ended, _ = await asyncio.wait([task], timeout=MOST_SECONDS)
        finally:
            if not task.done():
                task.cancel()
                # A node type that ignores that continues, and nobody waits for it.
                self._abandoned.add(task)
                task.add_done_callback(self._forget)
                await asyncio.wait([task], timeout=CANCEL_GRACE_SECONDS)
        if not ended:
            return timed_out(node, MOST_SECONDS)
        return cancelled_itself(node) if task.cancelled() else task.result()

    def _forget(self, task: "asyncio.Task[StepResult]") -> None:
        self._abandoned.discard(task)
        # Without a look at its error, asyncio would log that nobody has looked.
        if not task.cancelled():
            task.exception()


@dataclass(frozen=True, slots=True)
class _TrialStore:
    """The store for a step that nobody repeats. Implements `ports.StepStore`."""

    _store: StepStore

    async def value(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> str | None:
        return await self._store.value(workspace_id, at, now=now)

    async def keys(
        self, workspace_id: WorkspaceId, *, namespace: str, prefix: str, after: str, limit: int, now: datetime
    ) -> Sequence[str]:
        return await self._store.keys(
            workspace_id, namespace=namespace, prefix=prefix, after=after, limit=limit, now=now
        )

    async def change(self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime) -> JSON:
        return await self._store.change(workspace_id, replace(change, step=None), now=now)


def _check_names(flow: Flow, place: _TriedNode, results: Collection[str]) -> None:
    """Raises: InvalidInput with the names of results that the node cannot read, and with what each probably means."""
    graphs = [flow, *(owner.child_scopes[key] for owner, key in place.around)]
    known = {name for graph in graphs for name in graph.nodes}
    suggestions = Suggestions()
    faults = [
        Fault(
            path="results",
            code="unknown_node",
            message=f"there is no node called '{name[:_SHOWN_CHARACTERS]}' that this node reads",
            hint=suggestions.did_you_mean(name, known),
        )
        for name in results
        if name not in known
    ]
    if faults:
        raise InvalidInput(faults)


def _places(graph: Graph, id: str, prefix: str) -> Iterator[_TriedNode]:
    """Yield the node with this path."""
    for node in graph.nodes.values():
        path = f"{prefix}{node.name}"
        if path == id:
            yield _TriedNode(node, ())
        for key, inner in node.child_scopes.items():
            inside = f"{path}[{key}]/" if key else f"{path}/"
            if id.startswith(inside):
                for found in _places(inner, id, inside):
                    yield _TriedNode(found.node, ((node, key), *found.around))


def _paths(graph: Graph, prefix: str) -> Iterator[str]:
    """Yield the paths of all nodes."""
    for node in graph.nodes.values():
        path = f"{prefix}{node.name}"
        yield path
        for key, inner in node.child_scopes.items():
            yield from _paths(inner, f"{path}[{key}]/" if key else f"{path}/")


def _hint(flow: Flow, node: str) -> str:
    """Return the path that a name without it means, or one that is similar, or else the form of paths."""
    paths = list(_paths(flow, ""))
    inner = next((path for path in paths if path.rpartition("/")[2] == node), None)
    near = inner or Suggestions().nearest(node, paths)
    return "name it by its path: push, each/push" if near is None else f"did you mean '{near}'?"


def _history(place: _TriedNode, given: TrialContext, by: AccountId) -> tuple[Step, Sequence[Event]]:
    """Return the step, and the events of an execution in which it has just started."""
    events: list[Event] = [
        Started(
            node=place.node.name,
            node_type=place.node.type,
            input=given.flow_input,
            cause=Requested(by=by),
            config=given.config,
        )
    ]
    scope = ROOT
    # Branches may stand between it and the node.
    innermost_loop = max((number for number, (_, branch) in enumerate(place.around) if not branch), default=None)
    for number, (owner, branch) in enumerate(place.around):
        key = branch or str(given.index)
        events += [
            NodeStarted(node=owner.name, node_type=owner.type, iteration=1, attempt=1, scope=scope),
            ScopesOpened(
                node=owner.name, node_type=owner.type, iteration=1, attempt=1, scope=scope,
                keys=[key], inputs=[given.item if number == innermost_loop else None], concurrency=1, needed=1,
            ),
        ]  # fmt: skip
        scope = Step(owner.name, 1, scope).child_scope(key)
    for name, result in given.results.items():
        if name != _BEFORE:
            events += _ran(name, result, scope)
    if given.error is not None:
        error = ErrorValue(
            type=str(given.error.get("type", "error")),
            message=str(given.error.get("message", "")),
            node=None if given.error.get("node") is None else str(given.error["node"]),
            data=given.error.get("data"),
        )
        events += [
            NodeStarted(node=_BEFORE, node_type="", iteration=1, attempt=1, scope=scope),
            NodeFailed(node=_BEFORE, node_type="", iteration=1, attempt=1, scope=scope, error=error),
        ]
    events += _ran(_BEFORE, given.input, scope, iteration=1 if given.error is None else 2, vars=given.vars)
    # Its previous run has a result, too.
    step = Step(place.node.name, 2 if place.node.name in given.results else 1, scope)
    events.append(
        NodeStarted(node=step.node, node_type=place.node.type, iteration=step.iteration, attempt=1, scope=scope)
    )
    return step, events


def _ran(
    name: str, result: JSON, scope: str, *, iteration: int = 1, vars: Mapping[str, JSON] | None = None
) -> Sequence[Event]:
    return (
        NodeStarted(node=name, node_type="", iteration=iteration, attempt=1, scope=scope),
        NodeCompleted(
            node=name, node_type="", iteration=iteration, attempt=1, scope=scope, action="default", result=result,
            vars=vars,
        ),
    )  # fmt: skip


class _RecordingType(NodeType[Any]):
    """Node type that keeps the parameters of the first run.

    Attributes:
        params: As they were before the model read them.
    """

    Params = Params

    def __init__(self, real: NodeType[Any]) -> None:
        self.type = real.type  # type: ignore[misc] # one class stands for many types
        self.reevaluate_params = real.reevaluate_params  # type: ignore[misc]
        self.params: JSON = None
        self._real = real

    def read(self, params: JSON) -> Any:
        self.params = params
        return self._real.read(params)

    async def run(self, params: Any, context: StepContext) -> JSON | Outcome | Suspend | RunScopes | Collected:
        return await self._real.run(params, context)


async def _fields(outcome: StepResult, redactor: Redactor, edges: Collection[str]) -> dict[str, Any]:
    """Return the fields of a trial that its outcome decides. For ``edges``, see `storable_soon`."""
    if isinstance(outcome, ErrorValue):
        return {"status": "failed", "error": (await storable_error_soon(outcome, redactor)).as_json()}
    stored = (await storable_soon(outcome, redactor, edges=edges)).event
    match stored:
        case NodeCompleted():
            return {
                "status": "skipped" if stored.skipped else "completed",
                "result": stored.result,
                "action": stored.action,
            }
        case NodeWaiting():
            return {"status": "waiting", "wait": stored.wait_for.describe(), "until": stored.due_at}
        case ScopesOpened():
            return {"status": "opened", "scopes": stored.keys}
        case _:
            # Too large to be stored.
            assert isinstance(stored, NodeFailed), "a result stays what it is, or becomes an error"
            return {"status": "failed", "error": stored.error.as_json()}


async def _line(line: Logged, redactor: Redactor) -> TrialLine:
    stored = (await storable_soon(line, redactor)).event
    assert isinstance(stored, Logged), "a line stays a line"
    return TrialLine(stored.level, stored.message, stored.data)
