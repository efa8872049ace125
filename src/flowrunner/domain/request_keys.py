"""Idempotency keys of requests that change something, by which the repeat of a request has no further effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flowrunner.domain.errors import FlowRunnerError, InvalidInput, invalid


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The key of a request.

    Attributes:
        request_id: The id of the one request: another one with the key is a repeat.
        digest: Digest of what is asked for, which tells a repeat from a mistake.
    """

    key: str
    request_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The answer of a request that succeeded."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class ClaimedKey:
    """A key that an earlier request has claimed.

    Attributes:
        answer: None until it is known, and if it is not kept.
    """

    digest: str
    claimed_at: datetime
    answer: KeptAnswer | None


class RequestKeyTaken(FlowRunnerError):
    """The rejection of a change: an earlier request with the key has been done."""


def key_was_reused() -> InvalidInput:
    return invalid("Idempotency-Key", "was used before, with another request", code="reused", hint="use another key")
