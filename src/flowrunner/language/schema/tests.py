"""Schema of the tests of a flow."""

from flowrunner.domain.log_levels import LOG_LEVELS
from flowrunner.language.schema.pieces import Schema, object_of, ref, text, whole


def tests_definitions() -> Schema:
    def successive(name: str) -> Schema:
        """Return the schema of one value for all runs, or a list with one for each run."""
        return {"anyOf": [ref(name), {"type": "array", "minItems": 1, "maxItems": 1000, "items": ref(name)}]}

    def by_name(description: str, values: Schema) -> Schema:
        return {"description": description, "type": "object", "additionalProperties": values}

    names = {"type": "array", "items": {"type": "string"}}
    after = {"description": "How long after the start.", "allOf": [ref("duration")]}
    error_type = text("Such as http.503, timeout or connection.refused.", minLength=1)
    mocks = by_name("Results of nodes that do not run, by name or path.", successive("mock"))
    return {
        "test": object_of(
            {
                "description": text("For people."),
                "input": {"description": "The execution's input.", "type": "object"},
                "trigger": {
                    "description": "The trigger that starts the flow, instead of an input.",
                    "anyOf": [text("Its name."), ref("givenTrigger")],
                },
                "mocks": mocks,
                "flows": by_name("Mocks for nodes of started flows, by flow.", object_of({"mocks": mocks})),
                "config": by_name(
                    "Configuration values. One that is not given does not exist.", {"not": {"type": "null"}}
                ),
                "secrets": by_name(
                    "Values of secrets; others that an expression needs have a value derived from their name.",
                    {"type": "string"},
                ),
                "signals": by_name("Payloads for steps that wait for a signal, by key.", successive("givenSignal")),
                "approvals": by_name("Answers to approvals, by node.", successive("givenApproval")),
                "cancel_after": {
                    "description": "Time of a cancellation of the execution.",
                    "allOf": [ref("duration")],
                },
                "now": text("Time of the clock at the start: 2027-01-31T08:00:00Z."),
                "expect": ref("expectation"),
            }
        ),
        "mock": object_of(
            {
                "result": {"description": "Result of the node, from which its `output` is evaluated."},
                "action": text("Action of the node, which decides the edge that it takes."),
                "error": {
                    "anyOf": [
                        error_type,
                        object_of({"type": error_type, "message": text(""), "data": {}}, required=["type"]),
                    ]
                },
            }
        ),
        "givenTrigger": object_of(
            {
                "name": text("Its name."),
                "due_at": text("The due time of a schedule; the time of the clock if absent."),
                "last": {
                    "description": "The last completed execution of a schedule; null if absent.",
                    "anyOf": [
                        {"type": "null"},
                        object_of(
                            {
                                "id": text("Its id."),
                                "due_at": text("Its due time."),
                                "started_at": text("Its start."),
                                "completed_at": text("Its end."),
                                "result": {"description": "Its result."},
                            }
                        ),
                    ],
                },
                "body": {"description": "The body of the request."},
                "headers": {"description": "The headers of the request, by name in small letters.", "type": "object"},
                "query": {"description": "The query of the request.", "type": "object"},
                "execution": {"description": "The execution that has ended.", "type": "object"},
            },
            required=["name"],
        ),
        "givenSignal": object_of({"payload": {"description": "Payload of the signal."}, "after": after}),
        "givenApproval": object_of(
            {
                "approved": {"type": "boolean"},
                "by": text("Account that answers."),
                "data": {"description": "Data for the form of the approval."},
                "after": after,
            },
            required=["approved"],
        ),
        "expectation": {
            "description": "The expected outcome.",
            **object_of(
                {
                    "status": {"enum": ["completed", "failed", "cancelled", "waiting", "not_started"]},
                    "path": {"description": "The flow's own nodes in the order they ran.", **names},
                    "handlers": {"description": "The nodes of on_failure and on_finish that ran.", **names},
                    "result": {"description": "The result of the flow, exactly."},
                    "result_contains": {"description": "A part of the result: maps may hold more keys."},
                    "error": {
                        "description": "The error of the flow.",
                        "anyOf": [
                            {"type": "string"},
                            object_of(
                                {
                                    "type": text("Its type, or a family such as http.5xx."),
                                    "message": text("A part of its message."),
                                    "node": text("The node that failed."),
                                }
                            ),
                        ],
                    },
                    "logs": {
                        "description": "Parts of lines that must be in the log.",
                        "anyOf": [ref("expectedLog"), {"type": "array", "items": ref("expectedLog")}],
                    },
                    "tries": by_name("Number of attempts in all, by node.", whole(0)),
                }
            ),
        },
        "expectedLog": {
            "anyOf": [
                {"type": "string"},
                object_of({"level": {"enum": sorted(LOG_LEVELS)}, "message": text("A part of its message.")}),
            ]
        },
    }
