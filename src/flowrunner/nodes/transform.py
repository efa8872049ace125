"""`transform`: a new value from the ones at hand."""

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from flowrunner.plugin import JSON, CodeKind, NodeType, Params, StepContext


class TransformParams(Params):
    value: Any = Field(default=None, description="Any structure; expressions in it are filled in.")
    mapping: dict[str, Any] | None = Field(default=None, description="An object, by name: each an expression.")
    script: Any = Field(default=None, description="JavaScript: the body of a function, whose `return` is the result.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of: value, mapping, script")
        return self


class Transform(NodeType[TransformParams]):
    """Gives a value made from others: a structure, a mapping, or what a script returns."""

    type = "transform"
    Params = TransformParams
    code: ClassVar = {("script",): CodeKind.BODY, ("mapping", "*"): CodeKind.EXPRESSION}
    pure = True

    async def run(self, params: TransformParams, context: StepContext) -> JSON:
        result: JSON = getattr(params, next(iter(params.model_fields_set)))
        return result
