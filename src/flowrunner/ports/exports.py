"""Reading of the whole content of a workspace, in portions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFlow:
    """A flow; ``tags`` is a JSON text, ``revision`` the number of its current revision."""

    id: FlowId
    name: str
    description: str
    version: str
    tags: str
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedExecution:
    """An execution; ``revision`` is None if its revision was erased."""

    id: ExecutionId
    flow_id: FlowId
    revision: int | None
    status: str
    started_at: datetime
    completed_at: datetime | None
    error: str | None
    parent_id: str | None
    rerun_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedEvent:
    """A recorded event; ``data`` is a JSON text."""

    seq: int
    at: datetime
    type: str
    data: str


class ExportStore(Protocol):
    async def flows(self, id: WorkspaceId, *, after: str, limit: int) -> Sequence[ExportedFlow]:
        """Return flows in the order of their ids."""
        ...

    async def definition(self, id: WorkspaceId, flow_id: FlowId, *, after: int) -> tuple[int, str] | None:
        """Return number and definition of the first revision after ``after``; None if there is none."""
        ...

    async def executions(self, id: WorkspaceId, *, after: str, limit: int) -> Sequence[ExportedExecution]:
        """Return executions in the order of their ids."""
        ...

    async def events(self, id: WorkspaceId, execution_id: ExecutionId, *, after: int) -> Sequence[ExportedEvent]:
        """Return some events after ``after``, which take little memory; none if there are no more."""
        ...
