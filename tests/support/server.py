"""A real server as a child process, on a data directory of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeAlias

from support.client import Client
from support.databases import change
from support.preloaded import ForkedProcess
from support.waiting import pause

ADMIN_EMAIL: Final = "root@example.com"
ADMIN_PASSWORD: Final = "seven-grey-herons-wade"
LOOPBACK: Final = "127.0.0.0/8,::1/128"
_STARTED: Final = re.compile(r'(?:server\.started\s.*?url=|"url": ")(http://[^\s"]+)')
_PATIENCE_SECONDS: Final = 120.0
Process: TypeAlias = "subprocess.Popen[bytes] | ForkedProcess"


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without settings that somebody may have made for a server of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNNER_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


PROGRAM: Final = ("-m", "flowrunner")
# A program that waits for a second or two where the usual one waits for five, ten or twenty.
HASTY: Final = (
    "-c",
    """
import datetime
import flowrunner.api.http.connections, flowrunner.api.http.protocol, flowrunner.services.sessions, flowrunner.serving
import flowrunner.bootstrap.housekeeping, flowrunner.security.vault
flowrunner.api.http.protocol.HEAD_SECONDS = flowrunner.serving.PING_SECONDS = 1.0
flowrunner.api.http.connections.READ_SECONDS = 2.0
flowrunner.bootstrap.housekeeping.SECRETS_SECONDS = 0.2
flowrunner.security.vault.LEAST_KEPT = datetime.timedelta()
flowrunner.services.sessions.REFRESH_GRACE = datetime.timedelta(seconds=2)
from flowrunner.cli.main import main
main()
""",
)
# The usual program, which hashes passwords as it does for users.
REAL_HASHES: Final = (
    "-c",
    """
from support import passwords
passwords.use(passwords.REAL)
from flowrunner.cli.main import main
main()
""",
)


class Server:
    """`flowrunner serve` on a free port; restarts keep the data and may change the port.

    It is forked from a process that has its modules, which spares the tests nine tenths of its start, and that hashes
    passwords quickly.

    Args:
        program: What the interpreter is given to run, for one with something planted in it. What is planted must find
            its effect although all modules have been imported: an attribute that is looked up where it is used.
        command: What of it: `serve` or `worker`.
        settings: `FLOWRUNNER_…` variables without their prefix; None leaves one of the defaults out.
        is_cold: Whether an interpreter of its own starts it, as one does for users, with hashes of their strength.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str | None] | None = None,
        flags: Sequence[str] = (),
        program: Sequence[str] = PROGRAM,
        command: str = "serve",
        *,
        is_cold: bool = False,
    ) -> None:
        self._is_forked = not is_cold
        self._program = (*program, command)
        self.data_dir = directory / "data"
        self.log_path = directory / "server.log"
        self._directory = directory
        self._flags = tuple(flags)
        self._settings: dict[str, str | None] = {
            "ADMIN_EMAIL": ADMIN_EMAIL,
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "EGRESS_ALLOW": LOOPBACK,
            **(settings or {}),
        }
        self._process: Process | None = None
        self._log_start = 0
        self.url = ""
        # Who looks for the address in another thread must not find that of a process that has just been killed.
        self._looking = threading.Lock()

    @property
    def database(self) -> Path:
        return self.data_dir / "flowrunner.db"

    def rename(self, flow: str, name: str) -> None:
        """Give a flow a name that an earlier version has saved, and that none saves now."""
        change(self.place, "UPDATE flows SET name = ? WHERE id = ?", name, flow)

    @property
    def place(self) -> Path | str:
        """Where its data is: the file, or the URL of the database it was given."""
        return self._settings.get("DATABASE_URL") or self.database

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def log(self) -> str:
        """What all processes on this data directory have written so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def spawn(self) -> Self:
        """Start the process without waiting for anything."""
        assert self._process is None or self._process.poll() is not None, "one process at a time"
        with self._looking:
            self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self.url = ""
        settings = {f"FLOWRUNNER_{name}": value for name, value in self._settings.items() if value is not None}
        command = [*self._program, "--port", "0", "--data-dir", str(self.data_dir)]
        with self.log_path.open("ab") as log:
            self._process = self._start([*command, *self._flags], clean_environment(**settings), log)
        return self

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], log: BinaryIO) -> Process:
        if self._is_forked:
            with Path(os.devnull).open("rb") as nothing:
                files = (nothing.fileno(), log.fileno(), log.fileno())
                return ForkedProcess(arguments, cwd=self._directory, env=environment, files=files)
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self._directory,
            env=environment,
        )

    def find_url(self) -> str | None:
        """The address of the present process, once it has said so."""
        with self._looking:
            if not self.url and self.log_path.exists():
                with self.log_path.open("rb") as log:
                    log.seek(self._log_start)
                    found = _STARTED.search(log.read().decode(errors="replace"))
                self.url = found[1] if found else ""
            return self.url or None

    def wait_until_ready(self, seconds: float = _PATIENCE_SECONDS) -> Self:
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            if self._running().poll() is not None:
                raise AssertionError(f"the server ended with {self._running().returncode}:\n{self.log[-4000:]}")
            if self.find_url() is not None and self.client().get("/readyz").status == 200:
                return self
            pause(began)
        raise AssertionError(f"the server is not ready after {seconds} s:\n{self.log[-4000:]}")

    def start(self) -> Self:
        return self.spawn().wait_until_ready()

    def kill(self) -> None:
        """End it as a crash would: nothing of it runs any more when this returns."""
        self._running().send_signal(signal.SIGKILL)
        self._running().wait()

    def terminate(self) -> None:
        self._running().send_signal(signal.SIGTERM)

    def wait(self, seconds: float = _PATIENCE_SECONDS) -> int:
        return self._running().wait(seconds)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self) -> None:
        """Make sure that it does not run, whatever state it is in."""
        if self.has_ended():
            return
        self.terminate()
        try:
            self.wait(15.0)
        except subprocess.TimeoutExpired:
            self.kill()

    def client(self, token: str | None = None) -> Client:
        return Client(self.url, token)

    def admin(self) -> Client:
        return self.client().login(ADMIN_EMAIL, ADMIN_PASSWORD)

    def _running(self) -> Process:
        assert self._process is not None, "not started"
        return self._process
