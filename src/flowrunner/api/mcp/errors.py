"""Errors of tools: a code, a message, and what to do next, as a result that an agent reads."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

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
