"""Callbacks: notifications to other servers and people, and when to repeat one."""

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
SIGNED: Final = frozenset({"standard", "template"})
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
        workspace_name: What people call the workspace; empty if it is not known.
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
    workspace_name: str = ""
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
