"""The parameters of a past attempt, evaluated again from what the execution had recorded when the attempt started.

The values of secrets are not read: their names stand for them. Everything is evaluated twice, at two times, so that a
value which depends on the clock or on chance shows itself.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from flowrunner.domain.decide import node_of
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Logged
from flowrunner.domain.expression import Code, Path, expressions_of
from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.flow import Node
from flowrunner.domain.link_tokens import without_link_tokens
from flowrunner.domain.partial_rendering import PartError
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.status import StepStatus
from flowrunner.domain.values import JSON, WorkspaceId, left_after
from flowrunner.engine.dependencies import EngineDependencies, ExecutionRef, LoadedExecution, Stopped
from flowrunner.engine.expressions import no_secret
from flowrunner.engine.node_context import StepAttempt
from flowrunner.engine.recorder import MAX_EVENT_BYTES, LinkHidingRedactor, without_secrets
from flowrunner.engine.step import completed_params, names_of_next_run, scope_of
from flowrunner.plugin import NodeFailure
from flowrunner.ports.approval_links import ApprovalLinkSigner, ApprovalPlace
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.secrets import Redactor
from flowrunner.ports.step_params import PastAttempt, ResolvedParams

MOST_SECONDS: Final = 10.0
# The types of errors of expressions and of scripts.
_OF_EXPRESSIONS: Final = frozenset({"expression", "script"})
# No two fields of a date are the same after it.
_LATER: Final = timedelta(days=403, hours=5, minutes=7, seconds=11, milliseconds=13)

CLOCK: Final = "An expression reads the clock or a random number, and has another value each time"
TOO_LARGE: Final = "The parameters are too large to be shown"
LINK: Final = "An expression computes with the link of an approval, whose token is hidden here"
VARIABLES: Final = "Other steps have set variables while it ran, perhaps before it read them"
RESUMED: Final = "The attempt continued what an earlier one had begun with these parameters"
OTHER_ERROR: Final = "The attempt itself did not end with this error"
NO_ERROR: Final = "The error that the attempt ended with does not occur again"
EACH_ROUND: Final = "The node reads its parameters again after each round; these are those of the first"


class _Evaluated(NamedTuple):
    has_params: bool
    params: JSON
    errors: Sequence[PartError]


class EnginePastParams:
    """Implements `ports.PastParams`."""

    def __init__(self, deps: EngineDependencies) -> None:
        self._deps = deps

    async def of(self, attempt: PastAttempt) -> ResolvedParams:
        redactor = LinkHidingRedactor(await self._deps.vault.redactor(attempt.execution.workspace_id))
        node = node_of(attempt.flow, attempt.state, attempt.step)
        try:
            async with asyncio.timeout(MOST_SECONDS):
                first = _SandboxAt(self._deps.sandbox, attempt.started_at)
                found = await self._evaluated(attempt, node, redactor, first)
                second = _SandboxAt(self._deps.sandbox, attempt.started_at + _LATER)
                again = await self._evaluated(attempt, node, redactor, second)
                errors = [await _without_secrets_of(error, redactor) for error in found.errors]
                params, is_shown = await _shown(found.params, redactor)
        except TimeoutError:
            raise Unavailable(f"The parameters take longer than {MOST_SECONDS:g} s to evaluate at the moment") from None
        except Stopped:
            raise Unavailable("The server stops") from None
        reasons = list(self._reasons(attempt, node))
        # If chance has few outcomes, two evaluations may have the same.
        if found != again or first.has_drawn or second.has_drawn:
            reasons.append(CLOCK)
        reasons += _differences(errors, attempt, node)
        if not is_shown:
            reasons.append(TOO_LARGE)
        return ResolvedParams(has_params=found.has_params and is_shown, params=params, errors=errors, reasons=reasons)

    async def _evaluated(
        self, attempt: PastAttempt, node: Node, redactor: Redactor, sandbox: "_SandboxAt"
    ) -> _Evaluated:
        missing = () if attempt.error is None else (attempt.error.message,)
        deps = replace(
            self._deps,
            sandbox=sandbox,
            vault=_SecretNames(missing, redactor),
            approval_links=_HiddenLinks(self._deps.approval_links),
        )
        stored = attempt.execution
        execution = ExecutionRef(
            execution_id=stored.id,
            workspace_id=stored.workspace_id,
            flow_id=stored.flow_id,
            flow=attempt.flow,
            keys_of=stored.id,
        )
        current = attempt.state.at(attempt.step)
        loaded = LoadedExecution(deps, execution, attempt.state, redactor)
        names = names_of_next_run(current) if self._reads_again(node) else {}
        run = StepAttempt(loaded, current, node, _ignore, None)
        scope = scope_of(run, names)
        if node.condition is not None:
            holds, errors = await scope.resolve_parts(node.condition)
            if errors or not holds:
                return _Evaluated(False, None, [replace(error, path="if", is_fatal=True) for error in errors])
        params, errors = await scope.resolve_parts(node.params)
        if any(not error.path for error in errors):
            return _Evaluated(False, None, errors)
        if node.is_part and not errors:
            try:
                params = await completed_params(run, params)
            except NodeFailure as error:
                errors = [PartError(path="", message=str(error.message))]
        if node.hooks is None or node.hooks.prep is None or errors:
            return _Evaluated(True, params, errors)
        scope.extra = {"context": params}
        params, errors = await scope.resolve_parts(node.hooks.prep)
        return _Evaluated(True, params, [replace(error, path="hooks.prep") for error in errors])

    def _reads_again(self, node: Node) -> bool:
        known = self._deps.node_types.get(node.type)
        return known is not None and known.reevaluate_params

    def _reasons(self, attempt: PastAttempt, node: Node) -> Iterable[str]:
        parts = [node.params, *([node.condition] if node.condition else [])]
        if node.hooks is not None and node.hooks.prep is not None:
            parts.append(node.hooks.prep)
            if names := _listed(node.params.mentions.secrets):
                yield f"The hook 'prep' may compute with {names}, and has the name in place of the value here"
        if names := _listed(_computed_secrets(parts)):
            yield f"An expression computes with {names}, and has the name in place of the value here"
        codes = [code for part in parts for code in expressions_of(part.template) if isinstance(code, Code)]
        if any(read.root == "approval" for code in codes for read in code.references):
            yield LINK
        if attempt.others_set_variables and any("vars" in part.mentions.roots for part in parts):
            yield VARIABLES
        if attempt.state.at(attempt.step).status is not StepStatus.RUNNING:
            yield RESUMED
        if self._reads_again(node):
            yield EACH_ROUND


def _differences(errors: Sequence[PartError], attempt: PastAttempt, node: Node) -> Iterable[str]:
    """Yield how the attempt has ended otherwise than the evaluation."""
    if not attempt.has_ended:
        return
    ended_with = None if attempt.error is None else attempt.error.message
    if any(error.message == ended_with for error in errors):
        return
    if any(error.is_fatal for error in errors):
        yield OTHER_ERROR
    elif attempt.error is not None and attempt.error.type in _OF_EXPRESSIONS and not (node.output or node.hooks):
        # With an `output` or hooks, these may have failed after the parameters.
        yield NO_ERROR


async def _shown(params: JSON, redactor: Redactor) -> tuple[JSON, bool]:
    """Return the parameters without secrets, and True; or None and False if they are too large."""
    # JSON has half of a unit for each value at least, so that no larger one can be stored.
    if await asyncio.to_thread(left_after, params, 2 * MAX_EVENT_BYTES) < 0:
        return None, False
    return await without_secrets(params, redactor)


async def _without_secrets_of(error: PartError, redactor: Redactor) -> PartError:
    reads = {
        name: shown[0] for name, value in error.reads.items() if (shown := await without_secrets(value, redactor))[1]
    }
    message, _ = await without_secrets(error.message, redactor)
    return replace(error, message=str(message), reads=reads)


def _computed_secrets(parts: Iterable[Prepared]) -> Collection[str]:
    """Return the secrets that expressions read otherwise than as a whole."""
    names: set[str] = set()
    for part in parts:
        for expression in expressions_of(part.template):
            if isinstance(expression, Code):
                names.update(read.keys[0] for read in expression.references if read.root == "secrets" and read.keys)
            elif isinstance(expression, Path) and expression.root == "secrets" and len(expression.keys) > 1:
                names.add(str(expression.keys[0]))
    return names


def _listed(secrets: Collection[str]) -> str:
    return ", ".join(f"secrets.{name}" for name in sorted(secrets))


def _ignore(line: Logged) -> None:
    """Drop what a script writes: the attempt itself has logged it."""


@dataclass(slots=True)
class _SandboxAt:
    """A sandbox in which it is always the same time. Implements `ports.Sandbox`.

    Attributes:
        has_drawn: A script has drawn a random number.
    """

    _sandbox: Sandbox
    _now: datetime
    has_drawn: bool = False

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        outcomes = await self._sandbox.evaluate(workspace_id, scripts, scope, now=now or self._now)
        self.has_drawn = self.has_drawn or any(outcome.has_drawn for outcome in outcomes)
        return outcomes

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        return await self._sandbox.check(scripts)


@dataclass(frozen=True, slots=True)
class _HiddenLinks:
    """Links of approvals without tokens that expressions could take apart. Implements `ports.ApprovalLinkSigner`."""

    _links: ApprovalLinkSigner

    def url(self, place: ApprovalPlace) -> str | None:
        url = self._links.url(place)
        return None if url is None else without_link_tokens(url)


@dataclass(frozen=True, slots=True)
class _SecretNames:
    """The names of secrets in place of their values. Implements `ports.SecretReader`.

    Args:
        messages: Errors of the attempt. A secret that did not exist according to them does not exist here.
    """

    _messages: Collection[str]
    _redactor: Redactor

    async def redactor(self, workspace_id: WorkspaceId) -> Redactor:
        return self._redactor

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        return {name: f"${{secrets.{name}}}" for name in names if no_secret(name) not in self._messages}
