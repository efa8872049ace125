"""Waits for the end of a job of the server: its progress, Ctrl-C, and the exit code."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from flowrunner.cli.common import CommandFailed, common, say, warn
from flowrunner.cli.exits import CANCELLED, FAILED, INTERRUPTED, OK, STILL_RUNNING
from flowrunner.cli.outages import ERRORS, Outage
from flowrunner.cli.output import show
from flowrunner.client import Client

_POLL_SECONDS: Final = 0.5
# A job that takes longer may wait for the end of a pause.
_POLLS_OF_SHORT_JOBS: Final = 3
_ERASE: Final = "\r\x1b[2K"


class _Progress:
    """The line on a terminal that shows how far a job is."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not common().quiet
        self._is_drawn = False

    def draw(self, job: Mapping[str, Any]) -> None:
        if self._is_shown:
            failed = f", {job['failed']} failed" if job["failed"] else ""
            sys.stderr.write(f"{_ERASE}{job['id']}: {job['done'] + job['failed']} of {job['total']}{failed}")
            sys.stderr.flush()
            self._is_drawn = True

    def erase(self) -> None:
        if self._is_drawn:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
            self._is_drawn = False

    def warn(self, text: str) -> None:
        self.erase()
        warn(text)


def follow_job(client: Client, job: Mapping[str, Any], *, seconds: float | None = None) -> int:
    """Wait for the end of a job and print it; return the exit code.

    Args:
        seconds: How long to wait; None for no limit.

    Raises:
        CommandFailed: The time is up.
    """
    polls, path, again = 0, f"/jobs/{job['id']}", f"flowrunner job watch {job['id']}"
    progress = _Progress()
    outage = Outage(tell=progress.warn, then="The job continues", command=again)
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        while job["status"] == "running":
            progress.draw(job)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise CommandFailed(f"The job has not ended after {seconds:g} s. It continues: {again}", STILL_RUNNING)
            time.sleep(_POLL_SECONDS if left is None else min(left, _POLL_SECONDS))
            try:
                job = client.get(path)
                if polls == _POLLS_OF_SHORT_JOBS and job["status"] == "running" and client.get("/system")["paused"]:
                    progress.warn(
                        "the installation is paused: a job that starts executions goes on when the pause ends"
                    )
            except ERRORS as error:
                outage.wait(error)
            else:
                outage.end()
                polls += 1
    except KeyboardInterrupt:
        progress.erase()
        click.echo(f"flowrunner: detached; the job continues: {again}", err=True)
        return INTERRUPTED
    finally:
        progress.erase()
    return end_with(job)


def end_with(job: Mapping[str, Any]) -> int:
    """Print a job that has ended, and why what it could not do failed; return the exit code."""
    for error in job["errors"]:
        # Without an item, the whole job could not go on.
        say(f"{error['item']}: {error['message']}" if "item" in error else error["message"])
    if (more := job["failed"] - sum("item" in error for error in job["errors"])) > 0:
        say(f"… and {more} more")
    is_said = common().is_for_people and not common().quiet
    show({name: value for name, value in job.items() if name != "errors"} if is_said else job)
    if job["status"] == "cancelled":
        click.echo("flowrunner: the job was stopped", err=True)
        return CANCELLED
    return OK if job["status"] == "completed" and not job["failed"] else FAILED
