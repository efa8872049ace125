"""No value of any parameter breaks a node type: it is a fault of the flow, or an error of its step."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowrunner.domain.events import NodeCompleted, NodeFailed, NodeWaiting, ScopesOpened
from flowrunner.domain.status import Status
from flowrunner.language import study_flow
from flowrunner.nodes import built_in
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_policy import EgressPolicy
from support.conformance import SHARE
from support.dependencies import Machine, machine
from support.flows import specs
from support.networks import LOOPBACK

# Each with the parameters that it has, and a value that each takes.
TAKEN: Final[dict[str, dict[str, Any]]] = {
    "http.request": {
        "url": "http://127.0.0.1:1/", "method": "PUT", "headers": {"A": "b"}, "query": {"a": [1, True]}, "body": [1],
        "base64": "YQ==", "form": {"a": 1}, "files": {"f": {"filename": "a", "text": "b"}}, "auth": {"token": "t"},
        "timeout": "1s", "follow_redirects": True, "expect_status": [200], "response": "json",
    },
    "webhook": {
        "url": "http://127.0.0.1:1/", "method": "POST", "headers": {"A": "b"}, "body": [1], "secret": "whsec_eHh4",
    },
    "email.send": {
        "host": "127.0.0.1", "port": 1, "security": "none", "username": "u", "password": "p", "from": "a@b.example",
        "to": ["c@d.example"], "cc": "e@f.example", "bcc": [], "reply_to": [], "subject": "s", "body": "t",
        "html": "<p>", "attachments": [{"filename": "f", "text": "t"}],
    },
    "email.receive": {
        "host": "127.0.0.1", "port": 1, "security": "tls", "username": "u", "password": "p", "access_token": "t",
        "folder": "INBOX", "limit": 2, "after_uid": 1, "uid_validity": 1, "uids": [1], "unseen": True,
        "since": "2027-01-31", "from": "a", "subject": "s", "headers": ["List-Id"], "with_body": False,
        "with_attachments": True, "mark_as_read": True, "move_to": "Done",
    },
    "llm": {
        "base_url": "http://127.0.0.1:1/", "provider": "openai", "api_key": "k", "model": "m", "system": "s",
        "prompt": "p", "messages": [{"role": "user", "content": "c"}], "temperature": 0.5,
        "max_tokens": 1, "tools": [{"name": "t"}], "response_schema": {"type": "object"},
    },
    "agent": {
        "base_url": "http://127.0.0.1:1/", "provider": "openai", "api_key": "k", "model": "m", "system": "s",
        "prompt": "p", "messages": [{"role": "user", "content": "c"}], "temperature": 0.5,
        "max_tokens": 1, "response_schema": {"type": "object"}, "max_turns": 2, "concurrency": 1,
        "on_tool_error": "fail",
        "tools": [{"name": "t", "description": "d", "http.request": {"url": "http://127.0.0.1:1/"}}],
    },
    "mcp": {
        "url": "http://127.0.0.1:1/", "headers": {"A": "b"}, "tool": "t", "arguments": {"a": 1}, "tools": ["t"],
        "protocol": "2025-11-25",
    },
    "sql": {
        "url": "postgresql://u:p@127.0.0.1:1/d", "operation": "query", "query": "SELECT $1", "args": [1], "table": "t",
        "items": [{"a": 1}], "columns": ["a"], "on_conflict": "nothing",
    },
    "transform": {"value": [1], "mapping": {"a": "1"}, "script": "return 1"},
    "switch": {"cases": [{"when": "true", "action": "a"}], "default_action": "b"},
    "condition": {
        "conditions": [{"condition": "true", "action": "a"}], "condition_script": "return true", "default_action": "b",
    },
    "foreach": {"items": [1, 2], "as": "x", "concurrency": 2, "on_error": "collect", "collect": ["${result}"]},
    "while": {"when": "false", "max_iterations": 2, "delay": "1ms", "collect": "${result}"},
    "parallel": {"join": "any"},
    "flow": {"flow": "nothing", "version": 1, "input": {"a": 1}, "wait": True, "dedupe": 1},
    "delay": {"duration": "1ms", "until": "2027-01-01T00:00:00Z"},
    "wait": {"key": "k", "timeout": "1ms"},
    "approval": {"prompt": "p", "form": {"type": "object"}, "roles": ["admin"], "members": ["a@b"], "count": 1,
                 "link": True, "notify": "n", "remind": "1h"},
    "return": {"value": [1]},
    "fail": {"error": "a.b", "message": "m", "data": [1]},
    "log": {"message": "m", "level": "warn", "data": [1]},
    "set": {"a": 1, "b": [1]},
    "store": {
        "operation": "set", "key": "k", "value": [1], "ttl": "1s", "expected": 1, "namespace": "n",
        "prefix": "p", "after": "a", "limit": 2,
    },
}  # fmt: skip
INSIDE: Final[dict[str, dict[str, Any]]] = {
    "foreach": {"nodes": {"inner": {"type": "return"}}},
    "while": {"nodes": {"inner": {"type": "return"}}},
    "parallel": {"branches": {"l": {"nodes": {"a": {"type": "return"}}}, "r": {"nodes": {"b": {"type": "return"}}}}},
}

# What looks like something else to whoever does not look closely.
ODD: Final = st.sampled_from([
    "", " ", "${", "${x", "}", "$${input}", "${secrets.X}", "0", "-1", "1e999", "true", "null", "error", "error.a",
    "default",
    "0s", "1ms", "-1s", "1s1", "P", "PT", "PT0S", "99999999999999999999d", "now", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "2027-01-01", "GET", "get", "BREW", "G E T", "http://", "http://[",
    "http://127.0.0.1:1/\r\nA: b", "http://127.0.0.1:99999/", "http://127.0.0.1:1/é\u2028", "file:///etc/passwd", "//",
    "http://u:p@127.0.0.1:1/", "whsec_", "whsec_é", "a\x00b", "a\r\nb: c", "é", "🙂", "\u2028", "all", "any",
    "constructor", "__proto__", "__class__", "input", "a.b", "a..b", "x" * 201, "x" * 10_001,
])  # fmt: skip
NUMBERS: Final = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
LEAVES: Final = st.one_of(st.none(), NUMBERS, ODD, st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
KEYS: Final = st.one_of(
    ODD,
    st.sampled_from(
        ["when", "action", "condition", "token", "username", "api_key", "key_name", "type", "pattern", "$ref"]
    ),
)
VALUES: Final = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


SETTINGS: Final = settings(
    max_examples=round(40 * SHARE),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Real engine whose requests go to a closed port of the loopback address."""
    path: Path = tmp_path_factory.mktemp("engine") / "flowrunner.db"

    async def client() -> EgressClients:
        return EgressClients(EgressPolicy([LOOPBACK]))

    http: Any = runner.run(client())
    opened = machine(path, http=http)
    try:
        yield runner.run(opened.__aenter__())
    finally:
        runner.run(opened.__aexit__(None, None, None))
        runner.run(http.close())


async def outcome_of(engine: Machine, document: str, input: Any) -> None:
    """Run a flow of one node, and check that it ends without a crash."""
    flow_id = await engine.save(document, f"flow-{id(document)}-{engine.clock.now().timestamp()}")
    execution = await engine.start(flow_id, input, id=f"exec-of-{flow_id}")

    async def has_come_to_something() -> bool:
        return await engine.status(execution) is not Status.RUNNING

    await engine.until(has_come_to_something)
    events = await engine.events(execution)
    if not (await engine.status(execution)).is_final:
        await engine.dispatcher.cancel(execution, reason="the check is done")
    failed = [event.error for event in events if isinstance(event, NodeFailed)]
    assert not [error for error in failed if error.type == "node.crashed"], (document, input)
    assert all(error.message or type_of(document) == "fail" for error in failed), "what went wrong is told"
    came = [e for e in events if isinstance(e, NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened)]
    assert came, "the node has run"


def type_of(document: str) -> str:
    type: str = json.loads(document)["nodes"]["a"]["type"]
    return type


def document_of(type: str, params: Any) -> str:
    return json.dumps(
        {"nodes": {"a": {"type": type, "params": params, "timeout": "5s", **INSIDE.get(type, {})}}}, ensure_ascii=False
    )


def test_every_parameter_of_every_node_type_is_among_them() -> None:
    for name, node_type in built_in().items():
        known = node_type.spec().params_schema().get("properties", {})
        assert isinstance(known, Mapping)
        assert known.keys() <= TAKEN[name].keys(), name
    assert built_in().keys() == TAKEN.keys()


def with_odd_values(type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw some parameters of a node type, each with a valid value or with any value."""
    return st.fixed_dictionaries({}, optional={name: st.just(value) | VALUES for name, value in TAKEN[type].items()})


@pytest.mark.parametrize("type", sorted(TAKEN))
@settings(SETTINGS)
@given(data=st.data())
def test_whatever_expressions_give_a_parameter_no_node_type_crashes(
    type: str, data: st.DataObject, engine: Machine, runner: asyncio.Runner
) -> None:
    input = data.draw(with_odd_values(type))
    document = document_of(type, {name: f"${{flow.input[{json.dumps(name)}]}}" for name in input})
    # Not every parameter may be an expression, and some cannot be missing.
    if study_flow(document, specs()).flow is not None:
        runner.run(outcome_of(engine, document, input))


@pytest.mark.parametrize("type", sorted(TAKEN))
@settings(SETTINGS)
@given(data=st.data())
def test_whatever_a_flow_gives_a_parameter_it_is_a_fault_or_no_node_type_crashes(
    type: str, data: st.DataObject, engine: Machine, runner: asyncio.Runner
) -> None:
    document = document_of(type, data.draw(with_odd_values(type)))
    reading = study_flow(document, specs())
    assert all(fault.message and fault.line and fault.column for fault in reading.faults)
    if reading.flow is not None:
        runner.run(outcome_of(engine, document, {"a": 1}))


def misspelt() -> Iterator[Any]:
    """Yield each place of parameters that takes only known keys: of a type, or inside one of its parameters."""
    places: dict[str, Any] = {
        **{type: lambda params: params for type in TAKEN if type != "set"},
        "http.request auth": lambda params: params["auth"],
        "agent tools": lambda params: params["tools"][0],
        "agent request": lambda params: params["tools"][0]["http.request"],
        "http.request files": lambda params: params["files"]["f"],
        "switch cases": lambda params: params["cases"][0],
        "condition conditions": lambda params: params["conditions"][0],
    }
    for place, found in places.items():
        for value in ("${input.x}", "a ${input.x}", 1, "text", ["${input.x}"]):
            yield pytest.param(place.partition(" ")[0], found, value, id=f"{place} {value}")


@pytest.mark.parametrize(("type", "place", "value"), list(misspelt()))
def test_an_unknown_parameter_is_a_fault_whatever_its_value(type: str, place: Any, value: Any) -> None:
    """Its value is not known before the step runs; that there is no such parameter is."""
    node_type, params = built_in()[type], json.loads(json.dumps(TAKEN[type]))
    before = node_type.check(params)
    place(params)["no_such_thing"] = value

    added = [fault for fault in node_type.check(params) if fault not in before]

    assert [fault.keys[-1] for fault in added] == ["no_such_thing"]
