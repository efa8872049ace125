"""Operations on triggers, which start flows, and callbacks, which tell other servers of executions."""

from collections.abc import Sequence
from typing import Any, Literal

from flowrunner.client.calls import UNCHANGED, Call, Listing, Unchanged, call, listing
from flowrunner.client.models import (
    Callback,
    CallbackSecret,
    Delivery,
    HookDelivery,
    Job,
    Message,
    NewCallback,
    NextTimes,
    PlannedBackfill,
    StartedByHook,
    StartedExecution,
    Trigger,
)
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import key_or_new, segment


class Triggers(Group[K]):
    """Triggers. They are written in the documents of flows."""

    @list_operation("listTriggers")
    def list(
        self, *, flow_id: str | None = None, type: Literal["schedule", "webhook", "execution"] | None = None
    ) -> Listing[Trigger]:
        """List the triggers of the workspace's flows."""
        return listing("/triggers", Trigger, flow_id=flow_id, type=type)

    @operation("getTrigger")
    def get(self, id: str) -> Call[Trigger]:
        """Return a trigger with its next start."""
        return call(Trigger, "GET", _trigger(id))

    @operation("pauseTrigger")
    def pause(self, id: str) -> Call[Trigger]:
        """Pause a trigger: it starts nothing until it is resumed."""
        return call(Trigger, "POST", f"{_trigger(id)}/pause")

    @operation("resumeTrigger")
    def resume(self, id: str) -> Call[Trigger]:
        """Let a paused trigger start the flow again."""
        return call(Trigger, "POST", f"{_trigger(id)}/resume")

    @operation("runTrigger")
    def run(self, id: str, *, idempotency_key: str | None = None) -> Call[StartedExecution]:
        """Start now what a schedule would start."""
        return call(StartedExecution, "POST", f"{_trigger(id)}/run", key=key_or_new(idempotency_key))

    @operation("backfillTrigger")
    def backfill(self, id: str, *, from_: str, to: str, idempotency_key: str | None = None) -> Call[Job]:
        """Start, in a job, what a schedule would have started from one moment or day until another, and has not."""
        body, key = {"from_": from_, "to": to}, key_or_new(idempotency_key)
        return call(Job, "POST", f"{_trigger(id)}/backfill", body=body, key=key)

    @operation("backfillTrigger")
    def plan_backfill(self, id: str, *, from_: str, to: str) -> Call[PlannedBackfill]:
        """Return the number of executions that `backfill` would start, and the first times."""
        path, query = f"{_trigger(id)}/backfill", {"dry_run": True}
        return call(PlannedBackfill, "POST", path, query=query, body={"from_": from_, "to": to})

    @operation("nextTimes")
    def next(
        self, id: str, *, count: int | None = None, after: str | None = None, until: str | None = None
    ) -> Call[NextTimes]:
        """Return when a schedule starts the flow next, or would if it is paused."""
        return call(NextTimes, "GET", f"{_trigger(id)}/next", query={"count": count, "after": after, "until": until})

    @operation("rotateHook")
    def rotate(self, id: str) -> Call[Trigger]:
        """Give a webhook trigger another URL. The old one no longer works."""
        return call(Trigger, "POST", f"{_trigger(id)}/rotate")

    @list_operation("listHookDeliveries")
    def deliveries(self, id: str) -> Listing[HookDelivery]:
        """List the requests that a webhook trigger has accepted, the newest first."""
        return listing(f"{_trigger(id)}/deliveries", HookDelivery)

    @operation("getHookDelivery")
    def delivery(self, id: str, delivery_id: str) -> Call[HookDelivery]:
        """Return a request with its content."""
        return call(HookDelivery, "GET", f"{_trigger(id)}/deliveries/{segment(delivery_id)}")

    @operation("replayHookDelivery")
    def replay(self, id: str, delivery_id: str, *, idempotency_key: str | None = None) -> Call[StartedByHook]:
        """Start another execution with a stored request."""
        path = f"{_trigger(id)}/deliveries/{segment(delivery_id)}/replay"
        return call(StartedByHook, "POST", path, key=key_or_new(idempotency_key))


class Callbacks(Group[K]):
    """Callbacks."""

    @list_operation("listCallbacks")
    def list(self) -> Listing[Callback]:
        """List the callbacks of the workspace, the oldest first."""
        return listing("/callbacks", Callback)

    @operation("createCallback")
    def create(
        self,
        url: str,
        events: Sequence[str],
        *,
        format: Literal["standard", "slack", "discord", "teams", "email", "template"] | None = None,
        name: str | None = None,
        flow_id: str | None = None,
        tag: str | None = None,
        children: bool | None = None,
        template: Any = None,
        idempotency_key: str | None = None,
    ) -> Call[NewCallback]:
        """Create a callback. Its signing secret is in this answer only."""
        body = {
            "url": url, "events": events, "format": format, "name": name, "flow_id": flow_id, "tag": tag,
            "children": children, "template": template,
        }  # fmt: skip
        return call(NewCallback, "POST", "/callbacks", body=body, key=key_or_new(idempotency_key))

    @operation("getCallback")
    def get(self, id: str) -> Call[Callback]:
        """Return a callback, without its secret."""
        return call(Callback, "GET", _callback(id))

    @operation("changeCallback")
    def update(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        name: str | None = None,
        flow_id: str | Unchanged | None = UNCHANGED,
        tag: str | Unchanged | None = UNCHANGED,
        children: bool | None = None,
        template: Any = UNCHANGED,
        enabled: bool | None = None,
    ) -> Call[Callback]:
        """Change what is given of a callback. One that is enabled begins without its earlier failures.

        Args:
            flow_id: Tell of this flow only; None for all flows.
            tag: Tell of flows with this tag only; None for all flows.
            template: The message, in the format `template`, in which None is rejected.
        """
        body = {"url": url, "events": events, "name": name, "children": children, "enabled": enabled}
        exact = {"flow_id": flow_id, "tag": tag, "template": template}
        return call(Callback, "PUT", _callback(id), body=body, exact=exact)

    @operation("deleteCallback")
    def delete(self, id: str) -> Call[Message]:
        """Delete a callback and its deliveries."""
        return call(Message, "DELETE", _callback(id))

    @operation("rotateCallbackSecret")
    def rotate_secret(self, id: str) -> Call[CallbackSecret]:
        """Replace the signing secret of a callback. Messages are signed with the old one too for a day."""
        return call(CallbackSecret, "POST", f"{_callback(id)}/rotate")

    @operation("testCallback")
    def test(self, id: str) -> Call[Delivery]:
        """Send a test message now, once, and return the outcome."""
        return call(Delivery, "POST", f"{_callback(id)}/test")

    @list_operation("listCallbackDeliveries")
    def deliveries(self, id: str) -> Listing[Delivery]:
        """List the deliveries of a callback, the newest first."""
        return listing(f"{_callback(id)}/deliveries", Delivery)

    @operation("redeliver")
    def redeliver(self, id: str, delivery_id: str) -> Call[Delivery]:
        """Send a message again, under its id."""
        return call(Delivery, "POST", f"{_callback(id)}/deliveries/{segment(delivery_id)}/redeliver")


def _trigger(id: str) -> str:
    return f"/triggers/{segment(id)}"


def _callback(id: str) -> str:
    return f"/callbacks/{segment(id)}"
