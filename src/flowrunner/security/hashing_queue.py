"""A bounded queue for password hashing, which serves those who ask round-robin."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from flowrunner.domain.errors import QueueFull

T = TypeVar("T")

# Each takes some 40 ms of a processor: the last of them waits for ten seconds on one thread.
MOST_WAITING: Final = 256


class HashingQueue:
    """Runs expensive calls on a few threads.

    Sources take turns, so that the calls of one delay only those that follow from the same source. When the queue is
    full, the newest call of the source with the longest backlog is rejected: a source that has asked for little is
    served whatever another asks for. A call that is cancelled while it waits is never run.

    Args:
        threads: How many calls run at the same time.
        most: How many may wait.
    """

    def __init__(self, threads: int, *, most: int = MOST_WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._idle = threads
        self._most = most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._count = 0

    async def run(self, call: Callable[[], T], *, source: str) -> T:
        """Run ``call`` on a thread when it is the turn of ``source``.

        Raises:
            QueueFull: Too many calls wait, and ``source`` has the most of them.
        """
        if self._idle:
            self._idle -= 1
        else:
            await self._turn_of(source)
        running = asyncio.get_running_loop().run_in_executor(self._threads, call)
        # A thread cannot be interrupted: it is free when the call has ended, even if nobody awaits that any more.
        running.add_done_callback(lambda _: self._pass_on())
        return await asyncio.shield(running)

    async def _turn_of(self, source: str) -> None:
        """Wait until a thread is taken for this call."""
        if self._count >= self._most:
            self._reject_one(source)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(turn)
        self._count += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(source, turn)
            elif turn.exception() is None:
                # Cancelled after its turn had come.
                self._pass_on()
            raise

    def _reject_one(self, source: str) -> None:
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        full = QueueFull(
            f"{self._most} passwords wait to be checked, which is as many as may: try again in a moment",
            limit="password_queue",
            most=self._most,
        )
        if len(self._waiting[longest]) <= len(self._waiting.get(source, ())) + 1:
            raise full
        newest = self._waiting[longest][-1]
        self._remove(longest, newest)
        # It may have been cancelled a moment ago.
        if not newest.done():
            newest.set_exception(full)

    def _pass_on(self) -> None:
        """Give a thread that has become free to the source whose turn it is."""
        while self._waiting:
            source, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            self._count -= 1
            if turns:
                self._waiting[source] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._idle += 1

    def _remove(self, source: str, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting.get(source, deque())
        if turn in turns:
            turns.remove(turn)
            self._count -= 1
            if not turns:
                del self._waiting[source]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
