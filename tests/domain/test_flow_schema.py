"""The JSON Schema of the flow language: accepted and rejected documents, and descriptions."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.test_flow_language import samples
from flowrunner.domain.duration import parse_duration
from flowrunner.language import study_flow
from flowrunner.language.inputs import form_faults
from flowrunner.language.schema import flow_schema, node_type_schema
from flowrunner.language.schema_budget import SchemaBudget
from flowrunner.language.yaml_source import read_yaml
from flowrunner.schemas import RustSchemas
from support.flows import specs

SCHEMA: Any = flow_schema(specs())
CHECKER = jsonschema_rs.Draft7Validator(SCHEMA, offline=True)

EVERYTHING = """\
metadata: {name: order-sync, description: Pull orders, version: "1.4.0", tags: [orders], x-team: sales}
inputs:
  region: {type: string, default: eu}
  limit: {type: integer, minimum: 1, default: 100}
  note: {type: [string, "null"], required: false, maxLength: 200}
  lines: {type: array, items: {$ref: "#/$defs/line"}, $defs: {line: {type: object, required: [sku]}}}
vars: {api: "https://api.example.com"}
defaults: {timeout: 30s, retry: {max: 3}}
limits: {timeout: 30m, max_steps: 10000, concurrency: {max: 5, key: "${flow.input.region}", on_limit: queue}}
outputs: {pushed: "${nodes.push_all.result.length}"}
on_failure: notify
on_finish: cleanup
x-owner: sales
start: fetch
nodes:
  fetch:
    type: http.request
    description: What there is
    if: input.limit > 0
    params:
      url: "${vars.api}/orders?limit=${flow.input.limit}"
      headers: {Authorization: "Bearer ${secrets.API_KEY}"}
    timeout: 20s
    retry:
      {max: 5, delay: 1s, backoff: 2, max_delay: 1m, jitter: 0.2, errors: [timeout, http.5xx], max_elapsed: 10m}
    output: "${result.body.orders}"
    idempotent: true
    next: {default: route, skipped: nothing, error.http.404: nothing, error: give_up}
  older:
    type: http.request
    params: {url: "https://example.com", follow_redirect: true}
    timeout: 30
    retry: {max_retries: 3, wait: 2s}
    next: {success: pause, client_error: nothing, server_error: nothing}
    hooks: {prep: "context.url = 'x'", post: "result.x = 1"}
    batch: {strategy: worker_pool, max_parallel: 3}
  pause: {type: wait, params: {duration: 5s}, next: route}
  route:
    type: switch
    params: {cases: [{when: input.length == 0, action: empty}, {when: input.length > 100, action: big}]}
    next: {empty: nothing, big: ask, default: push_all}
  ask:
    type: approval
    params: {prompt: "Push ${nodes.fetch.result.length} orders?", form: {type: object}, roles: [admin, user]}
    timeout: 24h
    next: {approved: push_all, rejected: nothing, timeout: nothing}
  push_all:
    type: foreach
    params: {items: "${nodes.fetch.result}", as: order, concurrency: 10, on_error: collect}
    nodes:
      push: {type: http.request, params: {method: POST, url: "${vars.api}/push", body: "${order}"}}
    next: {default: both, error: give_up}
  poll:
    type: while
    params: {when: "input.state != 'done'", max_iterations: 20, delay: 5s}
    nodes: {look: {type: webhook, params: {url: "${vars.api}/state"}}}
  both:
    type: parallel
    params: {join: all}
    branches:
      audit: {nodes: {a: {type: flow, params: {flow: audit-log, input: {count: 1}, wait: true}}}}
      notify: {nodes: {w: {type: webhook, params: {url: "${vars.api}/done"}}}}
    next: settle
  settle: {type: delay, params: {duration: 10s}, next: done}
  signal: {type: wait, params: {key: paid}, timeout: PT10M, next: {default: done, timeout: give_up}}
  keep: {type: set, params: {total: "${input.length}", anything: [1, 2]}}
  shape: {type: transform, params: {script: "return input.length"}}
  done: {type: return, params: {value: {pushed: "${nodes.push_all.result.length}"}}}
  nothing: {type: return, next: null}
  give_up: {type: fail, params: {error: orders.failed, message: "${error.message}"}}
  notify: {type: webhook, params: {url: "${vars.api}/failed", body: {error: "${error}"}}}
  cleanup: {type: log, params: {message: "finished with ${execution.status}", level: "${vars.level}"}}
tests:
  two_orders:
    input: {region: eu}
    mocks: {fetch: {result: {body: {orders: [{id: 1}, {id: 2}]}}}, push: {result: {status_code: 201}}}
    expect: {status: completed, path: [fetch, route, push_all, both, settle, done], result: {pushed: 2}}
"""

# Nodes, each with one fault at the named path. Below: whole documents with one each.
BAD_NODES = """\
| log | a node that is text
| {params: {}} | no type
type | {type: lgo, params: {message: x}} | a type that is not there
type | {type: 5} | a type that is no text
| {type: return, parms: {}} | an unknown key of a node
| {type: return, retries: 3} | a key of another tool
params | {type: log, params: {message: x, levle: info}} | an unknown parameter
params | {type: log, params: {}} | a parameter that is missing
| {type: log} | no parameters where one is needed
params.level | {type: log, params: {message: x, level: loud}} | a value that is not one of those allowed
params.roles[1] | {type: approval, params: {roles: [admin, manager]}} | a role that there is not
params.level | {type: log, params: {message: x, level: [x]}} | a parameter of the wrong type
params | {type: return, params: [1]} | parameters in a list
params.url | {type: webhook, params: {url: ""}} | an empty text
params.url | {type: webhook, params: {url: 5}} | a number for a text
params.headers | {type: webhook, params: {url: 'http://x', headers: [a]}} | a list for a map
params.headers.A | {type: webhook, params: {url: 'http://x', headers: {A: [1]}}} | a list for a scalar
params.auth | {type: http.request, params: {url: 'http://x', auth: {tokn: y}}} | an unknown key further in
params.follow_redirects | {type: http.request, params: {url: 'http://x', follow_redirects: often}} | text for a flag
params.expect_status | {type: http.request, params: {url: 'http://x', expect_status: [ok]}} | text for a status
params.response | {type: http.request, params: {url: 'http://x', response: xml}} | a kind that is not there
timeout | {type: return, timeout: 0} | a number for a duration
timeout | {type: return, timeout: 5 seconds} | a duration in words
timeout | {type: return, timeout: ""} | an empty duration
timeout | {type: return, timeout: -1s} | a negative duration
timeout | {type: return, timeout: P} | half of an ISO duration
timeout | {type: return, timeout: 1w} | a unit that is not there
retry | {type: return, retry: 3} | a number for retries
retry | {type: return, retry: {maximum: 3}} | an unknown key of retries
retry.max | {type: return, retry: {max: -1}} | fewer than no attempts
retry.max | {type: return, retry: {max: 1.5}} | half an attempt
retry.max | {type: return, retry: {max: 1001}} | too many attempts
retry.backoff | {type: return, retry: {backoff: 0.5}} | waits that get shorter
retry.jitter | {type: return, retry: {jitter: 2}} | a share above one
retry.delay | {type: return, retry: {delay: soon}} | no duration
retry.errors | {type: return, retry: {errors: timeout}} | text for a list
retry.errors | {type: return, retry: {errors: []}} | a list of nothing
retry.errors[0] | {type: return, retry: {errors: [503]}} | a number for an error
next | {type: return, next: [b]} | edges in a list
next.error | {type: return, next: {error: [b]}} | an edge to a list
next.x | {type: return, next: {x: 5}} | an edge to a number
if | {type: return, if: [x]} | a condition in a list
idempotent | {type: return, idempotent: maybe} | neither true nor false
description | {type: return, description: 5} | a number for a text
hooks | {type: return, hooks: {before: x}} | a hook that is not there
batch.strategy | {type: return, batch: {strategy: all}} | a strategy that is not there
batch.max_parallel | {type: return, batch: {max_parallel: 0}} | nothing at a time
nodes | {type: return, nodes: {b: {type: return}}} | nodes inside what holds none
branches | {type: return, branches: {b: {nodes: {c: {type: return}}}}} | branches of what has none
| {type: foreach, params: {items: [1]}} | a loop with nothing inside
nodes.b | {type: foreach, params: {items: [1]}, nodes: {b: {tpe: log}}} | a fault inside a loop
nodes.b.type | {type: foreach, params: {items: [1]}, nodes: {b: {type: lop}}} | a type inside a loop
params.on_error | {type: foreach, params: {items: [1], on_error: skip}, nodes: {b: {type: return}}} | an unknown way
params.concurrency | {type: foreach, params: {items: [1], concurrency: 0}, nodes: {b: {type: return}}} | none at a time
| {type: parallel, params: {join: all}} | branches that are missing
branches | {type: parallel, branches: {}} | no branches
branches.b | {type: parallel, branches: {b: {}}} | a branch without nodes
params.join | {type: parallel, params: {join: some}, branches: {b: {nodes: {c: {type: return}}}}} | some of them
params.cases | {type: switch, params: {cases: {when: x}}} | cases in a map
params.cases[0] | {type: switch, params: {cases: [{when: x}]}} | a case without an action
params.cases[0] | {type: switch, params: {cases: [{if: x, when: x, action: a}]}} | an unknown key of a case
"""
BAD_DOCUMENTS = """\
| [] | it is a list
| text | it is text
| {} | no nodes
nodes | {nodes: {}} | a flow without nodes
nodes | {nodes: [a, b]} | nodes in a list
| {node: {}} | an unknown key of the document
metadata | {metadata: text} | metadata that are text
metadata | {metadata: {nam: x}} | an unknown key of the metadata
metadata.version | {metadata: {version: 1.4}} | a version that is a number
metadata.tags | {metadata: {tags: a}} | tags that are text
vars | {vars: [a]} | constants in a list
defaults | {defaults: {retries: 3}} | an unknown default
defaults.timeout | {defaults: {timeout: never}} | no duration
limits | {limits: {steps: 3}} | an unknown limit
limits.max_steps | {limits: {max_steps: 0}} | no steps
limits.concurrency.on_limit | {limits: {concurrency: {max: 1, on_limit: wait}}} | a way that is not there
limits.concurrency.max | {limits: {concurrency: {max: 0}}} | none at a time
inputs | {inputs: [a]} | inputs in a list
inputs.x | {inputs: {x: string}} | a schema that is text
inputs.x.type | {inputs: {x: {type: text}}} | a type of another language
inputs.x.minimum | {inputs: {x: {minimum: "1"}}} | a bound that is text
inputs.x.items.minLength | {inputs: {x: {items: {minLength: -1}}}} | less than nothing, further in
inputs.x.$ref | {inputs: {x: {$ref: "https://example.com/x"}}} | a schema elsewhere
start | {start: [a]} | a start in a list
on_failure | {on_failure: {type: return}} | a node where a name belongs
tests.t.expect.status | {tests: {t: {expect: {status: done}}}} | a status that is not there
"""


def bad_documents() -> Iterator[Any]:
    for line in BAD_NODES.splitlines():
        path, text, why = (part.strip() for part in f" {line}".split(" | "))
        path = f"nodes.a.{path}".removesuffix(".")
        node: Any = read_yaml(f"a: {text}").value
        yield pytest.param({"nodes": node}, path, id=why)
    for line in BAD_DOCUMENTS.splitlines():
        path, text, why = (part.strip() for part in f" {line}".split(" | "))
        document: Any = read_yaml(text).value
        if path:
            document = {"nodes": {"a": {"type": "return"}}, **document}
        yield pytest.param(document, path, id=why)


def places(document: Any, checker: Any = CHECKER) -> set[str]:
    found = set()
    for error in checker.iter_errors(document):
        text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.instance_path)
        found.add(text.removeprefix("."))
    return found


def test_it_is_a_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)

    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_a_flow_that_uses_everything_is_taken() -> None:
    assert places(read_yaml(EVERYTHING).value) == set()


@pytest.mark.parametrize("text", list(samples()))
def test_every_sample_is_taken(text: str) -> None:
    assert places(read_yaml(text).value) == set()


@pytest.mark.parametrize(("document", "path"), list(bad_documents()))
def test_a_fault_is_rejected_at_its_place(document: Any, path: str) -> None:
    assert places(document) == {path}


# The reader accepts any value as a condition.
READER_TAKES = {"nodes.a.if"}


@pytest.mark.parametrize("document", [p.values[0] for p in bad_documents() if p.values[1] not in READER_TAKES])
def test_everything_that_it_rejects_the_reader_rejects_too(document: Any) -> None:
    budget = SchemaBudget(RustSchemas())
    reading = study_flow(json.dumps(document), specs(), lambda schema: form_faults(schema, budget))

    assert reading.flow is None


def parameters() -> Iterator[Any]:
    for name, node_type in specs().items():
        properties = node_type.params_schema().get("properties", {})
        assert isinstance(properties, dict)
        for parameter in properties:
            yield pytest.param(name, parameter, id=f"{name} {parameter}")


@pytest.mark.parametrize(("name", "parameter"), list(parameters()))
def test_every_parameter_may_be_an_expression(name: str, parameter: str) -> None:
    checker = jsonschema_rs.Draft7Validator(node_type_schema(specs()[name]))  # type: ignore[arg-type] # a map

    assert f"{parameter}" not in places({parameter: "${input.x}"}, checker)


VALUES: Final[Sequence[Any]] = (
    None, True, False, 0, 1, -1, 2, 10**9, 1.5, "", "x", "10s", "GET", "https://example.com", [], ["x"], [None], [1],
    {}, {"a": "b"}, {"a": None}, {"a": 1},
)  # fmt: skip
# Values that the reader examines further, and those that it takes as a condition.
READER_ALONE_REJECTS: Final = {("auth", "{}"), ("members", "['x']")} | {
    (name, "['x']") for name in ("to", "cc", "bcc", "reply_to")
}
READER_ALONE_TAKES: Final = {"when"}


def choices(schema: Any) -> Iterator[Any]:
    if isinstance(schema, dict):
        yield from schema.get("enum", ())
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from choices(part)


@pytest.mark.parametrize(("name", "parameter"), list(parameters()))
def test_the_schema_and_the_reader_take_the_same_values_of_a_parameter(name: str, parameter: str) -> None:
    spec = specs()[name]
    checker = jsonschema_rs.Draft7Validator(node_type_schema(spec))  # type: ignore[arg-type] # a map
    written: Any = spec.params_schema()["properties"]
    differently = []
    for value in (*VALUES, *choices(written[parameter])):
        by_reader = any(fault.keys[:1] == (parameter,) for fault in spec.check({parameter: value}))
        by_schema = any(re.match(rf"{parameter}\b", place) for place in places({parameter: value}, checker))
        # Only the reader knows the forms of texts and the ranges of numbers.
        is_close = by_reader and (isinstance(value, str | int | float) and not isinstance(value, bool))
        if by_reader != by_schema and not is_close and (parameter, str(value)) not in READER_ALONE_REJECTS:
            differently.append(value)

    assert differently == [] or parameter in READER_ALONE_TAKES


def test_the_schema_of_one_node_type_stands_alone() -> None:
    schema: Any = node_type_schema(specs()["http.request"])
    checker = jsonschema_rs.Draft7Validator(schema)

    assert schema["title"] == "Parameters of http.request"
    assert places({"url": "https://example.com", "auth": {"token": "x"}}, checker) == set()
    assert places({"url": "https://example.com", "auth": {"tokn": "x"}}, checker) == {"auth"}


_PARTS = st.lists(
    st.sampled_from(
        ["1", "20", "1.5", ".5", "0", "ms", "s", "m", "h", "d", "P", "T", "S", "M", "H", "D", " ", "-", "x"]
    ),
    max_size=8,
).map("".join)


@given(text=_PARTS | st.text(max_size=8))
def test_the_schema_accepts_the_durations_that_the_reader_accepts(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError as error:
        if "ten years" in str(error):
            return
        is_duration = False
    else:
        is_duration = True
    document = {"nodes": {"a": {"type": "return", "timeout": text}}}

    assert (places(document) == set()) == is_duration


def test_every_node_type_says_what_it_does() -> None:
    types = SCHEMA["definitions"]["node"]["properties"]["type"]

    assert types["enum"] == sorted(specs())
    assert all(summary.endswith(".") for summary in types["enumDescriptions"])


VERIFY: Final = {"scheme": "hmac", "header": "X-Signature", "secret": "${secrets.KEY}"}
# Schemas with defaults, each with the place of what it describes and the least that this needs.
WITH_DEFAULTS: Final[Sequence[tuple[str, Any, str, Any]]] = [
    ("schedule", SCHEMA["definitions"]["schedule"], "triggers/t", {"type": "schedule", "every": "1h"}),
    ("webhook", SCHEMA["definitions"]["webhookTrigger"], "triggers/t", {"type": "webhook", "verify": "none"}),
    (
        "signature", SCHEMA["definitions"]["webhookTrigger"]["properties"]["verify"]["anyOf"][1],
        "triggers/t", {"type": "webhook", "verify": VERIFY},
    ),
    ("chain", SCHEMA["definitions"]["executionTrigger"], "triggers/t", {"type": "execution", "flow": "other"}),
    ("metadata", SCHEMA["properties"]["metadata"], "metadata", {"name": "n", "description": "d"}),
    ("concurrency", SCHEMA["properties"]["limits"]["properties"]["concurrency"], "limits/concurrency", {"max": 2}),
    ("retry", SCHEMA["definitions"]["retry"], "nodes/a/retry", {"delay": "2s"}),
]  # fmt: skip


def defaults_of(schema: Any, path: Sequence[str] = ()) -> Iterator[tuple[Sequence[str], Any]]:
    """Yield the keys of a schema that have a default, each with the keys that lead to it."""
    for key, of_key in schema.get("properties", {}).items():
        if "default" in of_key:
            yield (*path, key), of_key["default"]
        yield from defaults_of(of_key, (*path, key))


@pytest.mark.parametrize(
    ("schema", "place", "least"), [row[1:] for row in WITH_DEFAULTS], ids=[r[0] for r in WITH_DEFAULTS]
)
def test_the_defaults_in_the_schema_are_those_that_are_read(schema: Any, place: str, least: Any) -> None:
    def read(written: Any) -> Any:
        document: Any = {"nodes": {"a": {"type": "return"}}}
        *names, last = place.split("/")
        at = document
        for name in names:
            at = at.setdefault(name, {})
        at[last] = written
        reading = study_flow(json.dumps(document), specs())
        assert reading.flow is not None, reading.faults
        return reading.flow

    found = list(defaults_of(schema))
    for path, default in found:
        written: Any = default
        for key in reversed(path):
            written = {key: written}
        if "verify" in least and "scheme" in least["verify"]:
            written = {"verify": least["verify"] | written}
        assert read(least | written) == read(least), path
    assert found
