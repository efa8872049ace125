"""The contract for authors of node types.

A node type is a class with a parameter model and one `run`::

    class Greet(NodeType[GreetParams]):
        type = "greet"
        Params = GreetParams

        async def run(self, params: GreetParams, context: StepContext) -> JSON:
            return {"hello": params.name}
"""

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from flowrunner.domain.execution import LogLevel
from flowrunner.domain.flow import DEFAULT_ACTION, NodeTypeSpec, ParamFault
from flowrunner.domain.values import JSON

__all__ = [
    "JSON",
    "HttpAnswer",
    "HttpClient",
    "LogLevel",
    "NodeFailure",
    "NodeType",
    "Outcome",
    "Params",
    "StepContext",
    "Suspend",
]


class Params(BaseModel):
    """Base of a node type's parameters: unknown keys are faults, types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NodeFailure(Exception):
    """A node could not do its work.

    Args:
        type: Dotted error type that edges and retries match: `http.503`, `node.sql.syntax`.
        data: What else the flow may want to know, as `${error.data}`.
        retry_after: Seconds the other side asked to wait before another try.
    """

    def __init__(self, type: str, message: str, *, data: JSON = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.data = data
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result together with an action other than `default`."""

    result: JSON
    action: str = DEFAULT_ACTION


@dataclass(frozen=True, slots=True)
class Suspend:
    """The node is done but for waiting: it completes with ``result`` at ``until``.

    The execution leaves memory meanwhile, and a restart does not shorten or repeat the wait.
    """

    until: datetime
    result: JSON


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    redirects: int


class HttpClient(Protocol):
    """The one way out: it connects only where flows may connect."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
    ) -> HttpAnswer:
        """Send one request and read the whole answer.

        Raises:
            NodeFailure: `connection.…`, `egress.forbidden`, `http.too_large`, `http.redirects` or
                `http.invalid_request`.
        """
        ...


class StepContext(Protocol):
    """What a running node may know and use.

    Attributes:
        input: The result of the node before, or the execution's input.
        idempotency_key: The same for every try of this step, for receivers that can tell repeats.
    """

    @property
    def execution_id(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def iteration(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def input(self) -> JSON: ...
    @property
    def http(self) -> HttpClient: ...

    def now(self) -> datetime: ...
    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        """Add a line to the execution's log. Values of secrets in it are hidden."""
        ...


P = TypeVar("P", bound=Params)


# Named here because `type` means something else inside the class.
ParamsClass: TypeAlias = type[Params]


class NodeType(ABC, Generic[P]):
    """A kind of node.

    Attributes:
        type: The name flows use.
        Params: The model of its parameters, the class that `P` stands for.
        actions: Actions it can end with on success.
        errors: Error types, or families of them (`http` for `http.404`), that it can fail with.
        pure: It touches nothing outside the execution and never waits: repeating it changes nothing,
            and it shares a commit with the node after it. Leave it False for anything slow.
        timeout_seconds: How long one try may take when the flow does not say.
    """

    type: ClassVar[str]
    Params: ClassVar[ParamsClass]
    actions: ClassVar[frozenset[str]] = frozenset({DEFAULT_ACTION})
    errors: ClassVar[tuple[str, ...]] = ()
    pure: ClassVar[bool] = False
    timeout_seconds: ClassVar[float] = 300.0

    @abstractmethod
    async def run(self, params: P, context: StepContext) -> JSON | Outcome | Suspend:
        """Do the node's work once. Must be cancellable: cancelling the execution cancels it.

        Raises:
            NodeFailure: When the work cannot be done.
        """

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        """Whether a node with these parameters, as written, may run twice without harm."""
        return self.pure

    def timeout_of(self, params: Mapping[str, JSON]) -> float:
        """Seconds that a node with these parameters, as written, may run when its flow does not say."""
        return self.timeout_seconds

    def read(self, params: JSON) -> P:
        """The parameters as the model.

        Raises:
            NodeFailure: `input.invalid`, with every fault in its message.
        """
        try:
            return cast("P", self.Params.model_validate(params))
        except ValidationError as error:
            faults = [
                self._fault(e["loc"], e["type"], e["msg"]) for e in error.errors(include_input=False, include_url=False)
            ]
            message = "; ".join(f"{'.'.join(map(str, f.keys))}: {f.message}" for f in faults)
            raise NodeFailure("input.invalid", f"The parameters of {self.type} are invalid: {message}") from None

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        """Faults of the parameters as written in a flow, where expressions still stand for values."""
        try:
            self.Params.model_validate(params)
        except ValidationError as error:
            return [
                self._fault(e["loc"], e["type"], e["msg"])
                for e in error.errors(include_input=False, include_url=False)
                if not _is_filled_in_later(params, e["loc"])
            ]
        return []

    def _fault(self, location: tuple[str | int, ...], kind: str, message: str) -> ParamFault:
        code, text = _MESSAGES.get(kind, ("param", message.removeprefix("Value error, ")))
        hint = None
        if kind in _MESSAGES and location:
            text = f"'{location[-1]}' {text}"
        if kind == "extra_forbidden" and len(location) == 1:
            near = difflib.get_close_matches(str(location[0]), self.Params.model_fields, n=1)
            known = ", ".join(self.Params.model_fields)
            hint = f"did you mean '{near[0]}'?" if near else f"known parameters: {known}"
        return ParamFault(keys=tuple(location), code=code, message=text, hint=hint)

    def spec(self) -> NodeTypeSpec:
        return NodeTypeSpec(
            name=self.type,
            actions=self.actions,
            errors=self.errors,
            check=self.check,
            repeatable=self.repeatable,
            pure=self.pure,
            timeout_of=self.timeout_of,
        )


_EXPRESSION: Final = re.compile(r"(?<!\$)\$\{")


def _is_filled_in_later(params: JSON, location: tuple[str | int, ...]) -> bool:
    """Whether the value at ``location``, or one around it, is an expression."""
    value: JSON = params
    for key in location:
        if isinstance(value, str):
            break
        known = isinstance(key, str) and isinstance(value, Mapping) and key in value
        if known or (isinstance(key, int) and isinstance(value, list) and key < len(value)):
            value = value[key]  # type: ignore[index] # checked above
        # Other parts of a location name a branch of the model, not a key of the document.
    return isinstance(value, str) and _EXPRESSION.search(value) is not None


_MESSAGES: Final = {
    "extra_forbidden": ("unknown_key", "is not a parameter of this node type"),
    "missing": ("required", "is missing"),
}
