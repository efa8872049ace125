"""Triggers: what starts a flow by itself, as its document says it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, NewType, TypeAlias

from flowrunner.domain.prepared import Prepared
from flowrunner.domain.static_dataclass import static_dataclass

TriggerId = NewType("TriggerId", str)

TriggerType: TypeAlias = Literal["schedule", "webhook", "execution"]
TriggerState: TypeAlias = Literal["armed", "paused", "failing", "ended"]
Missed: TypeAlias = Literal["none", "latest", "all"]
Overlap: TypeAlias = Literal["skip", "queue", "replace", "allow"]
EndStatus: TypeAlias = Literal["completed", "failed", "cancelled"]
Scheme: TypeAlias = Literal["standard", "github", "stripe", "slack", "hmac", "token", "none"]
Algorithm: TypeAlias = Literal["sha256", "sha1", "sha512"]
Encoding: TypeAlias = Literal["hex", "base64"]
RespondMode: TypeAlias = Literal["accepted", "result"]

# A trigger that has failed as often in a row is shown as failing.
FAILING_AFTER: Final = 3


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Due times: of a cron expression, at an interval, or one moment. Exactly one of the three is given.

    Attributes:
        cron: Five fields, read in ``timezone``.
        every_seconds: Counted from ``start``, or from 1970-01-01T00:00Z.
        timezone: The IANA name of a time zone.
        missed: The due times to start after an outage: none, the latest, or all.
        missed_window_seconds: Older due times are not started after an outage.
        overlap: What happens if an execution that the trigger started before is open: no start, a start in a queue, a
            start that replaces it, or a start beside it.
        jitter_seconds: The longest delay of a start after its due time.
        start: No due time is before it.
        end: No due time is after it.
    """

    cron: str | None = None
    every_seconds: float | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    missed: Missed = "latest"
    missed_window_seconds: float = 86_400.0
    overlap: Overlap = "skip"
    jitter_seconds: float = 0.0
    start: datetime | None = None
    end: datetime | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The check that a request comes from its sender.

    Attributes:
        secrets: The keys, each of which is accepted; empty for the scheme `none`.
        header: The header of the signature or token; "" for a scheme that has its own.
    """

    scheme: Scheme
    secrets: tuple[Prepared, ...] = ()
    header: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """The answer to a request: at once with the execution's id, or with the result if it comes in time."""

    mode: RespondMode = "accepted"
    timeout_seconds: float = 20.0


@static_dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTrigger:
    """Requests of other servers.

    Attributes:
        when: Requests for which this is false start nothing; None accepts all.
        dedupe: The key of which the second request starts nothing; None for the sender's own id, if it has one.
    """

    verify: Verify
    when: Prepared | None = None
    dedupe: Prepared | None = None
    respond: Respond = Respond()


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Ends of another flow's executions.

    Attributes:
        flow: The id or name of that flow.
        children: Executions that a step of another execution has started count too.
    """

    flow: str
    status: tuple[EndStatus, ...] = ("completed",)
    children: bool = False


TriggerSpec: TypeAlias = Schedule | WebhookTrigger | Chain


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger as its flow's document says it.

    Attributes:
        input: The input of the executions, with the names `trigger` and `vars`.
        labels: Their labels, with the same names; None if they have none.
    """

    name: str
    spec: TriggerSpec
    input: Prepared
    labels: Prepared | None = None

    @property
    def type(self) -> TriggerType:
        return type_of(self.spec)

    @property
    def reads_last(self) -> bool:
        """Return whether an expression reads `trigger.last`, by this name."""
        return any("last" in read.mentions.trigger for read in (self.input, self.labels) if read is not None)


def type_of(spec: TriggerSpec) -> TriggerType:
    match spec:
        case Schedule():
            return "schedule"
        case WebhookTrigger():
            return "webhook"
        case Chain():
            return "execution"


# The keys of `trigger` in its own expressions.
KNOWN_KEYS: Final[Mapping[TriggerType, tuple[str, ...]]] = {
    "schedule": ("type", "name", "at", "due_at", "due_local", "last"),
    "webhook": ("type", "name", "at", "body", "headers", "query"),
    "execution": ("type", "name", "at", "execution"),
}
# The keys of `trigger.last`.
LAST_KEYS: Final = ("id", "due_at", "started_at", "completed_at", "result")
