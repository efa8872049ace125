"""The choice of the dispatcher: this process alone, or workers that Temporal chooses."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from flowrunner.bootstrap.background import Background
from flowrunner.bootstrap.ownership import is_shared
from flowrunner.bootstrap.resources import Resources
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.ports.dispatch import Advancing, Engine, OpenDispatcher
from flowrunner.ports.journal import JournalReader
from flowrunner.settings import Settings
from flowrunner.storage.active_slots import SqlActiveSlots
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.inbox import SqlInbox

if TYPE_CHECKING:
    # Temporal's client need not be installed.
    from temporalio.client import Client

    from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher

_SWEEP_SECONDS: Final = 5.0
_RUNNING_SECONDS: Final = 30.0
_RESTART_SECONDS: Final = 300.0

# The dispatcher, the part that advances executions in this process, and the background jobs of the two.
Dispatching: TypeAlias = tuple[OpenDispatcher, Advancing, Sequence[Background]]
Dispatch: TypeAlias = Callable[[Engine, JournalReader, WorkspaceLimits], Dispatching]


def check_dispatch(settings: Settings) -> None:
    """Raise FlowRunnerError if the dispatcher needs Temporal's client and it is not installed."""
    if is_shared(settings) and importlib.util.find_spec("temporalio") is None:
        raise FlowRunnerError(
            "Temporal's client is not installed. Install it in the clone that contains FlowRunner: "
            ".venv/bin/pip install --require-hashes --requirement requirements/temporal.txt"
        )


async def dispatch_of(opened: Resources, *, is_worker: bool) -> Dispatch:
    """Return the factory of the dispatcher. Raises: FlowRunnerError if Temporal cannot be reached."""
    if not is_shared(opened.settings):
        return partial(_local, opened)
    from flowrunner.dispatch.temporal.connection import connect

    address = TemporalAddress.read(opened.settings.dispatch)
    client = await connect(address, api_key=opened.settings.temporal_api_key)
    return partial(_temporal, opened, client=client, queue=address.queue, is_worker=is_worker)


def _local(opened: Resources, engine: Engine, journal: JournalReader, limits: WorkspaceLimits) -> Dispatching:
    database = opened.stored.database
    dispatcher = LocalDispatcher(
        engine,
        opened.clock,
        journal=journal,
        due=SqlDueExecutions(database),
        concurrency=SqlConcurrencyLimits(database),
        children=SqlChildExecutions(database),
        most_active=opened.settings.max_active,
        limits=limits,
    )
    return dispatcher, dispatcher, ()


def _temporal(
    opened: Resources,
    engine: Engine,
    journal: JournalReader,
    limits: WorkspaceLimits,
    *,
    client: "Client",
    queue: str,
    is_worker: bool,
) -> Dispatching:
    from flowrunner.dispatch.temporal.admission import Admission
    from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
    from flowrunner.dispatch.temporal.worker import TemporalWorker
    from flowrunner.dispatch.temporal.workflow_client import WorkflowClient

    database, clock = opened.stored.database, opened.clock
    inbox = SqlInbox(database)
    workflows = WorkflowClient(client, queue, journal=journal, inbox=inbox, vault=opened.stored.vault, clock=clock)
    admission = Admission(SqlActiveSlots(database), workflows, clock, limits=limits)
    dispatcher = TemporalDispatcher(
        engine,
        workflows,
        admission,
        journal=journal,
        due=SqlDueExecutions(database),
        concurrency=SqlConcurrencyLimits(database),
        children=SqlChildExecutions(database),
        inbox=inbox,
        clock=clock,
    )
    jobs = temporal_jobs(dispatcher)
    if not is_worker:
        return dispatcher, dispatcher, jobs
    most_active = opened.settings.max_active
    worker = TemporalWorker(
        engine, workflows, inbox, admission, clock, client=client, queue=queue, most_active=most_active
    )
    return dispatcher, worker, jobs


def temporal_jobs(dispatcher: "TemporalDispatcher") -> Sequence[Background]:
    return (
        Background(name="temporal.sweep", every=_SWEEP_SECONDS, run=dispatcher.sweep, where="one", first_after=0.0),
        # Workers may die one after the other with an execution that one of them has acquired.
        Background(name="temporal.running", every=_RUNNING_SECONDS, run=dispatcher.revive_running, where="one"),
        # Each process knows only the suspects that it has found.
        Background(name="temporal.suspects", every=_SWEEP_SECONDS, run=dispatcher.revive_suspects),
        # At the start of each process, too: it may be another Temporal than before.
        Background(name="temporal.restart", every=_RESTART_SECONDS, run=dispatcher.restart_all, first_after=0.0),
        Background(name="temporal.queued", every=_SWEEP_SECONDS, run=dispatcher.count_queued, first_after=0.0),
    )
