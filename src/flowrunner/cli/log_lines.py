"""Logs and events of an execution."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flowrunner.cli.common import CommandFailed
from flowrunner.cli.exits import UNREACHABLE
from flowrunner.client import Client, ServerUnreachable, UnavailableError
from flowrunner.domain.letter_case import folded

_LEVELS: Final = ("debug", "info", "warn", "error")
_PAGE: Final = 500
# A restart takes less; who waits for a server that is gone for good is told.
_AWAY_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 1.0


def recorded_events(client: Client, path: str) -> Iterator[dict[str, Any]]:
    """Yield the events that there are at present."""
    after = 0
    while True:
        page = client.get(f"{path}/events", after=after, limit=_PAGE)
        yield from page["events"]
        if page["has_ended"] or not page["events"]:
            return
        after = page["after"]


def followed_events(client: Client, id: str, *, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the events up to the last one, also across a restart of the server.

    Args:
        tell: Takes the reason, once each time the server stops answering.

    Raises:
        CommandFailed: The server does not come back.
        ClientError: It rejects the request.
    """
    after, give_up_at = 0, None
    while True:
        try:
            for event in client.events(id, after=after):
                after, give_up_at = event["seq"], None
                yield event
            return
        except (ServerUnreachable, UnavailableError) as error:
            now = time.monotonic()
            if give_up_at is None:
                give_up_at = now + _AWAY_SECONDS
                tell(f"{error}. The execution continues when the server is back; waiting for it")
            elif now >= give_up_at:
                text = f"{error}. The execution continues when the server is back: flowrunner watch {id}"
                raise CommandFailed(text, UNREACHABLE) from None
            time.sleep(_AGAIN_SECONDS)


def followed_lines(
    client: Client, path: str, query: Mapping[str, Any], *, tell: Callable[[str], None]
) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a log that a query selects, as they are written, until the end of the execution."""
    levels = _LEVELS[_LEVELS.index(query["min_level"]) :] if query["min_level"] else _LEVELS
    text = folded(query["q"] or "")
    for event in followed_events(client, path.rpartition("/")[2], tell=tell):
        if event["type"] != "log" or event["level"] not in levels:
            continue
        if query["node"] is not None and event.get("node_id") != query["node"]:
            continue
        if query["step"] is not None and event.get("step") != query["step"] and not _is_inside(event, query["step"]):
            continue
        if query["attempt"] and (event.get("step") is None or event.get("attempt", 1) != query["attempt"]):
            continue
        if text and text not in folded(event["message"]):
            continue
        yield {name: value for name, value in event.items() if name not in ("type", "execution_id", "seq")}


def _is_inside(event: Mapping[str, Any], step: str) -> bool:
    return str(event.get("step", "")).startswith(f"{step}[")
