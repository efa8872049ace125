"""The asynchronous client against a real server."""

import asyncio
import zipfile
from pathlib import Path

import pytest

from client.scripted import drip, scripted
from flowrunner.client import AsyncClient, ClientError, ExecutionFailed, NotFoundError, StillRunning
from flowrunner.client.async_transport import AsyncTransport
from flowrunner.client.requests import Origin, Request
from support.client import Client as PlainClient
from support.server import Server
from support.waiting import wait_for

DOUBLE = "metadata: {name: double}\nnodes:\n  a: {type: return, params: {value: '${flow.input.n * 2}'}}\n"
WAITING = "metadata: {name: waiting}\nnodes:\n  a: {type: wait, params: {key: go}}\n"


# aiohttp limits the connections of a session to so many.
MOST_CONNECTIONS = 100


@pytest.fixture
def account(server: Server) -> PlainClient:
    return server.admin().new_account()


async def test_executions_are_started_followed_and_waited_for_together(account: PlainClient) -> None:
    async with AsyncClient(account.url, account.token) as client:
        await client.flows.create(DOUBLE)
        runs = await asyncio.gather(*(client.run("double", {"n": n}) for n in range(5)))

        assert [(await run.wait()).result for run in runs] == [0, 2, 4, 6, 8]
        events = [event async for event in runs[0].events()]
        assert events[-1]["type"] == "execution_completed"
        assert len([execution async for execution in client.executions.list(flow="double")]) == 5
        assert (await client.executions.list().page(limit=2, count=True)).total == 5
        assert [flow["name"] async for flow in client.entries("/flows")] == ["double"]


async def test_what_does_not_end_or_fails_is_an_error(account: PlainClient) -> None:
    async with AsyncClient(account.url, account.token) as client:
        await client.flows.create(WAITING)
        run = await client.run("waiting")

        with pytest.raises(StillRunning):
            await run.wait(timeout=0)
        await run.cancel()
        with pytest.raises(ExecutionFailed, match="cancelled"):
            await run.wait()
        with pytest.raises(NotFoundError):
            await client.flows.get("no-such-flow")


async def test_the_names_of_flows_keep_their_slashes(account: PlainClient) -> None:
    async with AsyncClient(account.url, account.token) as client:
        await client.flows.put_by_name("reports/daily", definition="nodes:\n  a: {type: return}\n")

        assert (await client.flows.get_by_name("reports/daily")).name == "reports/daily"


async def test_a_file_that_cannot_be_written_is_no_fault_of_the_server(account: PlainClient, tmp_path: Path) -> None:
    async with AsyncClient(account.url, account.token) as client:
        with pytest.raises(FileNotFoundError):
            await client.download("/flows/export", tmp_path / "missing" / "flows.zip")

        await client.download("/flows/export", tmp_path / "flows.zip")
    assert zipfile.is_zipfile(tmp_path / "flows.zip")


async def test_a_login_is_used_from_then_on(account: PlainClient) -> None:
    async with AsyncClient(account.url) as client:
        await client.login(account.email, "five-blue-otters-swim")

        assert (await client.accounts.get()).email == account.email


def test_a_client_is_used_in_one_event_loop_after_the_other_only_if_it_was_closed(account: PlainClient) -> None:
    async def ask() -> str:
        return str((await client.get("/accounts/me"))["id"])

    async def ask_and_close() -> str:
        async with client:
            return await ask()

    client = AsyncClient(account.url, account.token)
    assert asyncio.run(ask_and_close()) == account.account_id
    with asyncio.Runner() as first:
        first.run(ask())
        with pytest.raises(RuntimeError, match="make one for each event loop"):
            asyncio.run(ask())

        assert first.run(ask_and_close()) == account.account_id
    assert asyncio.run(ask_and_close()) == account.account_id


async def test_streams_leave_connections_to_each_other_and_to_requests(account: PlainClient) -> None:
    async with AsyncClient(account.url, account.token, timeout=20, retry_seconds=0) as client:
        await client.flows.create(WAITING)
        run = await client.run("waiting")
        streams = [run.events() for _ in range(MOST_CONNECTIONS + 1)]

        async with asyncio.timeout(60):
            began = await asyncio.gather(*(anext(stream) for stream in streams))
            found = await client.get("/accounts/me")

    assert [event["seq"] for event in began] == [1] * len(streams)
    assert found["id"] == account.account_id


@pytest.mark.parametrize("reads", ["an answer", "a stream"])
async def test_what_is_under_way_when_a_client_is_closed_ends_and_is_not_repeated(reads: str) -> None:
    with scripted(drip, drip) as server:
        client = AsyncClient(server.url)

        async def read() -> None:
            if reads == "an answer":
                await client.get("/flows")
            else:
                _ = [event async for event in client.events("exec-1")]

        reading = asyncio.create_task(read())
        await asyncio.to_thread(wait_for, lambda: bool(server.requests))
        await client.close()

        with pytest.raises(ClientError, match="closed meanwhile"):
            await reading
        assert server.connections == 1


async def test_what_is_read_while_the_connections_are_closed_ends() -> None:
    with scripted(drip) as server:
        transport = AsyncTransport(Origin.parse(server.url), connect_seconds=60, ca_file=None)
        made = Request(method="GET", target="/api/v1/flows")
        async with transport.stream(made, silent_seconds=60) as (_, chunks):
            await anext(chunks)
            closing = asyncio.create_task(transport.close())
            await asyncio.sleep(0)
            with pytest.raises(ClientError, match="closed meanwhile"):
                _ = [chunk async for chunk in chunks]
            await closing


async def test_a_request_may_begin_while_the_connections_are_closed(account: PlainClient) -> None:
    client = AsyncClient(account.url, account.token)
    await client.get("/accounts/me")

    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    found = await client.get("/accounts/me")

    assert found["id"] == account.account_id
    await closing
    await client.close()
