"""Subscribers of an execution get its end, or their sockets are closed so that they connect again."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from support.client import Client
from support.fleet import Fleet, is_standby
from support.postgres import PostgresServer
from support.proxy import Proxy, Timeout
from support.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def fleet(lasting_postgres: PostgresServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, lasting_postgres.new_database())
    try:
        yield fleet
    finally:
        fleet.end()


def connecting(client: Client, id: str) -> connect:
    address = f"{client.url.replace('http', 'ws', 1)}/ws/executions/{id}"
    return connect(address, additional_headers=client.bearer(), proxy=None, open_timeout=PATIENCE_SECONDS)


async def end_of(socket: ClientConnection, *, seconds: float = 120.0) -> int:
    """Return the code with which the server closes the socket."""
    async with asyncio.timeout(seconds):
        await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


async def test_subscribers_of_a_server_that_is_cut_off_from_its_database_are_told_to_come_again(
    fleet: Fleet, lasting_postgres: PostgresServer
) -> None:
    """Their execution ends at the server that has taken over, of which the one that is cut off cannot know."""
    with Proxy.before(lasting_postgres.url()) as proxy:
        cut_off = fleet.add(DATABASE_URL=proxy.through(fleet.database)).start()
        heir = fleet.add().spawn()
        await asyncio.to_thread(wait_for, lambda: is_standby(heir))
        admin = cut_off.admin()
        flow_id = admin.new_flow("nodes: {ask: {type: wait, params: {key: go}}}")
        id = admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"]
        async with connecting(admin, id) as socket:
            first = json.loads(await socket.recv())
            with proxy.toxic(Timeout()):
                await asyncio.to_thread(wait_for, lambda: heir.client().get("/readyz").status == 200)
                successor = heir.client(admin.token)
                assert successor.post(f"/api/v1/executions/{id}/signals/go", {"payload": 1}).status < 300
                code = await end_of(socket)
                messages = await asyncio.to_thread(successor.messages, id)

    assert first["seq"] == 1
    assert code == 1013
    assert messages[-1]["type"] == "execution_completed"
