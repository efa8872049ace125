"""Errors of the core, and faults of documents and requests.

The core raises these errors; `flowrunner.api.http.errors` maps each to a status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from flowrunner.domain.cut_texts import without_last_word

MOST_PATH_CHARACTERS: Final = 1_000
_MOST_CHARACTERS: Final = 2_000
# Faults in the text of an error.
_MOST_TOLD: Final = 100


@dataclass(frozen=True, slots=True)
class Fix:
    """An edit of a document: the new text for a part of one line.

    Attributes:
        column: Its first column, counted from 1.
        end_column: The column after its last one.
    """

    line: int
    column: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault in a document or a request, with its place.

    Attributes:
        path: Dotted path of the faulty value (`nodes.fetch.params.url`); "" is the whole document.
        code: Stable name of the kind of fault, for programs.
        line: Line of the value in a flow document, counted from 1; None outside one.
        column: Column of the value, counted from 1; None outside a flow document.
        hint: Advice for the author, if there is any.
        is_warning: The value is allowed, but probably a mistake.
        fix: An edit that certainly is what the hint says, where `language.fixes` has looked for one.
    """

    path: str
    message: str
    code: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    is_warning: bool = False
    fix: Fix | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        # Names in a document have up to a megabyte, and thousands of faults may repeat one. Those of a value may hold a
        # secret, of which no part is shown.
        for name, most in (("path", MOST_PATH_CHARACTERS), ("message", _MOST_CHARACTERS), ("hint", _MOST_CHARACTERS)):
            text = getattr(self, name)
            if text is not None and len(text) > most:
                object.__setattr__(self, name, f"{without_last_word(text[: most - 1])}…")


class FlowRunnerError(Exception):
    """Base class of the errors that the core raises on purpose."""


class NotFound(FlowRunnerError):
    """The object does not exist, or the caller may not know that it does."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what[0].upper()}{what[1:]} not found")


class NoExecutionToSignal(NotFound):
    """No open execution fits the filter of a signal."""

    def __init__(self) -> None:
        message = "No open execution fits the filter: it may not have started yet, or has ended"
        FlowRunnerError.__init__(self, message)


class UnknownAccount(NotFound):
    """No account has the id, or has confirmed the e-mail address, that names it."""

    def __init__(self) -> None:
        FlowRunnerError.__init__(self, "No account has this id, or has confirmed this e-mail address")


class UnknownEmail(NotFound):
    """No account has the e-mail address that names it on the server's machine."""

    def __init__(self, email: str) -> None:
        FlowRunnerError.__init__(self, f"No account has the e-mail address {quoted(email)}")


class LinkNotValid(NotFound):
    """No link has the token, or it works no longer: the answer does not say why."""

    def __init__(self) -> None:
        FlowRunnerError.__init__(
            self, "The link is not valid: it may have been used, replaced or revoked, or have expired"
        )


class HookNotFound(NotFound):
    """No trigger takes the request to a webhook: the answer does not say why."""

    def __init__(self) -> None:
        super().__init__("webhook")


class Conflict(FlowRunnerError):
    """The request conflicts with the current state."""


class LimitReached(Conflict):
    """A workspace or an account has reached a limit on what it may store.

    Attributes:
        limit: Name of the limit; the setting's name if there is one.
        most: Value of the limit.
    """

    def __init__(self, message: str, *, limit: str, most: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.most = most


class FlowDisabled(Conflict):
    """The flow starts no executions until it is enabled."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The flow {quoted(name)} is disabled and starts no executions: enable it first")


class AmbiguousName(Conflict):
    """Several flows have the name by which one of them was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Several flows are called {quoted(name)}: rename one of them, or use the id of the flow")


class EmailTaken(Conflict):
    """Another account has the e-mail address."""

    def __init__(self) -> None:
        super().__init__("An account with this e-mail address already exists")


class PersonalWorkspaceNotEmpty(Conflict):
    """The request to delete an account does not say what becomes of its personal workspace."""

    def __init__(self, *, flows: int, members: int) -> None:
        super().__init__(
            f"The personal workspace of this account is not empty (flows: {flows}, other members: {members}): say what "
            "becomes of it"
        )


class PreconditionFailed(FlowRunnerError):
    """The object is not in a state that the caller requires.

    Attributes:
        revision: The current revision; None if there is no such object.
        state: The current state; None if there is no such object.
    """

    def __init__(self, message: str, *, revision: int | None = None, state: str | None = None) -> None:
        super().__init__(message)
        self.revision = revision
        self.state = state


class SecretExists(PreconditionFailed):
    """The secret exists, and the caller requires that it does not."""

    def __init__(self) -> None:
        super().__init__("A secret with this key exists already")


class Forbidden(FlowRunnerError):
    """The caller is known and may not do this."""


class ForeignOrigin(Forbidden):
    """The browser says that the request comes from a page of another origin."""


class MissingOrigin(Forbidden):
    """A request with a cookie does not say from where it comes."""


class WrongSurface(Forbidden):
    """The API token is for the other one of REST API and MCP server."""


class Unauthorized(FlowRunnerError):
    """The caller is not known."""


class UnknownAgent(Unauthorized):
    """The caller of the MCP server is not known."""


class UnknownMetricsReader(Unauthorized):
    """The reader of the metrics has not given their token."""


class SecondFactorRequired(Unauthorized):
    """The password is right, and the login needs a second step.

    Attributes:
        challenge: The one-time credential of the second step.
        methods: Accepted there: `totp`, `passkey`, `recovery_code`.
        passkey: The request options for the browser's authenticator, if there is a passkey.
    """

    def __init__(
        self, *, challenge: str, methods: Sequence[str], expires_at: datetime, passkey: Mapping[str, Any] | None
    ) -> None:
        super().__init__("The password is right; this account needs a second factor too")
        self.challenge = challenge
        self.methods = tuple(methods)
        self.expires_at = expires_at
        self.passkey = passkey


class SecondFactorMissing(Forbidden):
    """The login was made without a second factor, which the installation or the workspace requires."""

    def __init__(self) -> None:
        super().__init__("A second factor is required here, and this login was made without one")


class RecentLoginRequired(Forbidden):
    """The login is too old for a change of what the account logs in with."""


class PasswordLoginDisabled(Forbidden):
    """The installation accepts no passwords."""

    def __init__(self) -> None:
        super().__init__("This installation accepts no passwords: log in with single sign-on")


class Unavailable(FlowRunnerError):
    """The server cannot do this now; the same request may succeed later."""


class RedactionLimit(FlowRunnerError):
    """Secrets cannot be hidden in a text with bounded effort, so the text cannot be stored."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"Secrets cannot be hidden in {size} bytes of this text: it repeats parts of them too often. "
            "Keep a smaller part of it, or replace secrets that repeat the same characters"
        )


class StartsPaused(Unavailable):
    """The installation starts no executions for now."""

    def __init__(self) -> None:
        super().__init__("An admin has paused the installation: no execution starts until the pause ends")


class DispatchUnavailable(Unavailable):
    """The service that assigns executions to processes does not respond."""


class QueueFull(Unavailable):
    """A queue shared by all accounts is full.

    Attributes:
        limit: Name of the limit.
        most: Length of the queue.
    """

    def __init__(self, message: str, *, limit: str, most: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.most = most


class RequestLimit(NamedTuple):
    """A limit on requests in a time.

    Attributes:
        limit: Name of the limit; the setting's name if there is one.
        most: Requests in that time.
        seconds: Length of that time.
    """

    limit: str
    most: int
    seconds: int


class TooManyRequests(FlowRunnerError):
    """The caller has reached a limit and has to wait.

    Attributes:
        limit: Name of the limit; the setting's name if there is one.
        most: Value of the limit.
        seconds: The time in which so many requests are served, if the limit is on requests in a time.
    """

    def __init__(
        self, message: str, *, retry_after: timedelta, limit: str, most: int, seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit
        self.most = most
        self.seconds = seconds


class _Faulty(FlowRunnerError):
    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[:_MOST_TOLD]
        super().__init__("; ".join(f"{f.path}: {f.message}" if f.path else f.message for f in first))
        self.faults = tuple(faults)


class InvalidFlow(_Faulty):
    """All faults of a flow document, in the order of the document.

    Attributes:
        flow_name: The flow, where several are saved; None if the caller knows it.
    """

    flow_name: str | None = None


class InvalidFlows(FlowRunnerError):
    """Faults of several flows of one request.

    Attributes:
        faults: Each with the name of its flow, and the place of that flow in the request.
    """

    def __init__(self, faults: Sequence[tuple[str, str, Fault]]) -> None:
        names = list(dict.fromkeys(name for name, _, _ in faults))
        super().__init__(f"{len(names)} of the flows {'has' if len(names) == 1 else 'have'} faults; nothing was saved")
        self.faults = tuple(faults)


class InvalidInput(_Faulty):
    """All faults of a request's values."""


def quoted(text: str, *, most: int = 60) -> str:
    """Return a value to quote in a message: the whole value, or its length only.

    A part is never quoted: the redactor finds only whole secrets, and would miss half of one.
    """
    return f"'{text}'" if len(text) <= most else f"a text of {len(text)} characters"


def invalid(field: str, message: str, *, code: str = "invalid", hint: str | None = None) -> InvalidInput:
    """Return the error for one faulty field of a request."""
    return InvalidInput([Fault(path=field, message=message, code=code, hint=hint)])
