"""What does a login cost, and what do others notice of a flood of logins that fail?"""

import os
import threading
import time
from pathlib import Path
from typing import Any, Final

from bench.processes import EMAIL, BenchFailed, Server
from bench.wrk import wrk

_LOGINS: Final = 20
# Neither they nor the flood keep a processor busy: where everybody waits for one, nothing is told apart.
_CLIENTS: Final = 8
_REST_MS: Final = 20
# 50 connections, each with a pause: about 500 a second.
_FLOOD: Final = {"threads": 1, "connections": 50}
_PAUSE_MS: Final = 100
_UNTIL_THROTTLED_SECONDS: Final = 4.0


def measure(server: Server, seconds: float) -> dict[str, Any]:
    alone = _lists(server, seconds)
    flood: dict[str, Any] = {}

    def make_flood() -> None:
        longer = seconds + _UNTIL_THROTTLED_SECONDS + 1
        flood.update(wrk(server, "failing_logins.lua", _PAUSE_MS, seconds=longer, **_FLOOD))

    thread = threading.Thread(target=make_flood)
    thread.start()
    try:
        # The first guesses are tried; after them the address is throttled.
        time.sleep(_UNTIL_THROTTLED_SECONDS)
        beside = _lists(server, seconds)
    finally:
        thread.join()
    if not flood:
        raise BenchFailed("the flood failed")
    return {
        "p99_ms": alone,
        "flooded_p99_ms": beside,
        "ratio": beside / alone,
        "flood_per_second": flood["requests"] / flood["seconds"],
        "login_cpu_ms": _login_cpu_ms(server),
    }


def _lists(server: Server, seconds: float) -> float:
    report = wrk(
        server, "one_request.lua", "GET", "/api/v1/flows", 0, _REST_MS, threads=1, connections=_CLIENTS, seconds=seconds
    )  # fmt: skip
    if report["not_2xx"] or report["socket_errors"]:
        raise BenchFailed(f"lists failed: {report}")
    p99: float = report["p99_ms"]
    return p99


def _login_cpu_ms(server: Server) -> float:
    """Milliseconds of the server's processor time for one login, all its threads together."""
    before = _cpu_ms(server.pid)
    for _ in range(_LOGINS):
        server.call("POST", "/api/v1/auth/login", {"username": EMAIL, "password": server.password})
    return (_cpu_ms(server.pid) - before) / _LOGINS


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000
