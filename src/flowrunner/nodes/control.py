"""`return`, `fail` and `set`: how a flow ends before its edges do, and what it keeps in mind."""

import re
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, Field, field_validator

from flowrunner.nodes.texts import Message
from flowrunner.plugin import JSON, NodeFailure, NodeType, Outcome, Params, StepContext


class ReturnParams(Params):
    value: Any = Field(default=None, description="What the flow gives, or the scope that the node stands in.")


class Return(NodeType[ReturnParams]):
    """Ends the flow with a result; inside a loop or a branch, that run of it."""

    type = "return"
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
    """Fails with an error of the flow's own."""

    type = "fail"
    Params = FailParams
    actions: ClassVar[frozenset[str]] = frozenset()
    errors: ClassVar[tuple[str, ...]] = ("*",)
    pure = True

    async def run(self, params: FailParams, context: StepContext) -> JSON:
        raise NodeFailure(params.error, params.message, data=params.data)


class SetParams(Params):
    """Names of variables, with the value each is to have from now on."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Set(NodeType[SetParams]):
    """Gives variables of the flow new values, read as `${vars.name}`. Gives them as its result."""

    type = "set"
    Params = SetParams
    pure = True
    sets_variables = True

    async def run(self, params: SetParams, context: StepContext) -> Outcome:
        values: dict[str, JSON] = dict(params.model_extra or {})
        return Outcome(values, vars=values)
