"""Each key of a document, with the least of its values and others: all are allowed, and no two mean the same."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import jsonschema_rs
import pytest

from flowrunner.domain.errors import InvalidFlow
from flowrunner.domain.sign_on import _KEYS as PROVIDER_KEYS
from flowrunner.domain.sign_on import providers_of
from flowrunner.language import read_flow
from flowrunner.language import reading as flows
from flowrunner.language import triggers as of_triggers
from flowrunner.language.flow_tests import reading as of_tests
from flowrunner.language.legacy import NODE_KEYS as OLDER_NODE_KEYS
from flowrunner.language.nodes import _INNER_KEYS, NODE_KEYS
from flowrunner.language.retries import RETRY_KEYS
from flowrunner.language.schema import flow_schema
from support.flows import specs

NODE: Final = {"type": "return"}
# Two nodes, of which either may be the first.
NODES: Final = {
    "a": {"type": "log", "params": {"message": "m"}, "next": "b"},
    "b": {"type": "log", "params": {"message": "m"}, "next": "a"},
}
BRANCHED: Final = {"type": "log", "params": {"message": "m"}, "next": {"default": "a", "error": "b"}}
CALL: Final[dict[str, Any]] = {"type": "http.request", "params": {"url": "https://example.com"}}
SECRETS: Final = ("${secrets.A}", "${secrets.B}", ["${secrets.A}", "${secrets.B}"])
FLOWS: Any = flow_schema(specs())
SCHEMA: Final = jsonschema_rs.Draft7Validator(FLOWS, offline=True)
MOMENTS: Final = ("2027-01-31T08:00:00Z", "2027-01-31T08:00:00+01:00", "2027-01-31T08:00:00-05:30")


def meaning_of(document: Mapping[str, Any]) -> object:
    """Return the flow of a document that editors take for right, too."""
    assert SCHEMA.is_valid(document), document
    return read_flow(json.dumps(document), specs())


def flow_at(*path: str, **given: Any) -> Callable[[Mapping[str, Any]], object]:
    """Return a reader of a flow that has a map at the path."""

    def read(written: Mapping[str, Any]) -> object:
        value: Any = written
        for key in reversed(path):
            value = {key: value}
        return meaning_of({"nodes": NODES} | given | value)

    return read


def webhook(**given: Any) -> object:
    return flow_at("triggers", "t", start="a")({"type": "webhook", "verify": "none"} | given)


def node(written: Mapping[str, Any]) -> object:
    nodes: dict[str, Any] = {"a": written, "first": {"type": "log", "params": {"message": "m"}, "next": "a"}}
    return meaning_of({"nodes": nodes, "start": "first"})


def in_test(*path: str, **given: Any) -> Callable[[Mapping[str, Any]], object]:
    """Return a reader of a test that has a map at the path."""

    def read(written: Mapping[str, Any]) -> object:
        value: Any = written
        for key in reversed(path):
            value = {key: value}
        assert SCHEMA.is_valid({"nodes": {"a": CALL}, "tests": {"t": given | value}})
        found, faults = of_tests.read_tests({"t": given | value}, {"a": CALL, "b": {"type": "approval"}})
        assert not faults
        return found["t"]

    return read


def provider(written: Mapping[str, Any]) -> object:
    (found,) = providers_of({"p": written})
    # Its text has no secrets.
    return {name: getattr(found, name) for name in found.__slots__}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A map of a document.

    Attributes:
        keys: Those that may be in it.
        read: Returns what the map means.
        values: The values of each key, the least of which is the first.
        beside: What else it has, by the key; `""` is what it always has.
        silent: Keys without an effect here: for people, older forms, or those of other places.
    """

    keys: Sequence[str]
    read: Callable[[Mapping[str, Any]], object]
    values: Mapping[str, Sequence[Any]]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    silent: Sequence[str] = ()


DURATIONS: Final = ("1s", "1m", "1h")
FROM_NOTHING: Final = ("0s", *DURATIONS)
COMMON: Final[Mapping[str, Sequence[Any]]] = {
    "input": ({"n": 1}, {"n": "${trigger.at}"}), "labels": ({"l": 1}, {"l": "x"}, {"m": "x"}),
}  # fmt: skip
VERIFY: Final = {"secret": SECRETS, "header": ("x-one", "x-two")}
NAMED: Final = ("a", "b")
PLACES: Final[Mapping[str, Place]] = {
    "flow": Place(
        keys=flows.FLOW_KEYS,
        read=flow_at(),
        values={
            "metadata": ({"name": "x"}, {"name": "y"}),
            "inputs": ({}, {"n": {"type": "string"}}, {"n": {"type": "string", "searchable": True}}),
            "vars": ({"v": 0}, {"v": 1}),
            "defaults": ({"timeout": "1s"}, {"retry": {"max": 1}}),
            "limits": ({"max_steps": 1}, {"max_steps": 2}),
            "outputs": ({"o": 0}, {"o": 1}, "${input}"),
            "start": NAMED,
            "on_failure": NAMED,
            "on_finish": NAMED,
            "nodes": ({"a": NODE}, {"b": NODE}),
            "triggers": ({"t": {"type": "schedule", "every": "1h"}}, {"u": {"type": "schedule", "every": "1h"}}),
            "tests": ({"t": {}}, {"u": {}}),
        },
        beside={
            "": {"start": "a"},
            "on_failure": {"nodes": {"a": NODE, "b": NODE, "c": BRANCHED}, "start": "c"},
            "on_finish": {"nodes": {"a": NODE, "b": NODE, "c": BRANCHED}, "start": "c"},
            "nodes": {"start": None},
        },
    ),
    "metadata": Place(
        keys=flows._METADATA_KEYS,
        read=flow_at("metadata", start="a"),
        values={
            "name": ("x", "y"), "description": ("x", "y"), "version": ("1", "2"),
            "tags": (["x"], ["y"], ["x", "y"]), "mcp": (False, True),
        },
        beside={"mcp": {"name": "x", "description": "y"}},
    ),
    "defaults": Place(
        keys=flows._DEFAULTS_KEYS,
        read=flow_at("defaults", nodes={"a": CALL}),
        values={"timeout": DURATIONS, "retry": ({"max": 1}, {"max": 2})},
    ),
    "limits": Place(
        keys=flows.LIMITS_KEYS,
        read=flow_at("limits", start="a"),
        values={
            "timeout": DURATIONS, "max_steps": (1, 2, 10_000), "concurrency": ({"max": 1}, {"max": 2}),
        },
    ),
    "concurrency": Place(
        keys=flows._CONCURRENCY_KEYS,
        read=flow_at("limits", "concurrency", start="a"),
        values={"max": (1, 2), "key": ("a", "${flow.input.x}"), "on_limit": ("queue", "reject", "replace")},
        beside={"": {"max": 5}},
    ),
    "retry": Place(
        keys=RETRY_KEYS,
        read=lambda written: meaning_of({"nodes": {"a": CALL | {"retry": written}}}),
        values={
            "max": (0, 1, 3), "delay": ("1ms", *DURATIONS), "backoff": (1, 1.5, 2), "max_delay": DURATIONS,
            "jitter": (0, 0.5, 1), "errors": (["*"], ["timeout"], ["timeout", "node"]), "max_elapsed": DURATIONS,
        },
    ),
    "node": Place(
        keys=(*NODE_KEYS, *_INNER_KEYS["nodes"]),
        read=node,
        values={
            "type": ("return", "transform"), "if": ("false", "true"),
            "params": ({"items": [1]}, {"items": []}, {"items": [1], "concurrency": 2}),
            "timeout": DURATIONS, "retry": ({"max": 1}, {"max": 2}), "output": (0, 1, "${result}"),
            "next": ("first", {"default": "first", "error": "first"}, {"error": "first"}), "idempotent": (False, True),
            "nodes": ({"c": NODE}, {"d": NODE}), "start": ("x", "y"),
        },
        beside={
            "": {"type": "foreach", "params": {"items": [1]}, "nodes": {"x": NODE}},
            "type": {"params": {"value": 1}, "nodes": None},
            "retry": CALL | {"nodes": None},
            "start": {"nodes": {"x": NODES["a"] | {"next": "y"}, "y": NODES["b"] | {"next": "x"}}},
        },
        silent=("description", *OLDER_NODE_KEYS),
    ),
    "schedule": Place(
        keys=of_triggers.SCHEDULE_KEYS,
        read=flow_at("triggers", "t", start="a"),
        values={
            **COMMON, "cron": ("@daily", "@hourly"), "every": ("1s", "1m", "1h"), "at": MOMENTS,
            "timezone": ("UTC", "Europe/Berlin"), "missed": of_triggers.MISSED, "missed_window": ("0s", "1h", "1d"),
            "overlap": of_triggers.OVERLAP, "jitter": ("0s", "1s", "1m"), "start": MOMENTS, "end": MOMENTS,
        },
        beside={
            "": {"type": "schedule", "every": "1d"}, "cron": {"every": None}, "every": {"every": None},
            "at": {"every": None}, "timezone": {"every": None, "cron": "@daily"},
        },
        silent=("type", "description"),
    ),
    "webhook": Place(
        keys=of_triggers.WEBHOOK_KEYS,
        read=flow_at("triggers", "t", start="a"),
        values={
            **COMMON, "verify": ("none", {"scheme": "github", "secret": "${secrets.A}"}),
            "when": ("false", "true"), "dedupe": ("${trigger.body.id}", "${trigger.at}"),
            "respond": ({"mode": "result"}, {"timeout": "1s"}),
        },
        beside={"": {"type": "webhook", "verify": "none"}},
        silent=("type", "description"),
    ),
    "respond": Place(
        keys=of_triggers.RESPOND_KEYS,
        read=lambda written: webhook(respond=written),
        values={"mode": of_triggers.RESPOND_MODES, "timeout": ("1s", "20s", "1m")},
    ),
    "chain": Place(
        keys=of_triggers.CHAIN_KEYS,
        read=flow_at("triggers", "t", start="a"),
        values={
            **COMMON, "flow": ("x", "y"), "status": (["completed"], ["failed"], ["completed", "failed"]),
            "children": (False, True),
        },
        beside={"": {"type": "execution", "flow": "z"}},
        silent=("type", "description"),
    ),
    **{
        f"verify {scheme}": Place(
            keys=keys,
            read=lambda written: webhook(verify=written),
            values=VERIFY | {
                "algorithm": of_triggers.ALGORITHMS, "encoding": of_triggers.ENCODINGS, "prefix": ("", "v1=", "v2="),
            },
            beside={"": {"scheme": scheme, "secret": "${secrets.C}"} | ({"header": "x"} if "header" in keys else {})},
        )
        for scheme, keys in of_triggers.SCHEME_KEYS.items()
    },
    "test": Place(
        keys=of_tests.TEST_KEYS,
        read=in_test(),
        values={
            "input": ({"n": 1}, {"n": 2}), "trigger": ("t", "u"),
            "mocks": ({"a": {"result": 1}}, {"a": {"result": 2}}, {"a": [{"result": 1}]}),
            "flows": ({"f": {"mocks": {"x": {"result": 1}}}}, {"g": {"mocks": {}}}), "secrets": ({"A": ""}, {"A": "a"}),
            "config": ({"A": 1}, {"A": "1"}, {"B": 1}),
            "signals": ({"k": {"payload": 1}}, {"k": [{"payload": 1}, {"payload": 2}]}),
            "approvals": ({"b": {"approved": True}}, {"b": {"approved": False}}), "cancel_after": FROM_NOTHING,
            "now": MOMENTS, "expect": ({"status": "failed"}, {"status": "cancelled"}),
        },
        silent=("description",),
    ),
    "trigger of a test": Place(
        keys=of_tests.TRIGGER_KEYS,
        read=in_test("trigger"),
        values={
            "name": ("t", "u"), "due_at": MOMENTS, "last": ({"result": 1}, {"result": 2}), "body": (0, {"b": 1}),
            "headers": ({"h": "1"}, {"h": "2"}),
            "query": ({"q": "1"}, {"q": "2"}), "execution": ({"id": "1"}, {"id": "2"}),
        },
        beside={"": {"name": "t"}},
    ),
    "mock": Place(
        keys=of_tests.MOCK_KEYS,
        read=in_test("mocks", "a"),
        values={"result": (0, "", "x"), "error": ("timeout", "node"), "action": ("x", "y")},
        beside={"error": {"result": ..., "action": ...}, "": {"action": "z"}},
    ),
    "error of a mock": Place(
        keys=of_tests.ERROR_KEYS,
        read=in_test("mocks", "a", "error"),
        values={"type": ("timeout", "node"), "message": ("x", "y"), "data": (0, "", {"d": 1})},
        beside={"": {"type": "http.503"}},
    ),
    "signal": Place(
        keys=of_tests.SIGNAL_KEYS,
        read=in_test("signals", "k"),
        values={"payload": (0, "", "x"), "after": FROM_NOTHING},
    ),
    "approval": Place(
        keys=of_tests.APPROVAL_KEYS,
        read=in_test("approvals", "b"),
        values={
            "approved": (False, True), "by": ("x", "y"), "data": (0, "", "x"), "after": FROM_NOTHING,
        },
        beside={"": {"approved": True}},
    ),
    "expect": Place(
        keys=of_tests.EXPECT_KEYS,
        read=in_test("expect"),
        values={
            "status": ("completed", "failed", "cancelled", "waiting"), "path": ([], ["a"], ["a", "b"]),
            "handlers": ([], ["a"]), "result": (0, "", None), "result_contains": (0, "", None),
            "error": ("timeout", "node"), "logs": ([], ["x"], ["x", "y"]), "tries": ({"a": 0}, {"a": 1}),
        },
    ),
    "expected error": Place(
        keys=of_tests.EXPECTED_ERROR_KEYS,
        read=in_test("expect", "error"),
        values={"type": ("x", "y"), "message": ("x", "y"), "node": ("x", "y")},
    ),
    "expected line": Place(
        keys=of_tests.EXPECTED_LOG_KEYS,
        read=in_test("expect", "logs"),
        values={"level": ("debug", "info"), "message": ("x", "y")},
    ),
    "provider": Place(
        keys=sorted(PROVIDER_KEYS),
        read=provider,
        values={
            "name": ("x", "y"), "issuer": ("https://a.example.com", "https://b.example.com/x"),
            "client_id": ("x", "y"), "client_secret": ("x", "y"), "scopes": (["openid"], ["openid", "email"]),
            "groups_claim": ("x", "y"), "create_accounts": (False, True), "role": ("user", "viewer"),
            "groups": tuple(
                [{"group": g, "workspace": w, "role": r}]
                for g, w, r in (("g", "w", "viewer"), ("h", "w", "viewer"), ("g", "x", "viewer"), ("g", "w", "admin"))
            ),
        },
        beside={"": {"issuer": "https://c.example.com", "client_id": "z"}},
    ),
}  # fmt: skip


# What a key means that is left out, if that has a value.
DEFAULTS: Final[Mapping[str, Any]] = {
    "flow: start": "a", "metadata: mcp": False, "limits: max_steps": 10_000, "concurrency: on_limit": "queue",
    "node: idempotent": True, "node: start": "x", "schedule: timezone": "UTC", "schedule: missed": "latest",
    "schedule: missed_window": "1d", "schedule: overlap": "skip", "schedule: jitter": "0s",
    "respond: mode": "accepted", "respond: timeout": "20s", "chain: status": ["completed"], "chain: children": False,
    "verify hmac: algorithm": "sha256", "verify hmac: encoding": "hex", "verify hmac: prefix": "",
    "expect: status": "completed", "expect: logs": [], "provider: create_accounts": False, "provider: role": "user",
}  # fmt: skip


def cases() -> Iterator[Any]:
    for name, place in PLACES.items():
        for key in place.keys:
            if key not in place.silent:
                id = f"{name}: {key}"
                yield pytest.param(place, key, DEFAULTS.get(id, ...), id=id)


def is_required(place: Place, key: str) -> bool:
    try:
        place.read(around(place, key))
    except (InvalidFlow, ValueError, AssertionError):
        return True
    return False


def around(place: Place, key: str) -> dict[str, Any]:
    given = {**place.beside.get("", {}), **place.beside.get(key, {})}
    return {name: value for name, value in given.items() if value not in (None, ...) and name != key}


@pytest.mark.parametrize(("place", "key", "_"), list(cases()))
def test_no_two_values_of_a_key_mean_the_same(place: Place, key: str, _: Any) -> None:
    values = place.values[key]

    read = [place.read({**around(place, key), key: value}) for value in values]

    same = [(a, b) for (a, x), (b, y) in itertools.combinations(zip(values, read, strict=True), 2) if x == y]
    assert same == []
    assert len(values) > 1


@pytest.mark.parametrize(("place", "key", "default"), [each for each in cases() if not is_required(*each.values[:2])])
def test_a_key_that_is_left_out_means_its_default_and_no_other_value(place: Place, key: str, default: Any) -> None:
    absent = place.read(around(place, key))

    same = [value for value in place.values[key] if place.read({**around(place, key), key: value}) == absent]

    assert same == ([] if default is ... else [default])
