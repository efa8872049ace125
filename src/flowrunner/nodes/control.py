"""Node types `return`, `fail` and `set`: end a flow early, and set its variables."""

import re
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, Field, field_validator

from flowrunner.nodes.texts import Message
from flowrunner.plugin import JSON, NodeFailure, NodeType, Outcome, Params, StepContext


class ReturnParams(Params):
    value: Any = Field(default=None, description="Result of the flow, or of the round or branch that holds the node.")


class Return(NodeType[ReturnParams]):
    """Ends the flow with a result. Inside a loop or a branch it ends only that round or branch."""

    type = "return"
    examples = (
        "type: return\nparams:\n  value: ${input}\n",
        "type: return\nparams:\n  value: {paid: '${input.amount}'}\n",
    )
    Params = ReturnParams
    actions: ClassVar[frozenset[str]] = frozenset()
    pure = True

    async def run(self, params: ReturnParams, context: StepContext) -> Outcome:
        return Outcome(params.value, is_last=True)


_ERROR_TYPE: Final = re.compile(r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")


class FailParams(Params):
    error: str = Field(
        default="node.fail",
        max_length=200,
        description="Error type.",
        json_schema_extra={"pattern": _ERROR_TYPE.pattern},
    )
    message: Message = "The flow failed on purpose"
    data: Any = None

    @field_validator("error")
    @classmethod
    def _dotted(cls, value: str) -> str:
        if not _ERROR_TYPE.fullmatch(value):
            raise ValueError("must be words joined by dots, such as orders.failed")
        return value


class Fail(NodeType[FailParams]):
    """Fails with an error that the flow defines."""

    type = "fail"
    examples = (
        "type: fail\nparams:\n  error: order.rejected\n  message: The order was rejected\n",
        "type: fail\nparams:\n  error: order.rejected\n  message: Order ${input.id} was rejected\n",
    )
    Params = FailParams
    actions: ClassVar[frozenset[str]] = frozenset()
    errors: ClassVar[tuple[str, ...]] = ("*",)
    pure = True

    async def run(self, params: FailParams, context: StepContext) -> JSON:
        raise NodeFailure(params.error, params.message, data=params.data)


class SetParams(Params):
    """New values of variables by name."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Set(NodeType[SetParams]):
    """Sets variables of the flow, read as `${vars.name}`. Returns the new values."""

    type = "set"
    examples = ("type: set\nparams:\n  received: ${input}\n", "type: set\nparams:\n  next_page: ${input.next}\n")
    Params = SetParams
    pure = True
    sets_variables = True

    async def run(self, params: SetParams, context: StepContext) -> Outcome:
        values: dict[str, JSON] = dict(params.model_extra or {})
        return Outcome(values, vars=values)
