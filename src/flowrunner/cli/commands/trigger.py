"""Command `trigger`."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from flowrunner.cli.common import CommandFailed, ask, common, say, yes_option
from flowrunner.cli.completion import complete_flows, complete_triggers
from flowrunner.cli.connection import connect
from flowrunner.cli.durations import moment_of, seconds_of
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import INVALID
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import flow_id, object_id, trigger_path
from flowrunner.cli.numbers import WholeNumber
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup
from flowrunner.cli.shared_options import wait_options
from flowrunner.cli.text import relative
from flowrunner.domain.counted import counted

trigger_argument = click.argument("trigger", shell_complete=complete_triggers)
_STATE = "flow_name name state next_at"
_COLUMNS = "id flow_name:FLOW name type state next_at last_at error warning"


@click.group(cls=ServerGroup, epilog=examples("trigger list --flow reports/daily"))
def trigger() -> None:
    """Manage triggers. TRIGGER is an id, its beginning, or FLOW/NAME.

    Triggers are written in the documents of flows.
    """


@trigger.command("list", short_help="List triggers.", epilog=examples("trigger list --type schedule"))
@click.option("--flow", metavar="NAME|ID", help="For this flow.", shell_complete=complete_flows)
@click.option("--type", type=click.Choice(["schedule", "webhook", "execution"]), help="Of this type.")
@limit_option
def list_(flow: str | None, type: str | None, limit: Limit) -> None:
    """List triggers."""
    client = connect()
    query = {"flow_id": None if flow is None else flow_id(client, flow), "type": type}
    show_list(
        client,
        "/triggers",
        _COLUMNS,
        query=query,
        limit=limit,
        empty="There are no such triggers: they are written in the documents of flows",
    )


@trigger.command(short_help="Print a trigger.", epilog=examples("trigger get reports/daily/every-morning"))
@trigger_argument
def get(trigger: str) -> None:
    """Print a trigger; of a webhook also the URL for its sender."""
    client = connect()
    found = client.get(trigger_path(client, trigger))
    # Without public_url the server does not know its address, which the context has.
    if str(found.get("url")).startswith("/"):
        found["url"] = f"{client.url}{found['url']}"
    show(found)


@trigger.command(
    short_help="Start nothing until it is resumed.", epilog=examples("trigger pause reports/daily/morning")
)
@trigger_argument
def pause(trigger: str) -> None:
    """Pause a trigger. It stays paused when the flow is saved again."""
    client = connect()
    show(client.request("POST", f"{trigger_path(client, trigger)}/pause").object(), _STATE)


@trigger.command(short_help="Start the flow again.", epilog=examples("trigger resume reports/daily/morning"))
@trigger_argument
def resume(trigger: str) -> None:
    """Resume a trigger. Starts that it missed while paused are skipped."""
    client = connect()
    show(client.request("POST", f"{trigger_path(client, trigger)}/resume").object(), _STATE)


@trigger.command(
    short_help="Start what it would start now.", epilog=examples("trigger run reports/daily/morning --wait")
)
@trigger_argument
@wait_options
def run(trigger: str, timeout: str | None, *, wait: bool, follow: bool) -> None:
    """Fire a schedule now, even if it is paused."""
    from flowrunner.cli.waiting import show_start

    seconds = seconds_of(timeout, "--timeout")
    client = connect()
    path = f"{trigger_path(client, trigger)}/run"
    started = client.request("POST", path, idempotency_key=True).object()
    sys.exit(show_start(client, started, wait=wait, follow=follow, seconds=seconds))


@trigger.command("next", short_help="Print when it starts next.", epilog=examples("trigger next reports/daily/morning"))
@trigger_argument
@click.option(
    "-n",
    "--count",
    metavar="NUMBER",
    type=WholeNumber(1, 1000),
    default=5,
    show_default=True,
    help="Number of due times.",
)
def next_(trigger: str, count: int) -> None:
    """Print the next due times of a schedule."""
    client = connect()
    found = client.get(f"{trigger_path(client, trigger)}/next", count=count)["next"]
    now = datetime.now(UTC)
    is_table = common().output in (None, "table")
    show(
        [{"time": moment, **({"distance": relative(moment, now)} if is_table else {})} for moment in found], name="time"
    )


@trigger.command(
    short_help="Start what a past period would have started.",
    epilog=examples("trigger backfill daily/morning --from 2027-01-01 --to 2027-02-01"),
)
@trigger_argument
@click.option(
    "--from",
    "start",
    metavar="TIME",
    required=True,
    help="From this moment or day on; a day of the schedule's time zone.",
)
@click.option("--to", "end", metavar="TIME", required=True, help="Until before this moment or day.")
@click.option("--dry-run", is_flag=True, help="Only print how many executions it would start, and the first times.")
@yes_option
def backfill(trigger: str, start: str, end: str, *, dry_run: bool, yes: bool) -> None:
    """Start the due times of a past period that were never started, as a job."""
    from flowrunner.cli.jobs import follow_job

    client = connect()
    path = f"{trigger_path(client, trigger)}/backfill"
    body = {"from": moment_of(start, "--from"), "to": moment_of(end, "--to")}
    plan = client.request("POST", path, json=body, query={"dry_run": True}).object()
    if dry_run:
        if common().output == "name" and common().query is None:
            show([{"time": moment} for moment in plan["times"]], name="time")
        else:
            show(plan)
        return
    if not plan["total"]:
        say("There is nothing to do: no due time of this period is left to start")
        return
    ask(f"Start {counted(plan['total'], 'execution')}?", yes=yes)
    sys.exit(follow_job(client, client.request("POST", path, json=body, idempotency_key=True).object()))


@trigger.command(short_help="List the requests to a webhook.", epilog=examples("trigger deliveries orders/github"))
@trigger_argument
@limit_option
def deliveries(trigger: str, limit: Limit) -> None:
    """List the requests that a webhook trigger accepted, newest first."""
    client = connect()
    path = f"{trigger_path(client, trigger)}/deliveries"
    refused = client.get(path, limit=1)["refused"]
    if refused["count"]:
        _tell_of_refusals(refused)
    show_list(
        client,
        path,
        "id received_at state execution_id:EXECUTION size error",
        limit=limit,
        empty="No request was accepted yet: 'flowrunner trigger get' prints the URL",
    )


def _tell_of_refusals(refused: Mapping[str, Any]) -> None:
    say(f"{counted(refused['count'], 'request was', 'requests were')} rejected; the last reasons:")
    for one in refused["last"]:
        say(f"  {one['at']}  {one['reason']}")


@trigger.command(
    short_help="Start again what a request has started.", epilog=examples("trigger replay orders/github d-1")
)
@trigger_argument
@click.argument("delivery")
def replay(trigger: str, delivery: str) -> None:
    """Start another execution from an earlier request."""
    client = connect()
    path = f"{trigger_path(client, trigger)}/deliveries"
    id = object_id(client, path, "delivery", delivery)
    show(client.request("POST", f"{path}/{id}/replay", idempotency_key=True).object(), name="execution_id")


@trigger.command(
    short_help="Forward requests to a program of your own.",
    epilog=examples("trigger listen orders/github --forward http://127.0.0.1:3000/hook"),
)
@trigger_argument
@click.option("--forward", metavar="URL", help="Send each request there too.")
def listen(trigger: str, forward: str | None) -> None:
    """Print the requests to a webhook trigger as they arrive, and forward them, until Ctrl-C."""
    from flowrunner.cli.listening import listen_to

    client = connect()
    path = trigger_path(client, trigger)
    if (type := client.get(path)["type"]) != "webhook":
        raise CommandFailed(f"'{trigger}' is a trigger of type {type}: only a webhook gets requests", INVALID)
    listen_to(client, f"{path}/deliveries", forward)
