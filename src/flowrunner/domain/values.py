"""The types that every layer shares: identifiers and JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NewType, TypeAlias, Union

AccountId = NewType("AccountId", str)
FlowId = NewType("FlowId", str)
RevisionId = NewType("RevisionId", str)
ExecutionId = NewType("ExecutionId", str)
SessionId = NewType("SessionId", str)
TokenId = NewType("TokenId", str)

if TYPE_CHECKING:
    # Read-only on purpose: a value that flows through an execution is never changed in place.
    JSON: TypeAlias = Union[None, bool, int, float, str, "Sequence[JSON]", "Mapping[str, JSON]"]
else:
    # Codecs that read type hints at run time cannot follow the recursion.
    JSON = Any
