"""The faults and warnings of a flow, each with its place and hint."""

import ast
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from flowrunner import language
from flowrunner.domain.errors import Fault
from flowrunner.domain.values import JSON
from flowrunner.language import Reading, foreign_forms, study_flow
from flowrunner.language.inputs import form_faults
from flowrunner.language.json_schema import looks_like_fields
from flowrunner.language.schema_budget import SchemaBudget
from flowrunner.schemas import RustSchemas
from support.flows import specs

LANGUAGE = Path(language.__file__).parent


def study(document: str) -> Reading:
    budget = SchemaBudget(RustSchemas())
    return study_flow(document, specs(), lambda schema: form_faults(schema, budget))


def told(faults: Sequence[Fault]) -> list[tuple[str, str, int | None, int | None, str | None]]:
    return [(fault.code, fault.path, fault.line, fault.column, fault.hint) for fault in faults]


# Documents, each with its only fault as (code, path, line, column, hint).
PROMISES = {
    # Unknown keys, with the nearest known one
    "a key of the flow": (
        "nodes: {a: {type: return}}\nmetdata: {}",
        ("unknown_key", "metdata", 2, 1, "did you mean 'metadata'?"),
    ),
    "a key of metadata": (
        "metadata:\n  nmae: x\nnodes: {a: {type: return}}",
        ("unknown_key", "metadata.nmae", 2, 3, "did you mean 'name'?"),
    ),
    "a key of defaults": (
        "defaults: {timeuot: 5s}\nnodes: {a: {type: return}}",
        ("unknown_key", "defaults.timeuot", 1, 12, "did you mean 'timeout'?"),
    ),
    "a key of limits": (
        "limits: {max_step: 5}\nnodes: {a: {type: return}}",
        ("unknown_key", "limits.max_step", 1, 10, "did you mean 'max_steps'?"),
    ),
    "a key of concurrency": (
        "limits: {concurrency: {max: 1, on_limits: queue}}\nnodes: {a: {type: return}}",
        ("unknown_key", "limits.concurrency.on_limits", 1, 32, "did you mean 'on_limit'?"),
    ),
    "a key of a node": (
        "nodes:\n  a:\n    type: return\n    parms: {value: 1}\n",
        ("unknown_key", "nodes.a.parms", 4, 5, "did you mean 'params'?"),
    ),
    "a status among the errors of retry": (
        "nodes: {a: {type: return, retry: {errors: [timeout, 503]}}}",
        ("type", "nodes.a.retry.errors[1]", 1, 53, "write http.503"),
    ),
    "a key of retry": (
        "nodes: {a: {type: return, retry: {delya: 1s}}}",
        ("unknown_key", "nodes.a.retry.delya", 1, 35, "did you mean 'delay'?"),
    ),
    "a key of hooks": (
        "nodes: {a: {type: return, hooks: {pre: ''}}}",
        ("unknown_key", "nodes.a.hooks.pre", 1, 35, "did you mean 'prep'?"),
    ),
    "a key of batch": (
        "nodes: {a: {type: return, batch: {stategy: serial}}}",
        ("unknown_key", "nodes.a.batch.stategy", 1, 35, "did you mean 'strategy'?"),
    ),
    "a key of a branch": (
        "nodes: {a: {type: parallel, branches: {x: {nodes: {b: {type: return}}, satrt: b}}}}",
        ("unknown_key", "nodes.a.branches.x.satrt", 1, 72, "did you mean 'start'?"),
    ),
    "a parameter": (
        "nodes: {a: {type: return, params: {vale: 1}}}",
        ("unknown_key", "nodes.a.params.vale", 1, 36, "did you mean 'value'?"),
    ),
    "a parameter with another name inside": (
        "nodes: {a: {type: foreach, params: {items: [], ass: x}, nodes: {b: {type: return}}}}",
        ("unknown_key", "nodes.a.params.ass", 1, 48, "did you mean 'as'?"),
    ),
    "a parameter within a parameter": (
        "nodes: {a: {type: http.request, params: {url: 'http://x', auth: {tokn: y}}}}",
        ("unknown_key", "nodes.a.params.auth.tokn", 1, 66, "did you mean 'token'?"),
    ),
    "a key that is near nothing": (
        "nodes: {a: {type: return, xyz: 1}}",
        (
            "unknown_key", "nodes.a.xyz", 1, 27,
            "known keys: type, description, if, params, timeout, retry, output, next, idempotent, hooks, batch, x-…",
        ),
    ),
    "branches where nodes stand": (
        "nodes: {a: {type: foreach, params: {items: []}, nodes: {b: {type: return}}, branches: {}}}",
        (
            "unknown_key",
            "nodes.a.branches",
            1,
            77,
            "known keys: type, description, if, params, timeout, retry, output, next, idempotent, hooks, batch, nodes,"
            " start, x-…",
        ),
    ),
    "nodes where branches stand": (
        "nodes: {a: {type: parallel, nodes: {}, branches: {x: {nodes: {b: {type: return}}}}}}",
        (
            "unknown_key", "nodes.a.nodes", 1, 29,
            "known keys: type, description, if, params, timeout, retry, output, next, idempotent, hooks, batch,"
            " branches, x-…",
        ),
    ),
    "a start where no nodes stand": (
        "nodes: {a: {type: return, start: b}}",
        (
            "unknown_key", "nodes.a.start", 1, 27,
            "known keys: type, description, if, params, timeout, retry, output, next, idempotent, hooks, batch, x-…",
        ),
    ),
    # Node types
    "a node type": (
        "nodes:\n  a:\n    type: htp.request\n",
        ("node.type", "nodes.a.type", 3, 11, "did you mean 'http.request'?"),
    ),
    # Edges that can never fire, and that lead nowhere
    "an action that the type does not have": (
        "nodes:\n  a: {type: log, params: {message: x}, next: {done: b}}\n  b: {type: return}",
        ("edge.action", "nodes.a.next.done", 2, 47, "its actions: default; its errors: error, error.<type>"),
    ),
    "an action that is misspelt": (
        "nodes: {a: {type: wait, params: {key: k}, next: {timeuot: b, timeout: b}}, b: {type: return}}",
        ("edge.action", "nodes.a.next.timeuot", 1, 50, "did you mean 'timeout'?"),
    ),
    "an action that no case names": (
        "nodes: {a: {type: switch, params: {cases: [{when: 'true', action: x}]}, next: {x: b, y: b}},"
        " b: {type: return}}",
        ("edge.action", "nodes.a.next.y", 1, 86, "its actions: default, x; its errors: error, error.<type>"),
    ),
    "being skipped without a condition": (
        "nodes: {a: {type: log, params: {message: x}, next: {skipped: b}}, b: {type: return}}",
        ("edge.action", "nodes.a.next.skipped", 1, 53, "its actions: default; its errors: error, error.<type>"),
    ),
    "an error that the type cannot have": (
        "nodes: {a: {type: log, params: {message: x}, next: {error.http: b}}, b: {type: return}}",
        ("edge.action", "nodes.a.next.error.http", 1, 53, "did you mean 'error'?"),
    ),
    "an edge to a node that is not there": (
        "nodes: {first: {type: log, params: {message: x}, next: frist}}",
        ("edge.target", "nodes.first.next", 1, 56, "did you mean 'first'?"),
    ),
    "an edge without a target": (
        "nodes: {a: {type: log, params: {message: m}, next: {error: {}}}}",
        ("edge.target", "nodes.a.next.error", 1, 60, None),
    ),
    "an edge out of its scope": (
        "nodes: {a: {type: foreach, params: {items: []}, nodes: {b: {type: log, params: {message: x}, next: a}}}}",
        ("edge.target", "nodes.a.nodes.b.next", 1, 100, "leave it out here, and let the enclosing node lead there"),
    ),
    "a handler that is not there": (
        "on_failure: alarn\nnodes: {a: {type: return}}",
        ("edge.target", "on_failure", 1, 13, None),
    ),
    # Nodes that are never reached
    "two nodes to start with": (
        "nodes:\n  a: {type: return}\n  b: {type: return}\n",
        ("start.ambiguous", "nodes.b", 3, 3, "join them by edges, or name the first with 'start'"),
    ),
    "a node out of reach": (
        "start: a\nnodes:\n  a: {type: return}\n  b: {type: return}\n",
        ("node.unreachable", "nodes.b", 4, 3, None),
    ),
    "a node out of reach within a loop": (
        "nodes:\n  a:\n    type: foreach\n    params: {items: []}\n    start: b\n"
        "    nodes:\n      b: {type: return}\n      c: {type: return}\n",
        ("node.unreachable", "nodes.a.nodes.c", 8, 7, None),
    ),
    "a start within a loop that is not there": (
        "nodes: {a: {type: foreach, params: {items: []}, start: c, nodes: {b: {type: return}}}}",
        ("edge.target", "nodes.a.start", 1, 56, None),
    ),
    # Expressions
    "an expression that is not closed": (
        "nodes: {a: {type: return, params: {value: '${input'}}}",
        (
            "expression.syntax", "nodes.a.params.value", 1, 43,
            "end it with '}', or write '$${' for a literal '${'",
        ),
    ),
    "an expression that is empty": (
        "nodes: {a: {type: return, params: {value: 'x ${}'}}}",
        ("expression.syntax", "nodes.a.params.value", 1, 43, "write ${input}, or '$${' for a literal '${'"),
    ),
    "an unknown name": (
        "nodes: {a: {type: return, params: {value: '${inptu.a}'}}}",
        ("expression.unknown_name", "nodes.a.params.value", 1, 43, "did you mean 'input'?"),
    ),
    "an unknown name within JavaScript": (
        "nodes:\n  a:\n    type: transform\n    params:\n      script: |\n        const x = 1;\n"
        "        return x + flw.id;\n",
        ("expression.unknown_name", "nodes.a.params.script", 5, 15, "did you mean 'flow'?"),
    ),
    "an unknown node": (
        "nodes: {fetch: {type: return, params: {value: '${nodes.fecth.result}'}}}",
        ("expression.unknown_name", "nodes.fetch.params.value", 1, 47, "did you mean 'fetch'?"),
    ),
    "an unknown member of a node": (
        "nodes: {a: {type: return, params: {value: '${nodes.a.reslt}'}}}",
        ("expression.unknown_name", "nodes.a.params.value", 1, 43, "did you mean 'result'?"),
    ),
    "a node inside a loop": (
        "nodes: {a: {type: foreach, params: {items: []}, nodes: {b: {type: return}}, output: '${nodes.b.result}'}}",
        ("expression.scope", "nodes.a.output", 1, 85, None),
    ),
    "an unknown variable": (
        "vars: {api: x}\nnodes: {a: {type: return, params: {value: '${vars.apo}'}}}",
        ("expression.unknown_name", "nodes.a.params.value", 2, 43, "did you mean 'api'?"),
    ),
    "an unknown input": (
        "inputs: {region: {type: string}}\nnodes: {a: {type: return, params: {value: '${flow.input.regoin}'}}}",
        ("expression.unknown_name", "nodes.a.params.value", 2, 43, "did you mean 'region'?"),
    ),
    "an element outside of a loop": (
        "nodes: {a: {type: return, params: {value: '${item}'}}}",
        ("expression.unknown_name", "nodes.a.params.value", 1, 43, "it is there only in the nodes of a loop"),
    ),
    "a condition that is a list": (
        "nodes: {a: {type: return, if: [x]}}",
        ("expression.syntax", "nodes.a.if", 1, 31, "write it as JavaScript, such as: input.length > 0"),
    ),
    "a condition that is a number": (
        "nodes: {a: {type: return, if: 1}}",
        ("expression.syntax", "nodes.a.if", 1, 31, "write it as JavaScript, such as: input.length > 0"),
    ),
    "a condition that is nothing": (
        "nodes:\n  a:\n    type: return\n    if:\n",
        ("expression.syntax", "nodes.a.if", 4, 8, "write it as JavaScript, such as: input.length > 0"),
    ),
    "a case that is a list": (
        "nodes: {a: {type: switch, params: {cases: [{when: [x], action: default}]}}}",
        (
            "expression.syntax", "nodes.a.params.cases[0].when", 1, 51,
            "write it as JavaScript, such as: input.length > 0",
        ),
    ),
    # Expressions without quotes
    "an expression in a map": (
        "nodes:\n  a:\n    type: return\n    params: {value: ${input.x}, b: 1}\n",
        ("yaml.syntax", "", 4, 22, 'quote the expression: {a: "${x}"}'),
    ),
    "an expression in a list": (
        "nodes:\n  a: {type: return, params: {value: [${input.x}, 1]}}\n",
        ("yaml.syntax", "", 2, 39, 'quote the expression: {a: "${x}"}'),
    ),
    "an expression behind text": (
        "nodes: {a: {type: return, params: {value: 'y', x: a ${input.x} b}}}",
        ("yaml.syntax", "", 1, 54, 'quote the expression: {a: "${x}"}'),
    ),
    # Schemas
    "an input's schema": (
        "inputs: {a: {type: strin}}\nnodes: {a: {type: return}}",
        ("type", "inputs.a.type", 1, 20, "did you mean 'string'?"),
    ),
    "an approval's form": (
        "nodes: {a: {type: approval, params: {form: {type: objct}}, next: {approved: b, rejected: b, timeout: b}},"
        " b: {type: return}}",
        ("type", "nodes.a.params.form.type", 1, 51, "did you mean 'object'?"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "fault"), PROMISES.values(), ids=PROMISES.keys())
def test_a_fault_is_reported_with_its_place_and_a_hint(
    document: str, fault: tuple[str, str, int, int, str | None]
) -> None:
    reading = study(document)

    assert reading.flow is None
    assert told([found for found in reading.faults if not found.is_warning]) == [fault]
    assert all(found.message for found in reading.faults)


def test_an_action_with_nowhere_to_go_is_a_warning() -> None:
    document = (
        "nodes:\n"
        "  ask:\n"
        "    type: approval\n"
        "    next:\n"
        "      approved: done\n"
        "    timeout: 1d\n"
        "  done: {type: return}\n"
    )  # fmt: skip

    reading = study(document)

    assert reading.flow is not None
    assert all(fault.is_warning for fault in reading.faults)
    assert told(reading.faults) == [
        ("edge.missing", "nodes.ask.next", 4, 5, "add 'rejected: <node>' if the flow continues"),
        ("edge.missing", "nodes.ask.next", 4, 5, "add 'timeout: <node>' if the flow continues"),
    ]


def test_an_endless_wait_never_ends_by_its_timeout() -> None:
    without = study("nodes:\n  ask: {type: approval, next: {approved: a, rejected: a}}\n  a: {type: return}\n")
    with_an_edge = study("nodes:\n  got: {type: wait, params: {key: k}, next: {timeout: a}}\n  a: {type: return}\n")

    assert told(without.faults) == []
    assert told(with_an_edge.faults) == [
        ("edge.timeout", "nodes.got.next.timeout", 2, 46, "say how long it waits: timeout: 1d"),
    ]


HOOK = 'triggers: {t: {type: webhook, verify: {scheme: token, header: x-token, secret: "${secrets.T}"}}}\n'
# By code of a warning: a document that has it alone, and documents close to it that have none.
WARNINGS: dict[str, tuple[str, list[str]]] = {
    "edge.error": (
        (
            "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error.http.timeout: b, "
            "default: b}}, b: {type: return}}"
        ),
        [
            (
                "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error.timeout: b, "
                "error.http.503: b, default: b}}, b: {type: return}}"
            ),
        ],
    ),
    "edge.timeout": (
        "nodes: {a: {type: wait, params: {key: k}, next: {timeout: b}}, b: {type: return}}",
        [
            "nodes: {a: {type: wait, params: {key: k}, timeout: 1d, next: {timeout: b}}, b: {type: return}}",
            "nodes: {a: {type: wait, params: {key: k, timeout: 1d}, next: {timeout: b}}, b: {type: return}}",
            "nodes: {a: {type: wait, params: {key: k}, next: b}, b: {type: return}}",
        ],
    ),
    "edge.missing": (
        "nodes: {a: {type: approval, next: {approved: b}}, b: {type: return}}",
        [
            "nodes: {a: {type: approval, next: {approved: b, rejected: b}}, b: {type: return}}",
            "nodes: {a: {type: approval, if: true, next: {approved: b, rejected: b}}, b: {type: return}}",
            (
                "nodes: {a: {type: switch, params: {cases: [{when: 'input.x', action: x}]}, next: {x: b}}, "
                "b: {type: return}}"
            ),
        ],
    ),
    "edge.endless": (
        "nodes: {a: {type: log, params: {message: m}, next: b}, b: {type: log, params: {message: m}, next: a}}",
        [
            (
                "nodes: {a: {type: log, params: {message: m}, next: b}, b: {type: switch, "
                "params: {cases: [{when: 'input.x', action: x}]}, next: {x: a}}}"
            ),
            (
                "nodes: {a: {type: log, if: 'input.x', params: {message: m}, next: {skipped: b, default: a}}, "
                "b: {type: return}}"
            ),
            "nodes: {a: {type: log, if: 'input.x', params: {message: m}, next: {error: a}}}",
            (
                "nodes: {a: {type: switch, if: 'input.x', params: {cases: [{when: 'input.y', action: x}], "
                "default_action: x}, next: {x: a}}}"
            ),
        ],
    ),
    "edge.input": (
        (
            "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error: b}}, "
            "b: {type: return, params: {value: '${input}'}}}"
        ),
        [
            (
                "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error: b, default: b}}, "
                "b: {type: return, params: {value: '${input}'}}}"
            ),
            (
                "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error: b, default: c}}, "
                "c: {type: log, params: {message: m}, next: b}, b: {type: return, params: {value: '${input}'}}}"
            ),
            (
                "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error: b}}, "
                "b: {type: return, params: {value: '${[input, error]}'}}}"
            ),
            "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error: b}}, b: {type: return}}",
            (
                "start: b\nnodes: {a: {type: http.request, params: {url: 'https://e.com'}, next: {error: b}}, "
                "b: {type: log, params: {message: '${input}'}, next: a}}"
            ),
            (
                "on_failure: b\nnodes: {a: {type: http.request, params: {url: 'https://e.com'}, "
                "next: {error: b}}, b: {type: return, params: {value: '${input}'}}}"
            ),
        ],
    ),
    "schema.fields": (
        (
            "nodes: {a: {type: approval, params: {form: {amount: {type: number}}}, next: {approved: b, "
            "rejected: b}}, b: {type: return}}"
        ),
        [
            (
                "nodes: {a: {type: approval, params: {form: {properties: {amount: {type: number}}}}, "
                "next: {approved: b, rejected: b}}, b: {type: return}}"
            ),
            (
                "nodes: {a: {type: approval, params: {form: {x-amount: {type: number}}}, next: {approved: b, "
                "rejected: b}}, b: {type: return}}"
            ),
        ],
    ),
    "metadata.name": (
        "metadata: {description: d}\nnodes: {a: {type: return}}",
        [
            "metadata: {name: n}\nnodes: {a: {type: return}}",
            "nodes: {a: {type: return}}",
        ],
    ),
    "set.nested": (
        "vars: {n: 1}\nnodes: {a: {type: set, params: {values: {n: 2}}}}",
        [
            "vars: {n: 1}\nnodes: {a: {type: set, params: {values: {m: 2}}}}",
            "vars: {n: 1, values: 1}\nnodes: {a: {type: set, params: {values: {n: 2}}}}",
            "vars: {n: 1}\nnodes: {a: {type: set, params: {n: 2}}}",
        ],
    ),
    "trigger.loop": (
        HOOK + "nodes: {a: {type: http.request, params: {url: 'https://e.com/hooks/x'}}}",
        [
            "nodes: {a: {type: http.request, params: {url: 'https://e.com/hooks/x'}}}",
            HOOK + "nodes: {a: {type: http.request, params: {url: 'https://e.com/webhooks'}}}",
            HOOK + "nodes: {a: {type: log, params: {message: 'https://e.com/hooks/x'}}}",
        ],
    ),
    "trigger.null": (
        "nodes: {a: {type: return, params: {value: '${trigger.body}'}}}",
        [
            (
                "triggers: {t: {type: webhook, verify: {scheme: token, header: x-token, "
                "secret: \"${secrets.T}\"}, input: {x: '${trigger.body}'}}}\nnodes: {a: {type: return, "
                "params: {value: '${flow.input.x}'}}}"
            ),
        ],
    ),
    "retry.never": (
        "nodes: {a: {type: transform, params: {script: 'return 1'}, retry: {max: 3}}}",
        [
            "nodes: {a: {type: transform, params: {script: 'return 1'}, retry: {max: 3, errors: [script]}}}",
            "nodes: {a: {type: transform, params: {script: 'return 1'}, retry: {max: 3, errors: ['*']}}}",
            "nodes: {a: {type: transform, params: {script: 'return 1'}, retry: {max: 3}, timeout: 1s}}",
            "nodes: {a: {type: transform, params: {script: 'return 1'}, retry: {max: 0}}}",
            "{defaults: {timeout: 9s}, nodes: {a: {type: transform, params: {value: 1}, retry: {max: 3}}}}",
            "{defaults: {retry: {max: 3}}, nodes: {a: {type: transform, params: {value: 1}}}}",
            (
                "{defaults: {retry: {errors: [script]}}, nodes: {a: {type: transform, params: {script: 'return 1'}, "
                "retry: {max: 3}}}}"
            ),
            "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, retry: {max: 3}}}",
            "nodes: {a: {type: fail, params: {message: m}, retry: {max: 3}}}",
            "nodes: {a: {type: fail, params: {message: m, error: timeout}, retry: {max: 3, errors: [timeout]}}}",
        ],
    ),
    "retry.error": (
        "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, retry: {max: 2, errors: [tiemout]}}}",
        [
            (
                "nodes: {a: {type: http.request, params: {url: 'https://e.com'}, retry: {max: 2, "
                "errors: [timeout, http, http.503]}}}"
            ),
        ],
    ),
    "trigger.jitter": (
        "triggers: {t: {type: schedule, cron: '* * * * *', jitter: 1m}}\nnodes: {a: {type: return}}",
        [
            "triggers: {t: {type: schedule, cron: '* * * * *', jitter: 59s}}\nnodes: {a: {type: return}}",
        ],
    ),
    "trigger.last": (
        "triggers: {t: {type: schedule, every: 1h, overlap: queue, input: {since: '${trigger.last}'}}}\n"
        "nodes: {a: {type: return}}",
        [
            "triggers: {t: {type: schedule, every: 1h, input: {since: '${trigger.last}'}}}\nnodes: {a: {type: return}}",
            (
                "triggers: {t: {type: schedule, every: 1h, overlap: queue, input: {at: '${trigger.due_at}'}}}\n"
                "nodes: {a: {type: return}}"
            ),
        ],
    ),
    "trigger.unverified": (
        "triggers: {t: {type: webhook, verify: none}}\nnodes: {a: {type: return}}",
        [
            HOOK + "nodes: {a: {type: return}}",
        ],
    ),
    "timeout.seconds": (
        "nodes: {a: {type: http.request, params: {url: 'https://e.com', timeout: 3000}}}",
        [
            "nodes: {a: {type: http.request, params: {url: 'https://e.com', timeout: 3001}}}",
            "nodes: {a: {type: http.request, params: {url: 'https://e.com', timeout: 999}}}",
        ],
    ),
    "expression.result": (
        (
            "nodes: {a: {type: sql, params: {url: '${secrets.DB}', query: SELECT 1}, next: b}, "
            "b: {type: return, params: {value: '${nodes.a.result.id}'}}}"
        ),
        [
            (
                "nodes: {a: {type: sql, params: {url: '${secrets.DB}', query: SELECT 1}, next: b}, "
                "b: {type: return, params: {value: '${nodes.a.result.rows[0].id}'}}}"
            ),
            (
                "nodes: {a: {type: sql, params: {url: '${secrets.DB}', query: SELECT 1}, output: '${result.rows[0]}', "
                "next: b}, b: {type: return, params: {value: '${nodes.a.result.id}'}}}"
            ),
            # The document itself expects that there may be none.
            (
                'nodes: {a: {type: transform, params: {value: {x: 1}}, output: "${{z: result.y ?? 1}}", next: b}, '
                "b: {type: transform, params: {value: {x: 1}}, next: c}, "
                "c: {type: return, params: {value: [\"${nodes.b.result.y ?? 'none'}\", '${nodes.b.result.y?.z}']}}}"
            ),
        ],
    ),
}


@pytest.mark.parametrize("code", WARNINGS)
def test_a_warning_is_of_its_mistake_and_of_nothing_that_looks_like_it(code: str) -> None:
    mistaken, right = WARNINGS[code]

    assert [(fault.code, fault.is_warning) for fault in study(mistaken).faults] == [(code, True)]
    assert {document: told(study(document).faults) for document in right} == {document: [] for document in right}


def test_every_warning_of_the_structure_is_among_them() -> None:
    """Those of expressions and mocks have tables of their own."""
    codes = {
        call.args[1].value
        for path in LANGUAGE.rglob("*.py")
        if "flow_tests" not in path.parts
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "warn"
        if isinstance(call.args[1], ast.Constant)
    }

    assert codes == WARNINGS.keys()


def test_secrets_are_listed_with_the_first_place_that_names_them() -> None:
    document = (
        "nodes:\n"
        "  a: {type: log, params: {message: '${secrets.ONE}'}, next: b}\n"
        "  b:\n"
        "    type: return\n"
        "    params:\n"
        "      value: ['${secrets.ONE}', \"${secrets['TWO'].length + 1}\"]\n"
    )

    found = {name: (place.path, place.line, place.column) for name, place in study(document).secrets.items()}

    assert found == {"ONE": ("nodes.a.params.message", 2, 36), "TWO": ("nodes.b.params.value[1]", 6, 33)}


@pytest.mark.parametrize(
    "document",
    [
        "nodes: {a: {type: return, if: true}}",
        "nodes: {a: {type: return, if: 'input.x'}}",
        "nodes: {a: {type: switch, params: {cases: [{when: false, action: default}]}}}",
        "nodes: {a: {type: foreach, params: {items: []}, start: c,"
        " nodes: {b: {type: log, params: {message: x}, next: c},"
        " c: {type: switch, params: {cases: [{when: 'item > 1', action: b}]}, next: {b: b}}}}}",
        "nodes: {a: {type: while, params: {when: 'true'}, start: b, nodes: {b: {type: return}}}}",
        "nodes: {a: {type: return, x-note: 1, params: {value: '$${nothing} {x} $'}}}",
    ],
)
def test_a_valid_document_has_no_fault(document: str) -> None:
    reading = study(document)

    assert told(reading.faults) == []
    assert reading.flow is not None


@pytest.mark.parametrize("back", ["a", "{default: a}", "{default: a, error: a}"])
def test_a_loop_without_end_is_warned_of_however_its_edges_are_written(back: str) -> None:
    log = "type: log, params: {message: m}"

    found = study(f"start: a\nnodes: {{a: {{{log}, next: b}}, b: {{{log}, next: {back}}}}}")

    assert [fault.code for fault in found.faults] == ["edge.endless"]


def test_a_handler_that_ends_is_no_way_out_of_a_loop() -> None:
    log = "type: log, params: {message: m}"

    found = study(f"start: a\non_failure: c\nnodes: {{a: {{{log}, next: b}}, b: {{{log}, next: a}}, c: {{{log}}}}}")

    assert [fault.code for fault in found.faults] == ["edge.endless"]


def test_the_input_of_the_first_node_is_that_of_the_flow_unless_an_edge_leads_to_it() -> None:
    document = """
start: a
inputs: {{name: {{type: string}}}}
nodes:
  a: {{type: log, params: {{message: "${{input.other}}"}}, next: b}}
  b: {{type: switch, params: {{cases: [{{when: "true", action: again}}]}}, next: {{again: {again}, default: c}}}}
  c: {{type: return, params: {{value: "${{input.other}}"}}}}
"""

    def faults(again: str) -> list[str]:
        return [fault.path for fault in study(document.format(again=again)).faults if not fault.is_warning]

    assert faults(again="c") == ["nodes.a.params.message"]
    assert faults(again="a") == []


def test_the_start_of_a_loop_is_where_its_document_says() -> None:
    document = """\
nodes:
  a:
    type: foreach
    params: {items: []}
    start: c
    nodes:
      b: {type: log, params: {message: x}, next: c}
      c: {type: log, params: {message: x}, next: b}
"""

    flow = study(document).flow

    assert flow is not None
    assert flow.nodes["a"].scope("0").start == "c"


def test_a_document_full_of_wrong_names_is_reported_quickly() -> None:
    """Comparing all names with each other would take minutes, so only the first faults have a hint."""
    lines = [f"  a_name_{n}: {{type: return, params: {{value: '${{nodes.a_naem_{n}}}'}}}}" for n in range(1200)]

    faults = [fault for fault in study("\n".join(["nodes:", *lines])).faults if fault.code == "expression.unknown_name"]

    assert len(faults) == 1200
    assert [fault.hint is None for fault in (faults[0], faults[-1])] == [False, True]


def test_names_are_listed_where_there_are_few() -> None:
    def hint(count: int) -> str | None:
        names = ", ".join(f"name_{n:02}: 1" for n in range(count))
        (fault,) = study(f"vars: {{{names}}}\nnodes: {{a: {{type: return, params: {{value: '${{vars.x}}'}}}}}}").faults
        return fault.hint

    assert hint(0) is None
    assert hint(2) == "known: name_00, name_01"
    assert hint(21) is None


@pytest.mark.parametrize("text", ["{{" + "a" * 200 + " " * 30_000, "${" + "a." * 6000 + "a}"])
def test_hints_are_looked_for_in_linear_time(text: str) -> None:
    started = time.thread_time()

    study(f"nodes: {{a: {{type: return, params: {{value: '{text}'}}}}}}")

    assert time.thread_time() - started < 1.0


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{{ input.id }}", "write ${input.id}"),
        ("{{\n  input.id\n}}", "write ${input.id}"),
        ("{{ }} {{ 'x' }} {{ order.id | upper }}", "write ${input.x}"),
    ],
)
def test_braces_of_other_languages_are_reported(text: str, hint: str) -> None:
    (fault,) = study(f"nodes: {{a: {{type: return, params: {{value: {json.dumps(text)}}}}}}}").faults

    assert (fault.code, fault.hint) == ("expression.braces", hint)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("input.first-name", 'write input["first-name"], if that is one name'),
        ("input.a.b.first-name", 'write input.a.b["first-name"], if that is one name'),
        ("1 + (input.first-name)", 'write input["first-name"], if that is one name'),
    ],
)
def test_a_name_with_a_dash_gets_a_hint_to_use_brackets(text: str, hint: str) -> None:
    (fault,) = study(f"nodes: {{a: {{type: return, params: {{value: '${{{text}}}'}}}}}}").faults

    assert fault.hint == hint


def test_the_flows_that_a_document_calls_are_found_by_what_a_node_type_says() -> None:
    types = {**specs(), "delegate": replace(specs()["flow"], name="delegate")}
    node = "{type: %s, params: {flow: %s}}"

    reading = study_flow(f"nodes: {{a: {node % ('flow', 'first')}, b: {node % ('delegate', 'second')}}}", types)

    assert set(reading.flows) == {"first", "second"}


def spelt(word: str) -> Iterator[str]:
    """Yield a word as its users write it."""
    middle = len(word) // 2
    yield word
    yield f"{word[:middle]}_{word[middle:]}"
    yield f"{word[:middle]}-{word[middle:]}"
    yield word[:middle] + word[middle:].capitalize()


@pytest.mark.parametrize("word", sorted(foreign_forms.OF_NODES))
def test_a_key_of_another_system_is_one_fault_in_each_spelling(word: str) -> None:
    # A key that is meant as an edge leads to the node that it names.
    following = "" if foreign_forms.OF_NODES[word] in foreign_forms._LEADING else ", next: b"
    for key in spelt(word):
        document = f"""nodes:
  a: {{type: log, params: {{message: x}}, {key}: b{following}}}
  b: {{type: log, params: {{message: x}}}}
"""
        faults = [fault for fault in study(document).faults if not fault.is_warning]

        assert len(faults) == 1, (key, faults)
        assert faults[0].path == f"nodes.a.{key}"
        assert faults[0].hint is not None


@pytest.mark.parametrize("word", sorted(foreign_forms.OF_TYPES))
def test_a_type_of_another_system_is_one_fault_in_each_spelling(word: str) -> None:
    for type in spelt(word):
        (fault,) = [one for one in study(f"nodes: {{a: {{type: {type}}}}}").faults if not one.is_warning]

        assert fault.hint == foreign_forms.OF_TYPES[word], type


@pytest.mark.parametrize("word", sorted(foreign_forms.OF_FLOWS))
def test_a_key_of_another_system_s_flows_is_one_fault_in_each_spelling(word: str) -> None:
    for key in spelt(word):
        document = f"{key}: x\nnodes: {{a: {{type: log, params: {{message: x}}}}}}\n"
        (fault,) = [one for one in study(document).faults if not one.is_warning]

        assert (fault.path, fault.hint is not None) == (key, True)


def test_another_word_for_a_key_that_is_there_does_not_suggest_it_again() -> None:
    (absent,) = (fault for fault in study("nodes: {a: {kind: return}}").faults if fault.code == "unknown_key")
    (present,) = (fault for fault in study("nodes: {a: {type: return, kind: x}}").faults if fault.code == "unknown_key")

    assert absent.hint == "did you mean 'type'?"
    assert "'type'" not in (present.hint or "")


def test_a_condition_of_text_and_an_expression_is_suggested_without_blanks_around_it() -> None:
    (fault,) = study("nodes: {a: {type: return, if: '  ${input.a} == 1  '}}").faults

    assert fault.hint == "write it without braces: input.a == 1"


@pytest.mark.parametrize(
    ("schema", "is_taken_for_fields"),
    [
        ({"name": {"type": "string"}, "age": {"minimum": 1}}, True),
        ({"name": {"type": "string"}, "type": "object"}, False),
        ({"name": {"type": "string"}, "age": {}}, False),
        ({"name": {"type": "string"}, "x-note": {"type": "a"}}, False),
        ({}, False),
    ],
)  # fmt: skip
def test_only_a_map_of_schemas_alone_is_taken_for_the_fields_of_an_object(
    schema: dict[str, JSON], is_taken_for_fields: bool
) -> None:
    assert looks_like_fields(schema) is is_taken_for_fields


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        ("nodes: {a: {type: log, params: {message: x}, next: END}}",
        "leave it out: the flow ends after a node without an edge"),
        ("inputs: {day: {type: string}}\nnodes: {a: {type: return, params: {value: '${day}'}}}",
        "did you mean 'flow.input.day'?"),
        ("inputs: {day: {type: string}}\nvars: {rate: 1}\nnodes: {a: {type: return, params: {value: '${rate}'}}}",
         "did you mean 'vars.rate'?"),
        ("nodes: {ask: {type: approval, params: {prompt: p, notify: ask}}}", None),
    ],
)  # fmt: skip
def test_a_hint_names_what_is_there(document: str, hint: str | None) -> None:
    assert [fault.hint for fault in study(document).faults if not fault.is_warning] == [hint]
