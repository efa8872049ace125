"""Reader of the key `retry`."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.retry import PASSING_ERRORS, RetryPolicy
from flowrunner.domain.values import JSON
from flowrunner.language.document import Document
from flowrunner.language.error_types import is_misspelt_error, may_fail_with, nearest_error
from flowrunner.language.yaml_source import Keys

RETRY_KEYS: Final = ("max", "delay", "backoff", "max_delay", "jitter", "errors", "max_elapsed")

RetrySettings: TypeAlias = dict[str, float | tuple[str, ...]]


def read_retry(
    document: Document, parent: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec | None = None
) -> RetrySettings:
    """Return the settings under `retry` in ``parent``, which is at ``at``.

    Args:
        spec: Type of the node; None for the settings of all nodes.
    """
    number = parent.get("retry")
    hint = f"write retry: {{max: {number}}}" if isinstance(number, int) and not isinstance(number, bool) else None
    written = document.map_at(parent, at, "retry", hint)
    at = (*at, "retry")
    document.known_keys(written, at, RETRY_KEYS)
    settings: RetrySettings = {}
    for key, least, most in (("max", 0, 1000), ("backoff", 1, 100), ("jitter", 0, 1)):
        value = written.get(key)
        if value is None:
            continue
        whole = key == "max"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            document.fault((*at, key), "type", "must be a whole number" if whole else "must be a number")
        elif not least <= value <= most:
            document.fault((*at, key), "range", f"must be between {least} and {most}")
        else:
            settings[key] = value
    for name in ("delay", "max_delay", "max_elapsed"):
        seconds = document.duration_at(written, at, name)
        if seconds is not None:
            settings[name] = seconds
    if "errors" in written:
        errors = written["errors"]
        if isinstance(errors, list) and errors and all(isinstance(e, str) for e in errors):
            settings["errors"] = tuple(str(e) for e in errors)
        else:
            _fault_of_errors(document, errors, (*at, "errors"))
        _check_errors(document, errors, (*at, "errors"), spec)
    return settings


def _check_errors(document: Document, errors: JSON, at: Keys, spec: NodeTypeSpec | None) -> None:
    for index, error in enumerate(errors if isinstance(errors, list) else ()):
        if isinstance(error, str) and is_misspelt_error(error, spec):
            near = nearest_error(error)
            hint = None if near is None else f"did you mean '{near}'?"
            document.warn((*at, index), "retry.error", f"there is no error '{error}': it is never retried", hint)


def _fault_of_errors(document: Document, written: JSON, at: Keys) -> None:
    if not isinstance(written, list):
        hint = f"write [{written}]" if isinstance(written, str) else "for example [timeout, http.5xx]"
        document.fault(at, "type", "must be a list of error types", hint)
        return
    if not written:
        document.fault(at, "type", "must name at least one error type", "leave it out to retry after transient errors")
    for index, error in enumerate(written):
        if not isinstance(error, str):
            is_status = isinstance(error, int) and 100 <= error <= 599
            hint = f"write http.{error}" if is_status else "for example http.5xx"
            document.fault((*at, index), "type", "an error type is text", hint)


def warn_of_no_retry(
    document: Document, settings: RetrySettings, at: Keys, spec: NodeTypeSpec, *, has_time_limit: bool
) -> None:
    """Warn of a node that retries none of the errors that it can fail with.

    Args:
        settings: Those of the node, with what it takes from the defaults.
        at: The node's key `retry`.
        has_time_limit: A time limit was given. That of a pure type by default is none that it reaches.
    """
    policy = policy_of(settings)
    if policy.max_retries == 0 or any(is_misspelt_error(error, spec) for error in policy.errors):
        return
    may_time_out = has_time_limit or not spec.pure or not {"*", "timeout"}.isdisjoint(spec.errors)
    if any(
        error == "*" or (may_fail_with(error, spec) and (error != "timeout" or may_time_out)) for error in policy.errors
    ):
        return
    some = spec.errors or ("expression", "script")
    hint = f"name the errors to retry: errors: [{', '.join(some)}]; or leave 'retry' out"
    document.warn(at, "retry.never", f"'{spec.name}' fails with none of the errors that are retried", hint, key=True)


def policy_of(settings: RetrySettings) -> RetryPolicy:
    def number(key: str, default: float) -> float:
        value = settings.get(key, default)
        assert not isinstance(value, tuple)
        return float(value)

    errors = settings.get("errors", PASSING_ERRORS)
    assert isinstance(errors, tuple)
    return RetryPolicy(
        max_retries=int(number("max", 3)),
        first_delay=number("delay", 1.0),
        backoff=number("backoff", 2.0),
        # Without `max_delay`, a first delay above the default maximum raises the maximum.
        longest_delay=number("max_delay", max(60.0, number("delay", 1.0))),
        jitter=number("jitter", 0.2),
        errors=errors,
        max_elapsed=number("max_elapsed", 0) if "max_elapsed" in settings else None,
    )
