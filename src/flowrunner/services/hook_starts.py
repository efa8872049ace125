"""Starts of executions by requests to webhook triggers: `when`, `dedupe` and the input are evaluated here."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from flowrunner.bounded_json import canonical_json
from flowrunner.domain.account import Caller
from flowrunner.domain.causes import DEPTH_HEADER, Hook
from flowrunner.domain.errors import FlowRunnerError, NotFound, Unavailable, invalid
from flowrunner.domain.expression import ExpressionFailed, is_true
from flowrunner.domain.flow import Flow
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.triggers import Trigger, TriggerId, WebhookTrigger
from flowrunner.domain.values import JSON, MOST_KEY_CHARACTERS, ExecutionId, left_after, rfc3339
from flowrunner.domain.verification import Scheme
from flowrunner.ports.clock import Clock
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, HookState, HookStore
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.triggers import HookTrigger, TriggerFire, TriggerHasMoved
from flowrunner.services.chain_depth import MAX_DEPTH, TOO_DEEP, depth_in
from flowrunner.services.executions import Executions, StartedExecution, StartRequest
from flowrunner.services.trigger_values import FiredTrigger

logger = structlog.get_logger()

_VALUES: Final = ("body", "headers", "query")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHook:
    """An armed webhook trigger whose sender is verified."""

    trigger: HookTrigger
    flow: Flow
    written: Trigger
    spec: WebhookTrigger
    scheme: Scheme
    replay_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookOutcome:
    """The outcome of a request.

    Attributes:
        started: The execution, or the earlier one of a repeat; None if `when` is false, or the start is left.
        is_left: The request is stored, and starts later: after a pause of the installation, or an outage.
    """

    delivery_id: HookDeliveryId | None
    started: StartedExecution | None
    is_left: bool = False


class HookStarts:
    def __init__(
        self,
        store: HookStore,
        executions: Executions,
        sandbox: Sandbox,
        clock: Clock,
        *,
        on_outcome: Callable[[str], None],
    ) -> None:
        """
        Args:
            on_outcome: Called with `started`, `skipped`, `repeated` or `failed`.
        """
        self._store = store
        self._executions = executions
        self._sandbox = sandbox
        self._clock = clock
        self._count = on_outcome
        # Writes that no answer waits for.
        self._settling: dict[HookDeliveryId, asyncio.Task[bool]] = {}

    async def store_and_start(
        self, hook: OpenHook, delivery: HookDelivery, request: Mapping[str, JSON], encoded: bytes, *, id: ExecutionId
    ) -> HookOutcome | None:
        """Store a request together with the start of its execution; return None if neither was done.

        Without code the start takes no longer than storing the request, so that one transaction is enough for both.
        """
        try:
            outcome = await self._start(hook, delivery, request, id=id, by=None, is_new=True, encoded=encoded)
        except FlowRunnerError:
            # Starting the stored request raises the error again.
            return None
        if outcome.started is None or outcome.started.is_repeat:
            return None
        self._count("started")
        return outcome

    async def start_stored(
        self,
        hook: OpenHook,
        delivery: HookDelivery,
        request: Mapping[str, JSON],
        *,
        id: ExecutionId,
        by: Caller | None = None,
        is_new: bool = False,
    ) -> HookOutcome:
        """Start the execution of a stored request. Raises: as `IncomingHooks.receive`."""
        try:
            outcome = await self._start(hook, delivery, request, id=id, by=by, is_new=is_new)
        except FlowRunnerError as error:
            # What becomes of a replay changes nothing of the delivery.
            if by is None and not isinstance(error, Unavailable):
                self.settle(replace(delivery, state="failed", execution_id=None, error=str(error)[:500]))
            self._count("failed")
            raise
        started = outcome.started
        state: HookState = "skipped" if started is None else "repeated" if started.is_repeat else "started"
        self._count(state)
        if by is None and state != "started":
            self.settle(replace(delivery, state=state, execution_id=None if started is None else started.id))
        return outcome

    def settle(self, delivery: HookDelivery) -> None:
        """Record what became of a request, without waiting. If that is lost, the list finds the execution itself."""

        async def write() -> bool:
            try:
                await self._store.settle(delivery)
            except Unavailable as failure:
                logger.warning("hook.not_settled", delivery=delivery.id, reason=str(failure))
                return False
            finally:
                # A repeat of the message may be recorded by now.
                if self._settling.get(delivery.id) is asyncio.current_task():
                    del self._settling[delivery.id]
            return True

        self._settling[delivery.id] = asyncio.create_task(write(), name=f"settle {delivery.id}")

    async def is_settled(self, id: HookDeliveryId) -> bool:
        """Wait for what is being recorded of a request; return False if it was lost."""
        settling = self._settling.get(id)
        # Shielded: others may wait for the same.
        return settling is None or await asyncio.shield(settling)

    async def _start(
        self,
        hook: OpenHook,
        delivery: HookDelivery,
        request: Mapping[str, JSON],
        *,
        id: ExecutionId,
        by: Caller | None,
        is_new: bool,
        encoded: bytes | None = None,
    ) -> HookOutcome:
        """Start an execution.

        Args:
            encoded: The request, if it is to be stored with the start.

        Raises: as `start_stored`.
        """
        trigger, spec = hook.trigger, hook.spec
        values = {"at": rfc3339(delivery.received_at), **{name: request[name] for name in _VALUES}}
        depth = depth_in(request["headers"])
        if depth > MAX_DEPTH:
            raise invalid(DEPTH_HEADER, TOO_DEEP)
        config = await self._executions.config_of(hook.flow, trigger.workspace_id)
        fired = FiredTrigger(
            trigger=hook.written,
            flow=hook.flow,
            values=values,
            config=config,
            workspace_id=trigger.workspace_id,
            sandbox=self._sandbox,
        )
        if spec.when is not None and not is_true(await _value("when", spec.when, fired)):
            return HookOutcome(delivery_id=delivery.id, started=None)
        key = None if by is not None else await _key(hook, delivery.id, fired)
        asked = StartRequest(
            workspace_id=trigger.workspace_id,
            flow_id=trigger.flow_id,
            revision_id=trigger.revision_id,
            input=await fired.input(),
            labels=await fired.labels(),
            cause=Hook(
                trigger=trigger.id,
                name=trigger.name,
                delivery=delivery.id,
                by=None if by is None else by.account_id,
                depth=depth,
            ),
            caller=by,
            # The request is noted as started with the start itself.
            fire=TriggerFire(
                trigger_id=trigger.id,
                at=self._clock.now() if encoded is None else delivery.received_at,
                delivery=None if by is not None else delivery.id,
                request=encoded,
            ),
            idempotency_key=key,
            is_new=is_new and spec.dedupe is None,
            # It was read a moment ago.
            current=None if encoded is None else trigger.flow,
            config=config,
            id=id,
        )
        return HookOutcome(delivery_id=delivery.id, started=await self._accept(asked))

    async def _accept(self, asked: StartRequest) -> StartedExecution:
        try:
            return await self._executions.accept(asked)
        except TriggerHasMoved:
            # Its flow has just been deleted.
            raise NotFound("trigger") from None


async def _key(hook: OpenHook, delivery_id: HookDeliveryId, fired: FiredTrigger) -> str:
    """Return the idempotency key of the start. Raises: as `_value`."""
    dedupe = hook.spec.dedupe
    value = None if dedupe is None else await _value("dedupe", dedupe, fired)
    if value is None:
        # The id of the delivery is made from that of the message, if the message has one.
        return key_of(hook.trigger.id, delivery_id)
    if left_after(value, MOST_KEY_CHARACTERS) < 0:
        message = f"The trigger's 'dedupe' is longer than {MOST_KEY_CHARACTERS} characters for this request"
        hint = "use only the parts that distinguish requests, such as an id"
        raise invalid("dedupe", message, code="too_long", hint=hint)
    # Senders may repeat an object with its keys in another order.
    return key_of(hook.trigger.id, canonical_json(value).decode())


async def _value(field: str, template: Prepared, fired: FiredTrigger) -> JSON:
    """Raises: InvalidInput if the expression has no value; Unavailable."""
    try:
        return await fired.value(template)
    except ExpressionFailed as error:
        raise invalid(field, f"The trigger's '{field}' has no value for this request: {error}") from None


def has_code(hook: OpenHook) -> bool:
    """Return whether the sandbox has to evaluate something before the start."""
    own = (hook.written.input, hook.written.labels, hook.spec.when, hook.spec.dedupe)
    return any(template is not None and template.codes for template in own)


def key_of(id: TriggerId, text: str) -> str:
    """Return the idempotency key of a request. The blank separates it from the keys of clients."""
    return f"{id} {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"
