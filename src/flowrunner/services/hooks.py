"""Webhook triggers: requests of other servers that start executions.

A request is checked in this order: the trigger's id, the proof of the sender, and whether it was seen before. Then it
is stored, and only then code is evaluated with it: `when`, `dedupe` and the input.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import act
from flowrunner.domain.causes import DEPTH_HEADER, Hook
from flowrunner.domain.errors import Conflict, FlowRunnerError, NotFound, Unavailable, invalid
from flowrunner.domain.expression import ExpressionFailed, is_true, render
from flowrunner.domain.flow import Flow
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.triggers import Trigger, TriggerId, Verify, WebhookTrigger
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId, rfc3339
from flowrunner.domain.verification import (
    GITHUB,
    NO_SECRET,
    Hmac,
    Rejected,
    Scheme,
    Slack,
    Standard,
    Stripe,
    Token,
    Unverified,
    Verified,
    verify,
)
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionDetail, ExecutionReader
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, HookState, HookStore, Refusals
from flowrunner.ports.page import Page
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.secrets import Vault
from flowrunner.ports.triggers import TriggerFire, TriggerHasMoved, TriggerStore, TriggerView
from flowrunner.services.chain_depth import MAX_DEPTH, TOO_DEEP, depth_in
from flowrunner.services.executions import Executions, StartedExecution, StartRequest
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_requests import HookRequest, challenge_of, trigger_values
from flowrunner.services.ids import new_id
from flowrunner.services.trigger_values import evaluate, input_of, labels_of
from flowrunner.services.usage import StoredBytes

logger = structlog.get_logger()

_KEPT_FOR: Final = timedelta(days=7)
MOST_KEPT: Final = 1000
_PURGE_BATCH: Final = 500
# Messages with an id of their own are accepted for five minutes around the time of the server, and known that long.
_REPEATED_FOR: Final = timedelta(minutes=15)
# A request that has not been started after this is one of a server that has ended.
_GRACE: Final = timedelta(minutes=1)
_PORTION: Final = 50
# A longer body is read and written on a thread.
_LONG_BYTES: Final = 64 * 1024
_NOBODY: Final = WorkspaceId("")
_STAND_IN: Final = "a secret that no sender has"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHook:
    """An armed webhook trigger whose sender is verified."""

    trigger: TriggerView
    flow: Flow
    written: Trigger
    spec: WebhookTrigger
    scheme: Scheme
    replay_id: str | None


@dataclass(frozen=True, slots=True)
class Challenge:
    """The text with which a sender wants to be answered."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookOutcome:
    """The outcome of a request.

    Attributes:
        started: The execution, or the earlier one of a repeat; None if `when` is false.
    """

    delivery_id: HookDeliveryId | None
    started: StartedExecution | None


class HookRefused(FlowRunnerError):
    """A request that is not accepted. Its sender learns nothing more, not even whether the trigger exists."""


class IncomingHooks:
    def __init__(
        self,
        store: HookStore,
        triggers: TriggerStore,
        *,
        library: CompiledFlows,
        executions: Executions,
        reader: ExecutionReader,
        vault: Vault,
        sandbox: Sandbox,
        refused: RefusedHooks,
        stored: StoredBytes,
        clock: Clock,
        on_outcome: Callable[[str], None],
    ) -> None:
        """
        Args:
            on_outcome: Called with `started`, `skipped`, `repeated`, `failed` or `refused`.
        """
        self._store = store
        self._triggers = triggers
        self._library = library
        self._executions = executions
        self._reader = reader
        self._vault = vault
        self._sandbox = sandbox
        self._refused = refused
        self._stored = stored
        self._clock = clock
        self._count = on_outcome
        # No request from before is left to start.
        self._recovered_until = datetime(1970, 1, 1, tzinfo=UTC)
        # Writes that no answer waits for.
        self._settling: set[asyncio.Task[None]] = set()

    # Requests

    async def open(self, token: str, request: HookRequest) -> OpenHook | Challenge:
        """Return the trigger of a URL if the request proves its sender. Raises: HookRefused; Unavailable."""
        trigger = await self._triggers.by_token(token)
        if trigger is None or not trigger.is_armed:
            # The same reads and sums as for a trigger that exists.
            await self._vault.reveal(_NOBODY, ())
            verify(Standard(), request.headers, request.body, secrets=[_STAND_IN], now=self._clock.now())
            self._count("refused")
            raise HookRefused
        flow = await self._library.get(trigger.workspace_id, trigger.revision_id)
        written = flow.triggers.get(trigger.name)
        if written is None or not isinstance(written.spec, WebhookTrigger):
            # The flow is being saved.
            raise HookRefused
        scheme = scheme_of(written.spec.verify)
        secrets = await self._secrets(trigger.workspace_id, written.spec.verify)
        verdict = self._verdict(scheme, request, secrets)
        is_verified = isinstance(verdict, Verified) and request.method == "POST"
        challenge = challenge_of(request, scheme, secrets, is_verified=is_verified)
        if challenge is not None:
            return Challenge(challenge)
        if not isinstance(verdict, Verified) or request.method != "POST":
            reason = verdict.reason if isinstance(verdict, Rejected) else f"The method is {request.method[:20]}"
            self._refused.add(trigger.id, reason, at=self._clock.now())
            logger.info(
                "hook.refused",
                trigger_id=trigger.id,
                workspace_id=trigger.workspace_id,
                flow_id=trigger.flow_id,
                # Another method is the sender's own word.
                reason=verdict.reason if isinstance(verdict, Rejected) else "The method is not POST",
            )
            self._count("refused")
            raise HookRefused
        return OpenHook(
            trigger=trigger,
            flow=flow,
            written=written,
            spec=written.spec,
            scheme=scheme,
            replay_id=verdict.replay_id,
        )

    def _verdict(self, scheme: Scheme, request: HookRequest, secrets: Sequence[str]) -> Verified | Rejected:
        if not secrets and not isinstance(scheme, Unverified):
            verify(scheme, request.headers, request.body, secrets=[_STAND_IN], now=self._clock.now())
            return NO_SECRET
        return verify(scheme, request.headers, request.body, secrets=secrets, now=self._clock.now())

    async def _secrets(self, workspace_id: WorkspaceId, wanted: Verify) -> Sequence[str]:
        names = {name for template in wanted.secrets for name in template.mentions.secrets}
        values = {"secrets": await self._vault.reveal(workspace_id, names)}
        found = []
        for template in wanted.secrets:
            if template.codes:
                # Nothing is evaluated before the sender is verified.
                continue
            try:
                value = render(template.template, values)
            except ExpressionFailed:
                continue
            if isinstance(value, str) and value:
                found.append(value)
        return found

    async def receive(self, hook: OpenHook, request: HookRequest, id: ExecutionId) -> HookOutcome:
        """Store a request and start its execution, unless it is a repeat or `when` is false.

        Args:
            id: The id of the execution, of `Executions.new_execution_id`.

        Raises: InvalidInput if the body is not what its type says, or the flow rejects the input; as
            `Executions.accept`.
        """
        trigger, now = hook.trigger, self._clock.now()
        delivery_id = HookDeliveryId(new_id("hook", now))
        if hook.replay_id is not None:
            delivery_id = _id_of_message(trigger.id, hook.replay_id)
            key = _key(trigger.id, delivery_id)
            before = await self._executions.accepted_before(trigger.workspace_id, key, None)
            if before is not None:
                self._count("repeated")
                return HookOutcome(delivery_id=None, started=before)
        await self._stored.check(trigger.workspace_id)
        values, encoded = await self._read(hook, request)
        delivery = HookDelivery(
            id=delivery_id,
            workspace_id=trigger.workspace_id,
            trigger_id=trigger.id,
            received_at=now,
            state="received",
            execution_id=id,
        )
        if len(encoded) <= _LONG_BYTES and not _has_code(hook):
            outcome = await self._start_at_once(hook, delivery, values, encoded, id=id)
            if outcome is not None:
                return outcome
        if not await self._store.add(delivery, encoded):
            return await self._receive_again(hook, delivery_id, id)
        return await self._run(hook, delivery, values, id=id, is_new=True)

    async def _start_at_once(
        self, hook: OpenHook, delivery: HookDelivery, request: Mapping[str, JSON], encoded: bytes, *, id: ExecutionId
    ) -> HookOutcome | None:
        """Store a request together with the start of its execution; return None if neither was done.

        Without code the start takes no longer than storing the request, so that one transaction is enough for both.
        """
        try:
            outcome = await self._start(hook, delivery, request, id=id, by=None, is_new=True, encoded=encoded)
        except FlowRunnerError:
            # The error is met again by what is stored.
            return None
        if outcome.started is None or outcome.started.is_repeat:
            return None
        self._count("started")
        return outcome

    async def _receive_again(self, hook: OpenHook, delivery_id: HookDeliveryId, id: ExecutionId) -> HookOutcome:
        """Return the outcome of a message that is stored already; one that has started nothing is tried again.

        The stored request counts, because the sender may not have signed all that `dedupe` reads.
        """
        workspace_id = hook.trigger.workspace_id
        delivery, request = await self._store.get(workspace_id, hook.trigger.id, delivery_id)
        if delivery.state in ("received", "failed"):
            return await self._run(hook, delivery, request, id=id)
        self._count("repeated")
        if delivery.execution_id is None:
            return HookOutcome(delivery_id=delivery_id, started=None)
        try:
            found = await self._reader.get(workspace_id, delivery.execution_id)
        except NotFound:
            # Its execution was deleted since.
            return HookOutcome(delivery_id=delivery_id, started=None)
        started = StartedExecution(
            id=found.id, flow_id=found.flow_id, status=found.status, created_at=found.started_at, is_repeat=True
        )
        return HookOutcome(delivery_id=delivery_id, started=started)

    async def _read(self, hook: OpenHook, request: HookRequest) -> tuple[Mapping[str, JSON], bytes]:
        """Return the values of a request without secrets, and their JSON text. Raises: InvalidInput."""
        clean = request.without_proof(hook.scheme)
        is_long = len(request.body) > _LONG_BYTES
        values = await asyncio.to_thread(trigger_values, clean) if is_long else trigger_values(clean)
        redacted: Any = {**values, "method": request.method}
        encoded = await asyncio.to_thread(msgspec.json.encode, redacted) if is_long else msgspec.json.encode(redacted)
        redactor = await self._vault.redactor(hook.trigger.workspace_id)
        # Almost no request has a secret, and a look at its text is enough for that.
        if is_long or redactor.found_in(encoded):
            redacted = await redactor.redact_soon(redacted)
            encoded = (
                await asyncio.to_thread(msgspec.json.encode, redacted) if is_long else msgspec.json.encode(redacted)
            )
        return redacted, encoded

    async def _run(
        self,
        hook: OpenHook,
        delivery: HookDelivery,
        request: Mapping[str, JSON],
        *,
        id: ExecutionId,
        by: Caller | None = None,
        is_new: bool = False,
    ) -> HookOutcome:
        """Start the execution of a stored request. Raises: as `receive`."""
        try:
            outcome = await self._start(hook, delivery, request, id=id, by=by, is_new=is_new)
        except FlowRunnerError as error:
            if not isinstance(error, Unavailable):
                self._settle(replace(delivery, state="failed", execution_id=None, error=str(error)[:500]))
            self._count("failed")
            raise
        started = outcome.started
        state: HookState = "skipped" if started is None else "repeated" if started.is_repeat else "started"
        self._count(state)
        if by is None and state != "started":
            self._settle(replace(delivery, state=state, execution_id=None if started is None else started.id))
        return outcome

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
        """Start an execution. Args: encoded: The request, if it is to be stored with the start. Raises: as `_run`."""
        trigger, spec = hook.trigger, hook.spec
        values = {"at": rfc3339(delivery.received_at), **{name: request[name] for name in _VALUES}}
        named = {"type": "webhook", "name": trigger.name, **values}
        depth = depth_in(request["headers"])
        if depth > MAX_DEPTH:
            raise invalid(DEPTH_HEADER, TOO_DEEP)
        if spec.when is not None and not is_true(await self._value("when", spec.when, hook, named)):
            return HookOutcome(delivery_id=delivery.id, started=None)
        key = None if by is not None else _key(trigger.id, delivery.id)
        if spec.dedupe is not None and by is None:
            # The id of a message that has one is the delivery's, of which there is one.
            dedupe = await self._value("dedupe", spec.dedupe, hook, named)
            key = key if dedupe is None else _key(trigger.id, msgspec.json.encode(dedupe).decode())
        input = await input_of(
            hook.written, hook.flow, values, workspace_id=trigger.workspace_id, sandbox=self._sandbox
        )
        labels = await labels_of(
            hook.written, hook.flow, values, workspace_id=trigger.workspace_id, sandbox=self._sandbox
        )
        started = await self._accept(
            StartRequest(
                workspace_id=trigger.workspace_id,
                flow_id=trigger.flow_id,
                revision_id=trigger.revision_id,
                input=input,
                labels=labels,
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
                id=id,
            )
        )
        return HookOutcome(delivery_id=delivery.id, started=started)

    async def _accept(self, asked: StartRequest) -> StartedExecution:
        try:
            return await self._executions.accept(asked)
        except TriggerHasMoved:
            # Its flow has just been deleted.
            raise NotFound("trigger") from None

    async def _value(self, field: str, template: Prepared, hook: OpenHook, values: Mapping[str, JSON]) -> JSON:
        """Raises: InvalidInput if the expression has no value; Unavailable."""
        workspace_id = hook.trigger.workspace_id
        try:
            return await evaluate(template, hook.flow, values, workspace_id=workspace_id, sandbox=self._sandbox)
        except ExpressionFailed as error:
            raise invalid(field, f"The trigger's '{field}' has no value for this request: {error}") from None

    def _settle(self, delivery: HookDelivery) -> None:
        """Record what became of a request, without waiting. If that is lost, the list finds the execution itself."""

        async def settle() -> None:
            try:
                await self._store.settle(delivery)
            except Unavailable as failure:
                logger.warning("hook.not_settled", delivery=delivery.id, reason=str(failure))

        task = asyncio.create_task(settle(), name=f"settle {delivery.id}")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def ended(self, hook: OpenHook, id: ExecutionId) -> ExecutionDetail:
        """Return an execution that the trigger has started. Raises: NotFound."""
        return await self._reader.get(hook.trigger.workspace_id, id)

    # Deliveries

    async def deliveries(
        self, caller: Caller, id: TriggerId, *, page: Page
    ) -> tuple[Sequence[HookDelivery], int, Refusals]:
        """Return a page of deliveries, the newest first, the total, and the refused requests. Raises: NotFound."""
        await self._triggers.get(caller.workspace_id, id)
        await self._refused.write()
        found, total = await self._store.page(caller.workspace_id, id, page=page)
        return found, total, await self._store.refusals(id)

    async def delivery(
        self, caller: Caller, id: TriggerId, delivery_id: HookDeliveryId
    ) -> tuple[HookDelivery, Mapping[str, JSON]]:
        """Return a delivery and its request. Raises: NotFound."""
        await self._triggers.get(caller.workspace_id, id)
        return await self._store.get(caller.workspace_id, id, delivery_id)

    async def replay(self, caller: Caller, id: TriggerId, delivery_id: HookDeliveryId) -> HookOutcome:
        """Start another execution with a stored request; `when` is asked again, and `dedupe` is not.

        Raises: NotFound; Conflict if the trigger starts nothing; as `receive`.
        """
        trigger = await self._triggers.get(caller.workspace_id, id)
        delivery, request = await self._store.get(caller.workspace_id, id, delivery_id)
        hook = await self._armed(trigger)
        new = self._executions.new_execution_id()
        return await self._run(hook, delivery, request, id=new, by=caller)

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
        return OpenHook(
            trigger=trigger, flow=flow, written=written, spec=written.spec, scheme=Unverified(), replay_id=None
        )

    async def start_received(self) -> None:
        """Start the requests whose server ended before it could, or record why they start nothing."""
        until = self._clock.now() - _GRACE
        handled: set[HookDeliveryId] = set()
        is_done = True
        while found := await self._store.received(
            since=self._recovered_until, before=until, limit=_PORTION + len(handled)
        ):
            news = [each for each in found if each.id not in handled]
            if not news:
                break
            for delivery in news:
                is_done &= await self._recover(delivery)
            handled.update(each.id for each in news)
        if is_done:
            self._recovered_until = until

    async def _recover(self, delivery: HookDelivery) -> bool:
        """Start a request, or record why it starts nothing; return False if it has to be tried again."""
        try:
            trigger = await self._triggers.get(delivery.workspace_id, delivery.trigger_id)
            hook = await self._armed(trigger)
            _, request = await self._store.get(delivery.workspace_id, delivery.trigger_id, delivery.id)
        except Unavailable:
            return False
        except FlowRunnerError as error:
            reason = f"The server ended before it could start this request. {error}"[:500]
            self._settle(replace(delivery, state="failed", execution_id=None, error=reason))
            return True
        try:
            await self._run(hook, delivery, request, id=self._executions.new_execution_id())
        except Unavailable:
            return False
        except FlowRunnerError as error:
            logger.warning("hook.not_started", delivery=delivery.id, reason=str(error))
        return True

    async def rotate(self, caller: Caller, id: TriggerId) -> TriggerView:
        """Give a webhook another URL; the old one is unknown at once. Raises: NotFound; Conflict if it is none."""
        entry = act(caller, "trigger.rotated", "trigger", id, at=self._clock.now())
        return await self._triggers.rotate(caller.workspace_id, id, audit=entry)

    async def purge(self) -> None:
        """Delete requests that are older than a week, or beyond the newest of their trigger."""
        purged = _PURGE_BATCH
        while purged:
            purged = await self._store.purge(
                before=self._clock.now() - _KEPT_FOR,
                recent=self._clock.now() - _REPEATED_FOR,
                most=MOST_KEPT,
                limit=_PURGE_BATCH,
            )


_VALUES: Final = ("body", "headers", "query")


def _has_code(hook: OpenHook) -> bool:
    """Return whether the sandbox has to evaluate something before the start."""
    own = (hook.written.input, hook.written.labels, hook.spec.when, hook.spec.dedupe)
    return any(template is not None and template.codes for template in own)


def scheme_of(wanted: Verify) -> Scheme:
    match wanted.scheme:
        case "standard":
            return Standard()
        case "github":
            return GITHUB
        case "stripe":
            return Stripe()
        case "slack":
            return Slack()
        case "hmac":
            return Hmac(
                header=wanted.header, algorithm=wanted.algorithm, encoding=wanted.encoding, prefix=wanted.prefix
            )
        case "token":
            return Token(wanted.header)
        case "none":
            return Unverified()


def _id_of_message(id: TriggerId, replay_id: str) -> HookDeliveryId:
    """Return the id of the delivery of a message, which is the same whenever it arrives."""
    digest = hashlib.sha256(f"{id} {replay_id}".encode(errors="surrogateescape")).hexdigest()
    return HookDeliveryId(f"hook-{digest[:32]}")


def _key(id: TriggerId, text: str) -> str:
    """Return the idempotency key of a request. The blank separates it from the keys of clients."""
    return f"{id} {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"
