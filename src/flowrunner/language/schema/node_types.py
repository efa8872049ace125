"""What the schema tells of a node type."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from flowrunner.domain.values import JSON


class DescribedNodeType(Protocol):
    """What the schema tells of a node type; `flow.NodeTypeSpec` is one.

    Attributes:
        params_schema: Its parameters as JSON Schema, as pydantic writes it.
        summary: What it does, in a sentence.
        actions_of: Actions that a node with these parameters can end with; None where they do not tell.
        inner: Which key of a node holds nodes of its own, `nodes` or `branches`, if one does.
    """

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def actions_of(self) -> Callable[[Mapping[str, JSON]], frozenset[str] | None]: ...
    @property
    def errors(self) -> Sequence[str]: ...
    @property
    def child_scopes(self) -> str | None: ...
    @property
    def params_schema(self) -> Callable[[], Mapping[str, JSON]]: ...
