"""Checks what an installation keeps against this version, before it is used on it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from flowrunner.bootstrap.location import stored_at
from flowrunner.domain.errors import Fault, FlowRunnerError, InvalidFlow
from flowrunner.domain.events import EVENT_TYPES
from flowrunner.language import read_stored_flow
from flowrunner.services.language import Language
from flowrunner.settings import Settings
from flowrunner.storage.stored_flows import StoredFlow, open_event_types, stored_flows


@dataclass(frozen=True, slots=True)
class CheckedFlow:
    """A stored revision, and what this version says of it.

    Attributes:
        faults: What keeps it from being saved again as it is, and warnings.
        unreadable: Why executions of it cannot go on at all; None if they can, at least up to single nodes.
    """

    stored: StoredFlow
    faults: Sequence[Fault]
    unreadable: str | None


async def check_stored_flows(settings: Settings, language: Language) -> AsyncIterator[CheckedFlow]:
    """Yield what this version says of each flow, and of each revision that executions follow.

    The database is read, and not changed: a server may be using it, also one of an earlier version.

    Raises:
        FlowRunnerError: If there is no database.
    """
    location = stored_at(settings)
    if not await location.has_data():
        raise FlowRunnerError("There is no database yet: the first start of a server makes it")
    database = location.open(is_standby=True)
    try:
        async for stored in stored_flows(database):
            reading = await language.study(stored.definition)
            unreadable = None
            try:
                read_stored_flow(stored.definition, language.node_types)
            except InvalidFlow as error:
                unreadable = str(error)
            yield CheckedFlow(stored, reading.faults, unreadable)
    finally:
        await database.close()


async def unknown_event_types(settings: Settings) -> dict[str, int]:
    """Return the types of events that this version does not know, and how many executions under way have each."""
    database = stored_at(settings).open(is_standby=True)
    try:
        found = await open_event_types(database)
    finally:
        await database.close()
    return {type: executions for type, executions in found.items() if type not in EVENT_TYPES}
