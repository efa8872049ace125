"""Node type `switch`: choose the next node."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from flowrunner.domain.suggestions import is_suggestion
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.plugin import JSON, CodeKind, NodeType, Outcome, ParamFault, Params, StepContext

DEFAULT: Final = "default"
# Keys of other systems for the value that each case is compared with.
_COMPARED: Final = frozenset(
    {"value", "on", "expression", "expr", "input", "variable", "var", "field", "key", "switch"}
)
_OPERATOR: Final = re.compile(r"[=<>!&|]")
_MOST_SHOWN: Final = 60
MAX_ACTION_CHARACTERS: Final = 200

# JavaScript in the document; true, false or the error it raised when the node runs.
When = Annotated[Any, WithJsonSchema({"type": ["string", "boolean"]})]


def no_error(action: str) -> str:
    if action == "error" or action.startswith("error."):
        raise ValueError("must not be named like an error")
    return action


Action = Annotated[str, Field(min_length=1, max_length=MAX_ACTION_CHARACTERS), AfterValidator(no_error)]


class Case(Params):
    when: When = Field(description="An expression, without braces: input.length > 0")
    action: Action


class SwitchParams(Params):
    cases: list[Case] = Field(min_length=1, max_length=1000)
    default_action: Action = Field(default=DEFAULT, description="The action when no case is true.")


class SwitchNode(NodeType[SwitchParams]):
    """Ends with the action of the first case that is true. Returns its input."""

    type = "switch"
    examples = (
        "type: switch\nparams:\n  cases:\n    - {when: flow.input.total > 500, action: large}\n"
        "    - {when: flow.input.total > 0, action: small}\n  default_action: none\n",
    )
    Params = SwitchParams
    code: ClassVar = {("cases", "*", "when"): CodeKind.CONDITION}
    pure = True

    def actions_of(self, params: Mapping[str, JSON]) -> frozenset[str] | None:
        return actions_of_cases(params, "cases")

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return faults_of_cases(super().check(params), params, "cases", "when")

    async def run(self, params: SwitchParams, context: StepContext) -> Outcome:
        return Outcome(context.input, first_true([(c.when, c.action) for c in params.cases], params.default_action))


def actions_of_cases(params: Mapping[str, JSON], key: str) -> frozenset[str] | None:
    cases = params.get(key)
    if not isinstance(cases, list):
        return None
    written = [
        params.get("default_action", DEFAULT),
        *(c.get("action") if isinstance(c, Mapping) else None for c in cases),
    ]
    actions = [action for action in written if isinstance(action, str) and "${" not in action]
    return frozenset(actions) if len(actions) == len(written) else None


def faults_of_cases(
    faults: Sequence[ParamFault], params: Mapping[str, JSON], key: str, condition: str
) -> list[ParamFault]:
    """Replace the faults of cases in the form of other languages by one fault with the right form."""
    cases = params.get(key)
    if isinstance(cases, Mapping):
        # The value that each case is compared with has a fault as well.
        compared = next((params[name] for name in params if name in _COMPARED), None)
        hint = f"write a list: {key}: [{_sample(cases, condition, compared)}]; 'next' says where each action leads"
        fault = ParamFault(keys=(key,), code="param", message="must be a list", hint=hint)
        return [fault, *(other for other in faults if other.keys[:1] not in {(name,) for name in (key, *_COMPARED)})]
    misspelt = {fault.keys[1] for fault in faults if len(fault.keys) > 1 and is_suggestion(fault.hint)}
    short = {
        index: case
        for index, case in enumerate(cases if isinstance(cases, list) else ())
        if isinstance(case, Mapping) and len(case) == 1 and not case.keys() & {condition, "action"}
        if index not in misspelt
    }
    return [
        *(fault for fault in faults if not (fault.keys[:1] == (key,) and fault.keys[1:2] and fault.keys[1] in short)),
        *(
            ParamFault(
                keys=(key, index), code="param", message=f"must have '{condition}' and 'action'",
                hint=f"write {_sample(case, condition, None)}",
            )
            for index, case in short.items()
        ),
    ]  # fmt: skip


def _sample(cases: Mapping[str, JSON], condition: str, compared: JSON) -> str:
    """Return the first of the cases, `{big: "input.total > 500"}` or `{eu: go_on}`, in the form of this language."""
    action, value = next(iter(cases.items()), ("one", None))
    if isinstance(value, str) and _OPERATOR.search(value):
        when = value.removeprefix("${").removesuffix("}")
    elif _OPERATOR.search(action):
        when, action = action, value if isinstance(value, str) else "one"
    else:
        value_of = compared.removeprefix("${").removesuffix("}") if isinstance(compared, str) else "input.x"
        when = f"{value_of} === {action}" if natural_number_of(action) is not None else f"{value_of} === '{action}'"
    return f'{{{condition}: "{when.strip()[:_MOST_SHOWN]}", action: {action[:_MOST_SHOWN]}}}'


def first_true(cases: Sequence[tuple[Any, str]], default: str) -> str:
    """Return the action of the first case that is true.

    Raises:
        ExpressionFailed: If the expression of an earlier case failed.
    """
    for when, action in cases:
        if isinstance(when, Exception):
            raise when
        if when:
            return action
    return default
