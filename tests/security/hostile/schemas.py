"""JSON Schemas, and values for them, that cost more to check than they have characters."""

import json
from typing import Any, Final

from security.hostile.case import Attacker, Case
from support.client import Reply


def _asking(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": inputs, "nodes": {"a": {"type": "log", "params": {"message": "m"}}}}


def _patterns(unit: str, count: int = 100) -> dict[str, Any]:
    return _asking({f"i{n}": {"pattern": unit * ((990 - n) // len(unit)) + "x" * n} for n in range(count)})


def _giving(attacker: Attacker, inputs: dict[str, Any], values: dict[str, Any]) -> Reply:
    flow = attacker.save(_asking(inputs))
    return attacker.account.post(f"/api/v1/flows/{flow}/run", {"input": values})


def _answering(attacker: Attacker, form: dict[str, Any], data: Any) -> Reply:
    flow = {"nodes": {"ask": {"type": "approval", "params": {"form": form}}}}
    execution = attacker.account.run(attacker.save(flow))
    attacker.account.waiting_at(execution, "ask")
    return attacker.account.post(f"/api/v1/executions/{execution}/approvals/ask", {"approved": True, "data": data})


_MANY_RULES: Final = {"items": {"allOf": [{"minimum": -n} for n in range(60)]}}

CASES: Final = (
    Case("classes in a short document", lambda a: a.validate(_patterns(r"\w\W", 2))),
    Case("many classes", lambda a: a.validate(_patterns(r"\s\S"))),
    Case("many ranges without case", lambda a: a.validate(_patterns("(?i:[ -\U0010ffff])"))),
    Case("many repetitions", lambda a: a.validate(_patterns(r"(?:\pL{50}){50}"))),
    Case("many wrong patterns", lambda a: a.validate(_patterns("(?=a)"))),
    Case("patterns of names",
         lambda a: a.validate(_asking({"i": {"patternProperties": {r"\s\D" * 240 + "x" * n: {} for n in range(20)}}}))),
    Case("many defaults", lambda a: a.validate(_asking(
        {f"i{n}": {**_MANY_RULES, "default": [1] * 400} for n in range(20)}))),
    Case("many values in each of many inputs", lambda a: _giving(
        a, dict.fromkeys((f"i{n}" for n in range(20)), _MANY_RULES), {f"i{n}": [1] * 20_000 for n in range(20)})),
    Case("many faults", lambda a: _giving(a, {"i": {"items": {"type": "string"}}}, {"i": [1] * 300_000})),
    Case("a pattern that searches a long text", lambda a: _giving(
        a, {"i": {"pattern": "[ab]*a[ab]{500}c"}}, {"i": "ab" * 400_000})),
    Case("many formats", lambda a: _giving(a, {"i": {"items": {"format": "email"}}}, {"i": ["a" * 60] * 15_000})),
    Case("a form of an approval", lambda a: _answering(a, {"pattern": "[ab]*a[ab]{500}c"}, "ab" * 200_000)),
    Case("many rules for the data of an approval", lambda a: _answering(a, _MANY_RULES, [1] * 300_000)),
    Case("a nested schema", lambda a: a.validate(json.dumps(_asking({"i": {"items": {"enum": [["x"] * 40] * 40}}})))),
)  # fmt: skip
