"""What is kept and read again: lists, logs, live events and comparisons of much more than anybody looks at."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final
from uuid import uuid4

from security.hostile.case import RETURN, Attacker, Case, ignoring_refusals, long_case

# As long as the data of a line may be, and slow to decode.
_LINE: Final = "'[' + '[],'.repeat(21_000) + '0]'"
_RESULT: Final = "'[' + '[],'.repeat(300_000) + '0]'"


def _failures(attacker: Attacker) -> object:
    """Executions whose errors are as long as may be."""
    flow = attacker.save("nodes: {a: {type: transform, params: {script: \"throw 'ä'.repeat(100_000)\"}}}")
    for _ in range(attacker.many(100, 1000)):
        execution = attacker.account.run(flow)
    attacker.wait(execution)
    return [attacker.account.get("/api/v1/executions", limit=1000) for _ in range(3)]


def _with_lines(attacker: Attacker, data: str) -> str:
    flow = {
        "nodes": {
            "each": {
                "type": "foreach",
                "params": {"items": list(range(attacker.many(150, 1000))), "concurrency": 20},
                "nodes": {"n": {"type": "log", "params": {"message": "m", "data": f"${{JSON.parse({data})}}"}}},
            }
        }
    }
    return str(attacker.run(flow, seconds=60)["id"])


def _logs(attacker: Attacker) -> object:
    execution = _with_lines(attacker, _LINE)
    return [
        attacker.account.get(f"/api/v1/executions/{execution}/logs", limit=1000, level="info", offset=n)
        for n in range(2)
    ]


def _replay(attacker: Attacker) -> object:
    script = {"script": f"return JSON.parse({_RESULT})"}
    nodes = {f"n{n}": {"type": "transform", "params": script, "next": f"n{n + 1}"} for n in range(4)}
    flow = {"nodes": {**nodes, "n4": {"type": "return", "params": {"value": 1}}}}
    execution = attacker.run(flow, seconds=30)["id"]
    with ExitStack() as stack, ignoring_refusals():
        sockets = [stack.enter_context(attacker.account.watch(execution)) for _ in range(attacker.many(5, 50))]
        for socket in sockets:
            for _ in socket:
                pass
    return attacker.account.execution(execution)


def _flows(attacker: Attacker) -> object:
    """Flows whose names, descriptions and tags are as long as may be, and six times that as JSON."""
    for number in range(1000):
        fields = {"name": '"' * 190 + str(number), "description": "\1" * 10_000, "tags": ["\1" * 95] * 50}
        attacker.account.new_flow(RETURN, **fields)
    return attacker.account.get("/api/v1/flows", limit=1000)


def _repeats(attacker: Attacker, input: object) -> object:
    flow, key = attacker.save(RETURN), str(uuid4())
    return [
        attacker.account.post(f"/api/v1/flows/{flow}/run", {"input": input}, **{"Idempotency-Key": key})
        for _ in range(5)
    ]


def _signals(attacker: Attacker, payload: object) -> object:
    execution = attacker.account.run(attacker.save("nodes: {a: {type: wait, params: {key: go}}}"))
    path = f"/api/v1/executions/{execution}/signals/early"
    return [attacker.account.post(path, {"payload": payload}, **{"Idempotency-Key": str(n)}) for n in range(5)]


def _compared(attacker: Attacker, before: Sequence[str], after: Sequence[str]) -> object:
    """Two revisions whose lines are these, as comments."""

    def definition(lines: Sequence[str]) -> str:
        return "\n".join([RETURN, *lines])[: 1024 * 1024 - 10]

    flow = attacker.save(definition(before))
    assert attacker.account.put(f"/api/v1/flows/{flow}", {"definition": definition(after)}).status == 200
    return [attacker.account.get(f"/api/v1/flows/{flow}/revisions/2/diff") for _ in range(2)]


def _keys() -> object:
    return {f"{(n * 7919) % 99_991}": [{"b": n, "a": n}] for n in range(20_000)}


_NUMBERS: Final = range(160_000)

CASES: Final = (
    Case("long errors of executions", _failures),
    Case("long descriptions of flows", _flows, only_whole=True),
    long_case("many long lines of a log", _logs),
    long_case("large events to late subscribers", _replay),
    Case("repeats of a request with many keys", lambda a: _repeats(a, _keys())),
    long_case("signals with many keys", lambda a: _signals(a, _keys())),
    long_case("revisions without a line in common",
         lambda a: _compared(a, [f"#{n}" for n in _NUMBERS], [f"#-{n}" for n in _NUMBERS])),
    long_case("revisions in the opposite order",
         lambda a: _compared(a, [f"#{n}" for n in _NUMBERS], [f"#{n}" for n in reversed(_NUMBERS)])),
    long_case("revisions of empty lines",
         lambda a: _compared(a, [""] * 1_000_000, ["#" if n % 2 else "" for n in range(700_000)])),
    long_case("revisions of few different lines", lambda a: _compared(
        a, [f"#{n % 7}" for n in range(340_000)], [f"#{n * n % 5}" for n in range(340_000)])),
    Case("revisions of one long line", lambda a: _compared(a, ["#" + "x" * 1_000_000], ["#" + "y" * 1_000_000])),
)  # fmt: skip
