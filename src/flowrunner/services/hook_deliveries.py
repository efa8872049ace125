"""Stored requests to webhook triggers: lists, replays, recovery after a crash, and their retention."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, FlowRunnerError, NotFound, Unavailable
from flowrunner.domain.triggers import TriggerId, WebhookTrigger
from flowrunner.domain.values import JSON
from flowrunner.domain.verification import Unverified
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.clock import Clock
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, HookStore, Refusals
from flowrunner.ports.page import Page
from flowrunner.ports.triggers import HookTrigger, TriggerStore, TriggerView
from flowrunner.services.executions import Executions
from flowrunner.services.fair_batches import handle_fairly
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_starts import HookOutcome, HookStarts, OpenHook
from flowrunner.services.short_commits import ShortDeletions, commit_in_portions

logger = structlog.get_logger()

_KEPT_FOR: Final = timedelta(days=7)
_MOST_KEPT: Final = 1000
# Ids of requests that are read together before these are deleted.
_FOUND_AT_ONCE: Final = 5000
# A message with an id of its own is accepted up to five minutes before or after the time of the server. Its id is
# remembered for longer than that.
_REPEATED_FOR: Final = timedelta(minutes=15)
# A request that has not been started after this is one of a server that has ended.
_GRACE: Final = timedelta(minutes=1)
_PORTION: Final = 500
_CONCURRENT: Final = 16
_CONCURRENT_OF_A_WORKSPACE: Final = 4


class HookDeliveries:
    def __init__(
        self,
        store: HookStore,
        triggers: TriggerStore,
        starts: HookStarts,
        *,
        library: CompiledFlows,
        executions: Executions,
        refused: RefusedHooks,
        clock: Clock,
    ) -> None:
        self._store = store
        self._triggers = triggers
        self._starts = starts
        self._library = library
        self._executions = executions
        self._refused = refused
        self._clock = clock
        self._slots = FairSlots(total=_CONCURRENT, share=_CONCURRENT_OF_A_WORKSPACE, sure=1)

    async def page(self, caller: Caller, id: TriggerId, *, page: Page) -> tuple[Sequence[HookDelivery], int, Refusals]:
        """Return a page of deliveries, the newest first, the total, and the refused requests. Raises: NotFound."""
        await self._triggers.get(caller.workspace_id, id)
        # A server that can only read at the moment still lists them.
        with contextlib.suppress(Unavailable):
            await self._refused.write()
        found, total = await self._store.page(caller.workspace_id, id, page=page)
        return found, total, await self._store.refusals(id)

    async def get(
        self, caller: Caller, id: TriggerId, delivery_id: HookDeliveryId
    ) -> tuple[HookDelivery, Mapping[str, JSON]]:
        """Return a delivery and its request. Raises: NotFound; Conflict if it cannot be read."""
        await self._triggers.get(caller.workspace_id, id)
        return await self._store.get(caller.workspace_id, id, delivery_id)

    async def replay(self, caller: Caller, id: TriggerId, delivery_id: HookDeliveryId) -> HookOutcome:
        """Start another execution with a stored request; `when` is evaluated again, `dedupe` is not.

        Raises: NotFound; Conflict if the trigger starts nothing; as `IncomingHooks.receive`.
        """
        trigger = await self._triggers.get(caller.workspace_id, id)
        delivery, request = await self._store.get(caller.workspace_id, id, delivery_id)
        hook = await self._armed(trigger)
        new = self._executions.new_execution_id()
        return await self._starts.start_stored(hook, delivery, request, id=new, by=caller)

    async def _armed(self, trigger: TriggerView) -> OpenHook:
        """Return a trigger whose sender was verified before. Raises: NotFound; Conflict if it starts nothing."""
        if trigger.type != "webhook":
            raise Conflict("Only a webhook has requests")
        if not trigger.is_armed:
            raise Conflict(f"The trigger is {trigger.state}, and starts nothing")
        flow = await self._library.get(trigger.workspace_id, trigger.revision_id)
        written = flow.triggers.get(trigger.name)
        if written is None or not isinstance(written.spec, WebhookTrigger):
            raise NotFound("trigger")
        found = HookTrigger(
            id=trigger.id,
            workspace_id=trigger.workspace_id,
            flow_id=trigger.flow_id,
            name=trigger.name,
            revision_id=trigger.revision_id,
            is_armed=trigger.is_armed,
        )
        return OpenHook(
            trigger=found, flow=flow, written=written, spec=written.spec, scheme=Unverified(), replay_id=None
        )

    async def start_received(self) -> None:
        """Start the requests whose server ended before it could, or record why they start nothing."""
        before = self._clock.now() - _GRACE
        await handle_fairly(
            lambda outside: self._store.received(before=before, limit=_PORTION, outside=outside),
            self._recover,
            key=lambda delivery: delivery.id,
            workspace=lambda delivery: delivery.workspace_id,
            slots=self._slots,
        )

    async def _recover(self, delivery: HookDelivery) -> None:
        """Start a request, or record why it starts nothing. In an outage it stays as it is, for the next run."""
        try:
            trigger = await self._triggers.get(delivery.workspace_id, delivery.trigger_id)
            hook = await self._armed(trigger)
            _, request = await self._store.get(delivery.workspace_id, delivery.trigger_id, delivery.id)
        except Unavailable:
            return
        except FlowRunnerError as error:
            reason = f"The server ended before it could start this request. {error}"[:500]
            self._starts.settle(replace(delivery, state="failed", execution_id=None, error=reason))
            await self._starts.is_settled(delivery.id)
            return
        try:
            await self._starts.start_stored(hook, delivery, request, id=self._executions.new_execution_id())
        except Unavailable:
            return
        except FlowRunnerError as error:
            logger.warning("hook.not_started", delivery=delivery.id, reason=str(error))
        await self._starts.is_settled(delivery.id)

    async def purge(self) -> None:
        """Delete requests that are older than a week, beyond the newest of their trigger, or of one that is gone."""
        now = self._clock.now()
        await commit_in_portions(lambda: self._store.purge_refusals(limit=_FOUND_AT_ONCE))
        deletions = ShortDeletions(self._store.delete)
        while ids := await self._store.old(before=now - _KEPT_FOR, limit=_FOUND_AT_ONCE):
            await deletions.run(ids)
        after: TriggerId | None = TriggerId("")
        while after is not None:
            ids, after = await self._store.surplus(
                after=after, recent=now - _REPEATED_FOR, most=_MOST_KEPT, limit=_FOUND_AT_ONCE
            )
            await deletions.run(ids)
