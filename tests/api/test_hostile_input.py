"""Whatever is sent, the answer is never the server's own failure."""

import io
import json
import re
import secrets
import time
import urllib.parse
import zipfile
from collections.abc import Iterator
from typing import Any, Final

import pytest

from api.shapes import SMALLEST
from support.client import Client, Reply, raw_request, send_raw
from support.scoreboard import Scoreboard
from support.server import Server

TEXTS: Final = (
    "", " ", "\t\r\n", "'", '"', "''", "\\", "'; DROP TABLE flows; --", "' OR '1'='1", "1; SELECT 1", "%", "_", "*",
    "?", "${secrets.X}", "${7*7}", "{{7*7}}", "$${", "<script>alert(1)</script>", "../../../etc/passwd", "..\\..\\x",
    "file:///etc/passwd", "\u202e\u2066", "\u2028\u2029", "\ufeff", "\uffff", "e\u0301", "ﬁ", "İ", "ß", "🙂" * 50,
    "\x01\x02\x1b[31m", "\x7f", "\x85", "a" * 100_000, "null", "true", "NaN", "-0", "0x1F", "1e999", "__proto__",
    "constructor", "%00", "%s%n", "{0.__class__}", "\U000e0001", "\U0010ffff",
)  # fmt: skip
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5, 2**63, 2**64 - 1, 1e308, [], [[]], {}, {"a": {}}, [None], ["x"] * 1000,
    {"$ref": "#"}, {"__class__": "x"}, {str(n): n for n in range(1000)},
)  # fmt: skip
SEGMENTS: Final = (
    b"%00", b"%0a", b"%0d%0aX:y", b"%20", b"%2e%2e", b"%2e%2e%2f", b"..", b".", b"%2f", b"%5c", b"%25", b"%252f",
    b"%ff", b"%c0%af", b"%ed%a0%80", b"%f0%9f%99%82", b"%EF%BB%BF", b"'", b"%22", b"%27%20OR%201=1--", b"*", b"%25",
    b"_", b"$", b"{id}", b"%7Bid%7D", b"null", b"undefined", b"0", b"-1", b"99999999999999999999", b"a" * 2000, b"%",
    b"%zz", b"a;b=c", b"a,b", b"a:b", b"a@b", b"[1]", b"<x>", b"..%c0%af", b"run", b"logs", b"flow-1%00.json",
    b"\xc3\xa9", b"a|b", b"`x`", b"a\\b",
)  # fmt: skip
QUERIES: Final = (
    b"limit=-1", b"limit=1e9", b"limit=9999999999999999999999", b"limit=%00", b"limit=1&limit=2", b"limit[]=1",
    b"limit=\xd9\xa1", b"limit=1_0", b"offset=9007199254740992", b"offset=9223372036854775808", b"offset=-0",
    b"offset=1.0", b"tag=%00", b"tag=%ff", b"tag=%ed%a0%80", b"tag='", b"tag=%27%20OR%201=1", b"tag=" + b"x" * 5000,
    b"status=%00", b"status=,", b"status=running,,", b"status=completed%27", b"flow_id=%00", b"flow_id=%ff",
    b"flow_id=%25", b"level=%00", b"level=debug&level=info", b"role=%00", b"role=admin%27--", b"&&&&", b"=", b"%",
    b"%ff=%ff", b"a=" * 500, b"&".join(b"a=1" for _ in range(2000)), b"after=%00", b"limit=10;offset=2", b"?", b"#",
    b"limit=%EF%BC%91", b"offset=+1", b"limit= 5",
)  # fmt: skip
VALUES_OF_QUERIES: Final = (
    b"", b"%00", b"%ff", b"%ed%a0%80", b"'", b"%27%20OR%201=1--", b"%25", b"_", b"*", b"-1", b"1e9", b"9" * 30, b"NaN",
    b"null", b"true", b"2026-11-25", b"0000-00-00T00:00:00Z", b"9999-12-31T23:59:59.999999%2B23:59", b"T", b"x" * 5000,
    b"%F0%9F%99%82", b"%E2%80%A8", b"%0d%0aX:y", b"..%2f..%2fetc%2fpasswd", b"${secrets.X}", b"a&limit=1", b"[1]",
)  # fmt: skip
SQL: Final = (
    "'", "''", '"', "' OR '1'='1", "' OR 1=1 --", "\" OR 1=1 --", "') OR ('1'='1", "1 OR 1=1", "' AND 1=2 --",
    "' UNION SELECT id, email, password_hash FROM accounts --", "' UNION ALL SELECT NULL,NULL,NULL --",
    "'; DROP TABLE flows; --", "'; UPDATE accounts SET role='admin'; --", "'/**/OR/**/1=1", "' OR randomblob(1e9) --",
    "' OR (SELECT 1 FROM (SELECT count(*) FROM sqlite_master)) --", "%' OR 1=1 --", "' LIKE '%", "\\' OR 1=1 --",
    "'||(SELECT hex(wrapped) FROM data_keys)||'", "1; ATTACH DATABASE '/tmp/x' AS x", "' ORDER BY 99 --",
    "x' COLLATE x",
    "' OR 1=1 LIMIT 1 OFFSET 1 --", "ʼ OR 1=1", "＇ OR 1=1 --",
)  # fmt: skip
DOCUMENTS: Final = (
    "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n",
    "nodes: &n\n  a: *n\n",
    "<<: {nodes: {}}\n",
    "nodes:\n" + "".join(f"  n{i}: {{type: return}}\n" for i in range(11_000)),
    "[" * 5000,
    "{a: " * 5000,
    "- " * 20_000,
    "? " * 5000,
    "nodes: " + "{a: " * 49 + "x" + "}" * 49,
    "!!python/object/apply:os.system ['id']",
    "nodes: !x {}",
    "%YAML 1.1\n---\nnodes: {}",
    "%TAG ! tag:x,2000:\n---\nnodes: {}",
    "nodes: {a: {type: return, params: {value: 1:20:30}}}",
    "nodes: {a: {type: return, params: {value: 2001-01-01}}}",
    "nodes: {a: {type: return, params: {value: .inf}}}",
    "nodes: {a: {type: return, params: {value: .nan}}}",
    "nodes: {a: {type: return, params: {value: 0o17}}}",
    "nodes: {a: {type: return, params: {value: " + "9" * 5000 + "}}}",
    "nodes: {a: {type: return, params: {value: 1e999}}}",
    'nodes: {a: {type: return, params: {value: "\\ud800"}}}',
    'nodes: {a: {type: return, params: {value: "\\0"}}}',
    'nodes: {"a\\0b": {type: return}}',
    'nodes: {"": {type: return}}',
    "nodes: {? [1, 2] : {type: return}}",
    "nodes: {1: {type: return}, 1.0: {type: return}, true: {type: return}}",
    "nodes: {a: {type: [return]}}",
    "nodes: {a: {type: {x: y}}}",
    "nodes: [a, b]",
    "nodes: text",
    "nodes: {a: text}",
    "nodes: {a: null}",
    "nodes: {a: {type: return, next: [a]}}",
    "nodes: {a: {type: return, next: {default: [a]}}}",
    "nodes: {a: {type: log, params: {message: '" + "${" * 5000 + "'}}}",
    "nodes: {a: {type: log, params: {message: '${" + "a." * 5000 + "b}'}}}",
    "nodes: {a: {type: log, params: {message: '${a" + "[0]" * 5000 + "}'}}}",
    "nodes: {a: {type: log, params: {message: '${nodes[" + "9" * 5000 + "]}'}}}",
    "nodes: {a: {type: log, params: {message: '${input.__class__}'}}}",
    "nodes: {a: {type: log, params: [1]}}",
    "nodes: {a: {type: delay, params: {duration: 1e99d}}}",
    "nodes: {a: {type: delay, params: {duration: " + "9" * 400 + "d}}}",
    "nodes: {a: {type: delay, params: {until: 99999-01-01T00:00:00Z}}}",
    "nodes: {a: {type: delay, params: {until: 0001-01-01T00:00:00+23:59}}}",
    "nodes: {a: {type: delay, params: {duration: PT" + "9" * 400 + "S}}}",
    "nodes: {a: {type: log, params: {message: x}, timeout: " + "9" * 400 + "d}}",
    "nodes: {a: {type: log, params: {message: x}, retry: {max: 1e400}}}",
    "nodes: {a: {type: log, params: {message: x}, retry: {jitter: .nan, backoff: .inf}}}",
    "metadata: {name: [x], version: {}, tags: {a: b}, description: 5}\nnodes: {a: {type: return}}",
    "start: {}\nnodes: {a: {type: return}}",
    "start: [a]\nnodes: {a: {type: return}}",
    "vars: [1]\nnodes: {a: {type: return}}",
    "vars: {a: '${secrets.X}'}\nnodes: {a: {type: return}}",
    "defaults: {timeout: {}, retry: []}\nnodes: {a: {type: return}}",
    "\ud83d\ude42: 1",
    "a: |\n" + " x\n" * 50_000,
    "# only a comment",
    "...",
    "---\n---\n",
    "\x85\x0b",
    "'",
    '"\\x',
    "*a",
    "&a",
    "a: b: c",
    "\t",
)

# What is sent to each operation that takes a body; a field at a time is then replaced by something hostile.
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "POST /api/v1/auth/login": {"username": "a@example.com", "password": "x"},
    "POST /api/v1/auth/command-logins": {"challenge": "ab" * 32},
    "POST /api/v1/auth/command-logins/token": {"code": "x", "verifier": "x" * 43},
    "POST /api/v1/auth/second-factor": {"challenge": "x", "code": "000000"},
    "POST /api/v1/auth/password-reset": {"email": "a@example.com"},
    "POST /api/v1/auth/new-password": {"token": "x", "password": "five-blue-otters"},
    "POST /api/v1/second-factors/totp": {"name": "N"},
    "POST /api/v1/second-factors/{factor}/confirm": {"code": "000000"},
    "POST /api/v1/second-factors/passkeys": {"challenge": "x", "passkey": {}, "name": "N"},
    "POST /api/v1/identities": {"provider": "none", "next": "/"},
    "POST /api/v1/invitations/lookup": {"token": "x"},
    "POST /api/v1/invitations/accept": {"token": "x"},
    "POST /api/v1/accounts/me/email-confirmation/confirm": {"token": "x"},
    "POST /api/v1/invitations/sign-up": {"token": "x", "name": "N", "password": "five-blue-otters"},
    "POST /api/v1/setup": {"token": "x", "name": "N", "email": "a@example.com", "password": "five-blue-otters"},
    "POST /api/v1/flows": {"name": "N", "description": "", "definition": SMALLEST, "tags": []},
    "POST /api/v1/flows/validate": {"definition": SMALLEST},
    "POST /api/v1/flows/graph": {"definition": SMALLEST},
    "POST /api/v1/nodes/try": {"definition": SMALLEST, "node": "only", "input": {}, "results": {}, "index": 0},
    "POST /api/v1/flows/test": {"definition": SMALLEST},
    "PUT /api/v1/flows/{flow}": {"name": "N", "description": "", "definition": SMALLEST, "tags": []},
    "PUT /api/v1/flows/by-name/{name}": {"description": "", "definition": SMALLEST, "tags": [], "disabled": False},
    "POST /api/v1/flows:batch": {"flows": [{"name": "N", "definition": SMALLEST}]},
    "PUT /api/v1/flows/{flow}/retention": {"max_age_seconds": 86400, "max_count": 1},
    "POST /api/v1/flows/{flow}/move": {"workspace": "nowhere"},
    "POST /api/v1/flows/{flow}/copy": {"workspace": None, "name": "N"},
    "POST /api/v1/flows/{flow}/run": {"input": {}},
    "POST /api/v1/flows/by-name/{name}/run": {"input": {}},
    "POST /api/v1/executions/{execution}/rerun": {"from": "only", "input": {}, "revision": 1},
    "POST /api/v1/executions/{execution}/signals/k": {"payload": {}},
    "POST /api/v1/executions/{execution}/approvals/only": {"approved": True, "data": {}},
    "PUT /api/v1/accounts/me/preferences": {"preferences": {"theme": "dark"}},
    "POST /api/v1/executions:batch": {"action": "rerun", "ids": ["x"], "filter": None, "dry_run": True},
    "POST /api/v1/executions:signal": {"key": "k", "payload": {}, "filter": {"label": ["a:b"]}},
    "PUT /api/v1/config/{name}": {"value": {}},
    "PUT /api/v1/store/entry": {"value": {}, "ttl": "1d"},
    "POST /api/v1/callbacks": {
        "name": "N",
        "url": "http://127.0.0.1/",
        "events": ["execution.failed"],
        "format": "slack",
    },
    "PUT /api/v1/callbacks/{callback}": {"name": "N", "events": ["execution.failed"]},
    "POST /api/v1/triggers/{trigger}/backfill": {"from": "2026-01-01", "to": "2026-01-02", "dry_run": True},
    "POST /api/v1/tokens": {"name": "N", "scopes": ["read"], "expires_in": "1d"},
    "POST /api/v1/accounts": {"name": "N", "email": "a@", "password": "x", "role": "user"},
    "PUT /api/v1/accounts/{account}": {"name": "N"},
    "POST /api/v1/accounts/{account}/secrets": {"key": "K", "value": "long enough"},
    "POST /api/v1/workspaces": {"name": "N", "slug": None},
    "PUT /api/v1/workspaces/{workspace}": {"name": "N", "slug": None},
    "POST /api/v1/workspaces/{workspace}/invitations": {"email": "a@example.com", "role": "viewer", "expires_in": "1d"},
    "PUT /api/v1/workspaces/{workspace}/retention": {"max_age_seconds": 86400, "max_count": 1},
    "POST /api/v1/workspaces/{workspace}/members": {"account": "a@example.com", "role": "viewer"},
    "PUT /api/v1/workspaces/{workspace}/members/{account}": {"role": "admin"},
    "POST /api/v1/workspaces/{workspace}/secrets": {"key": "K", "value": "long enough"},
    "POST /api/v1/admin/workspaces/{workspace}/members": {"account": "a@example.com", "role": "viewer"},
    "POST /api/v1/keys/rotations": {"kinds": ["nothing"]},
    # Of the values, `False` comes after `True`.
    "PUT /api/v1/admin/pause": {"paused": False},
}
FOR_ADMINS: Final = (
    "POST /api/v1/accounts", "POST /api/v1/admin/workspaces/{workspace}/members", "POST /api/v1/keys/rotations",
    "PUT /api/v1/admin/pause",
)  # fmt: skip
IMPORT: Final = "POST /api/v1/flows/import"
# Two values that mean the operations above and those of the document alike.
_ANY: Final = re.compile(r"\{\w+\}|(?<=signals/)k|(?<=approvals/)only")

ROW: Final = "hostile inputs: answers of 500 and above"


@pytest.fixture(autouse=True)
def lives(server: Server) -> Iterator[None]:
    """After each of these tests the same process still serves."""
    before, written = server.pid, len(server.log)
    yield
    assert not server.has_ended()
    assert server.pid == before
    assert server.client().get("/readyz").status == 200
    assert "request.crashed" not in server.log[written:]


def bad(replies: Iterator[tuple[Any, Reply]], scoreboard: Scoreboard) -> list[Any]:
    """What was answered with a failure of the server, or not at all, or not as JSON."""
    found, cases = [], 0
    for what, reply in replies:
        cases += 1
        is_json = reply.headers.get("content-type") == "application/json"
        if not 200 <= reply.status < 500 or (reply.status not in (304, 400) and not is_json):
            found.append((what, reply.status))
    scoreboard.count(ROW, cases=cases, failures=len(found))
    return found


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return server.client().get("/api/v1/openapi.json").json


def test_every_operation_that_takes_a_body_is_attacked(document: Any) -> None:
    with_body = {
        f"{method.upper()} {_ANY.sub('*', path)}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }

    assert with_body == {_ANY.sub("*", operation) for operation in (*FIELDS, IMPORT)}


def with_one_replaced(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with something hostile for a field of it, or of the objects in its lists."""
    for field, value in body.items():
        # Hashing each of many passwords would take long and show nothing new.
        texts = TEXTS[::8] if field in ("password", "username") else TEXTS
        for hostile in (*VALUES, *texts):
            yield {**body, field: hostile}
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict):
                for replaced in with_one_replaced(item):
                    yield {**body, field: [replaced]}


@pytest.mark.parametrize("operation", FIELDS)
def test_s43_s57_hostile_bodies_are_answered(
    account: Client, admin: Client, scoreboard: Scoreboard, operation: str
) -> None:
    method, path = operation.split()
    flow = account.new_flow(SMALLEST)
    workspace = account.post("/api/v1/workspaces", {"name": "T", "slug": f"t-{secrets.token_hex(6)}"}).json["id"]
    account.new_flow(f"triggers: {{t: {{type: schedule, every: 1d}}}}\n{SMALLEST}")
    callback = account.post("/api/v1/callbacks", FIELDS["POST /api/v1/callbacks"]).json["id"]
    factor = account.post("/api/v1/second-factors/totp", {"name": "N"}).json["id"]
    path = path.format(
        flow=flow, factor=factor, name="A%20flow", account=account.account_id, execution=account.run(flow),
        workspace=workspace, callback=callback, trigger=account.get("/api/v1/triggers").json["triggers"][0]["id"],
    )  # fmt: skip
    caller = admin if operation in FOR_ADMINS else account

    def replies() -> Iterator[tuple[Any, Reply]]:
        bodies: list[Any] = [*VALUES, *with_one_replaced(FIELDS[operation])]
        bodies += [{**FIELDS[operation], text: "x"} for text in TEXTS]
        for body in bodies:
            data = json.dumps(body).encode()
            yield (data[:120], caller.request(method, path, data, {"Content-Type": "application/json"}))

    assert bad(replies(), scoreboard) == []


def test_s43_s57_broken_archives_are_answered(account: Client, scoreboard: Scoreboard) -> None:
    """Each byte of an archive wrong, and the archive cut off at each."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("N.yaml", SMALLEST)
    whole = written.getvalue()
    method, path = IMPORT.split()

    def sent(body: bytes) -> Reply:
        return account.request(method, path, body, {"Content-Type": "application/zip"})

    def replies() -> Iterator[tuple[Any, Reply]]:
        for at, byte in enumerate(whole):
            yield ("wrong at", at), sent(whole[:at] + bytes([byte ^ 0xFF]) + whole[at + 1 :])
            yield ("cut off at", at), sent(whole[:at])

    assert sent(whole).status == 200
    assert bad(replies(), scoreboard) == []
    assert sent(whole).status == 200


def test_hostile_inputs_run(account: Client) -> None:
    flow = account.new_flow("nodes:\n  a: {type: log, params: {message: 'got ${flow.input.x}', data: '${input}'}}\n")

    ids = [account.run(flow, {"x": text, text: [text]}) for text in TEXTS]

    assert {account.ended(id)["status"] for id in ids} <= {"completed", "failed"}
    assert "internal" not in str([account.execution(id).get("error") for id in ids])


def with_path_parameters(document: Any) -> Iterator[tuple[str, str]]:
    """Each operation once for every place in its path: `GET`, `/api/v1/flows/@/revisions/1`."""
    for path, operations in document["paths"].items():
        names = re.findall(r"\{\w+\}", path)
        for method in operations:
            for name in names:
                yield method.upper(), re.sub(r"\{\w+\}", "1", path.replace(name, "@"))


def test_s45_s46_s57_hostile_paths_are_answered(account: Client, document: Any, scoreboard: Scoreboard) -> None:
    headers = f"Authorization: Bearer {account.token}\r\n".encode()
    templates = [*with_path_parameters(document), ("GET", "/@"), ("GET", "/api/@/flows"), ("GET", "/ws/executions/@")]

    def replies() -> Iterator[tuple[Any, Reply]]:
        for method, template in templates:
            for segment in SEGMENTS:
                target = template.encode().replace(b"@", segment)
                reply = raw_request(account.address, target, method=method.encode(), headers=headers)
                for content in (b"root:", b"flowrunner.db", b"Traceback", b"sqlite"):
                    assert content not in reply.body, target
                yield (method, target), reply

    assert len(templates) > 30
    assert bad(replies(), scoreboard) == []


def with_query_parameters(document: Any) -> Iterator[tuple[str, str]]:
    """The path and the name of each query parameter there is."""
    for path, operations in document["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query":
                yield re.sub(r"\{\w+\}", "1", path), parameter["name"]


def test_s20_s45_s57_hostile_queries_are_answered(admin: Client, document: Any, scoreboard: Scoreboard) -> None:
    headers = f"Authorization: Bearer {admin.token}\r\n".encode()
    named = list(with_query_parameters(document))

    def replies() -> Iterator[tuple[Any, Reply]]:
        for path in dict.fromkeys(path for path, _ in named):
            for query in QUERIES:
                yield (path, query[:80]), raw_request(admin.address, f"{path}?".encode() + query, headers=headers)
        for path, name in named:
            for value in VALUES_OF_QUERIES:
                target = f"{path}?{name}=".encode() + value
                yield target[:120], raw_request(admin.address, target, headers=headers)

    assert len(named) > 15
    assert bad(replies(), scoreboard) == []


@pytest.mark.parametrize("payload", SQL)
def test_s45_sql_in_a_value_is_a_value(account: Client, admin: Client, payload: str) -> None:
    """Of what a tool for SQL injection tries: true and false conditions, unions, stacked statements, comments."""
    other = admin.new_account().new_flow(SMALLEST, tags=["theirs"])
    mine = account.new_flow(SMALLEST, name=payload, tags=[payload])
    quoted = urllib.parse.quote(payload, safe="")

    listed = account.get("/api/v1/flows", tag=payload).json

    assert [flow["id"] for flow in listed["flows"]] == [mine], "it finds what has this tag, and nothing else"
    assert account.get("/api/v1/flows", tag=f"theirs{payload}").json["total"] == 0
    assert account.get(f"/api/v1/flows/{other}{quoted}").status == 404
    assert account.get(f"/api/v1/flows/{mine}{quoted}").status == 404
    assert account.get("/api/v1/executions", flow_id=payload).json["total"] == 0
    assert account.get("/api/v1/executions", status=payload).status == 422
    assert account.get("/api/v1/flows", limit=payload).status == 422
    assert account.get(f"/api/v1/flows/{mine}").json["name"] == payload


def test_s42_s57_hostile_documents_are_answered_soon(account: Client, scoreboard: Scoreboard) -> None:
    slow = []

    def replies() -> Iterator[tuple[Any, Reply]]:
        for document in DOCUMENTS:
            begun = time.monotonic()
            yield document[:80], account.post("/api/v1/flows", {"name": "N", "definition": document})
            if time.monotonic() - begun > 5:
                slow.append(document[:80])

    assert bad(replies(), scoreboard) == []
    assert slow == []


def test_documents_that_are_saved_also_run(account: Client) -> None:
    saved = 0
    for document in DOCUMENTS:
        reply = account.post("/api/v1/flows", {"name": "N", "definition": document})
        if reply.status == 201:
            saved += 1
            started = account.post(f"/api/v1/flows/{reply.json['id']}/run")
            assert started.status == 201, document[:80]
            found = account.until_it_waits(started.json["execution_id"])
            assert "internal" not in found.get("error", ""), document[:80]
    assert saved > 0


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Bearer  x", "bearer x", "Bearer x y", "Bearer " + "x" * 8000, "Bearer \u00e9", "Bearer \t",
        "Basic " + "A" * 1000, "Negotiate", "Bearer ../../x", "Bearer eyJ", "Bearer " + "." * 100, "Digest a=b",
    ],
)  # fmt: skip
def test_hostile_authorization_is_a_401(server: Server, value: str) -> None:
    reply = raw_request(
        server.client().address, b"/api/v1/flows", headers=b"Authorization: " + value.encode("latin-1") + b"\r\n"
    )

    assert reply.status == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", ""), ("Idempotency-Key", "x" * 256), ("Idempotency-Key", "a b"),
        ("Idempotency-Key", "\u00e9"), ("Idempotency-Key", "'"), ("Content-Length", "-1"), ("Content-Length", "x"),
        ("Content-Length", "1e3"), ("Content-Length", "00"), ("Transfer-Encoding", "gzip"), ("Expect", "200-ok"),
        ("Range", "bytes=0-"), ("If-Match", "*"), ("Accept", "text/html"), ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "evil"), ("Upgrade", "h2c"), ("Connection", "Upgrade"), ("Cookie", "a" * 8000),
        ("Accept-Encoding", "gzip;q=x"), ("Host", "evil.example"), ("X-Request-ID", "\u00e9"), ("Upgrade", "websocket"),
    ],
)  # fmt: skip
def test_hostile_headers_are_answered(account: Client, name: str, value: str) -> None:
    flow = account.new_flow(SMALLEST)
    headers = f"Authorization: Bearer {account.token}\r\n{name}: {value}\r\n".encode("latin-1")

    reply = raw_request(account.address, f"/api/v1/flows/{flow}/run".encode(), method=b"POST", headers=headers)

    assert reply.status < 500


def asking(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, b"Host: localhost", b"Connection: close", *headers, b"", body))


def upgrading(target: bytes, *, key: bytes = b"dGhlIHNhbXBsZSBub25jZQ==", version: bytes = b"13") -> bytes:
    lines = (b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Upgrade: websocket", b"Connection: Upgrade")
    keys = (b"Sec-WebSocket-Key: " + key, b"Sec-WebSocket-Version: " + version) if key else ()
    return b"\r\n".join((*lines, *keys, b"", b""))


POST: Final = b"POST /healthz HTTP/1.1"
CHUNKED: Final = b"Transfer-Encoding: chunked"
GARBAGE: Final = (
    b"",
    b"\r\n\r\n",
    b"\x00" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"GET / \r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n",
    b"GET /healthz HTTP/1.1\r\n Host: localhost\r\nConnection: close\r\n\r\n",
    asking(b"GET http://127.0.0.1/ HTTP/1.1"),
    asking(b"GET //evil.example/ HTTP/1.1"),
    asking(b"CONNECT x:1 HTTP/1.1"),
    asking(b"GET * HTTP/1.1"),
    asking(b"GET / HTTP/1.1", b"X: " + b"a" * 200_000),
    asking(b"GET / HTTP/1.1", *[b"X: y"] * 20_000),
    asking(b"GET /" + b"a" * 200_000 + b" HTTP/1.1"),
    asking(POST, b"Content-Length: 1", b"Content-Length: 2", body=b"ab"),
    asking(POST, b"Content-Length: 3", CHUNKED, body=b"0\r\n\r\n"),
    asking(POST, CHUNKED, body=b"zz\r\n\r\n"),
    asking(POST, CHUNKED, body=b"ffffffffffffffffff\r\n"),
    upgrading(b"/ws/executions/x", key=b""),
    upgrading(b"/ws/executions/x", key=b"x", version=b"99"),
    upgrading(b"/ws/executions/%00"),
    upgrading(b"/ws/executions/%ff?after=%ff"),
    upgrading(b"/nothing"),
    upgrading(b"/api/v1/flows"),
)


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_s43_garbage_on_the_wire_is_no_failure_of_the_server(
    server: Server, scoreboard: Scoreboard, number: int
) -> None:
    answer = send_raw(server.client().address, GARBAGE[number], seconds=1.0)

    scoreboard.count(ROW, cases=1, failures=answer.startswith(b"HTTP/1.1 5"))
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
    assert b"Traceback" not in answer
