"""Requests to webhooks, and messages of callbacks, while the server is killed again and again.

`make deliveries` has a thousand of each.
"""

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.standard_webhooks import signature
from support.client import Client
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ALL: Final = int(os.environ.get("DELIVERIES", "0"))
KILLS: Final = 12 if ALL else 4
SENDERS: Final = 8
REQUESTS: Final = ALL or 200
ENDED: Final = ALL or 120
# The claim of the job that delivers must lapse after each kill.
PATIENCE_SECONDS: Final = 600.0 if ALL else 120.0
HOOK: Final = """
inputs: {n: {type: integer}}
triggers:
  in: {type: webhook, verify: {scheme: standard, secret: "${secrets.HOOK}"}, input: {n: "${trigger.body}"}}
nodes:
  a: {type: transform, params: {value: {n: "${flow.input.n}"}}}
"""
# Wherever the process is when it dies.
DRAW: Final = random.Random(7)


class Senders:
    """Clients that send requests, each again until it is answered, as other servers do."""

    def __init__(self, server: Server, path: str) -> None:
        self._server = server
        self._path = path
        self._lock = threading.Lock()
        self._next = 0
        # Without an execution, the request was stored and starts later.
        self.accepted: dict[int, str | None] = {}
        self.wrong: list[Any] = []
        self._threads = [threading.Thread(target=self._send_all) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "the requests do not end"

    def _send_all(self) -> None:
        while True:
            with self._lock:
                n, self._next = self._next, self._next + 1
            if n >= REQUESTS:
                return
            # As slow as it takes for the kills to come between.
            time.sleep(0.02)
            self._send(n)

    def _send(self, n: int) -> None:
        body = str(n).encode()
        while True:
            headers = signature(SECRET, f"msg_{n}", str(int(time.time())), body)
            try:
                client = Client(self._server.url)
                sent = {"Content-Type": "application/json", **headers}
                reply = client.request("POST", self._path, body, sent, seconds=5.0)
            except (OSError, ValueError, AssertionError):
                time.sleep(0.05)
                continue
            if reply.status in (200, 202):
                with self._lock:
                    self.accepted[n] = reply.json.get("execution_id")
                return
            if reply.status != 503:
                with self._lock:
                    self.wrong.append((n, reply.status, reply.body))
                return
            time.sleep(0.05)


def test_no_accepted_request_is_lost_and_none_starts_twice_while_the_server_is_killed(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    try:
        admin = server.admin()
        admin.new_secret("HOOK", SECRET)
        admin.new_flow(HOOK)
        senders = Senders(server, admin.get("/api/v1/triggers").json["triggers"][0]["url"])

        senders.start()
        for _ in range(KILLS):
            time.sleep(DRAW.uniform(0.1, 0.5))
            server.kill()
            server.start()
        senders.join()

        admin = server.admin()
        wait_for(lambda: admin.get("/api/v1/executions").json["total"] >= REQUESTS, PATIENCE_SECONDS)
        wait_for(lambda: not admin.get("/api/v1/executions", status="running").json["executions"])
        started = Counter[int]()
        for n, id in senders.accepted.items():
            if id is None:
                continue
            execution = admin.execution(id)
            assert (execution["status"], execution["result"]) == ("completed", {"n": n})
        for offset in range(0, REQUESTS, 100):
            for each in admin.get("/api/v1/executions", limit=100, offset=offset).json["executions"]:
                started[admin.execution(each["id"])["result"]["n"]] += 1
    finally:
        server.stop()

    assert senders.wrong == []
    assert len(senders.accepted) == REQUESTS
    assert started == Counter(range(REQUESTS))


def test_every_end_is_told_under_one_id_while_the_server_is_killed_and_the_receiver_fails(tmp_path: Path) -> None:
    (tmp_path / "receiver").mkdir()
    receiver = Receiver(tmp_path / "receiver").start()
    server = Server(tmp_path).start()
    try:
        admin = server.admin()
        body = {"url": f"{receiver.url}/half", "events": ["execution.completed"]}
        callback = admin.post("/api/v1/callbacks", body).json
        flow = admin.new_flow("nodes:\n  a: {type: transform, params: {value: 1}}\n")
        ids: list[str] = []

        for kill in range(1, KILLS + 1):
            while len(ids) < ENDED * kill // KILLS:
                ids.append(admin.run(flow))
            time.sleep(DRAW.uniform(0.0, 0.5))
            server.kill()
            server.start()
            admin = server.admin()

        path = f"/api/v1/callbacks/{callback['id']}/deliveries"

        def is_done() -> bool:
            listed = admin.get(path, limit=1000).json
            return listed["total"] == ENDED and all(each["state"] == "delivered" for each in listed["deliveries"])

        wait_for(is_done, PATIENCE_SECONDS)
    finally:
        server.stop()
        receiver.stop()

    told: dict[str, set[str]] = {}
    for effect in receiver.effects("/half"):
        assert effect.headers["webhook-id"] == effect.json["id"]
        told.setdefault(effect.json["subject"], set()).add(effect.json["id"])
    assert told.keys() == set(ids)
    assert {len(messages) for messages in told.values()} == {1}
    # Half of the messages were rejected at first.
    assert len(receiver.effects("/half")) > ENDED * 5 // 4
