"""Command `keys rotate`, for use while no server runs."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from flowrunner.bootstrap.maintenance import rotate_stored_keys
from flowrunner.settings import Settings


def rotate(settings: Settings, kinds: Sequence[Any]) -> None:
    """Replace the keys of these kinds. Raises: FlowRunnerError."""
    for rotation in asyncio.run(rotate_stored_keys(settings, list(dict.fromkeys(kinds)))):
        if rotation.completed_at is not None:
            click.echo(f"{rotation.kind}: replaced")
        else:
            until = "" if rotation.needed_until is None else f" until {rotation.needed_until:%Y-%m-%d %H:%M} UTC"
            click.echo(f"{rotation.kind}: replaced; the earlier key is kept for open sessions{until}")
