"""Node type `store`: read and change the values that a workspace keeps between executions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from flowrunner.domain.duration import parse_duration
from flowrunner.domain.store import (
    DEFAULT_NAMESPACE,
    LARGEST_NUMBER,
    MAX_KEY_CHARACTERS,
    MAX_NAMESPACE_CHARACTERS,
    MOST_LISTED,
    ttl_ms_of,
)
from flowrunner.nodes.checks import checked, is_known
from flowrunner.nodes.durations import Duration
from flowrunner.plugin import JSON, Expected, NodeType, ParamFault, Params, StepContext

_DEFAULT_LIMIT: Final = 100
# The parameters of each operation besides `operation` and `namespace`: those that it needs, and those it may have.
_PARAMETERS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "get": (["key"], []),
    "set": (["key", "value"], ["ttl", "expected"]),
    "delete": (["key"], ["expected"]),
    "increment": (["key"], ["value", "ttl"]),
    "list": ([], ["prefix", "after", "limit"]),
}
_HINTS: Final[Mapping[str, str]] = {
    "by": "did you mean 'value'?",
    "amount": "did you mean 'value'?",
    "if_value": "did you mean 'expected'?",
    "default": "write another value where the result is read: ${nodes.<name>.result ?? 0}",
}


def _check_ttl(text: str) -> None:
    ttl_ms_of(parse_duration(text))


class StoreParams(Params):
    operation: Literal["get", "set", "delete", "list", "increment"]
    key: str | None = Field(default=None, min_length=1, max_length=MAX_KEY_CHARACTERS)
    value: Any = Field(default=None, description="What to set: any JSON. What to add, 1 if absent: a whole number.")
    ttl: Annotated[Duration, checked(_check_ttl)] | None = Field(
        default=None,
        description="How long the value is kept, indefinitely if absent: 10m, 1d. A number from its first increment.",
    )
    expected: Any = Field(
        default=None,
        description="What the value must be now to be set or deleted, null if there must be none; else store.changed.",
    )
    namespace: str = Field(
        default=DEFAULT_NAMESPACE,
        min_length=1,
        max_length=MAX_NAMESPACE_CHARACTERS,
        description="Keys of one namespace are apart from those of another. All flows of a workspace share them.",
    )
    prefix: str = Field(
        default="", max_length=MAX_KEY_CHARACTERS, description="The beginning of the keys to list; all if absent."
    )
    after: str = Field(
        default="", max_length=MAX_KEY_CHARACTERS, description="The `next` of the list before, for more keys."
    )
    limit: int = Field(default=_DEFAULT_LIMIT, ge=1, le=MOST_LISTED, description="The most keys to list.")

    @model_validator(mode="after")
    def _together(self, info: ValidationInfo) -> Self:
        needed, possible = _PARAMETERS[self.operation]
        given = self.model_fields_set - {"operation", "namespace"}
        if missing := [name for name in needed if name not in given or (name == "key" and self.key is None)]:
            raise ValueError(f"the operation '{self.operation}' needs {_listed(missing)}")
        if unused := sorted(given.difference(needed, possible)):
            raise ValueError(f"the operation '{self.operation}' has no use for {_listed(unused)}")
        if self.operation == "increment" and is_known(self.value, info):
            _amount_of(self)
        return self


class StoreNode(NodeType[StoreParams]):
    """Reads and changes values that the workspace keeps between executions."""

    type = "store"
    examples = (
        "type: store\nparams: {operation: get, key: last-order}\n",
        "type: store\nparams: {operation: set, key: last-order, value: '${input.id}'}\n",
        "type: store\nparams: {operation: increment, key: 'mails ${input.to}', ttl: 1d}\n",
        "type: store\nparams: {operation: list, namespace: orders, prefix: 2027-}\n",
        "type: store\nparams: {operation: delete, key: last-order}\n",
    )
    Params = StoreParams
    keeps_params = True
    uses_store = True
    errors: ClassVar[tuple[str, ...]] = ("store", "limit")

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        """Return the faults of the parameters, with hints for the words of other systems."""
        return [
            replace(fault, hint=_HINTS.get(str(fault.keys[-1]), fault.hint)) if fault.code == "unknown_key" else fault
            for fault in super().check(params)
        ]

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        """Return True: a repeated change gets the result of the first."""
        return True

    async def run(self, params: StoreParams, context: StepContext) -> JSON:
        store, key, namespace = context.store, params.key or "", params.namespace
        expected = Expected(params.expected) if "expected" in params.model_fields_set else None
        ttl = None if params.ttl is None else parse_duration(params.ttl)
        match params.operation:
            case "get":
                return await store.get(key, namespace=namespace)
            case "set":
                return await store.set(key, params.value, namespace=namespace, ttl_seconds=ttl, expected=expected)
            case "delete":
                return await store.delete(key, namespace=namespace, expected=expected)
            case "increment":
                return await store.increment(key, _amount_of(params), namespace=namespace, ttl_seconds=ttl)
            case "list":
                return await store.keys(
                    namespace=namespace, prefix=params.prefix, after=params.after, limit=params.limit
                )


def _amount_of(params: StoreParams) -> int:
    """Return what to add to a number. Raises: ValueError."""
    if "value" not in params.model_fields_set:
        return 1
    value = params.value
    is_whole = (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )
    if not is_whole or abs(value) > LARGEST_NUMBER:
        raise ValueError(f"'value' must be a whole number between -{LARGEST_NUMBER} and {LARGEST_NUMBER} to increment")
    return int(value)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
