"""The server that flows call: a fixed answer, so that it is not what is measured.

python -m bench.receiver DELAY_MS
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from typing import cast

import uvloop

from bench.processes import HOST


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ANSWER = _response(b'{"key":"value"}')
_COUNTS: Counter[str] = Counter()


class _Answering(asyncio.Protocol):
    """As much of HTTP as one known client needs: keep-alive, and bodies with a length."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._transport: asyncio.Transport | None = None
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "connected"
        pending = self._pending + data
        while (end := pending.find(b"\r\n\r\n")) >= 0:
            head = pending[:end].lower()
            end += 4
            at = head.find(b"\r\ncontent-length:")
            if at >= 0:
                end += int(head[at + 17 :].split(b"\r\n", 1)[0])
            if len(pending) < end:
                break
            method, path, _ = pending.split(b" ", 2)
            pending = pending[end:]
            if path == b"/counts":
                self._transport.write(_response(json.dumps(_COUNTS).encode()))
            else:
                _COUNTS[method.decode()] += 1
                self._answer()
        self._pending = pending

    def _answer(self) -> None:
        assert self._transport is not None, "connected"
        if self._delay_seconds:
            asyncio.get_running_loop().call_later(self._delay_seconds, self._transport.write, _ANSWER)
        else:
            self._transport.write(_ANSWER)


async def _main(delay_seconds: float) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: _Answering(delay_seconds), HOST, 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]) / 1000))
