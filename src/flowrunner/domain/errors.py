"""What can go wrong, said once for every way in.

The core raises these; `flowrunner.api.http.errors` turns each into a status.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a document or a request, and where.

    Attributes:
        path: Dotted path of the faulty value (`nodes.fetch.params.url`); "" is the whole.
        code: Stable name of the kind of fault, for programs.
        line: Line of the value in a flow document, counted from 1; None outside one.
        column: Column of the value, counted from 1; None outside a flow document.
        hint: What to do about it, where that is known.
        is_warning: It is allowed, and hardly what was meant.
    """

    path: str
    message: str
    code: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    is_warning: bool = False


class FlowRunnerError(Exception):
    """Base of everything the core raises on purpose."""


class NotFound(FlowRunnerError):
    """No such thing, or not one that the caller may know of."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what[0].upper()}{what[1:]} not found")


class Conflict(FlowRunnerError):
    """The request does not fit the present state of things."""


class LimitReached(Conflict):
    """The account has as much of something as it may have, until it deletes some.

    Attributes:
        limit: The limit's name: that of a setting, where it is one.
        most: How much it is.
    """

    def __init__(self, message: str, *, limit: str, most: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.most = most


class EmailTaken(Conflict):
    """Another account has the e-mail address."""

    def __init__(self) -> None:
        super().__init__("An account with this e-mail address exists already")


class PreconditionFailed(FlowRunnerError):
    """The thing has changed since the state that the caller names.

    Attributes:
        revision: The current one.
        state: The present state, as callers name it.
    """

    def __init__(self, what: str, *, revision: int, state: str) -> None:
        super().__init__(f"The {what} has changed since: it is at revision {revision} now")
        self.revision = revision
        self.state = state


class Forbidden(FlowRunnerError):
    """The caller is known and may not do this."""


class Unauthorized(FlowRunnerError):
    """The caller is not known."""


class Unavailable(FlowRunnerError):
    """The server cannot do this now; the same request may succeed later."""


class RedactionLimit(FlowRunnerError):
    """Secrets cannot be hidden in a text with a bounded effort, so that the text cannot be kept."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"Secrets cannot be hidden in {size} bytes of this text: it repeats parts of them too often. "
            "Keep a smaller part of it, or replace secrets that repeat the same characters"
        )


class DispatchAway(Unavailable):
    """What decides which process advances executions does not answer."""


class QueueFull(Unavailable):
    """So many wait for the same thing that no more can, whoever they are.

    Attributes:
        limit: The limit's name.
        most: How many may wait.
    """

    def __init__(self, message: str, *, limit: str, most: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.most = most


class TooManyRequests(FlowRunnerError):
    """The caller has to wait before they ask again.

    Attributes:
        limit: The limit's name: that of a setting, where it is one.
        most: How much it is.
    """

    def __init__(self, message: str, *, retry_after: timedelta, limit: str, most: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit
        self.most = most


class _Faulty(FlowRunnerError):
    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{f.path}: {f.message}" if f.path else f.message for f in faults))
        self.faults = tuple(faults)


class InvalidFlow(_Faulty):
    """A flow document has faults: all of them, in the order of the document."""


class InvalidInput(_Faulty):
    """Values of a request have faults: all of them."""


def quoted(text: str, *, most: int = 60) -> str:
    """A value within a message: the whole of it, or its length alone.

    Never a part: half of a secret is a secret too, and only whole ones are found and hidden later.
    """
    return f"'{text}'" if len(text) <= most else f"a text of {len(text)} characters"


def invalid(field: str, message: str, *, code: str = "invalid", hint: str | None = None) -> InvalidInput:
    """The error for one faulty field of a request."""
    return InvalidInput([Fault(path=field, message=message, code=code, hint=hint)])
