"""Trials of single nodes over REST."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Reply, answer, errors, present
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.bodies import MAX_FLOW_BODY_BYTES
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute, while_connected
from flowrunner.api.http.state import services_of
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import milliseconds, rfc3339_or_none
from flowrunner.ports.node_trials import Trial, TrialContext, TrialStatus

router = APIRouter(prefix="/api/v1/nodes", tags=["Flows"], route_class=ProtectedRoute)


class TryNode(Body):
    definition: str = Field(description="The flow as a YAML document of at most 1 MiB.")
    node: str = Field(
        min_length=1, max_length=2000, description="Its path: push, each/push in a loop, both[left]/push in a branch."
    )
    input: Any = Field(default=None, description="The result of the node before.")
    flow_input: dict[str, Any] = Field(default={}, description="The input of the execution.")
    results: dict[str, Any] = Field(default={}, description="Results of other nodes, by name.", max_length=1000)
    vars: dict[str, Any] = Field(default={}, description="Variables that nodes have set.", max_length=1000)
    error: dict[str, Any] | None = Field(
        default=None, description="The error that led to the node: `{type, message, node, data}`."
    )
    item: Any = Field(default=None, description="The element of the innermost loop.")
    index: int = Field(default=0, ge=0, le=2**31, description="The number of that element.")


class TrialError(Answer, frozen=True, kw_only=True):
    type: str
    message: str
    node: str | None
    data: Any


class TrialWait(Answer, frozen=True, kw_only=True):
    waiting_for: Annotated[dict[str, Any], Meta(description="As in `waiting_for` of an execution.")]
    until: Annotated[str | UnsetType, Meta(description="Absent if it would wait indefinitely.")] = UNSET


class TrialLineAnswer(Answer, frozen=True, kw_only=True):
    level: LogLevel
    message: str
    data: Any


class TrialAnswer(Answer, frozen=True, kw_only=True):
    status: Annotated[
        TrialStatus,
        Meta(description="`waiting`: the node would wait now. `opened`: the nodes inside it would run now."),
    ]
    has_effects: Annotated[bool, Meta(description="A node of this type may have had effects outside.")]
    node_type: str
    params: Annotated[Any, Meta(description="The evaluated parameters. Null if they could not be evaluated.")]
    result: Annotated[Any, Meta(description="Only of a completed or skipped node.")] = UNSET
    action: str | UnsetType = UNSET
    error: TrialError | UnsetType = UNSET
    wait: TrialWait | UnsetType = UNSET
    scopes: Annotated[
        list[str] | UnsetType, Meta(description="The keys of the rounds or branches that it would begin.")
    ] = UNSET
    logs: list[TrialLineAnswer]
    duration: Annotated[int, Meta(description="Milliseconds.")]

    @classmethod
    def of(cls, trial: Trial) -> Self:
        error = trial.error if isinstance(trial.error, dict) else None
        wait = None
        if trial.wait is not None:
            until = rfc3339_or_none(trial.until)
            wait = TrialWait(waiting_for=dict(trial.wait), until=present(until))
        return cls(
            status=trial.status,
            has_effects=trial.has_effects,
            node_type=trial.node_type,
            params=trial.params,
            result=trial.result if trial.status in ("completed", "skipped") else UNSET,
            action=present(trial.action),
            error=UNSET if error is None else TrialError(**error),
            wait=present(wait),
            scopes=UNSET if trial.scopes is None else list(trial.scopes),
            logs=[TrialLineAnswer(level=line.level, message=line.message, data=line.data) for line in trial.lines],
            duration=milliseconds(trial.ended_at - trial.started_at),
        )


@router.post(
    "/try",
    responses=errors(401, 403, *BODY_ERRORS),
)
@RoutePolicy(most_bytes=MAX_FLOW_BODY_BYTES)
async def try_node(request: Request, body: TryNode) -> Reply[TrialAnswer]:
    """Run one attempt of a node of a definition that is not saved, for at most 60 s.

    Its effects are real: a request is sent, with the secrets that the node reads. Nothing is retried, waits do not
    begin, and the nodes inside it do not run. It requires the rights to change and to run flows.
    """
    given = TrialContext(
        input=body.input,
        flow_input=body.flow_input,
        results=body.results,
        vars=body.vars,
        error=body.error,
        item=body.item,
        index=body.index,
    )
    trial = services_of(request).node_trials.run(caller_of(request), body.definition, body.node, given)
    return answer(TrialAnswer.of(await while_connected(request, trial)))
