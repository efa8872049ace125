"""Background jobs of a process: periodic ones, and ones that run at given moments.

A job of `where="each"` runs in every process. One of `where="one"` runs in one of all processes on the database at a
time: that process claims the job's row and renews the claim during the run. The claim of a process that dies or hangs
lapses, and another process takes over.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.ports.clock import Clock
from flowrunner.retrying import rising
from flowrunner.storage.background import JobClaim, SqlJobClaims
from flowrunner.tasks import cancel_all

logger = structlog.get_logger()

# A job of a process that has died continues elsewhere after this time at the latest.
LEASE_SECONDS: Final = 15.0
# Two renewals may fail before the claim lapses.
RENEWAL_SECONDS: Final = 4.0
# The part of a lease after which a run is cancelled unless it was renewed: the run needs a moment to end, and must not
# overlap that of the process that takes over.
_HELD_PART: Final = 0.9
# Longest delays until a process notices that another one has planned a run, or has died while it held the claim.
_LONGEST_NAP_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
# Otherwise a function that always returns a past moment would make its job run without a pause.
_SHORTEST_NAP_SECONDS: Final = 0.05
# Servers that start at the same time must not read a row at the same time.
_JITTER: Final = 0.1
_STOP_SECONDS: Final = 5.0
# Rising, so that a lasting failure does not fill the log.
_retry_seconds: Final = rising(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_RELEASE_SECONDS: Final = 1.0

# Returns when a job is due, or None while nothing is planned.
NextDue: TypeAlias = Callable[[], Awaitable[datetime | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A job that runs in the background.

    Attributes:
        name: Its name in the log, in the metrics and in the table `background_jobs`.
        every: The seconds from the end of a run to the next; or a function that returns when the job is due, which is
            called after each run, every few seconds, and when ``wake`` is set.
        run: One run. It is repeated after an error, and may be cancelled at any await.
        where: `each` if each process runs it, `one` if one of all processes on the database does.
        first_after: The seconds from the start of the process to the first run; by default those of ``every``.
        wake: Set when the job may be due earlier than the function has returned.
    """

    name: str
    every: float | NextDue
    run: Callable[[], Coroutine[Any, Any, object]]
    where: Literal["each", "one"] = "each"
    first_after: float | None = None
    wake: asyncio.Event | None = None


class RunCancelled(Exception):
    """Cancellation of a run from inside, or because its claim was lost."""


class ClaimLost(RunCancelled):
    """Cancellation of a run whose claim was not renewed in time."""


@contextlib.asynccontextmanager
async def running(
    jobs: Sequence[Background],
    *,
    clock: Clock,
    claims: SqlJobClaims | None = None,
    on_failure: Callable[[str], None] = lambda job: None,
) -> AsyncIterator[None]:
    """Run the jobs until the end of the context, which cancels them and waits for a limited time.

    Args:
        claims: Needed for the jobs that one process runs.
        on_failure: Called with the name of a job after each failed run.
    """
    tasks = [
        asyncio.create_task(_JobLoop(job, clock, claims, on_failure).run(), name=f"background {job.name}")
        for job in jobs
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
            if left:
                logger.warning("background.still_running", tasks=sorted(task.get_name() for task in left))


class _JobLoop:
    """The loop of one job in this process."""

    def __init__(
        self, job: Background, clock: Clock, claims: SqlJobClaims | None, on_failure: Callable[[str], None]
    ) -> None:
        assert claims is not None or job.where == "each", "a job of one process needs claims"
        self._job = job
        self._clock = clock
        self._claims = claims if job.where == "one" else None
        self._on_failure = on_failure
        self._failures = 0
        if callable(job.every):
            # After a run, the function is asked again at once.
            self._pause, self._longest = 0.0, _LONGEST_NAP_SECONDS
        else:
            self._pause, self._longest = job.every, min(job.every, _LONGEST_PAUSE_SECONDS)

    async def run(self) -> None:
        """Run the job whenever it is due, until cancelled."""
        seconds = self._pause if self._job.first_after is None else self._job.first_after
        while True:
            await self._sleep(seconds)
            try:
                seconds = await self._run_if_due()
                self._failures = 0
            except Exception as error:
                # Continue after any error: without this loop the job would never run again.
                self._failures += 1
                seconds = self._report(error, self._failures)

    async def _sleep(self, seconds: float) -> None:
        seconds = max(seconds, _SHORTEST_NAP_SECONDS) if callable(self._job.every) else seconds
        if self._job.wake is None:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._job.wake.wait()
        self._job.wake.clear()

    async def _run_if_due(self) -> float:
        """Run the job if it is due and no other process runs it; return the seconds until the next check."""
        if callable(self._job.every):
            due_at = await self._job.every()
            wait = self._longest if due_at is None else (due_at - self._clock.now()).total_seconds()
            if wait > 0:
                return min(wait, self._longest)
        if self._claims is not None:
            return await self._run_if_free(self._claims)
        await self._run()
        return self._pause

    async def _run_if_free(self, claims: SqlJobClaims) -> float:
        wait = await claims.seconds_until_free(self._job.name)
        if wait > 0:
            return min(wait, self._longest) * random.SystemRandom().uniform(1.0, 1.0 + _JITTER)
        held_until = _held_until()
        claim = await claims.claim(self._job.name, seconds=LEASE_SECONDS)
        if claim is None:
            # Another process was faster.
            return _SHORTEST_NAP_SECONDS
        try:
            seconds, error = await self._run_claimed(claims, claim, held_until)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await claims.release(claim)
            raise
        except ClaimLost as lost:
            # It is left to lapse, so that another process, which may be in a better state, runs the job at once.
            return self._report(lost, claim.failures + 1)
        await claims.finish(claim, wait_seconds=seconds, error=error)
        return seconds

    async def _run_claimed(self, claims: SqlJobClaims, claim: JobClaim, held_until: float) -> tuple[float, str | None]:
        """Run the claimed job; return the seconds until the next run of any process, and the error.

        Raises: ClaimLost.
        """
        try:
            await self._run(until=self._keep(claims, claim, held_until))
        except ClaimLost:
            raise
        except Exception as error:
            return self._report(error, claim.failures + 1), f"{type(error).__name__}: {error}"
        return self._pause, None

    async def _run(self, *, until: Coroutine[Any, Any, str] | None = None) -> None:
        """Run the job once, and cancel the run when ``until`` ends.

        Raises: RunCancelled; ClaimLost with the text of ``until`` if that has ended first; any error of the run.
        """
        # As a task, so that a cancellation inside the run does not end this loop.
        run = asyncio.create_task(self._job.run(), name=f"run {self._job.name}")
        tasks: tuple[asyncio.Task[Any], ...] = (run,)
        if until is not None:
            tasks = (run, asyncio.create_task(until, name=f"claim {self._job.name}"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(*tasks)
        if run.cancelled():
            # The other task was cancelled if the run ended first.
            if len(tasks) == 1 or tasks[1].cancelled():
                raise RunCancelled("The run was cancelled")
            raise ClaimLost(f"The run was cancelled: {tasks[1].result()}")
        run.result()

    async def _keep(self, claims: SqlJobClaims, claim: JobClaim, held_until: float) -> str:
        """Renew the claim until it is lost, and return why.

        Args:
            held_until: As long as the run may go on without a renewal, by the event loop's clock.
        """
        loop = asyncio.get_running_loop()
        lapsed = "the claim has lapsed, or another process holds it"
        is_held, reason = True, lapsed
        while is_held:
            await asyncio.sleep(min(RENEWAL_SECONDS, held_until - loop.time()))
            renewed_until = _held_until()
            try:
                async with asyncio.timeout_at(held_until):
                    is_held = await claims.renew(claim, seconds=LEASE_SECONDS)
                held_until, reason = renewed_until, lapsed
            except TimeoutError:
                held_seconds = LEASE_SECONDS * _HELD_PART
                is_held, reason = (
                    False,
                    f"the database did not renew the claim within {held_seconds:g} s: it is too slow",
                )
            except Exception as error:
                # The next renewal may succeed in time.
                is_held, reason = loop.time() < held_until, f"the claim could not be renewed: {error}"
        hint = "the run is cancelled here; another process may continue it"
        logger.warning("background.claim_lost", job=self._job.name, reason=reason, hint=hint)
        return reason

    def _report(self, error: Exception, failures: int) -> float:
        """Log and count a failed run; return the seconds until it is repeated."""
        seconds = min(_retry_seconds(failures), self._longest)
        facts = {"job": self._job.name, "failures": failures, "retry_seconds": seconds}
        if isinstance(error, Unavailable | RunCancelled):
            logger.warning("background.failed", reason=str(error), **facts)
        else:
            logger.error("background.failed", exc_info=error, **facts)
        self._on_failure(self._job.name)
        return seconds


def _held_until() -> float:
    """Until when a run whose claim is made or renewed now may go on without the next renewal."""
    return asyncio.get_running_loop().time() + LEASE_SECONDS * _HELD_PART
