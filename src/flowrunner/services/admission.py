"""What is looked at before an execution exists: its input, and whether it may be under way."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec

from flowrunner.domain.errors import invalid
from flowrunner.domain.expression import ExpressionFailed, render, value_of
from flowrunner.domain.flow import Flow
from flowrunner.domain.inputs import Inputs
from flowrunner.domain.json_schema import SchemaEngine
from flowrunner.domain.values import JSON, AccountId, FlowId, RevisionId
from flowrunner.ports import Sandbox, Turn

_KEPT_FORMS: Final = 1000


class InputForms:
    """Checks input with the schemas of the flow it is for. Keeps the ones used last ready."""

    def __init__(self, engine: SchemaEngine) -> None:
        self._engine = engine
        self._kept: OrderedDict[RevisionId, Inputs] = OrderedDict()

    async def check(self, revision_id: RevisionId, flow: Flow, input: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """The input with defaults filled in. Raises: InvalidInput with every fault."""
        if flow.inputs is None:
            return input
        inputs = self._kept.get(revision_id)
        if inputs is None:
            inputs = self._kept[revision_id] = Inputs(flow.inputs, self._engine)
            if len(self._kept) > _KEPT_FORMS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(revision_id)
        if inputs.is_quick(input):
            return inputs.check(input)
        return await asyncio.to_thread(inputs.check, input)


async def turn_of(
    flow: Flow, account_id: AccountId, flow_id: FlowId, input: Mapping[str, JSON], *, name: str, sandbox: Sandbox
) -> Turn | None:
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
        outcomes = await sandbox.evaluate(account_id, [code.script for code in codes], scope) if codes else ()
        values = {code: value_of(code, outcome) for code, outcome in zip(codes, outcomes, strict=True)}
        try:
            value = render(limit.key.template, scope, values)
        except ExpressionFailed as error:
            raise invalid("input", f"The key of limits.concurrency has no value: {error}") from None
    digest = hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]
    return Turn(f"{flow_id}:{digest}", limit.most)
