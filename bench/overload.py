"""What does a server do with five times the starts that it can do: does it refuse what is too much, and lose nothing?

`python -m bench.overload [--seconds 60] [--times 5]`: the peak is what 32 clients reach that wait for each answer. Then
requests are sent at five times that rate, as far as 2,000 connections carry them: a client whose connection still waits
for an answer sends nothing, and what was due meanwhile is not sent. The generator is pinned to one core both times. The
limits are those that a server has by default.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter, deque
from typing import Any, Final
from urllib.parse import urlsplit

from bench.memory import LIGHT
from bench.processes import BenchFailed, Server, cpu_seconds, run_module, running_server, scratch
from bench.rest import percentile

CLIENTS: Final = 32
_MOST_CONNECTIONS: Final = 2_000
_LEAST_GOODPUT: Final = 0.8
_GRACE_SECONDS: Final = 60.0
# As the settings have it; other benchmarks have no limits.
_DEFAULTS: Final = {"ACCOUNT_REQUESTS": "120000", "WORKSPACE_ACTIVE": "500"}
_TICK_SECONDS: Final = 0.002


class _Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.is_busy = False
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._generator.idle.append(self)

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self.is_busy, self._sent_at = True, time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        headers = head.lower()
        length = int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(rest) < length:
            return
        self._received, self.is_busy = rest[length:], False
        status = int(head[9:12])
        self._generator.durations.append(time.perf_counter() - self._sent_at)
        self._generator.counts[status] += 1
        if status in (429, 503) and b"retry-after:" not in headers:
            self._generator.without_retry_after += 1
        self._generator.idle.append(self)
        self._generator.answered()

    def connection_lost(self, error: Exception | None) -> None:
        self._generator.lost(self)


class Generator:
    """Requests to one address: at a rate, or one after the other by each of some clients."""

    def __init__(self, url: str, token: str, path: str, *, rate: float, seconds: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        body = b'{"input": {}}'
        self._request = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._rate, self._seconds = rate, seconds
        self.idle: deque[_Connection] = deque()
        self.counts: Counter[int] = Counter()
        self.durations: list[float] = []
        self.without_retry_after = self.sent = self.broken = 0
        self._is_over = False

    async def run(self) -> dict[str, Any]:
        for _ in range(_MOST_CONNECTIONS if self._rate else CLIENTS):
            await self._connect()
        begun = time.perf_counter()
        if self._rate:
            while (passed := time.perf_counter() - begun) < self._seconds:
                while self.sent < passed * self._rate and self.idle:
                    self._send()
                await asyncio.sleep(_TICK_SECONDS)
        else:
            while self.idle:
                self._send()
            await asyncio.sleep(self._seconds)
        self._is_over = True
        seconds = time.perf_counter() - begun
        deadline = time.perf_counter() + _GRACE_SECONDS
        while sum(self.counts.values()) + self.broken < self.sent and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)
        return {
            "seconds": seconds, "sent": self.sent, "counts": dict(self.counts), "broken": self.broken,
            "unanswered": self.sent - self.broken - sum(self.counts.values()),
            "without_retry_after": self.without_retry_after,
            "p50_seconds": percentile(sorted(self.durations), 50),
            "p99_seconds": percentile(sorted(self.durations), 99),
        }  # fmt: skip

    def _send(self) -> None:
        self.sent += 1
        self.idle.popleft().send(self._request)

    def answered(self) -> None:
        if not self._rate and not self._is_over:
            self._send()

    def lost(self, connection: _Connection) -> None:
        self.broken += connection.is_busy
        if connection in self.idle:
            self.idle.remove(connection)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: _Connection(self), self._host, self._port)


def _generate(server: Server, flow_id: str, *, rate: float, seconds: float) -> dict[str, Any]:
    path = f"/api/v1/flows/{flow_id}/run"
    arguments = ("--generate", server.url, path, rate, seconds)
    found: dict[str, Any] = run_module(
        "bench.overload", *arguments, seconds=seconds + 2 * _GRACE_SECONDS, environment={"BENCH_TOKEN": server.token}
    )
    return found


def measure(server: Server, *, seconds: float, times: float) -> dict[str, Any]:
    """Return the answers, and the completed executions a second and their processor time, at the peak and beyond it.

    Raises: BenchFailed.
    """
    peak_flow, flow = server.create_flow(LIGHT), server.create_flow(LIGHT)
    used = [cpu_seconds(server.pid)]
    found = _generate(server, peak_flow, rate=0, seconds=min(seconds, 20.0))
    peak = server.count(peak_flow, "completed") / found["seconds"]
    server.wait_until_all_completed(peak_flow)
    used.append(cpu_seconds(server.pid))
    overload = _generate(server, flow, rate=peak * times, seconds=seconds)
    goodput = server.count(flow, "completed") / overload["seconds"]
    accepted = overload["counts"].get("201", 0)
    begun = time.monotonic()
    server.wait_until_all_completed(flow, seconds=300.0)
    stored = server.count(flow)
    used.append(cpu_seconds(server.pid))
    after = _generate(server, server.create_flow(LIGHT), rate=0, seconds=5.0)
    return {
        "peak": peak, "offered": overload["sent"] / overload["seconds"], "goodput": goodput, "accepted": accepted,
        "stored": stored, "peak_cpu_ms": 1000 * (used[1] - used[0]) / server.count(peak_flow),
        "cpu_ms": 1000 * (used[2] - used[1]) / stored, "recovered_after": time.monotonic() - begun - after["seconds"],
        "after": after["counts"].get("201", 0) / after["seconds"], **overload,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=5.0, help="requests sent, as a multiple of the peak")
    parser.add_argument("--generate", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        url, path, rate, seconds = options.generate
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        generator = Generator(url, os.environ["BENCH_TOKEN"], path, rate=float(rate), seconds=float(seconds))
        json.dump(asyncio.run(generator.run()), sys.stdout)
        return
    with scratch() as directory, running_server(directory / "data", settings=_DEFAULTS) as server:
        found = measure(server, seconds=options.seconds, times=options.times)
    print(json.dumps(found, indent=1))
    statuses = {int(status) for status in found["counts"]}
    if statuses - {201, 429, 503} or found["without_retry_after"]:
        raise BenchFailed("an answer was neither 201 nor 429 or 503 with Retry-After")
    if found["stored"] < found["accepted"]:
        raise BenchFailed("an accepted execution was lost")
    if found["goodput"] < _LEAST_GOODPUT * found["peak"]:
        raise SystemExit("the overload reduces what the server does")


if __name__ == "__main__":
    main()
