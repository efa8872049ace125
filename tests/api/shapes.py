"""The shapes that every answer has to keep to."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from support.client import Reply

CODES: Final = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "validation_error",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal_error",
    502: "execution_failed",
    503: "unavailable",
}
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

SMALLEST: Final = 'nodes:\n  only:\n    type: "return"\n    params:\n      value: {output: "value"}\n'
# It waits for longer than any test takes.
NAP: Final = "nodes:\n  nap: {type: delay, params: {duration: 1h}}\n"


def assert_error(reply: Reply, status: int, message: str | None = None) -> Any:
    """Check an error answer to its last field; gives its `details`."""
    assert reply.status == status, (reply.status, reply.body)
    assert reply.headers["content-type"] == "application/json"
    body = reply.json
    assert body.keys() == {"error"}
    return _assert_error(reply, body["error"], status, message)


def assert_refused(reply: Reply, status: int, message: str | None = None, *, code: int = -32000) -> Any:
    """Check the answer of the MCP server to a request that no method has seen; gives the `data` of the error."""
    assert reply.status == status, (reply.status, reply.body)
    assert reply.headers["content-type"] == "application/json"
    body = reply.json
    assert (body.keys(), body["jsonrpc"], body["id"]) == ({"jsonrpc", "id", "error"}, "2.0", None)
    error = body["error"]
    assert (error.keys(), error["code"]) == ({"code", "message", "data"}, code)
    assert error["message"] == error["data"]["message"]
    _assert_error(reply, error["data"], status, message)
    return error["data"]


def _assert_error(reply: Reply, error: Any, status: int, message: str | None) -> Any:
    assert error.keys() == {"code", "message", "details", "request_id", "hint", "docs"}
    assert error["code"] == CODES[status]
    assert error["request_id"] == reply.headers["x-request-id"]
    assert isinstance(error["details"], dict)
    assert all((error["message"], error["hint"], error["docs"]))
    if message is not None:
        assert error["message"] == message
    return error["details"]


def moment(text: str) -> datetime:
    """A time as the API writes it: RFC 3339, UTC, milliseconds, `Z`."""
    assert MOMENT.fullmatch(text), text
    found = datetime.fromisoformat(text)
    assert found.tzinfo == UTC
    return found


def assert_recent(text: str) -> None:
    assert abs((datetime.now(UTC) - moment(text)).total_seconds()) < 120
