"""Errors of tools: a code, a message, and what to do next, as a result that an agent reads; and refused requests."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from flowrunner.api.http.errors import InvalidRequest
from flowrunner.domain.errors import Forbidden, Unauthorized

# Advice that names tools, in place of that of the REST API, which names its routes.
_HINTS: Final[Mapping[str, str]] = {
    "not_found": "check the id: search_flows lists flows, and get_execution reads executions of this workspace only",
    "forbidden": "ask the person who made the API token for one with the scope that is missing",
    "precondition_failed": "read the flow again with get_flow, and save the change with its present revision",
    "too_many_requests": "wait for the seconds in retry_after, and then call the tool again",
    "unavailable": "call the tool again after a second",
}
_OF_A_FLOW: Final = "correct each fault in details.errors, and check the definition with validate_flow"
_MOST_ERRORS: Final = 20


class ToolError(Exception):
    """An error that the agent can act on.

    Attributes:
        code: The codes of the REST API, and `too_large`.
    """

    def __init__(
        self, code: str, message: str, hint: str, details: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.body: Mapping[str, Any] = {
            "code": code,
            "message": message,
            "hint": hint,
            **({"details": details} if details else {}),
            **more,
        }


def error_of(body: bytes, headers: Mapping[str, str]) -> ToolError:
    """Return the error of a tool whose request was answered with an error."""
    error = msgspec.json.decode(body)["error"]
    code, details = error["code"], dict(error.get("details") or {})
    faults = details.get("errors", [])
    is_of_a_flow = any(fault.get("pointer") == "/definition" and "line" in fault for fault in faults)
    if len(faults) > _MOST_ERRORS:
        details["errors"], details["errors_left_out"] = faults[:_MOST_ERRORS], len(faults) - _MOST_ERRORS
    hint = _OF_A_FLOW if is_of_a_flow else _HINTS.get(code, error["hint"])
    more = {"retry_after": int(headers["retry-after"])} if "retry-after" in headers else {}
    return ToolError(code, error["message"], hint, details, **more)


class InvalidMessage(InvalidRequest):
    """The body is JSON, and no message of the protocol."""


# Codes of JSON-RPC 2.0: no JSON, no message, and the one that it leaves to servers.
_NO_JSON: Final = -32700
_NO_MESSAGE: Final = -32600
_REFUSED: Final = -32000


def refusal(request: Request, error: Exception, answer: Response) -> Response:
    """Return the answer to a request that is refused, as an error of JSON-RPC 2.0 with the status and the headers.

    Args:
        answer: That of the REST API, whose error is the `data`.
    """
    code = _REFUSED
    if isinstance(error, InvalidMessage | RequestValidationError):
        code = _NO_MESSAGE
    elif isinstance(error, InvalidRequest) and answer.status_code == 400:
        code = _NO_JSON
    data = msgspec.json.decode(bytes(answer.body))["error"]
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    # RFC 6750, 3.1
    if isinstance(error, Unauthorized) and "authorization" in request.headers:
        headers["www-authenticate"] = 'Bearer error="invalid_token"'
    if isinstance(error, Forbidden) and "caller" in request.scope:
        headers["www-authenticate"] = 'Bearer error="insufficient_scope", scope="mcp"'
    # The id may be unknown, so no error has one.
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": data["message"], "data": data}}
    return Response(msgspec.json.encode(body), answer.status_code, headers)
