"""Documents and requests in which everything is wrong: faults that cost more to tell than they have characters."""

import json
from typing import Any, Final

from security.hostile.case import RETURN, Attacker, Case

# Keys with their values, just within what a document may have.
_MOST_KEYS: Final = 4_900


def _save(attacker: Attacker, document: str | dict[str, Any]) -> object:
    return attacker.account.post("/api/v1/flows", {"definition": json.dumps(document)})


def _run(attacker: Attacker, document: str | dict[str, Any], body: object) -> object:
    return attacker.account.post(f"/api/v1/flows/{attacker.save(document)}/run", body)


def _keys(count: int) -> dict[str, int]:
    return {f"k{n}": n for n in range(count)}


_INPUTS: Final = {"inputs": {f"i{n}": {"type": "string"} for n in range(100)}, "nodes": {"a": {"type": "return"}}}
_KEYS: Final = _keys(_MOST_KEYS)

CASES: Final = (
    Case("unknown keys of a flow", lambda a: a.validate(json.dumps(_KEYS))),
    Case("unknown keys of a flow to save", lambda a: _save(a, _KEYS)),
    Case("unknown keys of a node", lambda a: a.validate({"nodes": {"a": {"type": "log", **_KEYS}}})),
    Case("unknown parameters", lambda a: a.validate({"nodes": {"a": {"type": "log", "params": _KEYS}}})),
    Case("nodes without a type", lambda a: a.validate({"nodes": {f"n{n}": {} for n in range(_MOST_KEYS)}})),
    Case("nodes of unknown types", lambda a: _save(a, {"nodes": {f"n{n}": {"type": "x"} for n in range(2_400)}})),
    Case("edges to unknown nodes", lambda a: a.validate({"nodes": {"a": {"type": "log", "next": _KEYS}}})),
    Case("missing secrets", lambda a: a.validate(
        {"nodes": {"a": {"type": "transform", "params": {"value": [f"${{secrets.S{n}}}" for n in range(9_900)]}}}})),
    Case("missing flows", lambda a: a.validate(
        {"nodes": {f"a{n}": {"type": "flow", "params": {"flow": f"f{n}"}} for n in range(1_200)}})),
    Case("unknown fields of a run", lambda a: _run(a, RETURN, _keys(55_000))),
    Case("unknown inputs of a run", lambda a: _run(a, _INPUTS, {"input": _keys(55_000)})),
    Case("fields with long names", lambda a: _run(a, RETURN, {"x" * 9_000 + str(n): 1 for n in range(100)})),
    Case("unknown fields of many flows", lambda a: a.account.post(
        "/api/v1/flows:batch", {"flows": [{f"nam{n}": 1 for n in range(98)}] * 500})),
    Case("long unknown fields of many flows", lambda a: a.account.post(
        "/api/v1/flows:batch", {"flows": [{"x" * 500 + str(n): 1 for n in range(60)}] * 480})),
    Case("inputs of a selection that are no text", lambda a: a.account.post(
        "/api/v1/executions:batch", {"action": "delete", "filter": {"input": _keys(80_000)}})),
    Case("ids of a selection that are no text", lambda a: a.account.post(
        "/api/v1/executions:batch", {"action": "delete", "ids": [1] * 10_000})),
    Case("tags that are no text",
         lambda a: a.account.post("/api/v1/flows", {"definition": RETURN, "tags": [1] * 400_000})),
)  # fmt: skip
