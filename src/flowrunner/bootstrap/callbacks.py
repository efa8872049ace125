"""The services around callbacks, and their assembly."""

import random

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.stores import Stores
from flowrunner.clock import SystemClock
from flowrunner.mail import SmtpMailer
from flowrunner.metrics import Metrics
from flowrunner.security.egress import EgressClients
from flowrunner.security.vault import AesVault
from flowrunner.services.bundle import CallbackServices
from flowrunner.services.callback_deliveries import CallbackDeliveries
from flowrunner.services.callback_messages import CallbackMessages
from flowrunner.services.callbacks import Callbacks


def assemble_callbacks(
    stores: Stores,
    engine: EngineParts,
    *,
    vault: AesVault,
    http: EgressClients,
    mailer: SmtpMailer | None,
    clock: SystemClock,
    metrics: Metrics,
    public_url: str | None,
) -> CallbackServices:
    deliveries = CallbackDeliveries(
        stores.callbacks,
        CallbackMessages(
            stores.executions, stores.journal, stores.flows, public_url=public_url, traces=engine.deps.traces
        ),
        vault,
        http,
        mailer,
        clock=clock,
        draw=random.SystemRandom().random,
        on_attempt=metrics.callback_attempted,
    )
    return CallbackServices(
        callbacks=Callbacks(
            stores.callbacks,
            stores.flows,
            deliveries,
            vault,
            clock,
            sends_mail=mailer is not None,
            refusal=http.policy.refusal,
        ),
        callback_deliveries=deliveries,
    )
