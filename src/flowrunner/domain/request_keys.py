"""Idempotency keys of requests that change something, by which the repeat of a request has no further effect."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flowrunner.domain.errors import FlowRunnerError, InvalidInput, invalid

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The key of a request.

    Attributes:
        key: What is stored of it: see `stored_form`.
        request_id: The id of the one request: another one with the key is a repeat.
        digest: Digest of what is asked for, which tells a repeat from a mistake.
        sent: The key as it was sent, which earlier versions have stored; None if only the stored form is known.
    """

    key: str
    request_id: str
    digest: str
    sent: str | None = None


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
        request_id: The id of that request.
        answer: None until it is known, and if it is not kept.
    """

    request_id: str
    digest: str
    claimed_at: datetime
    answer: KeptAnswer | None


class RequestKeyTaken(FlowRunnerError):
    """The rejection of a change: an earlier request with the key has been done."""


def is_key(text: str) -> bool:
    """Return whether a text may be an `Idempotency-Key`: 1 to 255 visible characters of ASCII."""
    return _KEY.fullmatch(text) is not None


def stored_form(key: str) -> str:
    """Return what is stored of an `Idempotency-Key`, which may hold a secret.

    It has a space, so that no key that was sent, and stored by an earlier version, is the same.
    """
    return f"sha256 {hashlib.sha256(key.encode()).hexdigest()}"


def key_was_reused() -> InvalidInput:
    return invalid("Idempotency-Key", "was used before, with another request", code="reused", hint="use another key")
