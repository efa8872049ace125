"""Requests of verified senders to webhook triggers.

After `hook_senders` has checked the trigger's id and the proof of the sender, it is checked whether the request was
seen before. Then it is stored, and only then code is evaluated with it: `when`, `dedupe` and the input.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from flowrunner.domain.errors import FlowRunnerError, NotFound, Unavailable
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ids import new_id
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionReader
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, HookStore
from flowrunner.ports.secrets import Vault
from flowrunner.retrying import retry, rising
from flowrunner.services.executions import Executions, StartedExecution
from flowrunner.services.hook_requests import HookRequest, trigger_values
from flowrunner.services.hook_starts import HookOutcome, HookStarts, OpenHook, has_code, key_of
from flowrunner.services.usage import UsageLimits
from flowrunner.threads import LONG_BYTES, on_thread_if

logger = structlog.get_logger()

# Attempts to store a request, and the delays after those that failed.
_MOST_ATTEMPTS: Final = 3
_OUTAGE_DELAY: Final = rising(0.1, 1.0)


class IncomingHooks:
    def __init__(
        self,
        store: HookStore,
        starts: HookStarts,
        *,
        executions: Executions,
        reader: ExecutionReader,
        vault: Vault,
        usage: UsageLimits,
        clock: Clock,
        on_outcome: Callable[[str], None],
    ) -> None:
        """
        Args:
            on_outcome: Called with `repeated` or `started`, for requests that are not given to `starts`.
        """
        self._store = store
        self._starts = starts
        self._executions = executions
        self._reader = reader
        self._vault = vault
        self._usage = usage
        self._clock = clock
        self._count = on_outcome

    def new_delivery_id(self) -> HookDeliveryId:
        return HookDeliveryId(new_id("hook", self._clock.now()))

    async def receive(
        self, hook: OpenHook, request: HookRequest, id: ExecutionId, delivery_id: HookDeliveryId
    ) -> HookOutcome:
        """Store a request and start its execution, unless it is a repeat or `when` is false.

        Args:
            id: The id of the execution, of `Executions.new_execution_id`.
            delivery_id: The id of the stored request, of `new_delivery_id`, unless the message has one.

        Raises:
            NotFound: The flow was deleted, or moved to another workspace, since the trigger was opened. If it was
                moved, the same ids start one execution there.
            InvalidInput: The body is not what its type says, or the flow rejects the input.
            FlowRunnerError: As `Executions.accept`.
        """
        trigger, now = hook.trigger, self._clock.now()
        if hook.replay_id is not None:
            delivery_id = _id_of_message(trigger.id, hook.replay_id)
            key = key_of(trigger.id, delivery_id)
            before = await self._executions.accepted_before(trigger.workspace_id, key, None)
            if before is not None:
                self._count("repeated")
                return HookOutcome(delivery_id=None, started=before)
        await self._usage.check_stored(trigger.workspace_id)
        values, encoded = await self._read(hook, request)
        delivery = HookDelivery(
            id=delivery_id,
            workspace_id=trigger.workspace_id,
            trigger_id=trigger.id,
            received_at=now,
            state="received",
            execution_id=id,
        )
        if len(encoded) <= LONG_BYTES and not has_code(hook):
            outcome = await self._starts.store_and_start(hook, delivery, values, encoded, id=id)
            if outcome is not None:
                return outcome
        if not await self._add(delivery, encoded):
            return await self._receive_again(hook, delivery_id, id)
        return await self._start_stored(hook, delivery, values, id=id, is_new=True)

    async def _add(self, delivery: HookDelivery, request: bytes) -> bool:
        """Store a request; return False if it is stored already. Raises: Unavailable.

        An attempt that failed may have stored it. Its sender would then start another execution by repeating it, so the
        attempt is repeated first, with the same id.
        """

        def give_up(error: Exception, attempts: int) -> None:
            if attempts == _MOST_ATTEMPTS:
                raise error

        return await retry(
            lambda: self._store.add(delivery, request), on=Unavailable, delay=_OUTAGE_DELAY, on_failure=give_up
        )

    async def _start_stored(
        self,
        hook: OpenHook,
        delivery: HookDelivery,
        request: Mapping[str, JSON],
        *,
        id: ExecutionId,
        is_new: bool = False,
    ) -> HookOutcome:
        """Start the execution of a stored request, or leave it to `HookDeliveries`. Raises: as `receive`."""
        try:
            return await self._starts.start_stored(hook, delivery, request, id=id, is_new=is_new)
        except FlowRunnerError as error:
            has_failed = not isinstance(error, Unavailable) and await self._starts.is_settled(delivery.id)
            if delivery.state != "received" or has_failed:
                raise
            # It remains stored as received, and starts later. A sender that is told to repeat it would start one more
            # execution each time.
            return HookOutcome(delivery_id=delivery.id, started=None, is_left=True)

    async def _receive_again(self, hook: OpenHook, delivery_id: HookDeliveryId, id: ExecutionId) -> HookOutcome:
        """Return the outcome of a message that is stored already; one that has started nothing is tried again.

        The stored request counts, because the sender may not have signed all that `dedupe` reads.
        """
        workspace_id = hook.trigger.workspace_id
        delivery, request = await self._store.get(workspace_id, hook.trigger.id, delivery_id)
        if delivery.state in ("received", "failed"):
            return await self._start_stored(hook, delivery, request, id=id)
        # The commit that stored this request with its start may have been reported as failed.
        is_repeat = delivery.execution_id != id
        self._count("repeated" if is_repeat else "started")
        if delivery.execution_id is None:
            return HookOutcome(delivery_id=delivery_id, started=None)
        try:
            found = await self._reader.get(workspace_id, delivery.execution_id)
        except NotFound:
            # Its execution was deleted since.
            return HookOutcome(delivery_id=delivery_id, started=None)
        return HookOutcome(delivery_id=delivery_id, started=StartedExecution.of(found, is_repeat=is_repeat))

    async def _read(self, hook: OpenHook, request: HookRequest) -> tuple[Mapping[str, JSON], bytes]:
        """Return the values of a request without secrets, and their JSON text. Raises: InvalidInput."""
        clean = request.without_proof(hook.scheme)
        size = len(request.body)
        values = await on_thread_if(size, trigger_values, clean)
        redacted: Any = {**values, "method": request.method}
        encoded = await on_thread_if(size, msgspec.json.encode, redacted)
        redactor = await self._vault.redactor(hook.trigger.workspace_id)
        # Almost no request has a secret, and a look at its text is enough for that.
        if size > LONG_BYTES or redactor.found_in(encoded):
            redacted = await redactor.redact_soon(redacted)
            encoded = await on_thread_if(size, msgspec.json.encode, redacted)
        return redacted, encoded


def _id_of_message(id: TriggerId, replay_id: str) -> HookDeliveryId:
    """Return the id of the delivery of a message, which is the same whenever it arrives."""
    digest = hashlib.sha256(f"{id} {replay_id}".encode(errors="surrogateescape")).hexdigest()
    return HookDeliveryId(f"hook-{digest[:32]}")
