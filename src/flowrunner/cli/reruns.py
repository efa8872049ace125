"""Reruns of one execution."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from flowrunner.cli.bulk import plan_named
from flowrunner.cli.common import CommandFailed
from flowrunner.cli.documents import check_read_once
from flowrunner.cli.durations import seconds_of
from flowrunner.cli.exits import INVALID
from flowrunner.cli.inputs import read_json
from flowrunner.cli.remote_run import read_inputs_of
from flowrunner.cli.shared_options import labels_of
from flowrunner.cli.waiting import show_start
from flowrunner.client import Client
from flowrunner.domain.whole_numbers import natural_number_of


def rerun_fields(*, start: str | None, elements: str | None, revision: str | None, same_keys: bool) -> dict[str, Any]:
    """Return the fields of a request that re-runs one execution or many."""
    body: dict[str, Any] = {}
    if start is not None:
        body["from"] = start
    if elements is not None:
        if start is None:
            raise click.UsageError("--elements needs --from, the loop whose elements they are.")
        body["elements"] = elements
    if revision is not None:
        number = natural_number_of(revision, 9)
        body["revision"] = revision if number is None else number
    if same_keys:
        body["idempotency"] = "same"
    return body


def rerun_one(
    client: Client,
    id: str,
    fields: Mapping[str, Any],
    *,
    node_input: str | None,
    inputs: Sequence[str],
    labels_set: Sequence[str],
    wait: bool,
    follow: bool,
    timeout: str | None,
    dry_run: bool,
) -> int:
    """Repeat an execution; return the exit code. Args: fields: As `rerun_fields` returns them."""
    if dry_run and (wait or follow or timeout):
        raise click.UsageError("--dry-run starts nothing to wait for: leave out --wait, --follow and --timeout.")
    check_read_once(node_input, *inputs)
    seconds = seconds_of(timeout, "--timeout")
    body = {**fields}
    if node_input is not None:
        if "from" not in fields:
            raise click.UsageError("--node-input needs --from, the node whose input it is.")
        body["node_input"] = read_json("--node-input", node_input)
    if inputs:
        flow = client.get(f"/executions/{id}")["flow_id"]
        body["input"] = read_inputs_of(client, flow, inputs, ())
    if labels_set:
        body["labels"] = labels_of(labels_set, option="--set-label")
    if dry_run:
        if (start := fields.get("from")) is not None:
            _check_reached(client, id, start)
        return plan_named(client, "rerun", [id], more=fields)
    started = client.request("POST", f"/executions/{id}/rerun", json=body, idempotency_key=True).object()
    return show_start(client, started, wait=wait, follow=follow, seconds=seconds)


def _check_reached(client: Client, id: str, start: str) -> None:
    """Raises: CommandFailed: The execution has no such step, and no run of such a node but in a handler."""
    from flowrunner.domain.events import HANDLERS

    path = f"/executions/{id}/steps"
    if any(client.entries(path, query={"step": start, "cursor": None}, most=1)):
        return
    runs = client.entries(path, query={"node": start, "cursor": None})
    if not any(run["step"].partition("/")[0] not in HANDLERS for run in runs):
        raise CommandFailed(f"The execution has not reached a step '{start}'", INVALID)
