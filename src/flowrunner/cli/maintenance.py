"""Commands that use the database while servers may be running on it: `pause`, `prune`, and those of accounts."""

import asyncio
from collections.abc import Sequence

import click

from flowrunner.bootstrap import online_maintenance
from flowrunner.cli.common import ask
from flowrunner.domain.counted import counted
from flowrunner.settings import Settings


def set_pause(settings: Settings, *, paused: bool) -> None:
    """Pause the installation or end its pause. Raises: FlowRunnerError."""
    since = asyncio.run(online_maintenance.set_pause(settings, paused=paused))
    if since is None:
        click.echo("Executions start")
    else:
        click.echo(f"Paused since {since:%Y-%m-%d %H:%M:%S} UTC: no execution starts until 'flowrunner unpause'")


def prune(settings: Settings, *, dry_run: bool, yes: bool) -> None:
    """Delete or count what retention does not keep. Raises: FlowRunnerError."""
    if not dry_run:
        # The settings of the server may keep more than those of this command.
        if not yes and (total := sum(part.count for part in asyncio.run(online_maintenance.outlived(settings)))):
            kept = f"a retention of {counted(settings.retention / 86_400, 'day')}"
            if settings.retention_count:
                kept += f" and a retention_count of {settings.retention_count}"
            ask(f"Delete {counted(total, 'execution')} for good, by {kept} and the rules of flows?", yes=yes)
        click.echo(f"Executions deleted: {asyncio.run(online_maintenance.prune(settings))}")
        return
    found = asyncio.run(online_maintenance.outlived(settings))
    for part in found:
        which = "older than the installation's retention" if part.flow_id is None else f"of the flow {part.flow_id}"
        click.echo(f"{which}: {counted(part.count, 'execution')}, {part.size:,} bytes of events")
    click.echo(f"Executions to delete: {sum(part.count for part in found)}")


def reset_password(settings: Settings, email: str) -> None:
    """Print a link that sets a new password. Raises: FlowRunnerError."""
    new = asyncio.run(online_maintenance.create_password_reset(settings, email))
    click.echo(new.link)
    click.echo(f"It works once, until {new.expires_at:%Y-%m-%d %H:%M} UTC", err=True)
    if settings.public_url is None:
        click.echo("Put the address of the server before it, or give --public-url", err=True)


def confirm_emails(settings: Settings, emails: Sequence[str]) -> None:
    """Confirm addresses of accounts. Raises: FlowRunnerError."""
    asyncio.run(online_maintenance.confirm_emails(settings, emails))
    click.echo(f"Addresses confirmed: {len(emails)}", err=True)


def set_password(settings: Settings, email: str, password: str) -> None:
    """Set a new password. Raises: FlowRunnerError."""
    asyncio.run(online_maintenance.set_password(settings, email, password))
    click.echo("The password is changed; all logins and API tokens of the account have ended", err=True)
