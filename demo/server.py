"""The server of the demo: `flowrunner serve` as a child process."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Final, Self

ADMIN: Final = "ada@example.com"
PASSWORD: Final = "nine-quiet-herons"  # noqa: S105 # of a server that lives for seconds
# As long as `flowrunner dev` waits: the machine may be busy.
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0


class ServerFailed(Exception):
    """The server did not do as it should; its last words are in the message."""


class Server:
    """Starts on a free port when entered, and never outlives its block."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=30)
        self._started: asyncio.Future[str] | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end(signal.SIGTERM)

    async def start(self) -> None:
        # What somebody has set for a server of their own is not meant for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNNER_")}
        environment |= {
            "FLOWRUNNER_ADMIN_EMAIL": ADMIN,
            "FLOWRUNNER_ADMIN_PASSWORD": PASSWORD,
            "FLOWRUNNER_EGRESS_ALLOW": "127.0.0.0/8",
            "FLOWRUNNER_LOG_FORMAT": "json",
        }
        self._started = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "flowrunner", "serve", "--port", "0", "--data-dir", str(self._data_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._data_dir.parent,
            env=environment,
        )
        self._reading = asyncio.create_task(self._read(self._process, self._started))
        try:
            async with asyncio.timeout(_START_SECONDS):
                self.url = await self._started
        except TimeoutError:
            await self._end(signal.SIGKILL)
            raise ServerFailed(f"The server did not start within {_START_SECONDS:g} s:\n{self.words}") from None
        except BaseException:
            await self._end(signal.SIGKILL)
            raise

    async def kill(self) -> None:
        """End it as a crash would."""
        await self._end(signal.SIGKILL)

    @property
    def words(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._said)

    async def _read(self, process: asyncio.subprocess.Process, started: "asyncio.Future[str]") -> None:
        assert process.stderr is not None, "asked for above"
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            with contextlib.suppress(ValueError):
                event = json.loads(text)
                if event["event"] == "server.started" and not started.done():
                    started.set_result(event["url"])
        code = await process.wait()
        if not started.done():
            started.set_exception(ServerFailed(f"The server ended with code {code}:\n{self.words}"))

    async def _end(self, number: signal.Signals) -> None:
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        finally:
            # Also when the wait was cut short: nothing of ours is left behind.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
