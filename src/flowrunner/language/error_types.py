"""Which error types there are, as far as FlowRunner gives them itself."""

import re
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.flow import COMMON_ERRORS, NodeTypeSpec
from flowrunner.domain.suggestions import nearest

# Families that nobody adds to, with all their members; those of `http` are statuses too.
_CLOSED: Final[Mapping[str, frozenset[str]]] = {
    "http": frozenset({"too_large", "redirects", "invalid_request", "invalid_answer", "invalid_json"}),
    "connection": frozenset({"refused", "dns", "tls", "failed", "lost"}),
    "egress": frozenset({"forbidden"}),
}
_STATUS: Final = re.compile(r"[1-5](\d\d|xx)", re.ASCII)
_KNOWN: Final = (
    *COMMON_ERRORS,
    *_CLOSED,
    *(f"{family}.{member}" for family, members in _CLOSED.items() for member in sorted(members)),
    *("node.crashed", "node.result_too_large", "flow.not_found", "flow.ambiguous", "flow.recursion", "flow.too_deep"),
    *("limit.items", "limit.iterations", "limit.concurrency", "limit.redaction"),
)
_LOOSE_STATUS: Final = re.compile(r"(?:http[._]?)?([1-5])([\dx*]{0,2})", re.ASCII)
# Flows have errors of their own: only what is hardly another word is taken for a slip.
_SLIP: Final = 0.8


def never_given(pattern: str, spec: NodeTypeSpec | None) -> bool:
    """Whether an error pattern is one of FlowRunner's own with a slip in it.

    Args:
        spec: The type of the node that is to fail so; None for any.
    """
    family, _, member = pattern.partition(".")
    if pattern in ("*", *_KNOWN) or (spec is not None and pattern in spec.errors):
        return False
    if family in _CLOSED:
        return not (member in _CLOSED[family] or (family == "http" and _STATUS.fullmatch(member)))
    return nearest_error(pattern, cutoff=_SLIP) is not None


def may_fail_with(pattern: str, spec: NodeTypeSpec) -> bool:
    """Whether an error that ``pattern`` matches can come from a node of this type."""
    if pattern[-3:] in ("1xx", "2xx", "3xx", "4xx", "5xx"):
        pattern = pattern[:-4]
    return any(
        family in ("*", pattern) or pattern.startswith(f"{family}.") or family.startswith(f"{pattern}.")
        for family in (*spec.errors, *COMMON_ERRORS)
    )


def nearest_error(pattern: str, *, cutoff: float = 0.6) -> str | None:
    """The pattern that is meant.

    >>> nearest_error("http.4x")
    'http.4xx'
    """
    status = _LOOSE_STATUS.fullmatch(pattern.lower())
    if status is not None:
        rest = status[2] if len(status[2]) == 2 and status[2].isdigit() else "xx"
        return f"http.{status[1]}{rest}"
    return nearest(pattern, _KNOWN, cutoff=cutoff)
