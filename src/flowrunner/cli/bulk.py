"""Changes of many executions, in a job of the server."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from flowrunner.cli.common import ask, say, warn
from flowrunner.cli.exits import FAILED, INTERRUPTED, OK
from flowrunner.cli.outages import Outage
from flowrunner.cli.output import show
from flowrunner.cli.shared_options import with_ids
from flowrunner.client import Client
from flowrunner.domain.counted import counted

_POLL_SECONDS: Final = 0.5
# A job that takes longer may wait for the end of a pause.
_POLLS_OF_SHORT_JOBS: Final = 4
_PATH: Final = "/executions:batch"


def required(ids: Sequence[str], selected: Mapping[str, Any]) -> None:
    """Raises: click.UsageError unless either ids or a selection are there."""
    if bool(ids) == bool(selected):
        raise click.UsageError("Name executions by id, or select them with options: one of the two.")


def change_many(
    client: Client, action: str, selected: Mapping[str, Any], *, yes: bool, more: Mapping[str, Any] | None = None
) -> int:
    """Show how many executions a selection has, ask, and follow the job; return the exit code.

    Args:
        more: Further fields of the request.
    """
    body = {"action": action, "filter": with_ids(client, selected), **(more or {})}
    plan = client.request("POST", _PATH, json=body, query={"dry_run": True}).object()
    if not plan["total"]:
        say("There is nothing to do: no execution is selected")
        return OK
    ask(f"{action.capitalize()} {counted(plan['total'], 'execution')}, such as {plan['executions'][0]['id']}?", yes=yes)
    job = client.request("POST", _PATH, json=body, idempotency_key=True).object()
    return follow_job(client, job)


def follow_job(client: Client, job: Mapping[str, Any]) -> int:
    """Wait for the end of a job and print it; return the exit code."""
    polls, path = 0, f"/jobs/{job['id']}"
    outage = Outage(tell=warn, then="The job continues", command=f"flowrunner api GET {path}")
    try:
        while job["status"] == "running":
            time.sleep(_POLL_SECONDS)
            job = outage.outlasted(lambda: client.get(path))
            polls += 1
            if polls == _POLLS_OF_SHORT_JOBS and job["status"] == "running" and client.get("/system")["paused"]:
                warn("the installation is paused: a job that starts executions goes on when the pause ends")
    except KeyboardInterrupt:
        click.echo(f"flowrunner: detached; it goes on: flowrunner api GET {path}", err=True)
        return INTERRUPTED
    for error in job["errors"]:
        # Without an item, the whole job could not go on.
        say(f"{error['item']}: {error['message']}" if "item" in error else error["message"])
    show(job)
    return OK if job["status"] == "completed" and not job["failed"] else FAILED
