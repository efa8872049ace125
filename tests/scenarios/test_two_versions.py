"""Servers and workers of two successive versions, side by side on one database and one after the other."""

from pathlib import Path
from typing import Final

from flowrunner.storage.migrations import HEAD
from support.fleet import Fleet, is_standby
from support.invariants import check_database
from support.newer import CONTRACT, NEWER, newer
from support.postgres import query
from support.server import Server
from support.waiting import wait_for

WAITS: Final = (
    "nodes: {ask: {type: wait, params: {key: go}, next: pause}, pause: {type: delay, params: {duration: 1500ms}}}"
)


def schema_of(fleet: Fleet) -> str:
    return str(query(fleet.database, "SELECT version_num FROM alembic_version")[0][0])


def test_servers_of_two_versions_take_over_from_each_other(fleet: Fleet) -> None:
    fleet.set(DISPATCH="local")
    older, second = fleet.add().start(), fleet.add(program=newer(), is_cold=True).spawn()
    account = older.admin()
    flow = account.new_flow(WAITS)
    executions = [account.run(flow) for _ in range(2)]
    for id in executions:
        account.waiting_at(id, "ask")
    wait_for(lambda: is_standby(second))
    assert schema_of(fleet) == HEAD

    older.stop()
    second.wait_until_ready()
    assert schema_of(fleet) == NEWER
    account = second.client(account.token)
    account.post(f"/api/v1/executions/{executions[0]}/signals/go", {"payload": 1})
    older.spawn()
    wait_for(lambda: is_standby(older))
    assert older.client(account.token).get(f"/api/v1/executions/{executions[0]}").status == 200

    # Back again, as the newer one has a fault.
    second.stop()
    older.wait_until_ready()
    account = older.client(account.token)
    account.post(f"/api/v1/executions/{executions[1]}/signals/go", {"payload": 1})

    assert [account.ended(id)["status"] for id in executions] == ["completed", "completed"]
    assert check_database(fleet.database) == []


def test_a_standby_of_a_newer_version_without_the_keys_refuses_to_start(fleet: Fleet) -> None:
    fleet.set(DISPATCH="local")
    older, second = fleet.add().start(), fleet.add(program=newer(), is_cold=True)
    second.data_dir = second.data_dir.with_name("another")
    second.spawn()

    assert second.wait() == 1
    assert "master.key is missing" in second.log
    assert older.client().get("/readyz").status == 200
    assert schema_of(fleet) == HEAD


def test_with_temporal_servers_and_workers_of_two_versions_share_the_work(fleet: Fleet) -> None:
    older = fleet.add().start()
    worker = fleet.worker()
    account = older.admin()
    flow = account.new_flow(WAITS)
    executions = [account.run(flow) for _ in range(6)]
    for id in executions:
        account.waiting_at(id, "ask")

    second = fleet.add(program=newer(), is_cold=True).start()
    assert schema_of(fleet) == NEWER
    other = second.client(account.token)
    executions += [client.run(flow) for client in (account, other) for _ in range(3)]
    fleet.add("worker", program=newer(), is_cold=True).start()
    # One of the earlier version that is killed meanwhile starts again.
    worker.kill()
    worker.start()
    for number, id in enumerate(executions):
        account.waiting_at(id, "ask")
        client = (account, other)[number % 2]
        assert client.post(f"/api/v1/executions/{id}/signals/go", {"payload": 1}).status == 200

    assert {account.ended(id)["status"] for id in executions} == {"completed"}
    assert check_database(fleet.database) == []


def test_on_a_file_the_earlier_version_goes_on_after_the_newer_one(tmp_path: Path) -> None:
    older, second = Server(tmp_path), Server(tmp_path, program=newer(), is_cold=True)
    account = older.start().admin()
    id = account.run(account.new_flow(WAITS))
    account.waiting_at(id, "ask")
    older.stop()
    second.start().stop()
    try:
        account = older.start().admin()
        account.post(f"/api/v1/executions/{id}/signals/go", {"payload": 1})
        assert account.ended(id)["status"] == "completed"
    finally:
        older.stop()


def test_an_earlier_version_does_not_start_where_a_newer_one_has_taken_something_away(tmp_path: Path) -> None:
    Server(tmp_path, program=newer(CONTRACT), is_cold=True).start().stop()
    older = Server(tmp_path).spawn()

    assert older.wait() != 0
    assert f"has the schema '{NEWER}', which this version does not know" in older.log
