"""What a flow gives in the end, if it says so itself: its outputs."""

from flowrunner.domain.decide import Decision, concluded, failed
from flowrunner.domain.events import Failure
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
