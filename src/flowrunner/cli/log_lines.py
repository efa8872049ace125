"""Logs and events of an execution."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flowrunner.cli import outages
from flowrunner.client import Client
from flowrunner.domain.letter_case import folded

_LEVELS: Final = ("debug", "info", "warn", "error")
_PAGE: Final = 500
# What an event has besides the line of the log that it is.
_OF_EVENTS: Final = frozenset({"type", "execution_id", "seq", "scope"})


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
    outage = outages.Outage(tell=tell, then="The execution continues", command=f"flowrunner watch {id}")
    after = 0
    while True:
        try:
            for event in client.events(id, after=after):
                after = event["seq"]
                outage.end()
                yield event
            return
        except outages.ERRORS as error:
            outage.wait(error)


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
        yield {name: value for name, value in event.items() if name not in _OF_EVENTS}


def _is_inside(event: Mapping[str, Any], step: str) -> bool:
    return str(event.get("step", "")).startswith(f"{step}[")
