"""Summaries of executions as they change, for screens that list them."""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta
from msgspec.structs import asdict

from flowrunner.api.execution_answers import ExecutionAnswer
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import (
    Admitted,
    Cancelled,
    Completed,
    Failed,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopeEnded,
    SignalReceived,
    Started,
)
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.lru_cache import LruCache
from flowrunner.ports.executions import ExecutionReader, ExecutionView
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import AllExecutions, Subscription
from flowrunner.ports.read_turns import READS_FOR

logger = structlog.get_logger()

# Changes of one execution within this time are one message.
_FLUSH_SECONDS: Final = 0.25
# Executions whose summaries are read together. If more change in that time, clients have to read their lists again.
_MOST_CHANGED: Final = 1000
_READ_TOGETHER: Final = 200
# Messages that a client which comes back may get after its last one.
_KEPT_MESSAGES: Final = 2000
_KEPT_SUMMARIES: Final = 10_000
# Changes are followed so much longer than anyone listens, for clients that come back.
_LINGER_SECONDS: Final = 60.0
# Other events change nothing that a summary shows. The end of a step does if the execution waits elsewhere.
_SHOWN: Final = (
    Started,
    Admitted,
    NodeWaiting,
    SignalReceived,
    NodeCompleted,
    NodeFailed,
    ScopeEnded,
    Completed,
    Failed,
    Cancelled,
)


class ExecutionMessage(ExecutionAnswer, frozen=True, kw_only=True, tag_field="type", tag="execution"):
    """The summary of an execution that has changed."""

    workspace_id: str
    cursor: Annotated[str, Meta(description="Send it as `after` to continue after this message.")]


class ReadyMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """Messages follow for everything that changes from now on, or after the cursor that was sent."""

    cursor: str


class ResetMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reset"):
    """Some changes have been missed: read the list again."""

    cursor: str


@dataclass(frozen=True, slots=True)
class SummaryMessage:
    """A message that has been encoded. Args: workspace_id: None for all workspaces."""

    seq: int
    workspace_id: WorkspaceId | None
    text: str


class ExecutionFeed:
    """The changes of executions in all workspaces, read once for all subscribers.

    Nothing is followed while nobody listens.
    """

    def __init__(self, reader: ExecutionReader, events: AllExecutions) -> None:
        self._reader = reader
        self._events = events
        # A cursor of another process means nothing here.
        self._id = secrets.token_hex(4)
        self._seq = 0
        self._oldest = 0
        self._latest: deque[SummaryMessage] = deque(maxlen=_KEPT_MESSAGES)
        self._shown: LruCache[ExecutionId, bytes] = LruCache(_KEPT_SUMMARIES)
        self._changed: dict[ExecutionId, None] = {}
        self._has_missed = False
        self._subscriptions: dict[Subscription[SummaryMessage], frozenset[WorkspaceId]] = {}
        self._reading: asyncio.Task[None] | None = None
        # Ends the watch when nobody has listened for a while.
        self._lingering: asyncio.TimerHandle | None = None
        self._is_watching = False
        self._wake = asyncio.Event()

    async def follow(
        self, workspaces: Collection[WorkspaceId], after: str | None
    ) -> AsyncGenerator[Sequence[SummaryMessage], None]:
        """Yield a message about the beginning, and then one for each execution that changes."""
        wanted = frozenset(workspaces)
        with self._subscribed(wanted) as subscription:
            missed = self._since(after, wanted)
            yield [self._mark(ReadyMessage if missed is not None else ResetMessage), *(missed or ())]
            while True:
                taken = await subscription.take()
                yield [self._mark(ResetMessage)] if taken is None else taken

    @contextlib.contextmanager
    def _subscribed(self, workspaces: frozenset[WorkspaceId]) -> Iterator[Subscription[SummaryMessage]]:
        subscription = Subscription[SummaryMessage]()
        self._subscriptions[subscription] = workspaces
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if not self._is_watching:
            self._is_watching, self._oldest = True, self._seq
            self._events.watch(self._note)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="execution feed")
        try:
            yield subscription
        finally:
            del self._subscriptions[subscription]
            if not self._subscriptions:
                self._reading.cancel()
                self._reading = None
                self._lingering = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._stop_watching)

    def _stop_watching(self) -> None:
        self._events.unwatch()
        self._is_watching = self._has_missed = False
        # The last cursor is too old from now on: changes are no longer noted.
        self._seq += 1
        self._changed.clear()
        self._latest.clear()

    def _since(self, after: str | None, workspaces: Collection[WorkspaceId]) -> Sequence[SummaryMessage] | None:
        """Return the messages after a cursor, none without a cursor; None if some are not kept any more."""
        if after is None:
            return ()
        id, _, number = after.partition(".")
        seq = natural_number_of(number)
        if id != self._id or seq is None:
            return None
        oldest = self._latest[0].seq - 1 if len(self._latest) == _KEPT_MESSAGES else self._oldest
        if not oldest <= seq <= self._seq:
            return None
        return [message for message in self._latest if message.seq > seq and message.workspace_id in workspaces]

    def _mark(self, kind: type[ReadyMessage] | type[ResetMessage]) -> SummaryMessage:
        return SummaryMessage(self._seq, None, msgspec.json.encode(kind(cursor=self._cursor)).decode())

    @property
    def _cursor(self) -> str:
        return f"{self._id}.{self._seq}"

    def _note(self, id: ExecutionId | None, records: Sequence[Recorded] | None) -> None:
        """Note that an execution may have changed. Args: id: None for any execution."""
        if records is not None and not any(isinstance(recorded.event, _SHOWN) for recorded in records):
            return
        if id is None or (len(self._changed) >= _MOST_CHANGED and id not in self._changed):
            self._has_missed = True
            self._changed.clear()
        elif not self._has_missed:
            self._changed[id] = None
        self._wake.set()

    async def _read(self) -> None:
        """Read the summaries of what changes, until cancelled."""
        # For all listeners, and not only for the one that has started it.
        READS_FOR.set(None)
        if self._changed:
            # The last reader was cancelled before it had read them.
            self._wake.set()
        while True:
            await self._wake.wait()
            await asyncio.sleep(_FLUSH_SECONDS)
            self._wake.clear()
            if self._has_missed:
                self._miss()
            while self._changed:
                together = list(self._changed)[:_READ_TOGETHER]
                for id in together:
                    del self._changed[id]
                try:
                    self._send(await self._reader.summaries(together))
                except Unavailable as error:
                    logger.warning("execution_feed.unavailable", reason=str(error))
                    self._miss()
                except Exception as error:
                    # Continue after any error: without this task, no listener would get another change.
                    logger.error("execution_feed.failed", exc_info=error)
                    self._miss()
                except asyncio.CancelledError:
                    # The next listener reads them. If it has come meanwhile, its reader waits already.
                    self._changed |= dict.fromkeys(together)
                    self._wake.set()
                    raise
                await asyncio.sleep(0)

    def _send(self, found: Sequence[tuple[WorkspaceId, ExecutionView]]) -> None:
        messages = []
        for workspace_id, execution in found:
            shown = ExecutionAnswer.of(execution)
            state = blake2b(msgspec.json.encode((workspace_id, shown)), digest_size=16).digest()
            if self._shown.get(execution.id) == state:
                continue
            self._shown.keep(execution.id, state)
            self._seq += 1
            message = ExecutionMessage(**asdict(shown), workspace_id=workspace_id, cursor=self._cursor)
            messages.append(SummaryMessage(self._seq, workspace_id, msgspec.json.encode(message).decode()))
        self._latest.extend(messages)
        for subscription, workspaces in self._subscriptions.items():
            subscription.put([message for message in messages if message.workspace_id in workspaces])

    def _miss(self) -> None:
        """Let all subscribers read their lists again, and those that come back, too."""
        self._has_missed = False
        self._changed.clear()
        self._seq += 1
        self._oldest = self._seq
        self._latest.clear()
        for subscription in self._subscriptions:
            subscription.fall_behind()
