"""Errors as messages between processes: those that the other side knows, and internal errors for all others."""

from collections.abc import Mapping
from typing import Final

import msgspec

from flowrunner.domain.errors import InvalidFlow, LimitReached, NotFound, RedactionLimit, Unavailable
from flowrunner.domain.store import NotChanged
from flowrunner.domain.surrogates import without_lone_surrogates
from flowrunner.plugin import NodeFailure
from flowrunner.ports.journal import Fenced, Unreadable
from flowrunner.ports.secrets import WrongKey

_Value = str | int | float | bool | None
# The errors that the engine distinguishes; base classes come last.
_KNOWN: Final = (
    Fenced,
    Unreadable,
    NotFound,
    InvalidFlow,
    LimitReached,
    RedactionLimit,
    NotChanged,
    WrongKey,
    NodeFailure,
    Unavailable,
)


class SentError(msgspec.Struct, array_like=True):
    """An error.

    Attributes:
        kind: The name of its class; empty for an internal error, whose message has the traceback.
    """

    kind: str
    message: str
    fields: dict[str, _Value]


def sent(error: BaseException, traceback: str) -> SentError:
    kind = next((known for known in _KNOWN if isinstance(error, known)), None)
    if kind is None:
        return SentError("", without_lone_surrogates(traceback), {})
    fields: Mapping[str, object] = vars(error)
    plain = {name: value for name, value in fields.items() if isinstance(value, str | int | float | None)}
    return SentError(kind.__name__, without_lone_surrogates(str(error)), plain)


def error_of(received: SentError) -> Exception:
    kind = next((known for known in _KNOWN if known.__name__ == received.kind), None)
    if kind is None:
        return RuntimeError(received.message)
    error = kind.__new__(kind)
    error.args = (received.message,)
    error.__dict__.update({"message": received.message} | _defaults(kind) | received.fields)
    return error


def _defaults(kind: type[Exception]) -> dict[str, object]:
    """Return the fields that are not sent, because they are neither texts nor numbers."""
    if issubclass(kind, InvalidFlow):
        return {"faults": ()}
    if issubclass(kind, Unreadable):
        return {"newer_since": None}
    return {"data": None} if issubclass(kind, NodeFailure) else {}
