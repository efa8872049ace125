"""Work whose length others choose: on the event loop if it is short, otherwise on a thread."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Final, ParamSpec, TypeVar

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.expression import MAX_RENDERED, NO_VALUES, Scope, Template, TooMuchFilledIn, Values, render
from flowrunner.domain.values import JSON

P = ParamSpec("P")
T = TypeVar("T")

# Bytes of a text that is parsed or written on the event loop, in a millisecond or two.
LONG_BYTES: Final = 64 * 1024
# Characters and elements that are rendered on the event loop, as `left_after` counts them: a few milliseconds.
_SHORT_RENDERING: Final = 128 * 1024

_MOST_OF_SERVER: Final = min(32, (os.cpu_count() or 1) + 4)
# Those of libuv, the library of the event loop, of the database and of the check of passwords.
_OTHERS: Final = 4 + 3 + 2
# Threads for node types of installed packages in a process.
MOST_OF_PACKAGES: Final = 64
# True while a step of such a type runs, and in the tasks that it has started.
OF_PACKAGE: Final[ContextVar[bool]] = ContextVar("of_package", default=False)


class _Threads(ThreadPoolExecutor):
    """Threads of the server, and others for the node types of packages.

    Those may block theirs for minutes. The server has few, which requests of all accounts wait for.
    """

    def __init__(self) -> None:
        super().__init__(_MOST_OF_SERVER, thread_name_prefix="server")
        self._of_packages = ThreadPoolExecutor(MOST_OF_PACKAGES, thread_name_prefix="package")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if OF_PACKAGE.get():
            return self._of_packages.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._of_packages.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


async def start_threads() -> None:
    """Give node types of packages, and only them, other threads than the server's from now on, in this event loop.

    The server's are started now, because later the system may have none left: a step would fail that needs one then,
    and libuv ends the process without a word.

    Raises:
        FlowRunnerError: The system does not allow that many threads.
    """
    server = _Threads()
    met = threading.Barrier(_MOST_OF_SERVER + _OTHERS + 1)

    def meet() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait()

    others = [threading.Thread(target=meet, daemon=True) for _ in range(_OTHERS)]
    try:
        # None is idle before all have met, so each is a thread of its own.
        for thread in others:
            thread.start()
        for _ in range(_MOST_OF_SERVER):
            server.submit(meet)
        meet()
    except RuntimeError as error:
        met.abort()
        raise FlowRunnerError(
            f"The system does not let this process have {met.parties - 1} more threads ({error}): raise the limit of "
            "processes and threads, which is TasksMax= of systemd, --pids-limit of a container, or ulimit -u; or that "
            "of memory, which is ulimit -v"
        ) from None
    # They have only shown that the others, of which libuv has no error for it, can have as many.
    for thread in others:
        thread.join()
    asyncio.get_running_loop().set_default_executor(server)
    # Not answered without a thread, and by no name server.
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", None)


async def on_thread_if(size: int, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call, which runs on a thread if it works on more than `LONG_BYTES`."""
    if size <= LONG_BYTES:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)


def on_own_thread(call: Callable[[], T], *, name: str, on_end: Callable[[], None]) -> "asyncio.Future[T]":
    """Make a call that may block for long on a new thread, and return the future of its result.

    Unlike the threads of a pool, it is not waited for at the end of the program.

    Args:
        on_end: Called on the event loop when the thread has ended, even if the future was cancelled before.

    Raises:
        RuntimeError: The system has no further thread. ``on_end`` was called.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def end(answered: Callable[[], None]) -> None:
        on_end()
        if not answer.done():
            answered()

    def run() -> None:
        try:
            answered = partial(answer.set_result, call())
        except Exception as error:
            answered = partial(answer.set_exception, error)
        # The loop may be closed: the thread can outlive the program's end.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(end, answered)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        on_end()
        raise
    return answer


async def render_soon(
    template: Template, scope: Scope, values: Values = NO_VALUES, *, most: int = MAX_RENDERED
) -> JSON:
    """Return the value of a template, rendered on a thread if it is long.

    Args and Raises: as `render`.
    """
    try:
        return render(template, scope, values, most=min(most, _SHORT_RENDERING))
    except TooMuchFilledIn:
        if most <= _SHORT_RENDERING:
            raise
    return await asyncio.to_thread(render, template, scope, values, most=most)
