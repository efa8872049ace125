"""Live values for shell completion, from a server, kept for a minute."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

_FRESH_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 2.0
_MOST: Final = 200
_UNSAFE: Final = frozenset(" '\"\\$`;&|<>()*?!")

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completed(path: str, field: str) -> Complete:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            # The options before the word name the server.
            with ctx.scope(cleanup=False):
                values = _values(path, field)
        except (Exception, SystemExit):
            # Nobody reads an error while they type.
            return []
        return [value for value in values if value.startswith(incomplete)]

    return complete


complete_flows: Final = _completed("/flows", "name")
complete_executions: Final = _completed("/executions", "id")
complete_triggers: Final = _completed("/triggers", "id")
complete_callbacks: Final = _completed("/callbacks", "id")
complete_workspaces: Final = _completed("/workspaces", "slug")


def _values(path: str, field: str) -> list[str]:
    import hashlib

    from flowrunner.cli.connection import find_target
    from flowrunner.cli.contexts import load_contexts
    from flowrunner.client import Client

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
        values = [value for one in entries if (value := _safe(one.get(field)))]
    _keep(file, values)
    return values


def _safe(value: Any) -> str | None:
    """Return a value that a shell can be offered: what a server calls a flow must not become a command."""
    is_safe = isinstance(value, str) and value.isprintable() and not set(value) & _UNSAFE
    return value if is_safe else None


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
