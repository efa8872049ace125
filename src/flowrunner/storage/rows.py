"""Conversion of column values."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import structlog

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.storage.transaction import Row

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# Callers add and subtract years.
_EARLIEST: Final = datetime(1000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)

logger = structlog.get_logger()


def to_ms(at: datetime) -> int:
    """Return whole milliseconds since 1970, UTC."""
    return (at - EPOCH) // _MILLISECOND


def to_ms_or_none(at: datetime | None) -> int | None:
    return None if at is None else (at - EPOCH) // _MILLISECOND


# A few rows are read very often.
@lru_cache(maxsize=4096)
def from_ms(ms: int) -> datetime:
    """Return a stored time. One beyond the calendar is its earliest or latest time, with a line in the log."""
    try:
        return EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        # A row that cannot be read must not hide or stop the others.
        logger.error("row.time_out_of_range", milliseconds=ms)
        return _EARLIEST if ms < 0 else _LATEST


def from_ms_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def ids_with_workspaces(rows: Sequence[Row]) -> list[tuple[ExecutionId, WorkspaceId]]:
    return [(ExecutionId(id), WorkspaceId(workspace_id)) for id, workspace_id in rows]
