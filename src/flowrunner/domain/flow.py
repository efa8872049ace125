"""A flow: named nodes joined by named edges, and what each node type is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.expression import Template, paths_of
from flowrunner.domain.retry import RetryPolicy, error_patterns
from flowrunner.domain.values import JSON

DEFAULT_ACTION: Final = "default"
RETURN_ACTION: Final = "return"


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
        actions: Actions a node of this type can end with on success.
        errors: Error types, or families of them, that it can fail with, beside the common ones.
        check: Faults of parameters as written, where any value may still be an expression.
        repeatable: Whether a node with these parameters may run twice without harm.
        pure: Whether it touches nothing outside the execution and never waits, so that its result
            need not be durable before the next node starts.
        timeout_of: Seconds that a node with these parameters, as written, may run when its flow does
            not say.
    """

    name: str
    actions: frozenset[str] = frozenset({DEFAULT_ACTION})
    errors: tuple[str, ...] = ()
    check: Callable[[Mapping[str, JSON]], Sequence[ParamFault]]
    repeatable: Callable[[Mapping[str, JSON]], bool]
    timeout_of: Callable[[Mapping[str, JSON]], float]
    pure: bool = False


# Errors that the engine itself can give any node.
COMMON_ERRORS: Final = ("timeout", "expression", "input.invalid", "interrupted", "worker_crashed", "node")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentions:
    """What a node's expressions read."""

    roots: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


def mentions_of(*templates: Template) -> Mentions:
    paths = [path for template in templates for path in paths_of(template)]
    return Mentions(
        roots=frozenset(path.root for path in paths),
        secrets=frozenset(str(path.keys[0]) for path in paths if path.root == "secrets"),
        nodes=frozenset(str(path.keys[0]) for path in paths if path.root == "nodes" and path.keys),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a flow.

    Attributes:
        next: Where each action or error pattern (`error.http.404`) leads.
        output: What later nodes see of the result; the whole result when None.
        repeatable: Whether a try that was cut off by a crash may run again.
    """

    name: str
    type: str
    params: Template
    mentions: Mentions = Mentions()
    next: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 300.0
    retry: RetryPolicy | None = None
    output: Template | None = None
    repeatable: bool = True
    pure: bool = False

    def error_target(self, error_type: str) -> str | None:
        """Where an error leads: the longest matching edge wins; None ends the execution."""
        for pattern in error_patterns(error_type):
            if (target := self.next.get(f"error.{pattern}")) is not None:
                return target
        return self.next.get("error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow as its document says it, checked and ready to run."""

    name: str
    description: str
    version: str
    tags: tuple[str, ...]
    start: str
    nodes: Mapping[str, Node]
    vars: Mapping[str, JSON]
