"""Child executions without a server, of flows from the given files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, WorkspaceId
from flowrunner.flowtest.memory import GivenFlows, new_execution
from flowrunner.plugin import NodeFailure, SubFlow
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import Dispatcher
from flowrunner.ports.journal import DuplicateRequest
from flowrunner.services.admission import InputForms
from flowrunner.services.subflows import check_depth, key_of


@dataclass(slots=True, kw_only=True)
class GivenSubFlows:
    """Implements `ports.SubFlowStarter`, without concurrency limits.

    Attributes:
        config: The configuration values that are given.
        on_missing: Called with the step and the name of a flow that is not among the files.
    """

    flows: GivenFlows
    dispatcher: Dispatcher
    forms: InputForms
    clock: Clock
    next_id: Callable[[], ExecutionId]
    config: Mapping[str, JSON]
    on_missing: Callable[[ChildOf, str], None] = lambda cause, flow: None

    async def revision(self, workspace_id: WorkspaceId, flow: str, *, version: str | int | None) -> RevisionId:
        given = self.flows.find(flow, version)
        if given is None:
            raise NodeFailure("flow.not_found", f"There is no flow '{flow}' among the given files")
        return given.revision_id

    async def start(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        dedupe: str | None = None,
    ) -> SubFlow:
        given = self.flows.find(flow, version)
        if given is None:
            self.on_missing(cause, flow)
            raise NodeFailure("flow.not_found", f"There is no flow '{flow}' among the given files")
        check_depth(cause, given.id, flow)
        try:
            checked = await self.forms.check(workspace_id, given.revision_id, given.flow, input)
        except InvalidInput as error:
            raise NodeFailure("input.invalid", f"The input of the flow '{flow}' is invalid: {error}") from None
        key = f"{cause.execution_id} {cause.step} {cause.failures}" if dedupe is None else key_of(given.id, dedupe)
        now = self.clock.now()
        new = new_execution(self.next_id(), given, now, config=self.config, cause=cause, key=key)
        try:
            await self.dispatcher.start(new, given.flow, checked)
        except DuplicateRequest as repeat:
            return SubFlow(repeat.execution_id, given.id, is_repeat=True)
        return SubFlow(new.id, given.id)
