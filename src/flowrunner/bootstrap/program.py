"""The parts of the running program, and their assembly."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from fastapi import FastAPI

from flowrunner.api.browser import Browser
from flowrunner.api.event_feed import EventFeed
from flowrunner.api.execution_feed import ExecutionFeed
from flowrunner.api.http.early_refusals import EarlyRefusals
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.state import AppState
from flowrunner.api.live import Live
from flowrunner.api.open_streams import OpenStreams
from flowrunner.api.server import build_app
from flowrunner.bootstrap.authentication import assemble_logins
from flowrunner.bootstrap.background import Background
from flowrunner.bootstrap.data import OpenStorage
from flowrunner.bootstrap.dispatching import Dispatch
from flowrunner.bootstrap.engine_process import limits_of
from flowrunner.bootstrap.online_maintenance import retention_of
from flowrunner.bootstrap.ownership import is_shared
from flowrunner.bootstrap.readiness import Readiness
from flowrunner.bootstrap.starting_processes import engine_of
from flowrunner.bootstrap.telemetry import add_gauges, observe_executions
from flowrunner.bootstrap.test_process import TestProcesses
from flowrunner.broadcast import LocalBroadcast
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.engine_processes import EngineProcesses, StartProcess
from flowrunner.domain.values import AccountId, WorkspaceId, personal_workspace
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.held_memory import HeldMemory
from flowrunner.engine.trial import EngineTrials
from flowrunner.mail import SmtpMailer
from flowrunner.metrics import Metrics
from flowrunner.nodes import installed
from flowrunner.ports.dispatch import Advancing, OpenDispatcher
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.approval_links import SignedApprovalLinks
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.security.egress import EgressClients
from flowrunner.security.memory_room import FairBodies, FairMemory
from flowrunner.security.rotation import FileKeyRotator
from flowrunner.security.vault import AesVault
from flowrunner.services.accounts import Accounts
from flowrunner.services.approval_links import LinkedApprovals
from flowrunner.services.approvals import Approvals
from flowrunner.services.audit import AuditLog
from flowrunner.services.backfills import Backfills, BackfillTrigger
from flowrunner.services.bulk_executions import BulkExecutions, execution_jobs
from flowrunner.services.bundle import Services
from flowrunner.services.callback_deliveries import CallbackDeliveries
from flowrunner.services.callback_messages import CallbackMessages
from flowrunner.services.callbacks import Callbacks
from flowrunner.services.chains import Chains
from flowrunner.services.execution_records import ExecutionRecords
from flowrunner.services.executions import Executions
from flowrunner.services.exports import WorkspaceExports
from flowrunner.services.flow_batches import FlowBatches
from flowrunner.services.flow_moves import FlowMoves
from flowrunner.services.flow_tests import FlowTests
from flowrunner.services.flows import CompiledFlowCache, Flows
from flowrunner.services.hook_deliveries import HookDeliveries
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_starts import HookStarts
from flowrunner.services.hooks import IncomingHooks
from flowrunner.services.invitations import Invitations
from flowrunner.services.jobs import Jobs
from flowrunner.services.language import Language
from flowrunner.services.logins import Logins
from flowrunner.services.node_trials import NodeTrialService
from flowrunner.services.overview import Overviews
from flowrunner.services.pause import Pause
from flowrunner.services.preferences import Preferences
from flowrunner.services.rates import Rates
from flowrunner.services.replays import Replays
from flowrunner.services.request_keys import RequestKeys
from flowrunner.services.reruns import Reruns
from flowrunner.services.schedules import Schedules
from flowrunner.services.secrets import Secrets
from flowrunner.services.setup import FirstAccount
from flowrunner.services.signals import Signals
from flowrunner.services.steps import Steps
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.system import System, SystemParts
from flowrunner.services.tokens import Tokens, TokenUses
from flowrunner.services.triggers import Triggers
from flowrunner.services.usage import StoredBytes
from flowrunner.services.workspaces import Workspaces
from flowrunner.settings import Settings
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.approvals import SqlApprovals
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.database import Database
from flowrunner.storage.execution_records import SqlExecutionRecords
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.exports import SqlExports
from flowrunner.storage.flow_moves import SqlFlowMoves
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.hooks import SqlHooks
from flowrunner.storage.invitations import SqlInvitations
from flowrunner.storage.jobs import SqlJobs
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.overview import SqlOverview
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.preferences import SqlPreferences
from flowrunner.storage.request_keys import SqlRequestKeys
from flowrunner.storage.schedules import SqlSchedules
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.step_events import SqlStepEvents
from flowrunner.storage.system import SqlInspector
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.trigger_ends import SqlTriggerEnds
from flowrunner.storage.triggers import SqlTriggers
from flowrunner.storage.usage import SqlUsage
from flowrunner.storage.workspaces import SqlWorkspaces

if TYPE_CHECKING:
    # The packages need not be installed.
    from flowrunner.otel.export import Exporters

logger = structlog.get_logger()

SETUP_TOKEN_FILE: Final = "setup-token"  # noqa: S105 # a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The parts that are needed to start and stop the program."""

    app: FastAPI
    services: Services
    setup: FirstAccount
    streams: OpenStreams
    broadcast: LocalBroadcast
    dispatcher: OpenDispatcher
    advancing: Advancing
    processes: EngineProcesses | None
    dispatch_jobs: Sequence[Background]
    deps: EngineDependencies
    database: Database
    clock: SystemClock
    vault: AesVault
    rotator: FileKeyRotator
    token_uses: TokenUses
    readiness: Readiness
    metrics: Metrics
    early_refusals: EarlyRefusals


def assemble(
    *,
    settings: Settings,
    stored: OpenStorage,
    clock: SystemClock,
    metrics: Metrics,
    hasher: Argon2Hasher,
    http: EgressClients,
    sign_on_http: EgressClients,
    sandbox: JailedSandbox,
    dispatch: Dispatch,
    exporters: "Exporters | None" = None,
    start_process: StartProcess | None = None,
) -> Program:
    database, vault = stored.database, stored.vault
    node_types = installed(lambda reason: logger.error("node_type.load_failed", reason=reason))
    specs = {name: node_type.spec() for name, node_type in node_types.items()}
    journal, broadcast = SqlJournal(database), LocalBroadcast()
    flow_store, account_store = SqlFlows(database), SqlAccounts(database)
    reader, usage, record_store = SqlExecutions(database), SqlUsage(database), SqlExecutionRecords(database)
    library, schemas, replays = CompiledFlowCache(flow_store, specs), RustSchemas(), Replays(journal, FairMemory())
    limits = limits_of(settings)
    approval_links = SignedApprovalLinks(stored.signing_keys, public_url=settings.public_url)
    deps = EngineDependencies(
        approval_links=approval_links,
        journal=journal,
        library=library,
        vault=vault,
        broadcast=broadcast,
        observer=observe_executions(metrics, settings, node_types, exporters),
        traces=None if exporters is None else exporters.spans,
        sandbox=sandbox,
        node_types=node_types,
        http=http,
        memory=FairMemory(),
        held=HeldMemory(settings.execution_memory),
        clock=clock,
        draw=random.SystemRandom().random,
        limits=limits,
    )
    engine, processes = engine_of(
        settings, deps, vault=vault, flows=flow_store, links=approval_links, start=start_process
    )
    dispatcher, advancing, dispatch_jobs = dispatch(engine, journal, limits)
    executions = Executions(
        reader,
        flow_store,
        library,
        dispatcher,
        concurrency=SqlConcurrencyLimits(database),
        usage=usage,
        limits=limits,
        clock=clock,
        sandbox=sandbox,
        schemas=schemas,
    )
    deps.connect(links=dispatcher, flows=SubFlowExecutions(executions, flow_store))
    language = Language(specs, schemas, sandbox, has_links=settings.public_url is not None)
    schedules = Schedules(
        SqlSchedules(database),
        executions,
        library,
        sandbox,
        clock,
        changed=flow_store.armed,
        on_outcome=metrics.due_time,
    )
    uses = TokenUses(token_store := SqlTokens(database))
    audit_store, workspace_store = SqlAudit(database), SqlWorkspaces(database)
    audit = AuditLog(audit_store, clock)
    logins = assemble_logins(
        settings,
        stored,
        accounts=account_store,
        api_tokens=token_store,
        uses=uses,
        audit=audit,
        hasher=hasher,
        http=sign_on_http,
        mailer=(mailer := None if settings.smtp_url is None else SmtpMailer.of(settings.smtp_url)),
        clock=clock,
    )
    known = logins.known_callers

    async def on_workspace_delete(id: WorkspaceId) -> None:
        await known.workspace_changed(id)
        await executions.cancel_all(id)
        vault.forget(id)

    async def on_delete(account_id: AccountId) -> None:
        await on_workspace_delete(personal_workspace(account_id))

    accounts = Accounts(
        account_store,
        logins.passwords,
        hasher,
        logins.login_mails,
        clock,
        confirmations=logins.confirmations,
        on_sessions_end=known.sessions_ended,
        on_delete=on_delete,
    )
    reruns = Reruns(executions, reader, journal, flow_store, library, replays=replays, clock=clock)
    records = ExecutionRecords(record_store, clock)
    flows = Flows(flow_store, stored.secrets, language, clock, usage=usage, limits=limits)
    callbacks = SqlCallbacks(database)
    callback_deliveries = CallbackDeliveries(
        callbacks,
        CallbackMessages(
            reader,
            journal,
            flow_store,
            public_url=settings.public_url,
            traces=None if exporters is None else exporters.spans,
        ),
        vault,
        http,
        mailer,
        clock=clock,
        draw=random.SystemRandom().random,
        on_attempt=metrics.callback_attempted,
    )
    trigger_store, hook_store = SqlTriggers(database), SqlHooks(database)
    triggers = Triggers(trigger_store, schedules, clock)
    jobs = Jobs(
        SqlJobs(database),
        (*execution_jobs(executions, reruns, records), BackfillTrigger(schedules, triggers)),
        clock,
    )
    refused_hooks = RefusedHooks(hook_store)
    hook_starts = HookStarts(hook_store, executions, sandbox, clock, on_outcome=metrics.hook_requested)
    signals = Signals(reader, replays, dispatcher, accounts=account_store, schemas=schemas, clock=clock)
    services = Services(
        identity=logins.identity,
        known_callers=known,
        rates=Rates(
            clock,
            most=settings.account_requests,
            most_anonymous=settings.anonymous_requests,
            most_changes=settings.account_changes,
            most_of_hook=settings.hook_requests,
        ),
        audit=audit,
        second_factors=logins.second_factors,
        sign_on=logins.sign_on,
        command_logins=logins.command_logins,
        logins=Logins(SqlSessions(database), clock, on_end=known.sessions_ended),
        preferences=Preferences(SqlPreferences(database), clock),
        tokens=Tokens(token_store, uses, clock, on_end=known.sessions_ended),
        accounts=accounts,
        workspaces=Workspaces(
            workspace_store,
            clock,
            limits=limits,
            most=settings.account_workspaces,
            on_access_change=known.sessions_ended,
            on_change=known.workspace_changed,
            on_delete=on_workspace_delete,
        ),
        invitations=Invitations(
            SqlInvitations(database),
            account_store,
            hasher,
            logins.mails,
            clock,
            mailed=logins.mailed_tokens,
            confirmations=logins.confirmations,
            sign_up=settings.sign_up,
            accepts_passwords=settings.password_login,
            public_url=settings.public_url,
            on_access_change=known.sessions_ended,
        ),
        password_resets=logins.password_resets,
        email_confirmations=logins.confirmations,
        outgoing_mails=logins.outgoing_mails,
        exports=WorkspaceExports(
            SqlExports(database),
            workspace_store,
            secrets=stored.secrets,
            triggers=trigger_store,
            callbacks=callbacks,
            audit=audit_store,
            clock=clock,
        ),
        secrets=Secrets(stored.secrets, vault, clock),
        keys=stored.keys,
        flows=flows,
        flow_batches=FlowBatches(flows, flow_store, clock, usage=usage, limits=limits),
        moves=FlowMoves(SqlFlowMoves(database), flows, clock, limits=limits),
        language=language,
        flow_tests=FlowTests(language, TestProcesses()),
        node_trials=NodeTrialService(language, EngineTrials(deps), SqlPause(database), audit_store, clock),
        executions=executions,
        hooks=IncomingHooks(
            hook_store,
            trigger_store,
            hook_starts,
            library=library,
            executions=executions,
            reader=reader,
            vault=vault,
            refused=refused_hooks,
            stored=StoredBytes(usage, limits, clock),
            clock=clock,
            on_outcome=metrics.hook_requested,
        ),
        hook_deliveries=HookDeliveries(
            hook_store,
            trigger_store,
            hook_starts,
            library=library,
            executions=executions,
            refused=refused_hooks,
            clock=clock,
        ),
        refused_hooks=refused_hooks,
        callbacks=Callbacks(
            callbacks,
            flow_store,
            callback_deliveries,
            vault,
            clock,
            sends_mail=mailer is not None,
            refusal=http.policy.refusal,
        ),
        callback_deliveries=callback_deliveries,
        signals=signals,
        linked_approvals=LinkedApprovals(
            approval_links, reader, replays, dispatcher, signals, schemas=schemas, clock=clock
        ),
        approvals=Approvals(SqlApprovals(database), account_store),
        reruns=reruns,
        records=records,
        jobs=jobs,
        request_keys=RequestKeys(SqlRequestKeys(database), clock),
        bulk=BulkExecutions(executions, record_store, jobs),
        # Separate from the room of bodies, which must not wait for reads.
        steps=Steps(journal, SqlStepEvents(database), library, FairBodies()),
        pause=Pause(SqlPause(database), clock),
        retention=retention_of(settings, database, clock),
        overviews=Overviews(SqlOverview(database), clock),
        system=System(
            SystemParts(
                database="sqlite" if settings.database_url is None else "postgresql",
                dispatcher="temporal" if is_shared(settings) else "local",
                most_active=settings.max_active,
                script_workers=settings.script_workers,
            ),
            SqlInspector(database),
            clock,
            active=lambda: advancing.active,
            queued=lambda: dispatcher.queued,
            streams=lambda: streams.count,
        ),
        triggers=triggers,
        backfills=Backfills(triggers, jobs, reader, clock),
        schedules=schedules,
        chains=Chains(
            SqlTriggerEnds(database),
            executions,
            reader=reader,
            journal=journal,
            library=library,
            sandbox=sandbox,
            clock=clock,
            changed=flow_store.listening,
        ),
    )
    streams = OpenStreams(services, clock, most=settings.max_sockets, most_of_account=settings.account_sockets)
    feed = EventFeed(journal, broadcast)
    known.on_end(streams.end_sessions, on_workspace_change=streams.revalidate_workspace)
    token_file = settings.data_dir / SETUP_TOKEN_FILE
    setup = FirstAccount(accounts, clock, on_done=lambda: token_file.unlink(missing_ok=True))
    add_gauges(
        metrics,
        dispatcher=dispatcher,
        advancing=advancing,
        database=database,
        sandbox=sandbox,
        processes=processes,
        settings=settings,
        clock=clock,
    )
    metrics.gauge(
        "flowrunner_sockets_open", "Open WebSockets, event streams and waiting requests.", lambda: streams.count
    )

    early_refusals = EarlyRefusals(
        services.executions.full,
        on_request=metrics.requests.count,
        refused=metrics.refused,
        is_behind_tls=Browser(settings.public_url).is_secure,
    )
    readiness = Readiness(dispatcher, database, processes)
    metrics.gauge(
        "flowrunner_standby", "1 while another server is active and this one waits.", lambda: readiness.is_standby
    )
    return Program(
        app=build_app(
            AppState(
                services=services,
                setup=setup,
                readiness=readiness,
                metrics=metrics.text,
                metrics_token=settings.metrics_token,
                refused=metrics.refused,
                browser=Browser(settings.public_url),
                body_room=FairBodies(),
                message_room=FairBodies(),
                streams=streams,
                feed=feed,
                start_refused=early_refusals.note,
            ),
            Live(services, feed, ExecutionFeed(reader, broadcast), streams),
            proxies=Proxies(settings.trusted_proxies),
            hosts=Hosts(settings.public_url, settings.allowed_hosts),
            on_request=metrics.requests.count,
            reads_traces=exporters is not None and exporters.spans is not None,
        ),
        services=services,
        setup=setup,
        streams=streams,
        broadcast=broadcast,
        dispatcher=dispatcher,
        advancing=advancing,
        processes=processes,
        dispatch_jobs=dispatch_jobs,
        deps=deps,
        database=database,
        clock=clock,
        vault=vault,
        rotator=stored.rotator,
        token_uses=uses,
        readiness=readiness,
        metrics=metrics,
        early_refusals=early_refusals,
    )
