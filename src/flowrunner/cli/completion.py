"""Live values for shell completion, from a server, kept for a minute."""

import contextlib
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from flowrunner.cli.common import Complete

_FRESH_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 2.0
_MOST: Final = 200
_STATUSES: Final = ("running", "waiting", "completed", "failed", "cancelled")
_UNSAFE: Final = frozenset(" '\"\\$`;&|<>()*?!")


def _completed(path: str, *fields: str) -> Complete:
    """Return the completion by the entries of a list; several fields of one are joined by slashes."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            # The options before the word name the server. Nobody reads a warning or an error while they type.
            with ctx.scope(cleanup=False), contextlib.redirect_stderr(io.StringIO()):
                values = _values(path, fields)
        except (Exception, SystemExit):
            return []
        return [value for value in values if value.startswith(incomplete)]

    return complete


complete_flows: Final = _completed("/flows", "name")
complete_executions: Final = _completed("/executions", "id")
complete_jobs: Final = _completed("/jobs", "id")
complete_triggers: Final = _completed("/triggers", "flow_name", "name")
complete_callbacks: Final = _completed("/callbacks", "id")
complete_workspaces: Final = _completed("/workspaces", "slug")


def complete_statuses(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [status for status in _STATUSES if status.startswith(incomplete)]


def complete_contexts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from flowrunner.cli.contexts import load_contexts

    try:
        names = map(_safe, load_contexts().by_name)
    except click.UsageError:
        return []
    return [name for name in names if name is not None and name.startswith(incomplete)]


def _values(path: str, fields: Sequence[str]) -> list[str]:
    import hashlib

    from flowrunner.cli.common import common
    from flowrunner.cli.connection import find_target
    from flowrunner.cli.contexts import load_contexts
    from flowrunner.client import Client

    if common().token == "-":  # noqa: S105
        # The standard input is the terminal, on which the user types the command.
        return []
    target = find_target(load_contexts())
    who = "\n".join((target.url, target.workspace or "", target.token or "", path))
    file = _directory() / f"{hashlib.sha256(who.encode()).hexdigest()[:32]}.json"
    try:
        if 0 <= time.time() - file.stat().st_mtime < _FRESH_SECONDS:
            return list(map(str, json.loads(file.read_text())))
    except (OSError, ValueError, TypeError):
        pass
    with Client(
        target.url, target.token, workspace=target.workspace, timeout=_LONGEST_SECONDS, retry_seconds=0
    ) as client:
        entries = client.entries(path, most=_MOST)
        values = [value for one in entries if (value := _safe("/".join(str(one[field]) for field in fields)))]
    _keep(file, values)
    return values


def _safe(value: str) -> str | None:
    """Return a value that a shell can be offered: what a server calls a flow must not become a command."""
    return value if value.isprintable() and not set(value) & _UNSAFE else None


def _keep(file: Path, values: list[str]) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            json.dump(values, opened)
    except OSError:
        pass


def _directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "flowrunner", "completion")
