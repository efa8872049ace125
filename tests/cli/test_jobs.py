"""Dry runs, and the jobs that change many executions, against a server."""

import json

import pytest

from cli.command import on_a_terminal
from cli.servers import User
from client.scripted import answer, error, scripted

FAILING = """
metadata: {name: night}
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3], on_error: collect}
    nodes: {check: {type: fail, if: "item > 1", params: {error: too.much}}}
    next: bad
  bad: {type: fail, params: {error: shop.closed, message: "It is night"}}
"""
AGAIN = """
metadata: {name: again}
nodes: {bad: {type: fail, params: {error: shop.full}}}
"""
WAITING = """
metadata: {name: patient}
triggers: {early: {type: schedule, cron: "0 6 * * *"}}
nodes: {ask: {type: approval, params: {prompt: "Go on?"}, next: {approved: done, rejected: done}}, done: {type: return}}
"""


@pytest.fixture(scope="module")
def failed(user: User) -> str:
    user("flow", "create", "-", stdin=FAILING)
    id = user("run", "night", "-o", "name").stdout.strip()
    user("watch", id, code=3)
    return id


@pytest.fixture(scope="module")
def waiting(user: User) -> str:
    user("flow", "create", "-", stdin=WAITING)
    return user("run", "patient", "-o", "name").stdout.strip()


def test_a_dry_run_shows_what_a_selection_has_and_changes_nothing(user: User, failed: str, waiting: str) -> None:
    before = user.json("job", "list")

    done = user("rerun", "--error-type", "shop.closed", "--dry-run")
    assert done.stdout.splitlines()[1].startswith(failed)
    assert done.stderr == "Dry run: 1 execution would be re-run. Nothing was changed\n"
    plan = user.json("cancel", "--flow", "patient", "--dry-run")
    assert (plan["type"], plan["total"], [one["id"] for one in plan["executions"]]) == (
        "executions.cancel",
        1,
        [waiting],
    )
    assert user("executions", "delete", "--flow", "night", "--dry-run", "-o", "name").stdout == f"{failed}\n"
    for selection, total in (("night", 1), ("none", 0)):
        asked = ("executions", "delete", "--flow", selection, "--dry-run", "--query", "total")
        assert user(*asked, "-o", "name").stdout == f"{total}\n"
    assert user.json("executions", "delete", "--flow", "patient", "--dry-run")["total"] == 0

    assert user.json("job", "list") == before
    assert user.client.execution(failed)["status"] == "failed"
    assert user.client.execution(waiting)["status"] in ("running", "waiting")


def test_a_dry_run_of_named_executions_refuses_what_the_change_would(user: User, failed: str, waiting: str) -> None:
    assert "1 execution would be cancelled" in user("cancel", waiting[:20], "--dry-run").stderr
    assert "1 execution would be deleted" in user("executions", "delete", failed, "--dry-run").stderr
    assert "has already ended: it is failed" in user("cancel", waiting, failed, "--dry-run", code=1).stderr
    assert "has not ended: cancel it first" in user("executions", "delete", waiting, "--dry-run", code=6).stderr
    missing = f"exec-{'0' * 36}"
    for command in (["cancel"], ["rerun"], ["executions", "delete"]):
        user(*command, missing, "--dry-run", code=5)


def test_a_dry_run_of_a_rerun_looks_for_the_step_that_it_begins_at(user: User, failed: str) -> None:
    for start in ("bad", "check", "each.1[1]/check.1"):
        assert "1 execution would be re-run" in user("rerun", failed, "--from", start, "--dry-run").stderr
    assert "has not reached a step 'bed'" in user("rerun", failed, "--from", "bed", "--dry-run", code=6).stderr
    assert "--dry-run starts nothing to wait for" in user("rerun", failed, "--dry-run", "--wait", code=2).stderr
    user("rerun", failed, "--revision", "last", "--dry-run", code=6)
    assert user("executions", "list", "--rerun-of", failed, "-o", "name").stdout == ""


def test_a_dry_run_of_a_deleted_flow_says_what_goes_with_it(user: User, waiting: str) -> None:
    done = user("flow", "delete", "patient", "--dry-run", "-o", "json")

    planned = json.loads(done.stdout)
    assert done.stderr == "The flow would be deleted\n"
    assert {**planned, "id": None} == {
        "action": "delete", "id": None, "name": "patient", "revision": 1, "triggers": ["early"], "open_executions": 1,
    }  # fmt: skip
    assert user.json("flow", "get", "patient")["id"] == planned["id"]


def test_nothing_to_do_is_an_answer_for_programs_too(user: User) -> None:
    assert user.json("cancel", "--label", "team=none", "-y") == {
        "type": "executions.cancel", "total": 0, "executions": [],
    }  # fmt: skip
    assert user("cancel", "--label", "team=none", "-y", "-o", "name").stdout == ""


def test_steps_are_found_by_their_status_and_their_node(user: User, failed: str) -> None:
    listed = user("executions", "steps", failed, "--node", "check", "--status", "failed,skipped", "-o", "json").stdout

    assert [step["status"] for step in json.loads(listed)] == ["skipped", "failed", "failed"]
    assert user("executions", "steps", failed, "--status", "failed", "--scope", "", "-o", "name").stdout == "bad.1\n"
    assert (
        "status: must be one of running, retrying"
        in user("executions", "steps", failed, "--status", "x", code=6).stderr
    )
    assert (
        "--step prints one step" in user("executions", "steps", failed, "--step", "bad", "--node", "bad", code=2).stderr
    )


def test_a_job_is_printed_followed_and_stopped_by_the_beginning_of_its_id(user: User) -> None:
    # Its own flow and type of error: other tests count what the shared ones have.
    user("flow", "create", "-", stdin=AGAIN)
    user("run", "again", "--wait", code=3)
    id = user.json("rerun", "--job", user.json("rerun", "--flow", "again", "-y")["id"], "-y")["id"]

    assert user.json("job", "get", id[:-4])["status"] == "completed"
    assert user.json("job", "watch", id[:-4])["done"] == 1
    assert "has already ended" in user("job", "stop", id, "-y", code=6).stderr
    assert "'flowrunner job list' shows them" in user("job", "watch", "job-0000", code=5).stderr


JOB = {"id": "job-1", "type": "executions.rerun", "status": "running", "total": 5, "done": 1, "failed": 1, "errors": []}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"status": "completed", "done": 5, "failed": 0}, 0, ""),
        ({"status": "completed", "done": 4, "errors": [{"item": "exec-1", "message": "full"}]}, 1, "exec-1: full\n"),
        ({"status": "completed", "failed": 3, "errors": [{"item": "exec-1", "message": "full"}]}, 1,
         "exec-1: full\n… and 2 more\n"),
        ({"status": "cancelled"}, 9, "flowrunner: the job was stopped\n"),
    ],
)  # fmt: skip
def test_the_exit_code_says_how_a_job_has_ended(user: User, changed: dict[str, object], code: int, said: str) -> None:
    ended = {**JOB, "errors": [], **changed}
    job = f"job-{'0' * 36}"
    with scripted(answer(200, ended)) as other:
        done = user("job", "watch", job, "--url", other.url, code=code)

    assert done.stderr.endswith(said)


def test_people_are_told_why_once_and_programs_get_the_list(user: User) -> None:
    ended = {**JOB, "status": "completed", "errors": [{"item": "exec-1", "message": "full"}]}
    command = ("job", "watch", f"job-{'0' * 36}")
    with scripted(answer(200, ended), answer(200, ended), answer(200, ended)) as other:
        told = user(*command, "--url", other.url, code=1)
        quiet = user(*command, "--url", other.url, "-q", code=1)
        listed = user.json(*command, "--url", other.url, code=1)

    assert (told.stderr.count("exec-1: full"), "errors" in told.stdout) == (1, False)
    assert (quiet.stderr.count("full"), quiet.stdout.count("full")) == (0, 1)
    assert listed["errors"] == ended["errors"]


def test_a_job_that_takes_too_long_goes_on(user: User) -> None:
    job = f"job-{'0' * 36}"
    with scripted(answer(200, JOB), answer(200, JOB)) as other:
        done = user("job", "watch", job, "--timeout", "1ms", "--url", other.url, code=8)

    assert done.stderr.endswith("The job has not ended after 0.001 s. It continues: flowrunner job watch job-1\n")


def test_a_terminal_shows_how_far_a_job_is(user: User) -> None:
    ended = {**JOB, "status": "completed", "done": 5, "failed": 0}
    with scripted(answer(200, JOB), answer(200, ended)) as other:
        seen = on_a_terminal(
            "job", "watch", f"job-{'0' * 36}", "--url", other.url, at=user.home, environment=user.environment
        )

    assert "job-1: 2 of 5, 1 failed" in seen
    assert seen.index("job-1: 2 of 5") < seen.rindex("\x1b[2K") < seen.index("completed")


def test_the_time_limit_holds_while_the_server_is_away(user: User) -> None:
    job = f"job-{'0' * 36}"
    with scripted(answer(200, JOB), *[error(503, "UNAVAILABLE")] * 40) as other:
        done = user("job", "watch", job, "--timeout", "600ms", "--url", other.url, code=8)

    assert "The job has not ended after 0.6 s" in done.stderr


def test_a_dry_run_of_a_rerun_begins_at_no_node_that_ran_in_a_handler_alone(user: User) -> None:
    handled = """
metadata: {name: handled}
on_failure: tell
nodes:
  bad: {type: fail, params: {error: shop.closed}}
  tell: {type: log, params: {message: x}}
"""
    user("flow", "create", "-", stdin=handled)
    id = user("run", "handled", "-o", "name").stdout.strip()
    user("watch", id, code=3)

    assert "has not reached a step 'tell'" in user("rerun", id, "--from", "tell", "--dry-run", code=6).stderr
