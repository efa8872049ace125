"""Callbacks: notifications to other servers and people, their messages, and when to repeat one."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from flowrunner.domain.values import JSON, WorkspaceId, rfc3339

EVENTS: Final = (
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "execution.waiting",
    "approval.requested",
    "trigger.missed",
    "trigger.paused",
    "trigger.failing",
    "callback.disabled",
)
# Sent on request only.
TEST_EVENT: Final = "callback.test"

Format: TypeAlias = Literal["standard", "slack", "discord", "teams", "email", "template"]
FORMATS: Final[tuple[Format, ...]] = ("standard", "slack", "discord", "teams", "email", "template")
# Formats whose URL is itself a credential.
WITH_SECRET_URL: Final = frozenset({"slack", "discord", "teams"})

# From the first attempt to the last one.
RETRIED_FOR: Final = timedelta(days=1)
_LONGEST_DELAY_SECONDS: Final = 3600.0
# A receiver that has failed so often in a row is asked with one delivery at a time.
FAILURES_BEFORE_PAUSE: Final = 5
# Seconds between two messages to one receiver: people cannot read faster, and their services reject more.
PAUSES: Final[Mapping[Format, float]] = {
    "standard": 0.02, "template": 0.02, "slack": 1.0, "discord": 1.0, "teams": 1.0, "email": 5.0,
}  # fmt: skip

# Longer results are left out of a message.
MOST_RESULT_BYTES: Final = 64 * 1024
_MOST_ERROR_CHARACTERS: Final = 1000
# Discord rejects a longer text.
_MOST_DISCORD_CHARACTERS: Final = 2000
_VERBS: Final = {
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "was cancelled",
    "execution.waiting": "waits",
    "approval.requested": "waits for an approval",
    "trigger.missed": "missed a start",
    "trigger.paused": "was paused",
    "trigger.failing": "fails",
}


def delay_after(failures: int, *, draw: float) -> float:
    """Return the seconds until the next attempt: doubled with each failure, up to an hour, with a fifth by chance.

    Args:
        failures: Failed attempts, from 1.
        draw: A uniform sample from [0, 1).
    """
    full = min(2.0 ** min(failures - 1, 16), _LONGEST_DELAY_SECONDS)
    return full * (0.8 + 0.4 * draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEvent:
    """An event that callbacks tell of.

    Attributes:
        id: The same in every repeat of the message.
        subject: Id of the execution, trigger or callback.
        data: The details, such as `execution`.
        link: Address of the subject's page; None if the installation has no public address.
        depth: The number of ends that have led to it, its own included; 0 if it belongs to no execution.
        traceparent: The trace context of the execution, as a `traceparent` header; empty without traces.
    """

    id: str
    type: str
    workspace_id: WorkspaceId
    at: datetime
    subject: str
    data: Mapping[str, JSON]
    link: str | None = None
    depth: int = 0
    traceparent: str = ""


def cloud_event(event: CallbackEvent, *, source: str) -> Mapping[str, JSON]:
    """Return the event as CloudEvents 1.0, JSON format."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": f"dev.flowrunner.{event.type}.v1",
        "subject": event.subject,
        "time": rfc3339(event.at),
        "datacontenttype": "application/json",
        "data": event.data,
    }


def text_of(event: CallbackEvent) -> str:
    """Return the event as a sentence."""
    if event.type == TEST_EVENT:
        return "This is a test of a FlowRunner callback."
    if event.type == "callback.disabled":
        return f"The callback {event.data.get('name') or event.subject} was disabled: {event.data.get('reason')}"
    execution, trigger = event.data.get("execution"), event.data.get("trigger")
    facts: Mapping[str, JSON] = execution if isinstance(execution, Mapping) else {}
    flow = facts.get("flow_name") or event.data.get("flow_name")
    subject = f"Flow '{flow}'" if flow else "An execution"
    if isinstance(trigger, Mapping):
        subject = f"Trigger '{trigger.get('name')}' of {'flow ' + repr(flow) if flow else 'a flow'}"
    text = f"{subject} {_VERBS.get(event.type, event.type)}"
    reason = facts.get("error") or event.data.get("reason")
    return f"{text}: {_shortened(reason)}" if isinstance(reason, str) and reason else f"{text}."


def _shortened(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _MOST_ERROR_CHARACTERS else f"{line[:_MOST_ERROR_CHARACTERS]}…"


def slack_message(event: CallbackEvent) -> JSON:
    text = html.escape(text_of(event), quote=False)
    return {"text": text if event.link is None else f"{text}\n<{event.link}|Open {event.subject}>"}


def discord_message(event: CallbackEvent) -> JSON:
    text = text_of(event) if event.link is None else f"{text_of(event)}\n<{event.link}>"
    # Otherwise an error text could notify everybody in a channel.
    return {"content": text[:_MOST_DISCORD_CHARACTERS], "allowed_mentions": {"parse": []}}


def teams_message(event: CallbackEvent) -> JSON:
    """Return an adaptive card, as a webhook of Teams' workflows takes it."""
    text: dict[str, JSON] = {"type": "TextRun", "text": text_of(event)}
    # A text run is plain text; a text block would read Markdown.
    block: dict[str, JSON] = {"type": "RichTextBlock", "inlines": [text]}
    card: dict[str, JSON] = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "body": [block],
    }
    if event.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": event.link}]
    content: dict[str, JSON] = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [content]}
