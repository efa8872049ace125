"""A short run of what `make fuzz` does at length: a sixth of the resources in each role, others on the next day."""

import os
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from security.fuzz import ROLES, UNHURRIED, divided, fuzz
from support.scoreboard import Scoreboard
from support.server import Server

CASES: Final = int(os.environ.get("FUZZ_CASES", "250"))
# A failure names its seed, which chooses the operations too: the day's number sets that day again.
SEED: Final = int(os.environ.get("FUZZ_SEED") or datetime.now(UTC).toordinal())


def test_the_fuzzer_takes_what_is_made_and_what_is_done_with_it_on_the_same_day(server: Server) -> None:
    paths = server.client().get("/api/v1/openapi.json").json["paths"]

    parts = divided(paths, 6)

    every = [each["operationId"] for path in paths.values() for each in path.values()]
    assert sorted(chain.from_iterable(parts)) == sorted(every)
    assert all(parts)
    day = {name: number for number, part in enumerate(parts) for name in part}
    pairs = [
        (path["post"]["operationId"], each["operationId"])
        for name, path in paths.items()
        if "post" in path
        for each in paths.get(f"{name}/{{id}}", {}).values()
    ]
    assert len(pairs) > 10
    assert [pair for pair in pairs if day[pair[0]] != day[pair[1]]] == []


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
