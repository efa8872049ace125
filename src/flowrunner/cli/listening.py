"""Requests to a webhook trigger, printed as they arrive, and sent on to a program of the user's."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import click

from flowrunner.cli.common import say
from flowrunner.cli.output import show
from flowrunner.client import Client

_POLL_SECONDS: Final = 1.0
_FORWARD_SECONDS: Final = 30.0
# Headers that belong to the connection on which they came.
_OF_CONNECTION: Final = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


def listen_to(client: Client, path: str, forward: str | None) -> None:
    """Print each new request until Ctrl-C. Raises: click.UsageError."""
    if forward is not None and urlsplit(forward).scheme not in ("http", "https"):
        raise click.UsageError("--forward takes an address such as http://127.0.0.1:3000/hook")
    newest = next(client.entries(path, most=1), {"id": ""})["id"]
    say("Listening; Ctrl-C ends it")
    while True:
        # Ids sort by time. A page is more than arrives within the time between two.
        for one in reversed([one for one in client.entries(path, most=100) if one["id"] > newest]):
            newest = one["id"]
            show([one], "id received_at state execution_id:EXECUTION size")
            if forward is not None:
                _forward(forward, client.get(f"{path}/{newest}")["request"])
        time.sleep(_POLL_SECONDS)


def body_of(request: Mapping[str, Any]) -> bytes:
    """Return the body of a stored request in the form that its type names; JSON and forms are written again."""
    body = request.get("body")
    media_type, _, parameters = str(request.get("headers", {}).get("content-type", "")).lower().partition(";")
    media_type = media_type.strip()
    if body is None:
        return b""
    if media_type == "application/json" or media_type.endswith("+json"):
        return json.dumps(body, ensure_ascii=False).encode()
    if isinstance(body, dict):
        return urlencode(body, doseq=True).encode()
    if media_type.startswith("text/") or media_type in ("application/xml", "application/yaml"):
        is_latin = any(name in parameters for name in ("iso-8859-1", "latin1"))
        return str(body).encode("latin-1" if is_latin else "utf-8", "replace")
    return base64.b64decode(str(body))


def _forward(url: str, request: Mapping[str, Any]) -> None:
    headers = {k: str(v) for k, v in request.get("headers", {}).items() if k.lower() not in _OF_CONNECTION}
    query = urlencode(request.get("query") or {}, doseq=True)
    method = str(request.get("method", "POST"))
    sent = urllib.request.Request(  # noqa: S310 # the scheme is checked, and the address is the user's
        f"{url}?{query}" if query else url,
        data=None if method == "GET" else body_of(request),
        headers=headers,
        method=method,
    )
    try:
        with urllib.request.urlopen(sent, timeout=_FORWARD_SECONDS) as answer:  # noqa: S310 # nosec B310
            say(f"Forwarded: {answer.status}")
    except urllib.error.HTTPError as error:
        say(f"Forwarded: {error.code}")
    except (OSError, ValueError) as error:
        say(f"It could not be forwarded: {error}")
