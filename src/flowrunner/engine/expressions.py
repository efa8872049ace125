"""The values of templates: the names that they read, a flow's outputs, and the values that a loop collects."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from flowrunner.domain.decide import collected, node_of
from flowrunner.domain.decisions import Collect, Decision, EvaluateOutputs, Finish, Record, complete, failed
from flowrunner.domain.events import ROOT, ErrorValue, ScopeEnded
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.expression import (
    NO_VALUES,
    Code,
    ExpressionFailed,
    TooMuchFilledIn,
    Values,
    render,
    value_of,
)
from flowrunner.domain.prepared import Mentions, Prepared
from flowrunner.domain.step_state import Frame, StepState
from flowrunner.domain.values import JSON, rfc3339
from flowrunner.engine.dependencies import EngineDependencies, ExecutionRef
from flowrunner.engine.recorder import storable_soon
from flowrunner.language.json_schema import size_of
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.ports.secrets import Redactor

# Characters and elements rendered on the event loop, which takes a few milliseconds.
_SHORT: Final = 128 * 1024
# Minimum size that each value collected by a loop counts for: an empty list takes more in memory than as JSON.
_BYTES_OF_A_VALUE: Final = 16

# Called with the level and text of each `console` line of a script.
OnConsole = Callable[[str, str], None]


@dataclass(slots=True)
class ExpressionScope:
    """The names that expressions at one place can read.

    Attributes:
        at: The step of the expressions; None at the end of the flow.
        extra: Names that exist only at some places, such as `result`.
    """

    deps: EngineDependencies
    execution: ExecutionRef
    state: ExecutionState
    at: StepState | None
    on_console: OnConsole
    extra: Mapping[str, JSON]

    async def resolve(self, part: Prepared) -> JSON:
        """Return the value of a template; all its code is evaluated in one sandbox request.

        Raises:
            ExpressionFailed: If an expression has no value, or names a secret that does not exist.
            Stopped.
        """
        template = part.template
        if part.is_constant:
            return render(template, {})
        scope = await self._scope(part.mentions)
        values = await self._values(part.codes, scope)
        try:
            return render(template, scope, values, most=_SHORT)
        except TooMuchFilledIn:
            # In a thread, so that other tasks run meanwhile.
            return await asyncio.to_thread(render, template, scope, values)

    async def _values(self, codes: Sequence[Code], scope: Mapping[str, JSON]) -> Values:
        if not codes:
            return NO_VALUES
        scripts = [code.script for code in codes]
        # The node's timeout bounds the wait for a busy sandbox.
        outcomes = await self.deps.retry_until_available(
            lambda: self.deps.sandbox.evaluate(self.execution.workspace_id, scripts, scope)
        )
        for outcome in outcomes:
            for level, text in outcome.lines:
                self.on_console(level, text)
        return {code: value_of(code, outcome) for code, outcome in zip(codes, outcomes, strict=True)}

    async def _scope(self, mentions: Mentions) -> dict[str, JSON]:
        """Return the values of the mentioned names; only the mentioned secrets are revealed."""
        scope: dict[str, JSON] = {}
        for root in mentions.roots:
            if root in self.extra:
                scope[root] = self.extra[root]
            elif root == "secrets":
                scope[root] = await self._secrets(mentions.secrets)
            elif root == "nodes":
                scope[root] = self._nodes(mentions)
            else:
                scope[root] = self._value(root)
        return scope

    def _value(self, root: str) -> JSON:
        flow, state = self.execution.flow, self.state
        match root:
            case "input":
                return self.at.input if self.at is not None else state.root.flowing
            case "vars":
                return {**flow.vars, **state.vars} if state.vars else flow.vars
            case "flow":
                return {
                    "id": self.execution.flow_id,
                    "name": state.flow_name or flow.name,
                    "version": flow.version,
                    "input": state.input,
                }
            case "execution":
                ended = state.root.ended
                return {
                    "id": self.execution.execution_id,
                    "started_at": _moment(state.started_at),
                    "status": state.status.value if ended is None else ended.outcome,
                }
            case "error":
                scope = ROOT if self.at is None else self.at.step.scope
                error = next((f.error for f in state.visible(scope) if f.error is not None), None)
                return None if error is None else error.as_json()
            case "approval":
                return self._approval()
            case _:
                return self._item(root)

    def _approval(self) -> JSON:
        """Return the approval that the step is notified of. Raises: ExpressionFailed without the server's address."""
        frames = () if self.at is None else self.state.visible(self.at.step.scope)
        for frame in frames:
            owner = None if frame.owner is None else self.state.at(frame.owner)
            if owner is None or owner.notice != frame.scope or owner.approval is None or owner.waiting is None:
                continue
            wait, url = owner.approval, None
            if wait.link:
                place = ApprovalPlace(self.execution.execution_id, owner.wait_seq)
                url = self.deps.approval_links.url(place)
                if url is None:
                    raise ExpressionFailed("${approval.url}: links need the setting public_url")
            return {
                "url": url,
                "prompt": wait.prompt,
                "step": str(owner.step),
                "until": _moment(owner.waiting.due_at),
            }
        return None

    def _item(self, name: str) -> JSON:
        """Return the element or the index of a loop around the step."""
        if self.at is None:
            return None
        for frame in self.state.visible(self.at.step.scope):
            if frame.owner is None:
                continue
            owner = node_of(self.execution.flow, self.state, frame.owner)
            if "" not in owner.child_scopes:
                continue
            if name == "index":
                return int(frame.key)
            if name in ("item", owner.item):
                return frame.item
        return None

    def _nodes(self, mentions: Mentions) -> JSON:
        wanted = None if mentions.any_node else mentions.nodes
        found: dict[str, JSON] = dict.fromkeys(wanted or ())
        seen: set[str] = set()
        for frame in self.state.visible(ROOT if self.at is None else self.at.step.scope):
            for name in _existing(frame.steps, wanted):
                if name not in seen:
                    seen.add(name)
                    found[name] = _as_read(frame, name)
        return found

    async def _secrets(self, names: frozenset[str]) -> dict[str, JSON]:
        values = await self.deps.retry_until_available(
            lambda: self.deps.vault.reveal(self.execution.workspace_id, names)
        )
        for name in sorted(names - values.keys()):
            raise ExpressionFailed(f"${{secrets.{name}}}: there is no secret '{name}'")
        return dict(values)


def _existing(steps: Mapping[str, StepState], wanted: frozenset[str] | None) -> Iterable[str]:
    return list(steps) if wanted is None else [name for name in wanted if name in steps]


def _as_read(frame: Frame, name: str) -> JSON:
    """Return the latest run of a node as expressions read it.

    A running step has no result, so expressions read the previous run of the node if there is one. Handlers of the
    flow's end read a run that the end interrupted.
    """
    step = frame.steps[name]
    if step.before is not None and frame.ended is None:
        step = step.before
    return {
        "result": step.result,
        "status": step.status.value,
        "action": step.action,
        "error": None if step.error is None else step.error.as_json(),
        "attempts": step.attempts,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


async def evaluate(
    decision: EvaluateOutputs | Collect,
    deps: EngineDependencies,
    execution: ExecutionRef,
    state: ExecutionState,
    *,
    redactor: Redactor,
    on_console: OnConsole,
) -> Sequence[Decision]:
    """Evaluate a flow's outputs or the value that a loop collects, and return what follows, in its stored form.

    Raises:
        Stopped.
    """
    if isinstance(decision, Collect):
        event = await _collection(deps, execution, state, decision.scope, on_console)
        stored = await storable_soon(event, redactor)
        ended = cast("ScopeEnded", stored.event)
        if ended.outcome == "completed":
            values, _ = size_of(ended.result)
            ended = replace(ended, part_bytes=max(len(stored.data), values * _BYTES_OF_A_VALUE))
        return collected(state, ended)
    ending = await _outputs(deps, execution, state, on_console)
    if isinstance(ending, Record | Finish):
        stored = await storable_soon(ending.event, redactor)
        ending = replace(ending, event=cast("Any", stored.event))
    return (ending,)


async def _outputs(
    deps: EngineDependencies, execution: ExecutionRef, state: ExecutionState, on_console: OnConsole
) -> Decision:
    """Return the end of a flow with outputs."""
    flow, outputs = execution.flow, execution.flow.outputs
    assert outputs is not None, "decided only for flows with outputs"
    names = ExpressionScope(deps, execution, state, None, on_console, {})
    try:
        return complete(flow, await names.resolve(outputs))
    except ExpressionFailed as reason:
        error = ErrorValue(type="expression", message=f"The outputs of the flow: {reason}")
        return failed(flow, state, error, state.root.current)


async def _collection(
    deps: EngineDependencies, execution: ExecutionRef, state: ExecutionState, scope: str, on_console: OnConsole
) -> ScopeEnded:
    """Return the end of one run of a loop's nodes, with the value that the loop collects from it."""
    frame = state.frames[scope]
    assert frame.owner is not None, "decided only for nodes in a loop"
    node = node_of(execution.flow, state, frame.owner)
    assert node.collect is not None, "decided only for loops that collect"
    names = ExpressionScope(
        deps, execution, state, frame.current, on_console, {"result": frame.flowing, "input": frame.item}
    )
    try:
        return ScopeEnded(scope=scope, outcome="completed", result=await names.resolve(node.collect))
    except ExpressionFailed as reason:
        error = ErrorValue(type=reason.type, message=f"What '{node.name}' collects: {reason}", node=node.name)
        return ScopeEnded(scope=scope, outcome="failed", error=error)
