"""`switch`: which way to go. `condition` is its older form."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from flowrunner.plugin import JSON, CodeKind, NodeType, Outcome, Params, StepContext

DEFAULT: Final = "default"

# JavaScript in the document; true, false or the error it came to when the node runs.
When = Annotated[Any, WithJsonSchema({"type": ["string", "boolean"]})]


def _no_error(action: str) -> str:
    if action == "error" or action.startswith("error."):
        raise ValueError("must not be named like an error")
    return action


Action = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_error)]


class Case(Params):
    when: When = Field(description="An expression, without braces: input.length > 0")
    action: Action


class SwitchParams(Params):
    cases: list[Case] = Field(min_length=1, max_length=1000)
    default_action: Action = Field(default=DEFAULT, description="The action when no case holds.")


class Switch(NodeType[SwitchParams]):
    """Ends with the action of the first case that holds. Gives its input."""

    type = "switch"
    Params = SwitchParams
    code: ClassVar = {("cases", "*", "when"): CodeKind.CONDITION}
    pure = True

    def actions_of(self, params: Mapping[str, JSON]) -> frozenset[str]:
        return _actions(params, "cases")

    async def run(self, params: SwitchParams, context: StepContext) -> Outcome:
        return Outcome(context.input, first_true([(c.when, c.action) for c in params.cases], params.default_action))


class OldCase(Params):
    condition: When
    action: Action


class ConditionParams(Params):
    conditions: list[OldCase] = Field(min_length=1, max_length=1000)
    default_action: Action = DEFAULT


class Condition(NodeType[ConditionParams]):
    """An older form of `switch`."""

    type = "condition"
    Params = ConditionParams
    code: ClassVar = {("conditions", "*", "condition"): CodeKind.CONDITION}
    pure = True

    def actions_of(self, params: Mapping[str, JSON]) -> frozenset[str]:
        return _actions(params, "conditions")

    async def run(self, params: ConditionParams, context: StepContext) -> Outcome:
        cases = [(c.condition, c.action) for c in params.conditions]
        return Outcome(context.input, first_true(cases, params.default_action))


def _actions(params: Mapping[str, JSON], key: str) -> frozenset[str]:
    cases = params.get(key)
    default = params.get("default_action", DEFAULT)
    actions = {default} if isinstance(default, str) else set()
    if isinstance(cases, list):
        actions |= {c["action"] for c in cases if isinstance(c, Mapping) and isinstance(c.get("action"), str)}
    return frozenset(actions)


def first_true(cases: Sequence[tuple[Any, str]], default: str) -> str:
    """The action of the first case that holds.

    Raises:
        ExpressionFailed: If a case before it came to an error.
    """
    for when, action in cases:
        if isinstance(when, Exception):
            raise when
        if when:
            return action
    return default
