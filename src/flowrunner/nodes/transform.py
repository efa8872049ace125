"""Node type `transform`: build a value from others."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from flowrunner.plugin import JSON, CodeKind, NodeType, Params, StepContext


class TransformParams(Params):
    value: Any = Field(default=None, description="Any structure; expressions in it are evaluated.")
    mapping: dict[str, Any] | None = Field(default=None, description="An object with an expression for each key.")
    script: Any = Field(default=None, description="JavaScript: the body of a function, whose `return` is the result.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of: value, mapping, script")
        return self


class Transform(NodeType[TransformParams]):
    """Returns a value built from others: a structure, a mapping, or the return value of a script."""

    type = "transform"
    examples = (
        "type: transform\nparams:\n  value: {order: '${input}', read_at: '${execution.started_at}'}\n",
        "type: transform\nparams:\n  value: {id: '${input.id}', total: '${input.price * input.count}'}\n",
        "type: transform\nparams:\n  script: |\n    const paid = input.orders.filter(order => order.paid)\n"
        "    return {count: paid.length}\n",
    )
    Params = TransformParams
    keeps_params = True
    code: ClassVar = {("script",): CodeKind.BODY, ("mapping", "*"): CodeKind.EXPRESSION}
    pure = True

    def result_keys_of(self, params: Mapping[str, JSON]) -> Collection[str]:
        written = params.get("value", params.get("mapping"))
        return tuple(written) if isinstance(written, Mapping) else ()

    async def run(self, params: TransformParams, context: StepContext) -> JSON:
        result: JSON = getattr(params, next(iter(params.model_fields_set)))
        return result
