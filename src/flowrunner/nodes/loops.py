"""`foreach`, `while` and `parallel`: nodes that run nodes of their own."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema, field_validator

from flowrunner.nodes.durations import Duration, seconds_of
from flowrunner.nodes.switch import When
from flowrunner.plugin import (
    JSON,
    CodeKind,
    Collected,
    NodeFailure,
    NodeType,
    ParamFault,
    Params,
    RunScopes,
    ScopesEnded,
    StepContext,
)

MOST_AT_ONCE: Final = 1000
MAX_ITEMS: Final = 100_000
DEFAULT_ITERATIONS: Final = 1000
_MOST_SHOWN: Final = 60
_COLLECT: Final = "What is gathered of each run, with `result` for what it gave; the node gives the list: ${result.id}"


class ForeachParams(Params):
    items: Annotated[Any, WithJsonSchema({"type": ["array", "string"]})] = Field(
        description="The list to go through, one run of the node's own nodes for each element."
    )
    as_: str | None = Field(default=None, alias="as", description="What expressions call the element, besides `item`.")
    concurrency: int = Field(default=1, ge=1, le=MOST_AT_ONCE, description="How many runs at once.")
    on_error: Literal["fail", "continue", "collect"] = Field(
        default="fail",
        description="What a run that fails does: fail the node; leave null in its place; leave {error: …} there.",
    )
    collect: Any = Field(default=None, description=_COLLECT)


class Foreach(NodeType[ForeachParams]):
    """Runs its own nodes once for each element of a list. Gives the list of what each gave or `collect` makes of it."""

    type = "foreach"
    Params = ForeachParams
    child_scopes = "nodes"
    errors: ClassVar[tuple[str, ...]] = ("*",)
    pure = True
    timeout_seconds = None
    collects = True

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        faults, items = super().check(params), params.get("items", [])
        if isinstance(items, list) or (isinstance(items, str) and "${" in items):
            return faults
        hint = None
        if isinstance(items, str) and len(items) <= _MOST_SHOWN:
            hint = f"write [{items}]" if "," in items and "(" not in items else f"write ${{{items}}}"
        return [*faults, ParamFault(keys=("items",), code="param", message="must be a list", hint=hint)]

    async def run(self, params: ForeachParams, context: StepContext) -> RunScopes:
        items = params.items
        if not isinstance(items, list | tuple):
            raise NodeFailure("input.invalid", f"'items' must be a list, and is {_kind(items)}")
        if len(items) > MAX_ITEMS:
            raise NodeFailure("limit.items", f"'items' has {len(items)} elements; {MAX_ITEMS} can be gone through")
        return RunScopes(
            keys=[str(index) for index in range(len(items))],
            inputs=items,
            concurrency=params.concurrency,
            ignore_failures=params.on_error != "fail",
            details=params.on_error,
        )

    async def on_scopes_ended(
        self, params: ForeachParams | None, context: StepContext, event: ScopesEnded
    ) -> JSON | Collected:
        instead = {k: {"error": e} if event.details == "collect" else None for k, e in event.errors.items()}
        if context.collects:
            return Collected(instead)
        return [event.results[key] if key in event.results else instead[key] for key in event.keys]


def _kind(value: JSON) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case _:
            return "a number"


class WhileParams(Params):
    when: When = Field(description="Goes on as long as this expression, without braces, holds: vars.page != null")
    max_iterations: int = Field(default=DEFAULT_ITERATIONS, ge=1, le=1_000_000)
    delay: Duration | None = Field(default=None, description="How long to wait between two runs.")
    collect: Any = Field(default=None, description=_COLLECT)


class While(NodeType[WhileParams]):
    """Runs its own nodes as long as a condition holds. Gives what the last run gave, or what `collect` gathers."""

    type = "while"
    Params = WhileParams
    code: ClassVar = {("when",): CodeKind.CONDITION}
    child_scopes = "nodes"
    errors: ClassVar[tuple[str, ...]] = ("*",)
    pure = True
    timeout_seconds = None
    reevaluate_params = True
    collects = True

    async def run(self, params: WhileParams, context: StepContext) -> JSON | RunScopes | Collected:
        return self._next(params, context, 0, context.input)

    async def on_scopes_ended(
        self, params: WhileParams | None, context: StepContext, event: ScopesEnded
    ) -> JSON | RunScopes | Collected:
        assert params is not None, "the engine resolves them: reevaluate_params"
        (key,) = event.keys
        return self._next(params, context, int(key) + 1, event.results[key])

    def _next(
        self, params: WhileParams, context: StepContext, index: int, flowing: JSON
    ) -> JSON | RunScopes | Collected:
        if isinstance(params.when, Exception):
            raise params.when
        if not params.when:
            return Collected() if context.collects else flowing
        if index >= params.max_iterations:
            message = f"The loop has run {params.max_iterations} times and its condition still holds"
            raise NodeFailure("limit.iterations", message)
        not_before = None
        if params.delay is not None and index > 0:
            not_before = context.now() + timedelta(seconds=seconds_of(params.delay))
        return RunScopes(keys=[str(index)], inputs=[flowing], not_before=not_before)


class ParallelParams(Params):
    join: Literal["all", "any"] | int = Field(
        default="all", description="How many branches have to complete; the others are cancelled then."
    )

    @field_validator("join")
    @classmethod
    def _join(cls, value: "Literal['all', 'any'] | int") -> "Literal['all', 'any'] | int":
        if isinstance(value, int) and value < 1:
            raise ValueError("must be all, any, or a number of branches from 1")
        return value


class Parallel(NodeType[ParallelParams]):
    """Runs its branches side by side. Gives what each gave, by name."""

    type = "parallel"
    Params = ParallelParams
    child_scopes = "branches"
    errors: ClassVar[tuple[str, ...]] = ("*",)
    pure = True
    timeout_seconds = None

    async def run(self, params: ParallelParams, context: StepContext) -> RunScopes:
        branches = context.branches
        needed = {"all": len(branches), "any": 1}.get(str(params.join), params.join)
        if not isinstance(needed, int) or needed > len(branches):
            raise NodeFailure("input.invalid", f"'join' asks for {params.join} of {len(branches)} branches")
        return RunScopes(
            keys=branches, inputs=[context.input] * len(branches), concurrency=len(branches), needed=needed
        )

    async def on_scopes_ended(
        self, params: ParallelParams | None, context: StepContext, event: ScopesEnded
    ) -> Mapping[str, JSON]:
        return {key: event.results[key] for key in event.keys if key in event.results}
