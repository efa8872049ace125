"""Runs of flows on a server: start, wait, and the exit code of the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from flowrunner.cli.connection import connect
from flowrunner.cli.durations import seconds_of
from flowrunner.cli.inputs import read_inputs
from flowrunner.cli.lookup import flow_id
from flowrunner.cli.shared_options import labels_of
from flowrunner.cli.waiting import show_start
from flowrunner.client import Client
from flowrunner.client.requests import key_or_new
from flowrunner.domain.request_keys import is_key
from flowrunner.domain.values import JSON


def run_remotely(
    flow: str,
    *,
    inputs: Sequence[str],
    params: Sequence[str],
    wait: bool,
    follow: bool,
    timeout: str | None,
    labels: Sequence[str],
    idempotency_key: str | None,
) -> int:
    """Start an execution; return the exit code."""
    if idempotency_key is not None and not is_key(idempotency_key):
        raise click.UsageError("--idempotency-key: must be 1 to 255 visible characters of ASCII")
    seconds = seconds_of(timeout, "--timeout")
    client = connect()
    id = flow_id(client, flow)
    body: dict[str, Any] = {"input": read_inputs_of(client, id, inputs, params)}
    if labels:
        body["labels"] = labels_of(labels)
    key = key_or_new(idempotency_key)
    started = client.request("POST", f"/flows/{id}/run", json=body, idempotency_key=key).object()
    return show_start(client, started, wait=wait, follow=follow, seconds=seconds)


def read_inputs_of(client: Client, flow: str, inputs: Sequence[str], params: Sequence[str]) -> Mapping[str, JSON]:
    """Return the input for the flow with this id, whose document is read if a value may be text or a number."""
    has_pairs = bool(params) or any("=" in one for one in inputs)
    return read_inputs(inputs, params, _schemas(client, flow) if has_pairs else {})


def _schemas(client: Client, id: str) -> Mapping[str, Any]:
    """Return the `inputs` of the flow, which say where `7` is text."""
    from flowrunner.domain.errors import InvalidFlow
    from flowrunner.language.yaml_source import read_yaml

    try:
        document = read_yaml(client.get(f"/flows/{id}")["definition"]).value
    except InvalidFlow as error:
        raise click.UsageError("The definition of the flow cannot be read: give the input as JSON") from error
    schemas = document.get("inputs") if isinstance(document, dict) else None
    return schemas if isinstance(schemas, dict) else {}
