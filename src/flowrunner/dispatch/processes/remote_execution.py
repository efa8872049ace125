"""An execution in the memory of an engine process, as the dispatcher sees it."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from flowrunner.dispatch.processes.packed import LoadAnswer, PackedStart, pack_signal
from flowrunner.dispatch.processes.requests import HeldExecution, ProcessRequests
from flowrunner.domain.decide import still_cut_off
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Step
from flowrunner.domain.status import Status
from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.dispatch import OUTCOME_UNKNOWN, Cancel, Signal

_NONE: Final[Mapping[Step, int]] = {}


class Entry:
    """The entry of an execution into the memory of an engine process.

    Args:
        epoch: The fencing token of its appends.
    """

    def __init__(self, requests: ProcessRequests, held: HeldExecution, *, epoch: int) -> None:
        self._requests = requests
        self._channel = requests.channel
        self._held = held
        self._epoch = epoch

    async def begin(self, start: PackedStart) -> "RemoteExecution | None":
        """Have the process begin the execution; return None if it does not stay in memory."""
        assert self._held.new is not None, "chosen for a new execution"
        stays = await self._call("begin", start, returns=bool)
        return self._entered(self._held.new.workspace_id) if stays else None

    async def load(self) -> "RemoteExecution | None":
        """Have the process load the execution; return None if it has ended."""
        found: LoadAnswer | None = await self._call("load", self._held.id, returns=LoadAnswer | None)
        if found is None:
            return None
        workspace_id, self._held.status, cut_off = found
        return self._entered(workspace_id, dict(cut_off))

    def _entered(self, workspace_id: WorkspaceId, cut_off: Mapping[Step, int] = _NONE) -> "RemoteExecution":
        return RemoteExecution(
            self._requests, self._held, workspace_id=workspace_id, fencing_token=self._epoch, cut_off=cut_off
        )

    async def _call(self, name: str, argument: object, *, returns: Any) -> Any:
        answer = None
        try:
            answer = await self._channel.call(name, self._held.number, argument, returns=returns)
        except BaseException as error:
            # The process may have it in memory by now, where nothing would advance it.
            self._channel.notify("drop", self._held.number)
            if isinstance(error, Unavailable | asyncio.CancelledError):
                await self._held.settle()
            if isinstance(error, Exception) and self._held.new is not None and self._held.refusal is not None:
                # The caller distinguishes more kinds of rejections of a new execution than the process.
                raise self._held.refusal from None
            raise
        finally:
            if not answer:
                self._requests.leave(self._held)
        return answer

    @property
    def is_lost(self) -> bool:
        """Return whether the process has ended."""
        return self._channel.lost.done()

    async def was_created(self) -> bool:
        """Return whether the execution is durable although the process has ended. Raises: the error of its append."""
        # All that the process sent has arrived by now.
        if self._held.creating is None:
            return False
        await self._held.creating
        if self._held.refusal is not None:
            raise self._held.refusal
        return True


class RemoteExecution:
    """Implements `ports.ActiveExecution`."""

    def __init__(
        self,
        requests: ProcessRequests,
        held: HeldExecution,
        *,
        workspace_id: WorkspaceId,
        fencing_token: int,
        cut_off: Mapping[Step, int],
    ) -> None:
        self._requests = requests
        self._channel = requests.channel
        self._held = held
        self.workspace_id = workspace_id
        self.fencing_token = fencing_token
        self.cut_off = cut_off

    @property
    def status(self) -> Status:
        return self._held.status

    async def advance(self) -> datetime | None:
        try:
            due_at: datetime | None = await self._channel.call("advance", self._held.number, returns=datetime | None)
            return due_at
        except Unavailable:
            # Loaded before what the process has begun is durable, it would go on without it.
            await self._held.settle()
            raise
        finally:
            self._requests.leave(self._held)

    def cancel(
        self, request: Cancel, answer: "asyncio.Future[bool] | None" = None, *, message: int | None = None
    ) -> None:
        self._pass_on(
            self._channel.call("cancel", self._held.number, request, message, returns=bool), answer, may_repeat=True
        )

    def receive(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        self._pass_on(
            self._channel.call("receive", self._held.number, pack_signal(signal), returns=bool),
            answer,
            may_repeat=False,
        )

    def hold(self) -> None:
        self._channel.notify("hold", self._held.number)

    def resume_after_hold(self, cut_off: Mapping[Step, int]) -> None:
        self.cut_off = still_cut_off(self.cut_off, cut_off)
        self._channel.notify("resume_after_hold", self._held.number, list(self.cut_off.items()))

    def nudge(self) -> None:
        self._channel.notify("nudge", self._held.number)

    def _pass_on(
        self, reply: "asyncio.Future[bool]", answer: "asyncio.Future[bool] | None", *, may_repeat: bool
    ) -> None:
        """Pass the answer of the process on. Cancelling it here keeps the process from recording the message.

        Args:
            may_repeat: Give no answer if the process ends: the dispatcher sees that the execution has left memory, and
                sends the message again.
        """

        def replied(_: object) -> None:
            if reply.cancelled():
                return
            error = reply.exception()
            if answer is None or answer.done():
                return
            if error is None:
                answer.set_result(reply.result())
            elif not (may_repeat and isinstance(error, Unavailable)):
                # The signal may have been recorded before the process died: a repeat could count twice.
                answer.set_exception(Unavailable(OUTCOME_UNKNOWN) if isinstance(error, Unavailable) else error)

        def answered(_: object) -> None:
            if not reply.done():
                reply.cancel()

        reply.add_done_callback(replied)
        if answer is not None:
            answer.add_done_callback(answered)
