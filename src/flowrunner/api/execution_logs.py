"""Logs of executions over REST."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Self, TypeAlias, get_args

from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.execution_answers import STEP
from flowrunner.api.http.answers import (
    Answer,
    ListAnswer,
    Reply,
    errors,
    link_to_next,
    long_listing,
    part_of,
    present,
    stored,
)
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.errors import AnswerCutOff
from flowrunner.api.http.requests import DEFAULT_LIMIT, DIGITS, Count, Cursor, Limit, Offset, page_of
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.long_answers import while_allowed
from flowrunner.domain.errors import NotFound, invalid
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import ExecutionId, rfc3339
from flowrunner.ports.executions import LogFilter, LogLine
from flowrunner.services.executions import LINES_AT_ONCE

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

_Level: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(get_args(LogLevel))})]


class LogAnswer(Answer, frozen=True, kw_only=True):
    timestamp: str
    level: _Level
    message: str
    node_id: str | UnsetType = UNSET
    node_type: str | UnsetType = UNSET
    step: Annotated[str | UnsetType, STEP] = UNSET
    attempt: Annotated[
        int | UnsetType, Meta(description="The attempt of the step that wrote the line. Absent for the first one.")
    ] = UNSET
    data: Any = UNSET

    @classmethod
    def of(cls, line: LogLine) -> Self:
        return cls(
            timestamp=rfc3339(line.timestamp),
            level=line.level,
            message=line.message,
            node_id=present(line.node_id),
            node_type=present(line.node_type),
            step=present(line.step),
            attempt=line.attempt if line.attempt > 1 else UNSET,
            data=stored(line.data),
        )


class LogList(ListAnswer, frozen=True):
    logs: list[LogAnswer]


@router.get("/executions/{id}/logs", responses=errors(401, 403, 404, 422))
async def get_logs(
    request: Request,
    id: str,
    *,
    level: Annotated[LogLevel | None, Query(description="Only lines of this level.")] = None,
    min_level: Annotated[LogLevel | None, Query(description="Only lines of this level or a more severe one.")] = None,
    node: Annotated[str | None, Query(max_length=200, description="Only lines of this node.")] = None,
    step: Annotated[
        str | None,
        Query(max_length=2000, description="Only lines of the step with this full name, and of the steps inside it."),
    ] = None,
    attempt: Annotated[
        int | None,
        Query(ge=1, le=2**31, description="Only lines that an attempt with this number of any step wrote."),
        DIGITS,
    ] = None,
    q: Annotated[
        str | None, Query(max_length=200, description="Only lines with this text in their message, in any case.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    cursor: Cursor = None,
    count: Count = False,
) -> Reply[LogList]:
    """List the lines of the log of an execution, in their order."""
    if level is not None and min_level is not None:
        raise invalid("min_level", "cannot be combined with level")
    page = page_of(limit, offset, cursor, count=count)
    wanted = LogFilter(levels=_levels(level, min_level), node=node, step=step, attempt=attempt, text=q)
    portions, listed = await services_of(request).executions.logs(caller_of(request), ExecutionId(id), wanted, page)
    answers = _answers(portions)
    is_whole = len(listed.items) == page.limit or len(listed.items) < LINES_AT_ONCE
    if not is_whole:
        answers = await while_allowed(request, answers)
    return await long_listing(
        LogList([], **part_of(page, listed)),
        answers,
        is_whole=is_whole,
        headers=link_to_next(request, listed.next_cursor),
    )


async def _answers(portions: AsyncIterator[Sequence[LogLine]]) -> AsyncIterator[Sequence[LogAnswer]]:
    """Raises: AnswerCutOff if the execution is deleted before all has been read."""
    try:
        async for lines in portions:
            yield [LogAnswer.of(line) for line in lines]
    except NotFound:
        raise AnswerCutOff from None


def _levels(level: LogLevel | None, least: LogLevel | None) -> Sequence[LogLevel]:
    if level is not None:
        return (level,)
    levels: Sequence[LogLevel] = get_args(LogLevel)
    return () if least is None else levels[levels.index(least) :]
