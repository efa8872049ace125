"""A program with two accounts, for tests of limits and shares."""

import asyncio
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.shapes import assert_error
from flowrunner.bootstrap.program import Program
from support.asgi import call, program_at
from support.client import FINAL, PASSWORD, Reply
from support.server import LOOPBACK

EGRESS: Final = tuple(ipaddress.ip_network(network) for network in LOOPBACK.split(","))
RETURN: Final = "nodes: {a: {type: return}}"


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(6000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition was not met in time")


@dataclass
class ApiClient:
    """Calls the program as an account, or without authentication, from an address."""

    app: Any
    token: str | None = None
    address: str = "192.0.2.1"

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await call(self.app, method, path, token=self.token, body=data, headers=named, address=self.address)

    async def flow(self, definition: str) -> str:
        reply = await self.request("POST", "/api/v1/flows", {"name": "F", "definition": definition})
        assert reply.status == 201, reply
        return str(reply.json["id"])

    async def run(self, flow: str, **headers: str) -> Reply:
        return await self.request("POST", f"/api/v1/flows/{flow}/run", **headers)

    async def ended(self, id: str) -> Any:
        async def has_ended() -> bool:
            return (await self.request("GET", f"/api/v1/executions/{id}")).json["status"] in FINAL

        await until(has_ended)
        return (await self.request("GET", f"/api/v1/executions/{id}")).json


@dataclass
class TwoAccounts:
    program: Program
    mara: ApiClient
    omar: ApiClient

    @property
    def app(self) -> Any:
        return self.program.app

    async def refusals(self) -> dict[str, int]:
        """Return the rejected requests in the metrics, by limit."""
        text = (await ApiClient(self.app).request("GET", "/metrics")).body.decode()
        found = re.findall(r'flowrunner_requests_refused_total\{limit="(\w+)"\} ([\d.]+)', text)
        return {limit: int(float(count)) for limit, count in found}


@asynccontextmanager
async def two_accounts_at(data_dir: Path, **settings: Any) -> AsyncIterator[TwoAccounts]:
    """Open a program with two accounts, which are created if they do not exist."""
    async with program_at(data_dir, egress_allow=EGRESS, **settings) as program:
        clients: list[ApiClient] = []
        for name in ("mara", "omar"):
            email = f"{name}@example.com"
            if not clients and not await program.services.accounts.is_set_up():
                await program.services.accounts.create_first(name=name, email=email, password=PASSWORD)
            body = {"username": email, "password": PASSWORD}
            login = await ApiClient(program.app).request("POST", "/api/v1/auth/login", body)
            if login.status == 401:
                made = {
                    "name": name, "email": email, "password": PASSWORD, "role": "user", "email_confirmed": True,
                }  # fmt: skip
                assert (await clients[0].request("POST", "/api/v1/accounts", made)).status == 201
                login = await ApiClient(program.app).request("POST", "/api/v1/auth/login", body)
            clients.append(ApiClient(program.app, login.json["token"]))
        yield TwoAccounts(program, *clients)


def assert_limited(reply: Reply, limit: str, most: int, *, status: int = 429, longest: int = 60) -> None:
    details = assert_error(reply, status)
    assert (details["limit"], details["most"]) == (limit, most)
    assert ("retry-after" in reply.headers) == (status == 429)
    if status == 429:
        assert 1 <= int(reply.headers["retry-after"]) <= longest
