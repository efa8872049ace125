"""The services around callbacks, and their assembly."""

import random

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.resources import Resources
from flowrunner.services.bundle import CallbackServices
from flowrunner.services.callback_deliveries import CallbackDeliveries
from flowrunner.services.callback_messages import CallbackMessages
from flowrunner.services.callbacks import Callbacks


def assemble_callbacks(opened: Resources, engine: EngineParts) -> CallbackServices:
    settings, stores, vault, clock = opened.settings, opened.stores, opened.stored.vault, opened.clock
    deliveries = CallbackDeliveries(
        stores.callbacks,
        stores.callback_deliveries,
        CallbackMessages(
            stores.executions, stores.journal, stores.flows, public_url=settings.public_url, traces=engine.deps.traces
        ),
        vault,
        opened.http,
        mailer=opened.mailer,
        clock=clock,
        draw=random.SystemRandom().random,
        on_attempt=opened.metrics.callback_attempted,
    )
    return CallbackServices(
        callbacks=Callbacks(
            stores.callbacks,
            stores.callback_deliveries,
            stores.flows,
            deliveries,
            vault,
            clock=clock,
            sends_mail=opened.mailer is not None,
            refusal=opened.http.policy.refusal,
        ),
        callback_deliveries=deliveries,
    )
