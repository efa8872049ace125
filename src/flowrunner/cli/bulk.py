"""Changes of many executions, in a job of the server."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from flowrunner.cli.common import CommandFailed, ask, common, say
from flowrunner.cli.exits import INVALID, OK
from flowrunner.cli.jobs import follow_job
from flowrunner.cli.output import show
from flowrunner.cli.shared_options import with_ids
from flowrunner.client import Client
from flowrunner.domain.counted import counted

_PATH: Final = "/executions:batch"
# What a question and a dry run say of each action.
_WORDS: Final = {"rerun": ("Re-run", "re-run"), "cancel": ("Cancel", "cancelled"), "delete": ("Delete", "deleted")}
_OPEN: Final = ("running", "waiting")


def required(ids: Sequence[str], selected: Mapping[str, Any]) -> None:
    """Raises: click.UsageError unless either ids or a selection are there."""
    if bool(ids) == bool(selected):
        raise click.UsageError("Name executions by id, or select them with options: one of the two.")


def change_many(
    client: Client,
    action: str,
    selected: Mapping[str, Any],
    *,
    yes: bool,
    dry_run: bool = False,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Show how many executions a selection has, ask, and follow the job; return the exit code.

    Args:
        dry_run: Only show which executions it has.
        more: Further fields of the request.
    """
    body = {"action": action, "filter": with_ids(client, selected), **(more or {})}
    plan = _plan(client, body)
    if dry_run or not plan["total"]:
        show_plan(plan, action)
        return OK
    ask(f"{_WORDS[action][0]} {counted(plan['total'], 'execution')}, such as {plan['executions'][0]['id']}?", yes=yes)
    job = client.request("POST", _PATH, json=body, idempotency_key=True).object()
    return follow_job(client, job)


def plan_named(client: Client, action: str, ids: Sequence[str], *, more: Mapping[str, Any] | None = None) -> int:
    """Show what an action would do with executions that are named by their ids; return the exit code.

    Raises:
        CommandFailed: One has ended, or has not, so that it would be refused.
    """
    for id in ids:
        status = client.get(f"/executions/{id}")["status"]
        if action == "cancel" and status not in _OPEN:
            raise CommandFailed(f"{id} has already ended: it is {status}", INVALID)
        if action == "delete" and status in _OPEN:
            raise CommandFailed(f"{id} has not ended: cancel it first", INVALID)
    show_plan(_plan(client, {"action": action, "ids": list(ids), **(more or {})}), action)
    return OK


def _plan(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    return client.request("POST", _PATH, json=body, query={"dry_run": True}).object()


def show_plan(plan: Mapping[str, Any], action: str) -> None:
    """Print what a job would do: its first executions for people, and the whole plan for programs."""
    total, first = plan["total"], plan["executions"]
    if common().is_for_people or common().output == "name":
        if first:
            show(first, "id status flow_name:FLOW started_at error")
    else:
        show(plan)
    if not total:
        say("There is nothing to do: no execution is selected")
        return
    if not common().is_for_people:
        return
    listed = f"; the first {len(first)} are listed" if len(first) < total else ""
    say(f"Dry run: {counted(total, 'execution')} would be {_WORDS[action][1]}{listed}. Nothing was changed")
