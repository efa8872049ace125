"""The resources of a process, which are open before the parts of the program are assembled."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowrunner.bootstrap.data import OpenStorage, open_data
from flowrunner.bootstrap.engine_process import limits_of
from flowrunner.bootstrap.location import own_servers
from flowrunner.bootstrap.stores import Stores
from flowrunner.bootstrap.telemetry import request_tracer
from flowrunner.clock import SystemClock
from flowrunner.mail import SmtpMailer
from flowrunner.metrics import Metrics
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.settings import Settings

if TYPE_CHECKING:
    # The packages need not be installed.
    from flowrunner.otel.export import Exporters


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The settings of a process, and what it has opened.

    Attributes:
        http: The client of flows and callbacks.
        sign_on_http: The client of the providers of single sign-on.
        mailer: Sends e-mails; None without a server for them.
    """

    settings: Settings
    stored: OpenStorage
    stores: Stores
    clock: SystemClock
    metrics: Metrics
    schemas: RustSchemas
    hasher: Argon2Hasher
    http: EgressClients
    sign_on_http: EgressClients
    mailer: SmtpMailer | None
    sandbox: JailedSandbox
    exporters: "Exporters | None"


def servers_of(settings: Settings, exporters: "Exporters | None") -> frozenset[tuple[str, int]]:
    """Return the servers of this process, which flows may not connect to."""
    return own_servers(settings) | (exporters.servers if exporters is not None else frozenset())


def sign_on_policy(settings: Settings, own_ports: frozenset[int]) -> EgressPolicy:
    """Return where the providers of single sign-on may be."""
    # An operator names them, and may have them in networks that are closed to flows.
    return EgressPolicy(
        settings.sign_on_allow,
        own_ports,
        own_servers(settings),
        who="Single sign-on",
        opened_by="FLOWRUNNER_SIGN_ON_ALLOW",
    )


@contextlib.asynccontextmanager
async def open_resources(
    settings: Settings, *, own_ports: frozenset[int], is_standby: bool, exporters: "Exporters | None"
) -> AsyncIterator[Resources]:
    """Open the resources of a server or a worker.

    Raises:
        FlowRunnerError: If the data directory, the keys or the database are unusable.
    """
    clock, metrics = SystemClock(), Metrics()
    async with open_data(settings, clock=clock, metrics=metrics, is_standby=is_standby) as stored:
        opened = Resources(
            settings=settings,
            stored=stored,
            stores=Stores.of(stored.database, limits_of(settings)),
            clock=clock,
            metrics=metrics,
            schemas=RustSchemas(),
            hasher=Argon2Hasher(),
            http=EgressClients(
                EgressPolicy(settings.egress_allow, own_ports, servers_of(settings, exporters)),
                request_tracer(exporters, stored.vault),
            ),
            sign_on_http=EgressClients(sign_on_policy(settings, own_ports)),
            mailer=None if settings.smtp_url is None else SmtpMailer.of(settings.smtp_url),
            sandbox=JailedSandbox(settings.script_workers),
            exporters=exporters,
        )
        async with contextlib.AsyncExitStack() as closing:
            closing.callback(opened.hasher.close)
            closing.push_async_callback(opened.sign_on_http.close)
            closing.push_async_callback(opened.http.close)
            closing.push_async_callback(opened.sandbox.close)
            yield opened
