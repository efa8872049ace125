"""Values of the expressions of triggers, in whose scope are `trigger`, `config` and the flow's `vars`."""

from collections.abc import Mapping
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


async def evaluate(
    template: Prepared,
    flow: Flow,
    trigger: Mapping[str, JSON],
    *,
    config: Mapping[str, JSON],
    workspace_id: WorkspaceId,
    sandbox: Sandbox,
) -> JSON:
    """Return the value of an expression of a trigger.

    Args:
        trigger: The value of `trigger`.
        config: The configuration values that the flow names.

    Raises: ExpressionFailed, TooMuchFilledIn; Unavailable.
    """
    if template.is_constant:
        return render(template.template, {})
    scope: dict[str, JSON] = {"trigger": trigger, "vars": flow.vars}
    if template.mentions.config:
        scope["config"] = config_of(template.mentions, config)
    codes = template.codes
    outcomes = await sandbox.evaluate(workspace_id, [code.script for code in codes], scope) if codes else ()
    values = {code: value_of(code, outcome) for code, outcome in zip(codes, outcomes, strict=True)}
    value = await render_soon(template.template, scope, values, most=MOST_CHARACTERS)
    # A condition that fails renders to its error, which would count as true.
    if isinstance(value, ExpressionFailed):
        raise value
    return value


async def input_of(
    trigger: Trigger,
    flow: Flow,
    values: Mapping[str, JSON],
    *,
    config: Mapping[str, JSON],
    workspace_id: WorkspaceId,
    sandbox: Sandbox,
) -> Mapping[str, JSON]:
    """Return the input that a trigger gives to its flow.

    Args:
        values: The values of `trigger` besides `type` and `name`.
        config: As of `evaluate`.

    Raises: InvalidInput if an expression has no value; Unavailable.
    """
    named = _named(trigger, values)
    try:
        input = await evaluate(trigger.input, flow, named, config=config, workspace_id=workspace_id, sandbox=sandbox)
    except TooMuchFilledIn:
        message = f"The input of the trigger is larger than {MOST_CHARACTERS} characters"
        raise invalid("input", message, code="too_large") from None
    except ExpressionFailed as error:
        raise invalid("input", f"The input of the trigger has no value: {error}") from None
    assert isinstance(input, Mapping), "the reader of documents accepts only maps"
    return input


async def labels_of(
    trigger: Trigger,
    flow: Flow,
    values: Mapping[str, JSON],
    *,
    config: Mapping[str, JSON],
    workspace_id: WorkspaceId,
    sandbox: Sandbox,
) -> Mapping[str, str]:
    """Return the labels that a trigger gives to its executions. Args and Raises: as `input_of`."""
    if trigger.labels is None:
        return NO_LABELS
    named = _named(trigger, values)
    try:
        labels = await evaluate(trigger.labels, flow, named, config=config, workspace_id=workspace_id, sandbox=sandbox)
    except ExpressionFailed as error:
        raise invalid("labels", f"The labels of the trigger have no value: {error}") from None
    assert isinstance(labels, Mapping), "the reader of documents accepts only maps"
    return labels_of_values(labels)


def _named(trigger: Trigger, values: Mapping[str, JSON]) -> Mapping[str, JSON]:
    named: dict[str, JSON] = {"type": trigger.type, "name": trigger.name, **values}
    if isinstance(trigger.spec, Schedule):
        # Expressions know no time zone but UTC, in which the day may be another one.
        due_at = datetime.fromisoformat(str(values["due_at"])).astimezone(zone_of(trigger.spec.timezone))
        named["due_local"] = due_at.isoformat(timespec="milliseconds")
    return named
