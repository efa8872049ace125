"""Invalid documents, which are rejected with the line and at low cost."""

import copy
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from flowrunner.language import study_flow
from support.bad_documents import BAD, OF_WRONG_TYPES
from support.flows import specs

# Memory for a document of a megabyte, its values and its faults.
MOST_BYTES = 64 * 1024 * 1024


def test_there_are_many() -> None:
    assert len(BAD) + len(OF_WRONG_TYPES) >= 250


@pytest.mark.parametrize(("text", "line"), [case[1:] for case in OF_WRONG_TYPES], ids=[c[0] for c in OF_WRONG_TYPES])
def test_a_value_of_a_wrong_type_is_rejected_with_its_line(text: str, line: int) -> None:
    reading = study_flow(text, specs())

    assert reading.flow is None
    assert [(fault.line, bool(fault.code and fault.message)) for fault in reading.faults if not fault.is_warning] == [
        (line, True)
    ]


EVERYTHING: Final = """
metadata: {name: All, tags: [a], mcp: false}
inputs: {n: {type: integer, default: 1}}
vars: {greeting: hello}
defaults: {timeout: 10s, retry: {max: 2, delay: 1s, errors: [timeout]}}
limits: {max_steps: 500, timeout: 1h, concurrency: {max: 5, key: "${flow.input.n}", on_limit: queue}}
outputs: {n: "${nodes.first.result}"}
on_failure: sorry
triggers:
  nightly: {type: schedule, cron: "0 2 * * *", timezone: Europe/Berlin, missed: all, overlap: allow, jitter: 1s}
  hook:
    type: webhook
    verify: {scheme: hmac, secret: "${secrets.KEY}", header: x-signature, algorithm: sha256}
    when: "${trigger.body.a == 1}"
    dedupe: {key: "${trigger.body.id}"}
    respond: {mode: result, timeout: 5s}
    input: {n: 1}
    labels: {a: b}
  after: {type: execution, flow: other, status: [failed], children: true}
nodes:
  first: {type: http.request, params: {url: "https://a.example/", method: POST, body: {a: 1}}, next: {default: each}}
  each:
    type: foreach
    params: {items: "${[1, 2]}", concurrency: 2}
    nodes: {show: {type: transform, params: {value: "${item}"}}}
    next: both
  both: {type: parallel, branches: {l: {nodes: {a: {type: set, params: {greeting: x}}}}}, next: ask}
  ask: {type: approval, params: {prompt: Well, form: {type: object}, roles: [user]}, next: {approved: last}}
  last: {type: switch, if: "${true}", params: {cases: [{when: "${true}", action: x}]}, hooks: {prep: "return input"}}
  sorry: {type: log, params: {message: sorry, level: info}, output: "${result}", idempotent: true}
tests:
  t:
    input: {n: 1}
    secrets: {KEY: x}
    mocks: {first: [{result: {body: 1}}, {error: {type: timeout, message: m}}]}
    approvals: {ask: {approved: true, data: {}, after: 1s}}
    signals: {go: {payload: 1, after: 1s}}
    flows: {other: {mocks: {}}}
    expect: {status: completed, result: 1, path: [first], tries: {first: 1}, logs: [{level: info, message: x}]}
"""


def keys_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from keys_of(inner, (*at, key))


@pytest.mark.parametrize("odd", [None, True, -1, "x", "${input}", [], [[1]], {}, {"a": [{}]}], ids=repr)
def test_an_odd_value_anywhere_is_reported_and_no_crash(odd: Any) -> None:
    document = yaml.safe_load(EVERYTHING)

    for keys in keys_of(document):
        changed = parent = copy.deepcopy(document)
        for key in keys[:-1]:
            parent = parent[key]
        parent[keys[-1]] = odd
        study_flow(json.dumps(changed), specs())


LARGE = {name: text for name, text, _ in BAD if len(text) > 10_000 or "bomb" in name}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE.keys())
def test_no_document_takes_much_memory(text: str) -> None:
    tracemalloc.start()
    try:
        study_flow(text, specs())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MOST_BYTES
