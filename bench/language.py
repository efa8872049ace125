"""What does the flow language cost: a plain path, a loop, a document that is checked?

python -m bench.language DIRECTORY SECONDS
"""

import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from bench.engine import NoOp, open_engine
from bench.processes import BenchFailed
from flowrunner.domain.expression import compile_text, render
from flowrunner.nodes import built_in
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.services.language import Language
from flowrunner.storage.transaction import one_row

ITEMS: Final = 100
DOCUMENT_NODES: Final = 100
_RUNS_OF_A_PATH: Final = 10_000
_WARM_UP: Final = 3


def loop(concurrency: int) -> str:
    """A loop over 100 items whose node does nothing, each start of which is durable before it."""
    return f"""\
metadata: {{name: loop, version: "1"}}
nodes:
  each:
    type: foreach
    params: {{items: {list(range(ITEMS))}, concurrency: {concurrency}}}
    nodes:
      one: {{type: {NoOp.type}}}
"""


def document(nodes: int) -> str:
    """A flow of so many nodes: calls with retries and error edges, scripts and conditions among them."""
    kinds = (
        'type: http.request, params: {{url: "https://example.com/${{flow.input.id}}", query: {{n: "{n}"}}}}, '
        "retry: {{max: 3, delay: 1s}}, next: {{default: n{next}, error: n{next}}}",
        'type: transform, params: {{value: {{id: "${{input.body.id}}", n: "${{input.n}}"}}}}, next: n{next}',
        "type: transform, params: {{value: \"${{input.id > {n} ? 'many' : 'few'}}\"}}, next: n{next}",
        'type: switch, params: {{cases: [{{when: "nodes.n1.result == {n}", action: a}}]}}, '
        "next: {{a: n{next}, default: n{next}}}",
    )
    lines = ['metadata: {name: "many nodes", version: "1"}', "nodes:"]
    lines += [f"  n{n}: {{{kinds[n % 4].format(n=n, next=n + 1)}}}" for n in range(1, nodes)]
    return "\n".join([*lines, f"  n{nodes}: {{type: return}}"]) + "\n"


async def measure(directory: Path, seconds: float) -> dict[str, Any]:
    return {
        "path_us": _path_us(),
        "check_ms": await _check_ms(seconds),
        "loop_ms": await _loop_ms(directory / "one.db", 1, seconds),
        "wide_loop_ms": await _loop_ms(directory / "ten.db", 10, seconds),
    }


def _path_us() -> float:
    """Microseconds to fill in a path of four keys."""
    template = compile_text("${nodes.fetch.result.items[2].id}", frozenset({"nodes"}))
    scope = {"nodes": {"fetch": {"result": {"items": [{"id": n} for n in range(5)]}}}}
    if render(template, scope) != 2:
        raise BenchFailed("a path leads elsewhere")
    begun = time.perf_counter()
    for _ in range(_RUNS_OF_A_PATH):
        render(template, scope)
    return (time.perf_counter() - begun) / _RUNS_OF_A_PATH * 1e6


async def _check_ms(seconds: float) -> float:
    """Milliseconds from the text of a flow of 100 nodes to all that there is to say of it, its JavaScript included."""
    sandbox, text = JailedSandbox(workers=1), document(DOCUMENT_NODES)
    language = Language({name: type.spec() for name, type in built_in().items()}, RustSchemas(), sandbox)

    async def check() -> None:
        reading = await language.study(text)
        if reading.flow is None or len(reading.flow.nodes) != DOCUMENT_NODES:
            raise BenchFailed(f"the document is refused: {reading.faults[:3]}")

    try:
        return await _median_ms(check, seconds)
    finally:
        await sandbox.close()


async def _loop_ms(path: Path, concurrency: int, seconds: float) -> float:
    """Milliseconds from the acceptance of an execution to its durable end."""
    async with open_engine(path, loop(concurrency)) as engine:

        async def run() -> None:
            await engine.run_one()

        took = await _median_ms(run, seconds)
        runs, steps = await engine.database.read(
            lambda tx: one_row(
                tx,
                "SELECT count(DISTINCT execution_id), count(*) FROM readable_events"
                " WHERE type = 'node.completed' AND data ->> '$.node_type' = 'bench.noop'",
            )
        )
        if steps != runs * ITEMS:
            raise BenchFailed(f"{runs} loops came to {steps} steps")
        return took


async def _median_ms(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    for _ in range(_WARM_UP):
        await work()
    took: list[float] = []
    ends_at = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < ends_at:
        await work()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    print(json.dumps(uvloop.run(measure(Path(sys.argv[1]), float(sys.argv[2])))))
