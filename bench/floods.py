"""What does a login cost, and what do others notice of a flood of logins that fail?"""

import http.client
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

from bench.processes import EMAIL, HOST, BenchFailed, Server
from bench.wrk import wrk

_LOGINS: Final = 20
# Neither they nor the flood keep a processor busy: where everybody waits for one, nothing is told apart.
_CLIENTS: Final = 8
_REST_MS: Final = 20
# 50 connections, each with a pause: about 500 a second.
_FLOOD: Final = {"threads": 1, "connections": 50}
_PAUSE_MS: Final = 100
# More than an address may fail before it is throttled.
_GUESSES: Final = 200
_REFUSED: Final = 500
# The flood comes from HOST, and nobody logs in from there meanwhile.
_ELSEWHERE: Final = "127.0.0.2"
# From one of these a name fails until it is throttled: the address of the flood is let in again every few seconds.
_THROTTLED: Final = (f"127.0.0.{last}" for last in range(3, 250))
_FAILURES: Final = 20


def measure(server: Server, seconds: float) -> dict[str, Any]:
    """Return how long lists take alone, beside as many requests without a token, and beside throttled logins.

    What is refused for want of a token is as cheap as an answer can be: what a flood of it costs the others, they
    pay for sharing a machine with any flood and with whoever makes it.
    """
    throttled = next(_THROTTLED)
    alone = _lists(server, seconds)
    control, _ = _beside(server, "no_token.lua", seconds)
    _fail_until_throttled(server)
    logins, per_second = _beside(server, "failing_logins.lua", seconds)
    _cpu_each(server, _FAILURES, "a-wrong-guess", source=throttled, status=401)
    return {
        "p99_ms": alone,
        "control_p99_ms": control,
        "flooded_p99_ms": logins,
        "ratio": logins / alone,
        "flood_per_second": per_second,
        "login_cpu_ms": _cpu_each(server, _LOGINS, server.password, source=_ELSEWHERE, status=200),
        "throttled_cpu_ms": _cpu_each(server, _REFUSED, server.password, source=throttled, status=429),
    }


def _fail_until_throttled(server: Server) -> None:
    """Guess from HOST, however long the machine takes to try each guess, until it is throttled."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    for guess in range(_GUESSES):
        body = json.dumps({"username": f"nobody-before-{guess}@example.com", "password": "a-wrong-guess"})
        connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status == 429:
            connection.close()
            return
    raise BenchFailed(f"{_GUESSES} failed logins from one address were all tried")


def _beside(server: Server, flood: str, seconds: float) -> tuple[float, float]:
    """Return how long lists take beside a flood that has begun a second ago, and its requests in a second."""
    made: dict[str, Any] = {}

    def make_flood() -> None:
        made.update(wrk(server, flood, _PAUSE_MS, seconds=seconds + 2, **_FLOOD))

    thread = threading.Thread(target=make_flood)
    thread.start()
    try:
        time.sleep(1)
        beside = _lists(server, seconds)
    finally:
        thread.join()
    if not made:
        raise BenchFailed("the flood failed")
    return beside, made["requests"] / made["seconds"]


def _lists(server: Server, seconds: float) -> float:
    report = wrk(
        server, "one_request.lua", "GET", "/api/v1/flows", 0, _REST_MS, threads=1, connections=_CLIENTS, seconds=seconds
    )  # fmt: skip
    if report["not_2xx"] or report["socket_errors"]:
        raise BenchFailed(f"lists failed: {report}")
    p99: float = report["p99_ms"]
    return p99


def _cpu_each(server: Server, logins: int, password: str, *, source: str, status: int) -> float:
    """Milliseconds of the server's processor time for one login, all its threads together."""
    body = json.dumps({"username": EMAIL, "password": password})
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30, source_address=(source, 0))
    before = _cpu_ms(server.pid)
    for _ in range(logins):
        connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status != status:
            raise BenchFailed(f"a login was answered with {response.status}")
    connection.close()
    return (_cpu_ms(server.pid) - before) / logins


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000
