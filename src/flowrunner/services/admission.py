"""What is looked at before an execution exists: its input, and whether it may be under way."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from flowrunner.domain.errors import invalid
from flowrunner.domain.expression import ExpressionFailed, TooMuchFilledIn, render, value_of
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, FlowId, RevisionId, WorkspaceId
from flowrunner.language.inputs import Inputs
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports import ConcurrencySlot, Sandbox
from flowrunner.services.weighed_cache import WeighedCache, memory_of

# Of schemas that are ready to check input with, in all and of one account.
_READY_BYTES: Final = 64 * 1024 * 1024
_READY_BYTES_OF_AN_ACCOUNT: Final = 32 * 1024 * 1024
# Measured: what a compiled schema takes at most, with what it is compiled from, for each byte of that; and a pattern
# that fills its cache.
_COMPILED: Final = 6
_PATTERN_BYTES: Final = 288 * 1024
# Of the values filled into the key of a concurrency limit, as `left_after` counts them.
MOST_KEY_CHARACTERS: Final = 16 * 1024


class InputForms:
    """Checks input with the schemas of the flow it is for. Keeps the ones used last ready."""

    def __init__(self, engine: SchemaEngine) -> None:
        self._engine = engine
        self._kept: WeighedCache[RevisionId, Inputs] = WeighedCache(most=_READY_BYTES, share=_READY_BYTES_OF_AN_ACCOUNT)

    async def check(
        self, workspace_id: WorkspaceId, revision_id: RevisionId, flow: Flow, input: Mapping[str, JSON]
    ) -> Mapping[str, JSON]:
        """The input with defaults filled in. Raises: InvalidInput with every fault."""
        if flow.inputs is None:
            return input
        inputs = self._kept.get(workspace_id, revision_id)
        if inputs is None:
            inputs = Inputs(flow.inputs, self._engine)
            # Before they are compiled, which they are when they are first used.
            weight = await asyncio.to_thread(_weight_of, flow.inputs)
            self._kept.keep(workspace_id, revision_id, inputs, weight)
        if inputs.is_quick(input):
            return inputs.check(input)
        return await asyncio.to_thread(inputs.check, input)


def _weight_of(schemas: Mapping[str, JSON]) -> int:
    """Return the bytes that schemas take once they are compiled, at most."""
    return _COMPILED * memory_of(schemas) + _PATTERN_BYTES * len(set(_patterns(schemas)))


def _patterns(schema: JSON | Mapping[str, JSON]) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        if isinstance(by_pattern := schema.get("patternProperties"), Mapping):
            yield from by_pattern
        for value in schema.values():
            yield from _patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _patterns(value)


async def concurrency_slot_of(
    flow: Flow, workspace_id: WorkspaceId, flow_id: FlowId, input: Mapping[str, JSON], *, name: str, sandbox: Sandbox
) -> ConcurrencySlot | None:
    """The place that an execution has to have among the others of its flow; None without a limit.

    Args:
        name: What the flow is called.

    Raises:
        InvalidInput: If the key of the limit has no value for this input.
    """
    limit = flow.limits.concurrency
    if limit is None:
        return None
    value: JSON = None
    if limit.key is not None:
        names: dict[str, JSON] = {"id": flow_id, "name": name, "version": flow.version, "input": input}
        scope: dict[str, JSON] = {"flow": names, "input": input, "vars": flow.vars}
        codes = limit.key.codes
        outcomes = await sandbox.evaluate(workspace_id, [code.script for code in codes], scope) if codes else ()
        values = {code: value_of(code, outcome) for code, outcome in zip(codes, outcomes, strict=True)}
        try:
            value = render(limit.key.template, scope, values, most=MOST_KEY_CHARACTERS)
        except TooMuchFilledIn:
            message = f"The key of limits.concurrency comes to more than {MOST_KEY_CHARACTERS} characters"
            hint = "fill in only the parts that tell executions apart"
            raise invalid("input", message, code="too_large", hint=hint) from None
        except ExpressionFailed as error:
            raise invalid("input", f"The key of limits.concurrency has no value: {error}") from None
    digest = hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]
    return ConcurrencySlot(f"{flow_id}:{digest}", limit.most)
