"""A signal to executions that the sender knows by an input, in a server that is killed."""

import random
import threading
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import pytest

from support.client import Client
from support.databases import rows_of
from support.invariants import check_database
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server

ORDERS: Final = 12
KILLS: Final = 3
FLOW: Final = """
metadata: {name: Orders}
inputs: {order: {type: integer, searchable: true}, part: {type: string}}
nodes:
  paid: {type: wait, params: {key: paid}, next: again}
  again: {type: wait, params: {key: paid, timeout: 1s}, next: {default: twice, timeout: done}}
  done: {type: return, params: {value: "${nodes.paid.result}"}}
  twice: {type: fail, params: {error: paid.twice}}
"""


@pytest.mark.timeout(300)
def test_each_execution_of_an_order_is_signalled_once_although_the_server_is_killed(tmp_path: Path) -> None:
    """The sender repeats a request that was not answered, with the same key, until it is."""
    server, rng = Server(tmp_path).start(), random.Random(KILLS)
    try:
        client = server.admin()
        flow = client.new_flow(FLOW)
        ids = {
            order: sorted(client.run(flow, {"order": order, "part": part}) for part in ("a", "b", "c"))
            for order in range(ORDERS)
        }
        answers: dict[int, Any] = {}

        def send_all() -> None:
            sender: Client | None = None
            for order in range(ORDERS):
                body = {"key": "paid", "payload": order, "filter": {"flow": flow, "input": {"order": str(order)}}}
                while order not in answers:
                    if not (url := server.url):
                        time.sleep(0.05)
                        continue
                    try:
                        sender = sender or Client(url).login(ADMIN_EMAIL, ADMIN_PASSWORD)
                        reply = sender.post("/api/v1/executions:signal", body, Idempotency_Key=f"order-{order}")
                    except (OSError, HTTPException):
                        sender = None
                        time.sleep(0.05)
                        continue
                    if reply.status == 503:
                        time.sleep(0.05)
                        continue
                    answers[order] = reply
                time.sleep(0.1)

        sending = threading.Thread(target=send_all)
        sending.start()
        for _ in range(KILLS):
            time.sleep(0.2 + rng.random() / 2)
            server.kill()
            server.start()
        sending.join(120)
        client = server.admin()

        assert {order: reply.status for order, reply in answers.items()} == dict.fromkeys(range(ORDERS), 200)
        assert {order: reply.json["executions"] for order, reply in answers.items()} == ids
        for order, started in ids.items():
            for id in started:
                ended = client.ended(id, 60)
                assert (ended["status"], ended["result"]) == ("completed", order)
        counted = "SELECT count(*) FROM events WHERE type = 'signal.received'"
        assert rows_of(server.place, counted) == [(3 * ORDERS,)]
    finally:
        server.stop()
    assert check_database(server.place) == []
