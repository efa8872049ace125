"""The tests of a definition that is not saved, over REST."""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import assert_error
from flowrunner.bootstrap.test_process import TestProcesses
from flowrunner.domain.errors import InvalidInput
from support.client import Client
from support.waiting import PATIENCE_SECONDS

TEST: Final = "/api/v1/flows/test"
TESTED: Final = """nodes:
  ask: {type: http.request, params: {url: 'https://example.com'}, next: {default: nap, error: sorry}}
  nap: {type: delay, params: {duration: 1d}, next: count}
  count: {type: transform, params: {value: '${nodes.ask.result * 2}'}}
  sorry: {type: return, params: {value: none}}
tests:
  doubles: {mocks: {ask: {result: 21}}, expect: {result: 42}}
  triples: {mocks: {ask: {result: 21}}, expect: {result: 63}}
  asks: {}
"""
ENDLESS: Final = """nodes:
  loop: {type: while, params: {when: 'true', max_iterations: 1000000}, nodes: {in: {type: log, params: {message: x}}}}
limits: {max_steps: 1000000}
tests: {never ends: {}}
"""


def run(account: Client, definition: str) -> Any:
    reply = account.post(TEST, {"definition": definition})
    assert reply.status == 200, reply
    return reply.json


def test_each_test_says_whether_it_passed_and_what_differs(account: Client) -> None:
    found = run(account, TESTED)

    doubles, triples, asks = found["tests"]
    assert (found["passed"], found["failed"]) == (1, 2)
    assert (doubles["ok"], doubles["status"], doubles["path"]) == (True, "completed", ["ask", "nap", "count"])
    assert doubles["virtual_duration"] == 86_400_000
    assert triples["mismatches"] == [{"what": "result", "expected": 63, "actual": 42}]
    assert "would reach outside" in asks["problems"][0]
    assert triples["explanation"][-1] == "it ran: ask, nap, count"
    assert doubles["explanation"] == []


def test_a_test_whose_flow_failed_names_the_error(account: Client) -> None:
    definition = "nodes: {a: {type: transform, params: {value: '${input.b.c}'}}}\ntests: {t: {input: {b: null}}}"

    (test,) = run(account, definition)["tests"]

    assert [found["what"] for found in test["mismatches"]] == ["status"]
    assert "expected completed, but it failed: expression: ${input.b.c}" in test["explanation"][0]


def test_edges_that_no_test_takes_are_listed(account: Client) -> None:
    found = run(account, TESTED.replace("  asks: {}\n", ""))

    untaken = {"node": "ask", "action": "error", "target": "sorry"}
    assert found["coverage"] == {"edges": 3, "taken": 2, "never": [untaken]}


def test_a_definition_without_tests_has_no_results(account: Client) -> None:
    found = run(account, "nodes: {a: {type: return}}")

    assert (found["tests"], found["passed"], found["failed"]) == ([], 0, 0)


def test_a_definition_with_faults_is_not_run(account: Client) -> None:
    details = assert_error(account.post(TEST, {"definition": "nodes: {a: {type: retrun}}"}), 422)

    assert details["errors"][0]["fix"]["text"] == "return"


def test_who_may_only_read_runs_no_tests(admin: Client) -> None:
    assert_error(admin.new_account("viewer").post(TEST, {"definition": TESTED}), 403)


async def test_tests_that_do_not_end_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUNNER_ADMIN_PASSWORD", "not for tests")
    running = asyncio.create_task(TestProcesses(most_seconds=3).run(ENDLESS))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := processes()):  # noqa: ASYNC110 # seen in the list of processes
            await asyncio.sleep(0.02)
    environment = Path(f"/proc/{found[0]}/environ").read_bytes()  # noqa: ASYNC240 # no real file

    with pytest.raises(InvalidInput, match="longer than 3 s"):
        await running

    assert b"PATH=" in environment
    assert b"FLOWRUNNER" not in environment
    assert processes() == []


def processes() -> list[str]:
    """The processes that run tests for this one."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"flowrunner\0test\0-\0" in command:
            found.append(directory.name)
    return found


def test_javascript_of_tests_runs(account: Client) -> None:
    definition = (
        "nodes: {a: {type: transform, params: {script: 'return [1, 2].map(x => x * 2)'}}}\n"
        "tests: {t: {expect: {result: [2, 4]}}}"
    )

    assert run(account, definition)["passed"] == 1
