"""Progress of an execution, one line for each event."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final, assert_never

import click

from flowrunner.cli.text import clock_time, local_time, plain
from flowrunner.domain.events import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    Started,
    Step,
)
from flowrunner.domain.values import ExecutionId
from flowrunner.domain.waits import ApprovalWait, ChildWait, SignalWait, TimeWait, WaitFor
from flowrunner.ports.journal import Recorded

# Characters of a line. Readers want to see what runs, not all of its data.
_MOST_SHOWN: Final = 500
# Log lines that repeat an event, for readers of the log alone.
_MILESTONES: Final = ("Execution started", "Execution completed", "Execution failed: ", "Execution cancelled")


class Progress:
    """Printer of progress to the standard error. Recorded events hold no secrets."""

    def __init__(self, *, quiet: bool, colour: bool) -> None:
        self._quiet = quiet
        self._colour = colour
        self._began: dict[tuple[ExecutionId, Step], datetime] = {}
        self._executions: list[ExecutionId] = []

    def watch(self, id: ExecutionId, records: Sequence[Recorded]) -> None:
        if self._quiet:
            return
        if id not in self._executions:
            self._executions.append(id)
        number = self._executions.index(id)
        is_milestone = any(isinstance(r.event, Started | Completed | Failed | Cancelled) for r in records)
        for record in records:
            if _is_repetition(record.event, is_milestone=is_milestone):
                continue
            line = self._line(id, record)
            if line is not None:
                # Child executions are numbered.
                prefix = "" if number == 0 else f"[{number}] "
                moment = clock_time(record.at)
                click.echo(f"{click.style(moment, dim=True)} {prefix}{line}", err=True, color=self._colour)

    def _line(self, id: ExecutionId, record: Recorded) -> str | None:
        event = record.event
        match event:
            case Logged(level=level, message=message, node=node, data=data):
                suffix = "" if data is None else f" {json.dumps(data, ensure_ascii=False)}"
                text = plain(f"{node or 'flow'}: {message}{suffix}"[:_MOST_SHOWN])
                return click.style(f"{level:5} {text}", fg={"warn": "yellow", "error": "red"}.get(level))
            case NodeStarted(attempt=attempt):
                step = _step(event)
                self._began[id, step] = record.at
                retried = "" if attempt == 1 else f", attempt {attempt}"
                return plain(f"start {step} ({event.node_type}{retried})")
            case NodeCompleted(action=action):
                step = _step(event)
                if event.skipped:
                    return plain(f"skip  {step}")
                seconds = (record.at - self._began.get((id, step), record.at)).total_seconds()
                edge = "" if action == "default" else f" --{action}-->"
                return click.style(plain(f"done  {step}{edge} in {seconds:.3f} s"), fg="green")
            case NodeFailed(retry_at=retry_at) if retry_at is not None:
                wait = (retry_at - record.at).total_seconds()
                return plain(f"retry {_step(event)} in {wait:.3g} s")
            case NodeWaiting(wait_for=wait, due_at=due_at):
                limit = "" if due_at is None else f" until {local_time(due_at)}"
                return plain(f"wait  {_step(event)} {_awaited(wait)}{limit}"[:_MOST_SHOWN])
            case _:
                return None


def _is_repetition(event: Event, *, is_milestone: bool) -> bool:
    """Return whether a log line repeats an event. A `log` node may use the same words, and its line is printed."""
    is_like_one = isinstance(event, Logged) and event.message.startswith(_MILESTONES)
    return is_like_one and (is_milestone or getattr(event, "node_type", None) != "log")


def _step(event: NodeStarted | NodeCompleted | NodeFailed | NodeWaiting) -> Step:
    return Step(event.node, event.iteration, event.scope)


def _awaited(wait: WaitFor) -> str:
    """Return a description of what a step waits for."""
    match wait:
        case SignalWait(key=key, details=None):
            return f"for the signal '{key}'"
        case ApprovalWait(prompt=prompt):
            return f'for an approval: "{prompt}"'
        case ChildWait():
            return "for the flow that it has started"
        case SignalWait() | TimeWait():
            return f"({wait.describe()['type']})"
        case _:
            assert_never(wait)
