"""Schema of the triggers of a flow."""

from typing import Final

from flowrunner.domain.labels import MAX_LABELS, MAX_NAME_CHARACTERS, NAME_PATTERN
from flowrunner.language.schema.pieces import Schema, object_of, ref, text
from flowrunner.language.triggers import (
    ALGORITHMS,
    ENCODINGS,
    MAX_CRON_CHARACTERS,
    MAX_TRIGGERS,
    MISSED,
    MOST_SECRETS,
    OVERLAP,
    RESPOND_MODES,
    SCHEMES,
    STATUSES,
)

_TIME: Final = '"2026-12-24T18:00:00+01:00"; without an offset, in the time zone of the trigger.'


def triggers_schema() -> Schema:
    """Return the schema of the key `triggers`."""
    return {
        "description": "What starts the flow by itself, by name.",
        "type": "object",
        "maxProperties": MAX_TRIGGERS,
        "additionalProperties": {
            "anyOf": [ref("schedule"), ref("webhookTrigger"), ref("executionTrigger")],
        },
    }


def triggers_definitions() -> Schema:
    secret = {"type": "string", "pattern": r"\$\{.*secrets"}
    return {
        "schedule": {"description": "Due times.", **_trigger("schedule", _schedule())},
        "webhookTrigger": {
            "description": "Requests of other servers.",
            **_trigger("webhook", _webhook(secret), required=["verify"]),
        },
        "executionTrigger": {
            "description": "Ends of another flow's executions.",
            **_trigger("execution", _chain(), required=["flow"]),
        },
    }


def _trigger(type: str, keys: Schema, *, required: list[str] | None = None) -> Schema:
    common = {
        "type": {"const": type},
        "description": text("For people.", maxLength=10_000),
        "input": {"description": "The input of the executions, in which ${trigger…} can be read.", "type": "object"},
        "labels": {
            "description": "The labels of the executions, in whose values ${trigger…} can be read.",
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": {"pattern": f"^{NAME_PATTERN}$", "maxLength": MAX_NAME_CHARACTERS},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    }
    return object_of({**common, **keys}, required=["type", *(required or [])])


def _schedule() -> Schema:
    duration = ref("duration")
    return {
        "cron": text("Minute, hour, day, month and weekday, or @daily.", maxLength=MAX_CRON_CHARACTERS),
        "every": {"description": "An interval from `start`, or from 1970.", "allOf": [duration]},
        "at": text(f"One moment: {_TIME}"),
        "timezone": {**text("The IANA name of the time zone.", maxLength=200), "default": "UTC"},
        "missed": {
            "description": "The due times of an outage that are started after it.",
            "enum": list(MISSED),
            "default": "latest",
        },
        "missed_window": {"description": "Older ones are not started.", "allOf": [duration], "default": "1d"},
        "overlap": {
            "description": "What happens while an execution that it started before is open.",
            "enum": list(OVERLAP),
            "default": "skip",
        },
        "jitter": {"description": "The longest delay after a due time.", "allOf": [duration], "default": "0s"},
        "start": text(f"No due time is before it: {_TIME}"),
        "end": text(f"No due time is after it: {_TIME}"),
    }


def _webhook(secret: Schema) -> Schema:
    verify = object_of(
        {
            "scheme": {"description": "Who signs the requests, and how.", "enum": list(SCHEMES)},
            "secret": {
                "description": "${secrets.NAME}, or two of them while the sender changes its own.",
                "anyOf": [secret, {"type": "array", "minItems": 1, "maxItems": MOST_SECRETS, "items": secret}],
            },
            "header": text("The header of the signature or token.", maxLength=200),
            "algorithm": {"enum": list(ALGORITHMS), "default": "sha256"},
            "encoding": {"enum": list(ENCODINGS), "default": "hex"},
            "prefix": text("The text before the signature.", maxLength=200),
        },
        required=["scheme"],
    )
    return {
        "verify": {
            "description": "How a request proves where it comes from.",
            "anyOf": [{"const": "none"}, verify],
        },
        "when": text("JavaScript: requests for which it is false start nothing."),
        "dedupe": text("The key of which the second request starts nothing."),
        "respond": {
            "description": "The answer to the request.",
            **object_of(
                {
                    "mode": {"enum": list(RESPOND_MODES), "default": "accepted"},
                    "timeout": {
                        "description": "How long it waits for the result.",
                        "allOf": [ref("duration")],
                        "default": "20s",
                    },
                }
            ),
        },
    }


def _chain() -> Schema:
    return {
        "flow": text("The name or id of the other flow.", minLength=1, maxLength=200),
        "status": {
            "description": "How its executions end.",
            "type": "array",
            "minItems": 1,
            "items": {"enum": list(STATUSES)},
            "default": ["completed"],
        },
        "children": {
            "description": "Also executions that another execution has started.",
            "type": "boolean",
            "default": False,
        },
    }
