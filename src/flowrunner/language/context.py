"""Context of a place in a document."""

from collections.abc import Collection, Mapping
from dataclasses import field

from flowrunner.domain.static_dataclass import static_dataclass


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ScopeContext:
    """Context of a node.

    Attributes:
        visible: Nodes that expressions can read: those of the node's own scope and of the enclosing scopes.
        elsewhere: Path of the scope of each node in the document.
        names: Names that expressions can start from, in addition to the common ones.
        variables: Names of the flow's variables.
        inputs: Names of the flow's inputs; None if they are not declared.
        depth: Number of enclosing scopes.
        running: Nodes without an earlier result while these expressions are evaluated: this node and the enclosing
            ones, unless an edge leads back to them.
        is_first: The only input of the node is the execution's input.
        results: Keys of the results of nodes, as far as they are known, by the name of the node.
        result: Those of the node whose `output` these expressions are; None if they are not known.
        trigger: Keys of the trigger whose expressions these are; None for expressions of nodes.
    """

    visible: Collection[str]
    elsewhere: Mapping[str, str]
    names: frozenset[str]
    variables: Collection[str]
    inputs: Collection[str] | None
    depth: int = 0
    running: frozenset[str] = frozenset()
    is_first: bool = False
    results: Mapping[str, Collection[str]] = field(default_factory=dict)
    result: Collection[str] | None = None
    trigger: Collection[str] | None = None

    def of_node(self, *, running: frozenset[str], is_first: bool) -> "ScopeContext":
        """Return the context of one node, faster than `dataclasses.replace` does."""
        return ScopeContext(
            visible=self.visible,
            elsewhere=self.elsewhere,
            names=self.names,
            variables=self.variables,
            inputs=self.inputs,
            depth=self.depth,
            running=running,
            is_first=is_first,
            results=self.results,
        )
