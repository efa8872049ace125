"""Error types that FlowRunner itself raises."""

import re
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.flow import COMMON_ERRORS, NodeTypeSpec
from flowrunner.domain.suggestions import nearest

# Closed families with all their members. Some also have the codes of replies.
_CLOSED: Final[Mapping[str, frozenset[str]]] = {
    "http": frozenset({"too_large", "redirects", "invalid_request", "invalid_answer", "invalid_json"}),
    "email": frozenset(
        {"login", "unsupported", "invalid_answer", "refused", "too_large", "uid_validity", "unavailable"}
    ),
    "agent": frozenset({"turns", "calls", "too_long"}),
    "mcp": frozenset({"error", "tool", "no_tool", "protocol", "invalid_answer", "unsupported", "too_large"}),
    "llm": frozenset({"error", "refused", "too_long", "invalid_answer", "schema"}),
    "sql": frozenset(
        {
            *("login", "too_large", "duplicate_column", "copy", "invalid_answer", "rolled_back", "commit_unknown"),
            "transaction_ended",
        }
    ),
    "connection": frozenset({"refused", "dns", "tls", "failed", "lost"}),
    "egress": frozenset({"forbidden"}),
}
_STATUSES: Final[Mapping[str, re.Pattern[str]]] = {
    "http": re.compile(r"[1-5](\d\d|xx)", re.ASCII),
    # RFC 5321, 4.2.1: those of failures.
    "email": re.compile(r"[45](\d\d|xx)", re.ASCII),
    # Functions of a database may raise codes of their own.
    "sql": re.compile(r"[0-9A-Z]{2}([0-9A-Z]{3}|xxx)", re.ASCII),
}
# Classes of the codes of PostgreSQL.
_SQL_CLASSES: Final = frozenset(
    "00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 "
    "58 72 F0 HV P0 XX".split()
)
_KNOWN: Final = (
    *COMMON_ERRORS,
    *_CLOSED,
    *(f"{family}.{member}" for family, members in _CLOSED.items() for member in sorted(members)),
    *("node.crashed", "node.result_too_large", "flow.not_found", "flow.ambiguous", "flow.disabled", "flow.recursion"),
    *("flow.too_deep", "limit.items", "limit.iterations", "limit.concurrency", "limit.redaction"),
    *("limit.store_value", "store.changed", "store.not_a_number", "store.out_of_range"),
)
# Errors of executions, and of nodes whose flow or installation has changed.
_OF_EXECUTIONS: Final = (
    *("internal", "events.unreadable", "flow.invalid", "limit.size", "limit.memory", "limit.workspace_stored"),
    *("limit.workspace_queued", "limit.collect", "limit.steps", "node.fail"),
)
_CLASSES: Final = frozenset({*_KNOWN, *_OF_EXECUTIONS})
_OTHER: Final = "other"
_LOOSE_STATUS: Final = re.compile(r"(?:http[._]?)?([1-5])([\dx*]{0,2})", re.ASCII)
# Flows define their own errors, so only a very similar word counts as a typing error.
_TYPO: Final = 0.8


def is_misspelt_error(pattern: str, spec: NodeTypeSpec | None) -> bool:
    """Return whether an error pattern is a misspelt error of FlowRunner.

    Args:
        spec: Type of the node that raises the error; None for any type.
    """
    family, _, member = pattern.partition(".")
    if pattern in ("*", *_KNOWN) or (spec is not None and pattern in spec.errors):
        return False
    if family in _CLOSED:
        return not (member in _CLOSED[family] or _is_status(family, member))
    return nearest_error(pattern, cutoff=_TYPO) is not None


def may_fail_with(pattern: str, spec: NodeTypeSpec) -> bool:
    """Return whether a node of this type can raise an error that ``pattern`` matches."""
    if pattern[-3:] in ("1xx", "2xx", "3xx", "4xx", "5xx"):
        pattern = pattern[:-4]
    return any(
        family in ("*", pattern) or pattern.startswith(f"{family}.") or family.startswith(f"{pattern}.")
        for family in (*spec.errors, *COMMON_ERRORS)
    )


def class_of_error(type: str) -> str:
    """Return the type of an error if FlowRunner itself raises it, `http.5xx` for a status, or else `other`.

    Flows and scripts choose the types of their own errors, so that their number has no bound.

    >>> class_of_error("http.503"), class_of_error("email.450"), class_of_error("order.lost")
    ('http.5xx', 'email.4xx', 'other')
    >>> class_of_error("sql.23505"), class_of_error("sql.ABCDE")
    ('sql.23xxx', 'other')
    """
    if type in _CLASSES:
        return type
    family, _, member = type.partition(".")
    if not _is_status(family, member):
        return _OTHER
    if family != "sql":
        return f"{family}.{member[0]}xx"
    # A server may report any code.
    return f"{family}.{member[:2]}xxx" if member[:2] in _SQL_CLASSES else _OTHER


def is_own_error(type: str) -> bool:
    """Return whether FlowRunner itself raises errors of this type."""
    return class_of_error(type) != _OTHER


def _is_status(family: str, member: str) -> bool:
    return family in _STATUSES and _STATUSES[family].fullmatch(member) is not None


def nearest_error(pattern: str, *, cutoff: float = 0.6) -> str | None:
    """Return the most similar known pattern.

    >>> nearest_error("http.4x")
    'http.4xx'
    """
    status = _LOOSE_STATUS.fullmatch(pattern.lower())
    if status is not None:
        rest = status[2] if len(status[2]) == 2 and status[2].isdigit() else "xx"
        return f"http.{status[1]}{rest}"
    return nearest(pattern, _KNOWN, cutoff=cutoff)
