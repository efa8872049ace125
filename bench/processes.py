"""The processes that a measurement needs: each known by its own pid, and ended by it."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
EMAIL: Final = "bench@example.com"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
# What a process of ours prints when it is.
READY: Final = "ready"


class BenchFailed(Exception):
    """A measurement that cannot be trusted; the message says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: "subprocess.Popen[Any]") -> None:
    """End one process that we started; the hard way if it does not go by itself."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def scratch(within: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="flowrunner-bench-", dir=within) as directory:
        yield Path(directory)


@dataclass(slots=True)
class Server:
    """`flowrunner serve` on a data directory, and the REST calls a measurement makes of it.

    Attributes:
        settings: `FLOWRUNNER_…` variables without their prefix.
        command: Another one than `serve`, which has the same data directory.
        program: What the interpreter runs.
        start_seconds: From its start to the first 200 of `/readyz`.
    """

    data_dir: Path
    database_url: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = "serve"
    program: Sequence[str] = ("-m", "flowrunner")
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    token: str = field(default="", repr=False)
    start_seconds: float = 0.0
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has been started"
        return self._process.pid

    @property
    def log_file(self) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}-{self.command}-{self.port}.log")

    def start(self) -> float:
        """Start it; gives the seconds from there to the first 200 of `/readyz`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNNER_")}
        environment |= {
            "FLOWRUNNER_ADMIN_EMAIL": EMAIL,
            "FLOWRUNNER_ADMIN_PASSWORD": self.password,
            "FLOWRUNNER_EGRESS_ALLOW": "127.0.0.0/8",
            # One account asks as much as all of them may.
            "FLOWRUNNER_ACCOUNT_REQUESTS": "0",
            "FLOWRUNNER_WORKSPACE_ACTIVE": "0",
        }
        if self.database_url is not None:
            environment["FLOWRUNNER_DATABASE_URL"] = self.database_url
        environment |= {f"FLOWRUNNER_{name}": value for name, value in self.settings.items()}
        command = [sys.executable, *self.program, self.command, "--host", HOST, "--port", str(self.port),
                   "--data-dir", str(self.data_dir)]  # fmt: skip
        begun = time.perf_counter()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.data_dir.parent)
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - begun > START_SECONDS:
                self.stop()
                raise BenchFailed(f"the server did not start:\n{self.log_file.read_text()[-2000:]}")
            time.sleep(0.002)
        self.start_seconds = time.perf_counter() - begun
        return self.start_seconds

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)

    def log_in(self) -> None:
        self.token = self.call("POST", "/api/v1/auth/login", {"username": EMAIL, "password": self.password})["token"]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer to one request. Raises: BenchFailed unless it is a success."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            if response.status not in (200, 201):
                raise BenchFailed(f"{method} {path} answered {response.status}: {text[:500]!r}")
            return json.loads(text)
        finally:
            connection.close()

    def text(self, path: str) -> str:
        """What is there for everybody."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def create_flow(self, definition: str) -> str:
        id: str = self.call("POST", "/api/v1/flows", {"definition": definition})["id"]
        return id

    def count(self, flow_id: str, *statuses: str) -> int:
        """How many executions of a flow there are, or are in one of ``statuses``."""
        only = f"&status={','.join(statuses)}" if statuses else ""
        total: int = self.call("GET", f"/api/v1/executions?limit=1&flow_id={flow_id}{only}")["total"]
        return total

    def wait_until_all_completed(self, flow_id: str, *, seconds: float = 60.0) -> None:
        """A client's last request may begin one more a moment after it is gone."""
        deadline, before = time.monotonic() + seconds, -1
        while not (before == (total := self.count(flow_id)) == (completed := self.count(flow_id, "completed"))):
            if time.monotonic() > deadline:
                raise BenchFailed(f"{total} executions, of which only {completed} completed in {seconds:g} s")
            before = total
            time.sleep(0.2)

    def wait_until_none(self, flow_id: str, *statuses: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while left := self.count(flow_id, *statuses):
            if time.monotonic() > deadline:
                raise BenchFailed(f"{left} executions are still {' or '.join(statuses)} after {seconds:g} s")
            time.sleep(0.05)

    def rss(self) -> int:
        """Resident memory of the process, in bytes."""
        resident = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return resident * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def running_server(
    data_dir: Path,
    *,
    database_url: str | None = None,
    settings: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "flowrunner"),
) -> Iterator[Server]:
    """A server that has started, with a login."""
    server = Server(data_dir, database_url, settings or {}, program=program)
    try:
        server.start()
        server.log_in()
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class Receiver:
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def counts(self) -> Mapping[str, int]:
        """How many requests it has answered, by method."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", "/counts")
            counts: dict[str, int] = json.loads(connection.getresponse().read())
            return counts
        finally:
            connection.close()


@contextlib.contextmanager
def running_receiver(*, delay_ms: int = 0) -> Iterator[Receiver]:
    """Args: delay_ms: After so long it answers."""
    command = [sys.executable, "-m", "bench.receiver", str(delay_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None, "it is a pipe"
        yield Receiver(int(process.stdout.readline()))
    finally:
        stop(process)


def cpu_seconds(pid: int) -> float:
    """Processor time of the process, of its children, and of those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_seconds, _children(pid)))


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    return [one for child in _children(pid) for one in (child, *descendants(child))]


def _children(pid: int) -> list[int]:
    """Those that any of its threads has started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def stop_tree(process: "subprocess.Popen[Any]") -> None:
    """End one process that we started, and what is left of those that it started."""
    below = descendants(process.pid)
    stop(process)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run_module(module: str, *arguments: object, seconds: float, environment: Mapping[str, str] | None = None) -> Any:
    """What a module of ours prints as JSON, run in a process of its own, with more variables if need be."""
    command: Sequence[str] = [sys.executable, "-m", module, *map(str, arguments)]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=variables)
    if done.returncode != 0:
        raise BenchFailed(f"{module} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
