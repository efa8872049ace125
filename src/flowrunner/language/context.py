"""What is around a place of a document."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is around a node.

    Attributes:
        visible: Nodes that expressions can read: of its own scope and the ones around it.
        elsewhere: Nodes of the document by the path of the scope they are in.
        names: Names that expressions can start from, besides the ones every node has.
        inputs: Names of the flow's inputs; None where they are not declared.
        depth: How many scopes are around it.
        running: Nodes that have not completed before while these expressions are evaluated: this one, and the ones
            around it, where no edge leads back to them.
        is_first: Nothing flows into it but the execution's input.
    """

    visible: Collection[str]
    elsewhere: Mapping[str, str]
    names: frozenset[str]
    variables: Collection[str]
    inputs: Collection[str] | None
    depth: int = 0
    running: frozenset[str] = frozenset()
    is_first: bool = False
