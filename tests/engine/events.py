"""What the events of an execution say."""

from typing import Any

from flowrunner.domain.events import Event, NodeStarted


def of_type(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def path_of(events: list[Event]) -> list[str]:
    """The nodes in the order in which they started for the first time."""
    return [event.node for event in events if isinstance(event, NodeStarted) and event.attempt == 1]


def ending(events: list[Event]) -> Any:
    return events[-1]
