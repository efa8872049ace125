"""Node type `condition`, the older form of `switch`.

It differs in the actions: its script computes them, and `error` is one. `language.legacy` says why it is not rewritten.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, Field, model_validator

from flowrunner.nodes.switch import (
    DEFAULT,
    MAX_ACTION_CHARACTERS,
    When,
    actions_of_cases,
    faults_of_cases,
    first_true,
    no_error,
)
from flowrunner.plugin import JSON, CodeKind, NodeFailure, NodeType, Outcome, ParamFault, Params, StepContext

# Errors of the node take the same edge.
ERROR: Final = "error"
OldAction = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ACTION_CHARACTERS),
    AfterValidator(lambda action: action if action == ERROR else no_error(action)),
]


class OldCase(Params):
    condition: When
    action: OldAction


class ConditionParams(Params):
    conditions: list[OldCase] | None = Field(default=None, min_length=1, max_length=1000)
    condition_script: Any = Field(
        default=None, description="JavaScript, the body of a function, which returns true, false or an action."
    )
    default_action: OldAction = DEFAULT

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if len(self.model_fields_set & {"conditions", "condition_script"}) != 1:
            raise ValueError("give either 'conditions' or 'condition_script'")
        return self


class ConditionNode(NodeType[ConditionParams]):
    """An older form of `switch`."""

    type = "condition"
    examples = (
        "type: condition\nparams:\n  conditions:\n    - {condition: flow.input.total > 500, action: large}\n"
        "  default_action: small\n",
    )
    Params = ConditionParams
    code: ClassVar = {
        ("conditions", "*", "condition"): CodeKind.CONDITION,
        ("condition_script",): CodeKind.BODY,
    }
    pure = True

    def actions_of(self, params: Mapping[str, JSON]) -> frozenset[str] | None:
        return actions_of_cases(params, "conditions")

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return faults_of_cases(super().check(params), params, "conditions", "condition")

    async def run(self, params: ConditionParams, context: StepContext) -> Outcome:
        if params.conditions is None:
            return Outcome(context.input, _action_of(params.condition_script, params.default_action))
        cases = [(c.condition, c.action) for c in params.conditions]
        return Outcome(context.input, first_true(cases, params.default_action))


def _action_of(returned: JSON, default: str) -> str:
    """Return the action for the return value of a script."""
    match returned:
        case bool():
            return "true" if returned else "false"
        case None:
            return default
        case str() if 0 < len(returned) <= MAX_ACTION_CHARACTERS and not returned.startswith("error."):
            return returned
        case _:
            raise NodeFailure("script", "The script of a condition must return true, false or the name of an action")
