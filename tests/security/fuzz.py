"""Fuzzes a real server by its own description of the API, as each role in turn.

    python -m security.fuzz        # FUZZ_CASES=100000 by default; make fuzz

Rounds go on, each with the next seed, until there were as many cases as wanted. The first round
takes every operation through the edges of its schema, all do random and stateful testing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server, clean_environment

ROLES: Final = ("admin", "user", "viewer")
# Every case is to get as far as it can.
UNHURRIED: Final = {"ACCOUNT_REQUESTS": "0", "ACCOUNT_CHANGES": "0", "ANONYMOUS_REQUESTS": "0", "ANONYMOUS_LOGINS": "0"}
HERE: Final = Path(__file__).parent
ROUND_SECONDS: Final = 1800.0
_LONGEST_TEXT: Final = 8000


@dataclass(slots=True)
class Outcome:
    cases: int = 0
    # By what was found: "ServerError", "IgnoredAuth".
    failures: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    crashes: int = 0
    by_role: dict[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not self.failures and not self.errors and self.crashes == 0


def fuzz(
    server: Server,
    directory: Path,
    *,
    cases: int,
    examples: int,
    first_seed: int = 1,
    with_edges: Collection[str] = ROLES,
    parts: int = 1,
) -> Outcome:
    """Attack ``server`` until there were ``cases`` calls.

    Args:
        examples: Cases per operation in a round. More of them go deeper, and rounds take longer.
        with_edges: The roles that take the operations of their round through the edges of its schema.
        parts: In how many parts the operations are divided, of which a round takes the one of its seed.
    """
    outcome, number, pid, written = Outcome(), 0, server.pid, len(server.log)
    operations = divided(server.client().get("/api/v1/openapi.json").json["paths"], parts)
    while outcome.cases < cases or number < len(ROLES):
        role, seed = ROLES[number % len(ROLES)], first_seed + number
        is_first = number < len(ROLES) and role in with_edges
        report = _round(
            server, directory, operations[seed % parts],
            role=role, seed=seed, examples=examples, with_edges=is_first,
        )  # fmt: skip
        made = report["test_cases"]["generated"]
        outcome.cases += made
        outcome.by_role[role] = outcome.by_role.get(role, 0) + made
        for failure in report["failures"]:
            outcome.failures.setdefault(failure["type"], []).append(
                f"seed {seed}, {role}: {json.dumps(failure)[:2000]}"
            )
        outcome.errors += [f"seed {seed}, {role}: {json.dumps(error)[:2000]}" for error in report["errors"]]
        number += 1
        if made == 0 or server.has_ended() or not outcome.is_good:
            break
    outcome.crashes = server.log[written:].count("request.crashed") + (server.has_ended() or server.pid != pid)
    return outcome


def divided(paths: Mapping[str, Mapping[str, Any]], parts: int) -> list[list[str]]:
    """Divide the operations of the API's description in so many parts.

    All of a resource are in the same part: the stateful phase goes from what one of them made to the others.
    """
    resources: dict[str, list[str]] = {}
    for path, operations in sorted(paths.items()):
        resource = path.removeprefix("/api/v1/").partition("/")[0].partition(":")[0]
        resources.setdefault(resource, []).extend(each["operationId"] for each in operations.values())
    made: list[list[str]] = [[] for _ in range(parts)]
    for names in sorted(resources.values(), key=len, reverse=True):
        min(made, key=len).extend(names)
    return made


def _round(
    server: Server,
    directory: Path,
    operations: Sequence[str],
    *,
    role: str,
    seed: int,
    examples: int,
    with_edges: bool,
) -> Any:
    report = directory / f"round-{seed}.json"
    phases = "coverage,fuzzing,stateful" if with_edges else "fuzzing,stateful"
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/v1/openapi.json",
        "--checks", "not_a_server_error,ignored_auth,status_code_conformance", "--phases", phases, "--seed", str(seed),
        "--max-examples", str(examples), "--workers", "1", "--continue-on-failure", "--no-color",
        "--request-timeout", "30", "--report", "json", "--report-json-path", str(report),
        "--generation-database", "none", "--suppress-health-check", "all",
        *(f"--include-operation-id={operation}" for operation in operations),
    ]  # fmt: skip
    environment = clean_environment(
        PYTHONPATH=str(HERE), SCHEMATHESIS_HOOKS="fuzz_hooks", FUZZ_URL=server.url, FUZZ_ROLE=role,
        FUZZ_SEED=str(seed), FUZZ_ADMIN_EMAIL=ADMIN_EMAIL, FUZZ_ADMIN_PASSWORD=ADMIN_PASSWORD,
        PYTHONHASHSEED="0",
    )  # fmt: skip
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=ROUND_SECONDS, check=False
    )
    if not report.exists():
        raise AssertionError(f"the fuzzer gave no report:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    found = json.loads(report.read_text())
    if found["failures"]:
        # The report names operations only; the requests to repeat are in the text.
        print(done.stdout[done.stdout.find("= FAILURES =") :][:_LONGEST_TEXT])
    return found


def main() -> int:
    wanted = int(os.environ.get("FUZZ_CASES", "100000"))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flowrunner-fuzz-") as temporary:
        directory = Path(temporary)
        server = Server(directory, UNHURRIED)
        try:
            # A round with 200 examples took more than `ROUND_SECONDS` beside other work.
            found = fuzz(server.start(), directory, cases=wanted, examples=60)
        finally:
            server.stop()
    for check, failures in found.failures.items():
        print(f"{check}: {len(failures)}", *failures[:5], sep="\n  ")
    print(*found.errors[:5], sep="\n")
    minutes = (time.monotonic() - begun) / 60
    print(f"cases: {found.cases:,} in {minutes:.1f} min, " + ", ".join(f"{r}: {n:,}" for r, n in found.by_role.items()))
    print(f"server errors: {len(found.failures.get('ServerError', ())) + found.crashes}")
    print(f"ignored_auth: {len(found.failures.get('IgnoredAuth', ()))}")
    print(f"statuses that are not described: {len(found.failures.get('UndefinedStatusCode', ()))}")
    print(f"errors of the fuzzer itself: {len(found.errors)}")
    return 0 if found.is_good and found.cases >= wanted else 1


if __name__ == "__main__":
    sys.exit(main())
