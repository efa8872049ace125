"""Facts about the installation that only its database knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from flowrunner.domain.values import FlowId, WorkspaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """Facts about the database.

    Attributes:
        size: Its size in bytes, with free space that it keeps.
        listeners: Processes that listen for notifications of others on it.
    """

    size: int
    listeners: int


class RunningFlow(NamedTuple):
    """A flow with running executions, and their number."""

    workspace_id: WorkspaceId
    id: FlowId
    name: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Work that waits in the database, of all processes on it.

    Attributes:
        is_paused: The installation starts no executions.
        callbacks: Messages of callbacks that wait to be delivered; more are not counted beyond `MOST_COUNTED`.
        due_since: The earliest due time of the schedules; None if nothing is planned, or while starts are paused.
        waiting_for_slot_since: The start of the longest wait for an active slot that is stored.
        waiting_for_concurrency_since: The start of the longest wait for a concurrency slot.
        job_runs: The end of the last run of each background job that one of all processes runs.
    """

    is_paused: bool
    callbacks: int
    due_since: datetime | None
    waiting_for_slot_since: datetime | None
    waiting_for_concurrency_since: datetime | None
    job_runs: Mapping[str, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningExecutions:
    """Executions that run or wait for an active slot, of all processes on the database.

    Attributes:
        number: Their number; more are not counted beyond `MOST_COUNTED`.
        flows: The flows with the most of these.
    """

    number: int
    flows: Sequence[RunningFlow]


MOST_COUNTED: Final = 100_000


class DatabaseInspector(Protocol):
    async def facts(self) -> DatabaseFacts: ...

    async def backlog(self) -> Backlog:
        """Return the work that waits. Raises: Unavailable."""
        ...

    async def running(self, *, most_flows: int) -> RunningExecutions:
        """Count the running executions, which takes longer the more there are. Raises: Unavailable.

        Args:
            most_flows: The number of `flows`.
        """
        ...
