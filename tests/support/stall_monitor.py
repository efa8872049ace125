"""The `flowrunner` command in a process that measures its own longest stalls: `python stall_monitor.py SOCKET serve …`.

Wall time on a busy machine proves nothing, so all figures are processor time:

- *iteration*: of the event loop's thread, from one beat of a timer on the loop to the next, which bounds it.
- *hold*: of any other thread, between two wakings of a thread that sleeps a few milliseconds and then needs the
  interpreter's lock. A thread that computes without the lock (argon2, a regular expression in Rust) lets it wake.

Each connection to the Unix socket is answered with the worst since the one before, as JSON, and closed.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_BEAT_SECONDS: Final = 0.005
# From here on it is worth to know where.
_NOTED_SECONDS: Final = 0.05
# A measurement says nothing if the measuring thread itself waited so long for a processor.
_STARVED_SECONDS: Final = 0.1
_FRAMES: Final = 8


@dataclass(slots=True)
class Stalls:
    """The worst of a period: seconds of processor time with the stack that was seen, and the peak of memory."""

    iteration: float = 0.0
    iteration_at: str = ""
    hold: float = 0.0
    hold_at: str = ""
    peak_bytes: int = 0


class StallMonitor:
    """Measures the loop that is running in the thread that makes it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_native_id()
        self._worst = Stalls()
        self._iteration_at = ""
        self._last_beat = time.thread_time()
        self._passes = threading.Condition()
        self._is_running = True
        self._thread = threading.Thread(target=self._watch, name="stall-monitor", daemon=True)
        self._beats = self._loop.call_later(_BEAT_SECONDS, self._beat)
        self._thread.start()

    def stop(self) -> None:
        self._is_running = False
        self._beats.cancel()
        self._thread.join()

    def take(self) -> Stalls:
        """Return the worst since the last call, including the running iteration. Must not be called on the loop."""
        has_beaten = threading.Event()

        def end() -> None:
            self._end_iteration()
            has_beaten.set()

        self._loop.call_soon_threadsafe(end)
        has_beaten.wait()
        with self._passes:
            # The first of them may have begun before the call.
            self._passes.wait()
            self._passes.wait()
            worst, self._worst = self._worst, Stalls()
        worst.peak_bytes = _peak_bytes()
        return worst

    # On the loop

    def _beat(self) -> None:
        self._end_iteration()
        self._beats = self._loop.call_later(_BEAT_SECONDS, self._beat)

    def _end_iteration(self) -> None:
        iteration = time.thread_time() - self._last_beat
        if iteration > self._worst.iteration:
            self._worst.iteration, self._worst.iteration_at = iteration, self._iteration_at
        self._iteration_at = ""
        self._last_beat = time.thread_time()

    # On a thread of its own

    def _watch(self) -> None:
        own = threading.get_native_id()
        clocks, (waited, slices) = _clocks(), _waits(own)
        while self._is_running:
            time.sleep(_BEAT_SECONDS)
            now, (waited_now, slices_now) = _clocks(), _waits(own)
            is_starved = waited_now - waited > _STARVED_SECONDS * max(1, slices_now - slices)
            if not self._iteration_at and now[self._loop_thread] - self._last_beat > _NOTED_SECONDS:
                self._iteration_at = _stack(self._loop_thread)
            for thread, seconds in now.items():
                # One that was not there before has done all of it since.
                held = seconds - clocks.get(thread, 0.0)
                if thread not in (own, self._loop_thread) and held > self._worst.hold and not is_starved:
                    self._worst.hold = held
                    self._worst.hold_at = _stack(thread) if held > _NOTED_SECONDS else ""
            clocks, waited, slices = now, waited_now, slices_now
            with self._passes:
                self._passes.notify_all()

    # For another process

    def serve(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(json.dumps(asdict(self.take())).encode())


def _clocks() -> dict[int, float]:
    """The processor time of each thread of this process."""
    found = {}
    for name in os.listdir("/proc/self/task"):
        try:
            # The clock of a thread by its id, as Linux builds it: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED.
            found[int(name)] = time.clock_gettime(~int(name) << 3 | 6)
        except OSError:
            continue
    return found


def _waits(thread: int) -> tuple[float, int]:
    """Seconds that a thread has waited for a processor, and how often it was given one."""
    _, waited, slices = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
    return int(waited) / 1e9, int(slices)


def _stack(thread: int) -> str:
    ident = next((t.ident for t in threading.enumerate() if t.native_id == thread), None)
    frame = sys._current_frames().get(ident) if ident is not None else None
    if frame is None:
        return "a thread without Python frames"
    calls = [f"{Path(call.filename).name}:{call.lineno} {call.name}" for call in traceback.extract_stack(frame)]
    # What started the loop, or the thread, tells nothing.
    starts = [n for n, call in enumerate(calls) if call.startswith(("runners.py:", "threading.py:"))]
    return " > ".join(calls[max(starts, default=-1) + 1 :][-_FRAMES:])


def _peak_bytes() -> int:
    """The most memory that was resident since the last call."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def main() -> None:
    # Nothing beside this file is meant by an import in the server.
    del sys.path[0]
    path = sys.argv.pop(1)
    import flowrunner.serving
    from flowrunner.cli.main import main as flowrunner_main

    serve: Callable[..., Any] = flowrunner.serving.serve

    async def measured(*args: Any, **options: Any) -> None:
        monitor = StallMonitor()
        threading.Thread(target=monitor.serve, args=(path,), name="stall-reports", daemon=True).start()
        await serve(*args, **options)

    flowrunner.serving.serve = measured
    flowrunner_main()


if __name__ == "__main__":
    main()
