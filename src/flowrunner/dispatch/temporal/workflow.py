"""One execution as Temporal sees it: who advances it, and when; never what happens in it.

What is recorded here are ids, states and times. This code is replayed against histories that other versions of it have
written (`tests/dispatch/histories` keeps some), so a change of what it does has to ask `workflow.patched`.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, FailureError

ADVANCE: Final = "flowrunner.advance"
ADVANCE_LOCALLY: Final = "flowrunner.advance_locally"
CANCEL: Final = "flowrunner.cancel"
NUDGE: Final = "nudge"
WORKFLOW: Final = "flowrunner.execution"

# A worker that says nothing for so long is taken for dead.
HEARTBEAT_SECONDS: Final = 10.0
# A worker that has died at a task of the workflow is found out after that time. The client asks for more of it in
# good time while the task goes on.
TASK_TIMEOUT: Final = timedelta(seconds=5)
# A stretch that takes no longer is part of the task: to ask for more time costs Temporal far less than an activity.
SHORT_SECONDS: Final = 9.0
_SET_OUT_TIMEOUT: Final = timedelta(seconds=30)
_ONCE: Final = RetryPolicy(maximum_attempts=1)
# A stretch of work ends by itself; this is only what Temporal wants to be told.
_STRETCH: Final = timedelta(days=3650)
_PATIENCE: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)


@dataclass(frozen=True)
class AdvanceResult:
    """Why an execution does not go on.

    Attributes:
        is_over: It has ended.
        is_cut_off: The worker has no room for it, or stops; another one goes on.
        goes_on_at: The worker that goes on with it, by the task queue that is its own.
        due_in_seconds: When it has something to do by itself; None: only when it is told something. Not a moment, as
            the clock of Temporal may differ from the worker's.
    """

    is_over: bool = False
    is_cut_off: bool = False
    goes_on_at: str | None = None
    due_in_seconds: float | None = None


@workflow.defn(name=WORKFLOW)
class ExecutionWorkflow:
    def __init__(self) -> None:
        self._is_nudged = False

    @workflow.signal(name=NUDGE)
    def nudge(self) -> None:
        """There is something for the execution in the database."""
        self._is_nudged = True

    @workflow.run
    async def run(self, execution_id: str) -> None:
        while True:
            # Whatever comes while it is advanced may come too late for it.
            self._is_nudged = False
            result = await self._advance(execution_id)
            if result.is_over:
                return
            if result.is_cut_off:
                continue
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(execution_id)
            await self._wait(execution_id, result.due_in_seconds)

    async def _advance(self, execution_id: str) -> AdvanceResult:
        advancing = asyncio.create_task(self._stretch(execution_id))
        while True:
            try:
                return await asyncio.shield(advancing)
            except asyncio.CancelledError:
                await self._cancel(execution_id)

    async def _stretch(self, execution_id: str) -> AdvanceResult:
        """Have a worker advance it: the one that has this task, as long as that takes, or any that has room."""
        try:
            result = await workflow.execute_local_activity(
                ADVANCE_LOCALLY,
                execution_id,
                result_type=AdvanceResult,
                start_to_close_timeout=_SET_OUT_TIMEOUT,
                retry_policy=_ONCE,
            )
        # What a local activity fails with comes as it is, and not within an `ActivityError`: the worker stops, say.
        except FailureError:
            result = AdvanceResult(is_cut_off=True)
        if result.goes_on_at is not None:
            # What is under way there would be cut off elsewhere.
            try:
                return await self._go_on(execution_id, at=result.goes_on_at)
            except ActivityError:
                result = AdvanceResult(is_cut_off=True)
        return await self._go_on(execution_id) if result.is_cut_off else result

    async def _go_on(self, execution_id: str, *, at: str | None = None) -> AdvanceResult:
        """Args: at: The queue of the one worker that may do it, if it does so at once."""
        result: AdvanceResult = await workflow.execute_activity(
            ADVANCE,
            execution_id,
            task_queue=at,
            result_type=AdvanceResult,
            schedule_to_start_timeout=None if at is None else timedelta(seconds=HEARTBEAT_SECONDS),
            start_to_close_timeout=_STRETCH,
            heartbeat_timeout=timedelta(seconds=HEARTBEAT_SECONDS),
            retry_policy=_PATIENCE if at is None else _ONCE,
        )
        return result

    async def _wait(self, execution_id: str, seconds: float | None) -> None:
        try:
            await workflow.wait_condition(lambda: self._is_nudged, timeout=seconds)
        except asyncio.CancelledError:
            await self._cancel(execution_id)
        except TimeoutError:
            # It is due.
            return

    async def _cancel(self, execution_id: str) -> None:
        """Somebody cancels it in Temporal: it ends as if it had been cancelled here."""
        await workflow.execute_activity(
            CANCEL, execution_id, start_to_close_timeout=timedelta(seconds=30), retry_policy=_PATIENCE
        )
