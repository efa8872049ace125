"""The contract for authors of node types.

A node type is a class with a parameter model and one `run`::

    class Greet(NodeType[GreetParams]):
        type = "greet"
        Params = GreetParams

        async def run(self, params: GreetParams, context: StepContext) -> JSON:
            return {"hello": params.name}

A type that waits for a signal returns `Suspend` from `run` and implements `on_signal`. A type that runs nodes of its
own returns `RunScopes` and implements `on_scopes_ended`.
"""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar, cast, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails

from flowrunner.domain.events import LogLevel
from flowrunner.domain.expression import CodeKind
from flowrunner.domain.flow import DEFAULT_ACTION, ChildScopesKey, NodeTypeSpec, ParamFault
from flowrunner.domain.values import JSON
from flowrunner.language.parameter_faults import parameter_faults

__all__ = [
    "JSON",
    "LONG_BODY_BYTES",
    "CodeKind",
    "Collected",
    "HttpAnswer",
    "HttpClient",
    "LogLevel",
    "NodeFailure",
    "NodeType",
    "Outcome",
    "ParamFault",
    "Params",
    "RunScopes",
    "ScopesEnded",
    "Signalled",
    "StepContext",
    "SubFlow",
    "SubFlows",
    "Suspend",
]


class Params(BaseModel):
    """Base of a node type's parameters: unknown keys are faults, types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema, with the older names of parameters too, which pydantic leaves out."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for parameter in cls.model_fields.values():
            if isinstance(parameter.validation_alias, AliasChoices):
                name, *older = (str(choice) for choice in parameter.validation_alias.choices)
                for old in older:
                    properties[old] = {**properties[name], "deprecationMessage": f"write {name}"}
        return schema


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
    """A result together with what else the node came to.

    Attributes:
        is_last: The scope that the node stands in ends with it, whatever edges it has.
        vars: Values to set among the flow's variables; only of a type that `sets_variables`.
    """

    result: JSON
    action: str = DEFAULT_ACTION
    is_last: bool = False
    vars: Mapping[str, JSON] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend:
    """The node is done but for waiting: for a moment, for a signal, or for whichever comes first.

    The execution leaves memory meanwhile, and a restart does not shorten or repeat the wait. When the
    moment comes the node completes with ``action`` and ``result``, or fails with `timeout`; when the
    signal comes its `resume` is asked.

    Attributes:
        until: The moment; None for never.
        key: Name of the signal; None for none.
        fail_at_deadline: At ``until`` the node fails with `timeout`.
        about: What it waits for, for people: `{type: signal, key: paid}`.
    """

    until: datetime | None = None
    result: JSON = None
    action: str = DEFAULT_ACTION
    key: str | None = None
    fail_at_deadline: bool = False
    details: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScopes:
    """Run the nodes inside this node: once for each key, with ``inputs`` flowing in; then ask `resume`.

    Attributes:
        concurrency: How many run together.
        needed: How many have to complete; None for all. The others are cancelled then, and where too
            many fail for that, so does this node.
        tolerant: One that fails counts as ended and no more.
        not_before: When the first begins; None for at once.
        about: What `resume` is to know again.
    """

    keys: Sequence[str]
    inputs: Sequence[JSON]
    concurrency: int = 1
    needed: int | None = None
    ignore_failures: bool = False
    not_before: datetime | None = None
    details: JSON = None


@dataclass(frozen=True, slots=True)
class Signalled:
    """What a suspended node waited for has come."""

    payload: JSON
    details: JSON


@dataclass(frozen=True, slots=True)
class ScopesEnded:
    """Enough of the node's scopes have ended.

    Attributes:
        keys: The scopes it opened, in order.
        results: Of the ones that completed, by key.
        errors: `{type, message, node, data}` of the ones that failed, by key.
    """

    keys: Sequence[str]
    results: Mapping[str, JSON]
    errors: Mapping[str, JSON]
    details: JSON = None


@dataclass(frozen=True, slots=True)
class Collected:
    """The result is the list of what `collect` gave for each scope, in the order of their keys, which are numbers.

    Attributes:
        others: What stands in it for scopes of which nothing was collected, by key.
    """

    others: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered. Header names are in lower case.

    Attributes:
        is_stripped: A redirect led to another origin, which was sent neither the headers nor the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    redirects: int
    is_stripped: bool = False


# A body of a request or an answer that has more takes long to write or read, and much memory as a value.
LONG_BODY_BYTES: Final = 64 * 1024


class HttpClient(Protocol):
    """The one way out: it connects only where flows may connect."""

    def hold(self, *, is_long: bool = False) -> AbstractAsyncContextManager["HttpClient"]:
        """Wait for the account's turn, and hold it for a request by the client that this gives.

        What is made for the request is best made then: what waits takes no memory of its own.

        Args:
            is_long: Its body has more than `LONG_BODY_BYTES`. Fewer of those are under way at a time.
        """
        ...

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
        on_long: Callable[[], Awaitable[None]] | None = None,
    ) -> HttpAnswer:
        """Send one request and read the whole answer.

        Args:
            on_long: Awaited before more than `LONG_BODY_BYTES` are read: see `StepContext.hold_long_value`.

        Raises:
            NodeFailure: `connection.…`, `egress.forbidden`, `http.too_large`, `http.redirects` or
                `http.invalid_request`.
        """
        ...


@dataclass(frozen=True, slots=True)
class SubFlow:
    """An execution that a node has started."""

    execution_id: str
    flow_id: str


class SubFlows(Protocol):
    """Starts executions of other flows of the same account."""

    async def start(self, flow: str, *, version: str | int | None, input: Mapping[str, JSON], wait: bool) -> SubFlow:
        """Start an execution; for the same step and number of failures it is the same one.

        Args:
            flow: Id or name.
            version: Number of the revision, or the author's label of it; the present one if None.
            wait: Whether its end is signalled to this step.

        Raises:
            NodeFailure: `flow.not_found`, `flow.ambiguous`, `flow.too_deep`, `flow.recursion`, `input.invalid`,
                `limit.concurrency`, or a limit of the account: `limit.account_queued`, `limit.account_stored`.
        """
        ...


class StepContext(Protocol):
    """What a running node may know and use.

    Attributes:
        step: The step in words: `fetch.1`, or `each.1[4]/push.1` within another node.
        input: The result of the node before, or the execution's input.
        failures: Tries of this step that have failed so far.
        timeout_seconds: What the flow says this node may take; None where it says nothing.
        branches: Names of the node's own scopes, if it has several.
        collects: Whether something is collected of each of its scopes: it then gives `Collected`.
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
    def step(self) -> str: ...
    @property
    def failures(self) -> int: ...
    @property
    def timeout_seconds(self) -> float | None: ...
    @property
    def branches(self) -> Sequence[str]: ...
    @property
    def collects(self) -> bool: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def input(self) -> JSON: ...
    @property
    def http(self) -> HttpClient: ...
    @property
    def flows(self) -> SubFlows: ...

    async def hold_long_value(self) -> None:
        """Wait for the account's turn to hold a long value, which takes many times its size as JSON in memory.

        The step holds the turn until its result is recorded. No step that holds one waits for another.
        """
        ...

    def now(self) -> datetime: ...
    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        """Add a line to the execution's log. Values of secrets in it are hidden."""
        ...


# A value of a million elements may be wrong in each of them.
_MOST_FAULTS: Final = 100

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
        timeout_seconds: How long one try may take when the flow does not say; None for no limit.
        code: Parameters that are JavaScript by themselves, by the keys that lead to them; `*` stands
            for any key. Of a condition the parameter is true, false, or the error it came to.
        schemas: Parameters that are JSON Schemas; they are checked when the flow is saved.
        inner: Which key of a node of this type holds nodes of its own: `nodes` or `branches`.
        reevaluate_params: Whether the parameters are filled in anew before `resume`. Their `input` is then what
            the one scope that has ended gave, and their `index` how many have.
        collects: Whether its parameter `collect` is filled in after each run of its own nodes, with `result`. The
            node itself does not get it, only whether there is one.
        sets_variables: Whether an `Outcome` of it may have `vars`. Such nodes of an execution run one after the
            other, so that each reads what the one before it has set.
    """

    type: ClassVar[str]
    Params: ClassVar[ParamsClass]
    actions: ClassVar[frozenset[str]] = frozenset({DEFAULT_ACTION})
    errors: ClassVar[tuple[str, ...]] = ()
    pure: ClassVar[bool] = False
    timeout_seconds: ClassVar[float | None] = 300.0
    code: ClassVar[Mapping[tuple[str, ...], CodeKind]] = {}
    schemas: ClassVar[tuple[str, ...]] = ()
    child_scopes: ClassVar[ChildScopesKey | None] = None
    reevaluate_params: ClassVar[bool] = False
    collects: ClassVar[bool] = False
    sets_variables: ClassVar[bool] = False

    @abstractmethod
    async def run(self, params: P, context: StepContext) -> JSON | Outcome | Suspend | RunScopes | Collected:
        """Do the node's work once. Must be cancellable: cancelling the execution cancels it.

        Raises:
            NodeFailure: When the work cannot be done.
        """

    async def on_signal(
        self, params: P | None, context: StepContext, event: Signalled
    ) -> JSON | Outcome | Suspend | RunScopes | Collected:
        """Continue after the signal that the node suspended for. Required of a type that sets `Suspend.key`.

        Args:
            params: None unless the type sets `reevaluate_params`.

        Raises:
            NodeFailure: When the work cannot be done.
        """
        raise NotImplementedError(f"{self.type} waits for a signal but has no on_signal")

    async def on_scopes_ended(
        self, params: P | None, context: StepContext, event: ScopesEnded
    ) -> JSON | Outcome | Suspend | RunScopes | Collected:
        """Continue after the scopes that the node opened. Required of a type that returns `RunScopes`.

        Args:
            params: None unless the type sets `reevaluate_params`.

        Raises:
            NodeFailure: When the work cannot be done.
        """
        raise NotImplementedError(f"{self.type} opens scopes but has no on_scopes_ended")

    def actions_of(self, params: Mapping[str, JSON]) -> frozenset[str] | None:
        """Actions that a node with these parameters, as written, can end with on success.

        None where they do not tell, as they are wrong, or filled in later: edges of any name are taken then.
        """
        return self.actions

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        """Whether a node with these parameters, as written, may run twice without harm."""
        return self.pure

    def timeout_of(self, params: Mapping[str, JSON]) -> float | None:
        """Seconds that a node with these parameters, as written, may run when its flow does not say."""
        return self.timeout_seconds

    def read(self, params: JSON) -> P:
        """The parameters as the model.

        Raises:
            NodeFailure: `input.invalid`, with what is wrong with the first hundred values in its message.
        """
        try:
            return cast("P", self.Params.model_validate(params))
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            faults = self._faults(found, params, most=_MOST_FAULTS)
            message = "; ".join(f"{'.'.join(map(str, f.keys))}: {f.message}" if f.keys else f.message for f in faults)
            raise NodeFailure("input.invalid", f"The parameters of {self.type} are invalid: {message}") from None

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        """Faults of the parameters as written in a flow, where expressions still stand for values.

        A type that knows more of its parameters than its model adds to these.
        """
        try:
            self.Params.model_validate(params)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            return self._faults([fault for fault in found if not _is_filled_in_later(params, fault)], params)
        return []

    def _faults(self, found: Sequence[ErrorDetails], params: JSON, *, most: int | None = None) -> list[ParamFault]:
        return parameter_faults(found, params, lambda keys: _known_at(self.Params, keys), most=most)

    def spec(self) -> NodeTypeSpec:
        return NodeTypeSpec(
            name=self.type,
            summary=inspect.cleandoc(self.__doc__ or "").partition("\n\n")[0],
            actions_of=self.actions_of,
            errors=self.errors,
            check=self.check,
            params_schema=lambda: self.Params.model_json_schema(by_alias=True),
            code=self.code,
            schemas=self.schemas,
            child_scopes=self.child_scopes,
            repeatable=self.repeatable,
            pure=self.pure,
            timeout_of=self.timeout_of,
            params=tuple(_known_at(self.Params, [""])),
            reevaluate_params=self.reevaluate_params,
            collects=self.collects,
            sets_variables=self.sets_variables,
        )


_EXPRESSION: Final = re.compile(r"(?<!\$)\$\{")


def _is_filled_in_later(params: JSON, fault: ErrorDetails) -> bool:
    """Whether what is wrong is an expression, or within one."""
    value: JSON = params
    # Of an unknown key the value does not matter.
    for key in fault["loc"][: -1 if fault["type"] == "extra_forbidden" else None]:
        if isinstance(value, str):
            break
        known = isinstance(key, str) and isinstance(value, Mapping) and key in value
        if known or (isinstance(key, int) and isinstance(value, list) and key < len(value)):
            value = value[key]  # type: ignore[index] # checked above
        # Other parts of a location name a branch of the model, not a key of the document.
    return isinstance(value, str) and _EXPRESSION.search(value) is not None


def _known_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that may stand where the last one of ``location`` does."""
    models = [model]
    for key in location[:-1]:
        child_scopes = [
            m
            for outer in models
            for name, f in outer.model_fields.items()
            if key in (name, f.alias)
            for m in _models_in(f.annotation)
        ]
        # What names no field is an index, or names a branch of a union.
        models = child_scopes or models
    return [field.alias or name for found in models for name, field in found.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for child_scopes in get_args(annotation):
        yield from _models_in(child_scopes)
