"""Validation of flow inputs and approval forms, with every fault in plain words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.errors import Fault, InvalidInput, quoted
from flowrunner.domain.flow import ParamFault
from flowrunner.domain.suggestions import Suggestions
from flowrunner.domain.values import JSON, left_after
from flowrunner.language.json_schema import (
    LONGEST_NUMBER,
    Matcher,
    SchemaEngine,
    filled,
    has_default,
    numbers_in,
    read_schema,
    size_of,
)
from flowrunner.language.schema_budget import SchemaBudget
from flowrunner.language.yaml_source import Keys, dotted

# Nanoseconds for each comparison, measured with the slowest schemas and values that could be constructed.
_COMPARING: Final = 20.0
# Nanoseconds for reporting. Each fault holds a copy of its value.
_REPORTING: Final = 5_000.0
_REPORTING_A_CHARACTER: Final = 1.5
MAX_FAULTS: Final = 100
# Limits for a check on the event loop: characters and elements of the values, and nanoseconds.
_QUICK_SIZE: Final = 4096
_QUICK_NANOSECONDS: Final = 5e6


class Form:
    """Compiled schema that values are checked against.

    Raises:
        ValueError: If the schema has faults.
    """

    def __init__(self, schema: JSON, budget: SchemaBudget) -> None:
        faults, self.weight = read_schema(schema, budget)
        if faults:
            raise ValueError(f"the schema has faults: {dotted(faults[0].keys)}: {faults[0].message}")
        self._schema = schema
        self._matcher: Matcher = budget.matcher(schema)

    def check(self, value: JSON, budget: SchemaBudget, at: Keys = ("data",)) -> JSON:
        """Return ``value`` with its defaults.

        Raises:
            InvalidInput: With every fault, or with the first fault of a very large value. Paths begin with ``at``.
        """
        value = filled(self._schema, value)
        faults = self.faults(value, budget)
        if faults:
            raise InvalidInput([_with_path(at, fault) for fault in faults[:MAX_FAULTS]])
        return value

    def faults(self, value: JSON, budget: SchemaBudget) -> Sequence[ParamFault]:
        values, characters = size_of(value)
        visits = self.weight.visits
        # The first comparison of each value is not counted: it costs no more than reading the value.
        comparing = values * (visits - 1) * _COMPARING + characters * self.weight.per_character
        if self.weight.per_number:
            comparing += numbers_in(value) * self.weight.per_number
        if not budget.spend(comparing):
            return (ParamFault(keys=(), code="too_large", message="is too large to be checked against its schema"),)
        if self._matcher.fits(value):
            return ()
        reporting = visits * (values * _REPORTING + characters * _REPORTING_A_CHARACTER)
        if self.weight.has_names:
            reporting *= values
        if budget.spend(reporting):
            return self._matcher.faults(value, first_only=False)
        if not self.weight.has_choice:
            return self._matcher.faults(value, first_only=True)
        return (ParamFault(keys=(), code="no_match", message="does not fit its schema, and is too large to say why"),)


@dataclass(slots=True)
class Inputs:
    """Declared inputs of a flow by name: `{limit: {type: integer, default: 100}}`, without faults.

    An input is required unless it has a `default` or `required: false`. Schemas are compiled on first use.
    """

    schemas: Mapping[str, JSON]
    engine: SchemaEngine
    _forms: dict[str, Form] = field(default_factory=dict)

    def is_quick(self, values: Mapping[str, JSON]) -> bool:
        """Return whether `check` takes a few milliseconds at most."""
        left = left_after(values, _QUICK_SIZE)
        weights = [form.weight if (form := self._forms.get(name)) else None for name in self.schemas if name in values]
        if left < 0:
            return False
        size, most = _QUICK_SIZE - left, 0.0
        for weight in weights:
            if weight is None or weight.has_names:
                return False
            most += size * (weight.visits * _REPORTING + weight.per_character + weight.per_number * LONGEST_NUMBER)
        return most <= _QUICK_NANOSECONDS

    def check(self, values: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """Return the values in the order of the flow, with defaults. All of them share one budget.

        Raises:
            InvalidInput: With every fault, by paths like `input.limit`.
        """
        budget = SchemaBudget(self.engine)
        suggestions, known = Suggestions(), ", ".join(tuple(self.schemas)[:20])
        meant = {name: suggestions.nearest(name, self.schemas) for name in values if name not in self.schemas}
        faults = [
            Fault(
                path=dotted(("input", name)),
                code="unknown_key",
                message=f"the flow has no input {quoted(name)}",
                hint=(f"did you mean '{near}'?" if near else f"known inputs: {known}" if known else "it takes none"),
            )
            for name, near in meant.items()
        ]
        checked: dict[str, JSON] = {}
        for name, written in self.schemas.items():
            schema, is_required = schema_of(written)
            if name in values:
                try:
                    if name not in self._forms:
                        self._forms[name] = Form(schema, budget)
                    checked[name] = self._forms[name].check(values[name], budget, ("input", name))
                except InvalidInput as error:
                    faults += error.faults
                except ValueError:
                    # An earlier version has accepted the schema.
                    message, hint = "cannot be checked: its schema is not supported", "save the flow with another one"
                    faults.append(Fault(path=dotted(("input", name)), code="schema", message=message, hint=hint))
            elif has_default(schema):
                checked[name] = filled(schema, schema["default"])
            # A misspelt input has a fault already.
            elif is_required and name not in meant.values():
                faults.append(
                    Fault(
                        path=dotted(("input", name)), code="required", message="is missing", hint=_description(schema)
                    )
                )
        if faults:
            raise InvalidInput(faults[:MAX_FAULTS])
        return checked


def form_faults(schema: JSON, budget: SchemaBudget) -> Sequence[ParamFault]:
    """Return every fault of a schema and of its default."""
    faults, _ = read_schema(schema, budget, ())
    if faults or not has_default(schema):
        return faults
    return [
        ParamFault(
            keys=("default", *fault.keys),
            code="default",
            message=f"the default does not fit: {fault.message}",
            hint=fault.hint,
        )
        for fault in Form(schema, budget).faults(filled(schema, schema["default"]), budget)[:MAX_FAULTS]
    ]


def schema_of(written: JSON) -> tuple[JSON, bool]:
    """Return the schema of an input without its own `required` and `searchable`, and whether the input is required."""
    if not isinstance(written, Mapping):
        return written, True
    own = {key for key in ("required", "searchable") if isinstance(written.get(key), bool)}
    if not own:
        return written, True
    return {key: value for key, value in written.items() if key not in own}, written.get("required") is not False


def is_searchable(written: JSON) -> bool:
    """Return whether lists find executions by the value of an input."""
    return isinstance(written, Mapping) and written.get("searchable") is True


def must_be_given(written: JSON) -> bool:
    """Return whether an execution needs a value for an input, which is declared like this."""
    schema, is_required = schema_of(written)
    return is_required and not has_default(schema)


def tool_schema(inputs: Mapping[str, JSON] | None) -> str:
    """Return the JSON Schema of the whole input of a flow, as JSON. Args: inputs: As in `Flow.inputs`."""
    return json.dumps(input_schema(inputs), separators=(",", ":"))


def input_schema(inputs: Mapping[str, JSON] | None) -> Mapping[str, JSON]:
    """Return the JSON Schema of the whole input of a flow. Args: inputs: As in `Flow.inputs`."""
    if inputs is None:
        return {"type": "object"}
    schemas = {name: schema_of(written)[0] for name, written in inputs.items()}
    required = [name for name, written in inputs.items() if must_be_given(written)]
    properties = {name: {} if schema is True else schema for name, schema in schemas.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _with_path(at: Keys, fault: ParamFault) -> Fault:
    return Fault(path=dotted((*at, *fault.keys)), code=fault.code, message=fault.message, hint=fault.hint)


def _description(schema: JSON) -> str | None:
    text = schema.get("description") if isinstance(schema, Mapping) else None
    return text if isinstance(text, str) and text else None
