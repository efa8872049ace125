"""A program with two accounts that share it, for tests of what each may take."""

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
    for _ in range(2000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come to hold")


@dataclass
class Person:
    """Calls the program as an account, or as nobody, from an address."""

    app: Any
    token: str | None = None
    address: str = "192.0.2.1"

    async def go(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await call(self.app, method, path, token=self.token, body=data, headers=named, address=self.address)

    async def flow(self, definition: str) -> str:
        reply = await self.go("POST", "/api/v1/flows", {"name": "F", "definition": definition})
        assert reply.status == 201, reply
        return str(reply.json["id"])

    async def run(self, flow: str, **headers: str) -> Reply:
        return await self.go("POST", f"/api/v1/flows/{flow}/run", **headers)

    async def ended(self, id: str) -> Any:
        async def has_ended() -> bool:
            return (await self.go("GET", f"/api/v1/executions/{id}")).json["status"] in FINAL

        await until(has_ended)
        return (await self.go("GET", f"/api/v1/executions/{id}")).json


@dataclass
class Street:
    program: Program
    mara: Person
    omar: Person

    @property
    def app(self) -> Any:
        return self.program.app

    async def refusals(self) -> dict[str, int]:
        """What the metrics say, by limit."""
        text = (await Person(self.app).go("GET", "/metrics")).body.decode()
        found = re.findall(r'flowrunner_requests_refused_total\{limit="(\w+)"\} ([\d.]+)', text)
        return {limit: int(float(count)) for limit, count in found}


@asynccontextmanager
async def street_at(data_dir: Path, **settings: Any) -> AsyncIterator[Street]:
    """A program with two accounts, which are there already where it is opened once more."""
    async with program_at(data_dir, egress_allow=EGRESS, **settings) as program:
        people = []
        for name in ("mara", "omar"):
            email = f"{name}@example.com"
            if not people and not await program.services.accounts.is_set_up():
                await program.services.accounts.create_first(name=name, email=email, password=PASSWORD)
            body = {"username": email, "password": PASSWORD}
            login = await Person(program.app).go("POST", "/api/v1/auth/login", body)
            if login.status == 401:
                made = {"name": name, "email": email, "password": PASSWORD, "role": "user"}
                assert (await people[0].go("POST", "/api/v1/accounts", made)).status == 201
                login = await Person(program.app).go("POST", "/api/v1/auth/login", body)
            people.append(Person(program.app, login.json["token"]))
        yield Street(program, *people)


def assert_limited(reply: Reply, limit: str, most: int, *, status: int = 429, longest: int = 60) -> None:
    details = assert_error(reply, status)
    assert (details["limit"], details["most"]) == (limit, most)
    assert ("retry-after" in reply.headers) == (status == 429)
    if status == 429:
        assert 1 <= int(reply.headers["retry-after"]) <= longest
