"""Runs one try of one step: fills in the parameters, calls the node type, judges the outcome."""

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import structlog

from flowrunner.domain.execution import (
    LOG_LEVELS,
    ExecutionState,
    Failure,
    Logged,
    LogLevel,
    NodeCompleted,
    Step,
    StepState,
    TimerSet,
)
from flowrunner.domain.expression import Constant, ExpressionFailed, render
from flowrunner.domain.flow import DEFAULT_ACTION, Flow, Node
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId
from flowrunner.engine.world import World
from flowrunner.plugin import HttpClient, NodeFailure, NodeType, Outcome, Suspend

logger = structlog.get_logger()

StepResult: TypeAlias = NodeCompleted | TimerSet | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which execution a step belongs to."""

    execution_id: ExecutionId
    account_id: AccountId
    flow_id: FlowId
    flow: Flow


@dataclass(slots=True)
class Context:
    """What a running node may know and use. Fills `plugin.StepContext`."""

    execution_id: str
    node: str
    node_type: str
    iteration: int
    attempt: int
    input: JSON
    http: HttpClient
    now: Callable[[], datetime]
    report: Callable[[Logged], None]

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}.{self.node}.{self.iteration}"

    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        # A node type may be anybody's code, and what is stored has to be read again.
        level = level if level in LOG_LEVELS else "info"
        self.report(Logged(level=level, message=str(message), node=self.node, node_type=self.node_type, data=data))


async def run_step(
    world: World,
    identity: Identity,
    state: ExecutionState,
    step: Step,
    report: Callable[[Logged], None],
) -> StepResult:
    """The outcome of the current try of ``step``. A failure is an outcome, not an exception."""
    node = identity.flow.nodes[step.node]
    current = state.steps[step.node]
    attempt = current.attempts
    context = Context(
        identity.execution_id,
        node.name,
        node.type,
        step.iteration,
        attempt,
        current.input,
        world.http,
        world.clock.now,
        report,
    )
    try:
        outcome, result = await _outcome(world, identity, state, node, context)
    except NodeFailure as error:
        return Failure(
            type=str(error.type),
            message=str(error.message),
            node=node.name,
            data=error.data,
            retry_after=error.retry_after,
        )
    except ExpressionFailed as error:
        return Failure(type="expression", message=str(error), node=node.name)
    except (Exception, asyncio.CancelledError) as error:
        # Node types may be anybody's code: whatever they raise ends their node, not the server.
        # Only a cancellation that somebody asked for goes its way.
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        # What an exception says may be what it choked on.
        redactor = await world.vault.redactor(identity.account_id)
        trace = redactor.redact("".join(traceback.format_exception(error)))
        logger.error(
            "node.crashed", execution_id=identity.execution_id, node=node.name, type=node.type, exception=trace
        )
        return Failure(
            type="node.crashed",
            message=f"The node type {node.type} failed unexpectedly ({type(error).__name__})",
            node=node.name,
        )
    if isinstance(outcome, Suspend):
        return TimerSet(
            node=node.name,
            node_type=node.type,
            iteration=step.iteration,
            attempt=attempt,
            until=outcome.until,
            result=result,
        )
    return NodeCompleted(
        node=node.name,
        node_type=node.type,
        iteration=step.iteration,
        attempt=attempt,
        action=str(outcome.action) if isinstance(outcome, Outcome) else DEFAULT_ACTION,
        result=result,
    )


def timed_out(node: str, seconds: float) -> Failure:
    return Failure(type="timeout", node=node, message=f"The node did not end within {seconds:g} seconds")


async def _outcome(
    world: World,
    identity: Identity,
    state: ExecutionState,
    node: Node,
    context: Context,
) -> tuple[JSON | Outcome | Suspend, JSON]:
    """What the node type gave, and the result that later nodes see."""
    node_type: NodeType[Any] = world.node_types[node.type]
    scope: dict[str, JSON] = {}
    if not isinstance(node.params, Constant) or node.output is not None:
        scope = await _scope(world, identity, state, node)
    params = node_type.read(render(node.params, scope))
    try:
        async with asyncio.timeout(node.timeout_seconds) as limit:
            outcome: JSON | Outcome | Suspend = await node_type.run(params, context)
    except TimeoutError:
        if not limit.expired():
            raise
        failure = timed_out(node.name, node.timeout_seconds)
        raise NodeFailure(failure.type, failure.message) from None
    result = outcome.result if isinstance(outcome, Outcome | Suspend) else outcome
    if node.output is not None:
        result = render(node.output, {**scope, "result": result})
    # Later nodes see what a replay will see, whatever Python object it was. Raises for what has no
    # JSON form.
    return outcome, msgspec.to_builtins(result, str_keys=True)


async def _scope(world: World, identity: Identity, state: ExecutionState, node: Node) -> dict[str, JSON]:
    """The names that this node's expressions start from; secrets only the ones they mention."""
    roots, flow = node.mentions.roots, identity.flow
    scope: dict[str, JSON] = {"input": state.steps[node.name].input, "vars": flow.vars}
    if "flow" in roots:
        scope["flow"] = {
            "id": identity.flow_id,
            "name": flow.name,
            "version": flow.version,
            "input": state.input,
        }
    if "execution" in roots:
        scope["execution"] = {
            "id": identity.execution_id,
            "started_at": _moment(state.started_at),
            "status": state.status.value,
        }
    if "error" in roots:
        scope["error"] = None if state.error is None else state.error.as_json()
    if "nodes" in roots:
        scope["nodes"] = {
            name: _seen(state.steps[name]) if name in state.steps else None for name in node.mentions.nodes
        }
    if node.mentions.secrets:
        scope["secrets"] = await _secrets(world, identity, node)
    return scope


async def _secrets(world: World, identity: Identity, node: Node) -> dict[str, JSON]:
    values = await world.vault.reveal(identity.account_id, node.mentions.secrets)
    for name in sorted(node.mentions.secrets - values.keys()):
        raise ExpressionFailed(f"${{secrets.{name}}}: the account has no secret '{name}'")
    return dict(values)


def _seen(step: StepState) -> JSON:
    return {
        "result": step.result,
        "status": step.status.value,
        "action": step.action,
        "error": None if step.error is None else step.error.as_json(),
        "attempts": step.attempts,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
