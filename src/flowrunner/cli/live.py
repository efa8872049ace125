"""Views of an execution that runs: a tree of its nodes on a terminal, and lines elsewhere."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final, Protocol, Self

import click

from flowrunner.cli.text import clock_time, fit, local_time, pad, plain, short_duration, width

# Characters of a line. Readers want to see what runs, not all of its data.
_MOST_SHOWN: Final = 500
_DRAW_SECONDS: Final = 0.1
_COLOURS: Final = {
    "running": "cyan", "waiting": "yellow", "retrying": "yellow", "completed": "green", "failed": "red",
    "warn": "yellow", "error": "red", "cancelled": "red",
}  # fmt: skip
_MILESTONES: Final = ("Execution started", "Execution completed", "Execution failed: ", "Execution cancelled")
Message = Mapping[str, Any]


class View(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def add(self, event: Message) -> None: ...
    def draw(self) -> None: ...


class Silence:
    """No view."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, event: Message) -> None:
        pass

    def draw(self) -> None:
        pass


class PlainLines(Silence):
    """A line for each event.

    Args:
        prefix: Put before each line, after its time.
    """

    def __init__(self, *, colour: bool, prefix: str = "") -> None:
        self._colour = colour
        self._prefix = prefix
        self._began: dict[str, str] = {}

    def add(self, event: Message) -> None:
        line = self._line(event)
        if line is not None:
            moment = click.style(clock_time(datetime.fromisoformat(event["timestamp"])), dim=True)
            click.echo(f"{moment} {self._prefix}{line}", err=True, color=self._colour)

    def _line(self, event: Message) -> str | None:
        step = str(event.get("step", ""))
        match event:
            case {"type": "log"}:
                return log_line(event)
            case {"type": "node_completed", "skipped": True}:
                return plain(f"skip  {step}")
            case {"type": "node_completed", "action": action}:
                seconds = _seconds(self._began.get(step) or event["timestamp"], event["timestamp"])
                edge = "" if action == "default" else f" --{action}-->"
                return click.style(plain(f"done  {step}{edge} in {seconds:.3f} s"), fg="green")
            case {"type": "execution_update", "waiting_for": waiting_for}:
                until = event.get("until")
                limit = f" until {local_time(datetime.fromisoformat(until))}" if until else ""
                return plain(f"wait  {step} {_awaited(waiting_for)}{limit}"[:_MOST_SHOWN])
            case {"type": "execution_update", "retry_at": str() as retry_at}:
                return plain(f"retry {step} in {_seconds(event['timestamp'], retry_at):.3g} s")
            case {"type": "execution_update", "error": _}:
                # The log has a line with it.
                return None
            case {"type": "execution_update", "attempt": attempt} if step:
                self._began[step] = event["timestamp"]
                retried = "" if attempt == 1 else f", attempt {attempt}"
                return plain(f"start {step} ({event.get('node_type')}{retried})")
            case _:
                return None


@dataclass(slots=True)
class _Node:
    """A row of the tree.

    Attributes:
        began: When it began, on the monotonic clock.
        runs: The number of the rounds of a loop or of branches, and how many of them have ended.
    """

    began: float
    first_at: str
    state: str = "running"
    detail: str = ""
    runs: tuple[int, int] | None = None
    seconds: float | None = None


class LiveTree:
    """A table of the nodes that is drawn again and again, with the nodes inside others below them."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._nodes: dict[str, _Node] = {}
        self._lines_drawn = 0
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()

    def add(self, event: Message) -> None:
        if event["type"] == "log":
            if (line := log_line(event)) is not None:
                self._erase()
                click.echo(line, err=True, color=self._colour)
            return
        scope = event.get("scope")
        if "scope_outcome" in event and scope is not None:
            self._count_run(str(scope).rpartition("[")[0])
            self._forget_inside(str(scope))
        elif "step" in event:
            self._change(str(event["step"]), event)

    def draw(self) -> None:
        if monotonic() - self._drawn_at >= _DRAW_SECONDS:
            self._draw()

    def _change(self, step: str, event: Message) -> None:
        node = self._nodes.get(step)
        if node is None:
            node = _Node(monotonic(), event["timestamp"])
            self._nodes[step] = node
        match event:
            case {"type": "node_completed", "skipped": True}:
                node.state, node.detail, node.seconds = "skipped", "", 0.0
            case {"type": "node_completed", "action": action}:
                node.state, node.detail = "completed", "" if action == "default" else f"--{action}-->"
                node.seconds = _seconds(node.first_at, event["timestamp"])
            case {"waiting_for": waiting_for}:
                node.state, node.detail = "waiting", _awaited(waiting_for)
            case {"retry_at": str(), "error": error}:
                node.state, node.detail = "retrying", str(error)
            case {"error": error}:
                node.state, node.detail = "failed", str(error)
                node.seconds = _seconds(node.first_at, event["timestamp"])
            case {"scopes": int() as total}:
                node.runs = total, 0
            case _:
                node.state, node.detail = "running", ""

    def _count_run(self, step: str) -> None:
        node = self._nodes.get(step)
        if node is not None and node.runs is not None:
            node.runs = node.runs[0], node.runs[1] + 1

    def _forget_inside(self, scope: str) -> None:
        # A loop may have thousands of runs: those that have ended are a number.
        for step in [step for step in self._nodes if step.startswith(f"{scope}/")]:
            del self._nodes[step]

    def _erase(self) -> None:
        if self._lines_drawn:
            # To the first line that was drawn, and clear from there.
            click.echo(f"\x1b[{self._lines_drawn}F\x1b[J", nl=False, err=True, color=True)
            self._lines_drawn = 0

    def _draw(self) -> None:
        columns, height = _terminal_size()
        self._erase()
        rows = list(self._nodes.items())[-max(1, height - 2) :]
        names = [plain(_indented(step)) for step, _ in rows]
        longest = min(max(map(width, names), default=0), columns // 2)
        for name, (_, node) in zip(names, rows, strict=True):
            seconds = monotonic() - node.began if node.seconds is None else node.seconds
            runs = f"{node.runs[1]}/{node.runs[0]} " if node.runs else ""
            state = click.style(pad(node.state, 10), fg=_COLOURS.get(node.state))
            detail = plain(f"{pad(short_duration(seconds), 7)} {runs}{node.detail}".replace("\n", " ").rstrip())
            # A line that the terminal breaks would be two, and is cut.
            line = f"  {pad(fit(name, longest), longest)}  {state}{fit(detail, max(1, columns - longest - 15))}"
            click.echo(line, err=True, color=self._colour)
        self._lines_drawn = len(rows)
        self._drawn_at = monotonic()
        sys.stderr.flush()


def _terminal_size() -> os.terminal_size:
    """Return the size of the terminal that shows the tree: the standard output may be a file, or of another size."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return shutil.get_terminal_size()
    # Some terminals do not know theirs.
    return size if size.columns and size.lines else shutil.get_terminal_size()


def _indented(step: str) -> str:
    """Return the name of a step below that of the node that it is inside: `  [4] push.1` for `each.1[4]/push.1`."""
    around, slash, name = step.rpartition("/")
    # Handlers of the end of the flow are in a scope without a number: `on_finish/notify.1`.
    key = around.rpartition("/")[2].rpartition("[")[2].removesuffix("]")
    return f"{'  ' * step.count('/')}[{key}] {name}" if slash else name


def log_line(event: Message) -> str | None:
    """Return a line of the log; None if it repeats an event."""
    message = str(event.get("message", ""))
    if message.startswith(_MILESTONES) and "step" not in event:
        return None
    data = "" if event.get("data") is None else f" {json.dumps(event['data'], ensure_ascii=False)}"
    level = str(event.get("level"))
    text = plain(f"{event.get('node_id') or 'flow'}: {message}{data}"[:_MOST_SHOWN])
    return click.style(f"{plain(level):5} {text}", fg=_COLOURS.get(level))


def plain_log_line(line: Message) -> str:
    """Return a line of the log with its time."""
    data = "" if line.get("data") is None else f" {json.dumps(line['data'], ensure_ascii=False)}"
    level = str(line["level"])
    place = line.get("step") or line.get("node_id") or "flow"
    text = plain(f"{level:5} {place}: {line['message']}{data}")
    moment = clock_time(datetime.fromisoformat(line["timestamp"]))
    return f"{click.style(moment, dim=True)} {click.style(text, fg=_COLOURS.get(level))}"


def _awaited(wait: Any) -> str:
    match wait:
        case {"type": "signal", "key": key}:
            return f"for the signal '{key}'"
        case {"type": "approval", "prompt": prompt}:
            return f'for an approval: "{prompt}"'
        case {"type": "flow"}:
            return "for the flow that it has started"
        case {"type": type}:
            return f"({type})"
        case _:
            return ""


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
