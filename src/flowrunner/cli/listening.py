"""Requests to a webhook trigger, printed as they arrive, and sent on to a program of the user's."""

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import click

from flowrunner.cli.common import common, say, warn
from flowrunner.cli.outages import Outage
from flowrunner.cli.output import show
from flowrunner.cli.text import clock_time, plain, short_size
from flowrunner.client import Client

_POLL_SECONDS: Final = 1.0
# Requests are listed by the time at which they arrived. One that was being stored then may appear among so many others
# that were listed before it.
_OVERLAP: Final = 100
_FORWARD_SECONDS: Final = 30.0
# The program is mostly on this machine, which a proxy of the environment does not reach.
_WITHOUT_PROXIES: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Headers that belong to the connection on which they came.
_OF_CONNECTION: Final = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


def listen_to(client: Client, path: str, to: str | None) -> None:
    """Print each new request until Ctrl-C. Raises: click.UsageError."""
    if to is not None and urlsplit(to).scheme not in ("http", "https"):
        raise click.UsageError("--forward takes an address such as http://127.0.0.1:3000/hook")
    seen = {one["id"] for one in client.entries(path, most=_OVERLAP)}
    say("Listening; press Ctrl-C to stop")
    outage = Outage(tell=warn, then="Listening continues", command="'flowrunner trigger deliveries' lists the requests")
    while True:
        for one in outage.outlasted(lambda: unseen(client.entries(path), seen)):
            _print(one)
            if to is not None:
                forward(to, outage.outlasted(partial(client.get, f"{path}/{one['id']}"))["request"])
        time.sleep(_POLL_SECONDS)


def _print(request: Mapping[str, Any]) -> None:
    if not common().is_for_people:
        show([request])
        return
    # A table would begin again with each request.
    moment = clock_time(datetime.fromisoformat(request["received_at"]))
    parts = (moment, request["id"], request["state"], request.get("execution_id"), short_size(request["size"]))
    click.echo(plain("  ".join(filter(None, parts))))


def unseen(listed: Iterable[Mapping[str, Any]], seen: set[str]) -> Sequence[Mapping[str, Any]]:
    """Return the requests that were not seen before, the oldest first, and note that they are now.

    Their ids do not tell: that of a request is made of the id that its sender has given to the message, if any.

    Args:
        listed: The requests, the newest first; it is read until enough of them are known.
        seen: The last of them, or all.
    """
    found, known = [], 0
    for one in listed:
        if one["id"] not in seen:
            found.append(one)
        elif (known := known + 1) == _OVERLAP:
            break
    seen.update(one["id"] for one in found)
    return found[::-1]


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


def forward(url: str, request: Mapping[str, Any]) -> None:
    """Send a stored request on, and print what came of it."""
    headers = {k: str(v) for k, v in request.get("headers", {}).items() if k.lower() not in _OF_CONNECTION}
    method = str(request.get("method", "POST"))
    try:
        sent = urllib.request.Request(  # noqa: S310 # the scheme is checked, and the address is the user's
            _with_query(url, urlencode(request.get("query") or {}, doseq=True)),
            data=None if method == "GET" else body_of(request),
            headers=headers,
            method=method,
        )
        with _WITHOUT_PROXIES.open(sent, timeout=_FORWARD_SECONDS) as answer:
            say(f"Forwarded: {answer.status}")
    except urllib.error.HTTPError as error:
        say(f"Forwarded: {error.code}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Whatever a sender has sent, the next request is forwarded.
        say(f"Forwarding failed: {error}")


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}" if query else url
