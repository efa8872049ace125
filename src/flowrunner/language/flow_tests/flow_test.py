"""Model of a flow test: input, mocks, and the expected outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

from flowrunner.domain.values import JSON

# Path of a node: the names of the enclosing nodes and branches, and its own.
NodePath: TypeAlias = tuple[str, ...]

# Default time of the clock at the start of a test.
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def dotted_path(path: NodePath) -> str:
    """Return the path of a node in the notation of tests: `push_all.push`."""
    return ".".join(path)


@dataclass(frozen=True, slots=True)
class MockedError:
    type: str
    message: str
    data: JSON = None


@dataclass(frozen=True, slots=True)
class MockedAnswer:
    """Mocked outcome of one run of a node.

    Attributes:
        action: Action of the node; None for the default action of its type.
    """

    result: JSON = None
    action: str | None = None
    error: MockedError | None = None


@dataclass(frozen=True, slots=True)
class Mock:
    """Mocked outcomes of the runs of a node, in order.

    Attributes:
        repeats: The only answer is used for every run.
    """

    answers: tuple[MockedAnswer, ...]
    repeats: bool


@dataclass(frozen=True, slots=True)
class GivenTrigger:
    """Trigger that starts the flow, instead of an input.

    Attributes:
        values: Values of `trigger` besides `type`, `name` and `at`: what has fired it.
    """

    name: str
    values: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GivenSignal:
    """Signal to an execution.

    Attributes:
        after: Seconds since the start; None to send it as soon as a step waits for it.
    """

    payload: JSON
    after: float | None = None


@dataclass(frozen=True, slots=True)
class GivenApproval:
    """Answer to an approval.

    Attributes:
        by: Name of the account; None for any.
    """

    approved: bool
    by: str | None
    data: JSON = None
    after: float | None = None


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """Expected error. None matches every value.

    Attributes:
        type: Error type, or a family such as `http.5xx`.
        message: A part of the message.
    """

    type: str | None = None
    message: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedLog:
    """Expected log line that contains ``message``. The ``level`` None matches every level."""

    message: str
    level: str | None = None


# Matches every result. None cannot, because null is a result.
ANY: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Expected outcome of an execution. None is not compared.

    Attributes:
        path: Names of the top-level nodes in the order they ran, without skipped ones.
        handlers: Names of the nodes of `on_failure` and `on_finish` that ran.
        result: The exact result; `ANY` matches every result.
        result_contains: A part of the result: maps may hold more keys.
        tries: Number of attempts by node.
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
    """Test of a flow.

    Attributes:
        flow_mocks: Mocks for nodes of other flows, by the flow's name. They are as written, because those flows are
            not known here.
        config: Configuration values by name.
        now: Time of the clock at the start.
        cancel_after: Seconds after which the execution is cancelled.
    """

    name: str
    input: Mapping[str, JSON] = field(default_factory=dict)
    trigger: GivenTrigger | None = None
    mocks: Mapping[NodePath, Mock] = field(default_factory=dict)
    flow_mocks: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, JSON] = field(default_factory=dict)
    signals: Mapping[str, tuple[GivenSignal, ...]] = field(default_factory=dict)
    approvals: Mapping[NodePath, tuple[GivenApproval, ...]] = field(default_factory=dict)
    cancel_after: float | None = None
    now: datetime = NOW
    expect: Expectation = field(default_factory=lambda: Expectation(status="completed"))
