"""Use cases of callbacks."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import UNSET, UnsetType

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.callbacks import EVENTS, PAUSES, SIGNED, TEST_EVENT, Format
from flowrunner.domain.errors import Conflict, Fault, InvalidInput, NotFound, invalid
from flowrunner.domain.values import JSON, FlowId
from flowrunner.ids import new_id
from flowrunner.ports.callbacks import (
    CallbackDeliveryStore,
    CallbackId,
    CallbackStore,
    CallbackView,
    DeliveryId,
    DeliveryView,
    SealedCallback,
)
from flowrunner.ports.clock import Clock
from flowrunner.ports.flows import FlowStore
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import ValueSealer, WrongKey
from flowrunner.services.callback_deliveries import CallbackDeliveries, delete_callback
from flowrunner.services.callback_messages import compiled
from flowrunner.services.callback_secrets import Credentials, shown_address
from flowrunner.services.rates import Allowance

MAX_CALLBACKS: Final = 100
# A message is retried for a day, and its receiver may be told of the new secret after it was made.
PREVIOUS_FOR: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackChange:
    """A change of a callback: what is UNSET stays as it is, and None removes what the callback may be without.

    Attributes:
        is_enabled: Whether it tells of events.
    """

    name: str | UnsetType = UNSET
    events: Sequence[str] | UnsetType = UNSET
    flow_id: FlowId | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET
    children: bool | UnsetType = UNSET
    template: JSON | UnsetType = UNSET
    url: str | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET

    @property
    def fields(self) -> dict[str, Any]:
        """Return the new values of the fields of `CallbackView` with the same names."""
        values = {name: getattr(self, name) for name in _FIELDS}
        given = {name: value for name, value in values.items() if value is not UNSET}
        return given if self.events is UNSET else given | {"events": _each_once(self.events)}


_FIELDS: Final = ("name", "events", "flow_id", "tag", "children", "template")


_UNREADABLE: Final = (
    "the signing secret of the callback cannot be decrypted with the keys of this server. "
    "Add the missing key, or create the callback again"
)


def _each_once(events: Sequence[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(events))


class Callbacks:
    def __init__(
        self,
        store: CallbackStore,
        deliveries: CallbackDeliveryStore,
        flows: FlowStore,
        sender: CallbackDeliveries,
        vault: ValueSealer,
        *,
        clock: Clock,
        sends_mail: bool,
        refusal: Callable[[str], str | None],
    ) -> None:
        """
        Args:
            sender: Sends tests.
            refusal: Returns why nothing can be sent to a URL, as far as its text says that.
        """
        self._store = store
        self._flows = flows
        self._deliveries = deliveries
        self._sender = sender
        self._vault = vault
        self._clock = clock
        self._sends_mail = sends_mail
        self._refusal = refusal
        # A test is sent at once, and its receiver takes no more tests than other messages. They count by receiver,
        # because an account may make many callbacks of one.
        self._tests: dict[Format, Allowance[str]] = {
            format: Allowance(
                round(60 / pause),
                limit="callback_tests",
                message="More than {most} tests a minute would go to this receiver: wait before the next one",
            )
            for format, pause in PAUSES.items()
        }

    async def create(
        self,
        caller: Caller,
        *,
        url: str,
        format: Format,
        events: Sequence[str],
        name: str = "",
        flow_id: FlowId | None = None,
        tag: str | None = None,
        children: bool = False,
        template: JSON = None,
    ) -> tuple[CallbackView, str | None]:
        """Create a callback; return it and its signing secret, which cannot be read again.

        The secret is None if messages of the format are not signed.

        Raises: InvalidInput; LimitReached.
        """
        if format == "email" and not self._sends_mail:
            raise invalid("format", "This installation sends no e-mails", hint="an operator can set smtp_url")
        now = self._clock.now()
        view = CallbackView(
            id=CallbackId(new_id("callback", now)),
            workspace_id=caller.workspace_id,
            name=name,
            events=_each_once(events),
            format=format,
            address=shown_address(url, format),
            flow_id=flow_id,
            tag=tag,
            children=children,
            template=template,
            created_at=now,
            updated_at=now,
        )
        await self._check(view, is_flow_given=True)
        credentials = Credentials.new(url)
        seal = self._vault.sealer(caller.workspace_id, view.id, credentials.text)
        details: dict[str, JSON] = {"format": format, "events": list(view.events)}
        entry = act(caller, "callback.created", "callback", view.id, at=now, details=details)
        await self._store.create(view, seal, most=MAX_CALLBACKS, audit=entry)
        return view, credentials.secret if format in SIGNED else None

    async def _check(self, view: CallbackView, *, is_flow_given: bool) -> None:
        """Raises: InvalidInput.

        Args:
            is_flow_given: The flow of an earlier request may be gone, and the callback can still be changed.
        """
        _check_fields(view)
        if view.template is not None:
            compiled(view.template)
        if is_flow_given and view.flow_id is not None:
            try:
                await self._flows.current(view.workspace_id, view.flow_id)
            except NotFound:
                raise invalid("flow_id", "There is no such flow in this workspace") from None

    def warning_of(self, url: str, format: Format) -> str | None:
        """Return why messages to a saved URL would fail, as far as that is known before one is sent."""
        reason = None if format == "email" else self._refusal(url)
        return None if reason is None else f"Messages cannot be sent to this URL: {reason}"

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[CallbackView], int]:
        return await self._store.page(caller.workspace_id, page=page)

    async def get(self, caller: Caller, id: CallbackId) -> CallbackView:
        """Raises: NotFound."""
        return (await self._store.get(caller.workspace_id, id)).view

    async def change(self, caller: Caller, id: CallbackId, asked: CallbackChange) -> CallbackView:
        """Raises: NotFound; InvalidInput."""
        found = await self._store.get(caller.workspace_id, id)
        now = self._clock.now()
        given, seal = asked.fields, None
        fields = dict(given)
        if asked.url is not UNSET:
            fields["address"] = shown_address(asked.url, found.view.format)
            credentials = self._with_url(found, asked.url)
            seal = self._vault.sealer(caller.workspace_id, id, credentials.text)
        is_flow_given = "flow_id" in fields
        await self._check(replace(found.view, **fields), is_flow_given=is_flow_given)

        def change(before: CallbackView) -> CallbackView:
            after = replace(before, **fields, has_flow=is_flow_given or before.has_flow, updated_at=now)
            # Once more, because another request may have changed it since it was read.
            _check_fields(after)
            return after if asked.is_enabled is UNSET else _enabled(after, now if not asked.is_enabled else None)

        names = sorted([*given, *(["url"] if asked.url is not UNSET else [])])
        entry = act(caller, "callback.changed", "callback", id, at=now, details={"fields": names})
        return await self._store.change(
            caller.workspace_id, id, change, seal=seal, sealed=found.sealed.sealed, audit=entry
        )

    def _with_url(self, found: SealedCallback, url: str) -> Credentials:
        try:
            return replace(Credentials.opened(self._vault, found), url=url)
        except WrongKey:
            if found.view.format in SIGNED:
                # Its receiver would reject what a new secret signs.
                raise invalid("url", f"cannot be changed: {_UNREADABLE}") from None
            return Credentials.new(url)

    async def rotate(self, caller: Caller, id: CallbackId) -> tuple[str, datetime]:
        """Replace the signing secret; return the new one, and until when messages are signed with the old one too.

        Raises: NotFound; Conflict if the callback is changed meanwhile, its messages are not signed, or the old secret
            cannot be decrypted.
        """
        found = await self._store.get(caller.workspace_id, id)
        if found.view.format not in SIGNED:
            raise Conflict(
                f"Messages of the format '{found.view.format}' are not signed: there is no secret to replace"
            )
        now = self._clock.now()
        until = now + PREVIOUS_FOR
        try:
            credentials = Credentials.opened(self._vault, found).rotated(until=until)
        except WrongKey:
            raise Conflict(f"{_UNREADABLE[0].upper()}{_UNREADABLE[1:]}") from None
        await self._store.change(
            caller.workspace_id,
            id,
            lambda before: replace(before, updated_at=now),
            seal=self._vault.sealer(caller.workspace_id, id, credentials.text),
            sealed=found.sealed.sealed,
            audit=act(caller, "callback.secret_rotated", "callback", id, at=now),
        )
        return credentials.secret, until

    async def delete(self, caller: Caller, id: CallbackId) -> None:
        """Delete a callback, its deliveries first, in portions. Raises: NotFound."""
        entry = act(caller, "callback.deleted", "callback", id, at=self._clock.now())
        await delete_callback(self._store, self._deliveries, caller.workspace_id, id, audit=entry)

    async def test(self, caller: Caller, id: CallbackId) -> DeliveryView:
        """Send a message at once, and return its delivery.

        Raises: NotFound, also if it is deleted meanwhile; TooManyRequests.
        """
        found = await self._store.get(caller.workspace_id, id)
        now = self._clock.now()
        # The attempt reports credentials that cannot be read.
        with contextlib.suppress(WrongKey):
            for receiver in Credentials.opened(self._vault, found).receivers:
                self._tests[found.view.format].take(receiver, at=now)
        delivery = DeliveryView(
            id=DeliveryId(new_id("delivery", now)),
            workspace_id=caller.workspace_id,
            callback_id=id,
            event=TEST_EVENT,
            subject=id,
            details={"callback": {"id": id, "name": found.view.name}},
            noted_at=now,
        )
        outcome = await self._sender.attempt(found, delivery)
        done = replace(
            delivery,
            state="delivered" if outcome.error is None else "failed",
            attempts=1,
            last_at=self._clock.now(),
            status_code=outcome.status_code,
            error=outcome.error or outcome.refused,
        )
        await self._deliveries.add(done)
        return done

    async def deliveries(self, caller: Caller, id: CallbackId, *, page: Page) -> tuple[Sequence[DeliveryView], int]:
        """Return a page of deliveries, the newest first, and the total. Raises: NotFound."""
        return await self._deliveries.page(caller.workspace_id, id, page=page)

    async def redeliver(self, caller: Caller, id: CallbackId, delivery_id: DeliveryId) -> DeliveryView:
        """Send a message again, under its old id. Raises: NotFound."""
        entry: AuditEntry = act(
            caller, "callback.redelivered", "callback", id, at=self._clock.now(), details={"delivery_id": delivery_id}
        )
        return await self._deliveries.redeliver(caller.workspace_id, id, delivery_id, audit=entry)


def _check_fields(view: CallbackView) -> None:
    """Raises: InvalidInput if the fields of a callback do not go together."""
    faults = [
        Fault(path=f"events[{n}]", code="invalid", message=f"must be one of {', '.join(EVENTS)}")
        for n, event in enumerate(view.events)
        if event not in EVENTS
    ]
    if not view.events:
        faults.append(Fault(path="events", code="required", message="must name at least one event"))
    if view.flow_id is not None and view.tag is not None:
        faults.append(Fault(path="tag", code="invalid", message="must be absent if flow_id is given"))
    if (view.format == "template") != (view.template is not None):
        message = "is needed for the format 'template', and only there"
        faults.append(Fault(path="template", code="invalid", message=message))
    if faults:
        raise InvalidInput(faults)


def _enabled(callback: CallbackView, disabled_at: datetime | None) -> CallbackView:
    if disabled_at is not None:
        return replace(callback, disabled_at=callback.disabled_at or disabled_at)
    return replace(callback, disabled_at=None, disabled_reason=None, failures=0, failing_since=None)
