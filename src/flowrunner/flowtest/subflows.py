"""Child executions without a server, of flows from the given files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.flowtest.memory import NOBODY, GivenFlows, child_execution
from flowrunner.plugin import NodeFailure, SubFlow
from flowrunner.ports import Clock, Dispatcher, DuplicateRequest, ParentStep
from flowrunner.services.admission import InputForms
from flowrunner.services.subflows import MAX_DEPTH, MAX_RECURSION


@dataclass(slots=True, kw_only=True)
class GivenSubFlows:
    """Implements `ports.SubFlowStarter`, without concurrency limits.

    Attributes:
        on_missing: Called with the step and the name of a flow that is not among the files.
    """

    flows: GivenFlows
    dispatcher: Dispatcher
    forms: InputForms
    clock: Clock
    next_id: Callable[[], ExecutionId]
    on_missing: Callable[[ParentStep, str], None] = lambda parent, flow: None

    async def start(
        self, parent: ParentStep, flow: str, *, version: str | int | None, input: Mapping[str, JSON], wait: bool
    ) -> SubFlow:
        given = self.flows.find(flow, version)
        if given is None:
            self.on_missing(parent, flow)
            raise NodeFailure("flow.not_found", f"There is no flow '{flow}' among the given files")
        if len(parent.flows) >= MAX_DEPTH:
            raise NodeFailure("flow.too_deep", f"Flows call each other more than {MAX_DEPTH} deep")
        if parent.flows.count(given.id) >= MAX_RECURSION:
            raise NodeFailure("flow.recursion", f"The flow '{flow}' calls itself more than {MAX_RECURSION} deep")
        try:
            checked = await self.forms.check(NOBODY, given.revision_id, given.flow, input)
        except InvalidInput as error:
            raise NodeFailure("input.invalid", f"The input of the flow '{flow}' is invalid: {error}") from None
        new = child_execution(
            self.next_id(),
            given,
            self.clock.now(),
            parent=ExecutionId(parent.execution_id) if wait else None,
            started_for={
                "execution_id": parent.execution_id,
                "step": parent.step,
                "failures": parent.failures,
                "flows": list(parent.flows),
            },
            key=f"{parent.execution_id} {parent.step} {parent.failures}",
        )
        try:
            await self.dispatcher.start(new, given.flow, checked)
        except DuplicateRequest as repeat:
            return SubFlow(repeat.execution_id, given.id)
        return SubFlow(new.id, given.id)
