"""Jobs: work on many things that one request asks for, and that is done in the background, item by item."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from flowrunner.domain.values import JSON, AccountId, JobId, WorkspaceId

MAX_ITEMS: Final = 10_000
MAX_ERRORS: Final = 100
_MAX_MESSAGE_CHARACTERS: Final = 500


class JobStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class JobError:
    """The reason why an item was not done; ``item`` is None for the reason why the whole job has failed."""

    item: str | None
    message: str

    @classmethod
    def of(cls, item: str | None, message: str) -> "JobError":
        """Cut a message, in which secrets are hidden already."""
        return cls(item, message[:_MAX_MESSAGE_CHARACTERS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is seen.

    Attributes:
        type: A dotted name, such as `executions.rerun`.
        total: The number of its items.
        done: How many of them are done.
        failed: The number of items that failed.
        errors: The first of these, at most `MAX_ERRORS`.
    """

    id: JobId
    workspace_id: WorkspaceId
    account_id: AccountId
    type: str
    status: JobStatus
    total: int
    created_at: datetime
    completed_at: datetime | None = None
    done: int = 0
    failed: int = 0
    errors: tuple[JobError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob(Job):
    """A job that has more to do.

    Attributes:
        position: Its last item that was done or has failed; empty before the first one.
        work: What to do, as its type reads it.
    """

    position: str
    work: Mapping[str, JSON]


def key_of_item(id: JobId, item: str) -> str:
    """Return the idempotency key of an item: after a crash, the job finds what it has done."""
    # The blank separates it from the keys of clients.
    return f"{id} {item}"
