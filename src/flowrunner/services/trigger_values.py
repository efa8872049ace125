"""Values of the expressions of triggers, in whose scope are `trigger`, `config` and the flow's `vars`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flowrunner.domain.config import config_of
from flowrunner.domain.errors import invalid
from flowrunner.domain.expression import ExpressionFailed, TooMuchFilledIn, render, value_of
from flowrunner.domain.flow import Flow
from flowrunner.domain.labels import NO_LABELS, labels_of_values
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.schedules import zone_of
from flowrunner.domain.triggers import Schedule, Trigger
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.sandbox import Sandbox
from flowrunner.threads import render_soon

# Size of an input, as `left_after` counts it: that of the largest body of a request.
MOST_CHARACTERS: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FiredTrigger:
    """A trigger that starts its flow, and what its expressions read.

    Attributes:
        trigger: As the flow's document has it.
        values: The values of `trigger` besides `type` and `name`.
        config: The configuration values that the flow names.
    """

    trigger: Trigger
    flow: Flow
    values: Mapping[str, JSON]
    config: Mapping[str, JSON]
    workspace_id: WorkspaceId
    sandbox: Sandbox

    async def value(self, template: Prepared) -> JSON:
        """Return the value of an expression of the trigger. Raises: ExpressionFailed, TooMuchFilledIn; Unavailable."""
        if template.is_constant:
            return render(template.template, {})
        scope: dict[str, JSON] = {"trigger": self._named(), "vars": self.flow.vars}
        if template.mentions.config:
            scope["config"] = config_of(template.mentions, self.config)
        codes, scripts = template.codes, [code.script for code in template.codes]
        outcomes = await self.sandbox.evaluate(self.workspace_id, scripts, scope) if codes else ()
        values = {code: value_of(code, outcome) for code, outcome in zip(codes, outcomes, strict=True)}
        value = await render_soon(template.template, scope, values, most=MOST_CHARACTERS)
        # A condition that fails renders to its error, which would count as true.
        if isinstance(value, ExpressionFailed):
            raise value
        return value

    async def input(self) -> Mapping[str, JSON]:
        """Return the input for the flow. Raises: InvalidInput if an expression has no value; Unavailable."""
        try:
            input = await self.value(self.trigger.input)
        except TooMuchFilledIn:
            message = f"The input of the trigger is larger than {MOST_CHARACTERS} characters"
            raise invalid("input", message, code="too_large") from None
        except ExpressionFailed as error:
            raise invalid("input", f"The input of the trigger has no value: {error}") from None
        assert isinstance(input, Mapping), "the reader of documents accepts only maps"
        return input

    async def labels(self) -> Mapping[str, str]:
        """Return the labels of the execution. Raises: as `input`."""
        if self.trigger.labels is None:
            return NO_LABELS
        try:
            labels = await self.value(self.trigger.labels)
        except ExpressionFailed as error:
            raise invalid("labels", f"The labels of the trigger have no value: {error}") from None
        assert isinstance(labels, Mapping), "the reader of documents accepts only maps"
        return labels_of_values(labels)

    def _named(self) -> Mapping[str, JSON]:
        trigger, values = self.trigger, self.values
        named: dict[str, JSON] = {"type": trigger.type, "name": trigger.name, **values}
        if isinstance(trigger.spec, Schedule):
            # Expressions know no time zone but UTC, in which the day may be another one.
            due_at = datetime.fromisoformat(str(values["due_at"])).astimezone(zone_of(trigger.spec.timezone))
            named["due_local"] = due_at.isoformat(timespec="milliseconds")
        return named
