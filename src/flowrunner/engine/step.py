"""One attempt of a step: resolve the parameters, call the node type, return the event of its outcome."""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeGuard

import msgspec
import structlog

from flowrunner.domain.counted import counted
from flowrunner.domain.decide import node_of
from flowrunner.domain.errors import RedactionLimit
from flowrunner.domain.events import (
    ErrorValue,
    Logged,
    NodeCompleted,
    NodeWaiting,
    ScopesOpened,
    Step,
)
from flowrunner.domain.expression import MAX_RENDERED, ExpressionFailed, render
from flowrunner.domain.flow import DEFAULT_ACTION, SKIPPED_ACTION, Hooks, Node
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.retry import bounded_delay
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import ScopeProgress, StepState
from flowrunner.domain.values import JSON, left_after
from flowrunner.engine.dependencies import LoadedExecution, Stopped
from flowrunner.engine.expressions import ExpressionScope
from flowrunner.engine.mailbox import StepResult
from flowrunner.engine.node_context import LongValueSlot, NodeContext, StepAttempt
from flowrunner.engine.recorder import MAX_EVENT_BYTES
from flowrunner.engine.returned import check_scopes, check_wait
from flowrunner.plugin import (
    Collected,
    NodeFailure,
    NodeType,
    Outcome,
    Params,
    RunScopes,
    ScopesEnded,
    Signalled,
    Suspend,
    TimeWait,
)
from flowrunner.ports.secrets import Redactor
from flowrunner.ports.telemetry import TRACEPARENT
from flowrunner.tasks import TimeLimit
from flowrunner.threads import OF_PACKAGE

logger = structlog.get_logger()

# Time that a cancelled node has to clean up.
CANCEL_GRACE_SECONDS: Final = 0.5
# The modules of node types that come with FlowRunner.
_BUILT_IN: Final = "flowrunner.nodes."

_NodeOutcome: TypeAlias = JSON | Outcome | Suspend | RunScopes | Collected


async def run_step(
    loaded: LoadedExecution,
    step: Step,
    report: Callable[[Logged], None],
    *,
    slot: LongValueSlot | None = None,
    give_up: Callable[[], None] | None = None,
) -> StepResult:
    """Run or resume the current attempt of ``step`` and return its outcome. An error is an outcome, not an exception.

    Args:
        slot: Taken before the step holds a long value; the caller gives it back once the value is recorded.
        give_up: Called when the step continues a moment after its timeout has cancelled it.

    Raises:
        Stopped.
    """
    execution = loaded.execution
    ran_by = _current_task_id()
    if (traces := loaded.deps.traces) is not None:
        TRACEPARENT.set(traces.of_step(execution, step))
    node = node_of(execution.flow, loaded.state, step)
    attempt = StepAttempt(loaded, loaded.state.at(step), node, report, slot)
    limit = None if node.timeout_seconds is None else TimeLimit(node.timeout_seconds, CANCEL_GRACE_SECONDS, give_up)
    node_type = loaded.deps.node_types.get(node.type)
    is_built_in = type(node_type).__module__.startswith(_BUILT_IN)
    before = None if is_built_in else OF_PACKAGE.set(True)
    try:
        return await _outcome_or_failure(attempt, limit)
    except ExpressionFailed as error:
        return ErrorValue(type=error.type, message=str(error), node=node.name)
    except Stopped:
        raise
    except BaseException as error:
        # Node types may be third-party code: any exception fails the node, not the server, also the exit of a library
        # that was made for a command. Only a cancellation of this task is raised again, and that it is dropped in the
        # middle, which another task does, or none.
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise
        if isinstance(error, GeneratorExit) and _current_task_id() != ran_by:
            raise
        trace = await trace_of(error, loaded.redactor)
        logger.error(
            "node.crashed", execution_id=execution.execution_id, node=node.name, type=node.type, exception=trace
        )
        return ErrorValue(
            type="node.crashed",
            message=f"The node type {node.type} failed unexpectedly ({type(error).__name__})",
            node=node.name,
        )
    finally:
        if before is not None:
            OF_PACKAGE.reset(before)
        if limit is not None:
            limit.close()


def is_cancelled() -> bool:
    """Return whether the current task is being cancelled.

    A task in a local variable of the step would keep all that the step has used until the next collection of garbage:
    the task has its error, whose traceback has the variables.
    """
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def _current_task_id() -> int:
    return id(asyncio.current_task())


async def trace_of(error: BaseException, redactor: Redactor) -> JSON:
    """Return the traceback of a crash without secrets, which the message of an exception may contain."""
    # A message may have lone surrogates, such as those of a file name that is no UTF-8.
    trace = "".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode()
    try:
        return await redactor.redact_soon(trace)
    except RedactionLimit:
        return "".join([*traceback.format_tb(error.__traceback__), f"{type(error).__name__} (cannot be shown)"])


def cancelled_itself(node: str) -> ErrorValue:
    return ErrorValue(type="node.crashed", node=node, message="The node type has cancelled the task that runs it")


def timed_out(node: str, seconds: float) -> ErrorValue:
    return ErrorValue(type="timeout", node=node, message=f"The node did not end within {counted(seconds, 'second')}")


async def _outcome_or_failure(attempt: StepAttempt, limit: TimeLimit | None) -> StepResult:
    try:
        return await _outcome(attempt, limit)
    except NodeFailure as error:
        # What the node type has put into it may be no text, and unable to become one.
        return ErrorValue(
            type=str(error.type),
            message=str(error.message),
            node=attempt.declared.name,
            data=error.data,
            retry_after=bounded_delay(error.retry_after),
        )


async def _outcome(attempt: StepAttempt, limit: TimeLimit | None) -> StepResult:
    node = attempt.declared
    if node.unreadable is not None:
        raise NodeFailure("flow.invalid", f"This version of FlowRunner cannot read the node: {node.unreadable}")
    if limit is None or node.timeout_seconds is None:
        return await _event_of(attempt, await _run_or_resume(attempt))
    try:
        with limit:
            outcome = await _run_or_resume(attempt)
    except TimeoutError:
        if not limit.has_passed:
            raise
        error = timed_out(node.name, node.timeout_seconds)
        raise NodeFailure(error.type, error.message) from None
    return await _event_of(attempt, outcome)


async def _event_of(attempt: StepAttempt, outcome: _NodeOutcome) -> StepResult:
    """Return the event that records the outcome of a node, with its `output` evaluated."""
    node, current = attempt.declared, attempt.current
    if outcome is _SKIPPED:
        return _completed(attempt, Outcome(current.input, SKIPPED_ACTION), current.input, skipped=True)
    if isinstance(outcome, RunScopes):
        return _opened(attempt, outcome)
    if _awaits_signal(outcome):
        # Its result is the payload of the signal, which is not known yet.
        return _waiting(attempt, outcome, msgspec.to_builtins(outcome.result, str_keys=True))
    if isinstance(outcome, Collected):
        others = msgspec.to_builtins(dict(outcome.others), str_keys=True)
        if node.output is None:
            return replace(_completed(attempt, Outcome(None), None), collected=others)
        outcome = current.collected(others)
    result = outcome.result if isinstance(outcome, _WithResult) else outcome
    if node.output is not None:
        result = await scope_of(attempt, {"result": result}).resolve(node.output)
    # Later nodes see the JSON value that a replay will see. Raises for objects without a JSON form.
    result = msgspec.to_builtins(result, str_keys=True)
    if isinstance(outcome, Suspend):
        return _waiting(attempt, outcome, result)
    return _completed(attempt, outcome if isinstance(outcome, Outcome) else Outcome(outcome), result)


_SKIPPED: Any = object()
# Made once, because that takes longer than the question that it is for.
_WithResult: TypeAlias = Outcome | Suspend


async def _run_or_resume(attempt: StepAttempt) -> _NodeOutcome:
    """Call the node type: its `run`, or the method for the event that the step has waited for."""
    node, current = attempt.declared, attempt.current
    node_type: NodeType[Any] = attempt.loaded.deps.node_types[node.type]
    if current.status is StepStatus.RUNNING and (kept := _kept_params(node_type, node)) is not None:
        return await node_type.run(kept, NodeContext(attempt))
    scope = scope_of(attempt, {})
    if node_type.reevaluate_params:
        scope.extra = names_of_next_run(current)
    if current.status is StepStatus.RUNNING:
        return await _run(node_type, attempt, scope)
    params = None
    if node_type.reevaluate_params:
        params = node_type.read(await scope.resolve(node.params))
    outcome = await _resume(node_type, params, attempt)
    if node.hooks is not None:
        filled = await scope.resolve(node.params)
        outcome = await _after_post_hook(attempt, node.hooks, filled, outcome)
    return outcome


async def _run(node_type: NodeType[Any], attempt: StepAttempt, scope: ExpressionScope) -> _NodeOutcome:
    node = attempt.declared
    if node.condition is not None:
        # Resolved first, as nothing else of a skipped node is evaluated.
        holds = await scope.resolve(node.condition)
        if isinstance(holds, ExpressionFailed):
            raise holds
        if not holds:
            return _SKIPPED  # type: ignore[no-any-return] # a sentinel
    if node.hooks is not None:
        return await _run_with_hooks(node_type, attempt, node.hooks, await scope.resolve(node.params))
    params = await scope.resolve(node.params)
    if node.is_part:
        params = await completed_params(attempt, params)
    return await node_type.run(node_type.read(params), NodeContext(attempt))


def scope_of(attempt: StepAttempt, extra: Mapping[str, JSON]) -> ExpressionScope:
    """Return the names that the expressions of a step read: in a part of a node, those of that node."""
    loaded, at = attempt.loaded, attempt.current
    if attempt.declared.is_part:
        at, item = _whole(attempt)
        name = node_of(loaded.execution.flow, loaded.state, at.step).item
        extra = extra if name is None else {**extra, name: item}
    return ExpressionScope(loaded, at, attempt.on_console, extra)


def _whole(attempt: StepAttempt) -> tuple[StepState, JSON]:
    """Return the step that a step is a part of, and the input of the scope between them."""
    frame = attempt.loaded.state.frames[attempt.current.step.scope]
    assert frame.owner is not None, "a part of a node runs in a scope of that node"
    return attempt.loaded.state.at(frame.owner), frame.item


async def completed_params(attempt: StepAttempt, params: JSON) -> JSON:
    """Return the parameters of a part of a node as that node's type completes them. Raises: NodeFailure."""
    whole, item = _whole(attempt)
    assert whole.open is not None, "a step with running scopes has them open"
    node_type = attempt.loaded.deps.node_types[whole.node_type]
    return await node_type.inner_params(attempt.declared.name, params, item, _ended(whole.open))


def _kept_params(node_type: NodeType[Any], node: Node) -> Params | None:
    """Return the parameters of a node without expressions, which are read once; None for other nodes."""
    kept = node.kept.get(_PARAMS)
    # A flow test may have another node type in place of this one.
    if not isinstance(kept, tuple) or kept[0] is not node_type:
        has_code = node.condition is not None or node.hooks is not None or not node.params.is_constant
        if has_code or node.is_part or not node_type.keeps_params:
            return None
        kept = node.kept[_PARAMS] = (node_type, node_type.read(render(node.params.template, {})))
    params: Params = kept[1]
    return params


_PARAMS: Final = "params"


async def _run_with_hooks(node_type: NodeType[Any], attempt: StepAttempt, hooks: Hooks, params: JSON) -> _NodeOutcome:
    if hooks.prep is not None:
        params = await _call(attempt, hooks.prep, {"context": params})
    if hooks.exec is not None:
        outcome: _NodeOutcome = await _call(attempt, hooks.exec, {"context": params})
    else:
        outcome = await node_type.run(node_type.read(params), NodeContext(attempt))
    return await _after_post_hook(attempt, hooks, params, outcome)


async def _after_post_hook(attempt: StepAttempt, hooks: Hooks, params: JSON, outcome: _NodeOutcome) -> _NodeOutcome:
    """Return the outcome of a node after its post hook; unchanged while the result is not known."""
    if hooks.post is None or isinstance(outcome, RunScopes) or _awaits_signal(outcome):
        return outcome
    if isinstance(outcome, Collected):
        outcome = attempt.current.collected(outcome.others)
    result = outcome.result if isinstance(outcome, Outcome | Suspend) else outcome
    changed = await _call(attempt, hooks.post, {"context": params, "result": result})
    match outcome:
        case Outcome():
            return Outcome(changed, outcome.action, outcome.is_last, outcome.vars)
        case Suspend():
            return replace(outcome, result=changed)
        case _:
            return changed


def _awaits_signal(outcome: _NodeOutcome) -> TypeGuard[Suspend]:
    return isinstance(outcome, Suspend) and not isinstance(outcome.wait_for, TimeWait)


async def _call(attempt: StepAttempt, hook: Prepared, extra: Mapping[str, JSON]) -> JSON:
    return await ExpressionScope(attempt.loaded, attempt.current, attempt.on_console, extra).resolve(hook)


def names_of_next_run(current: StepState) -> Mapping[str, JSON]:
    """Return the index of the next run of a scope and the result of the previous one, for the parameters."""
    results = current.open.results if current.open is not None else {}
    for key, result in results.items():
        return {"input": result, "index": int(key) + 1}
    return {"index": 0}


async def _resume(node_type: NodeType[Any], params: Params | None, attempt: StepAttempt) -> _NodeOutcome:
    """Call the method of the node type for the event that the step has waited for."""
    current = attempt.current
    if current.open is None:
        assert current.wait_for is not None, "a step that resumes has waited"
        answers = [answer.payload for answer in current.answers]
        signalled = Signalled(current.signal, current.wait_for, answers)
        return await node_type.on_signal(params, NodeContext(attempt), signalled)
    return await node_type.on_scopes_ended(params, NodeContext(attempt), _ended(current.open))


def _ended(scopes: ScopeProgress) -> ScopesEnded:
    errors = {key: error.as_json() for key, error in (scopes.kept_errors | scopes.errors).items()}
    return ScopesEnded(scopes.opened.keys, scopes.kept_results | scopes.results, errors, scopes.details)


def _completed(attempt: StepAttempt, outcome: Outcome, result: JSON, *, skipped: bool = False) -> NodeCompleted:
    current = attempt.current
    if outcome.vars is not None and not attempt.declared.sets_variables:
        # Another step could set them at the same time.
        raise TypeError(f"{attempt.declared.type} sets variables and does not say so (sets_variables)")
    # The results of many scopes are each short enough. All of it would be written at once to find its size.
    if current.open is not None and left_after(result, MAX_RENDERED) < 0:
        message = f"The result has more than {MAX_EVENT_BYTES} bytes"
        raise NodeFailure("node.result_too_large", f"{message}: keep the part that you need with 'output'")
    return NodeCompleted(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        scope=current.step.scope,
        action=str(outcome.action or DEFAULT_ACTION),
        result=result,
        skipped=skipped,
        is_last=outcome.is_last,
        vars=None if outcome.vars is None else msgspec.to_builtins(dict(outcome.vars), str_keys=True),
    )


def _waiting(attempt: StepAttempt, suspend: Suspend, result: JSON) -> NodeWaiting:
    current = attempt.current
    check_wait(suspend)
    return NodeWaiting(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        scope=current.step.scope,
        wait_for=suspend.wait_for,
        deadline=suspend.deadline,
        result=result,
        action=str(suspend.action or DEFAULT_ACTION),
        fail_at_deadline=bool(suspend.fail_at_deadline),
    )


def _opened(attempt: StepAttempt, scopes: RunScopes) -> ScopesOpened:
    check_scopes(attempt.declared, scopes)
    # One input of many scopes is written many times; a list of different inputs has been measured before.
    if len({id(input) for input in scopes.inputs}) < len(scopes.inputs) and (
        left_after(scopes.inputs, MAX_RENDERED) < 0
    ):
        message = (
            f"What flows into {counted(len(scopes.keys), 'scope')} is larger than {MAX_EVENT_BYTES} bytes together"
        )
        raise NodeFailure("node.result_too_large", f"{message}: keep the part that they need with 'output' before")
    current, limit = attempt.current, attempt.declared.timeout_seconds
    until = None if current.open is None else current.open.opened.until
    if current.open is None and limit is not None:
        until = attempt.loaded.deps.clock.now() + timedelta(seconds=limit)
    return ScopesOpened(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        scope=current.step.scope,
        keys=scopes.keys,
        inputs=msgspec.to_builtins(list(scopes.inputs), str_keys=True),
        concurrency=scopes.concurrency,
        needed=len(scopes.keys) if scopes.needed is None else scopes.needed,
        ignore_failures=scopes.ignore_failures,
        not_before=scopes.not_before,
        until=until,
        details=msgspec.to_builtins(scopes.details, str_keys=True),
        starts=tuple(scopes.starts),
        keeps_results=scopes.keeps_results,
    )
