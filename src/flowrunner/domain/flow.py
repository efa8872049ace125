"""Flows: named nodes joined by named edges, and the specification of node types."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from flowrunner.domain.expression import CodeKind
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.retry import RetryPolicy, error_patterns
from flowrunner.domain.triggers import Trigger
from flowrunner.domain.values import JSON

DEFAULT_ACTION: Final = "default"
SKIPPED_ACTION: Final = "skipped"

# The key of a node that holds its own nodes: one scope, or several by name.
ChildScopesKey: TypeAlias = Literal["nodes", "branches"]

# The ends of a flow that one node handles.
HandledEnd: TypeAlias = Literal["failure", "finish", "both"]


def handled_end(node: str, *, on_failure: JSON, on_finish: JSON) -> HandledEnd | None:
    """Return the end of the flow that a node handles, by the nodes that the flow names."""
    if node == on_failure:
        return "both" if node == on_finish else "failure"
    return "finish" if node == on_finish else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamFault:
    """A fault in the parameters of a node; ``keys`` lead from the parameters to the value.

    Attributes:
        is_warning: The parameters are allowed, but probably a mistake.
    """

    keys: tuple[str | int, ...]
    code: str
    message: str
    hint: str | None = None
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTypeSpec:
    """The specification of a node type, as far as the language and the engine need it.

    Attributes:
        summary: One sentence on its purpose.
        actions_of: Actions that a node with these parameters, as written, can end with on success; None if they
            depend on expressions.
        errors: Error types, or groups of them, that it can fail with, besides the common ones.
        examples: Nodes of the type in YAML, for authors.
        check: Function that returns the faults of parameters as written; any value may be an expression.
        params_schema: Function that returns the JSON Schema of its parameters without expressions.
        code: Parameters that are JavaScript without `${}`, by the keys that lead to them; `*` is any key.
        schemas: Parameters that are JSON Schemas.
        child_scopes: The key of the node that holds its own nodes, if there is one.
        repeatable: Function that returns whether a node with these parameters may safely run twice.
        params: The names of its parameters.
        reevaluate_params: Its parameters are evaluated before each round of its own nodes, with the round's number as
            `index` and the previous round's result as `input`.
        sets_variables: It may set variables of the flow.
        starts_executions: It starts executions of the flow that its parameter `flow` names.
        notifies: Its parameter `notify` names a node of the same scope that runs when it begins to wait.
        result_keys: The keys of its result if that is always a map with these; else none.
        result_keys_of: Function that returns the keys of the result of a node with these parameters as written; none if
            they are not known.
        collects: Its parameter `collect` is evaluated after each round of its own nodes, and the values are collected.
        pure: It has no effect outside the execution, so its start need not be durable before it runs, nor its result
            before the next node starts.
        timeout_of: Function that returns the default timeout, in seconds, of a node with these parameters as written;
            None for no limit.
    """

    name: str
    summary: str = ""
    actions_of: Callable[[Mapping[str, JSON]], frozenset[str] | None] = lambda params: frozenset({DEFAULT_ACTION})
    errors: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    check: Callable[[Mapping[str, JSON]], Sequence[ParamFault]]
    params_schema: Callable[[], Mapping[str, JSON]] = dict
    params: tuple[str, ...] = ()
    reevaluate_params: bool = False
    sets_variables: bool = False
    starts_executions: bool = False
    collects: bool = False
    notifies: bool = False
    result_keys: tuple[str, ...] = ()
    result_keys_of: Callable[[Mapping[str, JSON]], Collection[str]] = lambda params: ()
    code: Mapping[tuple[str, ...], CodeKind] = field(default_factory=dict)
    schemas: tuple[str, ...] = ()
    child_scopes: ChildScopesKey | None = None
    repeatable: Callable[[Mapping[str, JSON]], bool]
    timeout_of: Callable[[Mapping[str, JSON]], float | None]
    pure: bool = False


# Errors that the engine can raise for any node.
COMMON_ERRORS: Final = (
    "timeout",
    "expression",
    "script",
    "input.invalid",
    "interrupted",
    "worker_crashed",
    "node",
    "limit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Scripts of the older form that run before a node, instead of it, and after it."""

    prep: Prepared | None = None
    exec: Prepared | None = None
    post: Prepared | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes joined by edges: a whole flow, or the scope inside a node."""

    start: str
    nodes: Mapping[str, "Node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a flow.

    Attributes:
        condition: The node is skipped if this is false.
        next: Target of each action or error pattern (`error.http.404`).
        output: The part of the result that later nodes see; None for the whole result.
        timeout_seconds: Time limit of one attempt; None for no limit.
        repeatable: An attempt that a crash interrupted may run again.
        resumes_purely: What it does after its signal or its scopes has no effect outside the execution.
        child_scopes: The node's own scopes: by name, or one under "" that may run many times.
        collect: The part that it collects from each round of its own nodes, whose list is its result; None if it does
            not collect.
        item: Name of the scope's input in expressions within the scope.
        sets_variables: It may change variables; at most one such node runs at a time.
        is_part: It is a part of the node around it, as whose own its expressions are evaluated.
        unreadable: Reason why it fails when it runs: this version cannot read what an earlier version accepted.
        is_quick: It runs without waiting for anything.
        kept: Where the engine keeps what follows from the node alone.
    """

    name: str
    type: str
    params: Prepared
    condition: Prepared | None = None
    next: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = 300.0
    retry: RetryPolicy | None = None
    output: Prepared | None = None
    hooks: Hooks | None = None
    repeatable: bool = True
    pure: bool = False
    resumes_purely: bool = False
    sets_variables: bool = False
    child_scopes: Mapping[str, Graph] = field(default_factory=dict)
    collect: Prepared | None = None
    item: str | None = None
    is_part: bool = False
    unreadable: str | None = None
    is_quick: bool = field(init=False)
    kept: dict[str, object] = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        is_quick = self.pure and all(part.is_quick for part in self.parts)
        object.__setattr__(self, "is_quick", is_quick)

    def target(self, action: str, *, skipped: bool = False) -> str | None:
        """Return the target of an action; None if the scope ends."""
        if skipped:
            return self.next.get(SKIPPED_ACTION) or self.next.get(DEFAULT_ACTION)
        return self.next.get(action)

    def error_target(self, error_type: str) -> str | None:
        """Return the target of an error: the longest matching edge wins; None fails the scope."""
        for pattern in error_patterns(error_type):
            if (target := self.next.get(f"error.{pattern}")) is not None:
                return target
        return self.next.get("error")

    def scope(self, key: str) -> Graph:
        """Return the graph of the node's own scope ``key``."""
        return self.child_scopes.get(key) or self.child_scopes[""]

    @property
    def parts(self) -> tuple[Prepared, ...]:
        """Return every template of the node that is evaluated when it runs."""
        hooks = self.hooks or Hooks()
        parts = (self.params, self.condition, self.output, self.collect, hooks.prep, hooks.exec, hooks.post)
        return tuple(part for part in parts if part is not None)


OnLimit: TypeAlias = Literal["queue", "reject", "replace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """The limit on concurrent executions of a flow, or of one value of ``key``."""

    most: int
    key: Prepared | None = None
    on_limit: OnLimit = "queue"


MAX_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLimits:
    """The limits of an execution: seconds, attempts of steps, and concurrency."""

    timeout_seconds: float | None = None
    max_steps: int = MAX_STEPS
    concurrency: Concurrency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Graph):
    """A flow that was read from its document, checked and ready to run.

    Attributes:
        inputs: JSON Schema of each input, by name; None if the flow accepts any input.
        outputs: The execution's result; None for the last node's result.
        on_failure: Node that runs once when an execution fails.
        on_finish: Node that runs once when an execution ends, whatever the outcome.
        tests: Its tests as written, by name.
        triggers: What starts it by itself, by name.
        secrets: The secrets that its expressions name.
        config: The configuration values that its expressions name.
        needed: Those of both that some expression reads without a default, each with `secrets` or `config`.
        calls: The flows that its nodes call and whose ends start it, by id or name.
        searchable: The inputs by whose values lists find its executions.
        is_tool: Agents find it as a tool of the MCP server.
    """

    name: str
    description: str
    version: str
    tags: tuple[str, ...]
    vars: Mapping[str, JSON]
    inputs: Mapping[str, JSON] | None = None
    outputs: Prepared | None = None
    on_failure: str | None = None
    on_finish: str | None = None
    secrets: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    needed: frozenset[tuple[str, str]] = frozenset()
    calls: tuple[str, ...] = ()
    searchable: tuple[str, ...] = ()
    is_tool: bool = False
    limits: FlowLimits = FlowLimits()
    tests: Mapping[str, JSON] = field(default_factory=dict)
    triggers: Mapping[str, Trigger] = field(default_factory=dict)


def graph_at(graphs: dict[str, Graph | None], scope: str) -> Graph | None:
    """Return the nodes of a scope such as `each.1[4]/both.1[left]`; None if the flow has no such scope.

    Args:
        graphs: Those of the scopes known so far, with the flow and its handlers; the others are added.
    """
    if scope not in graphs:
        path, _, key = scope.rpartition("[")
        outer, _, name = path.rpartition("/")
        around = graph_at(graphs, outer)
        owner = None if around is None else around.nodes.get(name.rpartition(".")[0])
        children: Mapping[str, Graph] = {} if owner is None else owner.child_scopes
        # A node that an approval notifies stands beside the approval.
        beside = around if owner is not None and not children else None
        graphs[scope] = children.get(key.removesuffix("]")) or children.get("") or beside
    return graphs[scope]
