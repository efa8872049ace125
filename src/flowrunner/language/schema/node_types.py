"""Description of a node type for the schema."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from flowrunner.domain.values import JSON


class DescribedNodeType(Protocol):
    """Description of a node type for the schema, such as `flow.NodeTypeSpec`.

    Attributes:
        summary: One sentence about the type.
        actions_of: Returns the actions that a node with these parameters can end with; None if they are not known.
        child_scopes: Key that holds the nodes inside a node, `nodes` or `branches`; None if there is none.
        params_schema: Returns the JSON Schema of the parameters, as pydantic writes it.
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
