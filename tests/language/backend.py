"""Backends of the conformance kit: processes that run flows with a fake clock and network."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.values import ExecutionId
from flowrunner.plugin import NodeType
from flowrunner.ports.clock import Clock
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.journal import Journal, Recorded
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.secrets import Vault
from flowrunner.schemas import RustSchemas
from flowrunner.services.executions import Executions
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.services.reruns import Reruns
from flowrunner.services.signals import Signals
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.usage import SqlUsage
from support.databases import Place, contents_of
from support.dependencies import FakeHttp, Machine, SteppingClock, machine

# Waits end when the clock is set, and never in real time.
NO_SHORT_WAIT: Final = -1.0
# Tasks of a dispatcher that change executions without an input.
_BUSY: Final = ("recovery", "links ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Services of a server, without its API."""

    flows: Flows
    executions: Executions
    signals: Signals
    reruns: Reruns
    vault: Vault
    config: SqlConfig
    journal: Journal
    library: CompiledFlows
    published: Mapping[ExecutionId, Sequence[Recorded]]


class Process(ABC):
    """Process that runs flows."""

    services: Services

    @abstractmethod
    async def is_busy(self) -> bool:
        """Return whether work is in progress that the events do not show yet."""

    @property
    @abstractmethod
    def in_memory(self) -> int:
        """Return the number of executions in memory, including those that are being loaded."""

    @abstractmethod
    async def look_at_clock(self) -> None:
        """Act on a clock that was set by hand."""

    @abstractmethod
    async def stored(self) -> bytes:
        """Return everything that is stored."""


class Backend(Protocol):
    """Opener of a process on the data of its predecessors. Leaving the context is a crash."""

    def __call__(
        self, *, clock: SteppingClock, http: FakeHttp, types: Sequence[NodeType[Any]], sandbox: Sandbox
    ) -> AbstractAsyncContextManager[Process]: ...


@dataclass
class LocalProcess(Process):
    machine: Machine
    services: Services

    async def is_busy(self) -> bool:
        return any(task.get_name().startswith(_BUSY) for task in asyncio.all_tasks())

    @property
    def in_memory(self) -> int:
        return self.machine.dispatcher.active + self.machine.dispatcher.queued

    async def look_at_clock(self) -> None:
        self.machine.look_at_timers()
        for slot in self.machine.dispatcher._slots.values():
            if slot.execution is not None:
                slot.execution.nudge()

    async def stored(self) -> bytes:
        return await asyncio.to_thread(all_in, self.machine.path)


def local(place: Place) -> Backend:
    """Return the backend of one process with the local dispatcher."""

    @asynccontextmanager
    async def opened(
        *, clock: SteppingClock, http: FakeHttp, types: Sequence[NodeType[Any]], sandbox: Sandbox
    ) -> AsyncIterator[Process]:
        async with machine(place, clock=clock, http=http, types=types, sandbox=sandbox) as server:
            server.deps.short_wait = NO_SHORT_WAIT
            services = Services(
                flows=flows_on(server.database, server.types, sandbox, clock),
                executions=server.executions,
                signals=server.signals,
                reruns=server.reruns,
                vault=server.vault,
                config=SqlConfig(server.database),
                journal=server.journal,
                library=server.library,
                published=server.broadcast.published,
            )
            yield LocalProcess(server, services)

    return opened


def flows_on(database: Database, types: Mapping[str, NodeType[Any]], sandbox: Sandbox, clock: Clock) -> Flows:
    specs = {name: node_type.spec() for name, node_type in types.items()}
    language = Language(specs, RustSchemas(), sandbox)
    stores = SqlFlows(database), SqlSecrets(database), SqlConfig(database)
    return Flows(*stores, language, clock, usage=SqlUsage(database), limits=UNLIMITED)


def all_in(place: Place) -> bytes:
    """Return the files of a SQLite database, or the rows of a PostgreSQL database."""
    if isinstance(place, str):
        return "\n".join(contents_of(place)).encode()
    files = [place.with_name(place.name + end) for end in ("", "-wal")]
    return b"".join(file.read_bytes() for file in files if file.exists())
