"""The workflow of one execution: it schedules workers, and contains no data of the execution.

Temporal records only ids, states and times. This code is replayed against histories of its other versions
(`tests/dispatch/histories` keeps some), so a change of its behaviour has to use `workflow.patched`.
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

# A worker without a heartbeat for so long is considered dead.
HEARTBEAT_SECONDS: Final = 10.0
# The death of a worker in a workflow task is detected after this time. The client extends a running task before that.
TASK_TIMEOUT: Final = timedelta(seconds=5)
# A shorter run is a local activity of the workflow task: extending the task costs Temporal far less than an activity.
SHORT_SECONDS: Final = 9.0
_ADVANCE_LOCALLY_TIMEOUT: Final = timedelta(seconds=30)
_ONCE: Final = RetryPolicy(maximum_attempts=1)
# An activity ends by itself, but Temporal requires a timeout.
_UNLIMITED: Final = timedelta(days=3650)
_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)


@dataclass(frozen=True)
class AdvanceResult:
    """The reason why a worker has stopped advancing an execution.

    Attributes:
        is_over: The execution has ended.
        is_cut_off: The worker has no capacity for it, or stops; another worker continues.
        goes_on_at: The task queue of the one worker that continues it.
        due_in_seconds: Delay of the next timer; None to wait for a nudge. A delay, not a time, as the clocks of
            Temporal and of the worker may differ.
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
        """Wake the workflow: the database has something new for the execution."""
        self._is_nudged = True

    @workflow.run
    async def run(self, execution_id: str) -> None:
        while True:
            # A nudge during the activity may be too late for it: keep it for the next round.
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
        advancing = asyncio.create_task(self._advance_once(execution_id))
        while True:
            try:
                return await asyncio.shield(advancing)
            except asyncio.CancelledError:
                await self._cancel(execution_id)

    async def _advance_once(self, execution_id: str) -> AdvanceResult:
        """Advance in the worker that has this task, and may continue alone, or otherwise in any one with capacity."""
        try:
            result = await workflow.execute_local_activity(
                ADVANCE_LOCALLY,
                execution_id,
                result_type=AdvanceResult,
                start_to_close_timeout=_ADVANCE_LOCALLY_TIMEOUT,
                retry_policy=_ONCE,
            )
        # A local activity raises its error directly, not in an `ActivityError`, for example when the worker stops.
        except FailureError:
            result = AdvanceResult(is_cut_off=True)
        if result.goes_on_at is not None:
            # Steps that run there would be interrupted in another worker.
            try:
                return await self._execute_activity(execution_id, at=result.goes_on_at)
            except ActivityError:
                result = AdvanceResult(is_cut_off=True)
        return await self._execute_activity(execution_id) if result.is_cut_off else result

    async def _execute_activity(self, execution_id: str, *, at: str | None = None) -> AdvanceResult:
        """Run the activity: in any worker, or in the one with the queue ``at`` if that takes it immediately."""
        result: AdvanceResult = await workflow.execute_activity(
            ADVANCE,
            execution_id,
            task_queue=at,
            result_type=AdvanceResult,
            schedule_to_start_timeout=None if at is None else timedelta(seconds=HEARTBEAT_SECONDS),
            start_to_close_timeout=_UNLIMITED,
            heartbeat_timeout=timedelta(seconds=HEARTBEAT_SECONDS),
            retry_policy=_RETRY if at is None else _ONCE,
        )
        return result

    async def _wait(self, execution_id: str, seconds: float | None) -> None:
        try:
            await workflow.wait_condition(lambda: self._is_nudged, timeout=seconds)
        except asyncio.CancelledError:
            await self._cancel(execution_id)
        except TimeoutError:
            # The timer is due.
            return

    async def _cancel(self, execution_id: str) -> None:
        """Cancel the execution after its workflow was cancelled in Temporal."""
        await workflow.execute_activity(
            CANCEL, execution_id, start_to_close_timeout=timedelta(seconds=30), retry_policy=_RETRY
        )
