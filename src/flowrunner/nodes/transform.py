"""`transform`: a new value from the ones at hand."""

from typing import Any

from pydantic import Field

from flowrunner.plugin import JSON, NodeType, Params, StepContext


class TransformParams(Params):
    value: Any = Field(description="Any structure; expressions in it are filled in.")


class Transform(NodeType[TransformParams]):
    """Gives the value."""

    type = "transform"
    Params = TransformParams
    pure = True

    async def run(self, params: TransformParams, context: StepContext) -> JSON:
        result: JSON = params.value
        return result
