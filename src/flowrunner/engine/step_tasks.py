"""The tasks of an execution's running steps."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog

from flowrunner.domain.decide import node_of
from flowrunner.domain.events import Failure, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.engine.dependencies import EngineDependencies, Stopped
from flowrunner.engine.expressions import ExecutionRef
from flowrunner.engine.mailbox import Mailbox, Result
from flowrunner.engine.step import StepResult, run_step, timed_out

logger = structlog.get_logger()

# Time that a cancelled node has to clean up.
CANCEL_GRACE_SECONDS: Final = 0.5


class StepTasks:
    """The running steps of an execution, each in a task; their outcomes go into the mailbox.

    An added step starts when the tasks are launched: by then its start is durable, if it has to be. Steps that set
    variables run one after the other, so that each reads the variables set by the previous one.
    """

    def __init__(
        self, deps: EngineDependencies, execution: ExecutionRef, state: ExecutionState, mailbox: Mailbox
    ) -> None:
        self._deps = deps
        self._execution = execution
        self._state = state
        self._mailbox = mailbox
        self._running: dict[Step, asyncio.Task[None] | None] = {}
        # Running steps without a task yet.
        self._to_start: dict[Step, None] = {}
        # Steps that set variables: the ones that wait, and the running one.
        self._in_line: dict[Step, None] = {}
        self._setting: Step | None = None
        self._abandoned: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, step: object) -> bool:
        return step in self._running

    def add(self, step: Step) -> None:
        self._running[step] = None
        if node_of(self._execution.flow, self._state, step).sets_variables:
            self._in_line[step] = None
            self._take_next_in_line()
        else:
            self._to_start[step] = None

    def _take_next_in_line(self) -> None:
        if self._setting is None and self._in_line:
            self._setting = next(iter(self._in_line))
            del self._in_line[self._setting]
            self._to_start[self._setting] = None

    def take_quick(self) -> Step | None:
        """Remove and return an added step that is so short that the caller can run it itself."""
        for step in self._to_start:
            if node_of(self._execution.flow, self._state, step).is_quick:
                self._forget(step)
                return step
        return None

    @property
    def are_pure(self) -> bool:
        """True if there are steps to start, and none of them has an effect outside."""
        flow, state = self._execution.flow, self._state
        return bool(self._to_start) and all(node_of(flow, state, step).pure for step in self._to_start)

    def launch(self) -> None:
        for step in self._to_start:
            self._running[step] = asyncio.create_task(self._run(step), name=f"step {step}")
        self._to_start.clear()

    async def _run(self, step: Step) -> None:
        attempt = self._state.at(step).attempts
        async with AsyncExitStack() as held:
            is_held = False

            async def wait_for_slot() -> None:
                nonlocal is_held
                if not is_held:
                    await held.enter_async_context(self._deps.http.hold_long_value(self._execution.workspace_id))
                    is_held = True

            outcome = await self._outcome(step, attempt, wait_for_slot)
            if outcome is None:
                return
            result = Result(step, attempt, outcome)
            self._mailbox.put(result)
            if is_held:
                del outcome
                await result.is_done.wait()

    async def _outcome(
        self, step: Step, attempt: int, wait_for_slot: Callable[[], Awaitable[None]]
    ) -> StepResult | None:
        """Run one attempt of a step; return None if the server stops before it could."""
        seconds = node_of(self._execution.flow, self._state, step).timeout_seconds
        # A step times out by itself, unless its node type suppresses the cancellation: then it is abandoned.
        timer = None
        if seconds is not None:
            late = Result(step, attempt, timed_out(step.node, seconds))
            timer = asyncio.get_running_loop().call_later(seconds + CANCEL_GRACE_SECONDS, self._mailbox.put, late)
        try:
            report = self._mailbox.put_line
            return await run_step(self._deps, self._execution, self._state, step, report, wait_for_slot=wait_for_slot)
        except Stopped:
            self._forget(step)
            self._mailbox.wake()
            return None
        except Exception as error:
            # A bug here: without an outcome the execution would wait for this step indefinitely.
            logger.exception("step.crashed", execution_id=self._execution.execution_id, step=str(step))
            return Failure(type="node.crashed", message=f"The step failed: {type(error).__name__}", node=step.node)
        finally:
            if timer is not None:
                timer.cancel()

    def is_awaited(self, result: Result) -> bool:
        return result.step in self._running and self._state.at(result.step).attempts == result.attempt

    def abandon(self, step: Step) -> "asyncio.Task[None] | None":
        """Stop waiting for a step: its task continues, and its outcome is ignored."""
        task = self._forget(step)
        if task is not None and not task.done():
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
        return task

    def cancel(self, step: Step) -> "asyncio.Task[None] | None":
        task = self.abandon(step)
        if task is not None:
            task.cancel()
        return task

    def cancel_all(self) -> "list[asyncio.Task[None]]":
        return [task for step in list(self._running) if (task := self.cancel(step)) is not None]

    async def stop(self) -> None:
        """Cancel all steps, and give them a moment to clean up."""
        tasks = self.cancel_all()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE_SECONDS)

    def _forget(self, step: Step) -> "asyncio.Task[None] | None":
        self._to_start.pop(step, None)
        self._in_line.pop(step, None)
        if step == self._setting:
            self._setting = None
            self._take_next_in_line()
        return self._running.pop(step, None)
