"""Options that several commands have: which executions, how many entries, how long to wait."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from flowrunner.cli.completion import (
    complete_executions,
    complete_flows,
    complete_jobs,
    complete_statuses,
    complete_triggers,
)
from flowrunner.cli.durations import moment_of
from flowrunner.cli.lookup import execution_id, object_id, trigger_id

if TYPE_CHECKING:
    from flowrunner.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_FILTERS: Final = (
    ("--flow", "NAME|ID", "For this flow."),
    ("--status", "STATUS,…", "In a status, such as failed or waiting."),
    ("--since", "24h|TIME", "Started since then."),
    ("--until", "1h|TIME", "Started before then."),
    ("--error-type", "TYPE", "Failed with this type of error."),
    ("--node", "NODE", "Failed at this node."),
    ("--trigger", "ID|FLOW/NAME", "Started by this trigger."),
    ("--rerun-of", "ID", "Re-runs of this execution."),
    ("--job", "ID", "Started by this job."),
    ("--parent", "none|ID", "Sub-flows of an execution; none: no parent."),
)
_COMPLETED: Final = {
    "--flow": complete_flows, "--status": complete_statuses, "--trigger": complete_triggers,
    "--rerun-of": complete_executions, "--job": complete_jobs, "--parent": complete_executions,
}  # fmt: skip
_NAMES: Final = tuple(name.removeprefix("--").replace("-", "_") for name, _, _ in _FILTERS)


def given_fields(**fields: Any) -> dict[str, Any]:
    """Return the fields of a request whose options were given."""
    return {name: value for name, value in fields.items() if value is not None}


def wait_options(function: F) -> F:
    function = click.option("--timeout", metavar="DURATION", help="How long to wait; no limit by default.")(function)
    function = click.option("--follow", is_flag=True, help="Like --wait, and print what happens.")(function)
    return click.option("--wait", is_flag=True, help="Wait for the end, and print the result.")(function)


def label_option(help: str) -> Callable[[F], F]:
    return click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help=help)


def input_options(help: str) -> Callable[[F], F]:
    return click.option("--with-input", "with_inputs", metavar="NAME=VALUE", multiple=True, help=help)


def labels_of(given: Sequence[str], *, option: str = "--label") -> dict[str, str]:
    """Return labels by name; `team:core` is the same as `team=core`. Raises: click.UsageError."""
    found = {}
    for label in given:
        name, separator, value = label.replace(":", "=", 1 if "=" not in label else 0).partition("=")
        if not name or not separator:
            raise click.UsageError(f"{option} takes a name and a value, as in team=core, and not '{label}'")
        found[name] = value
    return found


def filter_options(function: F) -> F:
    """Add the options that select executions."""
    function = label_option("With this label; repeat to require several.")(function)
    function = input_options("With this value of a searchable input; repeat to require several.")(function)
    function = click.option("--unrepaired", is_flag=True, help="Failed, and not since re-run successfully.")(function)
    for name, metavar, help in reversed(_FILTERS):
        function = click.option(name, metavar=metavar, help=help, shell_complete=_COMPLETED.get(name))(function)
    return function


def filter_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options that select executions out of ``options``; return them as the filter of a job.

    Raises: click.UsageError.
    """
    found = {name: options.pop(name) for name in _NAMES}
    found["unrepaired"] = options.pop("unrepaired") or None
    if found["parent"] != "none":
        found["parent_id"] = found.pop("parent")
    found |= {name: moment_of(found[name], f"--{name}") for name in ("since", "until")}
    return selection_of({**found, "labels": options.pop("labels"), "with_inputs": options.pop("with_inputs")})


def selection_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, with labels and inputs as the filter of a request has them.

    Raises: click.UsageError.
    """
    plain = {name: value for name, value in options.items() if name not in ("labels", "with_inputs")}
    labels = [f"{name}:{value}" for name, value in labels_of(options["labels"]).items()]
    inputs = dict(_input_of(given) for given in options["with_inputs"])
    more = {"label": labels, "input": inputs}
    return {name: value for name, value in {**plain, **more}.items() if value not in (None, [], {})}


def with_ids(client: "Client", selected: Mapping[str, Any]) -> dict[str, Any]:
    """Return a selection with whole ids where it has beginnings of ids or names. Raises: CommandFailed."""
    found = dict(selected)
    for name, find in (
        ("trigger", trigger_id),
        ("rerun_of", execution_id),
        ("parent_id", execution_id),
        ("job", _job_id),
    ):
        if name in found:
            found[name] = find(client, found[name])
    return found


def _job_id(client: "Client", given: str) -> str:
    return object_id(client, "/jobs", "job", given)


def _input_of(given: str) -> tuple[str, str]:
    """Raises: click.UsageError."""
    name, separator, value = given.partition("=")
    if not name or not separator:
        raise click.UsageError(f"--with-input takes a name and a value, as in order_id=42, and not '{given}'")
    return name, value


def as_query(selected: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `filter_of` returns as the parameters of a list."""
    plain = {name: value for name, value in selected.items() if name != "input"}
    return {**plain, **{f"input.{name}": value for name, value in selected.get("input", {}).items()}}
