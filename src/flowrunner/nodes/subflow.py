"""Node type `flow`: run another flow."""

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from flowrunner.bounded_json import canonical_json
from flowrunner.domain.values import MOST_KEY_CHARACTERS, left_after
from flowrunner.nodes.durations import limit_of
from flowrunner.plugin import (
    JSON,
    ChildWait,
    NodeFailure,
    NodeType,
    Params,
    Signalled,
    StepContext,
    Suspend,
)


class FlowParams(Params):
    flow: str = Field(min_length=1, max_length=200, description="Id or name of the flow.")
    version: str | int | None = Field(
        default=None, description="Number of the revision, or its author's label; the current revision if absent."
    )
    input: dict[str, Any] | None = Field(default=None, description="Input of the flow; the node's own input if absent.")
    wait: bool = Field(default=True, description="Wait for its end.")
    dedupe: Any = Field(
        default=None, description="A key of which the second start of the flow starts nothing; with `wait: false`."
    )

    @model_validator(mode="after")
    def _repeats_have_no_end(self) -> Self:
        if "dedupe" in self.model_fields_set and self.wait:
            raise ValueError("'dedupe' needs 'wait: false': another execution may have started the flow")
        return self


class SubflowNode(NodeType[FlowParams]):
    """Starts an execution of another flow. Returns its result; its failure is the error of this node."""

    type = "flow"
    examples = ("type: flow\nparams:\n  flow: Ship an order\n  input: {order: '${input.id}'}\n",)
    Params = FlowParams
    errors: ClassVar[tuple[str, ...]] = ("*",)
    timeout_seconds = None
    starts_executions = True

    async def run(self, params: FlowParams, context: StepContext) -> JSON | Suspend:
        input = params.input if "input" in params.model_fields_set else context.input
        if input is not None and not isinstance(input, dict):
            raise NodeFailure("input.invalid", "The input of a flow is an object: give 'input' as one")
        dedupe = None
        if "dedupe" in params.model_fields_set:
            if params.dedupe is None:
                raise NodeFailure("input.invalid", "'dedupe' is null, which is the key of no start")
            if left_after(params.dedupe, MOST_KEY_CHARACTERS) < 0:
                message = f"'dedupe' is longer than {MOST_KEY_CHARACTERS} characters"
                raise NodeFailure("input.invalid", f"{message}: use only the parts that distinguish starts")
            # The keys of an object may be in another order.
            dedupe = canonical_json(params.dedupe).decode()
        child = await context.flows.start(
            params.flow, version=params.version, input=input or {}, wait=params.wait, dedupe=dedupe
        )
        if not params.wait:
            link: dict[str, JSON] = {"execution_id": child.execution_id, "flow_id": child.flow_id}
            said = "An earlier start has the same 'dedupe':" if child.is_repeat else "Started"
            context.log("info", f"{said} {child.execution_id}", link)
            return link
        wait_for = ChildWait(child.execution_id, child.flow_id)
        return Suspend(wait_for=wait_for, deadline=limit_of(context), fail_at_deadline=True)

    async def on_signal(self, params: FlowParams | None, context: StepContext, event: Signalled) -> JSON:
        end = event.payload
        assert isinstance(end, dict), "the engine sends the end of a child execution"
        if end["status"] == "completed":
            result: JSON = end["result"]
            return result
        error = end.get("error") or {"type": "cancelled", "message": "The sub-flow was cancelled", "data": None}
        raise NodeFailure(str(error["type"]), str(error["message"]), data=error.get("data"))
