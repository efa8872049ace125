"""Delivery of callbacks, by one of all servers at a time.

Each callback has a task of its own, so that a slow receiver delays no other one. A message is repeated until the
receiver takes it or a day is over; a receiver that keeps failing is tried less and less often, one message at a time,
and its callback is disabled in the end.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from flowrunner.domain.audit import act
from flowrunner.domain.callback_texts import mail_of
from flowrunner.domain.callbacks import (
    FAILURES_BEFORE_PAUSE,
    PAUSES,
    RETRIED_FOR,
    CallbackEvent,
    delay_after,
)
from flowrunner.domain.errors import InvalidInput, NotFound, Unavailable
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.retry import seconds_asked_for
from flowrunner.domain.values import WorkspaceId
from flowrunner.lru_cache import LruCache
from flowrunner.plugin import NodeFailure
from flowrunner.ports.audit import Audit
from flowrunner.ports.callbacks import (
    CallbackDeliveryStore,
    CallbackId,
    CallbackStore,
    CallbackView,
    DeliveryAttempt,
    DeliveryId,
    DeliveryView,
    SealedCallback,
)
from flowrunner.ports.clock import Clock
from flowrunner.ports.http import HttpClients
from flowrunner.ports.outgoing_mails import Mailer, MailFailed
from flowrunner.ports.secrets import ValueSealer, WrongKey
from flowrunner.ports.telemetry import TRACEPARENT
from flowrunner.retrying import rising
from flowrunner.services import waiting_callbacks
from flowrunner.services.callback_messages import CallbackMessages
from flowrunner.services.callback_secrets import Credentials
from flowrunner.services.short_commits import ShortDeletions, commit_in_portions
from flowrunner.services.waiting_callbacks import WaitingCallbacks
from flowrunner.tasks import all_ended, cancel_all

logger = structlog.get_logger()

TIMEOUT_SECONDS: Final = 15.0
_MESSAGES_AT_ONCE: Final = 4
_PORTION: Final = 20
# How long a callback sends before others get their turn: a receiver may take its time, and the messages may be many.
_TURN_SECONDS: Final = 5.0
# Mailboxes whose last e-mail is remembered: more than can be sent to before the first may get its next one.
_MAILBOXES: Final = 10_000
# How soon a new delivery is noticed.
LOOK_SECONDS: Final = 1.0
# Callbacks with pending messages that are read together: those of all workspaces may be very many.
LOOKED_AT_ONCE: Final = 5000
_FIRST: Final = CallbackId("")
# The delay before a callback whose rows cannot be read is tried again.
_UNREADABLE_SECONDS: Final = 60.0
# The delay after so many outages in a row: a message whose attempt cannot be recorded is sent again after it.
_seconds_after_outages: Final = rising(1.0, 2.0, 4.0, 8.0, 10.0)
_KEPT_FOR: Final = timedelta(days=7)
MOST_KEPT: Final = 1000
# Ids of deliveries that are read together before these are deleted.
_FOUND_AT_ONCE: Final = 5000
# Deliveries that are deleted in one commit with their callback.
_FEW: Final = 100


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """The outcome of one attempt.

    Attributes:
        status_code: The receiver's answer, if there was one.
        error: Kind of the failure; None for a success.
        refused: The recipients of an e-mail that do not get it, with the kinds of their failures; None if all do.
        is_final: A repeat cannot succeed.
        is_gone: The receiver wants no further messages.
        retry_after: The seconds that the receiver asks to wait.
    """

    status_code: int | None = None
    error: str | None = None
    refused: str | None = None
    is_final: bool = False
    is_gone: bool = False
    retry_after: float | None = None


class CallbackDeliveries:
    """The background job, and single attempts.

    Args:
        mailer: None if the installation sends no e-mails.
        on_attempt: Called with `delivered` or `failed` after each attempt.
    """

    def __init__(
        self,
        callbacks: CallbackStore,
        deliveries: CallbackDeliveryStore,
        messages: CallbackMessages,
        vault: ValueSealer,
        http: HttpClients,
        *,
        mailer: Mailer | None,
        clock: Clock,
        draw: Callable[[], float],
        on_attempt: Callable[[str], None],
    ) -> None:
        self._callbacks = callbacks
        self._deliveries = deliveries
        self._messages = messages
        self._vault = vault
        self._http = http
        self._mailer = mailer
        self._clock = clock
        self._draw = draw
        self._on_attempt = on_attempt
        # Of each mailbox, on the clock of the event loop.
        self._free_at: LruCache[str, float] = LruCache(_MAILBOXES)
        self._waiting = WaitingCallbacks()
        # The next look begins after this one, and so does the next question when there is something to do.
        self._looked_at = self._asked_at = _FIRST

    async def next_due(self) -> datetime | None:
        """Return when to look for deliveries; None while there is no callback."""
        at, has_callbacks, until = await self._deliveries.next_due(after=self._asked_at, limit=LOOKED_AT_ONCE)
        self._asked_at = until or _FIRST
        if not has_callbacks:
            return None
        soon = self._clock.now() + timedelta(seconds=LOOK_SECONDS)
        return soon if at is None else min(at, soon)

    async def deliver_due(self) -> None:
        """Make all deliveries that are due, and return when none is. Raises: Unavailable."""
        loop = asyncio.get_running_loop()
        tasks: dict[tuple[WorkspaceId, CallbackId], asyncio.Task[None]] = {}
        outages: Counter[CallbackId] = Counter()
        # At once: those that waited at the end of the last run may be paused, or have been sent by another process.
        look_at = loop.time()
        try:
            while True:
                if loop.time() < look_at:
                    self._start_next(tasks, outages)
                # Not at each end of a turn: with many callbacks, the list is long.
                if len(tasks) < waiting_callbacks.AT_ONCE or loop.time() >= look_at:
                    await self._look(tasks)
                    self._start_next(tasks, outages)
                    look_at = loop.time() + LOOK_SECONDS
                if not tasks:
                    return
                await asyncio.wait(tasks.values(), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                tasks = {each: task for each, task in tasks.items() if not task.done()}
        finally:
            await cancel_all(*tasks.values())

    def _start_next(
        self, tasks: dict[tuple[WorkspaceId, CallbackId], asyncio.Task[None]], outages: Counter[CallbackId]
    ) -> None:
        """Start to send callbacks, until as many send as may, or none waits that may."""
        sending = Counter(workspace_id for workspace_id, _ in tasks)
        while len(tasks) < waiting_callbacks.AT_ONCE and (taken := self._waiting.take(sending)) is not None:
            deliver = self._deliver_if_readable(*taken, outages)
            tasks[taken] = asyncio.create_task(deliver, name=f"deliver {taken[1]}")
            sending[taken[0]] += 1

    async def _look(self, tasks: Mapping[tuple[WorkspaceId, CallbackId], asyncio.Task[None]]) -> None:
        """Raises: Unavailable, unless messages are being sent: these would be sent again if they were cut off."""
        try:
            has_more = True
            while has_more:
                now, after = self._clock.now(), self._looked_at
                due, until = await self._deliveries.due_callbacks(now=now, after=after, limit=LOOKED_AT_ONCE)
                self._waiting.update((each for each in due if each not in tasks), after=after, until=until)
                self._looked_at = until or _FIRST
                # The rest gets its turn at the next looks.
                has_more = until is not None and not due
        except Unavailable:
            if not tasks:
                raise

    async def _deliver_if_readable(
        self, workspace_id: WorkspaceId, id: CallbackId, outages: Counter[CallbackId]
    ) -> None:
        try:
            await self._deliver_all(workspace_id, id)
            outages.pop(id, None)
        except Unavailable as error:
            outages[id] += 1
            logger.warning("callback.interrupted", callback_id=id, reason=str(error), outages=outages[id])
            await asyncio.sleep(_seconds_after_outages(outages[id]))
        except Exception as error:
            # Such as a row that cannot be read. It must not cancel the deliveries of others, and it is still due.
            logger.error("callback.crashed", callback_id=id, exc_info=error)
            await asyncio.sleep(_UNREADABLE_SECONDS)

    async def _deliver_all(self, workspace_id: WorkspaceId, id: CallbackId) -> None:
        """Make the deliveries of one callback that are due, until one fails, none is left, or its turn is over."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _TURN_SECONDS
        while True:
            try:
                found = await self._callbacks.get(workspace_id, id)
            except NotFound:
                return
            failures = found.view.failures
            at_once = 1 if failures or PAUSES[found.view.format] >= 1.0 else _MESSAGES_AT_ONCE
            due = await self._deliveries.due(id, now=self._clock.now(), limit=at_once if failures else _PORTION)
            if not due or found.view.disabled_at is not None:
                return
            for first in range(0, len(due), at_once):
                portion = due[first : first + at_once]
                results = await self._deliver_together(found, portion)
                await asyncio.sleep(PAUSES[found.view.format] * len(portion))
                if not all(results) or loop.time() >= ends_at:
                    break
            if loop.time() >= ends_at or (failures + 1 >= FAILURES_BEFORE_PAUSE and not all(results)):
                return

    async def _deliver_together(self, found: SealedCallback, portion: Sequence[DeliveryView]) -> Sequence[bool]:
        """Make one attempt for each; return which of them succeeded. Raises: the first error, once all have ended."""
        # What is being sent must not be sent again beside that.
        return await all_ended(*(self._deliver(found, each) for each in portion))

    async def _deliver(self, found: SealedCallback, delivery: DeliveryView) -> bool:
        """Make one attempt and record it; return whether it succeeded."""
        await self._wait_for_mailboxes(found)
        callback, outcome = found.view, await self.attempt(found, delivery)
        now = self._clock.now()
        has_succeeded = outcome.error is None
        self._on_attempt("delivered" if has_succeeded else "failed")
        retry_until = delivery.retry_until or now + RETRIED_FOR
        next_at = None if has_succeeded else self._next_at(delivery, outcome, retry_until, now)
        paused_until = None
        if not has_succeeded and callback.failures + 1 >= FAILURES_BEFORE_PAUSE:
            over = callback.failures + 2 - FAILURES_BEFORE_PAUSE
            paused_until = now + timedelta(seconds=delay_after(over, draw=self._draw()))
        await self._deliveries.record(
            DeliveryAttempt(
                id=delivery.id,
                callback_id=callback.id,
                at=now,
                has_succeeded=has_succeeded,
                retry_until=retry_until,
                next_at=next_at,
                paused_until=paused_until,
                is_of_receiver=delivery.is_readable and outcome.error != "template",
                status_code=outcome.status_code,
                error=outcome.error or outcome.refused,
            )
        )
        if outcome.is_gone:
            await self._disable(callback, "the receiver answered 410 Gone", now)
        elif _is_persistent(callback, outcome, now, is_given_up=next_at is None):
            await self._disable(callback, "no message was taken for a day", now)
        return has_succeeded

    async def _wait_for_mailboxes(self, found: SealedCallback) -> None:
        """Return when each mailbox of a callback may get its next e-mail, of whichever callback.

        At most `waiting_callbacks.AT_ONCE` callbacks wait for one mailbox, each with one e-mail.
        """
        pause = PAUSES[found.view.format]
        if found.view.format != "email" or not pause:
            return
        try:
            mailboxes = Credentials.opened(self._vault, found).receivers
        except WrongKey:
            # The attempt reports it.
            return
        now = asyncio.get_running_loop().time()
        at = max(now, *(self._free_at.get(mailbox) or now for mailbox in mailboxes))
        for mailbox in mailboxes:
            self._free_at.keep(mailbox, at + pause)
        await asyncio.sleep(at - now)

    def _next_at(
        self, delivery: DeliveryView, outcome: AttemptOutcome, retry_until: datetime, now: datetime
    ) -> datetime | None:
        if outcome.is_final:
            return None
        seconds = max(delay_after(delivery.attempts + 1, draw=self._draw()), outcome.retry_after or 0.0)
        at = now + timedelta(seconds=seconds)
        return at if at <= retry_until else None

    async def attempt(self, found: SealedCallback, delivery: DeliveryView) -> AttemptOutcome:
        """Send a message once. Raises: Unavailable if it cannot be read now."""
        if not delivery.is_readable:
            return AttemptOutcome(error="unreadable", is_final=True)
        try:
            credentials = Credentials.opened(self._vault, found)
            event = await self._messages.event_of(delivery, workspace_name=found.workspace_name)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if found.view.format == "email":
                    return await self._mail(found.view, credentials, event)
                return await self._post(found.view, credentials, event)
        except Unavailable:
            raise
        except TimeoutError:
            return AttemptOutcome(error="timeout")
        except NodeFailure as failure:
            # Its message may name addresses of this network.
            return AttemptOutcome(error=failure.type)
        except MailFailed as failure:
            return AttemptOutcome(error=str(failure))
        except (ExpressionFailed, InvalidInput):
            return AttemptOutcome(error="template", is_final=True)
        except WrongKey as error:
            logger.error("callback.unreadable", callback_id=found.view.id, error=str(error))
            return AttemptOutcome(error="unreadable")
        except Exception as error:
            # A callback that always fails must not stop the others.
            logger.error("callback.crashed", callback_id=found.view.id, exc_info=error)
            return AttemptOutcome(error="internal")

    async def _post(self, callback: CallbackView, credentials: Credentials, event: CallbackEvent) -> AttemptOutcome:
        now = self._clock.now()
        message = await self._messages.message(callback, event, credentials=credentials, now=now)
        http = self._http.of(callback.workspace_id)
        before = TRACEPARENT.set(event.traceparent)
        try:
            answer = await http.request("POST", credentials.url, headers=message.headers, body=message.body)
        finally:
            TRACEPARENT.reset(before)
        if 200 <= answer.status <= 299:
            return AttemptOutcome(status_code=answer.status)
        return AttemptOutcome(
            status_code=answer.status,
            error=f"http.{answer.status}",
            is_gone=answer.status == 410,
            is_final=answer.status == 410,
            retry_after=seconds_asked_for(answer.headers.get("retry-after"), now),
        )

    async def _mail(self, callback: CallbackView, credentials: Credentials, event: CallbackEvent) -> AttemptOutcome:
        if self._mailer is None:
            return AttemptOutcome(error="email.not_configured")
        subject, text = mail_of(event, callback_name=callback.name)
        refused = await self._mailer.send(credentials.addresses, subject, text, message_id=event.id)
        if not refused:
            return AttemptOutcome()
        # It is not repeated: the other recipients would get it again.
        return AttemptOutcome(refused=", ".join(f"email.{code}: {recipient}" for recipient, code in refused.items()))

    async def _disable(self, callback: CallbackView, reason: str, now: datetime) -> None:
        logger.warning("callback.disabled", callback_id=callback.id, reason=reason)
        entry = act(None, "callback.disabled", "callback", callback.id, at=now, workspace_id=callback.workspace_id)
        notice = {"name": callback.name, "reason": reason}
        await self._callbacks.disable(callback.id, at=now, reason=reason, notice=notice, audit=entry)
        await self._fail_pending(callback.id, now)

    async def _fail_pending(self, id: CallbackId, now: datetime) -> None:
        before = now - RETRIED_FOR
        await commit_in_portions(lambda: self._deliveries.fail_pending(id, at=now, disabled_before=before))

    async def purge(self) -> None:
        """Delete deliveries that are older than a week, beyond the newest of their callback, or of no workspace."""
        while gone := await self._callbacks.of_deleted_workspaces(limit=_FOUND_AT_ONCE):
            for workspace_id, id in gone:
                # A request that began before the deletion of the workspace may delete it first.
                with contextlib.suppress(NotFound):
                    await delete_callback(self._callbacks, self._deliveries, workspace_id, id)
        now = self._clock.now()
        # Nobody who enables a callback after that long waits for its messages.
        while ids_given_up := await self._deliveries.given_up(disabled_before=now - RETRIED_FOR):
            for id in ids_given_up:
                await self._fail_pending(id, now)
        deletions = ShortDeletions(self._deliveries.delete_ended)
        while ids := await self._deliveries.old(before=now - _KEPT_FOR, limit=_FOUND_AT_ONCE):
            await deletions.run(ids)
        after: CallbackId | None = CallbackId("")
        while after is not None:
            ids, after = await self._deliveries.surplus(after=after, most=MOST_KEPT, limit=_FOUND_AT_ONCE)
            await deletions.run(ids)


async def delete_callback(
    callbacks: CallbackStore,
    deliveries: CallbackDeliveryStore,
    workspace_id: WorkspaceId,
    id: CallbackId,
    *,
    audit: Audit = None,
) -> None:
    """Delete a callback, its deliveries first, in portions. Raises: NotFound."""
    deletions = ShortDeletions[DeliveryId](partial(deliveries.delete, workspace_id))
    while len(ids := await deliveries.some(workspace_id, id, limit=_FOUND_AT_ONCE)) > _FEW:
        await deletions.run(ids)
    await callbacks.delete(workspace_id, id, audit=audit)


def _is_persistent(callback: CallbackView, outcome: AttemptOutcome, now: datetime, *, is_given_up: bool) -> bool:
    """Return whether a callback has failed for so long that it is given up.

    Args:
        is_given_up: The delivery is not repeated. That is up to an hour before its day is over.
    """
    if outcome.error in (None, "template") or callback.failing_since is None:
        return False
    if is_given_up:
        return now - callback.failing_since >= RETRIED_FOR - timedelta(hours=1)
    # New deliveries are made before repeats, so while there are new ones, no delivery may be given up.
    return callback.failures + 1 >= FAILURES_BEFORE_PAUSE and now - callback.failing_since >= RETRIED_FOR
