"""Advice in error answers: what to do next, and the passage of the documentation about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowrunner.domain.errors import (
    AmbiguousName,
    Conflict,
    DispatchUnavailable,
    EmailTaken,
    FlowDisabled,
    Forbidden,
    ForeignOrigin,
    HookNotFound,
    InvalidFlow,
    InvalidFlows,
    InvalidInput,
    LimitReached,
    LinkNotValid,
    MissingOrigin,
    NoExecutionToSignal,
    NotFound,
    PasswordLoginDisabled,
    PersonalWorkspaceNotEmpty,
    PreconditionFailed,
    QueueFull,
    RecentLoginRequired,
    RedactionLimit,
    SecondFactorMissing,
    SecondFactorRequired,
    SecretExists,
    StartsPaused,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnknownAccount,
    UnknownAgent,
    UnknownMetricsReader,
    WrongSurface,
)
from flowrunner.domain.sign_on import SignOnFailed


@dataclass(frozen=True, slots=True)
class Guide:
    """Advice about one kind of error.

    Attributes:
        hint: What to do, if the error itself has no closer hint.
        docs: The passage, as a path on this server and an anchor.
    """

    hint: str
    docs: str


_ERRORS: Final = "/docs/api.md#errors"
_ALL_FAULTS: Final = "correct each value that is named, and send the request again"
_LATER: Final = "send the request again after the seconds in Retry-After"

# By status: errors that are raised before the core is reached.
_BY_STATUS: Final[Mapping[int, Guide]] = {
    400: Guide("compare the request with /api/v1/openapi.json, which describes each header and field", _ERRORS),
    401: Guide(
        "log in with POST /api/v1/auth/login, or use an API token; send it as 'Authorization: Bearer <token>'",
        "/docs/api.md#authentication",
    ),
    403: Guide(
        "use an account, or an API token, with the right that x-right names in /api/v1/openapi.json",
        "/docs/api.md#roles",
    ),
    404: Guide("check the address: /api/v1/openapi.json has those of the API", "/docs/api.md#methods"),
    405: Guide("use one of the methods in the header Allow", "/docs/api.md#methods"),
    409: Guide("read the object again, and send a request that fits its present state", _ERRORS),
    412: Guide("read the object again, and repeat the change with its new ETag", "/docs/api.md#concurrent-edits"),
    413: Guide("send less in one request", _ERRORS),
    415: Guide("send JSON with 'Content-Type: application/json'", _ERRORS),
    422: Guide(_ALL_FAULTS, _ERRORS),
    429: Guide("wait for the seconds in Retry-After, and then send the request again", "/docs/api.md#limits"),
    431: Guide("send fewer or shorter headers", _ERRORS),
    500: Guide("give request_id to the operator, whose log has the reason", "/docs/operations.md#logs"),
    502: Guide("read the execution that details.execution_id names", "/docs/api.md#executions"),
    503: Guide(_LATER, _ERRORS),
}
_FALLBACK: Final = {False: _BY_STATUS[400], True: _BY_STATUS[500]}

_BY_ERROR: Final[Mapping[type[Exception], Guide]] = {
    Unauthorized: _BY_STATUS[401],
    SecondFactorRequired: Guide(
        "send POST /api/v1/auth/second-factor with details.second_factor.challenge and a code of the account",
        "/docs/sign-on.md#second-factors",
    ),
    SecondFactorMissing: Guide(
        "add a second factor with POST /api/v1/second-factors/totp, or in the account screen",
        "/docs/sign-on.md#required-second-factors",
    ),
    RecentLoginRequired: Guide("log in again, and then send the request again", "/docs/sign-on.md#second-factors"),
    PasswordLoginDisabled: Guide(
        "open GET /api/v1/auth/methods for the providers of single sign-on", "/docs/sign-on.md#without-passwords"
    ),
    UnknownAgent: Guide(
        "create an API token with the scope 'mcp', in the account screen or with 'flowrunner token create', and give "
        "it as 'Authorization: Bearer <token>'",
        "/docs/mcp.md#connecting-an-agent",
    ),
    UnknownMetricsReader: Guide(
        "send the value of metrics_token, which an operator has set, as 'Authorization: Bearer <token>'",
        "/docs/telemetry.md#who-may-read-them",
    ),
    WrongSurface: Guide(
        "create another API token: with the scope 'mcp' for the MCP server, and without it for the REST API",
        "/docs/mcp.md#connecting-an-agent",
    ),
    Forbidden: _BY_STATUS[403],
    NoExecutionToSignal: Guide(
        "list executions with the same filter to see what has started and what has ended",
        "/docs/api.md#signals-and-approvals",
    ),
    ForeignOrigin: Guide(
        "open the page at the address that public_url names, or let the proxy pass Host as the browser has sent it",
        "/docs/troubleshooting.md#i-cannot-log-in",
    ),
    MissingOrigin: Guide(
        "send the origin of the server's own pages, or an API token as 'Authorization: Bearer <token>' and no cookie",
        "/docs/api.md#authentication",
    ),
    NotFound: Guide("check the id, and the workspace in which the request acts", "/docs/api.md#workspaces"),
    UnknownAccount: Guide(
        "invite the person with POST /api/v1/workspaces/{id}/invitations, or name the account by its id",
        "/docs/api.md#confirmed-addresses",
    ),
    LinkNotValid: Guide("ask for another link, or, if you have used this one, log in", _ERRORS),
    HookNotFound: Guide(
        "check the address and the proof of the sender; the trigger may also be paused, or its flow disabled: "
        "GET /api/v1/triggers/{id}/deliveries has the last reasons",
        "/docs/triggers.md#requests",
    ),
    Conflict: _BY_STATUS[409],
    LimitReached: Guide(
        "delete what is no longer needed; an operator can raise a limit that is a setting", "/docs/limits.md#limits"
    ),
    FlowDisabled: Guide(
        """send {"disabled": false} with PUT /api/v1/flows/{id} to enable it""", "/docs/api.md#disabled-flows"
    ),
    AmbiguousName: Guide("GET /api/v1/flows?name= lists the flows with the name", "/docs/api.md#documents"),
    PersonalWorkspaceNotEmpty: Guide(
        "repeat the request with 'workspace=delete', with 'workspace=give' and 'to=' the id of another account, or, if "
        "another member is an admin of it, with 'workspace=keep'",
        "/docs/api.md#deleting-an-account",
    ),
    EmailTaken: Guide("choose another address, or change the account that has this one", "/docs/api.md#accounts"),
    PreconditionFailed: _BY_STATUS[412],
    SecretExists: Guide(
        "choose another key, or repeat the request without If-None-Match to replace the value", "/docs/api.md#secrets"
    ),
    InvalidFlow: Guide(
        "correct each fault that is named; POST /api/v1/flows/validate checks without saving",
        "/docs/flow-language.md#the-document",
    ),
    InvalidFlows: Guide("correct each fault that is named for its flow", "/docs/flow-language.md#the-document"),
    InvalidInput: _BY_STATUS[422],
    RedactionLimit: Guide("send a smaller text", "/docs/api.md#secrets"),
    TooManyRequests: _BY_STATUS[429],
    Unavailable: _BY_STATUS[503],
    SignOnFailed: Guide("ask the operator, whose log has the reason", "/docs/sign-on.md#when-a-login-fails"),
    StartsPaused: Guide("wait until an admin ends the pause", "/docs/operations.md#pausing"),
    DispatchUnavailable: Guide(_LATER, "/docs/temporal.md#details"),
    QueueFull: Guide(_LATER, "/docs/limits.md#limits"),
}


def guide_of_status(status: int) -> Guide:
    """Return the advice for an error of which only the status is known."""
    return _BY_STATUS.get(status) or _FALLBACK[status >= 500]


def guide_of_error(error: Exception) -> Guide | None:
    """Return the advice for an error of the core, or None if it is none that is answered."""
    return next((_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), None)
