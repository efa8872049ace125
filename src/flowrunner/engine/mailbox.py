"""The mailbox of an execution in memory, and the rules by which it accepts a signal."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowrunner.domain.approvals import BY_LINK
from flowrunner.domain.events import ErrorValue, Logged, NodeCompleted, NodeWaiting, ScopeEnded, ScopesOpened, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.step_state import StepState
from flowrunner.domain.waits import parse_signal_key, signal_key
from flowrunner.ports.dispatch import Cancel, Signal

# Events that no step depends on become durable, and visible, after this time.
SHOW_SECONDS: Final = 0.1
# Limits of signals that no step has waited for yet, and of their bytes in memory.
MAX_EARLY_SIGNALS: Final = 1000
MAX_EARLY_BYTES: Final = 32 * 1024 * 1024

StepResult: TypeAlias = NodeCompleted | NodeWaiting | ScopesOpened | ErrorValue
# The outcome of an attempt, or of the evaluation of a scope's value after its last step.
TaskOutcome: TypeAlias = StepResult | ScopeEnded


@static_dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an attempt of a step, or of an evaluation after it; ignored if the step was abandoned.

    Attributes:
        is_done: Set when the outcome is recorded or dropped, if the step waits for that.
    """

    step: Step
    attempt: int
    outcome: TaskOutcome
    is_done: asyncio.Event | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """A signal with the future for its answer."""

    signal: Signal
    answer: "asyncio.Future[bool]"


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A cancel request with the future for its answer, and the number of its inbox message."""

    cancel: Cancel
    answer: "asyncio.Future[bool] | None"
    message: int | None

    def reply(self, is_cancelled: bool) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(is_cancelled)


Message: TypeAlias = Result | Logged | SignalMessage


class Mailbox:
    """The mailbox of an actor: any task puts messages, and only the actor's loop takes them."""

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
        """Put a log line, which is recorded together with later ones."""
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
        """Wait for a message; return False if none came within ``seconds`` (None for no limit)."""
        is_awake = True
        if seconds is None:
            await self._awake.wait()
        else:
            try:
                async with asyncio.timeout(max(seconds, 0.0)):
                    await self._awake.wait()
            except TimeoutError:
                is_awake = False
        self._awake.clear()
        return is_awake

    def take(self, *, most: int | None = None) -> Iterator[Message]:
        """Yield messages in their order; if some are left after ``most`` of them, the actor wakes again."""
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
        """Take the log lines and keep the other messages."""
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
    if isinstance(message, Result) and message.is_done is not None:
        message.is_done.set()


def is_repeat(signal: Signal, state: ExecutionState) -> bool | None:
    """Return whether a signal repeats an earlier request: False if the two differ, None if there is no earlier one."""
    if signal.request is None:
        return None
    key, _, asked = signal.request.partition(":")
    known = state.requests.get(key)
    return None if known is None else known == asked


def step_waiting_for(key: str, state: ExecutionState) -> StepState | None:
    """Return the step that waits for the signal with this stored key, or whose link one revokes."""
    kind, name = parse_signal_key(key)
    if kind == "link":
        key = signal_key("approval", name)
    return state.waiting_for(key)


def is_for_running_attempt(signal: Signal, state: ExecutionState) -> bool:
    """Return whether the step that a signal is addressed to runs, in the attempt that it is for."""
    return any(
        str(step) == signal.step and signal.failures in (None, state.at(step).failures) for step in state.running
    )


def is_accepted(signal: Signal, key: str, state: ExecutionState) -> bool:
    """Return whether an execution in this state accepts a signal, by the stored form of its key."""
    if state.ending is not None:
        return False
    found = step_waiting_for(key, state)
    is_awaited = found is not None
    if found is not None and found.is_link_revoked and signal.by == BY_LINK:
        return False
    # An account answers an approval once.
    if found is not None and signal.by is not None and any(signal.by == answer.by for answer in found.answers):
        return parse_signal_key(key)[0] == "link"
    if signal.step is not None:
        # A running step may be about to wait for the signal, as for a child that has ended at once. If the step has
        # continued without the signal, it is rejected. Several signals may report the same end.
        is_known = key in state.signals
        return not is_known and (is_awaited or is_for_running_attempt(signal, state))
    is_too_much = sum(map(len, state.signals.values())) >= MAX_EARLY_SIGNALS or state.signal_bytes >= MAX_EARLY_BYTES
    return is_awaited or not (signal.if_awaited or is_too_much)
