"""A bounded queue for password hashing, served round-robin over sources."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from flowrunner.domain.errors import QueueFull, Unavailable

T = TypeVar("T")

# Each hash takes about 40 ms, so with one thread the last call waits for ten seconds.
MOST_WAITING: Final = 256


class HashingQueue:
    """Runs expensive calls on a few threads.

    Sources are served round-robin, so a long backlog delays only the source that owns it. When the queue is full, the
    newest call of the source with the longest backlog is rejected, so sources with few calls are always served. A call
    that is cancelled while it waits never runs.

    Args:
        threads: The maximum number of running calls.
        most: The maximum number of waiting calls.
    """

    def __init__(self, threads: int, *, most: int = MOST_WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._idle = threads
        self._most = most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._count = 0

    async def run(self, call: Callable[[], T], *, source: str) -> T:
        """Run ``call`` on a thread when the queue reaches it.

        Raises:
            QueueFull: Too many calls wait, and ``source`` has the longest backlog.
            Unavailable: The system has no thread for it.
        """
        if self._idle:
            self._idle -= 1
        else:
            await self._wait_for_thread(source)
        calls = [call]

        def make() -> T:
            return calls.pop()()

        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, make)
        except RuntimeError:
            # The pool keeps what it has no thread for, and would run it later.
            calls.clear()
            self._pass_on()
            raise Unavailable("The server cannot check passwords now: try again later") from None
        # A thread cannot be interrupted, so it becomes free when the call ends, even if the caller is cancelled.
        running.add_done_callback(lambda _: self._pass_on())
        return await asyncio.shield(running)

    async def _wait_for_thread(self, source: str) -> None:
        """Wait until a thread is assigned to this call."""
        if self._count >= self._most:
            self._reject_one(source)
        assigned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(assigned)
        self._count += 1
        try:
            await assigned
        except asyncio.CancelledError:
            if assigned.cancelled():
                self._remove(source, assigned)
            elif assigned.exception() is None:
                # Cancelled after a thread was assigned.
                self._pass_on()
            raise

    def _reject_one(self, source: str) -> None:
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        full = QueueFull(
            f"The password queue is full: {self._most} passwords already wait to be checked. Try again in a moment",
            limit="password_queue",
            most=self._most,
        )
        if len(self._waiting[longest]) <= len(self._waiting.get(source, ())) + 1:
            raise full
        newest = self._waiting[longest][-1]
        self._remove(longest, newest)
        # The call may have been cancelled a moment ago.
        if not newest.done():
            newest.set_exception(full)

    def _pass_on(self) -> None:
        """Assign a free thread to the next source."""
        while self._waiting:
            source, calls = self._waiting.popitem(last=False)
            assigned = calls.popleft()
            self._count -= 1
            if calls:
                self._waiting[source] = calls
            if not assigned.done():
                assigned.set_result(None)
                return
        self._idle += 1

    def _remove(self, source: str, assigned: "asyncio.Future[None]") -> None:
        calls = self._waiting.get(source, deque())
        if assigned in calls:
            calls.remove(assigned)
            self._count -= 1
            if not calls:
                del self._waiting[source]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
