"""The network between a server and PostgreSQL is cut, and PostgreSQL restarts while a server recovers."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from support.client import Client
from support.databases import rows_of
from support.invariants import check_accepted, check_database, check_effects
from support.postgres import PostgresServer
from support.proxy import AtMessage, Direction, Down, Proxy, Timeout, Toxic
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

# How long connections are cut for. A campaign takes longer cuts than a test run has time for.
CUT_SECONDS: Final = float(os.environ.get("CUT_SECONDS", "3"))
FLOW: Final = """
nodes:
  first: {{type: webhook, params: {{url: "{receiver}/wait/first?most=0.4"}}, next: rest}}
  rest: {{type: delay, params: {{duration: 2s}}, next: last}}
  last: {{type: webhook, params: {{url: "{receiver}/wait/last?most=0.4"}}}}
"""


class Place:
    """A server that reaches its database through a proxy."""

    def __init__(self, directory: Path, postgres: PostgresServer, proxy: Proxy) -> None:
        self.postgres, self.proxy = postgres, proxy
        self.url = postgres.new_database()
        self.receiver = Receiver(directory)
        self.server = Server(directory, {"DATABASE_URL": proxy.through(self.url)})
        self.admin = Client("")
        self.flow_id = ""

    def start(self) -> None:
        self.receiver.start()
        self.admin = self.server.start().admin()
        self.flow_id = self.admin.new_flow(FLOW.format(receiver=self.receiver.url))

    def stop(self) -> None:
        self.proxy.heal()
        self.server.stop()
        self.receiver.stop()

    def restart_postgres(self) -> None:
        self.postgres.kill()
        self.postgres.start()

    def is_ready(self) -> bool:
        return self.server.client().get("/readyz").status == 200

    def has_open_executions(self) -> bool:
        return bool(rows_of(self.url, "SELECT 1 FROM executions WHERE completed_at IS NULL LIMIT 1"))


@pytest.fixture
def place(lasting_postgres: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    with Proxy.before(lasting_postgres.url()) as proxy:
        place = Place(tmp_path, lasting_postgres, proxy)
        try:
            place.start()
            yield place
        finally:
            place.stop()


def violations(place: Place, accepted: Sequence[str]) -> list[str]:
    """What is wrong once all is over."""
    wait_for(lambda: not place.has_open_executions())
    place.server.stop()
    keys = [effect.key or "" for effect in place.receiver.effects()]
    return [
        *check_accepted(place.url, accepted),
        *check_database(place.url),
        *check_effects(place.url, keys),
        *(f"{id} has failed: {error}" for id, error in rows_of(place.url, "SELECT id, error FROM executions")
          if error is not None),
    ]  # fmt: skip


CUTS: Final[Sequence[tuple[Callable[[], Toxic], Direction | None]]] = (
    (Down, None),
    (Timeout, None),
    (Timeout, "upstream"),
    (Timeout, "downstream"),
)


@pytest.mark.timeout(240 + 8 * CUT_SECONDS)
def test_a_server_whose_database_is_cut_off_says_so_at_once_and_comes_back_by_itself(place: Place) -> None:
    pid, away, back, accepted = place.server.pid, [], [], []
    for cut, direction in CUTS:
        accepted += [place.admin.run(place.flow_id) for _ in range(5)]
        with place.proxy.toxic(cut(), direction):
            away.append(wait_for(lambda: not place.is_ready()))
            assert place.server.client().get("/healthz").status == 200
            time.sleep(CUT_SECONDS)
            assert not place.is_ready()
        back.append(wait_for(place.is_ready))
    accepted += [place.admin.run(place.flow_id) for _ in range(5)]
    print(f"\ncuts of {CUT_SECONDS} s: unready after {sorted(away)}, ready after {sorted(back)}")

    assert violations(place, accepted) == []
    assert place.server.pid == pid
    assert "leadership.lost" not in place.server.log
    # Of several, so that a moment in which this machine did something else does not count.
    assert statistics.median(away) <= 2.0
    assert statistics.median(back) <= 5.0


# A recovery of ten executions asks PostgreSQL some three hundred times, a quarter of it before it is ready.
ROUND_TRIPS: Final = (3, 25, 50, 70, 90, 120, 200)


@pytest.mark.timeout(400)
def test_postgresql_that_restarts_at_any_moment_of_a_recovery_leaves_nothing_undone(place: Place) -> None:
    accepted: list[str] = []
    cut_off = 0
    for count in ROUND_TRIPS:
        # At once, so that none has ended although the machine has other work.
        with ThreadPoolExecutor(10) as clients:
            accepted += clients.map(place.admin.run, [place.flow_id] * 10)
        place.server.kill()
        with place.proxy.toxic(restart := AtMessage(count, place.restart_postgres), "upstream"):
            place.server.spawn()
            wait_for(lambda: restart.is_done or place.server.has_ended())
            cut_off += place.has_open_executions()
        place.server.wait_until_ready(60.0)
        place.admin.url = place.server.url
    print(f"\n{len(ROUND_TRIPS)} restarts, {cut_off} of them with executions under way")

    assert cut_off == len(ROUND_TRIPS)
    assert violations(place, accepted) == []
