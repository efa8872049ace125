"""Executions over REST."""

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar, get_args

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ListAnswer,
    Message,
    Reply,
    answer,
    created,
    errors,
    link_to_next,
    long_listing,
    part_of,
    present,
    stored,
)
from flowrunner.api.http.conditions import IF_NONE_MATCH, NOT_MODIFIED, is_known, not_modified, with_etag
from flowrunner.api.http.errors import etag
from flowrunner.api.http.idempotency import IDEMPOTENCY_KEY, idempotency_key_of
from flowrunner.api.http.requests import (
    DEFAULT_LIMIT,
    Body,
    Count,
    Cursor,
    Limit,
    Offset,
    Since,
    Until,
    moment_of,
    page_of,
)
from flowrunner.api.http.routing import ProtectedRoute, caller_of, needs
from flowrunner.api.http.state import services_of
from flowrunner.api.previews import VIEW, most_of_view, viewed
from flowrunner.api.waiting import PREFER, start_and_wait, wait_preferred
from flowrunner.domain.account import Right
from flowrunner.domain.errors import invalid
from flowrunner.domain.labels import (
    MAX_LABELS,
    MAX_NAME_CHARACTERS,
    MAX_TERMS,
    MAX_VALUE_CHARACTERS,
    input_term,
    label_term,
)
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, rfc3339
from flowrunner.ports.executions import (
    LONGEST_LISTED_ERROR,
    ExecutionDetail,
    ExecutionFilter,
    ExecutionView,
    LogFilter,
    LogLine,
)
from flowrunner.services.executions import LINES_AT_ONCE, StartedExecution
from flowrunner.services.reruns import CURRENT

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)


LABEL: Final = {
    "name": "label",
    "in": "query",
    "required": False,
    "description": "Only executions with this label, written as `team:core`; of several parameters, with all of them.",
    "schema": {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": MAX_TERMS},
}
INPUT: Final = {
    "name": "input.*",
    "in": "query",
    "required": False,
    "description": "Only executions with this value of an input that their flow declares as `searchable`, such as "
    "`input.order_id=42`; of several parameters, with all of them.",
    "schema": {"type": "string", "maxLength": 1000},
}


_LABELS: Final = (
    f"Names and values for lists. A name has 1 to {MAX_NAME_CHARACTERS} letters, digits and `. _ - /`, a value 1 to "
    f"{MAX_VALUE_CHARACTERS} printable characters."
)


class RunFlow(Body):
    input: dict[str, Any] = Field(default={}, description="The input, which the flow reads as `${flow.input}`.")
    labels: dict[str, str] = Field(default={}, max_length=MAX_LABELS, description=_LABELS)


ExecutionStatus: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [status.value for status in Status]})]
_Level: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(get_args(LogLevel))})]
_IF_ENDED: Final = Meta(description="Only with `Prefer: wait`, of an execution that has ended in time.")
_STEP: Final = Meta(description="The step, such as fetch.1, or each.1[4]/push.1 in a loop.")


class FailureAnswer(Answer, frozen=True, kw_only=True):
    """The reason and the place of an execution's failure."""

    type: str
    message: str
    node: str | UnsetType = UNSET
    step: str | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    input: Annotated[Any, Meta(description="The step's input.")] = UNSET
    data: Any = UNSET

    @classmethod
    def of(cls, failed: bytes, most: int | None = None) -> Self:
        """Return the answer for a stored `Failed` event. Args: most: See `most_of_view`."""
        event = msgspec.json.decode(failed)
        error = event["error"]
        return cls(
            type=error["type"],
            message=error["message"],
            node=present(error["node"]),
            step=present(event.get("step")),
            attempt=present(event.get("attempt")),
            input=_viewed_again(event.get("input"), most),
            data=_viewed_again(error["data"], most),
        )


class RunAnswer(Answer, frozen=True, kw_only=True):
    execution_id: str
    flow_id: str
    status: ExecutionStatus
    created_at: str
    completed_at: Annotated[str | UnsetType, _IF_ENDED] = UNSET
    duration: Annotated[int | UnsetType, Meta(description="Milliseconds. Only with `Prefer: wait`.")] = UNSET
    result: Annotated[Any, _IF_ENDED] = UNSET
    error: Annotated[str | UnsetType, _IF_ENDED] = UNSET
    failure: Annotated[FailureAnswer | UnsetType, _IF_ENDED] = UNSET

    @classmethod
    def of(cls, started: StartedExecution, ended: ExecutionDetail | None = None) -> Self:
        return cls(**(_started_fields(started) | ({} if ended is None else _ended_fields(ended))))


class RerunAnswer(RunAnswer, frozen=True, kw_only=True):
    revision: Annotated[int | UnsetType, Meta(description="The flow revision that this execution runs.")] = UNSET

    @classmethod
    def of(cls, started: StartedExecution, ended: ExecutionDetail | None = None) -> Self:
        fields = _started_fields(started) | ({} if ended is None else _ended_fields(ended))
        return cls(**fields, revision=present(started.revision))


def _started_fields(started: StartedExecution) -> dict[str, Any]:
    return {
        "execution_id": started.id,
        "flow_id": started.flow_id,
        "status": started.status.value,
        "created_at": rfc3339(started.created_at),
    }


def _ended_fields(ended: ExecutionDetail) -> dict[str, Any]:
    """Return the fields of an answer to `Prefer: wait` for an execution that has ended."""
    assert ended.completed_at is not None, "it has ended"
    return {
        "status": ended.status.value,
        "completed_at": rfc3339(ended.completed_at),
        "duration": _milliseconds(ended.completed_at - ended.started_at),
        "result": stored(ended.result),
        "error": present(ended.error),
        "failure": UNSET if ended.failure is None else FailureAnswer.of(ended.failure),
    }


R = TypeVar("R", bound=RunAnswer)


class LogCounts(Answer, frozen=True, kw_only=True):
    """The number of lines in a log, by level."""

    debug: int = 0
    info: int = 0
    warn: int = 0
    error: int = 0


_LOG_COUNTS: Final = msgspec.json.Decoder(LogCounts)


class ExecutionAnswer(Answer, frozen=True, kw_only=True):
    id: str
    flow_id: str
    status: ExecutionStatus
    started_at: str
    completed_at: Annotated[str | UnsetType, Meta(description="Absent until the execution has ended.")] = UNSET
    duration: Annotated[int | UnsetType, Meta(description="Milliseconds. Absent until the execution has ended.")] = (
        UNSET
    )
    error: Annotated[str | UnsetType, Meta(description="The error message. Absent unless the execution failed.")] = (
        UNSET
    )
    flow_name: Annotated[str | UnsetType, Meta(description="The present name of the flow.")] = UNSET
    revision: Annotated[int | UnsetType, Meta(description="The flow revision that this execution runs.")] = UNSET
    error_type: Annotated[str | UnsetType, Meta(description="The type of the error, such as http.500.")] = UNSET
    failed_node: Annotated[str | UnsetType, Meta(description="The node whose error it is. Absent if no node's.")] = (
        UNSET
    )
    logs: Annotated[LogCounts | UnsetType, Meta(description="Absent until the execution has ended.")] = UNSET
    trigger: Annotated[str | UnsetType, Meta(description="The id of the trigger that has started it.")] = UNSET
    rerun_of: Annotated[str | UnsetType, Meta(description="The execution that this one repeats.")] = UNSET
    repaired_by: Annotated[
        str | UnsetType,
        Meta(
            description="The completed rerun of this execution, which has failed or was cancelled; or the rerun of it."
        ),
    ] = UNSET

    labels: Annotated[
        dict[str, str] | UnsetType, Meta(description="The labels that it was started with. Absent without any.")
    ] = UNSET

    @classmethod
    def of(cls, execution: ExecutionView) -> Self:
        error = execution.error
        return cls(**_shown(execution), error=UNSET if error is None else _shortened(error))


def _shown(execution: ExecutionView) -> dict[str, Any]:
    """Return the fields of an execution, without its error."""
    ended_at, log_counts = execution.completed_at, execution.log_counts
    shown: dict[str, Any] = {
        "id": execution.id,
        "flow_id": execution.flow_id,
        "status": execution.status,
        "started_at": rfc3339(execution.started_at),
    }
    if ended_at is not None:
        shown["completed_at"] = rfc3339(ended_at)
        shown["duration"] = _milliseconds(ended_at - execution.started_at)
    if log_counts is not None:
        shown["logs"] = _log_counts(log_counts)
    if execution.labels is not None:
        shown["labels"] = msgspec.Raw(execution.labels)
    for name, field in _IF_PRESENT:
        value = getattr(execution, field)
        if value is not None:
            shown[name] = value
    return shown


# Fields of an answer that are left out if there is no value, with those of an execution that hold it.
_IF_PRESENT: Final = (
    ("flow_name", "flow_name"),
    ("revision", "revision"),
    ("error_type", "error_type"),
    ("failed_node", "failed_node"),
    ("trigger", "trigger_id"),
    ("rerun_of", "rerun_of"),
    ("repaired_by", "repaired_by"),
)


# Most executions of a flow write as many lines.
@lru_cache(maxsize=1024)
def _log_counts(text: bytes) -> LogCounts:
    return _LOG_COUNTS.decode(text)


def _shortened(error: str) -> str:
    return error if len(error) <= LONGEST_LISTED_ERROR else error[: LONGEST_LISTED_ERROR - 1] + "…"


def _milliseconds(duration: timedelta) -> int:
    return duration // _MILLISECOND


_MILLISECOND: Final = timedelta(milliseconds=1)


class WaitingFor(Answer, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The event that a step waits for. Further members depend on the type, such as `key` for a signal."""

    type: Annotated[
        str,
        Meta(
            description="retry, delay, signal, approval, flow, concurrency, room, or a type defined by the node type."
        ),
    ]
    node: str | UnsetType | None = UNSET
    step: Annotated[str | UnsetType | None, _STEP] = UNSET
    until: Annotated[
        str | UnsetType | None,
        Meta(description="The time at which the step continues on its own; null if it never does."),
    ] = UNSET


def _viewed_again(value: Any, most: int | None) -> Any:
    if value is None or most is None:
        return present(value)
    return viewed(msgspec.json.encode(value), most)


class ExecutionDetailAnswer(ExecutionAnswer, frozen=True, kw_only=True):
    input: Any
    result: Annotated[Any, Meta(description="Absent until the execution has completed.")] = UNSET
    waiting_for: Annotated[list[WaitingFor] | UnsetType, Meta(description="Absent unless the execution waits.")] = UNSET
    failure: Annotated[FailureAnswer | UnsetType, Meta(description="Absent unless the execution failed.")] = UNSET
    parent_id: Annotated[str | UnsetType, Meta(description="The parent execution, which waits for this one.")] = UNSET


class ExecutionList(ListAnswer, frozen=True):
    executions: list[ExecutionAnswer]


class LogAnswer(Answer, frozen=True, kw_only=True):
    timestamp: str
    level: _Level
    message: str
    node_id: str | UnsetType = UNSET
    node_type: str | UnsetType = UNSET
    step: Annotated[str | UnsetType, _STEP] = UNSET
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
            data=stored(line.data),
        )


class LogList(ListAnswer, frozen=True):
    logs: list[LogAnswer]


@router.post(
    "/flows/{id}/run",
    status_code=201,
    responses={
        200: {"description": "Ended within the time of `Prefer: wait`, or already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY, PREFER], **needs(Right.RUN)},
)
async def run_flow(request: Request, id: str, body: RunFlow | None = None) -> Reply[RunAnswer]:
    """Start an execution. It is stored durably before this answers, so a crash does not lose it."""
    return await run(request, FlowId(id), body)


async def run(request: Request, flow_id: FlowId, body: RunFlow | None) -> Reply[RunAnswer]:
    """Start an execution of a flow, and wait for its end if the client prefers that."""
    executions, key = services_of(request).executions, idempotency_key_of(request)
    caller, body = caller_of(request), body or RunFlow()
    seconds = wait_preferred(request)
    if not seconds:
        started = await executions.run(caller, flow_id, body.input, labels=body.labels, idempotency_key=key)
        return accepted(started, RunAnswer.of(started))

    async def start(new_id: ExecutionId) -> StartedExecution:
        return await executions.run(caller, flow_id, body.input, labels=body.labels, idempotency_key=key, id=new_id)

    started, ended = await start_and_wait(request, start, seconds=seconds)
    return accepted(started, RunAnswer.of(started, ended), waited=None if ended is None else seconds)


def accepted(started: StartedExecution, body: R, *, waited: int | None = None) -> Reply[R]:
    headers = {"Idempotent-Replayed": "true"} if started.is_repeat else {}
    if waited is not None:
        headers["Preference-Applied"] = f"wait={waited}"
    return answer(body, 200, headers) if headers else created(body, f"/api/v1/executions/{started.id}")


@router.get("/executions", responses=errors(401, 403, 422), openapi_extra={"parameters": [LABEL, INPUT]})
async def list_executions(
    request: Request,
    *,
    flow_id: Annotated[str | None, Query(max_length=200, description="Only executions of this flow.")] = None,
    flow: Annotated[
        str | None, Query(max_length=200, description="Only executions of the flow with this id or name.")
    ] = None,
    status: Annotated[
        str | None,
        Query(max_length=200, description="One status, or several, separated by commas or in several parameters."),
    ] = None,
    since: Since = None,
    until: Until = None,
    error_type: Annotated[
        str | None, Query(max_length=200, description="Only failures with this `error_type`.")
    ] = None,
    node: Annotated[str | None, Query(max_length=200, description="Only failures at this `failed_node`.")] = None,
    trigger: Annotated[str | None, Query(max_length=200, description="Only what this trigger has started.")] = None,
    rerun_of: Annotated[str | None, Query(max_length=200, description="Only reruns of this execution.")] = None,
    unrepaired: Annotated[
        bool, Query(description="Only failed executions that have no `repaired_by`, the completed rerun.")
    ] = False,
    sort: Annotated[
        Literal["started_at", "-started_at"], Query(description="Oldest first, or newest first.")
    ] = "-started_at",
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    cursor: Cursor = None,
    count: Count = False,
) -> Reply[ExecutionList]:
    """List executions, the newest first.

    A request examines a limited number of executions, so a page may be shorter than `limit` and have a `next_cursor`.
    """
    page = page_of(limit, offset, cursor, count=count, is_reversed=sort == "started_at")
    wanted = filter_of(
        flow_id=flow_id,
        statuses=request.query_params.getlist("status"),
        error_type=error_type,
        node=node,
        trigger=trigger,
        rerun_of=rerun_of,
        unrepaired=unrepaired,
        labels=request.query_params.getlist("label"),
        inputs=[(name[6:], value) for name, value in request.query_params.multi_items() if name.startswith("input.")],
    )
    listed = await services_of(request).executions.page(
        caller_of(request), wanted, page, flow=flow, since=moment_of("since", since), until=moment_of("until", until)
    )
    answers = [ExecutionAnswer.of(execution) for execution in listed.items]
    return answer(ExecutionList(answers, **part_of(page, listed)), headers=link_to_next(request, listed.next_cursor))


def filter_of(
    *,
    flow_id: str | None,
    statuses: Sequence[str],
    error_type: str | None,
    node: str | None,
    trigger: str | None,
    rerun_of: str | None,
    unrepaired: bool,
    labels: Sequence[str] = (),
    inputs: Sequence[tuple[str, str]] = (),
    within: str = "",
) -> ExecutionFilter:
    """Return the filter that a request names.

    Args:
        statuses: Texts that name one status each, or several separated by commas.
        labels: Labels as `name:value`, of which an execution has all.
        inputs: Searchable inputs with their values, of which an execution has all.
        within: The place of the values in the request, for errors, such as `filter.`.

    Raises: InvalidInput.
    """
    if unrepaired and statuses:
        raise invalid(f"{within}status", "cannot be combined with unrepaired, which selects failed executions")
    return ExecutionFilter(
        flow_id=None if flow_id is None else FlowId(flow_id),
        statuses=_statuses_of(statuses, f"{within}status"),
        error_type=error_type,
        failed_node=node,
        trigger_id=trigger,
        rerun_of=None if rerun_of is None else ExecutionId(rerun_of),
        is_unrepaired=unrepaired,
        terms=_terms_of(labels, inputs, within),
    )


def _terms_of(labels: Sequence[str], inputs: Sequence[tuple[str, str]], within: str) -> Sequence[tuple[str, str]]:
    """Raises: InvalidInput."""
    if len(labels) + len(inputs) > MAX_TERMS:
        raise invalid(f"{within}label", f"at most {MAX_TERMS} labels and inputs can be combined", code="too_long")
    terms = [label_term(text, f"{within}label") for text in labels]
    return [*terms, *(input_term(name, value) for name, value in inputs)]


def _statuses_of(texts: Sequence[str], field: str) -> list[Status]:
    """Raises: InvalidInput, with the field that has the texts."""
    try:
        return [Status(part.strip()) for text in texts for part in text.split(",")]
    except ValueError:
        raise invalid(field, f"must be one of {', '.join(Status)}, or several separated by commas") from None


def _state_of(execution: ExecutionDetail, most: int | None) -> str:
    """Return what differs after every change of an answer with the execution. Args: most: See `most_of_view`."""
    # The rest of the answer follows from the events.
    besides = (most, execution.waiting_for, execution.revision, execution.flow_name, execution.repaired_by)
    return f"{execution.last_seq}.{blake2b(repr(besides).encode(), digest_size=9).hexdigest()}"


@router.get(
    "/executions/{id}",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 403, 404, 422)},
    openapi_extra={"parameters": [VIEW, IF_NONE_MATCH]},
)
async def get_execution(request: Request, id: str) -> Reply[ExecutionDetailAnswer]:
    """Return an execution with its input, result and failure, and what it waits for."""
    most = most_of_view(request)
    execution = await services_of(request).executions.get(caller_of(request), ExecutionId(id))
    state = _state_of(execution, most)
    if is_known(request, state):
        return not_modified(state)
    return answer(
        ExecutionDetailAnswer(
            **_shown(execution),
            error=present(execution.error),
            input=viewed(execution.input, most),
            result=viewed(execution.result, most),
            waiting_for=stored(execution.waiting_for),
            failure=UNSET if execution.failure is None else FailureAnswer.of(execution.failure, most),
            parent_id=present(execution.parent_id),
        ),
        headers={"ETag": etag(state)},
    )


class RerunBody(Body):
    from_: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        max_length=2000,
        description="Node or step to start at; earlier results are reused. If absent, the whole flow runs again.",
    )
    input: dict[str, Any] | None = Field(default=None, description="A new input. If absent, the same input is used.")
    labels: dict[str, str] | None = Field(
        default=None, max_length=MAX_LABELS, description=f"{_LABELS} If absent, the same labels are used."
    )
    # The bound keeps numbers within the database's integer range.
    revision: Annotated[int, Field(ge=1, le=2**53)] | Annotated[str, Field(max_length=210)] = Field(
        default=CURRENT,
        description="The flow revision to run: `current`, `same` (the one that ran), a number, or `label:1.4.0`.",
    )
    idempotency: Literal["new", "same"] = Field(
        default="new",
        description="`new` if its steps send new idempotency keys, `same` if they repeat those of this execution.",
    )


@router.post(
    "/executions/{id}/rerun",
    status_code=201,
    responses={
        200: {"description": "Ended within the time of `Prefer: wait`, or already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY, PREFER], **needs(Right.RUN)},
)
async def rerun_execution(request: Request, id: str, body: RerunBody | None = None) -> Reply[RerunAnswer]:
    """Start a new execution that repeats this one: completely, with another input, or from one of its steps."""
    wanted, key, caller = body or RerunBody(), idempotency_key_of(request), caller_of(request)

    async def start(new_id: ExecutionId | None = None) -> StartedExecution:
        return await services_of(request).reruns.rerun(
            caller,
            ExecutionId(id),
            from_step=wanted.from_,
            input=wanted.input,
            labels=wanted.labels,
            revision=wanted.revision,
            same_keys=wanted.idempotency == "same",
            idempotency_key=key,
            new_id=new_id,
        )

    seconds = wait_preferred(request)
    if not seconds:
        started = await start()
        return accepted(started, RerunAnswer.of(started))
    started, ended = await start_and_wait(request, start, seconds=seconds)
    return accepted(started, RerunAnswer.of(started, ended), waited=None if ended is None else seconds)


@router.delete(
    "/executions/{id}",
    responses=errors(401, 403, 404, 409, 422),
    openapi_extra=needs(Right.RUN),
)
async def cancel_execution(
    request: Request,
    id: str,
    force: Annotated[
        bool, Query(description="End the execution immediately: skip `on_finish`, or interrupt handlers that run.")
    ] = False,
) -> Reply[Message]:
    """Cancel an execution. Its flow has ended when this answers; `on_finish` may still run.

    A repeated request while `on_finish` runs has no effect and gets the same answer. After the end it is a 409.
    """
    await services_of(request).executions.cancel(caller_of(request), ExecutionId(id), force=force)
    return answer(Message(message="Execution cancelled successfully"))


@router.delete("/executions/{id}/record", responses=errors(401, 403, 404, 409))
async def delete_record(request: Request, id: str) -> Reply[Message]:
    """Delete an execution that has ended, with its events and logs. It is in the audit log that it was deleted."""
    await services_of(request).records.delete(caller_of(request), ExecutionId(id))
    return answer(Message(message="Execution deleted successfully"))


@router.get("/executions/{id}/logs", responses=errors(401, 403, 404, 422))
async def get_logs(
    request: Request,
    id: str,
    *,
    level: Annotated[LogLevel | None, Query(description="Only lines of this level.")] = None,
    min_level: Annotated[LogLevel | None, Query(description="Only lines of this level or a more severe one.")] = None,
    node: Annotated[str | None, Query(max_length=200, description="Only lines of this node.")] = None,
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
    wanted = LogFilter(levels=_levels(level, min_level), node=node, text=q)
    portions, listed = await services_of(request).executions.logs(caller_of(request), ExecutionId(id), wanted, page)
    answers = ([LogAnswer.of(line) for line in lines] async for lines in portions)
    is_whole = len(listed.items) == page.limit or len(listed.items) < LINES_AT_ONCE
    return await long_listing(
        LogList([], **part_of(page, listed)),
        answers,
        is_whole=is_whole,
        headers=link_to_next(request, listed.next_cursor),
    )


def _levels(level: LogLevel | None, least: LogLevel | None) -> Sequence[LogLevel]:
    if level is not None:
        return (level,)
    levels: Sequence[LogLevel] = get_args(LogLevel)
    return () if least is None else levels[levels.index(least) :]
