"""What is worked out between steps: a flow's outputs, and what a loop collects of a run of its nodes."""

from flowrunner.domain.decide import Decision, concluded, failed, node_of
from flowrunner.domain.events import Failure, ScopeEnded
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.engine.scope import Identity, Names, Say
from flowrunner.engine.world import World


async def conclusion(world: World, identity: Identity, state: ExecutionState, say: Say) -> Decision:
    """The outputs of a flow that has some, and with them its end.

    Raises:
        Stopped.
    """
    flow, outputs = identity.flow, identity.flow.outputs
    assert outputs is not None, "decided only for flows with outputs"
    last = state.root.current
    names = Names(world, identity, state, None, say, {})
    try:
        return concluded(flow, await names.fill(outputs))
    except ExpressionFailed as error:
        return failed(flow, state, Failure(type="expression", message=f"The outputs of the flow: {error}"), last)


async def collection(world: World, identity: Identity, state: ExecutionState, scope: str, say: Say) -> ScopeEnded:
    """Return the end of a run of a loop's nodes, with what the loop collects of it.

    Raises:
        Stopped.
    """
    frame = state.frames[scope]
    assert frame.owner is not None, "decided only for what a loop holds"
    node = node_of(identity.flow, state, frame.owner)
    assert node.collect is not None, "decided only for loops that collect"
    names = Names(world, identity, state, frame.current, say, {"result": frame.flowing, "input": frame.item})
    try:
        return ScopeEnded(scope=scope, outcome="completed", result=await names.fill(node.collect))
    except ExpressionFailed as error:
        failure = Failure(type=error.type, message=f"What '{node.name}' collects: {error}", node=node.name)
        return ScopeEnded(scope=scope, outcome="failed", error=failure)
