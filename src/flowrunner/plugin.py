"""Public contract for authors of node types.

A node type is a class with a parameter model and one `run`::

    class Greet(NodeType[GreetParams]):
        type = "greet"
        Params = GreetParams

        async def run(self, params: GreetParams, context: StepContext) -> JSON:
            return {"hello": params.name}

A type that waits for a signal returns `Suspend` from `run` and implements `on_signal`. A type that runs nodes of its
own returns `RunScopes` and implements `on_scopes_ended`.

Authors import all of the contract from here.
"""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from flowrunner.domain.expression import CodeKind
from flowrunner.domain.flow import DEFAULT_ACTION, ChildScopesKey, NodeTypeSpec, ParamFault
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import ApprovalWait, ChildWait, SignalWait, TimeWait, WaitFor
from flowrunner.language.parameter_faults import AS_WRITTEN, IN_QUOTES, parameter_faults
from flowrunner.plugin_clients import (
    LONG_BODY_BYTES,
    HttpAnswer,
    HttpClient,
    ImapAddress,
    ImapClient,
    ImapMessage,
    ImapPart,
    ImapSearch,
    ImapServer,
    ImapSession,
    MailClient,
    MailServer,
    RefusedRecipient,
    SqlAnswer,
    SqlClient,
    SqlDatabase,
    SqlSession,
)

__all__ = [
    "JSON",
    "LONG_BODY_BYTES",
    "ApprovalWait",
    "ChildWait",
    "CodeKind",
    "Collected",
    "DescribedFlow",
    "HttpAnswer",
    "HttpClient",
    "ImapAddress",
    "ImapClient",
    "ImapMessage",
    "ImapPart",
    "ImapSearch",
    "ImapServer",
    "ImapSession",
    "LogLevel",
    "MailClient",
    "MailServer",
    "NodeFailure",
    "NodeType",
    "Outcome",
    "ParamFault",
    "Params",
    "RefusedRecipient",
    "RunScopes",
    "ScopesEnded",
    "SignalWait",
    "Signalled",
    "SqlAnswer",
    "SqlClient",
    "SqlDatabase",
    "SqlSession",
    "StepContext",
    "Store",
    "SubFlow",
    "SubFlows",
    "Suspend",
    "TimeWait",
    "WaitFor",
]


class Params(BaseModel):
    """Base class of node parameters. Unknown keys are faults and types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NodeFailure(Exception):
    """Error of a node, raised by its type and reported to the flow.

    Args:
        type: Dotted error type that edges and retries match: `http.503`, `node.sql.syntax`.
        data: Details for the flow, readable as `${error.data}`.
        retry_after: Seconds that the remote server asked to wait before the next attempt.
    """

    def __init__(self, type: str, message: str, *, data: JSON = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.data = data
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a node with its action and side effects.

    Attributes:
        is_last: The scope of the node ends with it; its edges are ignored.
        vars: Flow variables to set. Allowed only if the type sets `sets_variables`.
    """

    result: JSON
    action: str = DEFAULT_ACTION
    is_last: bool = False
    vars: Mapping[str, JSON] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend:
    """Request to wait: `Suspend(wait_for=SignalWait("paid"))`.

    The execution leaves memory while it waits, and a restart neither shortens nor repeats the wait. When the signal,
    the answer or the end of the child execution arrives, the engine calls `NodeType.on_signal`. At the moment of a
    `TimeWait`, and at the deadline, the node completes with ``action`` and ``result``.

    Attributes:
        wait_for: The wait. Its `describe()` is shown to people.
        deadline: Moment after which the node no longer waits; None for no limit.
        fail_at_deadline: The node fails with `timeout` at the deadline.
    """

    wait_for: WaitFor
    deadline: datetime | None = None
    result: JSON = None
    action: str = DEFAULT_ACTION
    fail_at_deadline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScopes:
    """Request to run the nodes inside this node, once for each key. `NodeType.on_scopes_ended` follows.

    Attributes:
        inputs: Input of each scope, in the order of ``keys``.
        concurrency: Maximum number of scopes that run at the same time.
        needed: Number of scopes that must complete; None for all. The remaining ones are then cancelled. The node
            fails when too many scopes have failed to reach the number.
        ignore_failures: A failed scope counts as ended and does not fail the node.
        not_before: Earliest start of the first scope; None to start immediately.
        details: Value that is passed on to `on_scopes_ended`.
        starts: Name of the node that each scope begins with, in the order of ``keys``; empty for the first node.
        keeps_results: What the node's earlier scopes have given is passed on, too, and their details unless there are
            others.
    """

    keys: Sequence[str]
    inputs: Sequence[JSON]
    concurrency: int = 1
    needed: int | None = None
    ignore_failures: bool = False
    not_before: datetime | None = None
    details: JSON = None
    starts: Sequence[str] = ()
    keeps_results: bool = False


@dataclass(frozen=True, slots=True)
class Signalled:
    """Signal that a suspended node has waited for.

    Attributes:
        wait_for: The wait of the node's `Suspend`.
        answers: All answers to an `ApprovalWait`, in order; the payload is the last one.
    """

    payload: JSON
    wait_for: WaitFor
    answers: Sequence[JSON] = ()


@dataclass(frozen=True, slots=True)
class ScopesEnded:
    """End of the scopes that a node has opened.

    Attributes:
        keys: Keys of the opened scopes, in order.
        results: Results of the completed scopes by key, with those of earlier scopes if they are kept.
        errors: Errors `{type, message, node, data}` of the failed scopes by key, in the same way.
        details: Value of `RunScopes.details`.
    """

    keys: Sequence[str]
    results: Mapping[str, JSON]
    errors: Mapping[str, JSON]
    details: JSON = None


@dataclass(frozen=True, slots=True)
class Collected:
    """Result that is the list of collected values, one for each scope, in the order of their numeric keys.

    Attributes:
        others: Values by key for the scopes without a collected value.
    """

    others: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubFlow:
    """Child execution that a node has started.

    Attributes:
        is_repeat: An earlier call with the same ``dedupe`` started it.
    """

    execution_id: str
    flow_id: str
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class DescribedFlow:
    """A flow that a node can start. Attributes: inputs: JSON Schema of its input, an object."""

    name: str
    description: str
    inputs: Mapping[str, JSON]


class SubFlows(Protocol):
    """Starter of child executions, from other flows of the same workspace."""

    async def describe(self, flow: str, *, version: str | int | None) -> DescribedFlow:
        """Return what a flow takes. Raises: NodeFailure `flow.not_found`, `flow.ambiguous`, `flow.invalid`."""
        ...

    async def start(
        self,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        wait: bool,
        dedupe: str | None = None,
    ) -> SubFlow:
        """Start an execution. A repeated call by the same step and number of failures returns the same execution.

        Args:
            flow: Id or name of the flow.
            version: Number of the revision, or its author's label; the current revision if None.
            wait: Signal the end of the execution to this step.
            dedupe: A later call with this key, of whichever step, returns the execution that the first one started, as
                long as that is kept. None if each step starts its own.

        Raises:
            NodeFailure: `flow.not_found`, `flow.ambiguous`, `flow.too_deep`, `flow.recursion`, `input.invalid`,
                `limit.concurrency`, or a limit of the account: `limit.workspace_queued`, `limit.workspace_stored`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Expected:
    """Value that an entry of the store must have for a change; None also if there is no entry."""

    value: JSON


class Store(Protocol):
    """The store of the workspace: namespaces of keys with JSON values. An entry that has expired is not there.

    Only `NodeType.run` may use it.

    A step that runs again after a crash or a failure repeats its changes: the first one returns what the first one
    of the earlier attempt did, without changing anything, and so on. A change that failed is made again, and may then
    succeed: a step that goes on after a failure has to expect both.

    Raises of each method: NodeFailure `input.invalid`, `limit.…`, `store.not_a_number`, `store.out_of_range`, and
    `store.changed` if an entry has not the expected value.
    """

    async def get(self, key: str, *, namespace: str) -> JSON:
        """Return the value; None if there is none."""
        ...

    async def keys(self, *, namespace: str, prefix: str, after: str, limit: int) -> JSON:
        """Return `{keys, next}`: the first ``limit`` keys after ``after`` that begin with ``prefix``, by their code
        points, and the last of them if there are more, otherwise None.
        """
        ...

    async def set(
        self, key: str, value: JSON, *, namespace: str, ttl_seconds: float | None, expected: Expected | None = None
    ) -> JSON:
        """Write or replace a value. Return `{created}`."""
        ...

    async def delete(self, key: str, *, namespace: str, expected: Expected | None = None) -> JSON:
        """Delete a value, if there is one. Return `{deleted}`."""
        ...

    async def increment(self, key: str, amount: int, *, namespace: str, ttl_seconds: float | None) -> JSON:
        """Add to a whole number, 0 if there is none, and return the sum.

        Args:
            ttl_seconds: For an entry that is new; another one keeps its own.
        """
        ...


class StepContext(Protocol):
    """Information and services for a running node.

    Attributes:
        step: Name of the step: `fetch.1`, or `each.1[4]/push.1` inside another node.
        input: Result of the previous node, or the execution's input.
        flows: Starter of child executions, for a type that sets `starts_executions`.
        store: The store of the workspace, for a type that sets `uses_store`.
        failures: Number of failed attempts of this step.
        timeout_seconds: Timeout that the flow sets for this node; None if it sets none.
        branches: Names of the node's branches.
        collects: A value is collected from each scope; the node then returns `Collected`.
        idempotency_key: Key that is the same for every attempt of this step, so that receivers recognise repeats.
        depth: Number of executions that have started the next one, by triggers, before this one.
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
    def depth(self) -> int: ...
    @property
    def input(self) -> JSON: ...
    @property
    def http(self) -> HttpClient: ...
    @property
    def mail(self) -> MailClient: ...
    @property
    def imap(self) -> ImapClient: ...
    @property
    def sql(self) -> SqlClient: ...
    @property
    def flows(self) -> SubFlows: ...
    @property
    def store(self) -> Store: ...

    async def hold_long_value(self, memory: int = 0) -> None:
        """Wait for a slot of the account for a long value, which takes many times its JSON size in memory.

        The step holds the slot until its result is recorded. A step that holds a slot never waits for another.

        Args:
            memory: Bytes that the value takes once it is decoded, which the step waits for and holds as well.
        """
        ...

    async def check(self, value: JSON, schema: JSON) -> Sequence[str]:
        """Return the faults of a value in words; none if it fits the JSON Schema.

        Raises:
            ValueError: If the schema itself has faults, or keywords that FlowRunner does not read.
        """
        ...

    def now(self) -> datetime: ...
    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        """Add a line to the execution's log. Secret values in it are hidden."""
        ...


# A value of a million elements may have a fault in each of them.
_MOST_FAULTS: Final = 100
_AS_TEXT: Final = "with text around it, as in 'order ${…}', the value of an expression is text"

P = TypeVar("P", bound=Params)


# Named here because `type` means something else inside the class.
ParamsClass: TypeAlias = type[Params]


class NodeType(ABC, Generic[P]):
    """Base class of node types.

    Attributes:
        type: Name of the type in flows.
        Params: Model of the parameters, the class that `P` stands for.
        OwnParams: Model of those that the node itself reads, if they are others: those of nodes inside are left out.
        actions: Actions that a successful node can end with.
        errors: Error types, or families of them (`http` for `http.404`), that a node can fail with.
        pure: The node touches nothing outside the execution and never blocks. It may run twice, and it shares a commit
            with the next node. Leave it False for anything slow.
        timeout_seconds: Default timeout of one attempt; None for no limit.
        examples: Nodes of the type as authors write them in YAML: keys such as `type` and `params`, to insert.
        code: Parameters that are JavaScript, by the keys that lead to them; `*` stands for any key. The value of a
            condition is true, false, or the error that it raised.
        schemas: Parameters that are JSON Schemas. They are checked when the flow is saved.
        child_scopes: Key that holds the nodes inside a node of this type: `nodes` or `branches`.
        reevaluate_params: The parameters are resolved again before `on_signal` and `on_scopes_ended`. Their `input` is
            then the result of the scope that has ended, and their `index` the number of ended scopes.
        keeps_params: Parameters without expressions are read once for all runs of a node, because `Params` gives equal
            parameters for equal values and `run` does not change them.
        collects: The parameter `collect` is resolved after each round of the inner nodes, with `result`. The node
            receives only `StepContext.collects`.
        sets_variables: An `Outcome` of the type may have `vars`. These nodes of an execution run one after the other,
            so that each reads the values that the previous one has set.
        starts_executions: The node starts executions with `StepContext.flows`, which other types may not use. It has
            no other effect outside, so tests of flows run it without a mock. Its parameter `flow`, if it has one, is
            the id or name of a flow.
        uses_store: The node uses `StepContext.store`, which other types may not use. It has no other effect outside, so
            tests of flows run it without a mock, with a store of their own.
        notifies: The parameter `notify`, if it has one, is the name of another node of the same scope, which runs when
            the node begins to wait for an `ApprovalWait` that names it.
        result_keys: Keys of the result, if it is always a map with these. Tests of flows with another result for such
            a node get a warning.
    """

    type: ClassVar[str]
    Params: ClassVar[ParamsClass]
    OwnParams: ClassVar[ParamsClass | None] = None
    actions: ClassVar[frozenset[str]] = frozenset({DEFAULT_ACTION})
    errors: ClassVar[tuple[str, ...]] = ()
    pure: ClassVar[bool] = False
    timeout_seconds: ClassVar[float | None] = 300.0
    examples: ClassVar[tuple[str, ...]] = ()
    code: ClassVar[Mapping[tuple[str, ...], CodeKind]] = {}
    schemas: ClassVar[tuple[str, ...]] = ()
    child_scopes: ClassVar[ChildScopesKey | None] = None
    reevaluate_params: ClassVar[bool] = False
    keeps_params: ClassVar[bool] = False
    collects: ClassVar[bool] = False
    sets_variables: ClassVar[bool] = False
    starts_executions: ClassVar[bool] = False
    uses_store: ClassVar[bool] = False
    notifies: ClassVar[bool] = False
    result_keys: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    async def run(self, params: P, context: StepContext) -> JSON | Outcome | Suspend | RunScopes | Collected:
        """Do the node's work once. It must be cancellable: cancelling the execution cancels it.

        Raises:
            NodeFailure: When the work cannot be done.
        """

    async def on_signal(
        self, params: P | None, context: StepContext, event: Signalled
    ) -> JSON | Outcome | Suspend | RunScopes | Collected:
        """Continue after the signal that the node suspended for. Required of a type whose
        `Suspend` waits for anything but a `TimeWait`.

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

    async def inner_params(self, node: str, params: JSON, input: JSON, event: ScopesEnded) -> JSON:
        """Return the parameters of a node inside that is a part of a node of this type, before its type reads them.

        Args:
            node: Name of the node inside.
            params: Its parameters, with the values of their expressions.
            input: Input of its scope.
            event: The scopes so far.

        Raises:
            NodeFailure: When the node inside cannot run.
        """
        return params

    def actions_of(self, params: Mapping[str, JSON]) -> frozenset[str] | None:
        """Return the actions that a successful node with these parameters, as written, can end with.

        None if they are not known yet, because the parameters have faults or hold expressions. The node may then have
        edges of any name.
        """
        return self.actions

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        """Return whether a node with these parameters, as written, may run twice without harm."""
        return self.pure

    def result_keys_of(self, params: Mapping[str, JSON]) -> Collection[str]:
        """Return the keys of the result of a node with these parameters, as written; none if they are not known.

        Expressions that read another key of the result get a warning.
        """
        return self.result_keys

    def timeout_of(self, params: Mapping[str, JSON]) -> float | None:
        """Return the default timeout in seconds of a node with these parameters, as written."""
        return self.timeout_seconds

    def read(self, params: JSON) -> P:
        """Return the parameters as the model.

        Raises:
            NodeFailure: `input.invalid`, with the faults of the first hundred invalid values in its message.
        """
        try:
            return cast("P", (self.OwnParams or self.Params).model_validate(params))
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            faults = self._faults(found, params, most=_MOST_FAULTS)
            # An expression gave it, which may stand in quotes already.
            told = [f"{f.message}: {_AS_TEXT}" if f.hint == IN_QUOTES else f.message for f in faults]
            places = [".".join(map(str, f.keys)) for f in faults]
            message = "; ".join(f"{at}: {text}" if at else text for at, text in zip(places, told, strict=True))
            raise NodeFailure("input.invalid", f"The parameters of {self.type} are invalid: {message}") from None

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        """Return the faults of the parameters as written in a flow, where expressions still stand for values.

        Override it to add rules that the model cannot express, and warnings.
        """
        try:
            self.Params.model_validate(params, context=AS_WRITTEN)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            return self._faults([fault for fault in found if not _is_resolved_later(params, fault)], params)
        return []

    def _faults(self, found: Sequence[ErrorDetails], params: JSON, *, most: int | None = None) -> list[ParamFault]:
        return parameter_faults(found, params, lambda keys: _known_at(self.Params, keys), most=most)

    def spec(self) -> NodeTypeSpec:
        return NodeTypeSpec(
            name=self.type,
            summary=inspect.cleandoc(self.__doc__ or "").partition("\n\n")[0],
            actions_of=self.actions_of,
            errors=self.errors,
            examples=self.examples,
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
            starts_executions=self.starts_executions,
            notifies=self.notifies,
            result_keys=self.result_keys,
            result_keys_of=self.result_keys_of,
        )


_EXPRESSION: Final = re.compile(r"(?<!\$)\$\{")


def _is_resolved_later(params: JSON, fault: ErrorDetails) -> bool:
    """Return whether the fault is about an expression, or a value within one."""
    value: JSON = params
    # The value of an unknown key does not matter.
    for key in fault["loc"][: -1 if fault["type"] == "extra_forbidden" else None]:
        if isinstance(value, str):
            break
        known = isinstance(key, str) and isinstance(value, Mapping) and key in value
        if known or (isinstance(key, int) and isinstance(value, list) and key < len(value)):
            value = value[key]  # type: ignore[index] # checked above
        # Other parts of a location name an alternative of the model, not a key of the document.
    return isinstance(value, str) and _EXPRESSION.search(value) is not None


def _known_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the keys that are allowed in place of the last one of ``location``."""
    models = [model]
    for key in location[:-1]:
        inner = [
            m
            for outer in models
            for name, f in outer.model_fields.items()
            if key in (name, f.alias)
            for m in _models_in(f.annotation)
        ]
        # A part that names no field is an index, or names an alternative of a union.
        models = inner or models
    return [field.alias or name for found in models for name, field in found.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
