"""Who advances executions, by the settings: this process alone, or whom Temporal chooses."""

import importlib.util
from collections.abc import Callable
from typing import TypeAlias

from flowrunner.bootstrap.data import Stored
from flowrunner.bootstrap.ownership import is_shared
from flowrunner.clock import SystemClock
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.limits import Limits
from flowrunner.ports import Advancing, Engine, Journal, OpenDispatcher
from flowrunner.settings import Settings
from flowrunner.storage.letters import SqlLetters
from flowrunner.storage.rooms import SqlRooms

# What makes the dispatcher of a program for its engine, and what advances executions in this process.
Dispatch: TypeAlias = Callable[[Engine, Journal, Limits], tuple[OpenDispatcher, Advancing]]


def check_dispatch(settings: Settings) -> None:
    """Find out whether the dispatcher can be had. Raises: FlowRunnerError if Temporal's client is not installed."""
    if is_shared(settings) and importlib.util.find_spec("temporalio") is None:
        raise FlowRunnerError(
            "Temporal's client is not installed. Install it in the clone that FlowRunner came from: "
            ".venv/bin/pip install --require-hashes --requirement requirements/temporal.txt"
        )


async def dispatch_of(settings: Settings, stored: Stored, clock: SystemClock, *, is_worker: bool) -> Dispatch:
    """Raises: FlowRunnerError if Temporal cannot be reached."""
    if not is_shared(settings):

        def local(engine: Engine, journal: Journal, limits: Limits) -> tuple[OpenDispatcher, Advancing]:
            dispatcher = LocalDispatcher(engine, journal, clock, most_active=settings.max_active, limits=limits)
            return dispatcher, dispatcher

        return local
    from flowrunner.dispatch.temporal.connection import connect
    from flowrunner.dispatch.temporal.courier import Courier
    from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
    from flowrunner.dispatch.temporal.door import Door
    from flowrunner.dispatch.temporal.worker import TemporalWorker

    address = TemporalAddress.read(settings.dispatch)
    client = await connect(address, api_key=settings.temporal_api_key)

    def temporal(engine: Engine, journal: Journal, limits: Limits) -> tuple[OpenDispatcher, Advancing]:
        letters = SqlLetters(stored.database)
        courier = Courier(client, address.queue, journal=journal, letters=letters, vault=stored.vault, clock=clock)
        door = Door(SqlRooms(stored.database), courier, clock, limits=limits)
        dispatcher = TemporalDispatcher(engine, courier, door, journal=journal, letters=letters, clock=clock)
        if not is_worker:
            return dispatcher, dispatcher
        return dispatcher, TemporalWorker(
            engine, courier, letters, door, clock, client=client, queue=address.queue, most_active=settings.max_active
        )

    return temporal
