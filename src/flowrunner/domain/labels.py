"""Labels of executions, and their terms: labels, searchable inputs and jobs, by which lists select executions."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.errors import Fault, InvalidInput, invalid, quoted
from flowrunner.domain.expression.javascript_values import json_text
from flowrunner.domain.values import JSON, JobId

MAX_LABELS: Final = 20
MAX_NAME_CHARACTERS: Final = 63
MAX_VALUE_CHARACTERS: Final = 200
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
NO_LABELS: Final[Mapping[str, str]] = {}

# Inputs of a flow that are searchable, and terms of a filter.
MAX_SEARCHABLE: Final = 10
MAX_SEARCHABLE_NAME: Final = 100
MAX_TERMS: Final = 10

_LABEL: Final = "label."
_INPUT: Final = "input."
_JOB: Final = "job"
_NAME: Final = re.compile(NAME_PATTERN)


def name_fault(name: str) -> str | None:
    """Return why the text is no name of a label; None if it is one."""
    if len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name):
        return None
    return f"a name has 1 to {MAX_NAME_CHARACTERS} letters, digits and . _ - /, and begins with a letter or digit"


def value_fault(value: str) -> str | None:
    """Return why the text is no value of a label; None if it is one."""
    if 0 < len(value) <= MAX_VALUE_CHARACTERS and value.isprintable():
        return None
    return f"a value has 1 to {MAX_VALUE_CHARACTERS} printable characters"


def checked_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels of a request, in the order of their names. Raises: InvalidInput with every fault."""
    if len(labels) > MAX_LABELS:
        raise invalid("labels", f"must have at most {MAX_LABELS} entries", code="too_long")
    faults = [
        Fault(path=f"labels.{quoted(name)}", code="invalid", message=message)
        for name, value in labels.items()
        if (message := name_fault(name) or value_fault(value)) is not None
    ]
    if faults:
        raise InvalidInput(faults)
    return dict(sorted(labels.items())) if labels else NO_LABELS


def labels_of_values(values: Mapping[str, JSON]) -> Mapping[str, str]:
    """Return the labels that a trigger names; one without a value is left out. Raises: InvalidInput."""
    labels: dict[str, str] = {}
    for name, value in values.items():
        text = _text_of(value)
        if text is not None:
            labels[name] = text
        elif value is not None:
            raise invalid(f"labels.{quoted(name)}", "must be a text, a number or a boolean", code="type")
    return checked_labels(labels)


def label_term(text: str, field: str) -> tuple[str, str]:
    """Return the term of `name:value`. Raises: InvalidInput."""
    name, colon, value = text.partition(":")
    if not colon or name_fault(name) is not None or value_fault(value) is not None:
        raise invalid(field, "must be the name and the value of a label", hint="write it as team:core")
    return _LABEL + name, value


def input_term(name: str, value: str) -> tuple[str, str]:
    """Return the term of a searchable input with a value."""
    return _INPUT + name, value


def job_term(id: JobId) -> tuple[str, str]:
    """Return the term of what a job has started."""
    return _JOB, id


def terms_of(
    labels: Mapping[str, str], input: Mapping[str, JSON], searchable: Sequence[str], job: JobId | None
) -> Sequence[tuple[str, str]]:
    """Return the terms of an execution. Only inputs that are short texts, numbers or booleans have one."""
    terms = [(_LABEL + name, value) for name, value in labels.items()]
    if job is not None:
        terms.append(job_term(job))
    for name in searchable:
        text = _text_of(input.get(name))
        if text is not None and 0 < len(text) <= MAX_VALUE_CHARACTERS and "\0" not in text:
            terms.append((_INPUT + name, text))
    return terms


def _text_of(value: JSON) -> str | None:
    if isinstance(value, str):
        return value
    # As JavaScript writes them: true, 42 (also for 42.0), 0.5.
    return json_text(value) if isinstance(value, bool | int | float) else None
