"""How many JavaScript expressions a second does one worker evaluate?

Each is an exchange of its own, over a context of 5 KB, and waits for the one before.

    python -m bench.javascript DIRECTORY SECONDS
"""

import json
import sys
import time
from typing import Any, Final

import msgspec
import structlog
import uvloop

from flowrunner.domain.expression.script import Script
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.sandbox.pool import JailedSandbox

_SCOPE: Final[dict[str, JSON]] = {
    "input": {"orders": [{"id": n, "name": f"order {n}", "tags": ["new", "paid"]} for n in range(100)]},
    "vars": {"region": "eu", "note": "x" * 300},
}
_EXPRESSION: Final = Script("input.orders.filter(order => order.id % 2 === 1).length")
_ACCOUNTS: Final = 5
_WARM_UP: Final = 200


async def measure(seconds: float) -> dict[str, Any]:
    sandbox = JailedSandbox(workers=1)
    try:
        one = await _per_second(sandbox, ["account"], seconds)
        many = await _per_second(sandbox, [f"account {n}" for n in range(_ACCOUNTS)], seconds)
    finally:
        await sandbox.close()
    return {"per_second": one, "alternating_per_second": many, "context_bytes": len(msgspec.json.encode(_SCOPE))}


async def _per_second(sandbox: JailedSandbox, accounts: list[str], seconds: float) -> float:
    """With several accounts, each evaluation is for another one than the evaluation before it."""
    done = -_WARM_UP
    begun = time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds or done <= 0:
        if done == 0:
            begun = now
        (outcome,) = await sandbox.evaluate(WorkspaceId(accounts[done % len(accounts)]), [_EXPRESSION], _SCOPE)
        assert outcome.value == 50, outcome
        done += 1
    return done / (time.perf_counter() - begun)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    print(json.dumps(uvloop.run(measure(float(sys.argv[2])))))
