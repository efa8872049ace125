"""Secrets, in every encoding, through everything in which a running server keeps, sends or logs what it has seen.

A case is a secret, an encoding, and the way on which the text came into the server. Looked at are the database's
files, the server's log, WebSockets, every answer of the API, metrics and the audit log; in messages the text around
a secret has to be as it was.
"""

import itertools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

import ahocorasick
import pytest

from security.canaries import CRASHING, written
from security.written_secrets import ENCODINGS, URLS, VALUES, normalised
from support.client import Client
from support.receiver import Receiver
from support.scoreboard import Scoreboard
from support.server import Server

# So many characters of a text are enough to be noticed. Shorter ones are found by chance.
PIECE: Final = 14
HIDDEN: Final = "[***]"
_UNITS: Final = "Array.from({length: S.length}, (_, i) => S.charCodeAt(i).toString(16).padStart(4, '0'))"
_BYTES: Final = (
    "Array.from(S, c => c < '\\x80' ? '%' + c.charCodeAt(0).toString(16).padStart(2, '0') : encodeURIComponent(c))"
)
# Encodings as a flow's author writes them. S is the secret.
IN_JS: Final[Mapping[str, str]] = {
    "as it is": "S",
    "percent": "encodeURIComponent(S)",
    "percent, lower case": "encodeURIComponent(S).replace(/%../g, e => e.toLowerCase())",
    "every byte percent": f"{_BYTES}.join('')",
    "every second percent": f"{_BYTES}.map((e, i) => i % 2 && e.length < 4 ? decodeURIComponent(e) : e).join('')",
    "percent of percent": "encodeURIComponent(encodeURIComponent(S))",
    "URI": "encodeURI(S)",
    "form": "encodeURIComponent(S).replaceAll('%20', '+')",
    "JSON": "JSON.stringify(S).slice(1, -1)",
    "JSON of JSON": "JSON.stringify(JSON.stringify(S)).slice(3, -3)",
    "JSON with / escaped": "JSON.stringify(S).slice(1, -1).replaceAll('/', '\\\\/')",
    "\\u": f"{_UNITS}.map(u => '\\\\u' + u).join('')",
    "\\u in capitals": f"{_UNITS}.map(u => '\\\\u' + u.toUpperCase()).join('')",
    "%u": f"{_UNITS}.map(u => '%u' + u).join('')",
    "code points": "Array.from(S, c => '\\\\u{' + c.codePointAt(0).toString(16) + '}').join('')",
    "decimal entities": "Array.from(S, c => '&#' + c.codePointAt(0) + ';').join('')",
    "hexadecimal entities": "Array.from(S, c => '&#x' + c.codePointAt(0).toString(16) + ';').join('')",
    "HTML": "S.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('\"', '&quot;').replaceAll('\\'', '&#39;')",
    "SQL": "S.replaceAll('\\'', '\\'\\'')",
    "CSV": "S.replaceAll('\"', '\"\"')",
    "NULs between": "Array.from(S).join('\\u0000')",
    "capitals": "S.replace(/[a-z]/g, c => c.toUpperCase())",
    "lines": "S.match(/.{1,20}/gsu).join('\\n')",
}
WAYS: Final = ("result", "key", "variable", "log", "console", "exception", "crash", "failure", "address", "sub_flow")
GIVEN: Final = ("input", "signal", "approval", "answer", "failed_answer")


def texts_of(value: str) -> dict[str, str]:
    """A secret in every encoding that is known, by its name."""
    found = {name: encode(value) for name, encode in ENCODINGS.items()}
    if value in URLS:
        found |= {f"URL {name}": form for name, form in normalised(value).items()}
    return found


def _in_brackets(name: str) -> str:
    """An object of every encoding, as an expression."""
    members = ", ".join(f"{json.dumps(shape)}: '[' + ({code}) + ']'" for shape, code in IN_JS.items())
    return f"((S) => ({{{members}}}))(secrets.{name})"


def _flow(number: int, url: str) -> dict[str, Any]:
    """One secret on every way, a node each."""
    every = _in_brackets(f"V{number}")
    texts = f"Object.values({every})"
    nodes: dict[str, dict[str, Any]] = {
        "answer": _node("http.request", url=f"{url}/keep/sinks-{number}"),
        "failed_answer": _node("http.request", url=f"{url}/keep/sinks-{number}?status=422"),
        "error": _node("transform", value="${error}"),
        "result": _node("transform", script=f"return {every}"),
        "key": _node("transform", script=f"return Object.fromEntries({texts}.map((text, i) => [i + text, i]))"),
        "variable": _node("set", kept=f"${{{every}}}"),
        "log": _node("log", message=f"${{{texts}.join(' ')}}", data=f"${{{every}}}"),
        "console": _node("transform", script=f"for (const text of {texts}) console.log(text); return 1"),
        "exception": {
            # A long message of an exception is left out.
            **_node("foreach", items=f"${{{texts}.map((_, i) => i)}}", on_error="collect"),
            "nodes": {"throw": _node("transform", script=f"throw new Error({texts}[index])")},
        },
        "crash": _node("log", message=f"crash ${{{texts}.join(' ')}}", data=f"${{{every}}}"),
        "address": {
            **_node("foreach", items=f"${{{texts}.map((_, i) => i)}}", on_error="collect"),
            "nodes": {"call": _node("http.request", url=f"http://127.0.0.1:1/${{{texts}[index]}}/x")},
        },
        "sub_flow": _node("flow", flow="Echoes", input=f"${{{every}}}"),
        "input": _node("transform", value="${flow.input}"),
        "wait": _node("wait", key="go"),
        "approval": _node("approval", prompt=f"${{{texts}.join(' ')}}"),
        "failure": _node("fail", message=f"${{{texts}.join(' ')}}", data=f"${{{every}}}"),
    }
    names = list(nodes)
    for name, following in itertools.pairwise(names):
        nodes[name]["next"] = {"default": following, "error": following}
    nodes["approval"]["next"] = {"approved": "failure", "error": "failure"}
    return {"nodes": nodes}


def _node(type: str, /, **params: Any) -> dict[str, Any]:
    return {"type": type, "params": params}


class Seen:
    """What is left: messages of each execution by the number of its secret, and every sink."""

    def __init__(self) -> None:
        self.messages: dict[int, list[Any]] = {}
        self.sinks: dict[str, bytes] = {}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, lasting_receiver: Receiver) -> Seen:
    found = Seen()
    settings: dict[str, str | None] = {"LOG_LEVEL": "debug", "LOG_FORMAT": "json"}
    server = Server(tmp_path_factory.mktemp("sinks"), settings, program=("-c", CRASHING))
    try:
        admin = server.start().admin()
        account = admin.new_account()
        for number, value in enumerate(VALUES):
            account.new_secret(f"V{number}", value)
        account.new_flow("nodes: {r: {type: return, params: {value: '${flow.input}'}}}", name="Echoes")
        ids = [_start(account, number, lasting_receiver) for number in range(len(VALUES))]
        for number, id in enumerate(ids):
            _tell(account, number, id)
        for number, id in enumerate(ids):
            account.ended(id)
            found.messages[number] = account.messages(id)
            found.sinks[f"messages of {number}"] = json.dumps(found.messages[number]).encode()
            for path in ("", "/logs?limit=1000"):
                found.sinks[f"GET {path} of {number}"] = account.get(f"/api/v1/executions/{id}{path}").body
        for path in ("executions", f"accounts/{account.account_id}/secrets", f"accounts/{account.account_id}"):
            found.sinks[f"GET {path}"] = account.get(f"/api/v1/{path}", limit=1000).body
        found.sinks["metrics"] = server.client().get("/metrics").body
        found.sinks["audit"] = admin.get("/api/v1/audit", limit=1000).body
        server.kill()
        for file in sorted(server.data_dir.glob("flowrunner.db*")):
            found.sinks[f"{file.name}, after a kill"] = file.read_bytes()
    finally:
        server.stop()
    found.sinks["server log"] = server.log.encode()
    with closing(sqlite3.connect(server.database)) as connection:
        found.sinks["tables"] = "\n".join(connection.iterdump()).encode()
    return found


def _start(account: Client, number: int, receiver: Receiver) -> str:
    texts = {name: f"[{text}]" for name, text in texts_of(VALUES[number]).items()}
    Client(receiver.url).request("PUT", f"/keep/sinks-{number}", json.dumps(texts).encode())
    flow = account.new_flow(json.dumps(_flow(number, receiver.url)), name=f"Sinks {number}")
    return account.run(flow, _accepted(texts))


def _accepted(texts: dict[str, str]) -> dict[str, str]:
    """Those that a request may bring."""
    return {name: text for name, text in texts.items() if "\0" not in text}


def _tell(account: Client, number: int, id: str) -> None:
    given = _accepted({name: f"[{text}]" for name, text in texts_of(VALUES[number]).items()})
    account.waiting_at(id, "wait")
    assert account.post(f"/api/v1/executions/{id}/signals/go", {"payload": given}).status < 300
    account.waiting_at(id, "approval")
    reply = account.post(f"/api/v1/executions/{id}/approvals/approval", {"approved": True, "data": given})
    assert reply.status < 300, reply


def shown(sinks: Mapping[str, bytes]) -> list[str]:
    """Where any encoding of a secret, or a piece of one, stands: `HTML of 3 in audit`."""
    search = ahocorasick.Automaton()
    for number, value in enumerate(VALUES):
        for name, text in texts_of(value).items():
            # The host of a URL is no secret where only the rest of it is hidden.
            starts = [len(text) - PIECE] if name.startswith("URL ") else range(0, len(text) - PIECE + 1, PIECE // 2)
            for data in (form for start in starts for form in written(text[start : start + PIECE])):
                search.add_word(data.decode("latin-1"), f"{name} of {number}")
    search.make_automaton()
    return sorted(
        {f"{name} in {sink}" for sink, data in sinks.items() for _, name in search.iter(data.decode("latin-1"))}
    )


def test_s26_s65_no_secret_shows_in_any_encoding_in_any_sink(seen: Seen, scoreboard: Scoreboard) -> None:
    found = shown(seen.sinks)

    cases = sum(len(GIVEN) * len(texts_of(value)) + len(WAYS) * len(IN_JS) for value in VALUES)
    scoreboard.count("secrets × encodings × ways in, in all sinks: shown", cases=cases, failures=len(found))
    assert found == []
    assert len(seen.sinks) > 3 * len(VALUES) + 8


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_s65_what_stands_around_a_secret_stays_in_every_result(seen: Seen, number: int) -> None:
    results = {
        message["step"].partition(".")[0]: message["result"]
        for message in seen.messages[number]
        if message["type"] == "node_completed" and "scope" not in message
    }
    results["answer"] = results["answer"]["body"]
    results["failed_answer"] = results.pop("error")["data"]["body"]
    results["approval"] = results["approval"]["data"]
    results["variable"] = results["variable"]["kept"]

    for way in ("answer", "failed_answer", "input", "wait", "approval"):
        texts = texts_of(VALUES[number])
        hidden = {name: text for name, text in results[way].items() if not name.startswith("URL ")}
        assert hidden == dict.fromkeys(hidden, HIDDEN), way
        assert results[way].keys() == (texts if "answer" in way else _accepted(texts)).keys()
        assert all("***" in text for text in results[way].values())
    for way in ("result", "variable", "sub_flow"):
        assert results[way] == dict.fromkeys(IN_JS, HIDDEN), way
    assert results["key"] == {f"{at}{HIDDEN}": at for at in range(len(IN_JS))}
    assert len(results["address"]) == len(results["exception"]) == len(IN_JS)


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_s65_what_stands_around_a_secret_stays_in_every_line(seen: Seen, number: int) -> None:
    lines = [message for message in seen.messages[number] if message["type"] == "log"]
    every = " ".join([HIDDEN] * len(IN_JS))
    by_node = {node: [line["message"] for line in lines if line.get("node_id") == node] for node in WAYS}

    assert by_node["console"] == [HIDDEN] * len(IN_JS)
    assert by_node["log"] == [every]
    assert every in by_node["failure"]
    thrown = [line["message"] for line in lines if "exception" in line.get("scope", "")]
    assert len(thrown) == len(IN_JS)
    assert all(message.endswith(f"Error: {HIDDEN}") for message in thrown)
    assert [line["data"] for line in lines if line.get("node_id") == "log"] == [dict.fromkeys(IN_JS, HIDDEN)]


def test_the_server_log_has_what_a_crash_says_of_each_secret(seen: Seen) -> None:
    every = " ".join([HIDDEN] * len(IN_JS))

    assert seen.sinks["server log"].count(f"LookupError: crash {every}".encode()) == len(VALUES)


def test_the_search_finds_every_encoding() -> None:
    for number in (0, 10):
        sinks = {str(at): json.dumps([text]).encode() for at, text in enumerate(texts_of(VALUES[number]).values())}
        assert {leak.rpartition(" in ")[2] for leak in shown(sinks)} == sinks.keys()
    assert shown({"none": b'["[***]", "answer", "V1", "POST /api/v1/executions"]'}) == []
