"""The OpenAPI document says what the server does."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pytest
from jsonschema_rs import Draft202012Validator, meta

from api.shapes import MOMENT, NAP, SMALLEST
from api.test_routes import OPEN
from flowrunner.api.http.examples import EXAMPLES
from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.server import ROUTERS
from flowrunner.domain.account import Right
from support.client import PASSWORD, Client, Reply
from support.codes import code_of
from support.waiting import wait_for

REFERENCE: Final = {
    "POST /api/v1/auth/login", "POST /api/v1/auth/refresh", "POST /api/v1/auth/logout",
    "GET /api/v1/flows", "GET /api/v1/flows/{id}", "POST /api/v1/flows", "PUT /api/v1/flows/{id}",
    "DELETE /api/v1/flows/{id}", "POST /api/v1/flows/{id}/run", "GET /api/v1/executions/{id}",
    "GET /api/v1/executions", "DELETE /api/v1/executions/{id}", "GET /api/v1/executions/{id}/logs",
    "GET /api/v1/accounts", "GET /api/v1/accounts/{id}", "POST /api/v1/accounts", "PUT /api/v1/accounts/{id}",
    "DELETE /api/v1/accounts/{id}", "GET /api/v1/accounts/{account_id}/secrets",
    "POST /api/v1/accounts/{account_id}/secrets", "DELETE /api/v1/accounts/{account_id}/secrets/{key}",
}  # fmt: skip


# Their answer is a value of a flow.
ANY_JSON: Final = {"GET /api/v1/executions/{id}/steps/{step_id}/result", "POST /hooks/{token}"}


def is_time(value: object) -> bool:
    return not isinstance(value, str) or MOMENT.fullmatch(value) is not None


VALIDATOR: Final = partial(Draft202012Validator, validate_formats=True, formats={"date-time": is_time})


@pytest.fixture(scope="module")
def document(admin: Client) -> Any:
    reply = Client(admin.url).get("/api/v1/openapi.json")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    return reply.json


def operations(document: Any) -> Mapping[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_of_the_reference_is_described(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    assert operations(document).keys() >= REFERENCE


def test_every_route_is_summed_up_by_its_first_sentence(document: Any) -> None:
    summaries = {name: operation["summary"] for name, operation in operations(document).items()}

    assert summaries["POST /api/v1/flows"] == "Save a new flow"
    assert summaries["GET /api/v1/workspaces"] == "List the caller's workspaces, the personal one first"
    assert [summary for summary in summaries.values() if "\n" in summary or len(summary) > 120] == []


def test_its_schemas_are_schemas(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        meta.validate(schema)


def test_every_route_says_who_may_call_it(document: Any) -> None:
    (scheme,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][scheme]["scheme"] == "bearer"
    for name, operation in operations(document).items():
        method, path = name.split()
        if (method, path) in OPEN:
            assert operation["security"] == [], name
        else:
            assert operation["security"] == [{scheme: []}], name
            assert operation["x-right"] in set(Right), name
            assert {"401", "403"} <= operation["responses"].keys(), name


def test_every_route_says_its_errors(document: Any) -> None:
    for name, operation in operations(document).items():
        if name == "GET /metrics":
            continue
        wanted = {"500"}
        if "requestBody" in operation:
            wanted |= {"400", "413", "415", "422"}
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
            wanted |= {"422"}
        if "{" in name:
            wanted |= {"404"}
        assert wanted <= operation["responses"].keys(), name
        for status, response in operation["responses"].items():
            if status in ("204", "304"):
                assert "content" not in response, name
                continue
            if "application/json" not in response["content"]:
                assert status < "300", name
                continue
            schema = response["content"]["application/json"]["schema"]
            assert (schema == {"$ref": "#/components/schemas/ErrorAnswer"}) == (status >= "400"), (name, status)


def test_every_state_that_can_be_read_may_be_named_by_its_reader(document: Any) -> None:
    """Programs that are generated from the description can ask for what has changed only if it says how."""
    found = {
        name: (
            "ETag" in operation["responses"].get("200", {}).get("headers", {}),
            "304" in operation["responses"],
            any(parameter["name"].lower() == "if-none-match" for parameter in operation.get("parameters", ())),
        )
        for name, operation in operations(document).items()
        if name.startswith("GET ")
    }

    assert found["GET /api/v1/flows/{id}"] == found["GET /api/v1/executions"] == (True, True, True)
    assert [name for name, parts in found.items() if len(set(parts)) > 1] == []


def test_no_answer_has_an_object_or_a_list_under_its_own_name(document: Any) -> None:
    """Generators name a variable after each of both, with two types."""
    for name, schema in document["components"]["schemas"].items():
        field = schema.get("properties", {}).get(re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), {})
        assert "$ref" not in field, name
        assert field.get("type") not in ("array", "object"), name


def closed(components: Any) -> Any:
    """A copy of the schemas in which those of answers allow only the fields that they describe."""
    copy = json.loads(json.dumps(components))
    for schema in copy["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return copy


def test_answers_are_open_so_that_a_new_field_breaks_no_client(document: Any) -> None:
    of_bodies = {name for operation in operations(document).values() for name in names_in(operation.get("requestBody"))}
    answers = document["components"]["schemas"].keys() - closure(document, of_bodies)

    assert len(answers) > 60
    for name in answers:
        assert document["components"]["schemas"][name].get("additionalProperties") is not False, name
    # These have members that are not described.
    is_open = {name for name, s in closed(document["components"])["schemas"].items() if s.get("additionalProperties")}
    assert is_open <= {"EventAnswer", "FlowSchema", "WaitingFor"}


def names_in(part: Any) -> set[str]:
    """The schemas to which a part of the document refers."""
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(part)))


def closure(document: Any, names: set[str]) -> set[str]:
    """These schemas, and those to which they refer."""
    below = {found for name in names for found in names_in(document["components"]["schemas"][name])} | names
    return names if below == names else closure(document, below)


def test_operations_have_short_names_descriptions_and_tags_that_are_described(document: Any) -> None:
    ids = [operation["operationId"] for operation in operations(document).values()]

    assert len(set(ids)) == len(ids)
    assert {"login", "createFlow", "runFlow", "getExecution", "listSteps"} <= set(ids)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]*)*", id) for id in ids)
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document).items():
        assert operation["description"].endswith("."), name
        assert set(operation["tags"]) <= tags, name
    assert all(tag["description"] for tag in document["tags"])
    assert document["servers"] == [{"url": "/", "description": "This server"}]


def test_examples_are_as_described(document: Any) -> None:
    components, seen = closed(document["components"]), set()
    for name, operation in operations(document).items():
        for place, described in {"body": operation.get("requestBody", {}), **operation["responses"]}.items():
            content = described.get("content", {}).get("application/json", {})
            assert place != "body" or content == {} or "example" in content, name
            if "example" in content:
                seen.add((operation["operationId"], place))
                schema = {**content["schema"], "components": components}
                assert list(VALIDATOR(schema).iter_errors(content["example"])) == [], (name, place)
    assert seen == {(operation, place) for operation, places in EXAMPLES.items() for place in places}


def test_defaults_are_as_described(document: Any) -> None:
    described = list(schemas_with_defaults(document))

    assert len(described) > 100
    for schema in described:
        # Its references lead into the document.
        whole = {**schema, "components": document["components"]}
        assert list(VALIDATOR(whole).iter_errors(schema["default"])) == [], schema


def schemas_with_defaults(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        # Properties may be called so, too.
        if "default" in part and {"type", "$ref", "enum", "anyOf", "oneOf"} & part.keys():
            yield part
        for each in part.values():
            yield from schemas_with_defaults(each)
    elif isinstance(part, list):
        for each in part:
            yield from schemas_with_defaults(each)


def test_times_of_answers_have_a_format(document: Any) -> None:
    for schema, field in (
        ("CallbackAnswer", "failing_since"),
        ("CallbackSecret", "previous_until"),
        ("JobAnswer", "created_at"),
    ):
        assert document["components"]["schemas"][schema]["properties"][field]["format"] == "date-time"


class Tour:
    """Makes requests, and keeps each answer under the operation that it belongs to."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = defaultdict(list)

    def go(
        self,
        client: Client,
        operation: str,
        body: Any = None,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        **parts: str,
    ) -> Reply:
        method, path = operation.split()
        headers = {**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        reply = client.request(method, path.format(**parts) + query, data, headers)
        self.replies[operation].append(reply)
        return reply


Go = Callable[..., Reply]


def tour(admin: Client, account: Client) -> Mapping[str, list[Reply]]:
    """Every operation, as it succeeds and as it fails."""
    made, nobody = Tour(), Client(admin.url)
    for operation in ("GET /healthz", "GET /readyz"):
        made.go(nobody, operation)
    _flows_and_executions(made.go, account)
    # Names that are there twice cannot be exported, and the others have such.
    _batches(made.go, admin.new_account())
    _deployment(made.go, account)
    made.go(account, "GET /api/v1/schemas/flow")
    _signals_and_reruns(made.go, account)
    _signals_by_labels(made.go, admin.new_account())
    _jobs(made.go, admin.new_account())
    _steps(made.go, account)
    _triggers(made.go, account)
    _revisions(made.go, account)
    _secrets(made.go, account)
    _config(made.go, account)
    _store(made.go, account)
    _callbacks(made.go, account)
    _hooks(made.go, nobody, admin.new_account())
    _accounts(made.go, admin, account)
    _tokens(made.go, account)
    # Other tests may have made the admin a member of as many workspaces as an account may join.
    _workspaces(made.go, admin.new_account("admin"), account)
    _invitations(made.go, admin, account)
    _password_resets(made.go, admin, account)
    _keys(made.go, admin, account)
    _pause(made.go, admin, account)
    _identity(made.go, nobody, account)
    for operation in list(made.replies):
        if operation.split()[1].startswith("/api/v1/") and (*operation.split(),) not in OPEN:
            names = ("id", "account_id", "token_id", "delivery_id", "invitation_id", "key", "node", "name")
            parts: dict[str, Any] = dict.fromkeys(names, "x") | {"number": "1", "step_id": "1"}
            assert made.go(nobody, operation, **parts).status == 401
    return made.replies


def _flows_and_executions(go: Go, account: Client) -> None:
    body: Any
    flows, flow = "/api/v1/flows", "/api/v1/flows/{id}"
    faulty = "nodes:\n  a: {type: htp.request}\n  b: {next: c}\n"
    id = go(account, f"POST {flows}", {"name": "N", "definition": SMALLEST, "tags": ["t"]}).json["id"]
    for body in (b"{", {}, {"name": "N", "definition": faulty}, {"name": "N", "definition": "a: [", "x": 1}):
        go(account, f"POST {flows}", body)
    for body in ({"definition": SMALLEST}, {"definition": faulty}, {"definition": "a: ["}, {}, b"{"):
        go(account, f"POST {flows}/validate", body)
        go(account, f"POST {flows}/graph", body)
        go(account, "POST /api/v1/nodes/try", body if isinstance(body, bytes) else {**body, "node": "only"})
        go(account, f"POST {flows}/test", body)
    go(account, f"GET {flows}", query="?tag=t&limit=5")
    go(account, f"GET {flows}", query="?limit=0&offset=x")
    for operation in (f"GET {flow}", f"GET {flow}/graph", f"PUT {flow}"):
        for one in (id, "flow-1"):
            go(account, operation, {"name": "M"} if "PUT" in operation else None, id=one)
    go(account, f"GET {flow}/graph", headers={"Accept": "image/svg+xml"}, id=id)
    go(account, f"PUT {flow}", {"tags": 1}, id=id)

    run, execution = f"POST {flow}/run", "/api/v1/executions/{id}"
    done = go(account, run, {"input": {}}, id=id).json["execution_id"]
    account.ended(done)
    failed = account.run(account.new_flow("nodes:\n  a: {type: fail, params: {message: no}}\n"))
    account.ended(failed)
    open_one = account.run(account.new_flow("nodes:\n  a: {type: delay, params: {duration: 1h}}\n"))
    account.until_it_waits(open_one)
    for body in (None, {}, {"input": 1}, b"[", {"input": {}, "x": 1}):
        go(account, run, body, id=id)
    go(account, run, {}, id="flow-1")
    for one in (done, failed, open_one, "exec-1"):
        go(account, f"GET {execution}", id=one)
        go(account, f"GET {execution}/logs", id=one)
    go(account, f"GET {execution}/logs", id=done, query="?level=loud")
    for query in ("", "?status=completed,failed", "?status=x", f"?flow_id={id}&limit=1"):
        go(account, "GET /api/v1/executions", query=query)
    for one in (open_one, done, "exec-1"):
        go(account, f"DELETE {execution}", id=one)
    go(account, f"GET {execution}", id=open_one)
    for one in (id, "flow-1"):
        for body in ({"workspace": account.account_id}, {"workspace": "x"}, {}, b"{"):
            go(account, f"POST {flow}/move", body, id=one)
            go(account, f"POST {flow}/copy", body, id=one)
    go(account, f"DELETE {flow}", id=id)
    go(account, f"DELETE {flow}", id=id)


def _batches(go: Go, account: Client) -> None:
    flows, zipped = "/api/v1/flows", {"Content-Type": "application/zip"}
    batch = {"flows": [{"name": f"batch of {account.account_id}", "definition": SMALLEST}]}
    for body in (batch, batch, {"flows": [{"name": "x", "definition": "nodes: {}"}]}, {"flows": 1}, b"{"):
        for query in ("?dry_run=true", ""):
            go(account, f"POST {flows}:batch", body, query)
    exported = go(account, f"GET {flows}/export").body
    for data in (exported, b"x", b""):
        for query in ("?dry_run=true", "?dry_run=x", ""):
            go(account, f"POST {flows}/import", data, query, headers=zipped)
    go(account, f"POST {flows}/import", {})
    ids = [account.new_flow(SMALLEST, name="of-two") for _ in range(2)]
    go(account, f"GET {flows}/export")
    for operation in (f"POST {flows}:batch", f"PUT {flows}/by-name/{{name}}"):
        body = {"flows": [{"name": "of-two", "definition": SMALLEST}]} if "batch" in operation else {"tags": []}
        go(account, operation, body, name="of-two")
    for id in ids:
        go(account, "DELETE /api/v1/flows/{id}", id=id)


def _deployment(go: Go, account: Client) -> None:
    body: Any
    flows, flow, named = "/api/v1/flows", "/api/v1/flows/{id}", "/api/v1/flows/by-name/{name}"
    yaml = {"Content-Type": "application/yaml"}
    for conditions in ({"If-Match": "*"}, {"If-None-Match": "*"}, {"If-None-Match": "x"}, {"If-None-Match": "*"}, {}):
        go(account, f"PUT {named}", SMALLEST.encode(), headers={**yaml, **conditions}, name="tour")
    for body in (b"nodes: {}", b"{", f"metadata: {{name: other}}\n{SMALLEST}".encode(), b"x: \xff"):
        for query in ("", "?dry_run=true", "?dry_run=x"):
            go(account, f"PUT {named}", body, query, headers=yaml, name="tour")
            go(account, f"POST {flows}", body, query, headers=yaml)
    go(account, f"PUT {named}", b"x", headers={"Content-Type": "text/plain"}, name="tour")
    for query in ("", "?dry_run=true"):
        go(account, f"PUT {named}", SMALLEST.encode() + b"# 2\n", query, headers=yaml, name="tour")
        go(account, f"PUT {named}", {"description": "D"}, query, name="tour")
        go(account, f"PUT {named}", {"description": "D"}, query, name="new")
    id = go(account, f"GET {named}", name="tour").json["id"]
    for query in ("?dry_run=true", "?dry_run=x"):
        go(account, f"POST {flows}", {"name": "N", "definition": SMALLEST}, query)
        go(account, f"PUT {flow}", {"definition": SMALLEST}, query, id=id)
        go(account, f"DELETE {flow}", query=query, id=id)
        go(account, f"POST {flow}/revisions/{{number}}/restore", query=query, id=id, number="1")
        go(account, f"DELETE {flow}/revisions/{{number}}", query=query, id=id, number="1")
    for conditions in ({"If-None-Match": "*"}, {"If-None-Match": "x"}):
        go(account, f"GET {named}", headers=conditions, name="tour")
    for _ in range(2):
        go(account, f"POST {named}/run", {"input": {}}, headers={"Idempotency-Key": "tour"}, name="tour")
    for body in (b"[", {"x": 1}):
        go(account, f"POST {named}/run", body, name="tour")
    account.new_flow(SMALLEST, name="tour")
    for name in ("tour", "none"):
        go(account, f"GET {named}", name=name)
        go(account, f"POST {named}/run", {}, name=name)
        go(account, f"PUT {named}", {"definition": SMALLEST}, name=name)


# Something to wait for, to be approved, to fail at, and a step to begin at again.
WAITING: Final = """
nodes:
  first: {type: transform, params: {value: 1}, next: wait}
  wait: {type: wait, params: {key: go}, next: ask}
  ask: {type: approval, params: {prompt: Really?, form: {type: object}, roles: [admin, user]}, next: {approved: stop}}
  stop: {type: fail, params: {message: no, data: [1]}}
"""


def _signals_by_labels(go: Go, account: Client) -> None:
    many, filter = "POST /api/v1/executions:signal", {"label": ["order:7"]}
    body: Any
    account.post(f"/api/v1/flows/{account.new_flow(WAITING)}/run", {"labels": {"order": "7"}})
    for body in ({"key": "k", "filter": filter}, {"key": "k", "filter": {"label": ["order:8"]}}, {"filter": {}}, b"{"):
        go(account, many, body)
    for payload in (1, 1, 2):
        go(account, many, {"key": "k", "payload": payload, "filter": filter}, headers={"Idempotency-Key": "many"})


def _signals_and_reruns(go: Go, account: Client) -> None:
    body: Any
    execution = "/api/v1/executions/{id}"
    signal, approval = f"POST {execution}/signals/{{key}}", f"POST {execution}/approvals/{{node}}"
    flow_id = account.new_flow(WAITING)
    id = account.run(flow_id)
    account.until_it_waits(id)
    go(account, f"GET {execution}", id=id)
    for body in (b"{", {"x": 1}, {"payload": 1}, None):
        go(account, signal, body, id=id, key="go")
    go(account, signal, {}, id="exec-1", key="go")
    go(account, signal, {}, id=id, key="x" * 201)
    account.waiting_at(id, "ask")
    go(account, f"GET {execution}", id=id)
    for query in ("", "?limit=1", "?limit=0", "?after=x"):
        go(account, "GET /api/v1/approvals", query=query)
    for one, node in ((id, "ask"), (id, "nothing"), ("exec-1", "ask")):
        go(account, f"DELETE {execution}/approvals/{{node}}/link", id=one, node=node)
    for body in (b"{", {}, {"approved": True, "data": 5}, {"approved": True, "data": {}}):
        go(account, approval, body, id=id, node="ask")
    account.ended(id)
    for one in (id, "exec-1"):
        go(account, approval, {"approved": False}, id=one, node="ask")
        go(account, signal, {}, id=one, key="go")
        go(account, f"GET {execution}", id=one)
        for body in (None, {"from": "ask"}, {"from": "x"}, {"input": {}, "revision": 1}, {"revision": 9}, b"["):
            go(account, f"POST {execution}/rerun", body, id=one)
    for _ in range(2):
        again = go(account, f"POST {execution}/rerun", {"from": "ask"}, headers={"Idempotency-Key": "k"}, id=id)
    go(account, f"POST {execution}/rerun", {"from": "wait"}, headers={"Idempotency-Key": "k"}, id=id)
    go(account, f"GET {execution}", id=again.json["execution_id"])
    other = account.run(account.new_flow(f"nodes:\n  call: {{type: flow, params: {{flow: {flow_id}}}}}\n"))
    found = account.until_it_waits(other)
    go(account, f"GET {execution}", id=other)
    go(account, f"GET {execution}", id=found["waiting_for"][0]["execution_id"])


def _jobs(go: Go, account: Client) -> None:
    batch, job = "POST /api/v1/executions:batch", "/api/v1/jobs/{id}"
    ended = account.run_to_end(SMALLEST, {})["id"]
    open_one = account.run(account.new_flow(NAP))
    for query in ("?dry_run=true", "?dry_run=x", ""):
        for body in ({"action": "rerun", "ids": [ended]}, {"action": "cancel"}, {"action": "x"}, b"["):
            go(account, batch, body, query)
    made = go(account, batch, {"action": "delete", "ids": [ended, open_one]})
    wait_for(lambda: go(account, f"GET {job}", id=made.json["id"]).json["status"] == "completed")

    def is_stopped() -> bool:
        # Unless it has ended before.
        id = go(account, batch, {"action": "rerun", "ids": [open_one]}).json["id"]
        return go(account, f"DELETE {job}", id=id).status == 200

    wait_for(is_stopped)
    for operation in ("GET", "DELETE"):
        for one in (made.json["id"], "job-1"):
            go(account, f"{operation} {job}", id=one)
    for query in ("", "?limit=0"):
        go(account, "GET /api/v1/jobs", query=query)
    record = "DELETE /api/v1/executions/{id}/record"
    go(account, record, id=account.run_to_end(SMALLEST, {})["id"])
    for one in (account.run(account.new_flow(NAP)), "exec-1"):
        go(account, record, id=one)


TRIGGERED: Final = """
nodes: {a: {type: return}}
triggers: {hourly: {type: schedule, every: 1h}, pushed: {type: webhook, verify: none}}
"""


def _triggers(go: Go, account: Client) -> None:
    path = "/api/v1/triggers"
    flow_id = account.new_flow(TRIGGERED)
    for query in (f"?flow_id={flow_id}", "?type=webhook", "?type=x", "?limit=0"):
        go(account, f"GET {path}", query=query)
    hourly, pushed = (str(each["id"]) for each in account.get(path, flow_id=flow_id).json["triggers"])
    for id in (hourly, pushed):
        go(account, f"POST {path}/{{id}}/run", id=id)
        go(account, f"GET {path}/{{id}}", id=id)
    backfill, day = f"POST {path}/{{id}}/backfill", {"from": "2026-01-01", "to": "2026-01-01T02:00:00Z"}
    for query in ("?dry_run=true", ""):
        for body in (day, {"from": "2026-01-01", "to": "9000"}, b"["):
            go(account, backfill, body, query, id=hourly)
    go(account, backfill, day, id=pushed)
    go(account, backfill, day, id="trig-1")
    account.put(f"/api/v1/flows/{flow_id}", {"definition": TRIGGERED.replace("hourly", "often")})
    for id in (hourly, pushed, "trig-1"):
        go(account, f"GET {path}/{{id}}", id=id)
        go(account, f"GET {path}/{{id}}/next", id=id)
        go(account, f"POST {path}/{{id}}/pause", id=id)
        go(account, f"POST {path}/{{id}}/resume", id=id)
        for _ in range(2):
            go(account, f"POST {path}/{{id}}/run", headers={"Idempotency-Key": f"run-{id}"}, id=id)
    go(account, f"GET {path}/{{id}}/next", query="?count=0", id=hourly)


SEEN: Final = """
nodes:
  list: {type: transform, params: {value: [1, 2]}, next: each}
  each:
    type: foreach
    params: {items: "${input}"}
    nodes: {double: {type: transform, params: {value: "${input * 2}"}}}
    next: ask
  ask: {type: approval, params: {prompt: Really?, form: {type: object}}, next: {approved: stop}}
  stop: {type: fail, params: {error: busy, message: no, data: [1]}, retry: {max: 1, delay: 1ms, errors: [busy]}}
"""


def _steps(go: Go, account: Client) -> None:
    execution = "/api/v1/executions/{id}"
    id = account.run(account.new_flow(SEEN))
    account.until_it_waits(id)
    seen = go(account, f"GET {execution}/steps", id=id).json["steps"]
    account.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True, "data": {}})
    account.ended(id)
    for query in ("", "?limit=2", "?scope=each.1[0]", "?step=ask.1", "?step=x", "?limit=0", "?cursor=x"):
        for one in (id, "exec-1"):
            go(account, f"GET {execution}/steps", query=query, id=one)
    for step in (*(str(step["id"]) for step in seen), str(seen[-1]["id"] + 10), "1", "x", "0"):
        for one in (id, "exec-1"):
            go(account, f"GET {execution}/steps/{{step_id}}", id=one, step_id=step)
            go(account, f"GET {execution}/steps/{{step_id}}/result", id=one, step_id=step)
            go(account, f"GET {execution}/steps/{{step_id}}/params", id=one, step_id=step)
    for one in (id, "exec-1"):
        go(account, f"GET {execution}/graph", id=one)
    for query in ("?view=summary", "?view=preview", "?view=x"):
        go(account, f"GET {execution}", query=query, id=id)
    for query in ("", "?limit=2", "?after=x", "?wait=61", "?after=100000"):
        for one in (id, "exec-1"):
            go(account, f"GET {execution}/events", query=query, id=one)
    go(account, f"GET {execution}/events", query="?after=100000", headers={"Accept": "text/event-stream"}, id=id)
    for definition in (SMALLEST, "nodes:\n  a: {type: fail, params: {message: no}}\n"):
        waited = {"headers": {"Prefer": "wait=20"}}
        done = go(account, "POST /api/v1/flows/{id}/run", {}, id=account.new_flow(definition), **waited)
        assert done.status == 200
        go(account, f"POST {execution}/rerun", {}, id=done.json["execution_id"], **waited)


def _revisions(go: Go, account: Client) -> None:
    flow, one = "/api/v1/flows/{id}", "/api/v1/flows/{id}/revisions/{number}"
    id = account.new_flow(SMALLEST)
    for conditions in ({"If-None-Match": "*"}, {"If-None-Match": "x"}):
        go(account, f"GET {flow}", headers=conditions, id=id)
    for conditions in ({"If-Match": '"0"'}, {"If-Match": "x"}, {"If-Match": "*"}):
        go(account, f"PUT {flow}", {"definition": f"{SMALLEST}# 2"}, headers=conditions, id=id)
        go(account, f"POST {one}/restore", headers=conditions, id=id, number="1")
    for conditions in ({"If-Match": '"0"'}, {"If-Match": "x"}):
        go(account, f"DELETE {flow}", headers=conditions, id=id)
    for target in (id, "flow-1"):
        go(account, f"GET {flow}/revisions", query="?limit=1", id=target)
        for number in ("1", "2", "9", "0", "x"):
            for operation in (f"GET {one}", f"GET {one}/diff", f"POST {one}/restore"):
                go(account, operation, id=target, number=number)
    go(account, f"GET {flow}/revisions", query="?limit=0", id=id)
    for query in ("?against=2", "?against=9", "?against=x"):
        go(account, f"GET {one}/diff", query=query, id=id, number="1")
    for number in ("1", "1", "9", "x", go(account, f"GET {flow}", id=id).json["revision"]):
        go(account, f"DELETE {one}", id=id, number=str(number))


def _secrets(go: Go, account: Client) -> None:
    path, own = "/api/v1/accounts/{account_id}/secrets", {"account_id": account.account_id}
    for body in ({"key": "K", "value": "a long value"}, {"key": "K", "value": "another value"}, {"key": "?"}, b"x"):
        go(account, f"POST {path}", body, **own)
    go(account, f"POST {path}", {"key": "K", "value": "a long value"}, account_id="account-1")
    for target in (own, {"account_id": "account-1"}):
        go(account, f"GET {path}", **target)
    for _ in range(2):
        go(account, f"DELETE {path}/{{key}}", key="K", **own)


def _config(go: Go, account: Client) -> None:
    path, one = "/api/v1/config", "/api/v1/config/{name}"
    for value in (1, 2, None):
        go(account, f"PUT {one}", {"value": value}, name="A")
    go(account, f"PUT {one}", b"{", name="A")
    for query in ("", "?limit=x"):
        go(account, f"GET {path}", query=query)
    for name in ("A", "B"):
        go(account, f"GET {one}", name=name)
        go(account, f"DELETE {one}", name=name)


def _store(go: Go, account: Client) -> None:
    path, one = "/api/v1/store", "/api/v1/store/entry"
    for body in ({"value": 1}, {"value": 2, "ttl": "1h"}, {"value": 1, "ttl": "x"}, b"{"):
        go(account, f"PUT {one}", body, query="?key=a")
    for query in ("", "?limit=x"):
        go(account, f"GET {path}", query=query)
    for query in ("?key=a", "?key=b", ""):
        go(account, f"GET {one}", query=query)
        go(account, f"DELETE {one}", query=query)


def _callbacks(go: Go, account: Client) -> None:
    body: Any
    callbacks, one = "/api/v1/callbacks", "/api/v1/callbacks/{id}"
    body = {"url": "http://127.0.0.1:1/", "events": ["callback.disabled"], "format": "template", "template": {"a": 1}}
    id = go(account, f"POST {callbacks}", body).json["id"]
    for wrong in ({"url": "x", "events": []}, {"url": "http://x/", "events": ["x"]}, b"{"):
        go(account, f"POST {callbacks}", wrong)
    for query in ("", "?limit=x"):
        go(account, f"GET {callbacks}", query=query)
    for target in (id, "callback-1"):
        go(account, f"GET {one}", id=target)
        for body in ({"enabled": False}, {"enabled": True}, {"url": "x"}, {"x": 1}):
            go(account, f"PUT {one}", body, id=target)
        go(account, f"POST {one}/rotate", id=target)
        delivery = go(account, f"POST {one}/test", id=target).json.get("id", "delivery-1")
        for query in ("", "?limit=x"):
            go(account, f"GET {one}/deliveries", query=query, id=target)
        go(account, f"POST {one}/deliveries/{{delivery_id}}/redeliver", id=target, delivery_id=delivery)
    for _ in range(2):
        go(account, f"DELETE {one}", id=id)


def _hooks(go: Go, nobody: Client, account: Client) -> None:
    flow = "triggers:\n  in: {type: webhook, verify: none, input: {a: '${trigger.body}'}}\n" + SMALLEST
    account.new_flow(flow, name="Hooked")
    hook = account.get("/api/v1/triggers", type="webhook").json["triggers"][0]
    one, token = "/api/v1/triggers/{id}", hook["url"].removeprefix("/hooks/")
    for target in (token, "x"):
        for body in ({"a": 1}, b"{", b"x" * (2**20 + 1)):
            go(nobody, "POST /hooks/{token}", body, headers={"Content-Type": "application/json"}, token=target)
        go(nobody, "GET /hooks/{token}", query="?validationToken=x", token=target)
    for target in (hook["id"], "trigger-1"):
        for query in ("", "?limit=x"):
            go(account, f"GET {one}/deliveries", query=query, id=target)
        stored = go(account, f"GET {one}/deliveries", id=target).json.get("deliveries") or [{"id": "hook-1"}]
        for delivery in (stored[0]["id"], "hook-1"):
            go(account, f"GET {one}/deliveries/{{delivery_id}}", id=target, delivery_id=delivery)
            go(account, f"POST {one}/deliveries/{{delivery_id}}/replay", id=target, delivery_id=delivery)
        go(account, f"POST {one}/rotate", id=target)


def _workspaces(go: Go, admin: Client, account: Client) -> None:
    workspaces, one = "/api/v1/workspaces", "/api/v1/workspaces/{id}"
    slug = account.account_id[-20:]
    id = go(account, f"POST {workspaces}", {"name": "Team", "slug": slug}).json["id"]
    for wrong in ({"name": "Team", "slug": slug}, {"name": "T", "slug": "?"}, b"{"):
        go(account, f"POST {workspaces}", wrong)
    for query in ("?limit=1", "?limit=x"):
        go(account, f"GET {workspaces}", query=query)
        go(account, f"GET {one}/members", query=query, id=id)
        go(account, f"GET {one}/tokens", query=query, id=id)
        for client in (admin, account):
            go(client, "GET /api/v1/admin/workspaces", query=query)
    go(account, f"POST {one}/members", {"account": admin.account_id, "role": "viewer"}, id=id)
    for change in ({"account": admin.account_id, "role": "viewer"}, {"account": "x@", "role": "viewer"}, {"role": "x"}):
        go(account, f"POST {one}/members", change, id=id)
        for client in (admin, account):
            go(client, "POST /api/v1/admin/workspaces/{id}/members", change, id=id)
    for client in (admin, account):
        for target in (id, "workspace-1"):
            for operation in ("", "/usage", "/members", "/tokens", "/secrets", "/audit", "/export"):
                go(client, f"GET {one}{operation}", id=target)
            for body in ({"name": "Team"}, {"slug": "?"}, {"slug": account.account_id}, b"{"):
                go(client, f"PUT {one}", body, id=target)
            for body in ({"role": "viewer"}, {"role": "x"}):
                for member in (admin.account_id, account.account_id, "account-1"):
                    go(client, f"PUT {one}/members/{{account_id}}", body, id=target, account_id=member)
            for _ in range(2):
                go(client, f"POST {one}/secrets", {"key": "K", "value": "a long value"}, id=target)
            go(client, f"POST {one}/secrets", {"key": "?", "value": "x"}, id=target)
            go(client, f"DELETE {one}/secrets/{{key}}", id=target, key="X")
            go(client, f"DELETE {one}/tokens/{{token_id}}", id=target, token_id="x")
    go(account, f"DELETE {one}/secrets/{{key}}", id=id, key="K")
    token = {"name": "N", "scopes": ["read"]}
    made = go(account, "POST /api/v1/tokens", token, headers={"Flowrunner-Workspace": id}).json
    go(account, f"DELETE {one}/tokens/{{token_id}}", id=id, token_id=made["id"])
    go(account, f"POST {one}/members", {"account": "nobody@example.com", "role": "viewer"}, id=id)
    for client in (account, admin, admin):
        for target in (id, "workspace-1"):
            go(client, f"POST {one}/leave", id=target)
    go(account, f"POST {one}/members", {"account": admin.account_id, "role": "viewer"}, id=id)
    for client in (admin, account):
        go(client, f"DELETE {one}/members/{{account_id}}", id=id, account_id=admin.account_id)
    for member in (account.account_id, "account-1"):
        go(account, f"DELETE {one}/members/{{account_id}}", id=id, account_id=member)
    appointed = {"account": admin.account_id, "role": "viewer"}
    for target in (id, id, "workspace-1"):
        go(admin, "POST /api/v1/admin/workspaces/{id}/members", appointed, id=target)
    go(admin, f"DELETE {one}", id=id)
    for query in ("?name=x", "?name=Team", ""):
        go(account, f"DELETE {one}", query=query, id=id)
    go(account, f"DELETE {one}", id=account.account_id)


def _invitations(go: Go, admin: Client, account: Client) -> None:
    body: Any
    nobody, invited = Client(admin.url), "/api/v1/invitations"
    mine, path = "/api/v1/workspaces/{id}/invitations", {"id": account.account_id}
    for body in ({"email": admin.email, "role": "viewer"}, {"email": "x", "role": "viewer"}, b"{"):
        made = go(account, f"POST {mine}", body, **path)
        for client in (account, admin, nobody):
            go(client, f"POST {mine}", body, id="workspace-1")
            for query in ("?limit=1", "?limit=x"):
                go(client, f"GET {mine}", query=query, **path)
        for client in (admin, account, account):
            go(client, f"DELETE {mine}/{{invitation_id}}", **path, invitation_id=made.json.get("id", "x"))
    for client, use, more in (
        (account, "lookup", {}), (account, "accept", {}), (admin, "accept", {}),
        (nobody, "sign-up", {"name": "N", "password": PASSWORD}),
    ):  # fmt: skip
        email = admin.email if use == "accept" else f"new-{account.account_id}@example.com"
        made = go(admin, f"POST {mine}", {"email": email, "role": "viewer"}, id=admin.account_id)
        token = made.json["link"].partition("#")[2]
        for body in ({"token": token, **more}, {"token": token, **more}, {"token": "x", **more}, {"x": 1}, b"{"):
            go(client, f"POST {invited}/{use}", body)


def _password_resets(go: Go, admin: Client, account: Client) -> None:
    nobody, reset = Client(admin.url), "POST /api/v1/accounts/{id}/password-reset"
    other = admin.new_account()
    for client, id in ((nobody, "x"), (account, other.account_id), (admin, "x")):
        go(client, reset, id=id)
    token = go(admin, reset, id=other.account_id).json["link"].partition("#")[2]
    for body in ({"token": token, "password": "short"}, {"token": token, "password": PASSWORD}, {"token": "x"}, b"{"):
        for _ in range(2):
            go(nobody, "POST /api/v1/auth/new-password", body)
    for body in ({"email": other.email}, {}, b"{"):
        go(nobody, "POST /api/v1/auth/password-reset", body)
    for client in (nobody, account):
        go(client, "POST /api/v1/accounts/me/email-confirmation")
        for body in ({"token": "x"}, {}, b"{"):
            go(client, "POST /api/v1/accounts/me/email-confirmation/confirm", body)


def _accounts(go: Go, admin: Client, account: Client) -> None:
    accounts, one = "/api/v1/accounts", "/api/v1/accounts/{id}"
    body = {"name": "N", "email": f"tour-{account.account_id}@example.com", "password": PASSWORD, "role": "user"}
    new = go(admin, f"POST {accounts}", body).json["id"]
    for wrong in (body, {**body, "email": "x", "name": ""}, b"{"):
        go(admin, f"POST {accounts}", wrong)
    for client in (admin, account):
        go(client, f"GET {accounts}")
        go(client, f"POST {accounts}", {})
    go(admin, f"GET {accounts}", query="?role=user&limit=1")
    go(admin, f"GET {accounts}", query="?role=x")
    for id in (new, "account-1"):
        go(admin, f"GET {one}", id=id)
        go(admin, f"PUT {one}", {"name": "M"}, id=id)
        go(admin, f"DELETE {one}/second-factors", id=id)
        go(admin, f"DELETE {one}/identities", id=id)
        go(admin, f"DELETE {one}", query="?workspace=x", id=id)
        go(admin, f"DELETE {one}", query="?workspace=keep", id=id)
        go(admin, f"DELETE {one}", id=id)
        go(account, f"DELETE {one}", id=id)
    for change in ({"role": "admin"}, {"email": admin.email}, {"email": "x"}):
        go(account, f"PUT {one}", change, id=account.account_id)


def _tokens(go: Go, account: Client) -> None:
    tokens = "/api/v1/tokens"
    for body in ({"name": "N", "scopes": ["read"]}, {"name": "N", "scopes": ["run", "read"], "expires_in": "1h"}):
        id = go(account, f"POST {tokens}", body).json["id"]
    for wrong in ({"name": "N", "scopes": ["admin"]}, {"name": " ", "scopes": []}, {"expires_in": "?"}, b"{"):
        go(account, f"POST {tokens}", wrong)
    go(account, f"GET {tokens}")
    go(account, f"GET {tokens}", query="?limit=x")
    for _ in range(2):
        go(account, f"DELETE {tokens}/{{id}}", id=id)


def _pause(go: Go, admin: Client, account: Client) -> None:
    flow, workspace = "/api/v1/flows/{id}/retention", "/api/v1/workspaces/{id}/retention"
    for path, id in ((flow, account.new_flow(SMALLEST)), (workspace, account.account_id)):
        for target in (id, "none"):
            go(account, f"GET {path}", id=target)
            for rule in ({"max_age_seconds": 86400}, {"max_count": 0}, b"{"):
                go(account, f"PUT {path}", rule, id=target)
    for client in (admin, account):
        go(client, "GET /api/v1/admin/pause")
        go(client, "GET /api/v1/system")
        for body in ({"paused": False}, {"paused": 1}, b"{"):
            go(client, "PUT /api/v1/admin/pause", body)


def _keys(go: Go, admin: Client, account: Client) -> None:
    body: Any
    rotations = "/api/v1/keys/rotations"
    for body in ({"kinds": ["data", "master", "signing"]}, {"kinds": []}, {"kinds": ["x"]}, b"{"):
        for client in (admin, account):
            go(client, f"POST {rotations}", body)
    for client in (admin, account):
        go(client, f"GET {rotations}")
        go(client, "GET /api/v1/audit")
    go(admin, "GET /api/v1/audit", query="?action=login.succeeded&since=2020-01-01T00:00:00Z&limit=2")
    for query in ("?since=x", "?until=2020-01-01", "?outcome=x"):
        go(admin, "GET /api/v1/audit", query=query)
        go(account, "GET /api/v1/workspaces/{id}/audit", query=query, id=account.account_id)
    go(admin, "GET /api/v1/audit", query="?action=none", headers={"Accept": "application/x-ndjson"})
    go(admin, f"GET {rotations}", query="?limit=x")


def _identity(go: Go, nobody: Client, account: Client) -> None:
    body: Any
    for body in ({"username": account.email, "password": PASSWORD}, {"username": "x", "password": "y"}, {}, b"{"):
        go(nobody, "POST /api/v1/auth/login", body)
    for body in ({"token": "x", "name": "N", "email": "e@example.com", "password": PASSWORD}, {}, b"{"):
        go(nobody, "POST /api/v1/setup", body)
    go(nobody, "GET /api/v1/setup")
    for body in ({"preferences": {"theme": "dark"}}, {"preferences": 1}, b"{"):
        go(account, "PUT /api/v1/accounts/me/preferences", body)
    go(account, "GET /api/v1/accounts/me/preferences")
    other = Client(account.url).login(account.email, PASSWORD)
    for query in ("?limit=1", "?limit=x"):
        go(other, "GET /api/v1/sessions", query=query)
    go(account, "DELETE /api/v1/sessions")
    (one,) = go(account, "GET /api/v1/sessions").json["sessions"]
    other = Client(account.url).login(account.email, PASSWORD)
    for id in (one["id"], "x"):
        go(other, "DELETE /api/v1/sessions/{id}", id=id)
    account.token = other.token
    for query in ("", "?flows=1", "?flows=0"):
        go(account, "GET /api/v1/overview", query=query)
    for query in ("?buckets=3", "?buckets=0", "?since=2020-01-01", "?since=x"):
        go(account, "GET /api/v1/executions/histogram", query=query)
    tag = go(account, "GET /api/v1/node-types").headers["etag"]
    go(account, "GET /api/v1/node-types", headers={"If-None-Match": tag})
    _sign_on(go, nobody, account)
    _command_login(go, nobody, account)
    _second_factors(go, nobody, account)
    for operation in ("ws-ticket", "refresh", "logout"):
        go(account, f"POST /api/v1/auth/{operation}")


def _command_login(go: Go, nobody: Client, account: Client) -> None:
    verifier = "v" * 43
    challenge = hashlib.sha256(verifier.encode()).hexdigest()
    code = go(account, "POST /api/v1/auth/command-logins", {"challenge": challenge}).json["code"]
    for body in ({"code": code, "verifier": verifier}, {"code": code, "verifier": verifier}, {}, b"{"):
        go(nobody, "POST /api/v1/auth/command-logins/token", body)


def _sign_on(go: Go, nobody: Client, account: Client) -> None:
    go(nobody, "GET /api/v1/auth/methods")
    go(account, "GET /api/v1/identities")
    for body in ({"provider": "none"}, {}, b"{"):
        go(account, "POST /api/v1/identities", body)
    go(account, "DELETE /api/v1/identities/{id}", id="x")


def _second_factors(go: Go, nobody: Client, account: Client) -> None:
    body: Any
    factors = "/api/v1/second-factors"
    go(account, f"GET {factors}")
    for body in ({}, {"name": ""}, b"{"):
        go(account, f"POST {factors}/totp", body)
    made = go(account, f"POST {factors}/totp", {"name": "Phone"}).json
    go(account, f"POST {factors}/recovery-codes")
    for id, body in ((made["id"], {"code": "0"}), ("x", {"code": "000000"}), (made["id"], b"{")):
        go(account, f"POST {factors}/{{id}}/confirm", body, id=id)
    go(account, f"POST {factors}/{{id}}/confirm", {"code": code_of(made["secret"])}, id=made["id"])
    go(account, f"POST {factors}/recovery-codes")
    go(account, f"GET {factors}")
    go(account, f"POST {factors}/passkeys/options")
    for body in ({"challenge": "x", "passkey": {}}, {}, b"{"):
        go(account, f"POST {factors}/passkeys", body)
    login = go(nobody, "POST /api/v1/auth/login", {"username": account.email, "password": PASSWORD})
    challenge = login.error["details"]["second_factor"]["challenge"]
    code = code_of(made["secret"], steps=1)
    for body in ({"challenge": "x", "code": "1"}, {"challenge": challenge, "code": code}, {"challenge": "x"}, b"{"):
        go(nobody, "POST /api/v1/auth/second-factor", body)
    for id in (made["id"], "x"):
        go(account, f"DELETE {factors}/{{id}}", id=id)


def assert_names_what_was_created(account: Client, reply: Reply) -> None:
    """Check that the address in `Location` is one that the server has, and names the object of the answer."""
    location = reply.headers["location"]
    assert account.request("OPTIONS", location).status == 204, location
    named = reply.json.get("execution_id", reply.json.get("id", reply.json.get("key", location.rpartition("/")[2])))
    assert re.search(rf"[/=]{re.escape(named)}($|&)", location), (location, reply.json)


def test_s18_every_answer_is_as_described(document: Any, admin: Client, account: Client) -> None:
    described, replies = operations(document), tour(admin, account)
    components = closed(document["components"])

    assert replies.keys() == described.keys() - {"GET /metrics"}, "an operation that nobody has tried"
    wrong, successes = [], set()
    for name, answers in replies.items():
        for reply in answers:
            response = described[name]["responses"].get(str(reply.status))
            if response is None:
                wrong.append(f"{name} answers {reply.status}, which is not described: {reply.body[:200]!r}")
                continue
            if reply.status in (204, 304):
                assert reply.body == b"", name
                continue
            media_type = reply.headers["content-type"]
            assert media_type in response["content"], (name, media_type)
            if reply.status < 300:
                successes.add(name)
            if reply.status == 201:
                assert_names_what_was_created(account, reply)
            if media_type != "application/json":
                continue
            if "headers" in response:
                assert {header.lower() for header in response["headers"]} <= reply.headers.keys(), name
            schema = {**response["content"]["application/json"]["schema"], "components": components}
            wrong += [
                f"{name} {reply.status}: {error.instance_path} {error.message}"
                for error in VALIDATOR(schema).iter_errors(reply.json)
            ]
    assert wrong == []
    # The set-up of a server that is set up cannot succeed, and this one has no address for links to approvals and for
    # passkeys, no mail server, and no provider of single sign-on.
    without = {"POST /api/v1/setup", "POST /api/v1/auth/password-reset"}
    without |= {"DELETE /api/v1/executions/{id}/approvals/{node}/link"}
    without |= {f"POST /api/v1/second-factors/passkeys{end}" for end in ("", "/options")}
    without |= {f"POST /api/v1/accounts/me/email-confirmation{end}" for end in ("", "/confirm")}
    without |= {"POST /api/v1/identities", "DELETE /api/v1/identities/{id}"}
    assert successes == replies.keys() - without


def test_the_check_of_answers_sees_a_field_that_is_not_described(document: Any) -> None:
    schema = {"$ref": "#/components/schemas/Message", "components": closed(document["components"])}

    assert not list(Draft202012Validator(schema).iter_errors({"message": "x"}))
    assert list(Draft202012Validator(schema).iter_errors({"message": "x", "password_hash": "y"}))
    assert list(Draft202012Validator(schema).iter_errors({}))


def test_every_schema_of_the_document_is_used_by_something_in_it() -> None:
    document = openapi_document([route for router in ROUTERS for route in router.routes])
    used = {match[1] for match in re.finditer(r'"#/components/schemas/([^"]+)"', json.dumps(document))}

    assert document["components"]["schemas"].keys() - used == set()


def test_a_route_names_the_right_that_it_needs_and_a_body_that_may_be_longer_than_usual() -> None:
    paths = openapi_document([route for router in ROUTERS for route in router.routes])["paths"]

    def extension(name: str, *routes: str) -> list[Any]:
        words = [route.split() for route in routes]
        return [paths[f"/api/v1{path}"][method].get(name) for method, path in words]

    assert extension(
        "x-right", "get /flows", "post /flows", "post /flows/{id}/run", "post /tokens", "put /admin/pause",
    ) == ["read", "write", "run", "tokens", "admin"]  # fmt: skip
    assert extension(
        "x-max-bytes", "post /flows", "post /flows:batch", "post /setup", "post /tokens", "get /flows"
    ) == [3 * 1024**2, 16 * 1024**2, 32 * 1024, None, None]  # fmt: skip
