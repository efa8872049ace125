"""The engine of an engine process, and the calls by which the server uses it."""

import asyncio
from datetime import datetime

from flowrunner.dispatch.processes.channel import Handlers
from flowrunner.dispatch.processes.packed import (
    LoadAnswer,
    PackedSignal,
    PackedStart,
    unpack_signal,
    unpack_start,
)
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Step
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.dispatch import ActiveExecution, Cancel, Engine
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.telemetry import TRACEPARENT
from flowrunner.tasks import begin


class ServedEngine:
    """The executions of an engine process, by the number that the server gave to their stay in memory."""

    def __init__(self, engine: Engine, library: CompiledFlows) -> None:
        self._engine = engine
        self._library = library
        self._executions: dict[int, ActiveExecution] = {}
        self._advancing: dict[int, asyncio.Task[datetime | None]] = {}

    @property
    def handlers(self) -> Handlers:
        return {
            "begin": self._begin,
            "load": self._load,
            "advance": self._advance,
            "cancel": self._cancel,
            "receive": self._receive,
            "hold": self._hold,
            "resume_after_hold": self._resume_after_hold,
            "nudge": self._nudge,
            "drop": self._drop,
            "stop": self._stop,
            "set_others_wait": self._engine.set_others_wait,
        }

    async def _begin(self, number: int, start: PackedStart) -> bool:
        """Begin an execution, and let it advance; return whether it stays in memory."""
        new, started = unpack_start(start)
        TRACEPARENT.set(started.traceparent)
        flow = await self._library.get(new.workspace_id, new.revision_id)
        execution = await self._engine.begin(new, flow, started.input, at_once=True)
        if execution is None:
            return False
        self._executions[number] = execution
        # Before the server asks for it, which it does as soon as it has the answer.
        self._advancing[number] = begin(execution.advance(), name=f"execution {new.id}")
        return True

    async def _load(self, number: int, id: ExecutionId) -> LoadAnswer | None:
        execution = await self._engine.load(id)
        if execution is None:
            return None
        self._executions[number] = execution
        return execution.workspace_id, execution.status, list(execution.cut_off.items())

    def _advance(self, number: int) -> "asyncio.Task[datetime | None]":
        advancing = self._advancing.get(number)
        if advancing is None:
            if (execution := self._executions.get(number)) is None:
                raise Unavailable("The execution has left memory")
            advancing = begin(execution.advance(), name="execution")
        advancing.add_done_callback(lambda _: self._forget(number))
        return advancing

    def _forget(self, number: int) -> None:
        self._executions.pop(number, None)
        self._advancing.pop(number, None)

    def _cancel(self, number: int, request: Cancel, message: int | None) -> "asyncio.Future[bool]":
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        # An execution that has left memory gives no answer; the server sees that it has left.
        if (execution := self._executions.get(number)) is not None:
            execution.cancel(request, answer, message=message)
        return answer

    def _receive(self, number: int, signal: PackedSignal) -> "asyncio.Future[bool]":
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if (execution := self._executions.get(number)) is not None:
            execution.receive(unpack_signal(signal), answer)
        return answer

    def _hold(self, number: int) -> None:
        if (execution := self._executions.get(number)) is not None:
            execution.hold()

    def _resume_after_hold(self, number: int, cut_off: list[tuple[Step, int]]) -> None:
        if (execution := self._executions.get(number)) is not None:
            execution.resume_after_hold(dict(cut_off))

    def _nudge(self, number: int) -> None:
        if (execution := self._executions.get(number)) is not None:
            execution.nudge()

    def _drop(self, number: int) -> None:
        if (advancing := self._advancing.get(number)) is not None:
            advancing.cancel()
        self._forget(number)

    def _stop(self) -> None:
        self._engine.stop()
        for execution in self._executions.values():
            execution.nudge()
