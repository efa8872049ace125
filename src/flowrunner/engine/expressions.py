"""The values of templates: the names that they read, a flow's outputs, and the values that a loop collects."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from flowrunner.domain.config import config_of, no_config
from flowrunner.domain.decide import node_of
from flowrunner.domain.events import ROOT, ErrorValue, ScopeEnded, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.expression import (
    NO_VALUES,
    Code,
    ExpressionFailed,
    Values,
    render,
    value_of,
)
from flowrunner.domain.flow import Flow, Node
from flowrunner.domain.partial_rendering import PartError, render_parts
from flowrunner.domain.prepared import Mentions, Prepared
from flowrunner.domain.step_state import Frame, StepState
from flowrunner.domain.values import JSON, rfc3339_or_none
from flowrunner.engine.dependencies import LoadedExecution
from flowrunner.engine.recorder import storable_soon
from flowrunner.language.json_schema import size_of
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.ports.secrets import Redactor
from flowrunner.threads import render_soon

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

    loaded: LoadedExecution
    at: StepState | None
    on_console: OnConsole
    extra: Mapping[str, JSON]

    async def resolve(self, part: Prepared) -> JSON:
        """Return the value of a template; all its code is evaluated in one sandbox request.

        Raises:
            ExpressionFailed: If an expression has no value, or names, without a default, a secret or a configuration
                value that does not exist.
            Stopped.
        """
        template = part.template
        if part.is_constant:
            return render(template, {})
        scope = await self._scope(part.mentions)
        values = await self._values(part.codes, scope)
        return await render_soon(template, scope, values)

    async def resolve_parts(self, part: Prepared) -> tuple[JSON, Sequence[PartError]]:
        """Return the value of a template, with null for the parts that have none, and the first of these.

        Raises:
            Stopped.
        """
        try:
            scope = await self._scope(replace(part.mentions, needed=frozenset()))
        except ExpressionFailed as error:
            return None, [PartError(path="", message=str(error))]
        values = await self._values(part.codes, scope)
        return await asyncio.to_thread(render_parts, part.template, scope, values, self._missing(part.mentions, scope))

    def _missing(self, mentions: Mentions, scope: Mapping[str, JSON]) -> Mapping[tuple[str, str], str]:
        """Return the errors of what is needed and does not exist."""
        found: dict[tuple[str, str], str] = {}
        for root, name in mentions.needed:
            values = scope.get(root)
            is_there = not isinstance(values, Mapping) or name in values
            if not is_there and (root == "secrets" or self.loaded.execution.flow.config):
                found[root, name] = no_secret(name) if root == "secrets" else no_config(name)
        return found

    async def _values(self, codes: Sequence[Code], scope: Mapping[str, JSON]) -> Values:
        if not codes:
            return NO_VALUES
        scripts = [code.script for code in codes]
        # The timeout of the node, or of what the value is for, bounds the wait for a busy sandbox.
        outcomes = await self.loaded.deps.retry_until_available(
            lambda: self.loaded.deps.sandbox.evaluate(self.loaded.execution.workspace_id, scripts, scope)
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
                scope[root] = await self._secrets(mentions)
            # In a flow that names no configuration value it is an element of a loop.
            elif root == "config" and self.loaded.execution.flow.config:
                scope[root] = config_of(mentions, self.loaded.state.config)
            elif root == "nodes":
                scope[root] = self._nodes(mentions)
            else:
                scope[root] = self._value(root)
        return scope

    def _value(self, root: str) -> JSON:
        flow, state = self.loaded.execution.flow, self.loaded.state
        match root:
            case "input":
                return self.at.input if self.at is not None else state.root.flowing
            case "vars":
                return {**flow.vars, **state.vars} if state.vars else flow.vars
            case "flow":
                return {
                    "id": self.loaded.execution.flow_id,
                    "name": state.flow_name or flow.name,
                    "version": flow.version,
                    "input": state.input,
                }
            case "execution":
                ended = state.root.ended
                return {
                    "id": self.loaded.execution.execution_id,
                    "started_at": rfc3339_or_none(state.started_at),
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
        frames = () if self.at is None else self.loaded.state.visible(self.at.step.scope)
        for frame in frames:
            owner = None if frame.owner is None else self.loaded.state.at(frame.owner)
            if owner is None or owner.notice != frame.scope or owner.approval is None or owner.waiting is None:
                continue
            wait, url = owner.approval, None
            if wait.link:
                place = ApprovalPlace(self.loaded.execution.execution_id, owner.wait_seq, owner.waits_since)
                url = self.loaded.deps.approval_links.url(place)
                if url is None:
                    raise ExpressionFailed("${approval.url}: links need the setting public_url")
            return {
                "url": url,
                "prompt": wait.prompt,
                "step": str(owner.step),
                "until": rfc3339_or_none(owner.waiting.due_at),
            }
        return None

    def _item(self, name: str) -> JSON:
        """Return the element or the index of a loop around the step."""
        if self.at is None:
            return None
        for frame in self.loaded.state.visible(self.at.step.scope):
            if frame.owner is None:
                continue
            owner = node_of(self.loaded.execution.flow, self.loaded.state, frame.owner)
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
        for frame in self.loaded.state.visible(ROOT if self.at is None else self.at.step.scope):
            for name in _existing(frame.steps, wanted):
                if name not in seen:
                    seen.add(name)
                    found[name] = _as_read(frame, name)
        return found

    async def _secrets(self, mentions: Mentions) -> dict[str, JSON]:
        values = await self.loaded.deps.retry_until_available(
            lambda: self.loaded.deps.vault.reveal(self.loaded.execution.workspace_id, mentions.secrets)
        )
        for name in sorted(mentions.secrets - values.keys()):
            if ("secrets", name) in mentions.needed:
                raise ExpressionFailed(no_secret(name))
        return dict(values)


def no_secret(name: str) -> str:
    return f"${{secrets.{name}}}: there is no secret '{name}'"


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


def evaluated_part(flow: Flow, state: ExecutionState, last: Step) -> Prepared:
    """Return the template of the value of a scope that ends with the step ``last``."""
    part = flow.outputs if last.scope == ROOT else _loop_around(flow, state, last).collect
    assert part is not None, "decided only for scopes with a value"
    return part


def _loop_around(flow: Flow, state: ExecutionState, last: Step) -> Node:
    owner = state.frames[last.scope].owner
    assert owner is not None, "decided only for nodes in a loop"
    return node_of(flow, state, owner)


async def evaluate(loaded: LoadedExecution, last: Step, on_console: OnConsole) -> ScopeEnded:
    """Evaluate the value of the scope that ends with the step ``last``, and return its end in the stored form.

    Raises:
        Stopped.
    """
    flow, state, redactor = loaded.execution.flow, loaded.state, loaded.redactor
    frame, part = state.frames[last.scope], evaluated_part(flow, state, last)
    if last.scope == ROOT:
        names = ExpressionScope(loaded, None, on_console, {})
    else:
        names = ExpressionScope(loaded, frame.current, on_console, {"result": frame.flowing, "input": frame.item})
    try:
        ended = ScopeEnded(scope=last.scope, outcome="completed", result=await names.resolve(part))
    except ExpressionFailed as reason:
        return await _stored_end(_failed_end(flow, state, last, reason), redactor)
    return await _stored_end(ended, redactor)


def _failed_end(flow: Flow, state: ExecutionState, last: Step, reason: ExpressionFailed) -> ScopeEnded:
    if last.scope == ROOT:
        error = ErrorValue(type="expression", message=f"The outputs of the flow: {reason}")
    else:
        node = _loop_around(flow, state, last)
        error = ErrorValue(type=reason.type, message=f"What '{node.name}' collects: {reason}", node=node.name)
    return ScopeEnded(scope=last.scope, outcome="failed", error=error)


async def _stored_end(event: ScopeEnded, redactor: Redactor) -> ScopeEnded:
    stored = await storable_soon(event, redactor)
    ended = cast("ScopeEnded", stored.event)
    if ended.scope == ROOT or ended.outcome != "completed":
        return ended
    values, _ = size_of(ended.result)
    return replace(ended, part_bytes=max(len(stored.data), values * _BYTES_OF_A_VALUE))
