"""`return` and `fail`: how a flow ends before its edges do."""

from typing import Any, ClassVar

from pydantic import Field

from flowrunner.domain.flow import RETURN_ACTION
from flowrunner.plugin import JSON, NodeFailure, NodeType, Outcome, Params, StepContext


class ReturnParams(Params):
    value: Any = Field(default=None, description="The execution's result.")


class Return(NodeType[ReturnParams]):
    """Ends the execution with a result."""

    type = "return"
    Params = ReturnParams
    actions: ClassVar[frozenset[str]] = frozenset()
    pure = True

    async def run(self, params: ReturnParams, context: StepContext) -> Outcome:
        return Outcome(params.value, action=RETURN_ACTION)


class FailParams(Params):
    error: str = Field(
        default="node.fail", pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=200, description="Error type."
    )
    message: str = Field(default="The flow failed on purpose", max_length=10_000)
    data: Any = None


class Fail(NodeType[FailParams]):
    """Fails with an error of the flow's own."""

    type = "fail"
    Params = FailParams
    actions: ClassVar[frozenset[str]] = frozenset()
    errors: ClassVar[tuple[str, ...]] = ("*",)
    pure = True

    async def run(self, params: FailParams, context: StepContext) -> JSON:
        raise NodeFailure(params.error, params.message, data=params.data)
