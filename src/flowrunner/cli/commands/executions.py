"""Command `executions`, and `logs`, `watch`, `cancel` and `rerun`, which are also commands of their own."""

import sys
from typing import Any, Final

import click

from flowrunner.cli.common import ask, common, dry_run_option, say, say_message, warn, yes_option
from flowrunner.cli.completion import complete_executions
from flowrunner.cli.connection import connect
from flowrunner.cli.durations import seconds_of
from flowrunner.cli.examples import examples
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import execution_id, execution_path
from flowrunner.cli.numbers import WholeNumber
from flowrunner.cli.output import print_lines, show, show_value
from flowrunner.cli.server_command import ServerCommand, ServerGroup
from flowrunner.cli.shared_options import as_query, filter_of, filter_options, wait_options, with_ids

execution_argument = click.argument("execution", metavar="ID", shell_complete=complete_executions)
many_argument = click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete_executions)


@click.group(cls=ServerGroup, epilog=examples("executions list --status failed --since 24h"))
def executions() -> None:
    """List, inspect, cancel and re-run executions. ID may be the beginning of an id."""


@executions.command("list", short_help="List executions.", epilog=examples("executions list --flow order-sync -n 5"))
@filter_options
@click.option("--oldest-first", is_flag=True, help="List the oldest first.")
@limit_option
def list_(limit: Limit, *, oldest_first: bool, **options: Any) -> None:
    """List executions, newest first."""
    selected = filter_of(options)
    client = connect()
    query = {**as_query(with_ids(client, selected)), "sort": "started_at" if oldest_first else None}
    advice = "'flowrunner run FLOW' starts one"
    if "input" in selected:
        advice = "an input is found if its flow declares it with 'searchable: true' when the execution starts"
    elif "flow" in selected:
        # The flow may be deleted, and have executions all the same: its name is not looked up.
        advice = "'flowrunner flow list' shows the names of flows"
    columns = "id status flow_name:FLOW started_at duration waiting_at.type:WAIT error"
    empty = f"There are no such executions: {advice}"
    show_list(client, "/executions", columns, query=query, limit=limit, empty=empty)


@executions.command(short_help="Print an execution.", epilog=examples("executions get exec-01m8 -o json"))
@execution_argument
def get(execution: str) -> None:
    """Print an execution: its input, its result or failure, and what it waits for."""
    client = connect()
    show(client.get(execution_path(client, execution)))


@click.command(
    cls=ServerCommand,
    short_help="Follow an execution until it ends.",
    epilog=examples("watch exec-01m8", "watch exec-01m8 --timeout 5m"),
)
@execution_argument
@click.option("--timeout", metavar="DURATION", help="How long to wait; no limit by default.")
def watch(execution: str, timeout: str | None) -> None:
    """Show what happens in an execution until it ends, and print its result. Ctrl-C detaches.

    Exits with 0 if it completed, 3 if it failed, 8 if it has not ended within --timeout, and 9 if it was cancelled.
    """
    from flowrunner.cli.waiting import wait_for

    seconds = seconds_of(timeout, "--timeout")
    client = connect()
    sys.exit(wait_for(client, execution_id(client, execution), seconds=seconds, lines=True))


@click.command(cls=ServerCommand, epilog=examples("logs exec-01m8 -f", "logs exec-01m8 --failed --level warn"))
@execution_argument
@click.option("-f", "--follow", is_flag=True, help="Follow new lines until the end.")
@click.option("--level", type=click.Choice(["debug", "info", "warn", "error"]), help="This level and above.")
@click.option("--node", metavar="NODE", help="Lines of this node.")
@click.option("--step", metavar="STEP", help="Lines of this step, such as each.1[4]/push.1, and of those inside it.")
@click.option("--attempt", metavar="NUMBER", type=WholeNumber(1), help="Lines of this attempt.")
@click.option("--failed", is_flag=True, help="Lines of the node that failed.")
@click.option("--search", "q", metavar="TEXT", help="Lines with this text in their message.")
def logs(
    execution: str,
    level: str | None,
    node: str | None,
    attempt: int | None,
    q: str | None,
    *,
    step: str | None,
    follow: bool,
    failed: bool,
) -> None:
    """Print the log of an execution."""
    from flowrunner.cli.log_lines import followed_lines

    client = connect()
    path = execution_path(client, execution)
    if failed:
        node = node or client.get(path).get("failed_node")
        if node is None:
            say("No node has failed: this is the whole log")
    query = {"min_level": level, "node": node, "step": step, "attempt": attempt, "q": q}
    found = followed_lines(client, path, query, tell=warn) if follow else client.entries(f"{path}/logs", query=query)
    print_lines(found)


@executions.command(
    short_help="Print the steps of an execution.",
    epilog=examples("executions steps exec-01m8 --status failed", "executions steps exec-01m8 --step fetch.1 -o json"),
)
@execution_argument
@click.option("--step", metavar="STEP", help="Only this step, in full: each.1[4]/push.1, or a node for its latest.")
@click.option("--scope", metavar="SCOPE", help="Only steps of this round of a loop, or of this branch.")
@click.option("--node", metavar="NODE", help="Only runs of this node, in any round.")
@click.option("--status", metavar="STATUS,…", help="Only with one of these statuses, such as failed or retrying.")
@limit_option
def steps(
    execution: str, step: str | None, limit: Limit, *, scope: str | None, node: str | None, status: str | None
) -> None:
    """Print the steps of an execution, in the order in which they started."""
    from flowrunner.cli.waiting import step_id

    if step is not None and (scope or node or status):
        raise click.UsageError("--step prints one step: leave out --scope, --node and --status.")
    client = connect()
    path = f"{execution_path(client, execution)}/steps"
    if step is None:
        query = {"scope": scope, "node": node, "status": status, "cursor": None}
        columns = "step node_type:TYPE status attempts duration action error.message:ERROR"
        show_list(client, path, columns, query=query, limit=limit, name="step")
        return
    show(client.get(f"{path}/{step_id(client, path, step)}"), name="step")


@executions.command(
    short_help="Print the parameters that a step was given.",
    epilog=examples("executions params exec-01m8", "executions params exec-01m8 --step fetch.1 --attempt 2"),
)
@execution_argument
@click.option("--step", metavar="STEP", help="The step, or a node for its latest; by default the one that failed.")
@click.option("--attempt", metavar="NUMBER", type=WholeNumber(1), help="The attempt; the latest by default.")
def params(execution: str, step: str | None, attempt: int | None) -> None:
    """Print the parameters of a step after its expressions: the URL, the body and the query that went out.

    They are evaluated again, with ${secrets.NAME} in place of the value of a secret. What fails, and why they may have
    been others, is on standard error; with -o, --query or --fields it is in the answer.
    """
    from flowrunner.cli.waiting import show_params

    client = connect()
    show_params(client, execution_path(client, execution), step, attempt)


@executions.command(short_help="Print the events of an execution.", epilog=examples("executions events exec-01m8 -f"))
@execution_argument
@click.option("-f", "--follow", is_flag=True, help="Follow new events until the end.")
def events(execution: str, *, follow: bool) -> None:
    """Print the events of an execution, one JSON object per line."""
    from flowrunner.cli.log_lines import followed_events, recorded_events

    common().output = common().output or "ndjson"
    client = connect()
    id = execution_id(client, execution)
    found = followed_events(client, id, tell=warn) if follow else recorded_events(client, f"/executions/{id}")
    show(found, "seq timestamp:TIME type step status message", name="seq")


@executions.command(
    short_help="Print the result of an execution.",
    epilog=examples("executions output exec-01m8 > result.json", "executions output exec-01m8 --step fetch.1"),
)
@execution_argument
@click.option("--step", metavar="STEP", help="The result of this step, or of the latest of this node, instead.")
def output(execution: str, step: str | None) -> None:
    """Print the result of an execution, or of one of its steps, as JSON."""
    from flowrunner.cli.waiting import result_of

    client = connect()
    path = execution_path(client, execution)
    show_value(result_of(client, path, step))


@click.command(
    cls=ServerCommand,
    short_help="Cancel executions.",
    epilog=examples("cancel exec-01m8", "cancel --flow order-sync --status waiting --since 2d --dry-run"),
)
@many_argument
@filter_options
@click.option("--force", is_flag=True, help="End it at once, without on_finish; only with ids.")
@dry_run_option("Only print what would be cancelled.")
@yes_option
def cancel(ids: tuple[str, ...], *, force: bool, dry_run: bool, yes: bool, **options: Any) -> None:
    """Cancel executions by their ids, or all that the options select: without --status, those that have not ended."""
    from flowrunner.cli.bulk import change_many, change_named, plan_named, required

    client, selected = connect(), filter_of(options)
    required(ids, selected)
    if selected:
        if force:
            raise click.UsageError("--force ends executions that are named by their ids, and not those of a selection.")
        sys.exit(change_many(client, "cancel", selected, yes=yes, dry_run=dry_run))
    if dry_run:
        sys.exit(plan_named(client, "cancel", ids))

    def cancel_one(id: str) -> None:
        ask(f"Cancel {id}?", yes=yes)
        say_message(client.request("DELETE", f"/executions/{id}", query={"force": True} if force else None))

    sys.exit(change_named(client, ids, cancel_one))


@click.command(
    cls=ServerCommand,
    short_help="Re-run executions.",
    epilog=examples(
        "rerun exec-01m8 --from push --wait", "rerun --flow order-sync --unrepaired --since 24h --from push"
    ),
)
@many_argument
@filter_options
@click.option(
    "--from", "start", metavar="NODE|STEP", help="Keep the results before this node, and continue from there."
)
@click.option(
    "--elements",
    type=click.Choice(["failed"]),
    help="With --from a loop: only its failed ones.",
)
@click.option("--node-input", metavar="JSON|@FILE|-", help="With --from: another input for that node.")
@click.option("-i", "--input", "inputs", metavar="INPUT", multiple=True, help="Another input: see 'flowrunner run'.")
@click.option(
    "--set-label", "labels_set", metavar="NAME=VALUE", multiple=True, help="A label; replaces the original labels."
)
@click.option("--revision", metavar="NUMBER|same|label:…", help="The revision; by default the current one.")
@click.option("--same-keys", is_flag=True, help="Send the original idempotency keys.")
@dry_run_option("Only print what would be re-run.")
@wait_options
@yes_option
def rerun(ids: tuple[str, ...], *, dry_run: bool, yes: bool, **options: Any) -> None:
    """Re-run one execution by its id, or all that the options select, those that failed by default, and that have not
    been re-run since.
    """
    from flowrunner.cli.bulk import change_many, required
    from flowrunner.cli.reruns import rerun_fields, rerun_one

    many = {name: options.pop(name) for name in ("start", "elements", "revision", "same_keys")}
    one = {name: options.pop(name) for name in ("node_input", "inputs", "labels_set", "wait", "follow", "timeout")}
    client, selected = connect(), filter_of(options)
    required(ids, selected)
    fields = rerun_fields(**many)
    if selected:
        given = next((name for name, value in one.items() if value not in (None, (), False)), None)
        if given is not None:
            option = _OF_ONE.get(given, f"--{given}")
            raise click.UsageError(
                f"{option} is for one execution. Several are re-run by a job, which takes --from, --elements, "
                "--revision and --same-keys."
            )
        sys.exit(change_many(client, "rerun", selected, yes=yes, dry_run=dry_run, more=fields))
    if len(ids) > 1:
        raise click.UsageError("Re-run one execution by its id, or select several with options.")
    sys.exit(rerun_one(client, execution_id(client, ids[0]), fields, dry_run=dry_run, **one))


# The options whose names differ from those of their parameters.
_OF_ONE: Final = {"node_input": "--node-input", "inputs": "--input", "labels_set": "--set-label"}


@executions.command(
    short_help="Delete executions that have ended.",
    epilog=examples("executions delete exec-01m8", "executions delete --flow order-sync --until 30d"),
)
@many_argument
@filter_options
@dry_run_option("Only print what would be deleted.")
@yes_option
def delete(ids: tuple[str, ...], *, dry_run: bool, yes: bool, **options: Any) -> None:
    """Delete executions that have ended, with their events and logs: by their ids, or all that the options select."""
    from flowrunner.cli.bulk import change_many, change_named, plan_named, required

    client, selected = connect(), filter_of(options)
    required(ids, selected)
    if selected:
        sys.exit(change_many(client, "delete", selected, yes=yes, dry_run=dry_run))
    if dry_run:
        sys.exit(plan_named(client, "delete", ids))

    def delete_one(id: str) -> None:
        ask(f"Delete {id}?", yes=yes)
        say_message(client.request("DELETE", f"/executions/{id}/record"))

    sys.exit(change_named(client, ids, delete_one))


for command in (watch, logs, cancel, rerun):
    executions.add_command(command)
