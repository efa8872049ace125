"""The running steps of an execution, each in a task."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial

import structlog

from flowrunner.domain.decide import node_of
from flowrunner.domain.events import ErrorValue, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.engine.dependencies import EngineDependencies, ExecutionRef, Stopped
from flowrunner.engine.mailbox import Mailbox, Result
from flowrunner.engine.step import CANCEL_GRACE_SECONDS, run_step, timed_out
from flowrunner.tasks import begin

logger = structlog.get_logger()


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
        return bool(self._to_start) and all(map(self._is_pure, self._to_start))

    def launch(self) -> None:
        to_start, self._to_start = self._to_start, {}
        # The event loop has had a turn since the last step, if the start of this one had to be durable first.
        start = begin if len(to_start) == 1 and not self._is_pure(next(iter(to_start))) else asyncio.create_task
        for step in to_start:
            task = start(self._run(step), name=f"step {step}")
            if step in self._running:
                self._running[step] = task

    def _is_pure(self, step: Step) -> bool:
        return node_of(self._execution.flow, self._state, step).pure

    async def _run(self, step: Step) -> None:
        attempt = self._state.at(step).attempts
        seconds = node_of(self._execution.flow, self._state, step).timeout_seconds
        # A step times out by itself, unless its node type suppresses the cancellation: then it is abandoned.
        give_up = None if seconds is None else partial(self._put_timeout, step, attempt, seconds)
        held: list[AbstractAsyncContextManager[None]] = []

        async def wait_for_slot() -> None:
            if not held:
                slot = self._deps.http.hold_long_value(self._execution.workspace_id)
                await slot.__aenter__()
                held.append(slot)

        try:
            outcome = await run_step(
                self._deps,
                self._execution,
                self._state,
                step,
                self._mailbox.put_line,
                wait_for_slot=wait_for_slot,
                give_up=give_up,
            )
            is_done = asyncio.Event() if held else None
            self._mailbox.put(Result(step, attempt, outcome, is_done))
            if is_done is not None:
                del outcome
                await is_done.wait()
        except Stopped:
            self._forget(step)
            self._mailbox.wake()
        except Exception as error:
            # A bug here: without an outcome the execution would wait for this step indefinitely.
            logger.exception("step.crashed", execution_id=self._execution.execution_id, step=str(step))
            message = f"The step failed: {type(error).__name__}"
            crash = ErrorValue(type="node.crashed", message=message, node=step.node)
            self._mailbox.put(Result(step, attempt, crash))
        finally:
            for slot in held:
                await slot.__aexit__(None, None, None)

    def _put_timeout(self, step: Step, attempt: int, seconds: float) -> None:
        self._mailbox.put(Result(step, attempt, timed_out(step.node, seconds)))

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
