"""Fifty secrets go through every node type, where it succeeds and where it fails, and show nowhere.

Looked at is all that is left of it: the database's files as they are while the server runs and after
it, its log with what crashes write there, every answer of the API, WebSockets, metrics and the audit log.
"""

import json
import sqlite3
import urllib.parse
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.events import ErrorValue, Logged, NodeCompleted, NodeFailed
from flowrunner.engine.recorder import MAX_ERROR_BYTES, MAX_LOG_BYTES, record
from flowrunner.security.redaction import SecretRedactor
from flowrunner.storage.tables import TABLES
from security.canaries import CANARIES, CRASHING, PLAIN, SPECIAL, forms, leaks, nested
from support.client import Client
from support.databases import NOON
from support.receiver import Receiver
from support.scoreboard import Scoreboard
from support.server import Server

NAMES: Final = tuple(CANARIES)
LIST: Final = [f"${{secrets.{name}}}" for name in NAMES]
TEXT: Final = " and ".join(LIST)
OBJECT: Final = {name: f"${{secrets.{name}}}" for name in NAMES}
ALL_IN_JS: Final = "[" + ", ".join(f"secrets.{name}" for name in NAMES) + "]"
ECHOES: Final = "nodes: {r: {type: return, params: {value: '${flow.input}'}}}"
PICKY: Final = json.dumps(
    {
        "inputs": {
            "number": {"type": "integer", "required": False},
            "one": {"enum": ["a", "b"], "required": False},
            "shape": {"type": "string", "pattern": "^x$", "maxLength": 3, "required": False},
            "whole": {"type": "object", "additionalProperties": False, "required": False},
        },
        "nodes": {"r": {"type": "return", "params": {"value": "${flow.input}"}}},
    }
)


def prepare_answers(receiver: Receiver) -> None:
    """Let the receiver know every value in all its forms, so that it answers what no flow sent."""
    client = Client(receiver.url)
    for name, value in CANARIES.items():
        known = forms(value)
        # An answer may have a mebibyte.
        said = {"forms": known, "keys": dict.fromkeys(known.values(), 1), "nest": nested(value)}
        if len(value) > 1000:
            said = {"raw": value, "base64": known["base64 at 1"], "nest": nested(value)}
        client.request("PUT", f"/keep/{name}", json.dumps(said).encode())
    client.request("PUT", "/keep/utf16", " ".join(v for v in CANARIES.values() if v.isascii()).encode("utf-16-le"))


def _node(type: str, /, **params: Any) -> dict[str, Any]:
    return {"type": type, "params": params}


def requests_of(url: str) -> dict[str, dict[str, Any]]:
    """Parameters of `http.request`: the secret in every place, and every way to fail. A and B are secrets."""
    a, b, pad = "${secrets.A}", "${secrets.B}", "p" * 150
    two = f"{a} and {b}"
    q = "${encodeURIComponent(secrets.A)}"
    return {
        "header": {"url": f"{url}/echo", "headers": {"X-A": a, "X-B": f"Bearer {a}"}},
        "query": {"url": f"{url}/echo", "query": {"a": a, "b": [b, two]}},
        "body": {"url": f"{url}/echo", "method": "POST", "body": {"a": [two], "all": OBJECT}},
        "text": {"url": f"{url}/echo", "method": "POST", "body": TEXT},
        "form": {"url": f"{url}/echo", "method": "POST", "form": {"a": two}},
        "basic": {"url": f"{url}/echo", "auth": {"username": "me", "password": b}},
        "basic too": {"url": f"{url}/echo", "auth": {"username": a, "password": a}},
        "bearer": {"url": f"{url}/echo", "auth": {"token": a}},
        "api key": {"url": f"{url}/echo", "auth": {"api_key": a}},
        "key name": {"url": f"{url}/echo", "auth": {"api_key": "k", "key_name": a}},
        "path": {"url": f"{url}/ok/{a}"},
        "escaped path": {"url": f"{url}/ok/{q}"},
        "not found": {"url": f"{url}/nothing/{q}"},
        "status 400": {"url": f"{url}/say?status=400", "method": "POST", "body": {"a": two, "all": LIST}},
        "status 401 of text": {"url": f"{url}/say?status=401&type=text/plain", "method": "POST", "body": TEXT},
        "status 500": {"url": f"{url}/say?status=500&type=text/plain", "method": "POST", "body": two},
        "bad host": {"url": f"http://{a}.invalid/"},
        "bad port": {"url": f"http://127.0.0.1:1/{q}"},
        "closed": {"url": f"http://10.0.0.1/{q}"},
        "userinfo": {"url": f"http://{q}:{q}@127.0.0.1:1/"},
        "no url": {"url": b},
        "no url too": {"url": a},
        "long bad host": {"url": f"http://127.0.0.1:99999/{pad}{pad}{a}"},
        "tls": {"url": f"{url.replace('http:', 'https:')}/{q}"},
        "method": {"url": f"{url}/ok", "method": a},
        "header name": {"url": f"{url}/ok", "headers": {"X-Fine": "1"}, "query": {"x": a}, "method": f"GET{b}"},
        "header value": {"url": f"{url}/ok", "headers": {"X": f"{a}\n"}},
        "timeout value": {"url": f"{url}/ok", "timeout": a},
        "time-out": {"url": f"{url}/slow?seconds=9&{pad}{q}", "timeout": "200ms"},
        "time-out cut": {"url": f"{url}/slow?seconds=9&{'p' * 120}{q}", "timeout": "200ms"},
        "response": {"url": f"{url}/ok", "response": a},
        "redirect": {"url": f"{url}/redirect", "follow_redirects": True, "query": {"to": f"/ok/{q}"}},
        "redirect loop": {
            "url": f"{url}/redirect", "follow_redirects": True,
            "query": {"to": f"{url}/redirect?to=/redirect&x={'p' * 130}{q}"},
        },
        "redirect bad": {"url": f"{url}/redirect", "follow_redirects": True, "query": {"to": f"ftp://{q}/"}},
        "not JSON": {"url": f"{url}/say?type=text/plain", "method": "POST", "response": "json", "body": two},
        "wrong types": {"url": f"{url}/ok", "expect_status": a, "headers": b, "query": a, "form": b, "auth": a},
    }  # fmt: skip


def scripts() -> dict[str, str]:
    """JavaScript that works with secrets, and fails over them."""
    return {
        "gives": f"return {ALL_IN_JS}",
        "as keys": f"return Object.fromEntries({ALL_IN_JS}.map((s, i) => [s, {{[s + i]: s}}]))",
        "as codes of the web": f"return {ALL_IN_JS}.map(s => [encodeURIComponent(s), encodeURI(s), JSON.stringify(s)])",
        "deep": "let v = secrets.A; for (let i = 0; i < 60; i++) v = {v: [v]}; return v",
        "number": "return Number(secrets.A)",
        "throws": f"throw new Error({ALL_IN_JS}.join(' '))",
        "throws text": "throw secrets.A",
        "throws an object": "throw {[secrets.A]: secrets.B}",
        "throws a long message": "throw new Error('p'.repeat(1990) + secrets.A)",
        "throws a very long message": "throw new Error('p'.repeat(5000) + secrets.A)",
        "throws a named error": "const e = new TypeError(secrets.A); e.name = secrets.B; throw e",
        "throws a cause": "throw new Error('outer', {cause: new Error(secrets.A)})",
        "rejects": "await null; throw new RangeError(secrets.A + secrets.B)",
        "reads of null": "return null[secrets.A]",
        "reads of null by a longer name": "return null['Bearer ' + secrets.A]",
        "calls what is no function": "return secrets.A.nothing.more()",
        "calls by name": "return globalThis[secrets.A]()",
        "writes what is fixed": "'use strict'; Object.freeze({[secrets.A]: 1})[secrets.A] = 2",
        "evaluates": "return eval(secrets.A)",
        "evaluates a text": "return eval('\"' + secrets.A)",
        "evaluates a private name": "return eval('#' + secrets.A)",
        "compiles": "return new Function(secrets.A)()",
        "imports": "return await import(secrets.A)",
        "parses": "return JSON.parse(secrets.A)",
        "parses a part": "return JSON.parse('{\"a\": ' + secrets.A + '}')",
        "parses after a key": "return JSON.parse('{\"' + secrets.A + '\" ' + secrets.A)",
        "a pattern": "return new RegExp('(' + secrets.A)",
        "a number": "return BigInt(secrets.A)",
        "console": f"for (const s of {ALL_IN_JS}) {{ console.log(s); console.error('x', s, {{[s]: s}}) }}",
        "a long line": "console.log('p'.repeat(9_990) + secrets.A); console.warn('p'.repeat(10_100) + secrets.A)",
        "many lines": "for (let i = 0; i < 200; i++) console.log(secrets.A)",
        "console, then throws": "console.debug(secrets.A); throw new Error(secrets.B)",
        "too long": "console.log(secrets.A); while (true) ;",
        "too much": "return (secrets.A + 'x').repeat(200_000)",
        "in scope": "Object.prototype.leak = secrets.A; globalThis.kept = secrets.B; return [{}.leak, globalThis.kept]",
    }


def flows(receiver: Receiver) -> dict[str, dict[str, Any]]:
    """Flows that let every node type have secrets, where it succeeds and where it fails."""
    url = receiver.url
    a, b = "${secrets.A}", "${secrets.B}"
    two = f"{a} and {b}"
    one: dict[str, dict[str, Any]] = {
        name: {"type": "http.request", "params": params} for name, params in requests_of(url).items()
    }
    for number, name in enumerate((*NAMES, "utf16")):
        status = 200 if number % 2 else 422
        one[f"answer {name} {status}"] = _node("http.request", url=f"{url}/keep/{name}?status={status}")
    for name, script in scripts().items():
        one[f"script {name}"] = _node("transform", script=script)
    one |= {
        "webhook": _node("webhook", url=f"{url}/echo", secret=a, body={"a": two, "all": LIST}),
        "webhook fails": {
            **_node("webhook", url=f"{url}/say?status=503", body=TEXT), "retry": {"max": 1, "delay": "10ms"},
        },
        "webhook without an address": _node("webhook", url=a, secret=b),
        "transform": _node("transform", value={"a": a, "b": [two], "c": {"d": b}, "all": [LIST, OBJECT, TEXT]}),
        "transform by mapping": _node("transform", mapping={"a": "secrets.A", "b": "[secrets.B]"}),
        "transform by a mapping that fails": _node("transform", mapping={"a": "secrets.A.x.y", "b": "secrets.B"}),
        "log": _node("log", message=TEXT[:9000], data={"a": two, "all": OBJECT}),
        "long log": _node("log", message=f"{'p' * 9_930}{a}"),
        "too long log": _node("log", message=f"{'p' * 9_960}{a}"),
        "large log": _node("log", message=two, data=f"{'p' * 65_500}{a}"),
        "level": _node("log", message="m", level=a),
        "crash": _node("log", message=f"crash {two}", data=LIST),
        "no JSON": _node("log", message=f"not JSON {a}", data=LIST),
        "result too large": _node("log", message=f"too large {a}", data=LIST),
        "fail": _node("fail", message=two, data=[LIST, OBJECT]),
        "fail with a long message": _node("fail", message=f"{'p' * 9_900}{a}", data="x" * 300_000),
        "fail error": _node("fail", error=a),
        "return": _node("return", value=[two, LIST, OBJECT]),
        "delay": _node("delay", duration=a),
        "delay until": _node("delay", until=a),
        "delay special": _node("delay", duration=b),
        "no such secret": _node("log", message=f"{a} ${{secrets.OTHER}}"),
        "output": {
            **_node("http.request", url=f"{url}/echo", headers={"X-A": "${secrets.K00}"}), "output": "${result.body}",
        },
        "output that fails": {**_node("transform", value=LIST), "output": "${result.map(s => s.x.y)}"},
        "if": {**_node("log", message="m"), "if": "secrets.A.nothing.more"},
        "if it is so": {**_node("log", message=a), "if": "secrets.A.length > 0", "output": a},
        "hooks": {**_node("log", message="m"), "hooks": {
            "prep": "context.message = secrets.A; return context", "post": "return [result, secrets.B]"}},
        "hooks in place": {**_node("log", message="m"), "hooks": {"exec": f"return {ALL_IN_JS}"}},
        "hooks that fail": {**_node("log", message=a), "hooks": {"post": "throw new Error(secrets.B)"}},
        "switch": _node("switch", cases=[{"when": "secrets.A == 'x'", "action": "x"}], default_action=a),
        "switch by an action": _node("switch", cases=[{"when": "true", "action": b}]),
        "switch that fails": _node("switch", cases=[{"when": "null[secrets.A]", "action": "x"}]),
        "condition": _node("condition", conditions=[{"condition": "secrets.A", "action": a}]),
        "set": _node("set", a=a, b=[b], all=OBJECT),
        "foreach": {
            **_node("foreach", items=LIST, concurrency=10, on_error="collect"),
            "nodes": {"n": {**_node("fail", message="${item}", data=["${index}", "${input}"])}},
        },
        "foreach that fails": {**_node("foreach", items=LIST), "nodes": {"n": _node("fail", message="${item}")}},
        "foreach over text": {**_node("foreach", items=a), "nodes": {"n": _node("log", message="m")}},
        "foreach over a thing": {
            **_node("foreach", items="${({a: secrets.A})}"),
            "nodes": {"n": _node("log", message="m")},
        },
        "batch": {**_node("log", message="${item}", data=LIST), "batch": {"strategy": "parallel", "max_parallel": 5}},
        "while": {
            **_node("while", when="!vars.done", max_iterations=3),
            "nodes": {"n": _node("set", done="${input != null}", kept=a)},
        },
        "while that does not end": {
            **_node("while", when="secrets.A.length > 0", max_iterations=3),
            "nodes": {"n": _node("transform", value=LIST)},
        },
        "while that fails": {
            **_node("while", when="null[secrets.A]"), "nodes": {"n": _node("log", message="m")},
        },
        "while that waits": {
            **_node("while", when="secrets.A.length > 0", delay=a), "nodes": {"n": _node("log", message=b)},
        },
        "parallel": {"type": "parallel", "branches": {
            "left": {"nodes": {"n": _node("transform", value=LIST)}},
            "right": {"nodes": {"n": _node("log", message=two)}}}},
        "parallel that fails": {"type": "parallel", "branches": {
            "left": {"nodes": {"n": _node("fail", message=two)}},
            "right": {"nodes": {"n": _node("delay", duration="1h")}}}},
        "parallel joined wrongly": {**_node("parallel", join=a), "branches": {
            "left": {"nodes": {"n": _node("fail", message=two)}}, "right": {"nodes": {"n": _node("log", message=b)}}}},
        "flow": _node("flow", flow="Echoes", input={"a": a, "all": LIST, "more": OBJECT}),
        "flow without waiting": _node("flow", flow="Echoes", input={"a": two}, wait=False),
        "flow that is not there": _node("flow", flow=a),
        "flow in a version that is not there": _node("flow", flow="Echoes", version=a),
        "flow with wrong input": _node(
            "flow", flow="Picky", input={"number": a, "one": b, "shape": two, "whole": OBJECT}
        ),
        "flow with unknown input": _node("flow", flow="Picky", input="${({[secrets.A]: secrets.B})}"),
        "flow that fails": _node("flow", flow="Fails", input={"a": a}),
        "wait": {**_node("wait", key="go", timeout="1h")},
        "wait by a secret": {**_node("wait", key=a, timeout="50ms")},
        "wait for a wrong time": _node("wait", key=a, timeout=b),
        "approval": _node("approval", prompt=two, form={"type": "object", "properties": {"a": {"const": a}}}),
        "approval by roles": {**_node("approval", prompt=a, roles=[a, "user"], form={"enum": [b]}), "timeout": "50ms"},
        "approval with a form that is none": {**_node("approval", form={"type": a, "pattern": b}), "timeout": "50ms"},
    }  # fmt: skip
    whole: dict[str, dict[str, Any]] = {name: {"nodes": {"a": node}} for name, node in one.items()}
    whole |= {
        "handlers": {
            "on_failure": "told", "on_finish": "tidy",
            "nodes": {
                "a": _node("fail", message=two, data=LIST),
                "told": {**_node("log", message="${error.message}", data="${error}"), "next": "more"},
                "more": _node("webhook", url=f"{url}/say?status=500", body="${error}"),
                "tidy": _node("fail", message=two, data=OBJECT),
            },
        },
        "an edge for errors": {
            "nodes": {
                "a": {**_node("http.request", url=f"{url}/say?status=418", method="POST", body=LIST),
                      "next": {"error.http.4xx": "b"}},
                "b": {**_node("log", message="${error.message}", data="${error}"), "next": "c"},
                "c": _node("return", value={"error": "${error}", "nodes": "${nodes.a}"}),
            },
        },
        "outputs": {
            "outputs": {"a": a, "all": LIST, "of": "${nodes.a}"},
            "nodes": {"a": _node("http.request", url=f"{url}/echo", query={"a": a})},
        },
        "outputs that fail": {"outputs": {"a": "${null[secrets.A]}"}, "nodes": {"a": _node("set", a=b)}},
        "variables": {
            "vars": {"a": "x"},
            "nodes": {"a": {**_node("set", a=a), "next": "b"}, "b": _node("return", value="${vars.a}")},
        },
        "a retry": {
            "nodes": {
                "a": {**_node("fail", message=two, data=LIST), "retry": {"max": 1, "delay": "1h", "errors": ["*"]}},
            },
        },
        "a key of its own": {
            "limits": {"concurrency": {"max": 1, "key": "${flow.input.given}"}},
            "nodes": {"a": _node("log", message="${flow.input.given}")},
        },
    }  # fmt: skip
    return whole


def _rotated(definitions: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Each definition with two of the secrets in place of A and B: every flow has others, in every node type."""
    numbers = count()
    found = {}
    for name, definition in definitions.items():
        text = json.dumps(definition)
        for letter in "AB":
            text = text.replace(f"secrets.{letter}", f"secrets.{NAMES[next(numbers) % len(NAMES)]}")
        found[name] = text
    return found


class Remains:
    """What the executions have left: how they ended, and every place where a secret might show."""

    def __init__(self) -> None:
        self.endings: dict[str, str] = {}
        self.sinks: dict[str, str | bytes] = {}
        self.sent = ""


@pytest.fixture(scope="module")
def remains(tmp_path_factory: pytest.TempPathFactory, lasting_receiver: Receiver) -> Remains:
    found = Remains()
    server = Server(
        tmp_path_factory.mktemp("canaries"), {"LOG_LEVEL": "debug", "LOG_FORMAT": "json"}, program=("-c", CRASHING)
    )
    try:
        admin = server.start().admin()
        account = admin.new_account()
        for name, value in CANARIES.items():
            account.new_secret(name, value)
        prepare_answers(lasting_receiver)
        receiver = lasting_receiver.from_now()
        _run_all(account, receiver, found)
        found.sinks["metrics"] = server.client().get("/metrics").body
        found.sinks["audit"] = admin.get("/api/v1/audit", limit=1000).body
        for file in sorted(server.data_dir.glob("flowrunner.db*")):
            found.sinks[f"{file.name}, while it runs"] = file.read_bytes()
        # Nothing more is written by it; what follows is what the next start makes of what it finds.
        server.kill()
        for file in sorted(server.data_dir.glob("flowrunner.db*")):
            found.sinks[f"{file.name}, after a kill"] = file.read_bytes()
        server.start()
        effects = receiver.effects()
        found.sent = "".join(effect.body + str(effect.headers) + effect.query for effect in effects)
    finally:
        server.stop()
    found.sinks["server log"] = server.log
    found.sinks["tables"] = _tables(server.database)
    for file in sorted(server.data_dir.rglob("*")):
        if file.is_file():
            found.sinks[f"file {file.name}"] = file.read_bytes()
    return found


def _run_all(account: Client, receiver: Receiver, found: Remains) -> None:
    account.new_flow(ECHOES, name="Echoes")
    account.new_flow(PICKY, name="Picky")
    account.new_flow(
        "nodes: {f: {type: fail, params: {message: '${flow.input.a}', data: '${flow.input}'}}}", name="Fails"
    )
    ids = {}
    # The values may also come from outside: then they are hidden all the same.
    given = {"given": " ".join(CANARIES.values()), "nest": nested(SPECIAL, 10), **dict.fromkeys(CANARIES.values(), 1)}
    for number, (name, definition) in enumerate(_rotated(flows(receiver)).items()):
        reply = account.post("/api/v1/flows", {"name": name, "definition": definition})
        assert reply.status == 201, (name, reply.body)
        ids[name] = account.run(reply.json["id"], given if number % 10 == 0 else {"given": f"{PLAIN} {SPECIAL}"})
    _answer(account, ids)
    for name, id in ids.items():
        path = f"/api/v1/executions/{id}"
        if name == "a retry":
            account.until_it_waits(id)
            found.sinks[f"waiting execution of {name}"] = account.get(path).body
            account.delete(path)
        found.endings[name] = account.ended(id)["status"]
        found.sinks[f"execution of {name}"] = account.get(path).body
        found.sinks[f"log of {name}"] = account.get(f"{path}/logs", limit=1000).body
        with account.watch(id) as socket:
            found.sinks[f"messages of {name}"] = "".join(str(message) for message in socket)
    for name in ("transform", "flow", "script throws", "foreach"):
        again = account.post(f"/api/v1/executions/{ids[name]}/rerun", {"input": {"given": f"{PLAIN} {SPECIAL}"}})
        assert again.status == 201, (name, again.body)
        found.sinks[f"answer to a rerun of {name}"] = again.body
        account.ended(again.json["execution_id"])
    for path in ("executions", "flows", f"accounts/{account.account_id}/secrets", f"accounts/{account.account_id}"):
        found.sinks[f"list of {path}"] = account.get(f"/api/v1/{path}", limit=1000).body


def _answer(account: Client, ids: dict[str, str]) -> None:
    """Tell the executions that wait what they wait for, and a few things more."""
    data = {"a": "***", "more": CANARIES, "nest": nested(PLAIN, 10)}
    for name, path, body in (
        ("wait", "signals/go", {"payload": [CANARIES, nested(PLAIN, 10)]}),
        ("approval", "approvals/a", {"approved": True, "data": data}),
    ):
        account.until_it_waits(ids[name])
        account.post(f"/api/v1/executions/{ids[name]}/{path}", body)
    for value in CANARIES.values():
        key = urllib.parse.quote(value, safe="")
        account.post(f"/api/v1/executions/{ids['wait']}/signals/{key}", {"payload": value})
        account.post(f"/api/v1/executions/{ids['a retry']}/signals/{key}", {"payload": value})


def _tables(database: Path) -> str:
    """Everything in the database but the flows as their authors wrote them."""
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(
            str(row)
            for table in TABLES
            if table.name != "revisions"
            for row in connection.execute(f"SELECT * FROM {table.name}")
        )


def test_s26_s27_no_secret_shows_in_any_form_anywhere(remains: Remains, scoreboard: Scoreboard) -> None:
    found = leaks(remains.sinks, CANARIES.values())

    scoreboard.count(
        "canaries: traces of executions that show a secret, in any form",
        cases=len(CANARIES) * len(forms(PLAIN)) * len(remains.sinks),
        failures=len(found),
    )
    assert found == []


def test_the_secrets_did_go_where_the_flows_sent_them(remains: Remains) -> None:
    sent = [name for name, value in CANARIES.items() if json.dumps(value)[1:-1] in json.dumps(remains.sent)]

    assert sent == list(CANARIES)
    assert {"completed", "failed", "cancelled"} == set(remains.endings.values())
    for ending, least in (("completed", 60), ("failed", 60)):
        assert sum(found == ending for found in remains.endings.values()) > least
    assert b"***" in remains.sinks["file flowrunner.db"]
    assert "node.crashed" in str(remains.sinks["server log"])


@pytest.mark.parametrize("levels", [1, 100, 900, 1100, 3000])
def test_s27_a_secret_is_hidden_at_any_depth(levels: int) -> None:
    redactor = SecretRedactor()
    redactor.add([PLAIN])

    recorded = record(_result(nested(PLAIN, levels)), seq=1, at=NOON, redactor=redactor)

    assert leaks({"stored": recorded.data}, (PLAIN,)) == []
    assert b'"a":"***"' in recorded.data or b"node.failed" in recorded.event.type.encode()


@pytest.mark.parametrize("border", [10_000, MAX_LOG_BYTES, MAX_ERROR_BYTES])
def test_s27_a_secret_across_the_place_of_a_cut_is_hidden_first(border: int) -> None:
    redactor = SecretRedactor()
    redactor.add([PLAIN])
    for before in range(border - len(PLAIN) - 5, border + 5, 4):
        text = "p" * before + PLAIN
        line = Logged(level="info", message=text, data="x" * MAX_LOG_BYTES)
        failure = NodeFailed(
            node="n", node_type="t", iteration=1, attempt=1,
            error=ErrorValue(type="x", message=text, data="x" * MAX_ERROR_BYTES),
        )  # fmt: skip
        for event in (line, failure):
            recorded = record(event, seq=1, at=NOON, redactor=redactor)
            assert leaks({"stored": recorded.data}, (PLAIN,)) == []
            assert len(recorded.data) < border + 1000


def _result(value: Any) -> NodeCompleted:
    return NodeCompleted(node="n", node_type="t", iteration=1, attempt=1, action="default", result=value)


def test_s26_a_signal_whose_name_is_a_secret_arrives_and_is_named_nowhere(account: Client) -> None:
    account.new_secret("NAME", PLAIN)
    flow = account.new_flow(json.dumps({"nodes": {"a": _node("wait", key="${secrets.NAME}")}}))
    early, late = account.run(flow), account.run(flow)
    account.post(f"/api/v1/executions/{early}/signals/{PLAIN}", {"payload": 1})
    account.until_it_waits(late)
    assert account.execution(late)["waiting_for"][0]["key"] == "***"

    account.post(f"/api/v1/executions/{late}/signals/{PLAIN}", {"payload": 2})

    assert [account.ended(id)["result"] for id in (early, late)] == [1, 2]
    told = [account.get(f"/api/v1/executions/{id}").body for id in (early, late)] + account.messages(late)
    assert leaks({"told": str(told)}, (PLAIN,)) == []


def test_the_search_for_leaks_finds_them() -> None:
    for value in CANARIES.values():
        sinks: dict[str, str | bytes] = {name: f"…{form}…" for name, form in forms(value).items()}
        sinks |= {f"{name} in JSON": json.dumps([form]).encode() for name, form in forms(value).items()}
        found = {leak.rpartition("… in ")[2] for leak in leaks(sinks, (value,))}
        assert found == sinks.keys(), value
    assert leaks({"sink": PLAIN[5:20]}, (PLAIN,))
    assert not leaks({"sink": "***"}, CANARIES.values())
    assert len(forms(PLAIN)) >= 12
    assert len(CANARIES) == len(set(CANARIES.values())) == 50
