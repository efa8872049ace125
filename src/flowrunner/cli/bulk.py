"""Changes of many executions, in a job of the server."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from flowrunner.cli.common import CommandFailed, ask, common, say
from flowrunner.cli.exits import FAILED, INVALID, NOT_FOUND, OK
from flowrunner.cli.jobs import follow_job
from flowrunner.cli.lookup import execution_id
from flowrunner.cli.output import show
from flowrunner.cli.server_command import exit_code, report
from flowrunner.cli.shared_options import with_ids
from flowrunner.client import ApiError, Client
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
    dry_run: bool,
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


def change_named(client: Client, names: Sequence[str], change: Callable[[str], object]) -> int:
    """Call a function with the id of each execution that is named, by id or by its beginning; return the exit code.

    Of several executions, each that is refused is reported, and the others are tried: the code is 1 then.

    Raises:
        CommandFailed, ApiError: The only execution is refused, or the reason is none of the execution's. Nothing is
            done if a beginning names no execution, or several.
    """
    code = OK
    # Each once: of one that is named twice, the second change would be refused.
    ids = dict.fromkeys([execution_id(client, name) for name in names])
    for id in ids:
        try:
            change(id)
        except (CommandFailed, ApiError) as error:
            why = exit_code(error) if isinstance(error, ApiError) else error.exit_code
            # Without a right, a confirmation or a server, the next one would be refused, too.
            if len(ids) == 1 or why not in (INVALID, NOT_FOUND):
                raise
            if isinstance(error, ApiError):
                report(error, about=id)
            else:
                error.show()
            code = FAILED
    return code


def plan_named(client: Client, action: str, names: Sequence[str], *, more: Mapping[str, Any] | None = None) -> int:
    """Show what an action would do with executions that are named; return the exit code.

    Raises: Those of `change_named`, for one that has ended, or has not, so that it would be refused.
    """
    ids: list[str] = []

    def check(id: str) -> None:
        status = client.get(f"/executions/{id}")["status"]
        if action == "cancel" and status not in _OPEN:
            raise CommandFailed(f"{id} has already ended: it is {status}", INVALID)
        if action == "delete" and status in _OPEN:
            raise CommandFailed(f"{id} has not ended: cancel it first", INVALID)
        ids.append(id)

    code = change_named(client, names, check)
    if ids:
        show_plan(_plan(client, {"action": action, "ids": ids, **(more or {})}), action)
    return code


def _plan(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    return client.request("POST", _PATH, json=body, query={"dry_run": True}).object()


def show_plan(plan: Mapping[str, Any], action: str) -> None:
    """Print what a job would do: its first executions for people, and the whole plan for programs."""
    total, first = plan["total"], plan["executions"]
    if common().is_for_people or (common().output == "name" and common().query is None):
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
