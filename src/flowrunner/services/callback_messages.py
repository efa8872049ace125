"""Messages of callbacks: what an event says, in the format of its receiver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.callback_texts import discord_message, slack_message, teams_message, text_of
from flowrunner.domain.callbacks import MOST_RESULT_BYTES, CallbackEvent, cloud_event
from flowrunner.domain.causes import DEPTH_HEADER, depth_of
from flowrunner.domain.errors import NotFound, invalid
from flowrunner.domain.expression import (
    NOWHERE,
    CodeKind,
    CodePlace,
    ExpressionSyntax,
    Keys,
    Template,
    codes_of,
    compile_template,
)
from flowrunner.domain.standard_webhooks import signature
from flowrunner.domain.values import JSON, FlowId, rfc3339
from flowrunner.ports.callbacks import CallbackView, DeliveryView
from flowrunner.ports.executions import ExecutionDetail, ExecutionReader
from flowrunner.ports.flows import FlowStore
from flowrunner.ports.journal import JournalReader
from flowrunner.ports.telemetry import ObservedExecution, Traces
from flowrunner.services.callback_secrets import Credentials
from flowrunner.services.chain_depth import started_of
from flowrunner.threads import render_soon

MOST_TEMPLATE_CHARACTERS: Final = 16 * 1024
# Size of the values in a message, as `left_after` counts it.
MOST_MESSAGE_CHARACTERS: Final = 1024 * 1024
_NAMES: Final = frozenset({"event"})
# Since the event, the execution may have gone on.
_STATUS_THEN: Final = {"execution.waiting": "waiting", "approval.requested": "waiting"}


class _TemplatePlace:
    """The rules for templates of messages: they read `event`, by paths only."""

    older_names: Mapping[str, str] = {}
    has_config = False

    def __init__(self) -> None:
        self.faults: list[ExpressionSyntax] = []

    def code_at(self, at: Keys) -> CodeKind | None:
        return None

    def names_at(self, at: Keys) -> frozenset[str]:
        return _NAMES

    def place_of(self, at: Keys) -> CodePlace:
        return NOWHERE

    def report(self, at: Keys, fault: ExpressionSyntax) -> None:
        self.faults.append(fault)

    def visit(self, at: Keys, text: str, root: str, keys: Sequence[str | int], *, has_default: bool = False) -> None:
        pass


def compiled(template: JSON) -> Template:
    """Compile the template of a message. Raises: InvalidInput."""
    if len(msgspec.json.encode(template)) > MOST_TEMPLATE_CHARACTERS:
        raise invalid("template", f"is longer than {MOST_TEMPLATE_CHARACTERS} bytes", code="too_large")
    place = _TemplatePlace()
    found = compile_template(template, place, ())
    if place.faults:
        raise invalid("template", str(place.faults[0]), hint=place.faults[0].hint)
    if codes_of(found):
        hint = "write paths such as ${event.data.execution.id}"
        raise invalid("template", "JavaScript is not evaluated here", hint=hint)
    return found


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    body: bytes
    headers: Mapping[str, str]


class CallbackMessages:
    """The texts of events.

    Args:
        public_url: Address of the installation, for links; None if it is not known.
        traces: The traces of executions; None if the process exports none.
    """

    def __init__(
        self,
        executions: ExecutionReader,
        journal: JournalReader,
        flows: FlowStore,
        *,
        public_url: str | None,
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces
        self._executions = executions
        self._journal = journal
        self._flows = flows
        self._public_url = public_url

    async def event_of(self, delivery: DeliveryView, *, workspace_name: str) -> CallbackEvent:
        """Return the event that a delivery tells of."""
        at, data, depth, traceparent = delivery.noted_at, delivery.details or {}, 0, ""
        if delivery.execution_id is not None:
            at, data, flow_id = await self._execution(delivery)
            started = await started_of(self._journal, delivery.execution_id)
            depth = 1 + depth_of(None if started is None else started.cause)
            if self._traces is not None and started is not None and flow_id is not None:
                observed = ObservedExecution(
                    execution_id=delivery.execution_id, workspace_id=delivery.workspace_id, flow_id=flow_id,
                    cause=started.cause, traceparent=started.traceparent,
                )  # fmt: skip
                traceparent = self._traces.of_execution(observed)
        return CallbackEvent(
            id=delivery.id,
            type=delivery.event,
            workspace_id=delivery.workspace_id,
            at=at,
            subject=delivery.execution_id or delivery.subject or "",
            data=data,
            workspace_name=workspace_name,
            link=self._link(delivery, data),
            depth=depth,
            traceparent=traceparent,
        )

    def _link(self, delivery: DeliveryView, data: Mapping[str, JSON]) -> str | None:
        """Return the address of the page about an event; None if that of the installation is not known."""
        if self._public_url is None:
            return None
        page = "callbacks"
        if delivery.execution_id is not None:
            page = f"executions/{delivery.execution_id}"
        elif isinstance(flow_id := data.get("flow_id"), str):
            page = f"flows/{flow_id}/triggers"
        return f"{self._public_url}/w/{delivery.workspace_id}/{page}"

    async def _execution(self, delivery: DeliveryView) -> tuple[datetime, Mapping[str, JSON], FlowId | None]:
        """Return when the event was, its data, and the flow; None if the execution is gone."""
        assert delivery.execution_id is not None
        assert delivery.seq is not None, "they are stored together"
        id, workspace_id = delivery.execution_id, delivery.workspace_id
        try:
            found = await self._executions.get(workspace_id, id)
            recorded = await self._journal.events(id, after=delivery.seq - 1, limit=1)
        except NotFound:
            # It was deleted since, or moved to another workspace.
            return delivery.noted_at, {"execution": {"id": id}}, None
        try:
            name: str | None = (await self._flows.current(workspace_id, found.flow_id)).name
        except NotFound:
            name = None
        at = recorded[0].at if recorded else delivery.noted_at
        return at, {"execution": _execution_value(found, name, _STATUS_THEN.get(delivery.event))}, found.flow_id

    def source(self, event: CallbackEvent) -> str:
        return f"{self._public_url or ''}/workspaces/{event.workspace_id}"

    async def message(
        self, callback: CallbackView, event: CallbackEvent, *, credentials: Credentials, now: datetime
    ) -> CallbackRequest:
        """Return the request of a message that is not an e-mail.

        Raises:
            InvalidInput, ExpressionFailed: If the callback's template has no value for the event, or one too large.
        """
        match callback.format:
            case "slack":
                return _json(slack_message(event))
            case "discord":
                return _json(discord_message(event))
            case "teams":
                return _json(teams_message(event))
            case "template":
                scope = {**cloud_event(event, source=self.source(event)), "text": text_of(event), "link": event.link}
                if callback.template is None:
                    raise invalid("template", "cannot be read", hint="save the callback again, with its template")
                value = await render_soon(compiled(callback.template), {"event": scope}, most=MOST_MESSAGE_CHARACTERS)
                message = _text(value) if isinstance(value, str) else _json(value)
            case _:
                body = msgspec.json.encode(cloud_event(event, source=self.source(event)))
                message = CallbackRequest(body, {"Content-Type": "application/cloudevents+json; charset=utf-8"})
        seconds, previous = str(int(now.timestamp())), credentials.previous_at(now)
        signed = signature(credentials.secret, event.id, seconds, message.body, previous=previous)
        depth = {DEPTH_HEADER: str(event.depth)} if event.depth else {}
        return CallbackRequest(message.body, {**message.headers, **signed, **depth})


def _execution_value(found: ExecutionDetail, flow_name: str | None, status: str | None) -> Mapping[str, JSON]:
    value: dict[str, Any] = {
        "id": found.id,
        "flow_id": found.flow_id,
        "flow_name": flow_name,
        "status": status or found.status.value,
        "result": None,
        "error": None if status else found.error,
        "started_at": rfc3339(found.started_at),
        "completed_at": None if status or found.completed_at is None else rfc3339(found.completed_at),
    }
    if found.labels is not None:
        value["labels"] = msgspec.json.decode(found.labels)
    if found.result is not None and status is None:
        if len(found.result) <= MOST_RESULT_BYTES:
            value["result"] = decode_json(found.result)
        else:
            value["result_bytes"] = len(found.result)
    if status is not None and found.waiting_for is not None:
        value["waiting_for"] = decode_json(found.waiting_for)
    return value


def _json(value: JSON) -> CallbackRequest:
    return CallbackRequest(msgspec.json.encode(value), {"Content-Type": "application/json"})


def _text(value: str) -> CallbackRequest:
    return CallbackRequest(value.encode(), {"Content-Type": "text/plain; charset=utf-8"})
