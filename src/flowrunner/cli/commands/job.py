"""Command `job`."""

import sys

import click

from flowrunner.cli.common import ask, say_message, yes_option
from flowrunner.cli.completion import complete_jobs
from flowrunner.cli.connection import connect
from flowrunner.cli.durations import seconds_of
from flowrunner.cli.examples import examples
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import object_id
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup

_PATH = "/jobs"

job_argument = click.argument("job", metavar="ID", shell_complete=complete_jobs)


@click.group(cls=ServerGroup, epilog=examples("job list", "job watch job-01m8"))
def job() -> None:
    """Follow and stop jobs, which change many executions. ID may be the beginning of an id."""


@job.command("list", short_help="List jobs.", epilog=examples("job list -n 5"))
@limit_option
def list_(limit: Limit) -> None:
    """List the jobs of the workspace (cancel, re-run, delete, backfill), newest first."""
    show_list(
        connect(),
        _PATH,
        "id type status total done failed created_at",
        limit=limit,
        empty="There are no jobs: 'cancel', 'rerun' and 'executions delete' create one for many executions",
    )


@job.command(short_help="Print a job.", epilog=examples("job get job-01m8"))
@job_argument
def get(job: str) -> None:
    """Print a job: how far it is, and the first reasons why executions could not be changed."""
    client = connect()
    show(client.get(f"{_PATH}/{object_id(client, _PATH, 'job', job)}"))


@job.command(
    short_help="Wait for the end of a job.", epilog=examples("job watch job-01m8", "job watch job-01m8 --timeout 5m")
)
@job_argument
@click.option("--timeout", metavar="DURATION", help="How long to wait; no limit by default.")
def watch(job: str, timeout: str | None) -> None:
    """Show how far a job is until it ends, and print it. Ctrl-C detaches.

    Exits with 0 if it did everything, 1 if something failed, 8 if it has not ended within --timeout, and 9 if it was
    stopped.
    """
    from flowrunner.cli.jobs import follow_job

    seconds = seconds_of(timeout, "--timeout")
    client = connect()
    found = client.get(f"{_PATH}/{object_id(client, _PATH, 'job', job)}")
    sys.exit(follow_job(client, found, seconds=seconds))


@job.command(short_help="Stop a job.", epilog=examples("job stop job-01m8"))
@job_argument
@yes_option
def stop(job: str, *, yes: bool) -> None:
    """Stop a job. What it has done stays done, and what it has begun is completed."""
    client = connect()
    id = object_id(client, _PATH, "job", job)
    ask(f"Stop the job {id}?", yes=yes)
    say_message(client.request("DELETE", f"{_PATH}/{id}"))
