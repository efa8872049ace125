"""The services around executions and jobs, and their assembly."""

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.resources import Resources
from flowrunner.engine.past_params import EnginePastParams
from flowrunner.security.memory_room import FairBodies, FairMemory
from flowrunner.services.approval_links import LinkedApprovals
from flowrunner.services.approvals import Approvals
from flowrunner.services.backfills import Backfills, BackfillTrigger
from flowrunner.services.bulk_executions import BulkExecutions, execution_jobs
from flowrunner.services.bulk_signals import BulkSignals
from flowrunner.services.bundle import ExecutionServices, JobServices, TriggerServices
from flowrunner.services.execution_records import ExecutionRecords
from flowrunner.services.executions import Executions
from flowrunner.services.jobs import Jobs
from flowrunner.services.overview import Overviews
from flowrunner.services.replays import Replays
from flowrunner.services.request_keys import RequestKeys
from flowrunner.services.reruns import Reruns
from flowrunner.services.selections import Selections
from flowrunner.services.signals import Signals
from flowrunner.services.step_params import StepParams
from flowrunner.services.steps import Steps
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.approvals import SqlApprovals
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.jobs import SqlJobs
from flowrunner.storage.overview import SqlOverview
from flowrunner.storage.request_keys import SqlRequestKeys
from flowrunner.storage.step_events import SqlStepEvents


def assemble_executions(opened: Resources, engine: EngineParts, usage: UsageLimits) -> ExecutionServices:
    stores, database, clock, schemas = opened.stores, opened.stored.database, opened.clock, opened.schemas
    reader, journal, library, dispatcher = stores.executions, stores.journal, engine.library, engine.dispatcher
    replays = Replays(journal, FairMemory())
    executions = Executions(
        reader,
        stores.flows,
        library,
        dispatcher,
        concurrency=SqlConcurrencyLimits(database),
        usage=usage,
        clock=clock,
        config=stores.config,
        sandbox=engine.deps.sandbox,
        schemas=schemas,
    )
    signals = Signals(
        reader,
        replays,
        dispatcher,
        accounts=stores.accounts,
        vault=opened.stored.vault,
        schemas=schemas,
        clock=clock,
    )
    # Its room is separate from that of bodies, which must not wait for reads.
    steps = Steps(journal, SqlStepEvents(database), library, FairBodies())
    return ExecutionServices(
        executions=executions,
        reruns=Reruns(executions, reader, journal, stores.flows, library, replays=replays, clock=clock),
        records=ExecutionRecords(stores.records, clock),
        signals=signals,
        linked_approvals=LinkedApprovals(
            engine.approval_links, reader, replays, dispatcher, signals, schemas=schemas, clock=clock
        ),
        approvals=Approvals(SqlApprovals(database), stores.accounts),
        steps=steps,
        step_params=StepParams(steps, replays, library, EnginePastParams(engine.deps)),
        overviews=Overviews(SqlOverview(database), clock),
    )


def assemble_jobs(
    opened: Resources, executions: ExecutionServices, triggers: TriggerServices, usage: UsageLimits
) -> JobServices:
    stores, database, clock = opened.stores, opened.stored.database, opened.clock
    jobs = Jobs(
        SqlJobs(database),
        (
            *execution_jobs(executions.executions, executions.reruns, executions.records),
            BackfillTrigger(triggers.schedules, triggers.triggers),
        ),
        opened.stored.vault,
        clock,
    )
    selections = Selections(executions.executions)
    return JobServices(
        jobs=jobs,
        bulk=BulkExecutions(selections, stores.executions, stores.records, jobs),
        bulk_signals=BulkSignals(selections, executions.signals, RequestKeys(SqlRequestKeys(database), clock), usage),
        backfills=Backfills(triggers.triggers, jobs, stores.executions, clock),
    )
