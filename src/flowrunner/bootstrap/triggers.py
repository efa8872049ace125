"""The services around triggers, and their assembly."""

from functools import partial

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.resources import Resources
from flowrunner.services.bundle import TriggerServices
from flowrunner.services.chains import Chains
from flowrunner.services.executions import Executions
from flowrunner.services.hook_deliveries import HookDeliveries
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_senders import HookSenders
from flowrunner.services.hook_starts import HookStarts
from flowrunner.services.hooks import IncomingHooks
from flowrunner.services.schedules import Schedules
from flowrunner.services.trigger_requests import TriggerRequests
from flowrunner.services.triggers import Triggers
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.schedules import SqlSchedules
from flowrunner.storage.trigger_ends import SqlTriggerEnds


def assemble_triggers(
    opened: Resources, engine: EngineParts, executions: Executions, usage: UsageLimits
) -> TriggerServices:
    stores, stored, clock, metrics = opened.stores, opened.stored, opened.clock, opened.metrics
    library, sandbox = engine.library, engine.deps.sandbox
    requests = TriggerRequests(library, executions, sandbox)
    schedules = Schedules(
        SqlSchedules(stored.database),
        executions,
        requests,
        clock,
        reader=stores.executions,
        journal=stores.journal,
        changed=stores.flows.armed,
        on_outcome=metrics.due_time,
    )
    refused_hooks = RefusedHooks(stores.hooks)
    hook_starts = HookStarts(stores.hooks, executions, sandbox, clock, on_outcome=metrics.hook_requested)
    return TriggerServices(
        triggers=Triggers(stores.triggers, schedules, clock),
        schedules=schedules,
        chains=Chains(
            SqlTriggerEnds(stored.database),
            executions,
            requests,
            reader=stores.executions,
            journal=stores.journal,
            clock=clock,
            changed=stores.flows.listening,
        ),
        hook_senders=HookSenders(
            stores.triggers,
            library,
            stored.vault,
            refused=refused_hooks,
            clock=clock,
            on_refusal=partial(metrics.hook_requested, "refused"),
        ),
        hooks=IncomingHooks(
            stores.hooks,
            hook_starts,
            executions=executions,
            reader=stores.executions,
            vault=stored.vault,
            usage=usage,
            clock=clock,
            on_outcome=metrics.hook_requested,
        ),
        hook_deliveries=HookDeliveries(
            stores.hooks,
            stores.triggers,
            hook_starts,
            library=library,
            executions=executions,
            refused=refused_hooks,
            clock=clock,
        ),
        refused_hooks=refused_hooks,
    )
