"""Which steps of an execution this process runs, each in a task of its own."""

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

# How long a cancelled node may take to clean up after itself.
CANCEL_GRACE_SECONDS: Final = 0.5


class StepTasks:
    """The steps that were decided on here and have not ended; what they come to goes into the mailbox.

    A step that was added begins when the tasks are launched: by then its start is durable, if it has to be. Steps that
    set variables run one after the other, so that each reads what the one before it has set.
    """

    def __init__(
        self, deps: EngineDependencies, execution: ExecutionRef, state: ExecutionState, mailbox: Mailbox
    ) -> None:
        self._deps = deps
        self._execution = execution
        self._state = state
        self._mailbox = mailbox
        self._under_way: dict[Step, asyncio.Task[None] | None] = {}
        # Those of them that have no task yet.
        self._to_begin: dict[Step, None] = {}
        # Those that set variables and wait for another one, and that other one.
        self._in_line: dict[Step, None] = {}
        self._setting: Step | None = None
        self._abandoned: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, step: object) -> bool:
        return step in self._under_way

    def add(self, step: Step) -> None:
        self._under_way[step] = None
        if node_of(self._execution.flow, self._state, step).sets_variables:
            self._in_line[step] = None
            self._take_next_in_line()
        else:
            self._to_begin[step] = None

    def _take_next_in_line(self) -> None:
        if self._setting is None and self._in_line:
            self._setting = next(iter(self._in_line))
            del self._in_line[self._setting]
            self._to_begin[self._setting] = None

    def take_quick(self) -> Step | None:
        """A step that was added and is done at once, for the caller to run."""
        for step in self._to_begin:
            if node_of(self._execution.flow, self._state, step).is_quick:
                self._forget(step)
                return step
        return None

    @property
    def are_pure(self) -> bool:
        """Whether there are steps to begin, and none of them has an effect outside."""
        flow, state = self._execution.flow, self._state
        return bool(self._to_begin) and all(node_of(flow, state, step).pure for step in self._to_begin)

    def launch(self) -> None:
        for step in self._to_begin:
            self._under_way[step] = asyncio.create_task(self._perform(step), name=f"step {step}")
        self._to_begin.clear()

    async def _perform(self, step: Step) -> None:
        attempt = self._state.at(step).attempts
        async with AsyncExitStack() as held:
            is_held = False

            async def wait_for_turn() -> None:
                nonlocal is_held
                if not is_held:
                    await held.enter_async_context(self._deps.http.hold_long_value(self._execution.workspace_id))
                    is_held = True

            outcome = await self._outcome(step, attempt, wait_for_turn)
            if outcome is None:
                return
            result = Result(step, attempt, outcome)
            self._mailbox.put(result)
            if is_held:
                del outcome
                await result.is_done.wait()

    async def _outcome(
        self, step: Step, attempt: int, wait_for_turn: Callable[[], Awaitable[None]]
    ) -> StepResult | None:
        """Run a try of a step; gives None if the server stops before it could."""
        seconds = node_of(self._execution.flow, self._state, step).timeout_seconds
        # The step ends itself when its time is up, unless the node type does not let itself be
        # cancelled: then nobody waits for it any longer than that.
        timer = None
        if seconds is not None:
            late = Result(step, attempt, timed_out(step.node, seconds))
            timer = asyncio.get_running_loop().call_later(seconds + CANCEL_GRACE_SECONDS, self._mailbox.put, late)
        try:
            report = self._mailbox.put_line
            return await run_step(self._deps, self._execution, self._state, step, report, wait_for_turn=wait_for_turn)
        except Stopped:
            self._forget(step)
            self._mailbox.wake()
            return None
        except Exception as error:
            # A fault of ours; without an outcome the execution would wait for this step for ever.
            logger.exception("step.crashed", execution_id=self._execution.execution_id, step=str(step))
            return Failure(type="node.crashed", message=f"The step failed: {type(error).__name__}", node=step.node)
        finally:
            if timer is not None:
                timer.cancel()

    def is_awaited(self, result: Result) -> bool:
        return result.step in self._under_way and self._state.at(result.step).attempts == result.attempt

    def let_go(self, step: Step) -> "asyncio.Task[None] | None":
        """Wait for a step no longer: it goes on as long as it likes, and what it comes to means nothing any more."""
        task = self._forget(step)
        if task is not None and not task.done():
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
        return task

    def cut_off(self, step: Step) -> "asyncio.Task[None] | None":
        task = self.let_go(step)
        if task is not None:
            task.cancel()
        return task

    def cut_off_all(self) -> "list[asyncio.Task[None]]":
        return [task for step in list(self._under_way) if (task := self.cut_off(step)) is not None]

    async def stop(self) -> None:
        """Cut all off, and give them a moment to clean up."""
        tasks = self.cut_off_all()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE_SECONDS)

    def _forget(self, step: Step) -> "asyncio.Task[None] | None":
        self._to_begin.pop(step, None)
        self._in_line.pop(step, None)
        if step == self._setting:
            self._setting = None
            self._take_next_in_line()
        return self._under_way.pop(step, None)
