"""Errors of the client: one class for each `code` of the API, and those of the connection."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

# The reason why a server has no connection if its certificate is not trusted.
NO_TRUST: Final = "certificate verify failed"
_MOST_FAULTS_SHOWN: Final = 10
_LONGEST_NOTE: Final = 500


class ClientError(Exception):
    """An error of this client. All others derive from it."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is copied by its class and message alone. Pools of processes send errors to their parent so, and
        # one that cannot be read there ends the pool, or leaves it waiting.
        return _restored, (type(self), *self.args), self.__dict__


def _restored(kind: type[ClientError], *arguments: Any) -> ClientError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error


class ServerUnreachable(ClientError):
    """No answer: there is no connection, or it was lost, or time was up.

    Attributes:
        was_sent: The server may have got the request, and done it.
    """

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


def reason_of(error: BaseException) -> str:
    """Return the words for an error of a connection, without numbers of the operating system."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    # Attributes of errors of `ssl`.
    if getattr(error, "reason", None) == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS: the URL may have to begin with http://"
    if verdict := getattr(error, "verify_message", None):
        return f"{NO_TRUST}: {verdict}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class UnreadableAnswer(ClientError):
    """An answer that no FlowRunner server gives: a redirect, too many bytes, or no JSON."""


class ApiError(ClientError):
    """An answer with an error.

    A traceback shows the first faults and the hint below the message, as notes; `str` gives the message alone.

    Attributes:
        status: The HTTP status.
        code: The stable name of the kind of error, such as `not_found`.
        message: What is wrong.
        hint: What to do next.
        details: Facts about the error; `errors` in it has every fault.
        request_id: The id under which the log of the server has the request.
        docs: The passage of the documentation.
        retry_after: Seconds after which the same request may succeed.
    """

    code_of_class: ClassVar[str] = ""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        docs: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.details: Mapping[str, Any] = details or {}
        self.request_id = request_id
        self.docs = docs
        self.retry_after = retry_after
        for note in _notes(self):
            self.add_note(note)

    @property
    def errors(self) -> Sequence[Mapping[str, Any]]:
        """Every fault of the request, each with `message` and, where it has them, `path`, `line` and `hint`."""
        found = self.details.get("errors")
        return [fault for fault in found if isinstance(fault, dict)] if isinstance(found, list) else []


def _notes(error: ApiError) -> list[str]:
    """Return what a traceback shows below the message: the first faults with their places, and what to do."""
    notes = []
    for fault in error.errors[:_MOST_FAULTS_SHOWN]:
        place = ":".join(str(fault[name]) for name in ("line", "column") if isinstance(fault.get(name), int))
        said = [text for text in (place, fault.get("path"), fault.get("message")) if text and isinstance(text, str)]
        notes.append(": ".join(said))
        if isinstance(hint := fault.get("hint"), str):
            notes.append(f"    hint: {hint}")
    if (left := len(error.errors) - _MOST_FAULTS_SHOWN) > 0:
        notes.append(f"and {left} more, in `errors`")
    if error.hint:
        notes.append(f"hint: {error.hint}")
    # They come from a server, and a terminal may show them.
    return ["".join(c if c.isprintable() else " " for c in note[:_LONGEST_NOTE]) for note in notes]


class InvalidRequestError(ApiError):
    """The request cannot be read."""

    code_of_class = "invalid_request"


class UnauthorizedError(ApiError):
    """There is no token, or it is no longer valid."""

    code_of_class = "unauthorized"


class ForbiddenError(ApiError):
    """The caller may not do this."""

    code_of_class = "forbidden"


class NotFoundError(ApiError):
    """There is no such object in the workspaces of the caller."""

    code_of_class = "not_found"


class ConflictError(ApiError):
    """The request does not fit the present state."""

    code_of_class = "conflict"


class PreconditionFailedError(ApiError):
    """The object has changed since the state that the request names."""

    code_of_class = "precondition_failed"


class ValidationError(ApiError):
    """Values have faults: `errors` has all of them."""

    code_of_class = "validation_error"


class TooManyRequestsError(ApiError):
    """A limit was exceeded: wait for `retry_after` seconds."""

    code_of_class = "too_many_requests"


class InternalError(ApiError):
    """A bug in the server."""

    code_of_class = "internal_error"


class UnavailableError(ApiError):
    """The server cannot do it at the moment."""

    code_of_class = "unavailable"


CLASSES: Final[Mapping[str, type[ApiError]]] = {
    kind.code_of_class: kind
    for kind in (
        InvalidRequestError, UnauthorizedError, ForbiddenError, NotFoundError, ConflictError, PreconditionFailedError,
        ValidationError, TooManyRequestsError, InternalError, UnavailableError,
    )
}  # fmt: skip
# The class of an answer without a known code, for example one of a proxy.
_CLASS_OF_STATUS: Final[Mapping[int, type[ApiError]]] = {
    400: InvalidRequestError, 401: UnauthorizedError, 403: ForbiddenError, 404: NotFoundError, 409: ConflictError,
    412: PreconditionFailedError, 413: InvalidRequestError, 415: InvalidRequestError, 422: ValidationError,
    429: TooManyRequestsError, 500: InternalError, 502: UnavailableError, 503: UnavailableError, 504: UnavailableError,
}  # fmt: skip


def class_of(status: int, code: str) -> type[ApiError]:
    return CLASSES.get(code) or _CLASS_OF_STATUS.get(status, ApiError)
