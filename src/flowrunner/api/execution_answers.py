"""Answers about executions: as they start, in lists, and in full."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Self, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.http.answers import Answer, ListAnswer, present, stored
from flowrunner.api.previews import viewed
from flowrunner.domain.events import Completed, Failed
from flowrunner.domain.status import Status
from flowrunner.domain.values import milliseconds, rfc3339
from flowrunner.ports.executions import LONGEST_LISTED_ERROR, ExecutionDetail, ExecutionView
from flowrunner.ports.journal import Recorded
from flowrunner.services.executions import StartedExecution
from flowrunner.stored_json import StoredJson

ExecutionStatus: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [status.value for status in Status]})]
_IF_ENDED: Final = Meta(description="Only with `Prefer: wait`, of an execution that has ended in time.")
STEP: Final = Meta(description="The step, such as fetch.1, or each.1[4]/push.1 in a loop.")


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
        event = _decode_failure(failed)
        error = event.error
        return cls(
            type=error.type,
            message=error.message,
            node=present(error.node),
            step=present(event.step),
            attempt=present(event.attempt),
            input=viewed(_value_of(event.input), most),
            data=viewed(_value_of(error.data), most),
        )


_NULL: Final = b"null"


class _StoredError(msgspec.Struct):
    type: str
    message: str
    node: str | None = None
    data: msgspec.Raw = msgspec.Raw(_NULL)


class _StoredFailure(msgspec.Struct):
    """A stored `Failed` event. Its values are not decoded, because each may have a megabyte."""

    error: _StoredError
    step: str | None = None
    attempt: int | None = None
    input: msgspec.Raw = msgspec.Raw(_NULL)


_decode_failure: Final = msgspec.json.Decoder(_StoredFailure).decode


def _value_of(raw: msgspec.Raw) -> bytes | None:
    value = bytes(raw)
    return None if value == _NULL else value


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
    def of(cls, started: StartedExecution, last: Recorded | None = None) -> Self:
        return cls(**_run_fields(started, last))


class RerunAnswer(RunAnswer, frozen=True, kw_only=True):
    revision: Annotated[int | UnsetType, Meta(description="The flow revision that this execution runs.")] = UNSET

    @classmethod
    def of(cls, started: StartedExecution, last: Recorded | None = None) -> Self:
        return cls(**_run_fields(started, last), revision=present(started.revision))


def _run_fields(started: StartedExecution, last: Recorded | None) -> dict[str, Any]:
    """Return the fields of an answer to a start. Args: last: The last event, if the request has waited for the end."""
    fields: dict[str, Any] = {
        "execution_id": started.id,
        "flow_id": started.flow_id,
        "status": started.status.value,
        "created_at": rfc3339(started.created_at),
    }
    if last is None:
        return fields
    fields["completed_at"] = rfc3339(last.at)
    fields["duration"] = milliseconds(last.at - started.created_at)
    match last.event:
        case Completed(result=result):
            return fields | {"status": Status.COMPLETED.value, "result": result}
        case Failed(error=error):
            of_failure = {"error": error.message, "failure": FailureAnswer.of(last.data)}
            return fields | {"status": Status.FAILED.value, **of_failure}
        case _:
            return fields | {"status": Status.CANCELLED.value}


def duration_of(started_at: datetime, ended_at: datetime | None) -> int | UnsetType:
    """Return the milliseconds between two times; nothing before the end."""
    return UNSET if ended_at is None else milliseconds(ended_at - started_at)


class LogCounts(Answer, frozen=True, kw_only=True):
    """The number of lines in a log, by level."""

    debug: int = 0
    info: int = 0
    warn: int = 0
    error: int = 0


class FirstWait(Answer, frozen=True, kw_only=True):
    """The place at which an execution waits."""

    type: Annotated[
        str,
        Meta(description="signal, approval, concurrency, room, or another type as in `waiting_for` of the execution."),
    ]
    node: Annotated[
        str | UnsetType, Meta(description="Absent if the execution itself waits: for concurrency or for room.")
    ] = UNSET


class ExecutionFields(Answer, frozen=True, kw_only=True):
    """The fields that lists and the execution itself have in common."""

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
    failed_node: Annotated[
        str | UnsetType, Meta(description="The node that failed. Absent if the error belongs to no node.")
    ] = UNSET
    logs: Annotated[LogCounts | UnsetType, Meta(description="Absent until the execution has ended.")] = UNSET
    trigger: Annotated[str | UnsetType, Meta(description="The id of the trigger that has started it.")] = UNSET
    started_by: Annotated[
        str | UnsetType,
        Meta(
            description="The account that has started it, re-run it, or fired its trigger by hand."
            " Absent if no account asked for it."
        ),
    ] = UNSET
    parent_id: Annotated[str | UnsetType, Meta(description="The parent execution, which waits for this one.")] = UNSET
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


class ExecutionAnswer(ExecutionFields, frozen=True, kw_only=True):
    waiting_at: Annotated[
        FirstWait | UnsetType,
        Meta(
            description="The first one of its waits. Absent unless its status is waiting, or it runs and waits for a"
            " concurrency slot or for room in memory."
        ),
    ] = UNSET

    @classmethod
    def of(cls, execution: ExecutionView) -> Self:
        error = execution.error
        shortened = UNSET if error is None else _shortened(error)
        return cls(**fields_of(execution), error=shortened, waiting_at=stored(execution.waiting_at))


def fields_of(execution: ExecutionView) -> dict[str, Any]:
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
        shown["duration"] = milliseconds(ended_at - execution.started_at)
    if log_counts is not None:
        counts = _LOG_COUNTS.read(log_counts, id=execution.id)
        shown["logs"] = present(counts)
    if execution.labels is not None:
        labels = _LABELS.read(execution.labels, id=execution.id)
        shown["labels"] = present(labels)
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
    ("started_by", "started_by"),
    ("parent_id", "parent_id"),
    ("rerun_of", "rerun_of"),
    ("repaired_by", "repaired_by"),
)


# Most executions of a flow write as many lines.
_LOG_COUNTS: Final = StoredJson[LogCounts](
    LogCounts, column="executions.log_counts", decode=lru_cache(maxsize=1024)(msgspec.json.Decoder(LogCounts).decode)
)
_LABELS: Final = StoredJson[dict[str, str]](dict[str, str], column="executions.labels")


def _shortened(error: str) -> str:
    return error if len(error) <= LONGEST_LISTED_ERROR else error[: LONGEST_LISTED_ERROR - 1] + "…"


class WaitingFor(Answer, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The event that a step waits for. Further members depend on the type, such as `key` for a signal."""

    type: Annotated[
        str,
        Meta(
            description="retry, delay, signal, approval, flow, concurrency, room, or a type defined by the node type."
        ),
    ]
    node: str | UnsetType | None = UNSET
    step: Annotated[str | UnsetType | None, STEP] = UNSET
    until: Annotated[
        str | UnsetType | None,
        Meta(description="The time at which the step continues on its own; null if it never does."),
    ] = UNSET


class ExecutionDetailAnswer(ExecutionFields, frozen=True, kw_only=True):
    input: Any
    config: Annotated[
        dict[str, Any] | UnsetType,
        Meta(
            description="The configuration values that it reads, as they were when it was created. Absent without any."
        ),
    ] = UNSET
    result: Annotated[Any, Meta(description="Absent until the execution has completed.")] = UNSET
    waiting_for: Annotated[list[WaitingFor] | UnsetType, Meta(description="Absent unless the execution waits.")] = UNSET
    failure: Annotated[FailureAnswer | UnsetType, Meta(description="Absent unless the execution failed.")] = UNSET

    @classmethod
    def of(cls, execution: ExecutionDetail, most: int | None = None) -> Self:
        """Return the answer for an execution. Args: most: See `most_of_view`."""
        return cls(
            **fields_of(execution),
            error=present(execution.error),
            input=viewed(execution.input, most),
            config=viewed(execution.config, most),
            result=viewed(execution.result, most),
            waiting_for=stored(execution.waiting_for),
            failure=UNSET if execution.failure is None else FailureAnswer.of(execution.failure, most),
        )


class ExecutionList(ListAnswer, frozen=True):
    executions: list[ExecutionAnswer]
