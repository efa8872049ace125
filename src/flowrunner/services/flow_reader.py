"""Reader of flow documents, and the faults of their JavaScript in plain words."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from flowrunner.domain.errors import Fault
from flowrunner.domain.expression import Code, CodePlace, shown
from flowrunner.domain.expression.script import ScriptError
from flowrunner.domain.flow import NodeTypeSpec, ParamFault
from flowrunner.domain.values import JSON
from flowrunner.language import Reading, study_flow
from flowrunner.language.inputs import form_faults
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.language.schema_budget import SchemaBudget

# Characters of an expression that a hint repeats.
_MOST_SHOWN: Final = 80
# A text that begins as a statement.
_STATEMENT: Final = re.compile(r"\s*(?:const|let|var|if|for|while|do|switch|return|throw|try)\b|[^{}]*;\s*\S")
_CLOSED: Final = "SyntaxError: unexpected token in expression: ')'"


class FlowReader:
    """Reader of flow documents with these node types, without the syntax check of their JavaScript.

    Args:
        has_links: The server can make links to approvals.
    """

    def __init__(
        self, node_types: Mapping[str, NodeTypeSpec], schemas: SchemaEngine, *, has_links: bool = True
    ) -> None:
        self.node_types = node_types
        self._schemas = schemas
        self._has_links = has_links

    def read(self, text: str) -> Reading:
        """Return the flow and every fault of a document but those of its JavaScript, which `codes` has."""
        budget = SchemaBudget(self._schemas)

        def check_schema(schema: JSON) -> Sequence[ParamFault]:
            return form_faults(schema, budget)

        reading = study_flow(text, self.node_types, check_schema)
        if reading.links and not self._has_links:
            return _with_faults(reading, map(_no_link, reading.links))
        return reading


# For a secret and for a configuration value.
_FAILS_WITHOUT: Final = (
    "the flow fails there if it runs without the secret",
    "the flow fails there if it is started without the value",
)
# For a secret of a webhook, which runs nothing.
_REJECTS_WITHOUT: Final = "the webhook rejects the requests that the secret should verify"


def missing_names(
    reading: Reading,
    secrets: Collection[str] | None,
    config: Collection[str] | None,
    hints: tuple[str, str] = _FAILS_WITHOUT,
) -> Sequence[Fault]:
    """Return a warning for each secret and each configuration value that a flow needs and that there is not.

    Args:
        secrets: The secrets that there are; None warns of no secret.
        config: The same for configuration values.
        hints: For a secret and for a configuration value; `{name}` stands for its name.
    """
    of_secret, of_value = hints
    named = {name: place for name, place in reading.secrets.items() if ("secrets", name) in reading.needed}
    values = {name: place for name, place in reading.config.items() if ("config", name) in reading.needed}
    return [
        *_missing(named, secrets, "secret.unknown", "secret", of_secret),
        *_missing(values, config, "config.unknown", "configuration value", of_value),
    ]


def _missing(
    named: Mapping[str, CodePlace], known: Collection[str] | None, code: str, noun: str, hint: str
) -> Iterator[Fault]:
    for name, place in named.items():
        if known is not None and name not in known:
            is_of_webhook = hint == _FAILS_WITHOUT[0] and place.path.startswith("triggers.")
            yield Fault(
                path=place.path,
                line=place.line,
                column=place.column,
                code=code,
                message=f"there is no {noun} '{name}'",
                hint=_REJECTS_WITHOUT if is_of_webhook else hint.format(name=name),
                is_warning=True,
            )


def with_script_faults(reading: Reading, found: Sequence[ScriptError | None]) -> Reading:
    """Return the reading with the faults of its JavaScript.

    Args:
        found: The result of the syntax check for each of `Reading.codes`.
    """
    pairs = zip(reading.codes, found, strict=True)
    faults = [_fault(code, error) for code, error in pairs if error is not None]
    return _with_faults(reading, faults) if faults else reading


def _with_faults(reading: Reading, faults: Iterable[Fault]) -> Reading:
    return replace(reading, flow=None, faults=sorted([*reading.faults, *faults], key=_position))


def _no_link(place: CodePlace) -> Fault:
    return Fault(
        path=place.path,
        line=place.line,
        column=place.column,
        code="approval.link",
        message="this server makes no links: its setting public_url is missing",
        hint="ask its operator to set public_url to the address that browsers use",
    )


def _position(fault: Fault) -> tuple[int, int]:
    return fault.line or 0, fault.column or 0


def _fault(code: Code, error: ScriptError) -> Fault:
    subject = "the script" if code.script.is_body else f"'{shown(code.text)}'"
    line = f" (line {error.line} of it)" if code.script.is_body and error.line is not None else ""
    place = code.place.of_line(error.line if code.script.is_body else None)
    return Fault(
        path=place.path,
        line=place.line,
        column=place.column,
        code="expression.syntax",
        message=f"{subject} is not valid JavaScript{line}: {_message_of(code, error)}",
        hint=_hint(code),
    )


def _hint(code: Code) -> str | None:
    if not code.script.is_body and _STATEMENT.match(code.text):
        return (
            "an expression cannot contain statements: use a node of type transform with a 'script' that returns a value"
        )
    if (doubled := _in_braces(code.text)) is not None:
        return f"write ${{{doubled}}}, with single braces"
    # A condition of other systems, `{{ input.id > 1 }}`.
    inner = _in_braces(code.text.strip()[1:-1])
    return None if inner is None else f"write it without braces: {inner}"


def _in_braces(text: str) -> str | None:
    """Return the `input.id` of `${{ input.id }}`, as expressions are written elsewhere."""
    text = text.strip()
    inner = text[1:-1].strip()
    is_meant = text.startswith("{") and text.endswith("}") and 0 < len(inner) <= _MOST_SHOWN
    return inner if is_meant and "{" not in inner and "}" not in inner else None


def _message_of(code: Code, error: ScriptError) -> str:
    # An expression is evaluated in parentheses that its author did not write.
    is_cut_off = error.message == _CLOSED and code.text.count(")") <= code.text.count("(")
    return "SyntaxError: the expression is incomplete" if is_cut_off and not code.script.is_body else error.message
