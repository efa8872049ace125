"""What a campaign runs: databases, servers, workers and a receiver, each a process, with a proxy on each way."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

from temporalio.client import Client as Temporalio
from temporalio.service import RPCError

from support.client import Client
from support.databases import Place, rows_of
from support.postgres import PostgresServer
from support.proxy import Proxy
from support.receiver import Receiver
from support.server import Server
from support.temporal import Temporal

# On a file: one process, or three of them. On PostgreSQL: two servers, of one process or of three each, or servers and
# workers.
Kind: TypeAlias = Literal["sqlite", "processes", "postgres", "postgres-processes", "temporal"]
KINDS: Final[Sequence[Kind]] = ("sqlite", "processes", "postgres", "postgres-processes", "temporal")
ON_A_FILE: Final[Collection[Kind]] = ("sqlite", "processes")
WITH_PROCESSES: Final[Collection[Kind]] = ("processes", "postgres-processes")

_STANDBY: Final = "standby: another server is active"
_ASK_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """A server or a worker, and the proxies on its ways to others, by who they are."""

    name: str
    server: Server
    links: dict[str, Proxy] = field(default_factory=dict)

    @property
    def is_worker(self) -> bool:
        return self.name.startswith("worker")

    def is_ready(self) -> bool:
        return self.readiness() == "ready"

    def is_fine(self) -> bool:
        """Whether it does its part: a standby does by waiting."""
        return self.readiness() in ("ready", "standby")

    def readiness(self) -> str:
        """Return `ready`, `standby`, `unready`, or `away` if it does not answer."""
        if self.server.has_ended() or self.server.find_url() is None:
            return "away"
        try:
            reply = self.server.client().request("GET", "/readyz", seconds=_ASK_SECONDS)
        except (OSError, HTTPException):
            return "away"
        if reply.status == 200:
            return "ready"
        return "standby" if _STANDBY in str(reply.error["message"]) else "unready"

    def pause(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)


class Installation:
    """Started by `with`, with one server and its first admin; `complete` adds the rest.

    Attributes:
        place: The database, past all proxies.
    """

    def __init__(self, kind: Kind, directory: Path) -> None:
        self.kind = kind
        self._directory = directory
        self._stack = ExitStack()
        self._settings: dict[str, str] = {}
        self.postgres: PostgresServer | None = None
        self._temporal: Temporal | None = None
        self.machines: list[Machine] = []
        self.receiver = Receiver(directory)
        self._ready: Sequence[Machine] = ()
        # When nobody was ready, by the clock of the loop.
        self.outages: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.kind in WITH_PROCESSES:
                self._settings["PROCESSES"] = "3"
            if self.kind not in ON_A_FILE:
                # With all that it takes to lose nothing. What happened in which order, commits tell best.
                self.postgres = PostgresServer({"fsync": "on", "track_commit_timestamp": "on"})
                stack.callback(self.postgres.stop)
                self._settings["DATABASE_URL"] = self.postgres.start().new_database()
            if self.kind == "temporal":
                self._temporal = Temporal(self._directory)
                stack.callback(self._temporal.stop)
                self._settings["DISPATCH"] = self._temporal.start().url("chaos")
            stack.callback(self.receiver.stop)
            self.receiver.start()
            stack.callback(self._end)
            self._add("serve", stack).server.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *about: object) -> None:
        self._stack.close()

    def complete(self) -> None:
        """Start the other machines of an installation of this kind; all are ready when this returns."""
        others = [] if self.kind in ON_A_FILE else ["serve"]
        if self.kind == "temporal":
            others += ["worker", "worker"]
        for command in others:
            self._add(command, self._stack).server.spawn()
        for machine in self.machines:
            self.wait_until(machine.is_fine)

    @property
    def place(self) -> Place:
        return self._settings.get("DATABASE_URL") or self.machines[0].server.database

    @property
    def servers(self) -> Sequence[Machine]:
        return [machine for machine in self.machines if not machine.is_worker]

    @property
    def workers(self) -> Sequence[Machine]:
        return [machine for machine in self.machines if machine.is_worker]

    def admin(self) -> Client:
        return self.machines[0].server.admin()

    def find_url(self) -> str | None:
        """The address of a server that was ready a moment ago; what a load balancer gives."""
        for machine in self._ready:
            if (url := machine.server.find_url()) is not None:
                return url
        return None

    async def keep_looking(self) -> None:
        """Find out, again and again, which servers are ready."""
        loop, away_since = asyncio.get_running_loop(), None
        while True:
            answers = await asyncio.gather(*(asyncio.to_thread(machine.is_ready) for machine in self.servers))
            ready = [machine for machine, is_ready in zip(self.servers, answers, strict=True) if is_ready]
            # The one that was taken last comes last.
            self._ready = sorted(ready, key=lambda machine: machine in self._ready[:1])
            if not ready:
                away_since = away_since or loop.time()
            elif away_since is not None:
                self.outages.append((away_since, loop.time()))
                away_since = None
            await asyncio.sleep(_LOOK_SECONDS)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 240.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it never came to that:\n{self.last_words()}"
            time.sleep(0.02)

    def open_executions(self) -> Sequence[str]:
        found = rows_of(self.place, "SELECT id FROM executions WHERE completed_at IS NULL ORDER BY id")
        return [id for (id,) in found]

    async def what_it_waits_for(self, id: str) -> str:
        """Return the last events of an execution, and what Temporal has for it."""
        last = "SELECT seq, at, type FROM readable_events WHERE execution_id = ? ORDER BY seq DESC LIMIT 3"
        found = f"its last events are {await asyncio.to_thread(rows_of, self.place, last, id)}"
        if self._temporal is None:
            return found
        client = await Temporalio.connect(self._temporal.address)
        try:
            described = (await client.get_workflow_handle(id).describe()).raw_description
        except RPCError as error:
            return f"{found}; Temporal answers {error.status.name}"
        info = described.workflow_execution_info
        told = [info.status, described.pending_workflow_task, *described.pending_activities]
        return f"{found}; Temporal has {' '.join(str(told).split())}, and it is {datetime.now(UTC)}"

    def stop(self) -> list[str]:
        """Stop servers and workers in good order; gives what was wrong with it."""
        for machine in self.machines:
            machine.server.terminate()
        codes = {machine.name: machine.server.wait(_STOP_SECONDS) for machine in self.machines}
        return [f"{name} has ended with {code}" for name, code in codes.items() if code != 0]

    def _add(self, command: str, stack: ExitStack) -> Machine:
        name = f"{'worker' if command == 'worker' else 'server'}-{len(self.machines)}"
        directory = self._directory / name
        directory.mkdir()
        links, settings = {}, dict[str, str | None]()
        if "PROCESSES" in self._settings:
            settings["PROCESSES"] = self._settings["PROCESSES"]
        for setting, to in (("DATABASE_URL", "postgres"), ("DISPATCH", "temporal")):
            if (url := self._settings.get(setting)) is not None:
                links[to] = stack.enter_context(Proxy.before(url))
                settings[setting] = links[to].through(url)
        machine = Machine(name, Server(directory, settings, command=command), links)
        if self.machines and self.kind not in ON_A_FILE:
            shutil.copytree(self.machines[0].server.data_dir / "keys", machine.server.data_dir / "keys")
            machine.server.data_dir.chmod(0o700)
        self.machines.append(machine)
        return machine

    def _end(self) -> None:
        for machine in self.machines:
            if not machine.server.has_ended():
                machine.resume()
                machine.server.kill()

    def last_words(self) -> str:
        """Return how each machine is, and the end of its log."""
        return "\n".join(
            f"--- {machine.name} is {machine.readiness()}\n{machine.server.log[-2000:]}" for machine in self.machines
        )
