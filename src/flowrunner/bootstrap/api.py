"""The application that serves requests and live events, and its assembly."""

from dataclasses import dataclass

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
from flowrunner.bootstrap.readiness import Readiness
from flowrunner.bootstrap.resources import Resources
from flowrunner.broadcast import LocalBroadcast
from flowrunner.security.memory_room import FairBodies
from flowrunner.services.bundle import Services
from flowrunner.services.setup import FirstAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    app: FastAPI
    streams: OpenStreams
    early_refusals: EarlyRefusals


def assemble_api(
    opened: Resources, services: Services, setup: FirstAccount, readiness: Readiness, broadcast: LocalBroadcast
) -> ApiParts:
    settings, stores, clock, metrics = opened.settings, opened.stores, opened.clock, opened.metrics
    streams = OpenStreams(services, clock, most=settings.max_sockets, most_of_account=settings.account_sockets)
    services.known_callers.on_end(streams.end_sessions, on_workspace_change=streams.revalidate_workspace)
    feed, browser = EventFeed(stores.journal, broadcast), Browser(settings.public_url)
    early_refusals = EarlyRefusals(
        services.executions.full,
        on_request=metrics.requests.count,
        refused=metrics.refused,
        is_behind_tls=browser.is_secure,
    )
    app = build_app(
        AppState(
            services=services,
            clock=clock,
            setup=setup,
            readiness=readiness,
            metrics=metrics.text,
            metrics_token=settings.metrics_token,
            refused=metrics.refused,
            browser=browser,
            body_room=FairBodies(),
            message_room=FairBodies(),
            streams=streams,
            feed=feed,
            start_refused=early_refusals.note,
        ),
        Live(services, feed, ExecutionFeed(stores.executions, broadcast), streams),
        proxies=Proxies(settings.trusted_proxies),
        hosts=Hosts(settings.public_url, settings.allowed_hosts),
        on_request=metrics.requests.count,
        reads_traces=opened.exporters is not None and opened.exporters.spans is not None,
    )
    return ApiParts(app=app, streams=streams, early_refusals=early_refusals)
