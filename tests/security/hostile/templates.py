"""Flows whose templates and scopes come to far more than they are long."""

import json
import time
from typing import Any, Final

from security.hostile.case import Attacker, Case, long_case
from support.waiting import PATIENCE_SECONDS


def _text() -> object:
    return {"x": "x" * 900_000}


def _numbers() -> object:
    return {"x": [0] * 330_000}


def _umlauts() -> object:
    return {"x": "ä" * 160_000}


def _transform(*values: object) -> dict[str, Any]:
    return {"nodes": {"a": {"type": "transform", "params": {"value": list(values)}}}}


def _branches(count: int, node: dict[str, Any]) -> dict[str, Any]:
    branches = {f"b{number}": {"nodes": {"n": node}} for number in range(count)}
    return {"nodes": {"a": {"type": "parallel", "branches": branches}}}


def _scripts_at_once(count: int) -> dict[str, Any]:
    node = {"type": "transform", "params": {"script": "return flow.input.x.length"}}
    return {
        "nodes": {
            "a": {
                "type": "foreach",
                "params": {"items": list(range(count)), "concurrency": 1000},
                "nodes": {"n": node},
            }
        }
    }


def _hooked(attacker: Attacker) -> object:
    """Requests to a webhook trigger with an expression wherever there may be one, each as long as its body."""
    text = "${trigger.body.x} "
    trigger = {
        "type": "webhook",
        "verify": {"scheme": "none"},
        "when": "${trigger.body.x}",
        "dedupe": text,
        "input": {"x": text, "y": "${trigger.body.x}"},
        "labels": {"x": text},
    }
    attacker.save({"triggers": {"in": trigger}, "nodes": {"a": {"type": "return"}}})
    url = attacker.account.get("/api/v1/triggers").json["triggers"][0]["url"]
    body = json.dumps({"x": [1.5e300] * 60_000}).encode()
    headers = {"Content-Type": "application/json"}
    return [attacker.nobody.request("POST", url, body, headers) for _ in range(3)]


def _called_back(attacker: Attacker) -> object:
    """A callback whose short template names a long result very often."""
    template = ["${event.data.execution.result} "] * 460
    asked = {"name": "c", "url": f"{attacker.receiver.url}/ok", "format": "template", "template": template}
    attacker.account.post("/api/v1/callbacks", {**asked, "events": ["execution.completed"]})
    attacker.run({"nodes": {"a": {"type": "transform", "params": {"value": "${flow.input.x}"}}}}, {"x": [1.5] * 6_000})
    callback = attacker.account.get("/api/v1/callbacks").json["callbacks"][0]["id"]
    deliveries = f"/api/v1/callbacks/{callback}/deliveries"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = attacker.account.get(deliveries).json["deliveries"]
        if found and found[0]["attempts"]:
            return found
        time.sleep(0.05)
    raise AssertionError("nothing was sent")


CASES: Final = (
    Case("a long text in many texts", lambda a: a.run(_transform(*["${input.x} "] * 4000), _text())),
    Case("a long text in one text", lambda a: a.run(_transform("${input.x}" * 9000), _text())),
    long_case("a long list in many texts", lambda a: a.run(_transform(*["${input.x} "] * 4000), _numbers())),
    Case("a long list many times", lambda a: a.run(_transform(*["${input.x}"] * 4000), _numbers())),
    long_case("lists of decimals as text",
              lambda a: a.run(_transform(*["${input.x} "] * 50), {"x": [1.5e300] * 100_000})),
    Case("characters of a long text",
         lambda a: a.run(_transform(*["${input.x[9]}", "${input.x.length}"] * 2000), _umlauts())),
    long_case("conditions on a long text",
         lambda a: a.run({"nodes": {"a": {"type": "switch", "params": {
             "cases": [{"when": f"input.x.length == {n}", "action": "x"} for n in range(900)]}}}}, _umlauts())),
    Case("aliases of a long text",
         lambda a: a.validate("nodes:\n  a: {type: return, params: {value: &a '" + "x" * 500_000 + "'}, next: b}\n"
                         "  b: {type: return, params: {value: [" + "*a, " * 5000 + "]}}")),
    Case("a long input for many branches",
         lambda a: a.run(_branches(800, {"type": "log", "params": {"message": "m"}}), _text())),
    long_case("a long input in many scripts at once", lambda a: a.run(_scripts_at_once(300), _text())),
    long_case("many expressions that see a long input",
         lambda a: a.run(_transform(*[f"${{input.x.length + {n}}}" for n in range(1500)]), _text())),
    long_case("a long request in each expression of a trigger", _hooked),
    Case("a result in each part of a message", _called_back),
    Case("outputs of a long text", lambda a: a.run(
        {"outputs": {f"o{n}": "${flow.input.x} " for n in range(3000)},
         "nodes": {"a": {"type": "log", "params": {"message": "m"}}}}, _text())),
)  # fmt: skip
