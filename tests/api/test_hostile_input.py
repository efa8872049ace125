"""Whatever is sent, the answer is never the server's own failure."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from api.shapes import SMALLEST
from support.client import Client, Reply, raw_request, send_raw
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

OPERATIONS: Final = (
    "POST /api/v1/auth/login", "POST /api/v1/setup", "POST /api/v1/flows", "PUT /api/v1/flows/{flow}",
    "POST /api/v1/flows/{flow}/run", "POST /api/v1/accounts", "PUT /api/v1/accounts/{account}",
    "POST /api/v1/accounts/{account}/secrets",
)  # fmt: skip
FIELDS: Final = {
    "POST /api/v1/auth/login": {"username": "a@example.com", "password": "x"},
    "POST /api/v1/setup": {"token": "x", "name": "N", "email": "a@example.com", "password": "five-blue-otters"},
    "POST /api/v1/flows": {"name": "N", "description": "", "definition": SMALLEST, "tags": []},
    "PUT /api/v1/flows/{flow}": {"name": "N", "description": "", "definition": SMALLEST, "tags": []},
    "POST /api/v1/flows/{flow}/run": {"input": {}},
    "POST /api/v1/accounts": {"name": "N", "email": "a@", "password": "x", "role": "user"},
    "PUT /api/v1/accounts/{account}": {"name": "N"},
    "POST /api/v1/accounts/{account}/secrets": {"key": "K", "value": "long enough"},
}


@pytest.fixture(autouse=True)
def lives(server: Server) -> Iterator[None]:
    """After each of these tests the same process still serves."""
    before, written = server.pid, len(server.log)
    yield
    assert not server.has_ended()
    assert server.pid == before
    assert server.client().get("/readyz").status == 200
    assert "request.crashed" not in server.log[written:]


def bad(replies: Iterator[tuple[Any, Reply]]) -> list[Any]:
    """What was answered with a failure of the server, or not at all, or not as JSON."""
    return [
        (what, reply.status)
        for what, reply in replies
        if not 200 <= reply.status < 500
        or (reply.status != 400 and reply.headers.get("content-type") != "application/json")
    ]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_hostile_bodies_are_answered(account: Client, operation: str) -> None:
    method, path = operation.split()
    flow = account.new_flow(SMALLEST)
    path = path.format(flow=flow, account=account.account_id)

    def replies() -> Iterator[tuple[Any, Reply]]:
        bodies: list[Any] = list(VALUES)
        for field in FIELDS[operation]:
            # Hashing each of many passwords would take long and show nothing new.
            texts = TEXTS[::8] if field in ("password", "username") else TEXTS
            bodies += [{**FIELDS[operation], field: value} for value in (*VALUES, *texts)]
        bodies += [{**FIELDS[operation], text: "x"} for text in TEXTS]
        for body in bodies:
            data = json.dumps(body).encode()
            yield (data[:120], account.request(method, path, data, {"Content-Type": "application/json"}))

    assert bad(replies()) == []


def test_hostile_inputs_run(account: Client) -> None:
    flow = account.new_flow("nodes:\n  a: {type: log, params: {message: 'got ${flow.input.x}', data: '${input}'}}\n")

    ids = [account.run(flow, {"x": text, text: [text]}) for text in TEXTS]

    assert {account.ended(id)["status"] for id in ids} <= {"completed", "failed"}
    assert "internal" not in str([account.execution(id).get("error") for id in ids])


@pytest.mark.parametrize(
    "template",
    [
        "GET /api/v1/flows/@", "PUT /api/v1/flows/@", "DELETE /api/v1/flows/@", "POST /api/v1/flows/@/run",
        "GET /api/v1/executions/@", "DELETE /api/v1/executions/@", "GET /api/v1/executions/@/logs",
        "GET /api/v1/accounts/@", "PUT /api/v1/accounts/@", "DELETE /api/v1/accounts/@",
        "GET /api/v1/accounts/@/secrets", "DELETE /api/v1/accounts/me/secrets/@", "GET /@", "GET /api/@/flows",
    ],
)  # fmt: skip
def test_hostile_paths_are_answered(account: Client, template: str) -> None:
    method, path = template.encode().split()
    headers = f"Authorization: Bearer {account.token}\r\n".encode()

    def replies() -> Iterator[tuple[Any, Reply]]:
        for segment in SEGMENTS:
            yield segment, raw_request(account.address, path.replace(b"@", segment), method=method, headers=headers)

    assert bad(replies()) == []


@pytest.mark.parametrize("path", ["flows", "executions", "accounts", "executions/exec-1/logs"])
def test_hostile_queries_are_answered(admin: Client, path: str) -> None:
    headers = f"Authorization: Bearer {admin.token}\r\n".encode()

    def replies() -> Iterator[tuple[Any, Reply]]:
        for query in QUERIES:
            target = f"/api/v1/{path}?".encode() + query
            yield query[:80], raw_request(admin.address, target, headers=headers)

    assert bad(replies()) == []


def test_hostile_documents_are_answered_soon(account: Client) -> None:
    slow = []

    def replies() -> Iterator[tuple[Any, Reply]]:
        for document in DOCUMENTS:
            begun = time.monotonic()
            yield document[:80], account.post("/api/v1/flows", {"name": "N", "definition": document})
            if time.monotonic() - begun > 5:
                slow.append(document[:80])

    assert bad(replies()) == []
    assert slow == []


def test_documents_that_are_saved_also_run(account: Client) -> None:
    for document in DOCUMENTS:
        reply = account.post("/api/v1/flows", {"name": "N", "definition": document})
        if reply.status == 201:
            started = account.post(f"/api/v1/flows/{reply.json['id']}/run")
            assert started.status == 201, document[:80]
            found = account.reaching(
                started.json["execution_id"], frozenset({"completed", "failed", "cancelled", "waiting"})
            )
            assert "internal" not in found.get("error", ""), document[:80]


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
    return b"\r\n".join((line, b"Host: x", b"Connection: close", *headers, b"", body))


def upgrading(target: bytes, *, key: bytes = b"dGhlIHNhbXBsZSBub25jZQ==", version: bytes = b"13") -> bytes:
    lines = (b"GET " + target + b" HTTP/1.1", b"Host: x", b"Upgrade: websocket", b"Connection: Upgrade")
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
    b"GET /healthz HTTP/1.1\r\n Host: x\r\nConnection: close\r\n\r\n",
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
def test_garbage_on_the_wire_is_no_failure_of_the_server(server: Server, number: int) -> None:
    answer = send_raw(server.client().address, GARBAGE[number], seconds=1.0)

    assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
    assert b"Traceback" not in answer


def test_there_are_many_of_them() -> None:
    bodies = sum(len(VALUES) + len(TEXTS) + len(fields) * len(VALUES) for fields in FIELDS.values())

    assert bodies + len(SEGMENTS) * 14 + len(QUERIES) * 4 + len(DOCUMENTS) + len(GARBAGE) > 1000
