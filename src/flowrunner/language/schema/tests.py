"""What may be written in the tests of a flow."""

from flowrunner.domain.events import LOG_LEVELS
from flowrunner.language.schema.pieces import Schema, object_of, ref, text, whole


def tests_definitions() -> Schema:
    def successive(name: str) -> Schema:
        """One for each time, or one for all of them."""
        return {"anyOf": [ref(name), {"type": "array", "minItems": 1, "maxItems": 1000, "items": ref(name)}]}

    def by_name(description: str, values: Schema) -> Schema:
        return {"description": description, "type": "object", "additionalProperties": values}

    names = {"type": "array", "items": {"type": "string"}}
    after = {"description": "How long after the start.", "allOf": [ref("duration")]}
    error_type = text("Such as http.503, timeout or connection.refused.", minLength=1)
    mocks = by_name("What nodes give, by name or path, in place of running.", successive("mock"))
    return {
        "test": object_of(
            {
                "description": text("For people."),
                "input": {"description": "The execution's input.", "type": "object"},
                "mocks": mocks,
                "flows": by_name("Mocks for nodes of other flows that run too, by flow.", object_of({"mocks": mocks})),
                "secrets": by_name("Values of secrets; others have one that tells its name.", {"type": "string"}),
                "signals": by_name("What steps that wait for a signal are told, by key.", successive("givenSignal")),
                "approvals": by_name("How approvals are answered, by node.", successive("givenApproval")),
                "cancel_after": {
                    "description": "When somebody cancels the execution.",
                    "allOf": [ref("duration")],
                },
                "now": text("What the clock shows at the start: 2027-01-31T08:00:00Z."),
                "expect": ref("expectation"),
            }
        ),
        "mock": object_of(
            {
                "result": {"description": "What the node gives; its `output` is worked out from that."},
                "action": text("How the node ends, for the edge that it takes."),
                "error": {
                    "anyOf": [
                        error_type,
                        object_of({"type": error_type, "message": text(""), "data": {}}, required=["type"]),
                    ]
                },
            }
        ),
        "givenSignal": object_of({"payload": {"description": "What the signal brings."}, "after": after}),
        "givenApproval": object_of(
            {
                "approved": {"type": "boolean"},
                "by": text("Who answers."),
                "data": {"description": "What the form of the approval asks for."},
                "after": after,
            },
            required=["approved"],
        ),
        "expectation": {
            "description": "How it must end.",
            **object_of(
                {
                    "status": {"enum": ["completed", "failed", "cancelled", "waiting"]},
                    "path": {"description": "The flow's own nodes in the order they ran.", **names},
                    "handlers": {"description": "The nodes of on_failure and on_finish that ran.", **names},
                    "result": {"description": "The result of the flow, exactly."},
                    "result_contains": {"description": "A part of the result: maps may hold more keys."},
                    "error": {
                        "description": "The error that it fails with.",
                        "anyOf": [
                            {"type": "string"},
                            object_of(
                                {
                                    "type": text("Its type, or a family such as http.5xx."),
                                    "message": text("A part of its message."),
                                    "node": text("Where it came from."),
                                }
                            ),
                        ],
                    },
                    "logs": {
                        "description": "What some line of the log says, in part.",
                        "anyOf": [ref("expectedLog"), {"type": "array", "items": ref("expectedLog")}],
                    },
                    "tries": by_name("How often nodes were tried in all.", whole(0)),
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
