"""What has come for an execution in memory, and how it waits for more."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowrunner.domain.events import Logged, Step
from flowrunner.engine.step import StepResult
from flowrunner.ports import Signal

# What nothing has to wait for becomes durable, and visible, after this time.
SHOW_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """What a try of a step came to; one that nobody waits for any more means nothing.

    Attributes:
        is_done: Set when it is recorded, or never will be.
    """

    step: Step
    attempt: int
    outcome: StepResult
    is_done: asyncio.Event = field(default_factory=asyncio.Event, compare=False)


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """A signal, and who wants to know what became of it."""

    signal: Signal
    answer: "asyncio.Future[bool]"


Message: TypeAlias = Result | Logged | SignalMessage


class Mailbox:
    """The mailbox of an actor: whoever has something for the run puts it here, and only the run's loop takes it."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._awake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Result | SignalMessage) -> None:
        self._messages.append(message)
        if self._is_closed:
            _end(message)
        self._awake.set()

    def put_line(self, line: Logged) -> None:
        """Put a log line, which can wait for company."""
        self._messages.append(line)
        self.wake_soon()

    def wake(self) -> None:
        self._awake.set()

    def wake_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SHOW_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._awake.set()

    async def wait(self, seconds: float | None) -> bool:
        """Whether something came before so many seconds had passed; None for no limit."""
        came = True
        if seconds is None:
            await self._awake.wait()
        else:
            try:
                async with asyncio.timeout(max(seconds, 0.0)):
                    await self._awake.wait()
            except TimeoutError:
                came = False
        self._awake.clear()
        return came

    def take(self, *, most: int | None = None) -> Iterator[Message]:
        """The messages in the order in which they came; what is left after ``most`` of them wakes the run again."""
        count = 0
        while self._messages:
            if count == most:
                self._awake.set()
                return
            count += 1
            message = self._messages.popleft()
            try:
                yield message
            finally:
                _end(message)

    def take_lines(self) -> list[Logged]:
        """The log lines; all else stays."""
        lines = [message for message in self._messages if isinstance(message, Logged)]
        if lines:
            self._messages = deque(message for message in self._messages if not isinstance(message, Logged))
        return lines

    def close(self) -> None:
        self._is_closed = True
        for message in self._messages:
            _end(message)
        if self._timer is not None:
            self._timer.cancel()


def _end(message: Message) -> None:
    if isinstance(message, Result):
        message.is_done.set()
