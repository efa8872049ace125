"""The AsyncAPI document, which describes the WebSocket of an execution's events."""

from collections.abc import Mapping
from typing import Any, Final

from flowrunner import __version__

Schema = dict[str, Any]

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_ANY: Final = {"description": "Any JSON value."}
_COMMON: Final[Mapping[str, Any]] = {
    "execution_id": _TEXT,
    "seq": {"type": "integer", "description": "The number of the event; send the last one as `after`."},
    "timestamp": _TIME,
}
# Present if the message belongs to a step.
_STEP: Final[Mapping[str, Any]] = {
    "node_id": _TEXT,
    "node_type": _TEXT,
    "step": {"type": "string", "description": "The step, such as fetch.1, or each.1[4]/push.1 in a loop."},
    "scope": {"type": "string", "description": "The round of a loop, or the branch."},
}
# By type: what the message says, its own fields, and those that it always has.
_MESSAGES: Final[Mapping[str, tuple[str, Mapping[str, Any], tuple[str, ...]]]] = {
    "execution_update": (
        "The execution goes on, waits, or was cancelled; and why.",
        {
            **_STEP,
            "status": _TEXT,
            "attempt": {"type": "integer"},
            "waiting_for": _ANY,
            "until": {**_TIME, "type": ["string", "null"]},
            "error": _ANY,
            "retry_at": _TIME,
            "scopes": {"type": "integer", "description": "So many rounds of a loop or branches begin."},
            "scope_outcome": _ANY,
            "received": _ANY,
            "input_edited": {
                "type": "object",
                "properties": {"by": {**_TEXT, "description": "The account that has edited it."}},
                "description": "The input of the step was edited for the rerun that begins at it.",
            },
            "labels": {
                "type": "object",
                "additionalProperties": _TEXT,
                "description": "Of the start, if there are any.",
            },
        },
        ("status",),
    ),
    "node_completed": (
        "A node has completed.",
        {
            **_STEP,
            "action": _TEXT,
            "result": _ANY,
            "collected": {"type": "boolean"},
            "skipped": {"type": "boolean", "description": "Its `if` was false."},
        },
        (),
    ),
    "log": (
        "A line of the log.",
        {
            **_STEP,
            "attempt": {"type": "integer", "description": "That of the step; absent for the first one."},
            "level": _TEXT,
            "message": _TEXT,
            "data": _ANY,
        },
        ("level", "message"),
    ),
    "execution_completed": ("The last message.", {"status": _TEXT, "result": _ANY}, ("status",)),
    "execution_failed": ("The last message.", {**_STEP, "status": _TEXT, "error": _TEXT, "error_type": _TEXT}, ()),
}


def asyncapi_document() -> Schema:
    """Return the AsyncAPI 3.1 document of the WebSocket."""
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "FlowRunner",
            "version": __version__,
            "description": (
                "The events of an execution: past ones first and then new ones, until the socket is closed with 1000 "
                "after the last. Messages may get further fields and types at any time. The REST API is described at "
                "`/api/v1/openapi.json`, and sends the same messages at `/api/v1/executions/{id}/events`."
            ),
            "contact": {"name": "The operator of this server"},
            "license": {"name": "MIT"},
            "tags": [{"name": "Executions", "description": "Watching executions."}],
        },
        "servers": {
            "this": {
                "host": "{host}",
                "protocol": "ws",
                "description": "This server; behind TLS the protocol is wss.",
                "variables": {"host": {"default": "127.0.0.1:8080"}},
            }
        },
        "defaultContentType": "application/json",
        "channels": {
            "executionEvents": {
                "address": "/ws/executions/{execution_id}",
                "description": (
                    "Send the token as `Authorization: Bearer`, or offer the subprotocols `flowrunner.v1` and "
                    "`ticket.<ticket>`. It is closed with 4401 when the login ends, and with 1012 or 1013 if the "
                    "client is to connect again, with `after`."
                ),
                "parameters": {"execution_id": {"description": "The id of the execution."}},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {
                            "type": "object",
                            "properties": {
                                "after": {"type": "integer", "minimum": 0, "description": "Only later events."}
                            },
                        },
                        "bindingVersion": "0.1.0",
                    }
                },
                "messages": {type: {"$ref": f"#/components/messages/{type}"} for type in _MESSAGES},
            }
        },
        "operations": {
            "receiveEvents": {
                # From the view of the described application, which is the server.
                "action": "send",
                "channel": {"$ref": "#/channels/executionEvents"},
                "summary": "The server sends the events of an execution.",
                "description": "In their order, each once. What the client sends is ignored.",
                "messages": [{"$ref": f"#/channels/executionEvents/messages/{type}"} for type in _MESSAGES],
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "components": {
            "messages": {type: _message(type) for type in _MESSAGES},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _message(type: str) -> Schema:
    summary, fields, always = _MESSAGES[type]
    payload = {
        "type": "object",
        "properties": {"type": {"type": "string", "const": type}, **_COMMON, **fields},
        "required": ["type", *_COMMON, *always],
    }
    return {"name": type, "title": type, "summary": summary, "payload": payload}
