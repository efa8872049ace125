"""A flow: named nodes joined by named edges, and what each node type is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from flowrunner.domain.expression import Code, CodeKind, Constant, Path, Template, codes_of, expressions_of
from flowrunner.domain.retry import RetryPolicy, error_patterns
from flowrunner.domain.values import JSON

DEFAULT_ACTION: Final = "default"
SKIPPED_ACTION: Final = "skipped"

# Which key of a node of this type holds nodes of its own: one scope, or several by name.
ChildScopesKey: TypeAlias = Literal["nodes", "branches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamFault:
    """One thing wrong with the parameters of a node; ``keys`` lead from them to the value."""

    keys: tuple[str | int, ...]
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTypeSpec:
    """What the rules need to know about a node type.

    Attributes:
        summary: What it does, in a sentence.
        actions_of: Actions a node with these parameters, as written, can end with on success; None where they do
            not tell.
        errors: Error types, or families of them, that it can fail with, beside the common ones.
        check: Faults of parameters as written, where any value may still be an expression.
        params_schema: The JSON Schema of its parameters, where no value is an expression.
        code: Parameters that are JavaScript by themselves, by the keys that lead to them; `*` stands
            for any key.
        schemas: Parameters that are JSON Schemas.
        inner: Which key of the node holds nodes of its own, if one does.
        repeatable: Whether a node with these parameters may run twice without harm.
        params: The names of its parameters.
        reevaluate_params: Whether its parameters are filled in anew before each run of its own nodes: they see which
            run it is as `index`, and as `input` what the run before gave.
        sets_variables: Whether it may set variables of the flow.
        collects: Whether its parameter `collect` is filled in after each run of its own nodes, to be gathered.
        pure: Whether it touches nothing outside the execution, so that its start need not be durable
            before it runs, nor its result before the next node starts.
        timeout_of: Seconds that a node with these parameters, as written, may run when its flow does
            not say; None for no limit.
    """

    name: str
    summary: str = ""
    actions_of: Callable[[Mapping[str, JSON]], frozenset[str] | None] = lambda params: frozenset({DEFAULT_ACTION})
    errors: tuple[str, ...] = ()
    check: Callable[[Mapping[str, JSON]], Sequence[ParamFault]]
    params_schema: Callable[[], Mapping[str, JSON]] = dict
    params: tuple[str, ...] = ()
    reevaluate_params: bool = False
    sets_variables: bool = False
    collects: bool = False
    code: Mapping[tuple[str, ...], CodeKind] = field(default_factory=dict)
    schemas: tuple[str, ...] = ()
    child_scopes: ChildScopesKey | None = None
    repeatable: Callable[[Mapping[str, JSON]], bool]
    timeout_of: Callable[[Mapping[str, JSON]], float | None]
    pure: bool = False


# Errors that the engine itself can give any node.
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
class Mentions:
    """What a node's expressions read."""

    roots: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    # An expression reads nodes by names that only it knows.
    any_node: bool = False


def mentions_of(*templates: Template) -> Mentions:
    roots, secrets, nodes, any_node = set(), set(), set(), False
    for root, keys in _references(*templates):
        roots.add(root)
        if root == "secrets":
            secrets.add(str(keys[0]))
        elif root == "nodes" and keys:
            nodes.add(str(keys[0]))
        elif root == "nodes":
            any_node = True
    return Mentions(roots=frozenset(roots), secrets=frozenset(secrets), nodes=frozenset(nodes), any_node=any_node)


def _references(*templates: Template) -> list[tuple[str, tuple[str | int, ...]]]:
    found: list[tuple[str, tuple[str | int, ...]]] = []
    for template in templates:
        for expression in expressions_of(template):
            if isinstance(expression, Path):
                found.append((expression.root, expression.keys))
            elif isinstance(expression, Code):
                found.extend((reference.root, reference.keys) for reference in expression.references)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A template, with what it takes to render it.

    Attributes:
        codes: What the sandbox has to evaluate first.
    """

    template: Template
    codes: tuple[Code, ...] = ()
    mentions: Mentions = Mentions()

    @property
    def is_constant(self) -> bool:
        return isinstance(self.template, Constant)


def prepared(template: Template) -> Prepared:
    return Prepared(template=template, codes=codes_of(template), mentions=mentions_of(template))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Scripts around a node, an older form: before it, instead of it, after it."""

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
    """One node of a flow.

    Attributes:
        condition: The node is skipped where this is false.
        next: Where each action or error pattern (`error.http.404`) leads.
        output: What later nodes see of the result; the whole result when None.
        timeout_seconds: How long one try may take; None for no limit.
        repeatable: Whether a try that was cut off by a crash may run again.
        inner: The node's own scopes: by name, or one under "" that is run as often as it takes.
        collect: What it gathers of each run of its own nodes; its result is the list of that. None where it does not.
        item: What expressions within its scope call the element that flowed into it.
        sets_variables: It may change variables, and runs when no other node that may does.
        unreadable: Why it fails when it is to run: this version does not read all that an earlier one has accepted.
        is_quick: It is done at once, without waiting for anything.
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
    sets_variables: bool = False
    child_scopes: Mapping[str, Graph] = field(default_factory=dict)
    collect: Prepared | None = None
    item: str | None = None
    unreadable: str | None = None
    is_quick: bool = field(init=False)

    def __post_init__(self) -> None:
        is_quick = self.pure and not any(part.codes or part.mentions.secrets for part in self.parts)
        object.__setattr__(self, "is_quick", is_quick)

    def target(self, action: str, *, skipped: bool = False) -> str | None:
        """Where an action leads; None where its scope ends with it."""
        if skipped:
            return self.next.get(SKIPPED_ACTION) or self.next.get(DEFAULT_ACTION)
        return self.next.get(action)

    def error_target(self, error_type: str) -> str | None:
        """Where an error leads: the longest matching edge wins; None fails the scope."""
        for pattern in error_patterns(error_type):
            if (target := self.next.get(f"error.{pattern}")) is not None:
                return target
        return self.next.get("error")

    def scope(self, key: str) -> Graph:
        """The graph of the node's own scope ``key``."""
        return self.child_scopes.get(key) or self.child_scopes[""]

    @property
    def parts(self) -> tuple[Prepared, ...]:
        """Everything of the node that is filled in when it runs."""
        hooks = self.hooks or Hooks()
        parts = (self.params, self.condition, self.output, self.collect, hooks.prep, hooks.exec, hooks.post)
        return tuple(part for part in parts if part is not None)


OnLimit: TypeAlias = Literal["queue", "reject", "replace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many executions of a flow, or of one value of ``key``, may be under way at once."""

    most: int
    key: Prepared | None = None
    on_limit: OnLimit = "queue"


MAX_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an execution may take: seconds, and tries of steps."""

    timeout_seconds: float | None = None
    max_steps: int = MAX_STEPS
    concurrency: Concurrency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Graph):
    """A flow as its document says it, checked and ready to run.

    Attributes:
        inputs: JSON Schema of each input, by name; None where the flow takes whatever it is given.
        outputs: What an execution gives; the last node's result when None.
        on_failure: Node that runs once when an execution fails.
        on_finish: Node that runs once however it ends.
        tests: Its tests as written, by name.
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
    limits: Limits = Limits()
    tests: Mapping[str, JSON] = field(default_factory=dict)
