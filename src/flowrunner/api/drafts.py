"""Definitions that are not saved yet, over REST: their faults, their graph and their tests."""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, ErrorEntry, Reply, answer, errors, present
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.bodies import MAX_FLOW_BODY_BYTES
from flowrunner.api.http.errors import MOST_FAULTS, entry_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute, while_connected
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right
from flowrunner.domain.errors import Fault
from flowrunner.domain.flow import HandledEnd
from flowrunner.language.sketch import SketchedEdge, SketchedNode
from flowrunner.ports.flow_tests import FlowTestOutcome, FlowTestRun

router = APIRouter(prefix="/api/v1/flows", tags=["Flows"], route_class=ProtectedRoute)


class ValidateFlow(Body):
    definition: str = Field(description="The flow as a YAML document of at most 1 MiB.")


class Validation(Answer, frozen=True, kw_only=True):
    is_valid: Annotated[bool, Meta(description="`true` if the definition can be saved.")]
    errors: Annotated[list[ErrorEntry], Meta(description="Faults that prevent saving, in document order.")]
    warnings: Annotated[
        list[ErrorEntry],
        Meta(description="Valid but probably unintended constructs, and dependencies that are missing at run time."),
    ]


class SketchNode(Answer, frozen=True, kw_only=True):
    id: Annotated[str, Meta(description="Its path: push, each/push in a loop, both[left]/push in a branch.")]
    node_id: str
    node_type: Annotated[str | UnsetType, Meta(description="Absent if the node has none yet.")] = UNSET
    parent: Annotated[str | UnsetType, Meta(description="The id of the node that holds it.")] = UNSET
    branch: str | UnsetType = UNSET
    is_start: Annotated[bool, Meta(description="The flow, the loop or the branch begins here.")]
    handles: Annotated[HandledEnd | UnsetType, Meta(description="The end of the flow that it handles.")] = UNSET
    path: Annotated[str, Meta(description="Its place in the document, as in the `path` of faults.")]
    line: int
    column: int

    @classmethod
    def of(cls, node: SketchedNode) -> Self:
        return cls(
            id=node.id,
            node_id=node.name,
            node_type=present(node.type),
            parent=present(node.parent),
            branch=present(node.branch),
            is_start=node.is_start,
            handles=present(node.handles),
            path=node.path,
            line=node.place.line,
            column=node.place.column,
        )


class SketchEdge(Answer, frozen=True, kw_only=True):
    source: Annotated[str, Meta(description="The id of a node.")]
    target: Annotated[str, Meta(description="The id of a node.")]
    action: Annotated[str, Meta(description="An action or an error pattern of the source.")]
    line: Annotated[int, Meta(description="Where the target is named.")]
    column: int

    @classmethod
    def of(cls, edge: SketchedEdge) -> Self:
        return cls(
            source=edge.source,
            target=edge.target,
            action=edge.action,
            line=edge.place.line,
            column=edge.place.column,
        )


class SketchAnswer(Validation, frozen=True, kw_only=True):
    nodes: Annotated[list[SketchNode], Meta(description="In document order.")]
    edges: Annotated[list[SketchEdge], Meta(description="Those that lead to a node of their scope.")]


class MismatchAnswer(Answer, frozen=True, kw_only=True):
    what: Annotated[str, Meta(description="What differs, such as `status`, `path` or `result`.")]
    expected: Any
    actual: Any


class FlowTestAnswer(Answer, frozen=True, kw_only=True):
    name: str
    ok: bool
    status: Annotated[
        str, Meta(extra_json_schema={"enum": ["completed", "failed", "cancelled", "waiting", "not_started"]})
    ]
    path: Annotated[Sequence[str], Meta(description="The flow's own nodes that ran, in order.")]
    handlers: Annotated[Sequence[str], Meta(description="The nodes of on_failure and on_finish that ran.")]
    duration: Annotated[int, Meta(description="Milliseconds that the test took.")]
    virtual_duration: Annotated[int, Meta(description="Milliseconds by the clock of the execution, waits included.")]
    problems: Annotated[Sequence[str], Meta(description="Reasons why the test says nothing, such as a missing mock.")]
    mismatches: list[MismatchAnswer]
    explanation: Annotated[
        Sequence[str],
        Meta(
            description="Why it failed, as lines for people: what differs, the error, what ran, and the end of its log."
        ),
    ]

    @classmethod
    def of(cls, test: FlowTestOutcome) -> Self:
        return cls(
            name=test.name,
            ok=test.ok,
            status=test.status,
            path=test.path,
            handlers=test.handlers,
            duration=round(test.seconds * 1000),
            virtual_duration=round(test.virtual_seconds * 1000),
            problems=test.problems,
            mismatches=[MismatchAnswer(what=m.what, expected=m.expected, actual=m.actual) for m in test.mismatches],
            explanation=test.explanation,
        )


class UntakenEdgeAnswer(Answer, frozen=True, kw_only=True):
    node: str
    action: str
    target: str


class CoverageAnswer(Answer, frozen=True, kw_only=True):
    edges: int
    taken: int
    never: list[UntakenEdgeAnswer]


class FlowTestsAnswer(Answer, frozen=True, kw_only=True):
    passed: int
    failed: int
    tests: list[FlowTestAnswer]
    coverage: CoverageAnswer

    @classmethod
    def of(cls, run: FlowTestRun) -> Self:
        passed = sum(test.ok for test in run.tests)
        covered = run.coverage
        never = [UntakenEdgeAnswer(node=e.node, action=e.action, target=e.target) for e in covered.never]
        return cls(
            passed=passed,
            failed=len(run.tests) - passed,
            tests=[FlowTestAnswer.of(test) for test in run.tests],
            coverage=CoverageAnswer(edges=covered.edges, taken=covered.taken, never=never),
        )


@router.post(
    "/validate",
    responses=errors(401, 403, *BODY_ERRORS),
)
@RoutePolicy(right=Right.READ, most_bytes=MAX_FLOW_BODY_BYTES, takes_yaml=True)
async def validate_flow(request: Request, body: ValidateFlow) -> Reply[Validation]:
    """Report all errors and warnings of a definition without saving it."""
    faults = await services_of(request).flows.validate(caller_of(request), body.definition)
    wrong, warnings = _entries(faults)
    return answer(Validation(is_valid=not wrong, errors=wrong, warnings=warnings))


@router.post(
    "/graph",
    responses=errors(401, 403, *BODY_ERRORS),
)
@RoutePolicy(right=Right.READ, most_bytes=MAX_FLOW_BODY_BYTES, takes_yaml=True)
async def sketch_flow(request: Request, body: ValidateFlow) -> Reply[SketchAnswer]:
    """Return the nodes and edges of a definition as far as it can be read, and its errors and warnings."""
    sketch, faults = await services_of(request).flows.sketch(caller_of(request), body.definition)
    wrong, warnings = _entries(faults)
    return answer(
        SketchAnswer(
            is_valid=not wrong,
            errors=wrong,
            warnings=warnings,
            nodes=[SketchNode.of(node) for node in sketch.nodes],
            edges=[SketchEdge.of(edge) for edge in sketch.edges],
        )
    )


@router.post(
    "/test",
    responses=errors(401, 403, *BODY_ERRORS),
)
@RoutePolicy(right=Right.RUN, most_bytes=MAX_FLOW_BODY_BYTES, takes_yaml=True)
async def test_flow(request: Request, body: ValidateFlow) -> Reply[FlowTestsAnswer]:
    """Run the tests of a definition as `flowrunner test` does: offline, by a clock of their own.

    They may take 10 s each and 30 s together. A node of type `flow` needs a mock.
    """
    run = services_of(request).flow_tests.run(caller_of(request), body.definition)
    return answer(FlowTestsAnswer.of(await while_connected(request, run)))


def _entries(faults: Sequence[Fault]) -> tuple[list[ErrorEntry], list[ErrorEntry]]:
    """Return the first errors and warnings."""

    def entries(*, warnings: bool) -> list[ErrorEntry]:
        found = (fault for fault in faults if fault.is_warning is warnings)
        return [entry_of(fault, document="definition") for fault in islice(found, MOST_FAULTS)]

    return entries(warnings=False), entries(warnings=True)
