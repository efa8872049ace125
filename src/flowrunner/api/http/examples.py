"""Examples in the OpenAPI document, of the operations that most clients use."""

from collections.abc import Mapping
from typing import Any, Final

_AT: Final = "2027-01-31T12:00:00.000Z"
_LATER: Final = "2027-01-31T12:00:01.250Z"
_ACCOUNT: Final = "account-01m8f9xk2v7q3nb5w0c4hj6t8rzy1dsgeap2"
_FLOW_ID: Final = "flow-01m8fa3c9d5r7t2k4v6x8z0b1n3p5q7w9ye2"
_EXECUTION_ID: Final = "exec-01m8fa7h2j4m6p8r0t3w5y7a9c1e4g6k8n0q"
_DEFINITION: Final = "nodes:\n  hello: {type: return, params: {value: 'Hello, ${flow.input.name}'}}\n"
_FLOW: Final = {
    "id": _FLOW_ID, "name": "Hello", "description": "", "version": "", "created_at": _AT, "updated_at": _AT,
    "tags": ["examples"], "revision": 1,
}  # fmt: skip
_STARTED: Final = {"execution_id": _EXECUTION_ID, "flow_id": _FLOW_ID, "status": "running", "created_at": _AT}
_ENDED: Final = {
    "status": "completed", "completed_at": _LATER, "duration": 1250, "result": "Hello, Ada",
}  # fmt: skip
_EXECUTION: Final = {
    "id": _EXECUTION_ID, "flow_id": _FLOW_ID, "status": "completed", "started_at": _AT, "completed_at": _LATER,
    "duration": 1250, "flow_name": "Hello", "revision": 1,
}  # fmt: skip
_SECRET: Final = {"key": "API_KEY", "created_at": _AT, "updated_at": _AT}

# By operation: the `body`, and the answers by status.
EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "login": {
        "body": {"username": "ada@example.com", "password": "five-blue-otters-swim"},
        "200": {"token": "eyJhbGciOi…", "expires_at": _LATER, "account_id": _ACCOUNT},
    },
    "createFlow": {"body": {"name": "Hello", "definition": _DEFINITION, "tags": ["examples"]}, "201": _FLOW},
    "validateFlow": {"body": {"definition": _DEFINITION}, "200": {"is_valid": True, "errors": [], "warnings": []}},
    "getFlow": {"200": {**_FLOW, "definition": _DEFINITION}},
    "updateFlow": {"body": {"description": "Greets"}, "200": {**_FLOW, "description": "Greets"}},
    "putFlowByName": {"body": {"definition": _DEFINITION}, "200": _FLOW, "201": _FLOW},
    "runFlow": {"body": {"input": {"name": "Ada"}}, "200": {**_STARTED, **_ENDED}, "201": _STARTED},
    "runFlowByName": {"body": {"input": {"name": "Ada"}}, "200": {**_STARTED, **_ENDED}, "201": _STARTED},
    "rerunExecution": {
        "body": {"from": "hello"},
        "200": {**_STARTED, **_ENDED, "revision": 1},
        "201": {**_STARTED, "revision": 1},
    },
    "getExecution": {"200": {**_EXECUTION, "input": {"name": "Ada"}, "result": "Hello, Ada"}},
    "sendSignal": {"body": {"payload": {"amount": 12}}},
    "answerApproval": {"body": {"approved": True}},
    "createSecret": {"body": {"key": "API_KEY", "value": "a-key-of-some-length"}, "200": _SECRET, "201": _SECRET},
    "createToken": {"body": {"name": "Deployment", "scopes": ["read", "write"], "expires_in": "90d"}},
    "createWorkspace": {"body": {"name": "Data team", "slug": "data-team"}},
}
