"""Trials of single nodes: one attempt of one step, without an execution."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from flowrunner.domain.flow import Flow
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import JSON, AccountId, WorkspaceId

TrialStatus: TypeAlias = Literal["completed", "skipped", "failed", "waiting", "opened"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext:
    """The values that the expressions of the node read.

    Attributes:
        input: The result of the node before.
        flow_input: The input of the execution.
        results: Results of other nodes, by name.
        config: The configuration values that the flow names, of those that there are.
        vars: Variables that nodes have set.
        error: The error that led to the node: `{type, message, node, data}`.
        item: The element of the innermost loop.
        index: The number of that element.
    """

    input: JSON = None
    flow_input: Mapping[str, JSON] = field(default_factory=dict)
    results: Mapping[str, JSON] = field(default_factory=dict)
    config: Mapping[str, JSON] = field(default_factory=dict)
    vars: Mapping[str, JSON] = field(default_factory=dict)
    error: Mapping[str, JSON] | None = None
    item: JSON = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class TrialLine:
    """A line that the node has added to the log."""

    level: LogLevel
    message: str
    data: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The outcome of a trial, without secrets.

    Attributes:
        status: Among others, `waiting` if the node would wait now, and `opened` if its own nodes would run now: a trial
            does neither.
        params: The parameters that the node type received; None if they could not be evaluated.
        error: `{type, message, node, data}`.
        wait: The description of the wait.
        until: The end of the wait; None if there is none.
        scopes: The keys of the runs of its own nodes.
    """

    status: TrialStatus
    has_effects: bool
    node_type: str
    started_at: datetime
    ended_at: datetime
    params: JSON = None
    result: JSON = None
    action: str | None = None
    error: JSON = None
    wait: Mapping[str, JSON] | None = None
    until: datetime | None = None
    scopes: Sequence[str] | None = None
    lines: Sequence[TrialLine] = ()


class NodeTrials(Protocol):
    def type_of(self, flow: Flow, node: str, results: Collection[str]) -> str:
        """Return the type of the node with this path.

        Raises:
            InvalidInput: If there is no such node, its type cannot be tried, or a result is that of no node which it
                can read.
        """
        ...

    async def run(
        self, flow: Flow, node: str, given: TrialContext, *, workspace_id: WorkspaceId, by: AccountId
    ) -> Trial:
        """Run one attempt of a node, with its real effects and the secrets of the workspace.

        Args:
            node: Its path: `push`, `each/push` in a loop, `both[left]/push` in a branch.

        Raises: as `type_of`.
        """
        ...
