"""One test of a flow: what flows in, what nodes give in place of running, and what is to come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

from flowrunner.domain.values import JSON

# A node of a flow: its name after those of the nodes and branches around it.
NodePath: TypeAlias = tuple[str, ...]

# What the clock shows at the start, unless a test says otherwise.
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def dotted_path(path: NodePath) -> str:
    """A node as tests name it: `push_all.push`."""
    return ".".join(path)


@dataclass(frozen=True, slots=True)
class MockedError:
    type: str
    message: str
    data: JSON = None


@dataclass(frozen=True, slots=True)
class MockedAnswer:
    """What one run of a node gives in place of doing its work.

    Attributes:
        action: How it ends; None for as its type does where nothing else is said.
    """

    result: JSON = None
    action: str | None = None
    error: MockedError | None = None


@dataclass(frozen=True, slots=True)
class Mock:
    """What the runs of a node give, one after the other.

    Attributes:
        repeats: There is one answer, for however many runs.
    """

    answers: tuple[MockedAnswer, ...]
    repeats: bool


@dataclass(frozen=True, slots=True)
class GivenSignal:
    """``after``: seconds since the start; None for as soon as a step waits for it."""

    payload: JSON
    after: float | None = None


@dataclass(frozen=True, slots=True)
class GivenApproval:
    approved: bool
    by: str
    data: JSON = None
    after: float | None = None


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """``type`` may be a family, such as `http.5xx`; ``message`` is a part of the whole. None is any."""

    type: str | None = None
    message: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedLog:
    """A line with ``message`` in it. ``level``: None is any."""

    message: str
    level: str | None = None


# Stands for a result that nobody has an opinion of: null is one.
ANY: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How an execution is to end. What is None is not looked at.

    Attributes:
        path: Names of the flow's own nodes in the order they ran; skipped ones did not.
        handlers: The same of `on_failure` and `on_finish`.
        result: What it gives, exactly; `ANY` is anything.
        result_contains: A part of what it gives: maps may hold more keys.
        tries: How often nodes were tried in all.
    """

    status: str
    path: tuple[str, ...] | None = None
    handlers: tuple[str, ...] | None = None
    result: object = ANY
    result_contains: object = ANY
    error: ExpectedError | None = None
    logs: tuple[ExpectedLog, ...] = ()
    tries: Mapping[NodePath, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTest:
    """One test of a flow.

    Attributes:
        flow_mocks: Mocks for nodes of other flows, by the flow's name; as written, for that flow is not known here.
        now: What the clock shows at the start.
        cancel_after: Seconds after which somebody cancels the execution.
    """

    name: str
    input: Mapping[str, JSON] = field(default_factory=dict)
    mocks: Mapping[NodePath, Mock] = field(default_factory=dict)
    flow_mocks: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    signals: Mapping[str, tuple[GivenSignal, ...]] = field(default_factory=dict)
    approvals: Mapping[NodePath, tuple[GivenApproval, ...]] = field(default_factory=dict)
    cancel_after: float | None = None
    now: datetime = NOW
    expect: Expectation = field(default_factory=lambda: Expectation(status="completed"))
