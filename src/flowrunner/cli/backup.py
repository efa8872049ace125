"""Commands `backup` and `restore`."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from flowrunner.bootstrap.backup import back_up
from flowrunner.bootstrap.backup import restore as restore_backup
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import Settings

_LONGEST_PASSPHRASE: Final = 4096


def backup(settings: Settings, file: str, *, with_keys: bool, passphrase_file: str | None) -> None:
    """Write a backup and report it. Raises: FlowRunnerError."""
    if passphrase_file is not None and not with_keys:
        raise click.UsageError("A passphrase seals the keys: give --with-keys too")
    passphrase = _passphrase(passphrase_file, is_new=True) if with_keys else None
    manifest = asyncio.run(back_up(settings, Path(file), passphrase=passphrase))
    size = Path(file).stat().st_size
    click.echo(
        f"{file}: {size:,} bytes, checked. The database has {manifest.size:,} bytes and the schema {manifest.schema}; "
        f"its SHA-256 is {manifest.sha256}"
    )
    if not with_keys:
        click.echo(
            f"The keys are not in it. Keep a copy of {settings.data_dir / 'keys'} in another place: "
            "the secrets cannot be read without it",
            err=True,
        )


def restore(settings: Settings, file: str, *, passphrase_file: str | None) -> None:
    """Restore a backup and say what to do next. Raises: FlowRunnerError."""
    manifest, has_keys = asyncio.run(
        restore_backup(settings, Path(file), ask_passphrase=lambda: _passphrase(passphrase_file, is_new=False))
    )
    click.echo(f"The backup of {manifest.created_at} is in {settings.data_dir}, checked")
    if not has_keys:
        click.echo(
            f"Put your copy of the directory 'keys' into {settings.data_dir} before you start the server: "
            "the backup has no keys",
            err=True,
        )
    click.echo(
        "Start the server only when the original has stopped for good: both would run the same executions", err=True
    )


def _passphrase(file: str | None, *, is_new: bool) -> str:
    """Read the passphrase from a file, the standard input or the terminal. Raises: FlowRunnerError."""
    if file is None:
        if not sys.stdin.isatty():
            raise FlowRunnerError("Give the passphrase with --passphrase-file: a file, or - for the standard input")
        text: str = click.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=is_new, err=True)
    else:
        try:
            with click.open_file(file, encoding="utf-8") as opened:
                text = opened.read(_LONGEST_PASSPHRASE).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise FlowRunnerError(f"The passphrase cannot be read from {file}: {error}") from None
    return text
