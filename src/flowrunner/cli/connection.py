"""The server that a command talks to, and the token for it."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from flowrunner.cli.common import common, warn
from flowrunner.cli.contexts import Context, Contexts, changing_contexts, load_contexts
from flowrunner.domain.duration import parse_duration

if TYPE_CHECKING:
    from flowrunner.cli.command_client import CommandClient
    from flowrunner.client import Client

DEFAULT_URL: Final = "http://127.0.0.1:8080"
# Attempts of a request may begin within this time. People wait meanwhile, and programs have their own repeats.
_RETRY_SECONDS: Final = 3.0
# A server answers by itself after 32 s: its words are worth more than the end of the wait.
_REQUEST_SECONDS: Final = 40.0
_LONGEST_TOKEN: Final = 8192
# Between two renewals of a login: longer than an attempt, and than a server accepts a token that was exchanged.
_PAUSE_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, and how to act there.

    Attributes:
        name: The context that it comes from, if it does.
        is_stored: The token is the one of that context.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    workspace: str | None = None
    name: str | None = None
    is_stored: bool = False


def connect() -> "Client":
    """Return the client of the server that options, variables and contexts name. Raises: click.UsageError."""
    contexts = load_contexts()
    target = refreshed(find_target(contexts), contexts)
    client = open_client(target)
    if target.name is not None and target.is_stored:
        client.newer_token = _StoredToken(target.name, contexts.by_name[target.name])
    return client


class _StoredToken:
    """The token of a login, which other commands exchange while one runs for long."""

    def __init__(self, name: str, context: Context) -> None:
        self._name = name
        self._known = context

    def __call__(self) -> str | None:
        """Return the token if it was exchanged since the last call."""
        try:
            contexts = load_contexts()
            context = contexts.by_name.get(self._name)
            if context is None or context.asked_at == self._known.asked_at:
                return None
            if (context.url, context.account) != (self._known.url, self._known.account):
                return None  # another login
            self._known = context
            return contexts.get(self._name).token
        except click.UsageError:
            return None


def open_client(target: Target) -> "CommandClient":
    from flowrunner.cli.command_client import CommandClient

    wanted = common()
    wanted.address = target.url
    try:
        timeout = parse_duration(wanted.http_timeout) if wanted.http_timeout else _REQUEST_SECONDS
        return CommandClient(
            wanted, target.url, target.token, workspace=target.workspace, timeout=timeout, retry_seconds=_RETRY_SECONDS,
            user_agent="flowrunner-cli",
        )  # fmt: skip
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def find_target(contexts: Contexts) -> Target:
    """Return the server and the token.

    A stored token goes only to the server that it is from; that of FLOWRUNNER_TOKEN to no context that is named.

    Raises:
        click.UsageError: The options contradict each other, or there is no such context.
    """
    wanted = common()
    if wanted.context and wanted.url:
        raise click.UsageError("--context and --url name a server each: give one of them")
    named = wanted.context or (None if wanted.url else os.environ.get("FLOWRUNNER_CONTEXT"))
    url = None if named else wanted.url or os.environ.get("FLOWRUNNER_URL") or os.environ.get("FLOWRUNNER_SERVER")
    token = given_token(wanted.token) if wanted.token is not None else None if named else _variable_token()
    # Who names the server and the token needs no context, and gets none of its workspace.
    name = named or (contexts.current if not url else None if token else _context_of(url, contexts))
    context = contexts.get(name) if name else Context(url=url or DEFAULT_URL)
    return Target(
        url=context.url,
        token=token or context.token,
        workspace=wanted.workspace or os.environ.get("FLOWRUNNER_WORKSPACE") or context.workspace,
        name=name,
        is_stored=not token and context.token is not None,
    )


def given_token(given: str) -> str:
    """Return the token of `--token`: `-` and `@FILE` keep it out of the list of processes. Raises: click.UsageError."""
    if given == "-":
        # Not by its text, which would take what follows the line too: it is the command's.
        return _not_empty(sys.stdin.buffer.readline(_LONGEST_TOKEN).decode(errors="replace"), "on the standard input")
    if given.startswith("@"):
        return _read_token(given[1:])
    token = _not_empty(given, "in --token")
    warn("other users can see arguments: use FLOWRUNNER_TOKEN, or --token @FILE")
    return token


def warn_of_plain_http(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        warn(f"{parts.hostname} gets the token unencrypted: use https://")


def _variable_token() -> str | None:
    if file := os.environ.get("FLOWRUNNER_TOKEN_FILE"):
        return _read_token(file)
    return os.environ.get("FLOWRUNNER_TOKEN")


def _read_token(file: str) -> str:
    try:
        with Path(file).open(encoding="ascii") as opened:
            text = opened.read(_LONGEST_TOKEN)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a token"
        raise click.UsageError(f"The token cannot be read from {file}: {reason}") from None
    return _not_empty(text, f"in {file}")


def _not_empty(text: str, place: str) -> str:
    # Otherwise the stored token would be taken in its place, which may have other rights.
    if not (token := text.strip()):
        raise click.UsageError(f"There is no token {place}")
    return token


def _context_of(url: str, contexts: Contexts) -> str | None:
    """Return the context of a server, preferably the current one."""
    names = [name for name, one in contexts.by_name.items() if one.url.rstrip("/") == url.rstrip("/")]
    return contexts.current if contexts.current in names else next(iter(names), None)


def refreshed(target: Target, contexts: Contexts) -> Target:
    """Exchange the token of a login that has passed half of its life, so that a user who works stays logged in."""
    name = target.name
    if name is None or not target.is_stored or not _is_due(contexts.by_name[name]):
        return target
    try:
        with changing_contexts() as current:
            context, now = current.by_name.get(name), time.time()
            if context is None or context.url != target.url:
                return target
            target = replace(target, token=current.get(name).token)
            if not _is_due(context):
                return target
            # First, for a command that is killed or loses the answer, and for those that run at the same time.
            current.by_name[name] = asked = replace(context, asked_at=now, refresh_at=now + _PAUSE_SECONDS)
        if (answer := _renewal(target)) is not None:
            target = replace(target, token=answer["token"])
            with changing_contexts() as current:
                # Another command may have logged out meanwhile, for example.
                if current.by_name.get(name) == asked:
                    put_login(current, name, asked, answer)
    except click.UsageError as error:
        # The disk is full, for example. The command needs no file.
        warn(f"the login cannot be renewed: {error.message}")
    return target


def _renewal(target: Target) -> Mapping[str, str] | None:
    """Ask the server for a new token; return it and its end, or None if there is none."""
    from flowrunner.client import ClientError
    from flowrunner.client.answers import text_of

    try:
        with open_client(replace(target, workspace=None)) as client:
            # Refused if an earlier attempt had exchanged the token: another exchange of it would look like theft. Who
            # lacks a second factor may read this.
            client.get("/identities")
            answer = client.request("POST", "/auth/refresh").object()
            return {name: text_of(answer, name) for name in ("token", "expires_at")}
    except ClientError:
        return None  # the command itself will say what is wrong


def _is_due(context: Context) -> bool:
    """Return whether the token should be exchanged; also if the clock was set back, by which it may have expired."""
    return context.refresh_at is not None and not (context.asked_at or 0.0) <= time.time() < context.refresh_at


def put_login(contexts: Contexts, name: str, context: Context, answer: Mapping[str, Any]) -> None:
    """Set a context with the token of the answer to a login."""
    from datetime import datetime

    now = time.time()
    expires_at = datetime.fromisoformat(answer["expires_at"]).timestamp()
    half = (now + expires_at) / 2
    # The clock may be days ahead of the server's.
    refresh_at = half if half > now else now + _PAUSE_SECONDS
    contexts.put(name, replace(context, token=answer["token"], asked_at=now, refresh_at=refresh_at))
