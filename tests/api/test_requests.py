"""Requests that cannot be read, and answers that everything has in common."""

import http.client
import json
import socket
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from api.shapes import SMALLEST, assert_error
from support.client import Client, Reply, raw_request

JSON_TYPE: Final = {"Content-Type": "application/json"}
# `{account}` is the caller's.
WRITES: Final = ("POST /api/v1/flows", "PUT /api/v1/flows/flow-1", "POST /api/v1/flows/flow-1/run",
                 "PUT /api/v1/flows/by-name/N", "POST /api/v1/flows:batch", "POST /api/v1/flows/import",
                 "POST /api/v1/accounts/{account}/secrets", "PUT /api/v1/accounts/account-1",
                 "POST /api/v1/accounts", "POST /api/v1/auth/login", "POST /api/v1/setup")  # fmt: skip
TAKE_YAML: Final = ("POST /api/v1/flows", "PUT /api/v1/flows/flow-1", "PUT /api/v1/flows/by-name/N")
OTHER_TYPES: Final = (
    None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json",
    "application/json; charset=utf-7", "application/json; charset=utf-16", "application/jsonx", "application",
    "application/json, text/plain", "application/yaml", "application/merge-patch+json", "json",
)  # fmt: skip


def send(client: Client, body: bytes, **headers: str) -> Reply:
    return client.request("POST", "/api/v1/flows", body, {**JSON_TYPE, **headers})


def deep(levels: int) -> bytes:
    """A body with so many levels, its own included."""
    return b'{"input": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    "path",
    [
        "/api", "/api/v1", "/api/v1/nothing", "/api/v2/flows", "/api/v1/flows/", "/api/v1//flows",
        "/API/v1/flows", "/api/v1/flows/a/b/c", "/api/v1/flows/a/run/", "/docs/", "/redoc", "/openapi.json",
        "/api/v1/flows;x=1", "/healthz/", "/metrics/x", "/favicon.ico", "/.env", "/api/v1/auth",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_address_that_there_is_not_is_a_404(account: Client, path: str, method: str) -> None:
    assert_error(account.request(method, path), 404, "There is nothing at this address")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/v1/flows"), ("DELETE", "/api/v1/flows"), ("PUT", "/api/v1/flows"),
        ("POST", "/api/v1/flows/flow-1"), ("GET", "/api/v1/flows/flow-1/run"), ("GET", "/api/v1/auth/login"),
        ("POST", "/api/v1/executions"), ("PUT", "/api/v1/executions/exec-1"), ("POST", "/healthz"), ("POST", "/docs"),
        ("DELETE", "/api/v1/executions/exec-1/logs"), ("PUT", "/api/v1/setup"), ("PATCH", "/api/v1/accounts/a"),
        ("TRACE", "/api/v1/flows"), ("PURGE", "/api/v1/flows"),
    ],
)  # fmt: skip
def test_a_method_that_an_address_does_not_take_is_a_405(account: Client, method: str, path: str) -> None:
    reply = account.request(method, path)

    assert_error(reply, 405, f"This address does not take the method {method}")
    assert reply.headers["allow"]
    assert method not in reply.headers["allow"].split(", ")


def test_a_header_cannot_change_the_method(account: Client) -> None:
    id = account.new_flow(SMALLEST)

    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        account.request("POST", f"/api/v1/flows/{id}/run", b"{}", {**JSON_TYPE, name: "DELETE"})
        account.request("GET", f"/api/v1/flows/{id}?_method=DELETE", headers={name: "DELETE"})

    assert account.get(f"/api/v1/flows/{id}").status == 200


# Bodies that are no JSON

BROKEN: Final[dict[str, bytes]] = {
    "nothing but a space": b" ",
    "brace": b"{",
    "unclosed text": b'{"name": "x',
    "trailing comma": b'{"name": "x",}',
    "single quotes": b"{'name': 'x'}",
    "comment": b'{"name": "x" /* y */}',
    "two values": b"{}{}",
    "yaml": b"name: x",
    "bare word": b"null x",
    "NaN": b'{"input": NaN}',
    "Infinity": b'{"input": Infinity}',
    "-Infinity": b'{"input": [-Infinity]}',
    "infinite by exponent": b'{"input": 1e999}',
    "a key twice": b'{"name": "a", "name": "b"}',
    "a deep key twice": b'{"input": [{"a": 1, "b": {"c": 1, "c": 1}}]}',
    "a key twice by escapes": b'{"name": "a", "n\\u0061me": "b"}',
    "65 levels": deep(65),
    "100,000 levels": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "lone high surrogate": b'{"name": "\\ud800"}',
    "lone low surrogate": b'{"name": "\\udc00x"}',
    "surrogates in the wrong order": b'{"name": "\\udc00\\ud800"}',
    "surrogate in a key": b'{"\\ud800": 1}',
    "surrogate bytes": b'{"name": "\xed\xa0\x80"}',
    "NUL by escape": b'{"name": "a\\u0000b"}',
    "NUL in a key": b'{"a\\u0000": 1}',
    "NUL as a byte": b'{"name": "a\x00b"}',
    "line break in text": b'{"name": "a\nb"}',
    "huge number": b'{"input": 18446744073709551616}',
    "huge negative number": b'{"input": -9223372036854775809}',
    "5,000 digits": b'{"input": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"name": "\xff"}',
    "cut UTF-8": b'{"name": "\xc3"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "UTF-32": '{"name": "x"}'.encode("utf-32"),
    "leading zero": b'{"input": 01}',
    "plus sign": b'{"input": +1}',
    "hexadecimal": b'{"input": 0x1}',
    "bad escape": b'{"name": "\\x41"}',
    "BOM": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_s43_json_that_not_every_reader_takes_is_refused(account: Client, name: str) -> None:
    for path in ("/api/v1/flows", f"/api/v1/flows/{account.account_id}/run"):
        reply = account.request("POST", path, BROKEN[name], JSON_TYPE)

        assert_error(reply, 400)
        assert reply.error["message"].startswith("The request body cannot be read: ")
        assert len(reply.body) < 1000


def test_the_place_of_a_mistake_in_json_is_told(account: Client) -> None:
    reply = send(account, b'{"name": "x",\n "tags": [}')

    assert "line 2, column 11" in reply.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/api/v1/auth/login", {"user": "x", "password": "y"},
         [("user", "is not a field of this request", "did you mean 'username'?")]),
        ("POST", "/api/v1/flows", {"definition": {"nodes": {}}},
         [("definition", "must be text", "send it as one text, such as json.dumps or JSON.stringify make of it")]),
        ("POST", "/api/v1/flows", {"definition": "", "tag": ["x"], "name": 5},
         [("name", "must be text", None), ("tag", "is not a field of this request", "did you mean 'tags'?")]),
        ("POST", "/api/v1/flows", {}, [("definition", "Definition is required", None)]),
        ("POST", "/api/v1/flows/x/run", {"order": 7},
         [("order", "is not a field of this request", "known fields: input, labels")]),
        ("POST", "/api/v1/flows/x/run", {"input": [7]}, [("input", "must be an object", None)]),
        ("POST", "/api/v1/tokens", {"name": "x", "scopes": ["raed"]},
         [("scopes.0", "must be one of: read, run, write, members, admin, mcp", None)]),
        ("GET", "/api/v1/flows?limit=5000", None, [("limit", "must be at most 1000", None)]),
        ("GET", "/api/v1/flows?limit=few", None, [("limit", "must be a whole number", None)]),
        ("GET", "/api/v1/flows?limit=1_0&offset=%D9%A3", None,
         [("limit", "must be a whole number", None), ("offset", "must be a whole number", None)]),
        ("GET", "/api/v1/executions?unrepaired=yes&cursor=&count=1", None,
         [("unrepaired", "must be true or false", None), ("count", "must be true or false", None)]),
        ("DELETE", "/api/v1/executions/x?force=on", None, [("force", "must be true or false", None)]),
        ("GET", "/api/v1/executions/x/steps/%205", None, [("step_id", "must be a whole number", None)]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_told_in_plain_words_and_once(
    account: Client, method: str, path: str, body: object, told: Sequence[tuple[str, str, str | None]]
) -> None:
    reply = account.request(method, path, None if body is None else json.dumps(body).encode(), JSON_TYPE)

    assert reply.status == 422, reply.json
    errors = reply.json["error"]["details"]["errors"]
    assert [(one["path"], one["message"], one.get("hint")) for one in errors] == list(told)


def test_each_of_many_unknown_fields_is_told_and_of_too_many_the_number(account: Client) -> None:
    some = account.post("/api/v1/flows/x/run", {f"k{n}": n for n in range(100)})
    many = account.post("/api/v1/flows/x/run", {f"k{n}": n for n in range(101)})

    assert len(some.json["error"]["details"]["errors"]) == 100
    assert many.status == 422
    assert many.error["message"] == "The body has 101 fields, and the request takes these: input, labels"


def test_the_input_that_is_missing_is_named(account: Client) -> None:
    flow_id = account.new_flow("inputs: {order: {type: integer}}\nnodes: {a: {type: return}}")

    reply = account.post(f"/api/v1/flows/{flow_id}/run", {"input": {}})

    assert (reply.status, reply.json["error"]["message"]) == (422, "input.order: is missing")


def test_json_with_64_levels_is_taken(account: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}/run"

    assert account.request("POST", path, deep(64), JSON_TYPE).status == 422, "the input is a list"
    nested: Any = 1
    for _ in range(62):
        nested = {"a": nested}
    assert account.post(path, {"input": nested}).status == 201


def test_surrogate_pairs_and_large_numbers_are_taken(account: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}/run"
    body = b'{"input": {"smile": "\\ud83d\\ude42", "n": 18446744073709551615, "m": -9223372036854775808}}'

    reply = account.request("POST", path, body, JSON_TYPE)

    assert account.execution(reply.json["execution_id"])["input"] == {"smile": "🙂", "n": 2**64 - 1, "m": -(2**63)}


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write, kind)
        for write in WRITES
        for kind in OTHER_TYPES
        if not (kind == "application/yaml" and write in TAKE_YAML)
    ],
)
def test_s44_bodies_of_another_type_are_refused(admin: Client, write: str, kind: str | None) -> None:
    method, path = write.format(account=admin.account_id).split()
    body = b'{"name": "N", "definition": "nodes: {a: {type: return}}"}'

    reply = admin.request(method, path, body, {} if kind is None else {"Content-Type": kind})

    assert_error(reply, 415)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_bodies_that_say_json_are_taken(account: Client, kind: str) -> None:
    body = json.dumps({"name": "N", "definition": SMALLEST}).encode()

    assert account.request("POST", "/api/v1/flows", body, {"Content-Type": kind}).status == 201


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json"])
def test_s44_a_place_that_the_caller_does_not_reach_is_a_404_whatever_is_sent(
    account: Client, admin: Client, kind: str | None
) -> None:
    """Nothing tells a place of others from one that there is not."""
    headers = {} if kind is None else {"Content-Type": kind}
    for id in (admin.account_id, "account-1"):
        reply = account.request("POST", f"/api/v1/accounts/{id}/secrets", b"{", headers)

        assert_error(reply, 404, "Account not found")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/flows", "application/json"),
        ("/api/v1/flows", "application/yaml"),
        ("/api/v1/flows/import", "application/zip"),
    ],
)
def test_s48_compressed_bodies_are_refused(account: Client, path: str, kind: str, encoding: str) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": encoding}

    reply = account.request("POST", path, b"\x1f\x8b\x08\x00", headers)

    assert_error(reply, 415, "The request body must not be compressed")


# Sizes


def test_a_body_that_is_too_large_is_refused(account: Client) -> None:
    flow = account.new_flow(SMALLEST)
    large = json.dumps({"input": {"x": "y" * (1024 * 1024)}}).encode()

    assert_error(account.request("POST", f"/api/v1/flows/{flow}/run", large, JSON_TYPE), 413)
    assert account.get("/api/v1/executions").json["total"] == 0


def test_a_body_is_refused_by_its_announced_length(account: Client) -> None:
    begun = time.monotonic()
    for length, status in ((b"999999999999999999999999", 400), (b"4000000", 413)):
        headers = (
            b"Content-Type: application/json\r\nAuthorization: Bearer "
            + str(account.token).encode()
            + b"\r\nContent-Length: "
            + length
            + b"\r\n"
        )
        reply = raw_request(account.address, b"/api/v1/flows", method=b"POST", headers=headers)
        assert reply.status == status
    assert time.monotonic() - begun < 10


def test_a_chunked_body_that_never_ends_is_cut_off(account: Client) -> None:
    with socket.create_connection(account.address, timeout=20) as connection:
        connection.sendall(
            b"POST /api/v1/flows/flow-1/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nAuthorization: Bearer " + str(account.token).encode() + b"\r\n\r\n"
        )
        chunk, sent = b"10000\r\n" + b" " * 0x10000 + b"\r\n", 0
        try:
            while sent < 64 * 1024 * 1024:
                connection.sendall(chunk)
                sent += 0x10000
        except (BrokenPipeError, ConnectionResetError):
            pass
        connection.settimeout(5)
        try:
            answer = connection.recv(4096)
        except (ConnectionResetError, TimeoutError):
            answer = b""
    assert answer[:12] in (b"HTTP/1.1 413", b"")
    assert account.get("/api/v1/flows").status == 200


def test_the_largest_definition_fits(account: Client) -> None:
    filler = "#" + '"' * 1000 + "\n"
    definition = SMALLEST + filler * ((1024 * 1024 - len(SMALLEST)) // len(filler))

    id = account.new_flow(definition)

    assert account.get(f"/api/v1/flows/{id}").json["definition"] == definition
    body = {"name": "N", "definition": SMALLEST + "#" * 1024 * 1024}
    assert account.post("/api/v1/flows", body).status == 422


# What all answers have


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200), ("GET", "/readyz", 200), ("GET", "/metrics", 200), ("GET", "/nothing", 404),
        ("GET", "/api/v1/flows", 200), ("PATCH", "/api/v1/flows", 405), ("GET", "/api/v1/flows/x", 404),
        ("POST", "/api/v1/flows", 422), ("GET", "/api/v1/openapi.json", 200), ("GET", "/api/v1/accounts", 403),
    ],
)  # fmt: skip
def test_s50_every_answer_has_the_headers_that_protect_browsers(
    account: Client, method: str, path: str, status: int
) -> None:
    reply = account.request(method, path)

    assert reply.status == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in reply.headers
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "origin",
    ["null", "https://example.com", "http://127.0.0.1", "http://localhost:8080", "file://", "*"],
)
def test_s51_other_origins_get_no_permission(account: Client, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        reply = account.request(method, "/api/v1/flows", headers=headers)
        assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_a_request_id_that_is_given_comes_back(account: Client) -> None:
    for path in ("/api/v1/flows", "/nothing"):
        assert account.request("GET", path, headers={"X-Request-ID": "trace-1.a_B"}).headers["x-request-id"] == (
            "trace-1.a_B"
        )


@pytest.mark.parametrize("id", ["x" * 65, "a b", "<script>", "é", "a\tb", "", "a;b"])
def test_a_request_id_that_is_no_id_is_replaced(account: Client, id: str) -> None:
    reply = account.request("GET", "/nothing", headers={"X-Request-ID": id.encode("latin-1").decode("latin-1")})

    assert reply.headers["x-request-id"] not in ("", id)
    assert reply.error["request_id"] == reply.headers["x-request-id"]


def test_a_request_with_a_key_and_without_a_body_is_a_422(admin: Client) -> None:
    for path in ("/api/v1/accounts", "/api/v1/accounts/me/secrets", "/api/v1/tokens", "/api/v1/workspaces"):
        reply = admin.request("POST", path, headers={"Idempotency-Key": "without-a-body"})

        assert_error(reply, 422, "A JSON body is required")


def test_two_requests_have_two_ids(account: Client) -> None:
    assert account.get("/nothing").error["request_id"] != account.get("/nothing").error["request_id"]


def test_an_unknown_query_parameter_is_an_error_that_names_the_nearest_one(account: Client) -> None:
    details = assert_error(account.get("/api/v1/executions?staus=failed&limit=1"), 422)
    (fault,) = details["errors"]
    assert (fault["path"], fault["code"], fault["hint"]) == ("staus", "unknown_parameter", "did you mean 'status'?")

    details = assert_error(account.get("/api/v1/flows?zzzz=1&tag=a"), 422)
    assert "known parameters: name, q, sort, limit" in details["errors"][0]["hint"]
    assert_error(account.get("/api/v1/executions/none?x=1"), 422)
    assert_error(account.post("/api/v1/flows?dry-run=true", {}), 422)
    assert account.get("/api/v1/executions?limit=1&cursor=&count=true").status == 200


def test_of_many_unknown_query_parameters_ten_are_named(account: Client) -> None:
    names = [f"unknown{number}" for number in range(30)]

    details = assert_error(account.get(f"/api/v1/flows?{'&'.join(f'{name}=1' for name in names)}"), 422)

    assert [fault["path"] for fault in details["errors"]] == names[:10]


@pytest.mark.parametrize("value", ["%ED%A0%80", "a%E9", "%C3", "%FF"])
def test_a_query_parameter_that_is_no_utf_8_is_an_error(account: Client, value: str) -> None:
    details = assert_error(account.get(f"/api/v1/flows?limit=1&q={value}&tag=%C3%A9%20"), 422)

    (fault,) = details["errors"]
    assert (fault["path"], fault["code"]) == ("q", "encoding")
    assert_error(account.put(f"/api/v1/store/entry?key={value}", {"value": 1}), 422)
    assert account.get("/api/v1/flows?limit=1&q=%EF%BF%BD").status == 200


def test_a_query_parameter_with_one_value_is_given_once(account: Client) -> None:
    details = assert_error(account.get("/api/v1/flows?limit=1&q=a&limit=2&q=a&tag=a&tag=b"), 422)
    assert [(fault["path"], fault["code"]) for fault in details["errors"]] == [
        ("limit", "repeated_parameter"), ("q", "repeated_parameter"),
    ]  # fmt: skip
    assert details["errors"][0]["message"] == "is given 2 times, but takes one value"
    # Of a written description, of a dependency, and of a request that changes something.
    for path in (
        "/api/v1/executions/none?view=full&view=full",
        f"/api/v1/workspaces/{account.account_id}/audit?action=a&action=b",
    ):
        assert_error(account.get(path), 422)
    assert_error(account.post("/api/v1/flows?dry_run=true&dry_run=false", {}), 422)


def test_a_request_that_names_two_workspaces_acts_in_none(account: Client) -> None:
    parts = urlsplit(account.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    statuses = []
    for times in (1, 2):
        connection.putrequest("GET", "/api/v1/flows")
        connection.putheader("Authorization", f"Bearer {account.token}")
        for _ in range(times):
            connection.putheader("Flowrunner-Workspace", account.account_id)
        connection.endheaders()
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()

    assert statuses == [200, 404]


def test_filters_with_several_values_are_given_several_times(account: Client) -> None:
    repeated = "status=failed&status=cancelled&label=a:b&label=c:d&input.a=1&input.a=2&limit=1"

    assert account.get(f"/api/v1/executions?{repeated}").status == 200
    assert account.get("/api/v1/flows?tag=a&tag=b").status == 200


def test_an_unauthenticated_caller_learns_no_query_parameters(account: Client) -> None:
    assert_error(Client(account.url).get("/api/v1/executions?staus=failed"), 401)
