"""The running steps of an execution, each in a task."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from flowrunner.domain.decide import node_of
from flowrunner.domain.events import ErrorValue, Logged, ScopeEnded, Step
from flowrunner.engine.dependencies import LoadedExecution, Stopped
from flowrunner.engine.expressions import evaluate, evaluated_part
from flowrunner.engine.log_lines import level_of
from flowrunner.engine.mailbox import Mailbox, Result, StepResult, TaskOutcome
from flowrunner.engine.node_context import LongValueSlot
from flowrunner.engine.step import CANCEL_GRACE_SECONDS, run_step, timed_out, trace_of
from flowrunner.tasks import begin

logger = structlog.get_logger()


class StepTasks:
    """The running steps of an execution, each in a task; their outcomes go into the mailbox.

    So do the values of scopes, which are evaluated under the last step of their scope: that has ended by then.

    An added step starts when the tasks are launched: by then its start is durable, if it has to be. Steps that set
    variables run one after the other, so that each reads the variables set by the previous one.

    Attributes:
        evaluating: The scopes whose value is being evaluated.
        quick: Added steps and evaluations that are so short that the caller runs them itself.
    """

    def __init__(self, loaded: LoadedExecution, mailbox: Mailbox) -> None:
        self.evaluating: set[str] = set()
        self.quick: dict[Step, None] = {}
        self._loaded = loaded
        self._flow = loaded.execution.flow
        self._state = loaded.state
        self._mailbox = mailbox
        self._running: dict[Step, asyncio.Task[None] | None] = {}
        # Running steps without a task yet, except quick ones.
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
        node = node_of(self._flow, self._state, step)
        if node.sets_variables:
            self._in_line[step] = None
            self._take_next_in_line()
        else:
            (self.quick if node.is_quick else self._to_start)[step] = None

    def add_evaluation(self, last: Step) -> None:
        """Evaluate the value of the scope that ends with the step ``last``."""
        self._running[last] = None
        self.evaluating.add(last.scope)
        is_quick = evaluated_part(self._flow, self._state, last).is_quick
        (self.quick if is_quick else self._to_start)[last] = None

    def _take_next_in_line(self) -> None:
        if self._setting is None and self._in_line:
            self._setting = step = next(iter(self._in_line))
            del self._in_line[step]
            is_quick = node_of(self._flow, self._state, step).is_quick
            (self.quick if is_quick else self._to_start)[step] = None

    def begin_quick(self, report: Callable[[Logged], None]) -> tuple[Step, Coroutine[Any, Any, TaskOutcome]]:
        """Remove the first quick step, and return it with its run, which the caller awaits."""
        step = next(iter(self.quick))
        is_evaluation = step.scope in self.evaluating
        self._forget(step)
        if is_evaluation:
            return step, self._value_after(step, report)
        return step, run_step(self._loaded, step, report)

    @property
    def are_pure(self) -> bool:
        """Return whether there are steps to start, and none of them has an effect outside."""
        return bool(self._to_start) and all(map(self._is_pure, self._to_start))

    def launch(self) -> None:
        """Start the added steps, except quick ones."""
        to_start, self._to_start = self._to_start, {}
        # The event loop has had a turn since the last step, if the start of this one had to be durable first.
        start = begin if len(to_start) == 1 and not self._is_pure(next(iter(to_start))) else asyncio.create_task
        for step in to_start:
            task = start(self._run(step), name=f"step {step}")
            if step in self._running:
                self._running[step] = task

    def _is_pure(self, step: Step) -> bool:
        return step.scope in self.evaluating or node_of(self._flow, self._state, step).pure

    async def _run(self, step: Step) -> None:
        attempt = self._state.at(step).attempts
        is_evaluation = step.scope in self.evaluating
        slot = LongValueSlot(self._loaded.deps.http, self._loaded.execution.workspace_id)
        try:
            outcome: TaskOutcome = await (
                self._value_after(step, self._mailbox.put_line) if is_evaluation else self._attempt(step, attempt, slot)
            )
            is_done = asyncio.Event() if slot.is_held else None
            self._mailbox.put(Result(step, attempt, outcome, is_done))
            if is_done is not None:
                del outcome
                await is_done.wait()
        except Stopped:
            self._forget(step)
            self._mailbox.wake()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and step not in self._running:
                raise
            # A bug here, or a node type that cancels its own task: without an outcome the execution would wait for this
            # step indefinitely.
            trace = await trace_of(error, self._loaded.redactor)
            logger.error(
                "step.crashed", execution_id=self._loaded.execution.execution_id, step=str(step), exception=trace
            )
            message = f"The step failed: {type(error).__name__}"
            crash = ErrorValue(type="node.crashed", message=message, node=step.node)
            ended = ScopeEnded(scope=step.scope, outcome="failed", error=crash)
            self._mailbox.put(Result(step, attempt, ended if is_evaluation else crash))
        finally:
            await slot.leave()

    def _attempt(self, step: Step, attempt: int, slot: LongValueSlot) -> Coroutine[Any, Any, StepResult]:
        seconds = node_of(self._flow, self._state, step).timeout_seconds
        # A step times out by itself, unless its node type suppresses the cancellation: then it is abandoned.
        give_up = None if seconds is None else partial(self._put_timeout, step, attempt, seconds)
        return run_step(self._loaded, step, self._mailbox.put_line, slot=slot, give_up=give_up)

    def _value_after(self, last: Step, report: Callable[[Logged], None]) -> Coroutine[Any, Any, ScopeEnded]:
        def on_console(level: str, text: str) -> None:
            report(Logged(level=level_of(level), message=text))

        return evaluate(self._loaded, last, on_console)

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
        self.quick.pop(step, None)
        self._to_start.pop(step, None)
        self._in_line.pop(step, None)
        if self.evaluating:
            self.evaluating.discard(step.scope)
        if step == self._setting:
            self._setting = None
            self._take_next_in_line()
        return self._running.pop(step, None)
