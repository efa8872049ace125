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
_ENTRY: Final = {
    "namespace": "default", "key": "last-order", "size": 2, "expires_at": "2027-02-07T13:00:00.000Z",
    "created_at": "2027-01-31T13:00:00.000Z", "updated_at": "2027-01-31T13:00:00.000Z", "value": 42,
}  # fmt: skip
_CONFIG_VALUE: Final = {"name": "CHANNEL", "value": "#orders", "created_at": _AT, "updated_at": _AT}
_JOB: Final = {
    "id": "job-01m8fb1d3f5h7k9n2q4s6u8w0y1a3c5e7g9j", "type": "executions.rerun", "status": "running", "total": 12,
    "done": 3, "failed": 0, "errors": [], "created_at": _AT,
}  # fmt: skip
_STEP: Final = {
    "id": 3, "step": "hello.1", "node_id": "hello", "node_type": "return", "status": "completed", "attempts": 1,
    "started_at": _AT, "completed_at": _LATER, "duration": 1250, "queued": 0, "action": "default",
}  # fmt: skip
_PART: Final = {"limit": 10, "offset": 0}
_WORDS: Final = "five-blue-otters-swim"
_OPAQUE: Final = "Vq3m5s8w2x7z1c4n6b9d0f_hKjLpRtYu8e1a6g0i4kT"
# The SHA-256 of it.
_DIGEST: Final = "5d66db3f3e90a632b80f7e59a480dbae32383cffe16a8cb30d5425dcc5b5433b"
_EMAIL: Final = "kim@example.com"
_MEMBER: Final = {"account": _EMAIL, "role": "operator"}
_TESTED: Final = f"{_DEFINITION}tests:\n  ada: {{input: {{name: Ada}}, expect: {{result: 'Hello, Ada'}}}}\n"
# A year of executions, but no more than ten thousand.
_RETENTION: Final = {"max_age_seconds": 31_536_000, "max_count": 10_000}

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
    "listFlows": {"200": {"flows": [_FLOW], "total": 1, **_PART}},
    "listExecutions": {"200": {"executions": [_EXECUTION], "total": 1, **_PART}},
    "getLogs": {
        "200": {"logs": [{"timestamp": _AT, "level": "info", "message": "Execution started"}], "total": 1, **_PART}
    },
    "listSteps": {
        "200": {
            "steps": [
                {
                    **_STEP,
                    "input": {"size": 14, "value": {"name": "Ada"}},
                    "result": {"size": 12, "value": "Hello, Ada"},
                }
            ]
        }
    },
    "changeExecutions": {
        "body": {"action": "rerun", "filter": {"flow": "Hello", "since": "-24h", "unrepaired": True}},
        "202": _JOB,
    },
    "getJob": {"200": {**_JOB, "status": "completed", "done": 12, "completed_at": _LATER}},
    "saveFlows": {
        "body": {"flows": [{"name": "Hello", "definition": _DEFINITION}]},
        "200": {"flows": [{**_FLOW, "action": "create"}]},
    },
    "sketchFlow": {"body": {"definition": _DEFINITION}},
    "testFlow": {"body": {"definition": _TESTED}},
    "tryNode": {"body": {"definition": _DEFINITION, "node": "hello", "flow_input": {"name": "Ada"}}},
    "moveFlow": {"body": {"workspace": "data-team"}},
    "copyFlow": {"body": {"name": "Hello again"}},
    "setFlowRetention": {"body": _RETENTION},
    "setWorkspaceRetention": {"body": _RETENTION},
    "backfillTrigger": {"body": {"from": "2027-01-01", "to": "2027-02-01"}},
    "createCallback": {
        "body": {"url": "https://hooks.example.com/flows", "events": ["execution.failed"], "name": "Failures"},
    },
    "changeCallback": {"body": {"enabled": False}},
    "sendSignal": {"body": {"payload": {"amount": 12}}},
    "signalExecutions": {
        "body": {"key": "paid", "payload": {"amount": 12}, "filter": {"flow": "Orders", "input": {"order_id": "4711"}}},
        "200": {"executions": [_EXECUTION_ID], "errors": []},
    },
    "answerApproval": {"body": {"approved": True}},
    "createSecret": {"body": {"key": "API_KEY", "value": "a-key-of-some-length"}, "200": _SECRET, "201": _SECRET},
    "putStoreEntry": {"body": {"value": 42, "ttl": "7d"}, "200": _ENTRY, "201": _ENTRY},
    "putConfigValue": {"body": {"value": "#orders"}, "200": _CONFIG_VALUE, "201": _CONFIG_VALUE},
    "createToken": {"body": {"name": "Deployment", "scopes": ["read", "write"], "expires_in": "90d"}},
    "createWorkspace": {"body": {"name": "Data team", "slug": "data-team"}},
    "createWorkspaceSecret": {
        "body": {"key": "API_KEY", "value": "a-key-of-some-length"},
        "200": _SECRET,
        "201": _SECRET,
    },
    "updateWorkspace": {"body": {"name": "Data platform"}},
    "addMember": {"body": _MEMBER},
    "changeMember": {"body": {"role": "editor"}},
    "appointMember": {"body": {**_MEMBER, "role": "admin"}},
    "createInvitation": {"body": {"email": _EMAIL, "role": "operator", "expires_in": "3d"}},
    "acceptInvitation": {"body": {"token": _OPAQUE}},
    "lookUpInvitation": {"body": {"token": _OPAQUE}},
    "signUp": {"body": {"token": _OPAQUE, "name": "Kim", "password": _WORDS}},
    "createAccount": {"body": {"name": "Kim", "email": _EMAIL, "password": _WORDS, "role": "user"}},
    "updateAccount": {"body": {"password": "nine-quiet-herons-fly", "current_password": _WORDS}},
    "confirmEmail": {"body": {"token": _OPAQUE}},
    "askForPasswordReset": {"body": {"email": _EMAIL}},
    "setNewPassword": {"body": {"token": _OPAQUE, "password": _WORDS}},
    "setPreferences": {"body": {"preferences": {"theme": "dark"}}},
    "setup": {"body": {"token": _OPAQUE, "name": "Ada", "email": "ada@example.com", "password": _WORDS}},
    "finishLogin": {"body": {"challenge": _OPAQUE, "code": "123456"}},
    "startTotp": {"body": {"name": "Phone"}},
    "confirmTotp": {"body": {"code": "123456"}},
    "addPasskey": {"body": {"challenge": _OPAQUE, "name": "Laptop", "passkey": {"id": "AQIDBA", "type": "public-key"}}},
    "linkIdentity": {"body": {"provider": "company"}},
    "allowCommandLogin": {"body": {"challenge": _DIGEST}},
    "finishCommandLogin": {"body": {"code": _OPAQUE, "verifier": _OPAQUE}},
    "rotateKeys": {"body": {"kinds": ["signing"]}},
    "setPause": {"body": {"paused": True}},
}
