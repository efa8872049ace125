"""Checks before an execution is created: its input and its flow's concurrency limit."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from flowrunner.bounded_json import canonical_json
from flowrunner.domain.config import config_of
from flowrunner.domain.errors import invalid
from flowrunner.domain.expression import ExpressionFailed, TooMuchFilledIn, render, value_of
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, MOST_KEY_CHARACTERS, FlowId, RevisionId, WorkspaceId
from flowrunner.language.inputs import Inputs
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.sandbox import Sandbox
from flowrunner.services.weighed_cache import WeighedCache, memory_of

# Memory for compiled input schemas: of all workspaces together, and of one.
_READY_BYTES: Final = 64 * 1024 * 1024
_READY_BYTES_OF_A_WORKSPACE: Final = 32 * 1024 * 1024
# Measured upper bounds: bytes of a compiled schema and its source per byte of the source, and bytes of a pattern whose
# cache is full.
_COMPILED: Final = 6
_PATTERN_BYTES: Final = 288 * 1024


class InputForms:
    """Validation of input against its flow's schemas, with a cache of compiled schemas."""

    def __init__(self, engine: SchemaEngine) -> None:
        self._engine = engine
        self._kept: WeighedCache[RevisionId, Inputs] = WeighedCache(
            most=_READY_BYTES, share=_READY_BYTES_OF_A_WORKSPACE
        )

    async def check(
        self, workspace_id: WorkspaceId, revision_id: RevisionId, flow: Flow, input: Mapping[str, JSON]
    ) -> Mapping[str, JSON]:
        """Return the input with defaults applied. Raises: InvalidInput with every fault."""
        if flow.inputs is None:
            return input
        inputs = self._kept.get(workspace_id, revision_id)
        if inputs is None:
            inputs = Inputs(flow.inputs, self._engine)
            # The weight is taken before the schemas are compiled, on their first use.
            weight = await asyncio.to_thread(_weight_of, flow.inputs)
            self._kept.keep(workspace_id, revision_id, inputs, weight)
        if inputs.is_quick(input):
            return inputs.check(input)
        return await asyncio.to_thread(inputs.check, input)


def _weight_of(schemas: Mapping[str, JSON]) -> int:
    """Return the largest number of bytes that the schemas may take once they are compiled."""
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
    flow: Flow,
    workspace_id: WorkspaceId,
    flow_id: FlowId,
    input: Mapping[str, JSON],
    *,
    name: str,
    config: Mapping[str, JSON],
    sandbox: Sandbox,
) -> ConcurrencySlot | None:
    """Return the concurrency slot that an execution of the flow needs; None if the flow has no limit.

    Args:
        name: The flow's name.
        config: The configuration values that the flow names.

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
        try:
            if limit.key.mentions.config:
                scope["config"] = config_of(limit.key.mentions, config)
            codes = limit.key.codes
            outcomes = await sandbox.evaluate(workspace_id, [code.script for code in codes], scope) if codes else ()
            values = {code: value_of(code, outcome) for code, outcome in zip(codes, outcomes, strict=True)}
            value = render(limit.key.template, scope, values, most=MOST_KEY_CHARACTERS)
        except TooMuchFilledIn:
            message = f"The key of limits.concurrency is longer than {MOST_KEY_CHARACTERS} characters"
            hint = "use only the parts that distinguish executions"
            raise invalid("input", message, code="too_large", hint=hint) from None
        except ExpressionFailed as error:
            raise invalid("input", f"The key of limits.concurrency has no value: {error}") from None
    digest = hashlib.sha256(canonical_json(value)).hexdigest()[:32]
    return ConcurrencySlot(f"{flow_id}:{digest}", limit.most)
