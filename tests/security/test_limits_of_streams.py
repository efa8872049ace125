"""Event streams and waiting requests count as open WebSockets."""

from pathlib import Path
from typing import Final

from security.two_accounts import assert_limited, two_accounts_at
from support.asgi import connect

NAP: Final = "nodes: {a: {type: delay, params: {duration: 1h}}}"


async def test_beyond_the_limit_a_stream_is_rejected_and_a_run_does_not_wait(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", max_sockets=0) as two:
        flow = await two.mara.flow(NAP)
        started = await two.mara.run(flow, Prefer="wait=60")
        assert started.status == 201
        path = f"/api/v1/executions/{started.json['execution_id']}/events"

        for accept in ("text/event-stream", "application/x-ndjson"):
            assert_limited(await two.mara.request("GET", path, Accept=accept), "max_sockets", 0)
        # The nap has begun, and nothing follows for as long as it lasts.
        while len((await two.mara.request("GET", path)).json["events"]) < 4:
            pass
        waited = await two.mara.request("GET", f"{path}?after=4&wait=60")
        assert_limited(waited, "max_sockets", 0)
        assert (await two.mara.request("GET", path)).status == 200


async def test_sockets_count_towards_the_requests_of_their_account(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", account_requests=4) as two:
        # One request made the account.
        opened = [await connect(two.app, "/ws/executions", token=two.mara.token) for _ in range(4)]

    assert [reply.status for reply in opened] == [101, 101, 101, 429]
    assert_limited(opened[-1], "account_requests", 4)


async def test_a_run_that_cannot_wait_as_its_server_becomes_a_standby_is_answered_as_started(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as two:
        flow = await two.mara.flow(NAP)
        await two.program.streams.close()

        started = await two.mara.run(flow, Prefer="wait=60")

        listed = await two.mara.request("GET", "/api/v1/executions")
    assert started.status == 201
    assert [execution["id"] for execution in listed.json["executions"]] == [started.json["execution_id"]]
