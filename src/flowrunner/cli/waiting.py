"""Waits for the end of an execution: its events as they happen, Ctrl-C, and the exit code."""

import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from flowrunner.cli.common import CommandFailed, common, has_colour, say, warn
from flowrunner.cli.exits import CANCELLED, EXECUTION_FAILED, INTERRUPTED, NOT_FOUND, OK, STILL_RUNNING
from flowrunner.cli.live import LiveTree, PlainLines, Silence, View
from flowrunner.cli.log_lines import followed_events
from flowrunner.cli.output import print_text, show, show_value
from flowrunner.cli.text import plain
from flowrunner.client import Client

_DRAW_SECONDS: Final = 0.1
_SECOND_CTRL_C_SECONDS: Final = 2.0
_MOST_UNREAD: Final = 1000


def wait_for(client: Client, id: str, *, seconds: float | None, lines: bool) -> int:
    """Wait for the end of an execution, print its result, and return the exit code.

    On a terminal a tree of its nodes shows what happens; elsewhere ``lines`` prints a line for each event.

    Raises:
        CommandFailed: The time is up.
    """
    try:
        execution = follow(client, id, _view(lines=lines), seconds=seconds)
    except KeyboardInterrupt:
        _detach(client, id)
        return INTERRUPTED
    return end_with(execution)


def show_start(client: Client, started: Mapping[str, Any], *, wait: bool, follow: bool, seconds: float | None) -> int:
    """Print an execution that was started, or wait for its end; return the exit code."""
    if wait or follow or seconds is not None:
        return wait_for(client, started["execution_id"], seconds=seconds, lines=follow)
    show(started, name="execution_id")
    return OK


def follow(client: Client, id: str, view: "View", *, seconds: float | None) -> dict[str, Any]:
    """Show the events of an execution as they happen; return it once it has ended. Raises: CommandFailed."""
    arrived: queue.Queue[Any] = queue.Queue(_MOST_UNREAD)

    def read() -> None:
        try:
            for event in followed_events(client, id, tell=lambda reason: arrived.put(_away(reason))):
                arrived.put(event)
            arrived.put(None)
        except Exception as error:
            arrived.put(error)

    # A thread reads, so that the time that passes is shown, and ends, although nothing happens.
    threading.Thread(target=read, daemon=True).start()
    deadline = None if seconds is None else time.monotonic() + seconds
    with view:
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                item = arrived.get(timeout=_DRAW_SECONDS if left is None else max(0.0, min(left, _DRAW_SECONDS)))
            except queue.Empty:
                if left is not None and left <= 0:
                    text = f"The execution has not ended after {seconds:g} s. It continues: flowrunner watch {id}"
                    raise CommandFailed(text, STILL_RUNNING) from None
            else:
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    break
                view.add(item)
            view.draw()
    found: dict[str, Any] = client.get(f"/executions/{id}")
    return found


def _away(reason: str) -> Mapping[str, Any]:
    """Return a line of the log about a server that does not answer."""
    return {"type": "log", "level": "warn", "message": reason, "timestamp": datetime.now(UTC).isoformat()}


def end_with(execution: Mapping[str, Any]) -> int:
    """Print the result of an execution that has ended, or why there is none; return the exit code."""
    wanted = common()
    if wanted.output or wanted.query or wanted.fields:
        show(execution)
    elif execution["status"] == "completed":
        show_value(execution.get("result"))
    match execution["status"]:
        case "completed":
            return OK
        case "failed":
            failure = execution.get("failure") or {}
            place = f" at {failure['step']}" if failure.get("step") else ""
            text = f"flowrunner: the execution failed{place}: {failure.get('type')}: {failure.get('message')}"
            hints = [f"flowrunner logs {execution['id']} --failed"]
            if place:
                hints.append(f"flowrunner executions get {execution['id']}  # the data of the error")
                hints.append(f"flowrunner executions params {execution['id']}  # what the step was given")
            click.echo(f"{plain(text)}\n  hint: " + "\n        ".join(hints), err=True)
            return EXECUTION_FAILED
        case _:
            click.echo("flowrunner: the execution was cancelled", err=True)
            return CANCELLED


def no_step(step: str) -> CommandFailed:
    return CommandFailed(f"The execution has no step '{step}': 'flowrunner executions steps' shows them", NOT_FOUND)


def show_params(client: Client, path: str, step: str | None, attempt: int | None) -> None:
    """Print the parameters of a step, of the failed one by default. Raises: CommandFailed if there is no such step."""
    if step is None:
        step = (client.get(path).get("failure") or {}).get("step")
        if step is None:
            raise CommandFailed("No step has failed: name one with --step", NOT_FOUND)
    steps = f"{path}/steps"
    found = client.get(f"{steps}/{step_id(client, steps, step)}/params", attempt=attempt)
    wanted = common()
    if wanted.output or wanted.query or wanted.fields:
        show(found, name="step")
        return
    params = found.get("params")
    if params is None:
        if found["errors"] or found["reasons"]:
            say(f"No parameters of the step {step} can be shown")
        else:
            say(f"The step {step} was given no parameters")
    elif "text" in params:
        print_text(params["text"])
        say(f"This is the beginning of {params['size']} bytes")
    else:
        show_value(params["value"])
    for error in found["errors"]:
        warn(": ".join(filter(None, (error["path"], error["message"]))))
    for reason in found["reasons"]:
        warn(f"they may have been others: {reason}")


def step_id(client: Client, path: str, step: str) -> int:
    """Return the id of a step, or of the latest step of a node of the flow itself.

    Args:
        path: That of the steps.
        step: ``fetch.1``, or the node ``fetch``.

    Raises:
        CommandFailed: If there is none.
    """
    found = next(client.entries(path, query={"step": step, "cursor": None}, most=1), None)
    if found is None and "." not in step:
        # An execution may have thousands of steps of its own, so they are not collected.
        for each in client.entries(path, query={"scope": "", "cursor": None}):
            found = each if each["node_id"] == step else found
    if found is None:
        raise no_step(step)
    id: int = found["id"]
    return id


def result_of(client: Client, path: str, step: str | None) -> Any:
    """Return the result of an execution, or of a step of it. Raises: CommandFailed if there is none."""
    if step is not None:
        steps = f"{path}/steps"
        return client.get(f"{steps}/{step_id(client, steps, step)}/result")
    execution = client.get(path)
    match execution["status"]:
        case "completed":
            return execution.get("result")
        case "failed":
            raise CommandFailed(f"The execution failed: {execution.get('error')}", EXECUTION_FAILED)
        case "cancelled":
            raise CommandFailed("The execution was cancelled", CANCELLED)
        case status:
            raise CommandFailed(f"The execution is {status}: there is no result yet", STILL_RUNNING)


def _view(*, lines: bool) -> "View":
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if common().quiet or not (lines or is_terminal):
        return Silence()
    colour = has_colour(sys.stderr)
    return LiveTree(colour=colour) if is_terminal else PlainLines(colour=colour)


def _detach(client: Client, id: str) -> None:
    try:
        click.echo(f"flowrunner: detached; the execution continues: flowrunner watch {id}", err=True)
        click.echo("flowrunner: press Ctrl-C again to cancel it", err=True)
        time.sleep(_SECOND_CTRL_C_SECONDS)
    except KeyboardInterrupt:
        client.request("DELETE", f"/executions/{id}")
        click.echo("flowrunner: cancelled", err=True)
