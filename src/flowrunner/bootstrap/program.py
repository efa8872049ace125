"""The parts of the running program, and their assembly."""

from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI

from flowrunner.api.http.early_refusals import EarlyRefusals
from flowrunner.api.open_streams import OpenStreams
from flowrunner.bootstrap.accounts import assemble_accounts
from flowrunner.bootstrap.api import assemble_api
from flowrunner.bootstrap.authentication import LoginParts, assemble_logins
from flowrunner.bootstrap.callbacks import assemble_callbacks
from flowrunner.bootstrap.dispatching import Dispatch
from flowrunner.bootstrap.engine import EngineParts, assemble_engine
from flowrunner.bootstrap.executions import assemble_executions, assemble_jobs
from flowrunner.bootstrap.flows import assemble_flows
from flowrunner.bootstrap.operation import assemble_operation
from flowrunner.bootstrap.readiness import Readiness
from flowrunner.bootstrap.resources import Resources
from flowrunner.bootstrap.telemetry import add_gauges, add_readiness
from flowrunner.bootstrap.triggers import assemble_triggers
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.engine_processes import StartProcess
from flowrunner.metrics import Metrics
from flowrunner.security.rotation import FileKeyRotator
from flowrunner.security.vault import AesVault
from flowrunner.services.bundle import Services
from flowrunner.services.setup import FirstAccount
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.tokens import TokenUses
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.database import Database

SETUP_TOKEN_FILE: Final = "setup-token"  # noqa: S105 # a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The parts that are needed to start and stop the program."""

    app: FastAPI
    services: Services
    setup: FirstAccount
    streams: OpenStreams
    engine: EngineParts
    database: Database
    clock: SystemClock
    vault: AesVault
    rotator: FileKeyRotator
    token_uses: TokenUses
    readiness: Readiness
    metrics: Metrics
    early_refusals: EarlyRefusals


def assemble(opened: Resources, dispatch: Dispatch, start_process: StartProcess | None) -> Program:
    """Return the parts of the program; each is built from those before it."""
    settings, stored, stores = opened.settings, opened.stored, opened.stores
    clock, metrics = opened.clock, opened.metrics
    uses = TokenUses(stores.tokens.note_uses)
    engine = assemble_engine(opened, dispatch, start_process)
    usage = UsageLimits(stores.usage, engine.limits, clock)
    executions = assemble_executions(opened, engine, usage)
    engine.deps.connect(links=engine.dispatcher, flows=SubFlowExecutions(executions.executions, stores.flows))
    triggers = assemble_triggers(opened, engine, executions.executions, usage)
    logins = LoginParts.of(opened)
    services = Services.of(
        logins=assemble_logins(opened, uses, logins),
        accounts=assemble_accounts(opened, executions.executions, engine.limits, logins),
        flows=assemble_flows(opened, engine),
        executions=executions,
        triggers=triggers,
        jobs=assemble_jobs(opened, executions, triggers, usage),
        callbacks=assemble_callbacks(opened, engine),
        # The streams are opened by the application, which is built from the services.
        operation=assemble_operation(opened, engine, streams=lambda: api.streams.count),
    )
    token_file = settings.data_dir / SETUP_TOKEN_FILE
    setup = FirstAccount(services.accounts, clock, on_done=lambda: token_file.unlink(missing_ok=True))
    readiness = Readiness(engine.dispatcher, stored.database, engine.processes)
    api = assemble_api(opened, services, setup, readiness, engine.broadcast)
    add_gauges(
        metrics,
        dispatcher=engine.dispatcher,
        advancing=engine.advancing,
        database=stored.database,
        sandbox=opened.sandbox,
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
        engine=engine,
        database=stored.database,
        clock=clock,
        vault=stored.vault,
        rotator=stored.rotator,
        token_uses=uses,
        readiness=readiness,
        metrics=metrics,
        early_refusals=api.early_refusals,
    )
