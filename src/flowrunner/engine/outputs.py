"""Values evaluated between steps: a flow's outputs, and the values that a loop collects."""

from flowrunner.domain.decide import Decision, complete, failed, node_of
from flowrunner.domain.events import Failure, ScopeEnded
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.expressions import ExecutionRef, ExpressionScope, OnConsole


async def evaluate_outputs(
    deps: EngineDependencies, execution: ExecutionRef, state: ExecutionState, on_console: OnConsole
) -> Decision:
    """Evaluate the outputs of a flow and return its end.

    Raises:
        Stopped.
    """
    flow, outputs = execution.flow, execution.flow.outputs
    assert outputs is not None, "decided only for flows with outputs"
    last = state.root.current
    names = ExpressionScope(deps, execution, state, None, on_console, {})
    try:
        return complete(flow, await names.resolve(outputs))
    except ExpressionFailed as error:
        return failed(flow, state, Failure(type="expression", message=f"The outputs of the flow: {error}"), last)


async def collection(
    deps: EngineDependencies, execution: ExecutionRef, state: ExecutionState, scope: str, on_console: OnConsole
) -> ScopeEnded:
    """Return the end of one run of a loop's nodes, with the value that the loop collects from it.

    Raises:
        Stopped.
    """
    frame = state.frames[scope]
    assert frame.owner is not None, "decided only for nodes in a loop"
    node = node_of(execution.flow, state, frame.owner)
    assert node.collect is not None, "decided only for loops that collect"
    names = ExpressionScope(
        deps, execution, state, frame.current, on_console, {"result": frame.flowing, "input": frame.item}
    )
    try:
        return ScopeEnded(scope=scope, outcome="completed", result=await names.resolve(node.collect))
    except ExpressionFailed as error:
        failure = Failure(type=error.type, message=f"What '{node.name}' collects: {error}", node=node.name)
        return ScopeEnded(scope=scope, outcome="failed", error=failure)
