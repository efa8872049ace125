"""Logins by a browser, which cover single sign-on, passkeys and other second factors.

The command makes a secret and shows its digest to the browser. The browser hands back a code, by a loopback address or
by the user, that only works together with the secret: neither a program that reads the code nor a page that sends
another one gets a login, or makes the command log in as somebody else.
"""

import getpass
import hashlib
import hmac
import os
import queue
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import click

from flowrunner.cli.common import CommandFailed, common, say
from flowrunner.cli.exits import DENIED
from flowrunner.client import ApiError, Client

_WAIT_SECONDS: Final = 300.0
_REQUEST_SECONDS: Final = 5.0
# A code that does not work may be somebody else's: the right one may come yet.
_MOST_CODES: Final = 20
_MOST_NAME_CHARACTERS: Final = 80
# The state of a connection in /proc/net/tcp. One that its client has closed no longer says whose it was.
_ESTABLISHED: Final = "01"
_ARRIVED: Final = (
    b"<!doctype html><meta charset=utf-8><title>FlowRunner</title>"
    b"<p>The code has arrived. You can close this page, and go on in the terminal.</p>"
)


def log_in_by_browser(client: Client, *, paste: bool) -> Mapping[str, Any]:
    """Return the answer to a login that the user allows in a browser.

    Args:
        paste: The browser is on another machine: the user copies the code from it.

    Raises: CommandFailed, ClientError.
    """
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    challenge = hashlib.sha256(verifier.encode()).hexdigest()
    asked = {"challenge": challenge, "state": state, "machine": _machine()}
    shown = f"{challenge[:4]}-{challenge[4:8]}"
    if paste or _is_remote():
        _tell(_address(client, asked), shown)
        try:
            return _exchange(client, _pasted_code(), verifier)
        except ApiError as error:
            if error.status != 401:
                raise
            raise CommandFailed(f"{error.message}\n  hint: start again: flowrunner login --paste", DENIED) from None
    codes: queue.Queue[str] = queue.Queue(_MOST_CODES)
    with _listener(state, codes) as port:
        address = _address(client, asked | {"port": str(port)})
        _tell(address, shown)
        webbrowser.open(address)
        return _first_that_works(client, codes, verifier)


def _machine() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    name = f"{user}@{socket.gethostname()}"
    return "".join(filter(str.isprintable, name))[:_MOST_NAME_CHARACTERS]


def _is_remote() -> bool:
    """Return whether a browser cannot reach a loopback address of this machine."""
    return bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))


def _address(client: Client, asked: Mapping[str, str]) -> str:
    return f"{client.url}/command-login?{urlencode(asked)}"


def _tell(address: str, shown: str) -> None:
    click.echo(f"Allow this login in your browser, if it shows the code {shown}:\n  {address}", err=True)


def _pasted_code() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    if common().no_input:
        raise click.UsageError("The code is asked for: leave out --no-input, or give it by the standard input.")
    return str(click.prompt("Code that the browser shows", hide_input=True, err=True)).strip()


def _exchange(client: Client, code: str, verifier: str) -> Mapping[str, Any]:
    body = {"code": code, "verifier": verifier}
    return client.request("POST", "/auth/command-logins/token", json=body).object()


def _first_that_works(client: Client, codes: "queue.Queue[str]", verifier: str) -> Mapping[str, Any]:
    until = time.monotonic() + _WAIT_SECONDS
    for _ in range(_MOST_CODES):
        try:
            code = codes.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            break
        try:
            return _exchange(client, code, verifier)
        except ApiError as error:
            if error.status != 401:
                raise
            say("A code arrived that does not belong to this login. Waiting for the right one.")
    raise CommandFailed(
        "The browser has not allowed the login in time: start again, with --paste if it is on another machine", DENIED
    )


def _is_own(client_port: int, port: int) -> bool:
    """Return whether the client of a loopback connection is a process of this user or of root.

    The address of a login is in the list of processes, so other users know the state. Only Linux says whose a
    connection is; elsewhere each counts.
    """
    loopback = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
    client_end, own_end = f"{loopback}:{client_port:04X}", f"{loopback}:{port:04X}"
    lines: list[list[str]] = []
    # A program may reach an address of IPv4 by a socket of IPv6.
    for name in ("tcp", "tcp6"):
        try:
            lines += [line.split() for line in Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]]
        except OSError:
            if name == "tcp":
                return True
    users = [
        int(user)
        for _, local, remote, state, _, _, _, user, *_ in lines
        if local.endswith(client_end) and remote.endswith(own_end) and state == _ESTABLISHED
    ]
    return any(user in (os.getuid(), 0) for user in users)


@contextmanager
def _listener(state: str, codes: "queue.Queue[str]") -> Iterator[int]:
    """Listen on a loopback port, which is yielded, for codes that come with the state."""

    class Handler(BaseHTTPRequestHandler):
        # A client that sends nothing holds one thread for so long.
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            given = parse_qs(parts.query, max_num_fields=8)
            known = hmac.compare_digest(given.get("state", [""])[0].encode(), state.encode())
            if parts.path != "/" or not known or "code" not in given:
                self.send_error(404)
                return
            if not _is_own(self.client_address[1], self.connection.getsockname()[1]):
                self.send_error(403, "This browser is another user's: log in with --paste")
                return
            try:
                codes.put_nowait(given["code"][0])
            except queue.Full:
                self.send_error(429)
                return
            self.send_response(200)
            for name, value in {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(_ARRIVED)),
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(_ARRIVED)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
