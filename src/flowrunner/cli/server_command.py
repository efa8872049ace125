"""Commands that talk to a server: their common options, and the exit codes of the answers."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from flowrunner.cli.common import check_query, common, common_options
from flowrunner.cli.completion import complete_contexts, complete_workspaces
from flowrunner.cli.exits import (
    DENIED,
    EXECUTION_FAILED,
    FAILED,
    INVALID,
    NOT_FOUND,
    UNREACHABLE,
)
from flowrunner.cli.text import plain

if TYPE_CHECKING:
    from flowrunner.client import ClientError

_OF_STATUS: Final = {
    401: DENIED, 403: DENIED, 404: NOT_FOUND, 409: INVALID, 412: INVALID, 422: INVALID,
    502: UNREACHABLE, 503: UNREACHABLE, 504: UNREACHABLE,
}  # fmt: skip


class ServerCommand(click.Command):
    """Command that takes the common options, and reports errors of the client."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.params += common_options({"--context": complete_contexts, "--workspace": complete_workspaces})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("Also -o json, --query, --context, --workspace, …: see 'flowrunner options'")

    def invoke(self, ctx: click.Context) -> Any:
        from flowrunner.client import ClientError

        check_query(ctx)
        try:
            return super().invoke(ctx)
        except ClientError as error:
            report(error)
            sys.exit(exit_code(error))
        except UnicodeEncodeError as error:
            cut = error.object[error.start : error.end]
            raise click.UsageError(f"A value is not UTF-8, or has half of a character: {cut!r}", ctx) from error
        except ValueError as error:
            # The client sends no such request: a name or a header has characters that it cannot have.
            raise click.UsageError(plain(str(error)), ctx) from error


class ServerGroup(click.Group):
    """Group of commands that talk to a server."""

    command_class = ServerCommand
    group_class = type


def exit_code(error: "ClientError") -> int:
    from flowrunner.client import ApiError, ServerUnreachable

    if isinstance(error, ApiError):
        return EXECUTION_FAILED if error.code == "execution_failed" else _OF_STATUS.get(error.status, FAILED)
    return UNREACHABLE if isinstance(error, ServerUnreachable) else FAILED


def report(error: "ClientError", *, about: str = "") -> None:
    """Print an error with its hints. Args: about: The object that it is about, if the command has several."""
    from flowrunner.cli.advice import NOT_AN_API, NOT_CONNECTED, NOT_TRUSTED, advice_on, advice_on_fault, message_of
    from flowrunner.client import ApiError, ServerUnreachable, UnreadableAnswer
    from flowrunner.client.errors import NO_TRUST

    if not isinstance(error, ApiError):
        click.echo(f"flowrunner: {plain(str(error))}", err=True)
        if isinstance(error, ServerUnreachable) and not error.was_sent:
            hint = NOT_TRUSTED if NO_TRUST in str(error) else NOT_CONNECTED
            click.echo(f"  hint: {hint}", err=True)
        elif isinstance(error, UnreadableAnswer):
            click.echo(f"  hint: {NOT_AN_API}", err=True)
        return
    prefix = f"{about}: " if about else ""
    click.echo(f"flowrunner: {plain(prefix + message_of(error))}", err=True)
    advice, faults = advice_on(error), error.errors
    if len(faults) == 1 and _is_said(faults[0], error.message):
        # Its hint is closer than that about all such answers.
        advice, faults = advice_on_fault(faults[0]) or advice, ()
    for fault in faults:
        click.echo(f"  {plain(_fault(fault))}", err=True)
    docs = error.docs and f"{common().address.rstrip('/')}{error.docs}"
    for name, text in (("hint", advice), ("docs", docs), ("request", error.request_id)):
        if text and (name != "request" or error.status >= 500):
            click.echo(f"  {name}: {plain(text)}", err=True)


def _fault(fault: Mapping[str, Any]) -> str:
    from flowrunner.cli.advice import advice_on_fault

    hint = advice_on_fault(fault)
    return f"{_without_hint(fault)}{f' ({hint})' if hint else ''}"


def _is_said(fault: Mapping[str, Any], message: str) -> bool:
    """Return whether a message says all of a fault but its hint."""
    return message == _without_hint(fault) or (message == fault.get("message") and not fault.get("line"))


def _without_hint(fault: Mapping[str, Any]) -> str:
    flow, path, line = (fault.get(name) for name in ("flow", "path", "line"))
    place = f"{line}:{fault.get('column')}: " if line else ""
    prefix = "".join(f"{part}: " for part in (flow, path or fault.get("pointer")) if part)
    return f"{place}{prefix}{fault.get('message')}"
