"""Shapes that somebody tried who knew the documentation and none of the tests."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from security.hostile.case import RETURN, Attacker, Case, long_case
from support.client import Reply

_DIGITS: Final = "1" * 12_000
# For what ends by itself: on a busy machine a shorter time would cut the attack off before it is whole.
PATIENCE_SECONDS: Final = 120.0


def _lists() -> list[Any]:
    """As many as a request has room for: each takes three bytes, and 56 in memory."""
    return [[]] * 330_000


def _node(type: str, **params: Any) -> dict[str, Any]:
    return {"nodes": {"a": {"type": type, "params": params}}}


def _loop(node: dict[str, Any], *, items: int | str, concurrency: int, **params: Any) -> dict[str, Any]:
    given = list(range(items)) if isinstance(items, int) else items
    params = {"items": given, "concurrency": concurrency, **params}
    return {"nodes": {"each": {"type": "foreach", "params": params, "nodes": {"n": node}}}}


def _post(attacker: Attacker, path: str, body: object) -> Reply:
    return attacker.send("POST", f"/api/v1{path}", json.dumps(body, separators=(",", ":")).encode())


def _start(attacker: Attacker, document: dict[str, Any], input: object = None) -> Reply:
    return _post(attacker, f"/flows/{attacker.save(document)}/run", {"input": input or {}})


def _given(attacker: Attacker, document: dict[str, Any], x: object, seconds: float = 5.0) -> object:
    """Run with an input as long as it may be, and wait for the end."""
    reply = _start(attacker, document, {"x": x})
    return attacker.wait(reply.json["execution_id"], seconds) if reply.status == 201 else reply


def _asking(attacker: Attacker, x: object, **params: Any) -> object:
    return _given(attacker, _node("http.request", url=f"{attacker.receiver.url}/ok", **params), x)


def _called(attacker: Attacker, body: bytes, **keys: Any) -> Reply:
    """Send a body to a webhook trigger, of which expressions of the trigger make something."""
    trigger = {"type": "webhook", "verify": {"scheme": "none"}, **keys}
    attacker.save({**_node("return"), "triggers": {"t": trigger}})
    (found,) = attacker.account.get("/api/v1/triggers").json["triggers"]
    reply = attacker.nobody.request("POST", found["url"], body, {"Content-Type": "application/json"})
    assert reply.status in (202, 422), reply
    return reply


def _deployed(attacker: Attacker, trigger: Callable[[int], dict[str, Any]]) -> Reply:
    """Save flows with as many triggers as one may have."""
    count = attacker.many(5, 50)
    flows = [
        {"name": f"flow {n}", "definition": json.dumps({
            **_node("return"), "triggers": {f"t{m}": trigger(100 * n + m) for m in range(100)},
        })}
        for n in range(count)
    ]  # fmt: skip
    return _post(attacker, "/flows:batch", {"flows": flows})


def _many(count: int, do: Callable[[int], object]) -> Sequence[object]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(do, range(count)))


def _long_bodies(attacker: Attacker) -> object:
    url = f"{attacker.receiver.url}/slow?seconds=2"
    params = {"url": url, "method": "POST", "body": "${flow.input.x}", "timeout": "3s"}
    node = {"type": "http.request", "params": params}
    return _given(attacker, _loop(node, items=300, concurrency=300, on_error="continue"), _lists(), 8)


def _silent_sockets(attacker: Attacker) -> None:
    """Sockets that take nothing of a long result."""
    document = {"nodes": {"w": {"type": "wait", "params": {"key": "go"}, "next": "a"},
                          "a": {"type": "transform", "params": {"value": "${input}"}}}}  # fmt: skip
    execution = _start(attacker, document).json["execution_id"]
    sockets = [attacker.account.watch(execution) for _ in range(attacker.many(120, 200))]
    _post(attacker, f"/executions/{execution}/signals/go", {"payload": _lists()})
    time.sleep(3)
    for socket in sockets:
        socket.socket.close()


def _due_together(attacker: Attacker) -> object:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    flow = attacker.save(_node("delay", until=until))
    body = {"input": {"x": _lists()}}
    started = _many(40, lambda _: _post(attacker, f"/flows/{flow}/run", body).json["execution_id"])
    return attacker.wait(str(started[-1]), 12)


def _going_round(attacker: Attacker) -> object:
    document = {"nodes": {"a": {"type": "log", "params": {"message": "m"}, "next": "b"},
                          "b": {"type": "transform", "params": {"value": 1}, "next": "a"}}}  # fmt: skip
    flow = attacker.save({**document, "limits": {"max_steps": 1000}})
    started = _many(attacker.many(10, 400), lambda _: attacker.account.run(flow))
    return [attacker.wait(str(execution), PATIENCE_SECONDS) for execution in started]


def _many_waits(attacker: Attacker) -> object:
    inner = _loop({"type": "wait", "params": {"key": "k"}}, items=100, concurrency=100)["nodes"]["each"]
    document = {**_loop(inner, items=attacker.many(40, 200), concurrency=200), "limits": {"max_steps": 100_000}}
    execution = attacker.account.run(attacker.save(document))
    time.sleep(attacker.many(4, 15))
    return attacker.account.delete(f"/api/v1/executions/{execution}?force=true")


def _long_forms(attacker: Attacker) -> object:
    node = {"type": "approval", "params": {"prompt": "p", "form": {"type": "array", "default": "${flow.input.x}"}}}
    execution = _start(attacker, _loop(node, items=20, concurrency=20), {"x": _lists()}).json["execution_id"]
    time.sleep(2)
    return [attacker.account.get(f"/api/v1/executions/{execution}") for _ in range(2)]


def _early_signals(attacker: Attacker) -> object:
    execution = attacker.account.run(attacker.save(_node("wait", key="never")))
    for number in range(attacker.many(12, 100)):
        _post(attacker, f"/executions/{execution}/signals/k{number}", {"payload": _lists()})
    return attacker.account.delete(f"/api/v1/executions/{execution}")


def _rerun_of_many_lines(attacker: Attacker) -> object:
    """Each line is just short enough to be searched for secrets on the spot."""
    for number in range(50):
        attacker.account.new_secret(f"KEY_{number}", f"{number:08}" + "ab" * 2000)
    node = {"type": "log", "params": {"message": "m", "data": "${flow.input.x}"}}
    document = _loop(node, items=250, concurrency=1)
    document["nodes"]["each"]["next"] = "last"
    document["nodes"]["last"] = {"type": "return"}
    execution = _start(attacker, document, {"x": "ab" * 15_000}).json["execution_id"]
    attacker.wait(execution)
    return _post(attacker, f"/executions/{execution}/rerun", {"from": "last"})


def _failing_together(attacker: Attacker) -> object:
    """Runs that fail at the same time, each with an error as long as may be."""
    url = f"{attacker.receiver.url}/say?status=500"
    node = {"type": "http.request", "params": {"url": url, "method": "POST", "body": "${flow.input.x}"}}
    return _given(attacker, _loop(node, items=200, concurrency=200, on_error="continue"), [[]] * 80_000, 8)


def _results_of_lists(attacker: Attacker) -> object:
    node = {"type": "transform", "params": {"value": "${flow.input.x}"}}
    # How many are at once is what counts; the rest repeats it.
    document = _loop(node, items=attacker.many(20, 60), concurrency=20)
    document["nodes"]["each"]["nodes"]["n"]["params"] = {"script": "return Array.from({length: 330000}, () => [])"}
    return _given(attacker, document, 0, PATIENCE_SECONDS)


def _variables(attacker: Attacker) -> object:
    document = {"vars": {}, "limits": {"max_steps": 200}, "nodes": {
        "a": {"type": "set", "params": {f"v{n}": 1 for n in range(2000)}, "next": "a"}}}  # fmt: skip
    return attacker.run(document)


def _subflows(attacker: Attacker) -> object:
    child = attacker.save(RETURN)
    node = {"type": "flow", "params": {"flow": child, "input": {"x": "${flow.input.x}"}}}
    return _given(attacker, _loop(node, items=attacker.many(40, 60), concurrency=60), _lists(), PATIENCE_SECONDS)


def _requests_at_once(attacker: Attacker) -> object:
    execution = _start(attacker, _node("return", value="${input}"), {"x": _lists()}).json["execution_id"]
    return _many(60, lambda _: attacker.account.get(f"/api/v1/executions/{execution}"))


_KEY: Final = {
    "limits": {"concurrency": {"max": 1, "key": "${flow.input.x} ${flow.input.x}"}},
    "nodes": {"a": {"type": "return"}},
}
_DEFAULTS: Final[dict[str, Any]] = {"properties": {f"p{n}": {"default": {}} for n in range(300)}}
_PATTERNS: Final = {f"i{n}": {"pattern": f"[ab]*a[ab]{{{400 + n}}}c"} for n in range(90)}

CASES: Final = (
    # Parameters that an expression fills in.
    Case("digits for a duration", lambda a: _given(a, _node("delay", duration="${flow.input.x}"), _DIGITS)),
    Case("digits for the time of a request", lambda a: _asking(a, _DIGITS, timeout="${flow.input.x}")),
    Case("units for a duration", lambda a: _given(a, _node("delay", duration="${flow.input.x}"), "1ms" * 300_000)),
    Case("a long query", lambda a: _asking(a, [0] * 330_000, query={"a": "${flow.input.x}"})),
    Case("a long form", lambda a: _asking(a, [0] * 330_000, method="POST", form={"a": "${flow.input.x}"})),
    Case("a form of long texts", lambda a: _asking(a, "ä" * 400_000, method="POST",
                                                     form={"a": "${flow.input.x}", "b": "${flow.input.x}"})),
    Case("a query of wrong values", lambda a: _asking(a, [[]] * 3000, query={"a": "${flow.input.x}"})),
    Case("wrong statuses", lambda a: _asking(a, ["a"] * 3000, expect_status="${flow.input.x}")),
    Case("wrong headers", lambda a: _asking(a, {f"h{n}": [] for n in range(3000)}, headers="${flow.input.x}")),
    Case("unknown keys of a login", lambda a: _asking(a, {f"k{n}": 1 for n in range(80_000)}, auth="${flow.input.x}")),
    Case("many headers", lambda a: _asking(a, {f"h{n}": 1 for n in range(60_000)}, headers="${flow.input.x}")),
    Case("a header of a megabyte", lambda a: _asking(a, "x" * 1_000_000, headers={"a": "${flow.input.x}"})),
    Case("statuses", lambda a: _asking(a, list(range(150_000)), expect_status="${flow.input.x}")),
    Case("a long URL", lambda a: _asking(a, "x" * 1_000_000, query={"${flow.input.x}": 1})),
    Case("a host of marks",
         lambda a: _given(a, _node("http.request", url="http://${flow.input.x}/"), "a" + "\u0301\u0316" * 4000)),
    Case("a host of many labels",
         lambda a: _given(a, _node("http.request", url="http://${flow.input.x}/"), "ä." * 4000)),
    Case("roles that are no text",
         lambda a: _given(a, _node("approval", prompt="p", roles="${flow.input.x}"), [1] * 3000)),
    Case("a long error type", lambda a: _given(a, _node("fail", error="${flow.input.x}"), "a." * 400_000 + "!")),
    Case("a long moment",
         lambda a: _given(a, _node("delay", until="${flow.input.x}"), "2027-01-01T00:00:00." + "0" * 900_000)),
    Case("a long key of a signal", lambda a: _given(a, _node("wait", key="${flow.input.x}"), "ä" * 400_000)),
    Case("a long name of a flow", lambda a: _given(a, _node("flow", flow="${flow.input.x}"), "x" * 900_000)),
    Case("as many elements as there may be",
         lambda a: _given(a, _loop({"type": "fail"}, items="${flow.input.x}", concurrency=1000), [0] * 100_000)),
    Case("a signed body of lists",
         lambda a: _given(a, _node("webhook", url="http://127.0.0.1:1/", secret="s"), _lists())),
    # Documents.
    Case("digits for a duration in a document", lambda a: a.validate(_node("delay", duration=_DIGITS))),
    Case("digits for a time-out in a document",
         lambda a: a.validate({"nodes": {"a": {"type": "return", "timeout": _DIGITS}}})),
    Case("digits for a retry in a document",
         lambda a: a.validate({"nodes": {"a": {"type": "return", "retry": {"delay": _DIGITS}}}})),
    Case("digits for a limit in a document", lambda a: a.validate({**_node("return"), "limits": {"timeout": _DIGITS}})),
    Case("doubled braces around spaces",
         lambda a: a.validate(_node("return", value="${{" + " " * 3000 + "1 " * 41 + " " * 3000 + "}}"))),
    Case("spaces in braces of other languages",
         lambda a: a.validate(_node("return", value="{{" + "a" * 200 + " " * 400_000))),
    Case("a long path of an unknown name", lambda a: a.validate(_node("return", value="${" + "a." * 30_000 + "a}"))),
    Case("a query of wrong values in a document",
         lambda a: a.validate(_node("http.request", url="http://a/", query={"a": [[]] * 3000}))),
    Case("wrong statuses in a document",
         lambda a: a.validate(_node("http.request", url="http://a/", expect_status=["a"] * 3000))),
    Case("names with many dashes",
         lambda a: a.validate(_node("return", value="${" + "nodes.a-b" * 8000 + "}"))),
    Case("open brackets of an expression", lambda a: a.validate(_node("return", value="${" + "(" * 50_000 + "}"))),
    Case("regular expressions of an expression",
         lambda a: a.validate(_node("transform", script="return " + "/[" * 30_000))),
    Case("nested templates of an expression",
         lambda a: a.validate(_node("return", value="${" + "`${" * 10_000 + "1" + "}`" * 10_000 + "}"))),
    Case("braces that are no expressions", lambda a: a.validate(_node("return", value="{{ a" * 200_000))),
    # Schemas.
    Case("patterns that keep what they saw",
         lambda a: [_start(a, {"inputs": _PATTERNS, "nodes": {"a": {"type": "return"}}},
                           {f"i{n}": "abbab" * 40 for n in range(90)}) for _ in range(a.many(4, 20))]),
    Case("defaults of many properties",
         lambda a: _start(a, {**_node("return"), "inputs": {f"i{n}": _DEFAULTS | {"default": {}} for n in range(5)}})),
    Case("text for the key of a limit", lambda a: _start(a, _KEY, {"x": _lists()})),
    Case("decimals for the key of a limit", lambda a: _start(a, _KEY, {"x": [1.5e-5] * 120_000})),
    # Webhooks and schedules.
    Case("large numbers for the key of a webhook",
         lambda a: _called(a, b"[" + b"1e300," * 170_000 + b"1]", dedupe="${trigger.body}")),
    Case("text of lists for the key of a webhook",
         lambda a: _called(a, b"[" + b"[]," * 330_000 + b"[]]", dedupe="x ${trigger.body}")),
    Case("text of lists for a label",
         lambda a: _called(a, b"[" + b"[]," * 330_000 + b"[]]", labels={"x": "${trigger.body}"})),
    long_case("lists in lists that are collected",
         lambda a: _given(a, _loop({"type": "return", "params": {"value": "${item}"}}, items="${flow.input.x}",
                                   concurrency=100, collect="${[item, item, item]}"), [[[]] * 300] * 300, 20)),
    Case("schedules that are due once in decades",
         lambda a: _deployed(a, lambda n: {"type": "schedule", "cron": f"{n % 60} {n // 60 % 24} * 2 1#5",
                                           "timezone": "Europe/Berlin"})),
    Case("chains that listen to each other",
         lambda a: _deployed(a, lambda n: {"type": "execution", "flow": f"flow {n % 100 + n // 100 + 1}"})),
    # Many at once.
    long_case("long bodies at once", _long_bodies),
    long_case("runs that fail at once", _failing_together),
    long_case("sockets that read nothing", _silent_sockets),
    Case("executions that are due at once", _due_together, only_whole=True),
    long_case("executions that go round", _going_round),
    Case("many waits that are cancelled", _many_waits),
    long_case("approvals with long forms", _long_forms),
    long_case("early signals of lists", _early_signals),
    long_case("a rerun of many lines", _rerun_of_many_lines),
    Case("results of empty lists", _results_of_lists),
    long_case("thousands of variables", _variables),
    long_case("sub-flows with long inputs", _subflows),
    long_case("long answers at once", _requests_at_once),
)  # fmt: skip
