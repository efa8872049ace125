"""What the kit is played on: something that runs flows, whose clock and network are made by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from flowrunner.domain.limits import UNLIMITED
from flowrunner.plugin import NodeType
from flowrunner.ports import Sandbox
from flowrunner.schemas import RustSchemas
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.usage import SqlUsage
from support.world import FakeHttp, Machine, SteppingClock, machine

# Tasks of a dispatcher that bring something about by themselves.
_BUSY: Final = ("recovery", "relatives ")


@dataclass(frozen=True, slots=True)
class Process:
    """One life of a server, without its network side."""

    machine: Machine
    flows: Flows
    language: Language

    @property
    def is_busy(self) -> bool:
        """Whether something is being done that no execution's events tell of yet."""
        return any(task.get_name().startswith(_BUSY) for task in asyncio.all_tasks())

    @property
    def in_memory(self) -> int:
        return self.machine.dispatcher.active + self.machine.dispatcher.queued

    def look_at_clock(self) -> None:
        """Act on a clock that was set by hand."""
        self.machine.look_at_timers()
        for slot in self.machine.dispatcher._slots.values():
            if slot.run is not None:
                slot.run.nudge()

    def stored(self) -> bytes:
        """Everything that is on disk."""
        path = self.machine.path
        files = [path.with_name(path.name + end) for end in ("", "-wal")]
        return b"".join(file.read_bytes() for file in files if file.exists())


class Backend(Protocol):
    """Opens a server on the files in a directory, which it makes if need be; leaving it is a crash."""

    def __call__(
        self,
        directory: Path,
        *,
        clock: SteppingClock,
        http: FakeHttp,
        types: Sequence[NodeType[Any]],
        sandbox: Sandbox,
    ) -> AbstractAsyncContextManager[Process]: ...


@asynccontextmanager
async def sqlite(
    directory: Path,
    *,
    clock: SteppingClock,
    http: FakeHttp,
    types: Sequence[NodeType[Any]],
    sandbox: Sandbox,
) -> AsyncIterator[Process]:
    path = directory / "flowrunner.db"
    async with machine(path, clock=clock, http=http, types=types, sandbox=sandbox) as opened:
        # Waits are over when the clock is set, never by themselves.
        opened.world.short_wait = -1.0
        specs = {name: node_type.spec() for name, node_type in opened.types.items()}
        language = Language(specs, RustSchemas(), sandbox)
        database = opened.database
        flows = Flows(
            SqlFlows(database),
            SqlSecrets(database),
            language,
            clock,
            usage=SqlUsage(database),
            limits=UNLIMITED,
        )
        yield Process(opened, flows, language)


BACKENDS: Final[Mapping[str, Callable[..., AbstractAsyncContextManager[Process]]]] = {"sqlite": sqlite}
