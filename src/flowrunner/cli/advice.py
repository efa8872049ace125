"""Advice for people at the command line, in place of the server's, which is for programs that send requests."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flowrunner.client import ApiError

# Words of requests. People give options instead.
_FOR_PROGRAMS: Final = re.compile(
    r"\b(?:GET|POST|PUT|PATCH|DELETE) /|\brequests?\b|\bheaders?\b|\bETag\b|\bRetry-After\b|\bContent-Type\b|"
    r"\bx-right\b|\bopenapi\b|\bdetails\.|\brequest_id\b|\b[a-z]+_id\b|\bsend\b",
    re.IGNORECASE,
)
_LOG_IN: Final = "log in with 'flowrunner login', or set FLOWRUNNER_TOKEN"
_OTHER_SCOPE: Final = "make a token with that scope: flowrunner token create NAME --scope SCOPE"
_LOGIN_ONLY: Final = "log in with 'flowrunner login', and leave out FLOWRUNNER_TOKEN and --token"
NOT_CONNECTED: Final = (
    "start the server with 'flowrunner serve' or 'flowrunner dev', or name another one: --url, FLOWRUNNER_URL, "
    "'flowrunner context list'"
)
_WORKSPACE: Final = "check the name or id, and the workspace: --workspace, and 'flowrunner workspace list'"
NOT_AN_API: Final = (
    "check the URL of the server, which must have no path, as in http://127.0.0.1:8080: --url, FLOWRUNNER_URL, "
    "'flowrunner context list'"
)
NOT_TRUSTED: Final = (
    "if the certificate is that of your server, name the file that has it, or its issuer's, in SSL_CERT_FILE"
)
OTHER_VERSION: Final = (
    "the server does not understand this program: 'flowrunner version' and that of the server may differ"
)
_AGAIN: Final = "repeat the command later"

_PAUSING: Final = "/docs/operations.md#pausing"

# By the passage of the documentation that the server names.
_OF_PASSAGE: Final[Mapping[str, str]] = {
    "/docs/api.md#roles": (
        "'flowrunner whoami' prints your roles; admins of the workspace, whom 'flowrunner workspace members list "
        "WORKSPACE' lists, change the role in it, and admins of the server the installation role"
    ),
    "/docs/api.md#workspaces": _WORKSPACE,
    "/docs/api.md#confirmed-addresses": (
        "the person needs an account whose address is confirmed: an admin of the server confirms it with 'flowrunner "
        "account update ACCOUNT --email-confirmed'"
    ),
    "/docs/api.md#methods": f"{NOT_AN_API}; the server may also be older than this program",
    "/docs/api.md#deleting-an-account": "repeat the command with --delete-workspace, --workspace-to ACCOUNT or, if "
    "another member is an admin of it, with --keep-workspace",
    "/docs/api.md#disabled-flows": "enable it: flowrunner flow update FLOW --enable",
    "/docs/api.md#concurrent-edits": "it was changed meanwhile: read it again, and repeat the command",
    "/docs/flow-language.md#the-document": "correct each fault that is named; see also 'flowrunner validate FILE'",
    "/docs/sign-on.md#second-factors": "log in again: 'flowrunner login' asks for the code of the second factor",
    "/docs/sign-on.md#required-second-factors": "add a second factor in the web interface: 'flowrunner open account'",
    "/docs/sign-on.md#without-passwords": "create an API token in the browser for 'flowrunner login --with-token'",
    _PAUSING: "wait until an admin ends the pause; 'flowrunner unpause' on the server does",
    "/docs/operations.md#logs": "give the id of the request to the operator, whose log has the reason",
}
_OF_STATUS: Final[Mapping[int, str]] = {
    400: OTHER_VERSION,
    401: _LOG_IN,
    403: _OF_PASSAGE["/docs/api.md#roles"],
    404: _WORKSPACE,
    405: "the server does not support this: it may be older than this program",
    412: _OF_PASSAGE["/docs/api.md#concurrent-edits"],
    413: "give less at once",
    422: "correct each value that is named",
    429: _AGAIN,
    503: _AGAIN,
}
# Commands that list what a 404 without a name says is not there.
_LISTS: Final[Mapping[str, str]] = {
    "Secret not found": "secret list",
    "Configuration value not found": "value list",
    "Entry of the store not found": "store list",
}
# Of single faults.
_OF_FAULT: Final[Mapping[str, str]] = {"use flow_id": "give the id of the flow: 'flowrunner flow list' has it"}


def advice_on(error: "ApiError") -> str | None:
    """Return what a person can do about an answer; None if nothing is known."""
    if error.status == 401 and error.docs != "/docs/sign-on.md#second-factors":
        return _LOG_IN
    if error.status == 403 and "API token" in error.message:
        return _OTHER_SCOPE if "scope" in error.message else _LOGIN_ONLY
    if error.status == 404 and (listing := _LISTS.get(error.message)) is not None:
        return f"'flowrunner {listing}' shows what there is; check the workspace, too: --workspace"
    if error.docs == _PAUSING:
        return _OF_PASSAGE[_PAUSING]
    if error.status in (429, 503) and error.retry_after:
        return f"repeat the command after {error.retry_after:.0f} s"
    if error.hint is None or not _FOR_PROGRAMS.search(error.hint):
        return error.hint
    return _OF_PASSAGE.get(error.docs or "") or _OF_STATUS.get(error.status)


def advice_on_fault(fault: Mapping[str, Any]) -> str | None:
    """Return the hint of a fault, unless it is about requests."""
    hint = fault.get("hint")
    if not isinstance(hint, str):
        return None
    return _OF_FAULT.get(hint, hint)


def message_of(error: "ApiError") -> str:
    """Return the message without what a program should send."""
    message, _, rest = error.message.partition(": ")
    return message if error.status == 401 and _FOR_PROGRAMS.search(rest) else error.message
