"""The parts of the running program, and their assembly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from flowrunner.api.http.early_refusals import EarlyRefusals
from flowrunner.api.open_streams import OpenStreams
from flowrunner.bootstrap.accounts import assemble_accounts
from flowrunner.bootstrap.api import assemble_api
from flowrunner.bootstrap.background import Background
from flowrunner.bootstrap.callbacks import assemble_callbacks
from flowrunner.bootstrap.data import OpenStorage
from flowrunner.bootstrap.dispatching import Dispatch
from flowrunner.bootstrap.engine import assemble_engine
from flowrunner.bootstrap.executions import assemble_executions, assemble_jobs
from flowrunner.bootstrap.flows import assemble_flows
from flowrunner.bootstrap.operation import assemble_operation
from flowrunner.bootstrap.readiness import Readiness
from flowrunner.bootstrap.stores import Stores
from flowrunner.bootstrap.telemetry import add_gauges, add_readiness
from flowrunner.bootstrap.triggers import assemble_triggers
from flowrunner.broadcast import LocalBroadcast
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.engine_processes import EngineProcesses, StartProcess
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.mail import SmtpMailer
from flowrunner.metrics import Metrics
from flowrunner.ports.dispatch import Advancing, OpenDispatcher
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.security.egress import EgressClients
from flowrunner.security.rotation import FileKeyRotator
from flowrunner.security.vault import AesVault
from flowrunner.services.bundle import Services
from flowrunner.services.setup import FirstAccount
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.tokens import TokenUses
from flowrunner.services.usage import UsageLimits
from flowrunner.settings import Settings
from flowrunner.storage.database import Database

if TYPE_CHECKING:
    # The packages need not be installed.
    from flowrunner.otel.export import Exporters

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
    """Return the parts of the program; each is built from those before it."""
    database, vault, schemas = stored.database, stored.vault, RustSchemas()
    stores = Stores.of(database)
    uses = TokenUses(stores.tokens)
    engine = assemble_engine(
        settings,
        stored,
        stores,
        clock=clock,
        metrics=metrics,
        http=http,
        sandbox=sandbox,
        dispatch=dispatch,
        exporters=exporters,
        start_process=start_process,
    )
    usage = UsageLimits(stores.usage, engine.limits, clock)
    executions = assemble_executions(database, stores, engine, schemas, usage=usage, clock=clock)
    engine.deps.connect(links=engine.dispatcher, flows=SubFlowExecutions(executions.executions, stores.flows))
    triggers = assemble_triggers(
        database, stores, engine, executions.executions, usage=usage, vault=vault, clock=clock, metrics=metrics
    )
    mailer = None if settings.smtp_url is None else SmtpMailer.of(settings.smtp_url)
    services = Services.of(
        accounts=assemble_accounts(
            settings,
            stored,
            stores,
            executions.executions,
            uses,
            limits=engine.limits,
            hasher=hasher,
            sign_on_http=sign_on_http,
            mailer=mailer,
            clock=clock,
        ),
        flows=assemble_flows(
            database,
            stores,
            engine,
            schemas,
            secrets=stored.secrets,
            clock=clock,
            has_links=settings.public_url is not None,
        ),
        executions=executions,
        triggers=triggers,
        jobs=assemble_jobs(database, stores, executions, triggers, usage=usage, clock=clock),
        callbacks=assemble_callbacks(
            stores,
            engine,
            vault=vault,
            http=http,
            mailer=mailer,
            clock=clock,
            metrics=metrics,
            public_url=settings.public_url,
        ),
        # The streams are opened by the application, which is built from the services.
        operation=assemble_operation(
            settings, database, stores, engine, clock=clock, streams=lambda: api.streams.count
        ),
    )
    token_file = settings.data_dir / SETUP_TOKEN_FILE
    setup = FirstAccount(services.accounts, clock, on_done=lambda: token_file.unlink(missing_ok=True))
    readiness = Readiness(engine.dispatcher, database, engine.processes)
    api = assemble_api(
        settings,
        services,
        stores,
        setup=setup,
        readiness=readiness,
        broadcast=engine.broadcast,
        clock=clock,
        metrics=metrics,
        exporters=exporters,
    )
    add_gauges(
        metrics,
        dispatcher=engine.dispatcher,
        advancing=engine.advancing,
        database=database,
        sandbox=sandbox,
        processes=engine.processes,
        settings=settings,
        clock=clock,
    )
    metrics.gauge(
        "flowrunner_sockets_open", "Open WebSockets, event streams and waiting requests.", lambda: api.streams.count
    )
    metrics.gauge(
        "flowrunner_standby", "1 while another server is active and this one waits.", lambda: readiness.is_standby
    )
    add_readiness(metrics, readiness)
    return Program(
        app=api.app,
        services=services,
        setup=setup,
        streams=api.streams,
        broadcast=engine.broadcast,
        dispatcher=engine.dispatcher,
        advancing=engine.advancing,
        processes=engine.processes,
        dispatch_jobs=engine.dispatch_jobs,
        deps=engine.deps,
        database=database,
        clock=clock,
        vault=vault,
        rotator=stored.rotator,
        token_uses=uses,
        readiness=readiness,
        metrics=metrics,
        early_refusals=api.early_refusals,
    )
