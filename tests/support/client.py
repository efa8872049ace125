"""A plain client of the REST API and of WebSockets, which sends also what no proper client would."""

import http.client
import json
import secrets
import socket
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from websockets.sync.client import ClientConnection, connect

from support.waiting import pause

# What executions take on a machine with other work.
PATIENCE_SECONDS: Final = 90.0
PASSWORD: Final = "five-blue-otters-swim"
FINAL: Final = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Client:
    """Who is calling is the token it holds; None is nobody."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token
        self.account_id = ""
        self.email = ""
        self.password = ""

    @property
    def address(self) -> tuple[str, int]:
        parts = urllib.parse.urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = 60.0,
    ) -> Reply:
        sent = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        sent |= headers or {}
        connection = http.client.HTTPConnection(*self.address, timeout=seconds)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            content = response.read()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
        finally:
            connection.close()

    def get(self, path: str, **query: Any) -> Reply:
        return self.request("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)

    def post(self, path: str, value: Any = None, **headers: str) -> Reply:
        return self._send("POST", path, value, headers)

    def put(self, path: str, value: Any, **headers: str) -> Reply:
        return self._send("PUT", path, value, headers)

    def delete(self, path: str) -> Reply:
        return self.request("DELETE", path)

    def _send(self, method: str, path: str, value: Any, headers: Mapping[str, str]) -> Reply:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if value is None:
            return self.request(method, path, headers=sent)
        return self.request(method, path, json.dumps(value).encode(), {"Content-Type": "application/json", **sent})

    # What tests do over and over

    def login(self, email: str, password: str) -> Self:
        reply = self.post("/api/v1/auth/login", {"username": email, "password": password})
        assert reply.status == 200, reply
        self.token, self.account_id = reply.json["token"], reply.json["account_id"]
        self.email, self.password = email, password
        return self

    def new_account(self, role: str = "user", name: str = "Somebody") -> "Client":
        """Another account, logged in. The caller must be an admin."""
        email = f"{secrets.token_hex(6)}@example.com"
        body = {"name": name, "email": email, "password": PASSWORD, "role": role, "email_confirmed": True}
        reply = self.post("/api/v1/accounts", body)
        assert reply.status == 201, reply
        return Client(self.url).login(email, PASSWORD)

    def new_flow(self, definition: str, **fields: Any) -> str:
        reply = self.post("/api/v1/flows", {"name": "A flow", "definition": definition, **fields})
        assert reply.status == 201, reply
        return str(reply.json["id"])

    def new_secret(self, key: str, value: str) -> None:
        reply = self.post(f"/api/v1/accounts/{self.account_id}/secrets", {"key": key, "value": value})
        assert reply.status in (200, 201), reply

    def run(self, flow_id: str, input: Any = None) -> str:
        """Start an execution; gives its id."""
        reply = self.post(f"/api/v1/flows/{flow_id}/run", {"input": input or {}})
        assert reply.status == 201, reply
        return str(reply.json["execution_id"])

    def execution(self, id: str) -> Any:
        reply = self.get(f"/api/v1/executions/{id}")
        assert reply.status == 200, reply
        return reply.json

    def ended(self, id: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """The execution, once it has ended."""
        return self.reaching(id, FINAL, seconds)

    def reaching(self, id: str, statuses: frozenset[str], seconds: float = PATIENCE_SECONDS) -> Any:
        began = time.monotonic()
        while (found := self.execution(id))["status"] not in statuses:
            assert time.monotonic() < began + seconds, f"still {found['status']}, wanted one of {sorted(statuses)}"
            pause(began)
        return found

    def until_it_waits(self, id: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """The execution, once it waits for anything but room, or has ended."""
        began = time.monotonic()
        while True:
            found = self.execution(id)
            if "completed_at" in found or any(wait["type"] != "room" for wait in found.get("waiting_for", ())):
                return found
            assert time.monotonic() < began + seconds, f"still {found['status']}, and waits for nothing"
            pause(began)

    def waiting_at(self, id: str, node: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """The execution, once it waits at a node."""
        began = time.monotonic()
        while True:
            found = self.execution(id)
            if node in {wait.get("node") for wait in found.get("waiting_for", ())}:
                return found
            assert time.monotonic() < began + seconds, f"{found['status']}, and waits for {found.get('waiting_for')}"
            pause(began)

    def run_to_end(self, definition: str, input: Any = None) -> Any:
        return self.ended(self.run(self.new_flow(definition), input))

    def logs(self, id: str) -> Any:
        return self.get(f"/api/v1/executions/{id}/logs", limit=1000).json["logs"]

    # WebSockets

    def watch(self, id: str, *, query: str = "", **options: Any) -> ClientConnection:
        """An open socket on an execution; close it, or use it in a `with`."""
        options.setdefault("max_size", None)
        options.setdefault("additional_headers", {} if self.token is None else self.bearer())
        url = f"{self.url.replace('http', 'ws', 1)}/ws/executions/{id}{query}"
        opened: ClientConnection = connect(url, proxy=None, open_timeout=PATIENCE_SECONDS, close_timeout=5, **options)
        return opened

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def messages(self, id: str, *, query: str = "") -> list[Any]:
        """Every message until the server closes the socket."""
        with self.watch(id, query=query) as socket:
            found = [json.loads(text) for text in socket]
        assert socket.close_code == 1000, (socket.close_code, socket.close_reason)
        return found


def send_raw(address: tuple[str, int], data: bytes, *, seconds: float = 20.0) -> bytes:
    """Send bytes as they are, and read until the other side closes or says no more for a moment."""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        while True:
            try:
                chunk = connection.recv(65536)
            except (ConnectionResetError, TimeoutError):
                return received
            if not chunk:
                return received
            received += chunk


def raw_request(
    address: tuple[str, int],
    target: bytes,
    *,
    method: bytes = b"GET",
    headers: bytes = b"",
    body: bytes = b"",
    host: bytes = b"localhost",
) -> Reply:
    """A request whose target and headers no client library has looked at."""
    head = method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n" + headers
    if body:
        head += f"Content-Length: {len(body)}\r\n".encode()
    answer = send_raw(address, head + b"\r\n" + body)
    if not answer:
        return Reply(0, {}, b"")
    start, _, content = answer.partition(b"\r\n\r\n")
    lines = start.decode("latin-1").split("\r\n")
    found = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    return Reply(int(lines[0].split()[1]), found, content)
