"""Events of executions as the messages that clients get, past ones first and then new ones."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from flowrunner.api.event_messages import message_of
from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.domain.events import Ending
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES, EventReader, Recorded
from flowrunner.ports.live import LiveEvents, Subscription

# Most executions fit into the first page. Few subscribers read further pages at the same time, so that many
# subscribers with a long history do not block other requests. Workspaces are served in turn.
_FIRST_PAGE: Final = 20
_PAGE: Final = 50
_FIRST_PAGES_AT_ONCE: Final = 8
_FIRST_PAGES_OF_A_WORKSPACE: Final = 6
_PAGES_AT_ONCE: Final = 2
# After this much, the reader yields to other tasks.
CHARACTERS_AT_A_STRETCH: Final = 64 * 1024
_KEPT_MESSAGES: Final = 256
_KEPT_CHARACTERS: Final = 4 * 1024
# Seconds between looks at an execution whose end is waited for: notifications of other processes may be lost.
_FIRST_LOOK_SECONDS: Final = 1.0
_LONGEST_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, weakref_slot=True)
class EventMessage:
    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """Messages of recorded events. Args: is_full: There may be more pages."""

    messages: Sequence[EventMessage]
    last_seq: int
    has_end: bool
    is_full: bool


class _Deleted(Unavailable):
    """An execution whose events are being deleted, from the first one on."""

    def __init__(self) -> None:
        super().__init__("The execution is being deleted")


class EventFeed:
    """The events of executions, encoded once for all that read them."""

    def __init__(self, journal: EventReader, events: LiveEvents) -> None:
        self._journal = journal
        self._events = events
        self._beginning = FairSlots(total=_FIRST_PAGES_AT_ONCE, share=_FIRST_PAGES_OF_A_WORKSPACE, sure=0)
        self._catching_up = FairSlots(total=_PAGES_AT_ONCE, share=_PAGES_AT_ONCE, sure=0)
        # A message is kept while a subscriber has to send it. The latest short ones are kept for slower subscribers.
        self._messages: WeakValueDictionary[tuple[ExecutionId, int], EventMessage] = WeakValueDictionary()
        self._latest: deque[EventMessage] = deque(maxlen=_KEPT_MESSAGES)

    async def follow(
        self, workspace_id: WorkspaceId, id: ExecutionId, after: int, *, has_ended: bool
    ) -> AsyncGenerator[Iterable[EventMessage], None]:
        """Yield each event after ``after`` once, up to the last one.

        Args:
            workspace_id: The workspace of the execution.
            has_ended: No event will be added.

        Raises: Unavailable, also if the execution is deleted meanwhile: a subscriber that comes back learns that.
        """
        with self.subscribed(id) as subscription:
            # Events recorded before the subscription, or missed by it, are in the journal.
            page = await self._read(workspace_id, id, after, limit=_FIRST_PAGE, at_once=self._beginning)
            while True:
                while page is not None:
                    yield page.messages
                    after = page.last_seq
                    if page.has_end:
                        return
                    if not page.is_full:
                        break
                    page = await self._next_page(workspace_id, id, after)
                if has_ended:
                    # The subscriber already knows the last event, unless all of them are gone.
                    await self._check_is_whole(id)
                    return
                while (taken := await subscription.take()) is not None:
                    fresh = [recorded for recorded in taken if recorded.seq > after]
                    if fresh and fresh[-1].seq != after + len(fresh):
                        # The missing events were recorded by a process that died before it could notify.
                        break
                    if fresh:
                        yield (self._message(id, recorded) for recorded in fresh)
                        after = fresh[-1].seq
                    if _is_last(taken[-1]):
                        return
                page = await self._next_page(workspace_id, id, after)

    async def page(self, workspace_id: WorkspaceId, id: ExecutionId, after: int, *, limit: int) -> EventPage | None:
        """Return a page of the events after ``after``: at most ``limit``, and about `PAGE_OF_EVENTS_BYTES`.

        Raises: NotFound if the execution is being deleted.
        """
        try:
            return await self._read(workspace_id, id, after, limit=limit, at_once=self._catching_up)
        except Unavailable as error:
            if isinstance(error, _Deleted):
                raise NotFound("execution") from None
            raise

    async def until_more(self, id: ExecutionId, after: int) -> None:
        """Return when there is an event after ``after``."""
        with self.subscribed(id) as subscription:
            while not await self._journal.events(id, after=after, limit=1):
                await subscription.take()

    @contextmanager
    def subscribed(self, id: ExecutionId) -> Iterator[Subscription[Recorded]]:
        """Subscribe, for `until_end`; the execution need not exist yet."""
        subscription = self._events.subscribe(id)
        try:
            yield subscription
        finally:
            self._events.unsubscribe(id, subscription)

    async def until_end(self, id: ExecutionId, subscription: Subscription[Recorded], *, look: bool) -> Recorded:
        """Return the last event of an execution when it has ended.

        Args:
            look: It may have ended before the subscription.

        Raises: NotFound if the execution is being deleted; Unavailable.
        """
        seconds = _FIRST_LOOK_SECONDS
        while True:
            if look and (stored := await self._journal.stored(id)).status.is_final:
                for last in await self._journal.events(id, after=stored.last_seq - 1, limit=1):
                    return last
                raise NotFound("execution")
            # As if it had missed events.
            look_again = asyncio.get_running_loop().call_later(seconds, subscription.fall_behind)
            try:
                while (taken := await subscription.take()) is not None:
                    if _is_last(taken[-1]):
                        return taken[-1]
            finally:
                look_again.cancel()
            look, seconds = True, min(2 * seconds, _LONGEST_LOOK_SECONDS)

    async def _next_page(self, workspace_id: WorkspaceId, id: ExecutionId, after: int) -> EventPage | None:
        return await self._read(workspace_id, id, after, limit=_PAGE, at_once=self._catching_up)

    async def _read(
        self, workspace_id: WorkspaceId, id: ExecutionId, after: int, *, limit: int, at_once: FairSlots
    ) -> EventPage | None:
        async with at_once.hold(workspace_id):
            records = await self._journal.events(id, after=after, limit=limit)
            if not records:
                return None
            if records[0].seq != after + 1:
                raise _Deleted
            messages = []
            # Decoded events take up to twenty times the memory of their text, and a slow subscriber keeps a page long.
            for recorded in records:
                messages.append(self._message(id, recorded))
                if len(recorded.data) >= CHARACTERS_AT_A_STRETCH:
                    await asyncio.sleep(0)
            size = sum(len(recorded.data) for recorded in records)
            is_full = len(records) == limit or size >= PAGE_OF_EVENTS_BYTES
            return EventPage(messages, records[-1].seq, has_end=_is_last(records[-1]), is_full=is_full)

    async def _check_is_whole(self, id: ExecutionId) -> None:
        """Raises: _Deleted if the execution is being deleted."""
        if not await self._journal.is_whole(id):
            raise _Deleted

    def _message(self, id: ExecutionId, recorded: Recorded) -> EventMessage:
        """Return the message of an event, encoded once for all subscribers."""
        found = self._messages.get((id, recorded.seq))
        if found is None:
            found = EventMessage(recorded.seq, msgspec.json.encode(message_of(id, recorded)).decode())
            self._messages[id, recorded.seq] = found
            if len(found.text) <= _KEPT_CHARACTERS:
                self._latest.append(found)
        return found


def _is_last(recorded: Recorded) -> bool:
    return isinstance(recorded.event, Ending)
