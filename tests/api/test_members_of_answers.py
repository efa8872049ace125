"""Answers are made of values of the core: each member says what the part of its name says, and no other one."""

import importlib
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, get_args

import msgspec
import pytest

import flowrunner.api
from flowrunner.api.execution_answers import ExecutionAnswer
from flowrunner.api.http.answers import Answer
from flowrunner.bounded_json import decode_json
from flowrunner.domain.triggers import Schedule
from flowrunner.domain.values import AccountId, rfc3339
from flowrunner.ports.executions import LONGEST_LISTED_ERROR, ExecutionView
from flowrunner.ports.store import EntryView
from services.callers import caller_of
from support.values import Maker, parts

SAMPLES: Final = 8
MILLISECOND: Final = timedelta(milliseconds=1)
# Answers that are not made of the parts of one value, each with the reason.
OTHERS: Final = {
    "FailureAnswer": "a stored event",
    "PlannedJob": "a list",
    "PauseAnswer": "a moment",
    "NodeTypeAnswer": "a specification, which has functions",
}
# Members that are given beside the value.
GIVEN: Final = frozenset(
    {("FlowAnswer", "plan"), ("FlowAnswer", "same_name"), ("HookDeliveryAnswer", "request")}
).union(
    (name, member)
    for name in ("RunAnswer", "RerunAnswer")
    for member in ("completed_at", "duration", "result", "error", "failure")
)
# What else some of them need.
FURTHER: Final[Mapping[str, Mapping[str, Any]]] = {
    "OpenInvitationAnswer": {"sign_up": True},
    "TriggerAnswer": {"caller": caller_of(AccountId("acc-1"))},
}


def duration(value: Any) -> int | None:
    return None if value.completed_at is None else (value.completed_at - value.started_at) // MILLISECOND


def failure(value: Any) -> object:
    if value.failure is None:
        return None
    event = msgspec.json.decode(value.failure)
    return {**event["error"], **{name: event[name] for name in ("step", "attempt", "input")}}


# Members that have another name than the part that they show, or that several parts make.
OTHERWISE: Final[Mapping[str, Mapping[str, Callable[[Any], object]]]] = {
    "StepParamsAnswer": {"exact": lambda v: not v.reasons},
    "AccountAnswer": {"email_confirmed": lambda v: v.is_email_confirmed, "disabled": lambda v: v.is_disabled},
    "EntryAnswer": {
        "namespace": lambda v: v.at.namespace,
        "key": lambda v: v.at.key,
        "value": lambda v: decode_json(v.value),
    },
    "ListedEntryAnswer": {"namespace": lambda v: v.at.namespace, "key": lambda v: v.at.key},
    "ApprovalInList": {"link": lambda v: v.has_link},
    "AuditEntryAnswer": {
        "at": lambda v: v.entry.at,
        "actor": lambda v: v.entry.actor,
        "credential": lambda v: v.entry.credential,
        "address": lambda v: v.entry.address,
        "action": lambda v: v.entry.action,
        "object": lambda v: {"kind": v.entry.object[0], "id": v.entry.object[1]},
        "workspace_id": lambda v: v.entry.workspace_id,
        "outcome": lambda v: v.entry.outcome,
        "details": lambda v: v.entry.details,
        "hash": lambda v: v.hash.hex(),
        "previous_hash": lambda v: v.previous.hex(),
    },
    "CallbackAnswer": {
        "url": lambda v: v.address,
        "enabled": lambda v: v.disabled_at is None,
        "warning": lambda v: None if v.has_flow else ...,
    },
    "DeliveryAnswer": {
        "created_at": lambda v: v.noted_at,
        "last_attempt_at": lambda v: v.last_at,
        "next_attempt_at": lambda v: None if v.next_at is None else max(v.next_at, v.noted_at),
    },
    "FlowTestAnswer": {
        "duration": lambda v: round(v.seconds * 1000),
        "virtual_duration": lambda v: round(v.virtual_seconds * 1000),
    },
    "FlowTestsAnswer": {
        "passed": lambda v: sum(test.ok for test in v.tests),
        "failed": lambda v: sum(not test.ok for test in v.tests),
    },
    "SketchEdge": {"line": lambda v: v.place.line, "column": lambda v: v.place.column},
    "SketchNode": {
        "node_id": lambda v: v.name,
        "node_type": lambda v: v.type,
        "line": lambda v: v.place.line,
        "column": lambda v: v.place.column,
    },
    "ExecutionAnswer": {"duration": duration, "logs": lambda v: v.log_counts, "trigger": lambda v: v.trigger_id},
    "ExecutionDetailAnswer": {
        "duration": duration,
        "logs": lambda v: v.log_counts,
        "trigger": lambda v: v.trigger_id,
        "failure": failure,
    },
    "OpenInvitationAnswer": {
        "workspace": lambda v: v.workspace_name,
        "role": lambda v: v.invitation.role,
        "email": lambda v: v.invitation.email,
        "invited_by": lambda v: v.inviter.name,
        "expires_at": lambda v: v.invitation.expires_at,
        "sign_up": lambda _: True,
    },
    "RunAnswer": {"execution_id": lambda v: v.id},
    "RerunAnswer": {"execution_id": lambda v: v.id},
    "LogAnswer": {"attempt": lambda v: v.attempt if v.attempt > 1 else None},
    "FlowAnswer": {"disabled": lambda v: None if v.disabled_at is None else True},
    "SessionAnswer": {
        "is_current": lambda v: v.is_own,
        "created_at": lambda v: v.view.logged_in_at,
        "expires_at": lambda v: v.view.expires_at,
        "last_used_at": lambda v: v.view.last_used_at,
        "address": lambda v: v.view.address,
        "agent": lambda v: v.view.agent,
    },
    "RotationAnswer": {"status": lambda v: "running" if v.completed_at is None else "completed"},
    "TrialAnswer": {
        "result": lambda v: v.result if v.status in ("completed", "skipped") else None,
        "error": lambda v: v.error,
        "wait": lambda v: None if v.wait is None else {"waiting_for": v.wait, "until": v.until},
        "logs": lambda v: v.lines,
        "duration": lambda v: round((v.ended_at - v.started_at) / MILLISECOND),
    },
    "BucketAnswer": {"since": lambda v: v.first, "until": lambda v: v.end},
    "FlowActivityAnswer": {
        "flow_id": lambda v: v.flow.id,
        "name": lambda v: v.flow.name,
        "disabled": lambda v: v.flow.is_disabled,
        "failing": lambda v: None if v.failure is None else {"execution_id": v.failure.id},
        "next_start_at": lambda v: v.flow.next_start_at,
        "executions": lambda v: v.flow.executions,
    },
    "LatestFailure": {"execution_id": lambda v: v.id, "failed_at": lambda v: v.completed_at},
    "OverviewAnswer": {
        "waiting": lambda v: v.activity.waiting,
        "running": lambda v: v.activity.running,
        "failing_flows": lambda v: v.activity.failing_flows,
        "counts": lambda v: {
            status: v.activity.counts.get(status, 0)
            for status in ("running", "waiting", "completed", "failed", "cancelled")
        },
    },
    "RecentExecutionAnswer": {"duration": duration},
    "HistogramAnswer": {
        "distribution": lambda v: [{"at_least": low, "below": high, "count": n} for low, high, n in v.distribution]
    },
    "RuleAnswer": {"max_age_seconds": lambda v: None if v.max_age is None else v.max_age // timedelta(seconds=1)},
    "AttemptAnswer": {"duration": duration},
    "GraphNodeAnswer": {
        "node_id": lambda v: v.node,
        "step": lambda v: v.latest,
        "completed_at": lambda v: v.ended_at,
    },
    "StepListItem": {"node_id": lambda v: v.node, "duration": duration, "queued": lambda v: v.queued // MILLISECOND},
    "StepDetailAnswer": {
        "node_id": lambda v: v.view.node,
        "duration": lambda v: duration(v.view),
        "queued": lambda v: v.view.queued // MILLISECOND,
        "input": lambda v: None if v.view.input is None else v.view.input.value,
        "result": lambda v: None if v.view.result is None else v.view.result.value,
        "attempts": lambda v: v.view.attempts,
        "each_attempt": lambda v: v.attempts,
        **{
            name: lambda v, name=name: getattr(v.view, name)  # type: ignore[misc]
            for name in (
                "id",
                "step",
                "node_type",
                "scope",
                "parent",
                "status",
                "started_at",
                "completed_at",
                "action",
                "error",
                "wait",
                "scopes",
                "input_edited_by",
            )
        },
    },
    "SystemDetails": {
        "database": lambda v: {"kind": v.parts.database, "size": v.database.size},
        "dispatcher": lambda v: {
            "kind": v.parts.dispatcher,
            "active": v.active,
            "queued": v.queued,
            "limit": v.parts.most_active,
        },
        "script_workers": lambda v: v.parts.script_workers,
    },
    "TokenInList": {"workspace_id": lambda v: v.workspace_id or v.account_id},
    "TriggerAnswer": {
        "state": lambda v: v.state,
        "schedule": lambda v: v.spec if isinstance(v.spec, Schedule) else None,
        "url": lambda v: None if v.url_token is None else f"/hooks/{v.url_token}",
    },
    "MemberAnswer": {"email_confirmed": lambda v: v.is_email_confirmed, "owner": lambda v: v.is_owner},
    "PlannedBackfill": {"type": lambda _: "triggers.backfill", "times": lambda v: v.first},
}


def subclasses(kind: Any) -> Iterator[Any]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def answers() -> Iterator[Any]:
    """Yield each answer that is made of the parts of a value, with the type of the value."""
    for module in pkgutil.walk_packages(flowrunner.api.__path__, "flowrunner.api."):
        importlib.import_module(module.name)
    for kind in sorted(set(subclasses(Answer)), key=lambda kind: (kind.__module__, kind.__name__)):
        if "of" in vars(kind) and kind.__name__ not in OTHERS:
            first = next(iter(typing.get_type_hints(vars(kind)["of"].__func__).values()))
            (made_of,) = {*(get_args(first) or (first,))} - {type(None)}
            yield pytest.param(kind, made_of, id=kind.__name__)


def written(value: Any) -> Any:
    """Return a value of the core as it is written in answers, with the parts of a dataclass by their names."""
    match value:
        case datetime():
            return rfc3339(value)
        case Enum():
            return value.value
        case bytes():
            return msgspec.json.decode(value)
        case Mapping():
            return {written(key): written(one) for key, one in value.items()}
        case _ if (names := parts(value)) is not None:
            return {name: written(getattr(value, name)) for name in names}
        case list() | tuple():
            return [written(one) for one in value]
        case _:
            return value


def assert_says(said: Any, expected: Any, place: str) -> None:
    """Compare a member with what it shows: of an object those members that it has."""
    if expected is ...:
        assert said is not None, place
    elif isinstance(said, dict) and isinstance(expected, dict):
        for name in said.keys() & expected.keys():
            assert_says(said[name], expected[name], f"{place}.{name}")
    elif isinstance(said, list) and isinstance(expected, list):
        assert len(said) == len(expected), place
        for number, (one, other) in enumerate(zip(said, expected, strict=True)):
            assert_says(one, other, f"{place}[{number}]")
    else:
        assert said == expected, place


@pytest.mark.parametrize(("kind", "made_of"), list(answers()))
def test_each_member_says_what_the_part_of_its_name_says(kind: Any, made_of: Any) -> None:
    others = OTHERWISE.get(kind.__name__, {})
    further = FURTHER.get(kind.__name__, {})
    for seed in range(SAMPLES):
        value = Maker(seed).made(made_of)
        if isinstance(value, EntryView):
            value = replace(value, value=msgspec.json.encode(value.value).decode())

        said = msgspec.json.decode(msgspec.json.encode(kind.of(value, **further)))

        for member in msgspec.structs.fields(kind):
            name = member.encode_name
            if member.name in others:
                expected = others[member.name](value)
            elif hasattr(value, member.name):
                expected = getattr(value, member.name)
            else:
                assert (kind.__name__, member.name) in GIVEN, "what does it say?"
                continue
            assert_says(said.get(name), written(expected), f"{kind.__name__}.{name}")


def test_a_list_shows_an_error_whole_up_to_its_limit() -> None:
    longest = "x" * LONGEST_LISTED_ERROR
    one, other = (replace(Maker(0).made(ExecutionView), error=error) for error in (longest, f"{longest}x"))

    assert ExecutionAnswer.of(one).error == longest
    assert ExecutionAnswer.of(other).error == f"{longest[1:]}…"
