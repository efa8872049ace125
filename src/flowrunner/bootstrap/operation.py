"""The services around the operation of the installation, and their assembly."""

from collections.abc import Callable

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.online_maintenance import retention_of
from flowrunner.bootstrap.ownership import is_shared
from flowrunner.bootstrap.resources import Resources
from flowrunner.services.bundle import OperationServices
from flowrunner.services.pause import Pause
from flowrunner.services.rates import Rates
from flowrunner.services.request_keys import RequestKeys
from flowrunner.services.system import System, SystemParts
from flowrunner.storage.request_keys import SqlRequestKeys
from flowrunner.storage.system import SqlInspector


def assemble_operation(opened: Resources, engine: EngineParts, streams: Callable[[], int]) -> OperationServices:
    """Return the services around operation. Args: streams: Returns the number of open streams."""
    settings, stores, database, clock = opened.settings, opened.stores, opened.stored.database, opened.clock
    return OperationServices(
        rates=Rates(
            clock,
            most=settings.account_requests,
            most_anonymous=settings.anonymous_requests,
            most_changes=settings.account_changes,
            most_of_hook=settings.hook_requests,
        ),
        request_keys=RequestKeys(SqlRequestKeys(database), clock),
        pause=Pause(stores.pause, clock),
        retention=retention_of(settings, database, clock),
        system=System(
            SystemParts(
                database="sqlite" if settings.database_url is None else "postgresql",
                dispatcher="temporal" if is_shared(settings) else "local",
                most_active=settings.max_active,
                script_workers=settings.script_workers,
            ),
            SqlInspector(database),
            clock,
            active=lambda: engine.advancing.active,
            engine_processes=lambda: None if engine.processes is None else engine.processes.running,
            queued=lambda: engine.dispatcher.queued,
            streams=streams,
        ),
    )
