"""Node types with mocked results, which never reach outside the process."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrunner.domain.counted import counted
from flowrunner.domain.flow import DEFAULT_ACTION
from flowrunner.domain.values import ExecutionId, RevisionId
from flowrunner.flowtest.memory import GivenFlows, MemoryJournal
from flowrunner.flowtest.paths import path_of
from flowrunner.language.flow_tests import Mock, MockedAnswer, NodePath, dotted_path
from flowrunner.plugin import (
    JSON,
    Collected,
    NodeFailure,
    NodeType,
    Outcome,
    Params,
    RunScopes,
    ScopesEnded,
    Signalled,
    StepContext,
    Suspend,
)


@dataclass(slots=True, kw_only=True)
class MockRegistry:
    """Mocks of the nodes of one flow test.

    Attributes:
        mocks: Mocks by the revision of the flow that holds the nodes.
        problems: Reasons why the test is not meaningful.
    """

    journal: MemoryJournal
    flows: GivenFlows
    mocks: Mapping[RevisionId, Mapping[NodePath, Mock]]
    problems: list[str] = field(default_factory=list)
    _calls: Counter[tuple[RevisionId, NodePath]] = field(default_factory=Counter)

    def answer(self, context: StepContext, type: str, *, is_harmless: bool) -> MockedAnswer | None:
        """Return the mocked answer of a node, or None if the node runs itself. Raises: NodeFailure."""
        revision = self.journal.revision_of(ExecutionId(context.execution_id))
        given = self.flows.of_revision(revision)
        path = path_of(given.flow, context.step)
        mock = self.mocks.get(revision, {}).get(path)
        name = dotted_path(path)
        if mock is None:
            if is_harmless:
                return None
            raise self.problem(
                f"the node '{name}' ({type}) would reach outside, and tests run offline. "
                f"Give it a mock: mocks: {{{name}: {{result: …}}}}"
            )
        self._calls[revision, path] += 1
        count = self._calls[revision, path]
        if mock.repeats:
            return mock.answers[0]
        if count > len(mock.answers):
            raise self.problem(
                f"the mock of '{name}' has {counted(len(mock.answers), 'answer')}, but the node ran once more"
            )
        return mock.answers[count - 1]

    def problem(self, message: str) -> NodeFailure:
        if message not in self.problems:
            self.problems.append(message)
        return NodeFailure("test.mock", message)


class MockedType(NodeType[Any]):
    """Node type that uses the mock of a node, and runs the real type only if it touches nothing outside."""

    Params = Params

    def __init__(self, real: NodeType[Any], registry: MockRegistry) -> None:
        self.type = real.type  # type: ignore[misc] # one class stands for many types
        self.reevaluate_params = real.reevaluate_params  # type: ignore[misc]
        self.starts_executions = real.starts_executions  # type: ignore[misc]
        self.uses_store = real.uses_store  # type: ignore[misc]
        self._real = real
        self._registry = registry

    def read(self, params: JSON) -> Any:
        return self._real.read(params)

    async def run(self, params: Any, context: StepContext) -> JSON | Outcome | Suspend | RunScopes | Collected:
        # The nodes of the flows that a node starts are mocked as well, and each test has a store of its own.
        is_harmless = self._real.pure or self._real.starts_executions or self._real.uses_store
        answer = self._registry.answer(context, self.type, is_harmless=is_harmless)
        if answer is None:
            return await self._real.run(params, context)
        if answer.error is not None:
            raise NodeFailure(answer.error.type, answer.error.message, data=answer.error.data)
        actions = self._real.actions
        if answer.action is None and actions and DEFAULT_ACTION not in actions:
            raise self._registry.problem(
                f"the mock of '{context.node}' needs an 'action': {', '.join(sorted(actions))}"
            )
        # A type without actions ends its scope.
        return Outcome(answer.result, answer.action or DEFAULT_ACTION, is_last=not actions)

    async def inner_params(self, node: str, params: JSON, input: JSON, event: ScopesEnded) -> JSON:
        return await self._real.inner_params(node, params, input, event)

    async def on_signal(
        self, params: Any, context: StepContext, event: Signalled
    ) -> JSON | Outcome | Suspend | RunScopes | Collected:
        return await self._real.on_signal(params, context, event)

    async def on_scopes_ended(
        self, params: Any, context: StepContext, event: ScopesEnded
    ) -> JSON | Outcome | Suspend | RunScopes | Collected:
        return await self._real.on_scopes_ended(params, context, event)
