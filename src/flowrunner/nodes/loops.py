"""Node types `foreach`, `while` and `parallel`, which run the nodes inside them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema, field_validator

from flowrunner.domain.counted import counted
from flowrunner.domain.duration import parse_duration
from flowrunner.nodes.durations import Duration
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

MAX_CONCURRENCY: Final = 1000
MAX_ITEMS: Final = 100_000
DEFAULT_ITERATIONS: Final = 1000
_MOST_SHOWN: Final = 60
_COLLECT: Final = "Value to collect from each round, whose result is `result`: ${result.id}. The node returns the list."


class ForeachParams(Params):
    items: Annotated[Any, WithJsonSchema({"type": ["array", "string"]})] = Field(
        description="The list. The nodes inside run once for each element."
    )
    as_: str | None = Field(default=None, alias="as", description="Name of the element in expressions, besides `item`.")
    concurrency: int = Field(default=1, ge=1, le=MAX_CONCURRENCY, description="How many elements at the same time.")
    on_error: Literal["fail", "continue", "collect"] = Field(
        default="fail",
        description="After a failed round: fail the node; put null in its place; put {error: …} in its place.",
    )
    collect: Any = Field(default=None, description=_COLLECT)


class Foreach(NodeType[ForeachParams]):
    """Runs the nodes inside once for each element of a list. Returns the list of their results or `collect` values."""

    type = "foreach"
    examples = (
        "type: foreach\nparams:\n  items: [pen, ink]\n  as: article\nnodes:\n  tell:\n    type: log\n"
        "    params: {message: '${article}'}\n",
        "type: foreach\nparams:\n  items: ${input.orders}\n  as: order\n  concurrency: 5\nnodes:\n  push:\n"
        "    type: http.request\n    params:\n      url: https://api.example.com/orders/${order.id}\n",
    )
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
            raise NodeFailure("limit.items", f"'items' has {len(items)} elements; the most is {MAX_ITEMS}")
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
        substitutes = {k: {"error": e} if event.details == "collect" else None for k, e in event.errors.items()}
        if context.collects:
            return Collected(substitutes)
        return [event.results[key] if key in event.results else substitutes[key] for key in event.keys]


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
    when: When = Field(description="Runs again as long as this expression, without braces, is true: vars.page != null")
    max_iterations: int = Field(default=DEFAULT_ITERATIONS, ge=1, le=1_000_000)
    delay: Duration | None = Field(default=None, description="How long to wait between two rounds.")
    collect: Any = Field(default=None, description=_COLLECT)


class While(NodeType[WhileParams]):
    """Runs the nodes inside as long as a condition is true. Returns the last result, or the `collect` values."""

    type = "while"
    examples = (
        "type: while\nparams:\n  when: index < 3\n  max_iterations: 100\nnodes:\n  tell:\n    type: log\n"
        "    params: {message: 'Round ${index}'}\n",
        "type: while\nparams:\n  when: index === 0 || input.next !== null\n  max_iterations: 100\nnodes:\n  page:\n"
        "    type: http.request\n    params:\n      url: https://api.example.com/orders?page=${index}\n"
        "    output: ${result.body}\n",
    )
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

    def _next(self, params: WhileParams, context: StepContext, index: int, input: JSON) -> JSON | RunScopes | Collected:
        if isinstance(params.when, Exception):
            raise params.when
        if not params.when:
            return Collected() if context.collects else input
        if index >= params.max_iterations:
            message = f"The loop has run {counted(params.max_iterations, 'time')} and its condition is still true"
            raise NodeFailure("limit.iterations", message)
        not_before = None
        if params.delay is not None and index > 0:
            not_before = context.now() + timedelta(seconds=parse_duration(params.delay))
        return RunScopes(keys=[str(index)], inputs=[input], not_before=not_before)


class ParallelParams(Params):
    join: Literal["all", "any"] | int = Field(
        default="all", description="How many branches must complete; the others are then cancelled."
    )

    @field_validator("join")
    @classmethod
    def _join(cls, value: "Literal['all', 'any'] | int") -> "Literal['all', 'any'] | int":
        if isinstance(value, int) and value < 1:
            raise ValueError("must be all, any, or a number of branches from 1")
        return value


class Parallel(NodeType[ParallelParams]):
    """Runs its branches at the same time. Returns their results by name."""

    type = "parallel"
    examples = (
        "type: parallel\nparams: {join: all}\nbranches:\n  left:\n    nodes:\n      tell:\n        type: log\n"
        "        params: {message: On the left}\n"
        "  right:\n    nodes:\n      tell:\n        type: log\n        params: {message: On the right}\n",
        "type: parallel\nparams: {join: all}\nbranches:\n  stock:\n    nodes:\n      ask:\n"
        "        type: http.request\n        params: {url: 'https://stock.example.com/${input.id}'}\n"
        "  price:\n    nodes:\n      ask:\n"
        "        type: http.request\n        params: {url: 'https://price.example.com/${input.id}'}\n",
    )
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
