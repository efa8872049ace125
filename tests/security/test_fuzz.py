"""A short run of what `make fuzz` does at length: a sixth of the operations in each role, others on the next day."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from security.fuzz import ROLES, UNHURRIED, fuzz
from support.scoreboard import Scoreboard
from support.server import Server

CASES: Final = int(os.environ.get("FUZZ_CASES", "250"))
# A failure names its seed, which chooses the operations too: the day's number sets that day again.
SEED: Final = int(os.environ.get("FUZZ_SEED") or datetime.now(UTC).toordinal())


@pytest.mark.timeout(max(900, CASES // 20))
def test_s15_s43_s57_fuzzing_finds_no_server_error_and_no_open_door(
    tmp_path: Path, pytestconfig: pytest.Config, scoreboard: Scoreboard
) -> None:
    # The edges of the schema are most of the cases: all roles take all of them in `make security` and `make fuzz`.
    is_whole = bool(pytestconfig.getoption("--scoreboard"))
    with_edges, parts = (ROLES, 1) if is_whole else (("user",), 6)
    # Not the server of the other tests: it is left full of accounts, and with none of its own.
    server = Server(tmp_path, UNHURRIED)
    try:
        examples = 2 if CASES <= 10_000 else 200
        found = fuzz(
            server.start(), tmp_path,
            cases=CASES, examples=examples, first_seed=SEED, with_edges=with_edges, parts=parts,
        )  # fmt: skip
    finally:
        server.stop()

    failures = sum(map(len, found.failures.values())) + found.crashes
    print(f"\nFUZZ_SEED={SEED}: {found.cases} cases, {found.by_role}")
    scoreboard.count(
        "fuzzing by the API's description: server errors, open doors", cases=found.cases, failures=failures
    )
    assert found.failures == {}
    assert found.errors == []
    assert found.crashes == 0
    assert found.cases >= CASES
    assert set(found.by_role) == set(ROLES)
