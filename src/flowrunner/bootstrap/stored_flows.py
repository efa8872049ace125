"""Compatibility checks of stored flows and executions with this version, for use before an upgrade."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from flowrunner.bootstrap.location import stored_at
from flowrunner.domain.errors import Fault, FlowRunnerError, InvalidFlow
from flowrunner.language import read_stored_flow
from flowrunner.ports.event_codec import type_of
from flowrunner.services.language import Language
from flowrunner.settings import Settings
from flowrunner.storage.stored_flows import StoredFlow, open_event_types, stored_flows


@dataclass(frozen=True, slots=True)
class CheckedFlow:
    """The check result of a stored revision.

    Attributes:
        faults: Faults that would prevent saving it again, and warnings.
        unreadable: The reason why its executions cannot continue; None if they can, except perhaps at single nodes.
    """

    stored: StoredFlow
    faults: Sequence[Fault]
    unreadable: str | None


async def check_stored_flows(settings: Settings, language: Language) -> AsyncIterator[CheckedFlow]:
    """Check each flow, and each revision that unfinished executions use.

    The database is only read: a server may be using it, even one of an earlier version.

    Raises:
        FlowRunnerError: If there is no database, or this version cannot be upgraded to from its schema.
    """
    location = stored_at(settings)
    if not await location.has_data():
        raise FlowRunnerError("There is no database yet: the first start of a server creates it")
    schema = await location.schema()
    if not schema.is_usable:
        schema.check_can_migrate("The database")
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
    """Return the event types that this version does not know, with the number of unfinished executions of each."""
    database = stored_at(settings).open(is_standby=True)
    try:
        found = await open_event_types(database)
    finally:
        await database.close()
    return {type: executions for type, executions in found.items() if type_of(type) is None}
