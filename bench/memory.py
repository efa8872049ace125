"""How much memory does an execution cost the server: while it is parked, and after it has ended?"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, Server, running_server
from bench.wrk import wrk

PARKED: Final = 10_000
# So many executions touch more pages than the database's connections keep.
ENOUGH_FOR_CACHES: Final = 100_000
_CONNECTIONS: Final = 32
_WARM_UP: Final = 2_000
_SETTLE_SECONDS: Final = 1.0

PARKING: Final = """\
metadata: {name: "Parks", version: "1.0.0"}
nodes:
  wait: {type: wait, params: {key: go, timeout: 1d}}
"""

LIGHT: Final = """\
metadata: {name: "Light", version: "1.0.0"}
nodes:
  first: {type: transform, params: {value: {n: 1}}, next: {default: second}}
  second: {type: transform, params: {value: "${input.n}"}}
"""


def parked(directory: Path, *, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """The growth of a young server's memory by 10,000 executions that wait for a day.

    Part of it is the database's page caches, which are still filling; see `finished` for what is left
    when they are full.
    """
    with running_server(directory / "parked") as server:
        light = server.create_flow(LIGHT)
        # The first executions pay for what every later one shares: code, connections, statements.
        start(server, light, _WARM_UP, seconds)
        server.wait_until_none(light, "running", "waiting")
        return _park(server, seconds, say)


def _park(server: Server, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    parking = server.create_flow(PARKING)
    before = _settled(server)
    start(server, parking, PARKED, seconds)
    server.wait_until_none(parking, "running")
    count = server.count(parking, "waiting")
    if (made := server.count(parking)) != count:
        raise BenchFailed(f"{made} executions were to park, and {count} did")
    after = _settled(server)
    say(f"{count} parked: {mb(before)} → {mb(after)} MB")
    return {"executions": count, "rss_before": before, "rss_after": after, "bytes_each": (after - before) / count}


def finished(directory: Path, *, total: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Resident memory after every tenth of ``total`` executions, started as fast as they are accepted.

    Then 10,000 more are parked, if the server has finished enough for its caches to be full.
    """
    with running_server(directory / "finished") as server:
        light = server.create_flow(LIGHT)
        points = [(0, _settled(server))]
        deadline = time.monotonic() + seconds
        begun = time.perf_counter()
        for tenth in range(1, 11):
            left = deadline - time.monotonic()
            if left < 1:
                raise BenchFailed(f"{seconds:g} s were not enough for {total} executions: {points[-1][0]} ended")
            start(server, light, total * tenth // 10 - points[-1][0], left)
            server.wait_until_none(light, "running", "waiting")
            points.append((server.count(light, "completed"), server.rss()))
            say(f"{points[-1][0]} finished: {mb(points[-1][1])} MB")
        taken = time.perf_counter() - begun
        if (made := server.count(light)) != points[-1][0]:
            raise BenchFailed(f"{made} executions, of which {points[-1][0]} completed")
        then = _park(server, max(deadline - time.monotonic(), 10), say) if total >= ENOUGH_FOR_CACHES else None
        return {"points": points, "per_second": points[-1][0] / taken, "then_parked": then}


def start(server: Server, flow_id: str, count: int, seconds: float) -> None:
    """Start so many executions, which may take so long. Raises: BenchFailed."""
    report = wrk(
        server, "one_request.lua", "POST", f"/api/v1/flows/{flow_id}/run", count,
        threads=1, connections=_CONNECTIONS, seconds=seconds,
    )  # fmt: skip
    if report["not_2xx"] or report["socket_errors"]:
        raise BenchFailed(f"executions were refused: {report}")
    if report["requests"] < count:
        raise BenchFailed(f"{seconds:g} s were not enough: {report['requests']} of {count} executions were started")


def _settled(server: Server) -> int:
    time.sleep(_SETTLE_SECONDS)
    return server.rss()


def mb(size: float) -> str:
    return f"{size / 1e6:.1f}"
