"""The reference of the API, word for word: every address, field, status and code that clients were promised.

What is there beside it is no business of this test: fields may be added, and none may change or go.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from api.test_openapi import REFERENCE
from support.client import PASSWORD, Client, Reply
from support.receiver import Receiver

# What a field holds, by an example of it. A type stands for any value of that type.
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


def mismatches(promised: Any, found: Any, at: str = "") -> list[str]:
    """Where ``found`` is not what was promised. Members that were not promised are none."""
    match promised:
        case re.Pattern():
            fits = isinstance(found, str) and promised.fullmatch(found) is not None
        case type():
            fits = isinstance(found, promised) and not (promised is int and isinstance(found, bool))
        case dict():
            if not isinstance(found, dict):
                return [f"{at}: {found!r} is no object"]
            return [f"{at}.{name}: is missing" for name in promised if name not in found] + [
                wrong
                for name, value in promised.items()
                if name in found
                for wrong in mismatches(value, found[name], f"{at}.{name}")
            ]
        case list():
            if not isinstance(found, list):
                return [f"{at}: {found!r} is no list"]
            if len(promised) != len(found):
                return [f"{at}: {len(found)} elements, not {len(promised)}"]
            pairs = enumerate(zip(promised, found, strict=True))
            return [wrong for i, (p, f) in pairs for wrong in mismatches(p, f, f"{at}[{i}]")]
        case _:
            fits = promised == found and type(promised) is type(found)
    return [] if fits else [f"{at}: {found!r}, not {promised!r}"]


def test_the_check_sees_what_is_missing_and_what_is_another_kind() -> None:
    promised = {"a": 1, "b": [str], "c": MOMENT}

    assert mismatches(promised, {"a": 1, "b": ["x"], "c": "2023-01-01T12:00:00Z", "d": 1}) == []
    several: tuple[Any, ...] = (
        {"a": 1, "b": ["x"]}, {"a": "1", "b": ["x"], "c": "2023-01-01T12:00:00Z"},
        {"a": 1, "b": [1], "c": "2023-01-01T12:00:00Z"}, {"a": 1, "b": ["x", "y"], "c": "2023-01-01T12:00:00Z"},
        {"a": True, "b": ["x"], "c": "2023-01-01T12:00:00Z"}, {"a": 1, "b": ["x"], "c": "2023-01-01"}, [],
    )  # fmt: skip
    for wrong in several:
        assert len(mismatches(promised, wrong)) == 1, wrong


DEFINITION: Final = (
    'metadata:\n  name: "My Flow"\n  description: "A simple flow"\n  version: "1.0.0"\n\nnodes:\n  start:\n'
    '    type: "http.request"\n    params:\n      url: "{url}"\n      method: "GET"\n    next:\n      default: "end"\n'
    '  \n  end:\n    type: "webhook"\n    params:\n      url: "{url}"\n      method: "POST"\n'
)
FLOW: Final = {
    "id": str, "name": "My Flow", "description": "A simple flow", "version": "1.0.0", "created_at": MOMENT,
    "updated_at": MOMENT, "tags": ["production"],
}  # fmt: skip
PAGE: Final = {"total": int, "limit": 10, "offset": 0}
SESSION: Final = {"token": TOKEN, "expires_at": MOMENT, "account_id": str}
LOG: Final = {"timestamp": MOMENT, "level": "info", "node_id": "start", "node_type": "http.request"}


@dataclass(frozen=True)
class FilledTable:
    """What the addresses and bodies of the table are filled in from."""

    admin: Client
    account: Client
    names: Mapping[str, str]

    def fill(self, value: Any) -> Any:
        match value:
            case str():
                return re.sub(r"\{(\w+)\}", lambda found: self.names[found[1]], value)
            case dict():
                return {key: self.fill(item) for key, item in value.items()}
            case list():
                return [self.fill(item) for item in value]
            case _:
                return value


@dataclass(frozen=True)
class Promise:
    """One request of the reference, by whom, and what it is answered with."""

    request: str
    status: int
    answer: Any
    body: Any = None
    by: str = "account"

    def __str__(self) -> str:
        return f"{self.request} {self.status}"

    def ask(self, table: FilledTable) -> Reply:
        method, path = self.request.split(" ", 1)
        client: Client = {"admin": table.admin, "account": table.account, "nobody": Client(table.admin.url)}[self.by]
        body: bytes | None = self.body
        if not isinstance(body, bytes | None):
            body = json.dumps(table.fill(body)).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        return client.request(method, f"/api/v1{table.fill(path)}", body, headers)


ACCOUNT: Final = {"id": str, "name": str, "email": str, "role": "user", "created_at": MOMENT, "updated_at": MOMENT}
SECRET: Final = {"key": "NEW_API_KEY", "created_at": MOMENT, "updated_at": MOMENT}
EXECUTION: Final = {
    "id": "{done}", "flow_id": "{flow}", "status": "completed", "started_at": MOMENT, "completed_at": MOMENT,
    "duration": int,
}  # fmt: skip
FAILED: Final = {
    "id": "{failed}", "status": "failed", "started_at": MOMENT, "completed_at": MOMENT, "duration": int,
    "error": "HTTP request failed with status 500",
}  # fmt: skip

PROMISES: Final = (
    # Authentication
    Promise("POST /auth/login", 200, SESSION, {"username": "{email}", "password": PASSWORD}, by="nobody"),
    # Flow management
    Promise("GET /flows", 200, {"flows": list, **PAGE}),
    Promise("GET /flows?tag=production", 200, {"flows": [FLOW], "total": 1, "limit": 10, "offset": 0}),
    Promise("GET /flows?tag=x&limit=5&offset=1", 200, {"flows": [], "total": 0, "limit": 5, "offset": 1}),
    Promise("GET /flows/{flow}", 200, {**FLOW, "definition": DEFINITION.replace("{url}", "{good}")}),
    Promise(
        "POST /flows", 201, {**FLOW, "tags": ["x"]},
        {"name": "My Flow", "description": "A simple flow", "tags": ["x"],
         "definition": DEFINITION.replace("{url}", "{good}")},
    ),
    Promise(
        "PUT /flows/{scratch}", 200,
        {"id": "{scratch}", "name": "Updated Flow", "description": "An updated flow", "version": "1.0.1",
         "created_at": MOMENT, "updated_at": MOMENT, "tags": ["production", "updated"]},
        {"name": "Updated Flow", "description": "An updated flow", "tags": ["production", "updated"],
         "definition": DEFINITION.replace("1.0.0", "1.0.1").replace("{url}", "{good}")},
    ),
    Promise("DELETE /flows/{scratch}", 200, {"message": "Flow deleted successfully"}),
    # Flow execution
    Promise(
        "POST /flows/{flow}/run", 201,
        {"execution_id": str, "flow_id": "{flow}", "status": "running", "created_at": MOMENT},
        {"input": {"key": "value"}},
    ),
    Promise("GET /executions/{done}", 200, {**EXECUTION, "input": {"key": "value"}, "result": dict}),
    Promise("GET /executions/{failed}", 200, FAILED),
    Promise(
        "GET /executions?status=failed", 200, {"executions": [FAILED], "total": 1, "limit": 10, "offset": 0}
    ),
    Promise("GET /executions?flow_id={flow}&status=running&limit=3", 200, {"executions": list, "limit": 3}),
    Promise("GET /executions?flow_id={second}", 200, {"executions": [{"flow_id": "{second}"}], "total": 1}),
    Promise("DELETE /executions/{waiting}", 200, {"message": "Execution cancelled successfully"}),
    Promise(
        "GET /executions/{done}/logs?level=info&limit=2", 200,
        {"logs": [
            {**LOG, "message": "Execution started"},
            {**LOG, "message": "HTTP request successful", "data": {"status_code": 200, "url": "{good}"}},
        ], "total": int, "limit": 2, "offset": 0},
    ),
    Promise("GET /executions/{done}/logs?level=debug", 200, {"logs": [], "total": 0, "limit": 10, "offset": 0}),
    Promise("GET /executions/{done}/logs?level=warn", 200, {"logs": [], "total": 0, "limit": 10, "offset": 0}),
    Promise("GET /executions/{failed}/logs?level=error&limit=1", 200, {"logs": [{"level": "error"}], "total": int}),
    # Account management
    Promise("GET /accounts?role=user&limit=1", 200, {"accounts": [ACCOUNT], "total": int, "limit": 1}, by="admin"),
    Promise("GET /accounts", 200, {"accounts": list, **PAGE}, by="admin"),
    Promise("GET /accounts/{account}", 200, {**ACCOUNT, "id": "{account}", "email": "{email}"}, by="admin"),
    Promise("GET /accounts/{account}", 200, {**ACCOUNT, "id": "{account}"}),
    Promise(
        "POST /accounts", 201, {**ACCOUNT, "name": "New Account", "email": "new-{account}@example.com"},
        {"name": "New Account", "email": "new-{account}@example.com", "password": PASSWORD, "role": "user"}, by="admin",
    ),
    Promise(
        "PUT /accounts/{other}", 200,
        {**ACCOUNT, "id": "{other}", "name": "Updated Account", "email": "updated-{other}@example.com",
         "role": "admin"},
        {"name": "Updated Account", "email": "updated-{other}@example.com", "role": "admin"}, by="admin",
    ),
    Promise("DELETE /accounts/{other}", 200, {"message": "Account deleted successfully"}, by="admin"),
    # Secrets
    Promise("POST /accounts/{account}/secrets", 201, SECRET, {"key": "NEW_API_KEY", "value": "your-api-key"}),
    Promise("GET /accounts/{account}/secrets", 200, {"secrets": [SECRET]}),
    Promise("DELETE /accounts/{account}/secrets/NEW_API_KEY", 200, {"message": "Secret deleted successfully"}),
    # The end of a session
    Promise("POST /auth/refresh", 200, SESSION),
    Promise("POST /auth/logout", 200, {"message": "Logged out successfully"}),
)  # fmt: skip


def details(field: str) -> dict[str, Any]:
    return {"field": field, "reason": str}


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": str, "details": dict, **more}}


MISTAKES: Final = (
    Promise("GET /flows", 401, error("unauthorized"), by="nobody"),
    Promise("POST /auth/login", 401, error("unauthorized"), {"username": "{email}", "password": "wrong"}, by="nobody"),
    Promise("GET /accounts", 403, error("forbidden")),
    Promise("POST /accounts", 403, error("forbidden"), {}),
    Promise("DELETE /accounts/{account}", 403, error("forbidden")),
    Promise("GET /flows/flow-1", 404, error("not_found")),
    Promise("PUT /flows/flow-1", 404, error("not_found"), {"name": "N"}),
    Promise("DELETE /flows/flow-1", 404, error("not_found")),
    Promise("POST /flows/flow-1/run", 404, error("not_found"), {"input": {}}),
    Promise("GET /executions/exec-1", 404, error("not_found")),
    Promise("DELETE /executions/exec-1", 404, error("not_found")),
    Promise("GET /executions/exec-1/logs", 404, error("not_found")),
    Promise("GET /accounts/account-1", 404, error("not_found"), by="admin"),
    Promise("PUT /accounts/account-1", 404, error("not_found"), {"name": "N"}, by="admin"),
    Promise("DELETE /accounts/account-1", 404, error("not_found"), by="admin"),
    Promise("GET /accounts/account-1/secrets", 404, error("not_found")),
    Promise("DELETE /accounts/{account}/secrets/NOTHING", 404, error("not_found")),
    Promise("DELETE /executions/{done}", 409, error("conflict")),
    Promise(
        "POST /accounts", 409, error("conflict"),
        {"name": "N", "email": "{email}", "password": PASSWORD, "role": "user"}, by="admin",
    ),
    Promise("POST /flows", 422, error("validation_error", details=details("definition")), {"name": "N"}),
    Promise("POST /flows", 422, error("validation_error"), {"name": "N", "definition": "nodes: {}"}),
    Promise("PUT /flows/{flow}", 422, error("validation_error", details=details("name")), {"name": ""}),
    Promise("POST /flows/{flow}/run", 422, error("validation_error", details=details("input")), {"input": 1}),
    Promise("GET /executions?status=done", 422, error("validation_error", details=details("status"))),
    Promise("GET /executions/{done}/logs?level=loud", 422, error("validation_error", details=details("level"))),
    Promise("GET /flows?limit=x", 422, error("validation_error", details=details("limit"))),
    Promise("GET /flows?offset=-1", 422, error("validation_error", details=details("offset"))),
    Promise("GET /accounts?role=x", 422, error("validation_error", details=details("role")), by="admin"),
    Promise(
        "POST /accounts/{account}/secrets", 422, error("validation_error", details=details("key")),
        {"value": "your-api-key"},
    ),
    Promise("POST /flows", 400, error("invalid_request"), b'{"name": '),
)  # fmt: skip


@pytest.fixture
def table(admin: Client, receiver: Receiver) -> FilledTable:
    account = admin.new_account()
    good, bad = f"{receiver.url}/ok", f"{receiver.url}/status/500"
    flow = account.new_flow(DEFINITION.replace("{url}", good), name="My Flow", tags=["production"])
    second = account.new_flow(DEFINITION.replace("{url}", bad))
    names = {"flow": flow, "second": second, "good": good, "account": account.account_id, "email": account.email}
    names["scratch"] = account.new_flow(DEFINITION.replace("{url}", good))
    names["done"], names["failed"] = account.run(flow, {"key": "value"}), account.run(second)
    names["waiting"] = account.run(account.new_flow("nodes:\n  a: {type: delay, params: {duration: 1h}}\n"))
    names["other"] = admin.new_account().account_id
    for name in ("done", "failed"):
        account.ended(names[name])
    account.waiting_at(names["waiting"], "a")
    return FilledTable(admin, account, names)


def broken(table: FilledTable, promises: Iterable[Promise]) -> list[str]:
    """Ask in order; gives whatever is not as promised."""
    wrong = []
    for promise in promises:
        reply = promise.ask(table)
        found = mismatches(table.fill(promise.answer), reply.json)
        if reply.status != promise.status:
            found = [f"is answered with {reply.status}: {reply.body!r}"]
        if reply.headers["content-type"] != "application/json":
            found.append(f"is answered with {reply.headers['content-type']}")
        wrong += [f"{promise}: {text}" for text in found]
    return wrong


def test_every_promise_of_the_reference_is_kept(table: FilledTable) -> None:
    assert broken(table, PROMISES) == []


def test_every_error_has_the_status_the_code_and_the_shape_of_the_reference(table: FilledTable) -> None:
    assert broken(table, MISTAKES) == []


def test_every_route_of_the_reference_is_among_the_promises() -> None:
    def shape(request: str) -> str:
        """The request without what differs between two of the same route."""
        return re.sub(r"\{\w+\}|NEW_API_KEY", "*", request.partition("?")[0])

    assert {shape(promise.request) for promise in PROMISES} >= {
        shape(route.replace("/api/v1", "")) for route in REFERENCE
    }


# Over the WebSocket

UPDATE: Final = {"execution_id": str, "node_id": "start", "node_type": "http.request", "timestamp": MOMENT}


def test_the_messages_of_a_completed_execution_are_those_of_the_reference(table: FilledTable) -> None:
    messages = table.account.messages(table.names["done"])

    for promised in (
        {"type": "execution_update", "status": "running", **UPDATE},
        {"type": "node_completed", "result": {"status_code": 200, "body": {"key": "value"}}, **UPDATE},
        {
            "type": "log", "level": "info", "message": "HTTP request successful",
            "data": {"status_code": 200, "url": "{good}"}, **UPDATE,
        },
        {"type": "execution_completed", "execution_id": str, "status": "completed", "timestamp": MOMENT},
    ):  # fmt: skip
        tried = [mismatches(table.fill(promised), message) for message in messages]
        assert [] in tried, (promised["type"], min(tried, key=len))
    assert messages[-1]["result"]["status_code"] == 200
    assert {message["type"] for message in messages} == {
        "execution_update", "node_completed", "log", "execution_completed",
    }  # fmt: skip


def test_the_messages_of_a_failed_execution_are_those_of_the_reference(table: FilledTable) -> None:
    last = table.account.messages(table.names["failed"])[-1]

    message = "HTTP request failed with status 500"
    promised = {"type": "execution_failed", "status": "failed", "error": message, **UPDATE}
    assert mismatches(promised, last) == []
