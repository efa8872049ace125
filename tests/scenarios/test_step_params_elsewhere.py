"""The parameters of steps that ran in another process than the one that is asked for them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Client
from support.fleet import Fleet, callee, lasting_postgres, temporal
from support.postgres import PostgresServer
from support.receiver import Receiver
from support.server import Server
from support.temporal import Temporal

__all__ = ["callee", "lasting_postgres", "temporal"]

SECRET = "a-key-that-nobody-may-see"
FLOW = """
nodes:
  each:
    type: foreach
    params: {items: "${flow.input.orders}", as: order}
    nodes:
      send:
        type: http.request
        params:
          url: "URL/status/${order.n === 2 ? 400 : 200}?n=${order.n}"
          method: POST
          headers: {Authorization: "Bearer ${secrets.API_KEY}"}
          body: {now: "${Date.now()}", execution: "${execution.id}", chance: "${Math.random() < 2}"}
    next: done
  done: {type: return}
"""


@pytest.fixture(params=["two processes", "postgres", "temporal"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    if request.param == "two processes":
        server = Server(tmp_path, {"PROCESSES": "2"})
        try:
            yield server.start().admin()
        finally:
            server.stop()
        return
    postgres: PostgresServer = request.getfixturevalue("lasting_postgres")
    database = postgres.new_database()
    address = None
    if request.param == "temporal":
        running: Temporal = request.getfixturevalue("temporal")
        address = running.url(database.rpartition("/")[2])
    fleet = Fleet(tmp_path, database, address)
    try:
        server = fleet.add().start()
        if address is not None:
            fleet.worker()
        yield server.admin()
    finally:
        fleet.end()


def test_what_was_sent_is_shown_wherever_it_was_sent_from(account: Client, callee: Receiver) -> None:
    account.new_secret("API_KEY", SECRET)
    flow = account.new_flow(FLOW.replace("URL", callee.url))
    id = account.run(flow, {"orders": [{"n": 1}, {"n": 2}]})
    account.ended(id)

    steps = account.get(f"/api/v1/executions/{id}/steps").json["steps"]
    sends = [step for step in steps if step["node_id"] == "send"]
    found: list[Any] = [account.get(f"/api/v1/executions/{id}/steps/{step['id']}/params").json for step in sends]

    assert len(found) == 2
    for n, one in enumerate(found, 1):
        params = one["params"]["value"]
        (sent,) = callee.effects(f"/status/{400 if n == 2 else 200}")
        assert params["url"].endswith(f"?n={n}")
        assert params["headers"] == {"Authorization": "Bearer ${secrets.API_KEY}"}
        assert (params["body"]["execution"], params["body"]["chance"]) == (id, True)
        assert sent.json["execution"] == id
        assert abs(params["body"]["now"] - sent.json["now"]) < 60_000
        assert (one["exact"], one["errors"], len(one["reasons"])) == (False, [], 1)
    assert SECRET not in json.dumps(found)
