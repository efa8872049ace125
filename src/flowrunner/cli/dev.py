"""Command `dev`: a server for development with an account, a token and a flow."""

import os
import socket
import sys
import threading
import time
import webbrowser
from dataclasses import replace
from typing import Final

import click

from flowrunner import __version__
from flowrunner.bootstrap.dev_account import FILE, DevAccount, open_dev_account, with_token
from flowrunner.cli.templates import template
from flowrunner.client import Client
from flowrunner.client.errors import ClientError, ServerUnreachable, UnavailableError
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import LOCAL, Settings

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0
_SCOPES: Final = ("read", "run", "write", "members", "admin")


def dev(settings: Settings, *, opens_browser: bool) -> None:
    """Serve until Ctrl-C. Raises: FlowRunnerError."""
    if settings.database_url is not None or settings.dispatch != LOCAL:
        raise FlowRunnerError("'flowrunner dev' uses a SQLite file: unset FLOWRUNNER_DATABASE_URL and _DISPATCH")
    account = open_dev_account(settings.data_dir)
    settings = replace(
        settings,
        # Nobody but this machine reaches a server whose password is on a screen.
        host=_HOST,
        port=_free_port(settings.port),
        admin_email=account.email,
        admin_password=account.password,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
    )
    has_stopped = threading.Event()
    greeting = threading.Thread(
        target=_greet, args=(settings, account, has_stopped), kwargs={"opens_browser": opens_browser}, daemon=True
    )
    import uvloop

    from flowrunner.serving import serve

    greeting.start()
    try:
        uvloop.run(serve(settings))
    finally:
        # A thread that prints while the interpreter ends would abort it.
        has_stopped.set()
        greeting.join(_STOP_SECONDS)


def _free_port(wanted: int) -> int:
    """Return the port, or a free one for 0. Raises: FlowRunnerError if another program listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted))
        except OSError as error:
            # Before anything is sent there: that program is not to get the password.
            raise FlowRunnerError(
                f"Cannot listen on {_HOST} port {wanted}: {error.strerror}; choose another with --port"
            ) from None
        port: int = probe.getsockname()[1]
        return port


def _greet(settings: Settings, account: DevAccount, has_stopped: threading.Event, *, opens_browser: bool) -> None:
    """Wait until the server is ready, complete its content, and say how to use it."""
    url = f"http://{_HOST}:{settings.port}"
    with Client(url, retry_seconds=0) as client:
        if not _is_ready(client, has_stopped):
            return
        click.echo(f"FlowRunner {__version__} for development: {url}\n")
        try:
            _introduce(client, settings, account)
        except (ServerUnreachable, UnavailableError):
            # Ctrl-C came first.
            return
    click.echo(f"Ctrl-C stops the server; everything stays in {settings.data_dir}")
    sys.stdout.flush()
    if opens_browser and _has_display():
        webbrowser.open(url)


def _introduce(client: Client, settings: Settings, account: DevAccount) -> None:
    """Print the account and its token. Raises: ServerUnreachable, UnavailableError: if the server stops meanwhile."""
    try:
        client.login(account.email, account.password)
    except (ServerUnreachable, UnavailableError):
        raise
    except ClientError:
        click.echo("The data directory has accounts of its own: log in with one of them.")
        return
    account = _complete(client, settings, account)
    click.echo(f"  account   {account.email}\n  password  {account.password}\n  token     {account.token}\n")
    click.echo(f"They are also in {settings.data_dir / FILE}. For commands in another terminal:\n")
    click.echo(f"  export FLOWRUNNER_URL=http://{_HOST}:{settings.port} FLOWRUNNER_TOKEN={account.token}\n")


def _is_ready(client: Client, has_stopped: threading.Event) -> bool:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and not has_stopped.is_set():
        try:
            client.request("GET", "/readyz")
        except ClientError:
            has_stopped.wait(0.05)
        else:
            return True
    return False


def _complete(client: Client, settings: Settings, account: DevAccount) -> DevAccount:
    """Make the token and the sample, unless they were made before."""
    if account.token:
        return account
    token = client.tokens.create("flowrunner dev", _SCOPES).token
    if not any(True for _ in client.flows.list()):
        client.flows.create(template("hello"))
    return with_token(settings.data_dir, account, token)


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
