"""A server that flows call, in a process of its own: what reaches it is on disk before it answers."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web

from support.preloaded import ForkedProcess

STDERR: Final = 2
_PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Effect:
    """A request as the receiver got it. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """The process, as tests see it.

    `/ok`, `/status/{status}`, `/slow?seconds=`, `/echo`, `/wait?most=` (a random moment),
    `/redirect?to=&status=`, `/say?type=&status=` (the body it was sent, as it is),
    `/keep/{name}?type=&status=` (the body that a PUT there brought) and `/half` (503 for the first try of half of the
    messages, by their `webhook-id`), with any method and any further
    path behind `/ok` and `/wait`.
    """

    def __init__(self, directory: Path) -> None:
        self._ledger = directory / "effects.jsonl"
        self._port_file = directory / "port"
        self._process: ForkedProcess | None = None
        self._start = 0
        self.url = ""

    def from_now(self) -> Self:
        """The same process, as a test sees it that has nothing to do with what it got before."""
        later = copy(self)
        later._start = self._ledger.stat().st_size if self._ledger.exists() else 0
        return later

    def start(self) -> Self:
        root = Path(__file__).resolve().parent.parent
        program = ["-m", "support.receiver", str(self._ledger), str(self._port_file)]
        with Path(os.devnull).open("rb") as nothing:
            # It says nothing but what is wrong with it.
            files = (nothing.fileno(), STDERR, STDERR)
            self._process = ForkedProcess(program, cwd=root, env=os.environ, files=files)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._port_file.exists():
            assert self._process.poll() is None, "the receiver did not start"
            assert time.monotonic() < deadline, "the receiver is not ready"
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._port_file.read_text()}"
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_PATIENCE_SECONDS)

    def effects(self, path: str = "") -> Sequence[Effect]:
        """What it got so far, in order, at paths that start so."""
        if not self._ledger.exists():
            return []
        with self._ledger.open("rb") as ledger:
            ledger.seek(self._start)
            found = [Effect(**json.loads(line)) for line in ledger]
        return [effect for effect in found if effect.path.startswith(path)]


def _app(ledger: int) -> web.Application:
    draw = random.Random(1)
    kept: dict[str, bytes] = {}
    seen: Counter[str] = Counter()

    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        line = {
            "method": request.method,
            "path": request.path,
            "query": request.query_string,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(errors="replace"),
        }
        os.write(ledger, json.dumps(line).encode() + b"\n")
        os.fdatasync(ledger)
        response: web.StreamResponse = await handler(request)
        return response

    async def ok(request: web.Request) -> web.Response:
        return web.json_response({"key": "value"})

    async def status(request: web.Request) -> web.Response:
        number = int(request.match_info["status"])
        return web.json_response({"said": number}, status=number)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query.get("seconds", "30")))
        return web.json_response({"slow": True})

    async def wait(request: web.Request) -> web.Response:
        await asyncio.sleep(draw.random() * float(request.query.get("most", "0.05")))
        return web.json_response({"key": "value"})

    async def echo(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "method": request.method,
                "url": str(request.url),
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "body": (await request.read()).decode(errors="replace"),
            }
        )

    async def say(request: web.Request) -> web.Response:
        return web.Response(
            body=await request.read(),
            status=int(request.query.get("status", "200")),
            content_type=request.query.get("type", "application/json"),
        )

    async def keep(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "PUT":
            kept[name] = await request.read()
        return web.Response(
            body=kept.get(name, b""),
            status=int(request.query.get("status", "200")),
            content_type=request.query.get("type", "application/json"),
        )

    async def half(request: web.Request) -> web.Response:
        id = request.headers.get("webhook-id", "")
        seen[id] += 1
        # In turns: many rejections in a row, by chance, would make a sender pause for minutes.
        is_rejected = seen[id] == 1 and len(seen) % 2 == 0
        return web.json_response({}, status=503 if is_rejected else 200)

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(
            status=int(request.query.get("status", "302")), headers={"Location": request.query.get("to", "/redirect")}
        )

    app = web.Application(middlewares=[record], client_max_size=8 * 1024 * 1024)
    for path, handler in (
        ("/ok", ok),
        ("/ok/{rest:.*}", ok),
        ("/status/{status:[0-9]{3}}", status),
        ("/slow", slow),
        ("/wait", wait),
        ("/wait/{rest:.*}", wait),
        ("/echo", echo),
        ("/redirect", redirect),
        ("/say", say),
        ("/keep/{name}", keep),
        ("/half", half),
    ):
        app.router.add_route("*", path, handler)
    return app


async def _serve(ledger: str, port_file: str) -> None:
    descriptor = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    runner = web.AppRunner(_app(descriptor), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    _announce(port_file, runner.addresses[0][1])
    await stop.wait()
    await runner.cleanup()


def _announce(port_file: str, port: int) -> None:
    # In one step: whoever waits for the file must not read half of a number.
    written = Path(f"{port_file}.new")
    written.write_text(str(port))
    written.rename(port_file)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
