"""`flowrunner executions` and what belongs to it, against a server."""

import json
import re
import signal
import socket
import time
from pathlib import Path

import msgspec
import pytest

from cli.command import on_a_terminal, start_flowrunner
from cli.servers import User
from client.scripted import answer, scripted
from flowrunner.api.jobs import JobErrorAnswer
from flowrunner.api.signals import SignalledExecutions
from flowrunner.cli.text import width
from support.server import Server

FAILING = """
metadata: {name: failing}
nodes:
  tell: {type: log, params: {message: "all is \\e]0;owned\\a well"}, next: bad}
  bad: {type: fail, params: {error: shop.closed, message: "It is night"}}
"""
ASKING = """
metadata: {name: asking}
nodes:
  each:
    {type: foreach, params: {items: [1, 2, 3]}, nodes: {inner: {type: transform, params: {value: 1}}}, next: ask}
  ask: {type: approval, params: {prompt: "Ship 日本?"}, next: {approved: yes_, rejected: no_}}
  yes_: {type: return, params: {value: {shipped: true}}}
  no_: {type: return, params: {value: {shipped: false}}}
"""


@pytest.fixture(scope="module", autouse=True)
def flows(user: User) -> None:
    for document in (FAILING, ASKING):
        user("flow", "create", "-", stdin=document)


def started(user: User, flow: str) -> str:
    return user("run", flow, "-o", "name").stdout.strip()


def failed(user: User) -> str:
    id = started(user, "failing")
    user("watch", id, code=3)
    return id


def waiting(user: User, flow: str = "asking") -> str:
    id = started(user, flow)
    deadline = time.monotonic() + 30
    while user.client.execution(id)["status"] != "waiting" and time.monotonic() < deadline:
        time.sleep(0.02)
    return id


def test_a_failure_is_told_with_what_to_do_next(user: User) -> None:
    done = user("run", "failing", "--wait", code=3)

    assert done.stdout == ""
    assert "flowrunner: the execution failed at bad.1: shop.closed: It is night" in done.stderr
    assert "hint: flowrunner logs exec-" in done.stderr
    assert "flowrunner executions params exec-" in done.stderr


def test_what_happens_is_a_line_each(user: User) -> None:
    done = user("run", "failing", "--follow", code=3)

    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines()[:4]]
    assert lines[0] == "start tell.1 (log)"
    assert lines[1].startswith("info  tell: all is \\x1b]0;owned\\x07 well")
    assert lines[2].startswith("done  tell.1 in ")
    assert done.stderr.count("It is night") == 2, "once in the log, and once as the end"


def test_a_list_tells_which_execution_waits_for_a_slot(user: User) -> None:
    document = "limits: {concurrency: {max: 1}}\nnodes: {go: {type: wait, params: {key: go}}}"
    flow = user.client.new_flow(document, name="has one slot")
    user.client.waiting_at(user.client.run(flow), "go")
    user.client.run(flow)

    lines = user("executions", "list", "--flow", "has one slot", "--status", "running").stdout.splitlines()

    assert [line.split()[-2] for line in lines[1:]] == ["concurrency"]
    user("cancel", "--flow", "has one slot", "--yes")


def test_executions_are_found(user: User) -> None:
    id = failed(user)

    lines = user("executions", "list", "--flow", "failing", "--status", "failed", "--since", "1h").stdout.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "FLOW", "STARTED", "DURATION", "WAIT", "ERROR"]
    assert lines[1].startswith(id)
    assert user("executions", "list", "--until", "1h", "-o", "name").stdout == ""
    assert user("executions", "list", "--unrepaired", "--node", "bad", "--error-type", "shop.closed", "-n", "1",
                "-o", "name").stdout == f"{id}\n"  # fmt: skip
    listed = user("executions", "list", "-o", "ndjson", "--fields", "id,status").stdout.splitlines()
    assert json.loads(listed[0]).keys() == {"id", "status"}
    assert user("executions", "list", "--status", "lost", code=6)


def test_a_time_that_is_none_is_answered_with_examples(user: User) -> None:
    for command in (["executions", "list"], ["audit", "list"]):
        told = user(*command, "--since", "yesterday", code=2).stderr
        assert "--since: 'yesterday' is no time: write 1h or 7d for that long ago, 2027-01-31, or" in told
    assert "since: must be a moment" in user("executions", "list", "--since", "2026-13-01", code=6).stderr


def test_executions_have_labels_and_are_found_by_them(user: User) -> None:
    id = user("run", "asking", "--label", "team=core", "--label", "customer:7", "-o", "name").stdout

    assert user("executions", "list", "--label", "team:core", "--label", "customer=7", "-o", "name").stdout == id
    assert user("executions", "list", "--label", "team=other", "-o", "name").stdout == ""
    again = user("rerun", id.strip(), "--set-label", "team=web", "--set-label", "customer=7", "-o", "name").stdout
    assert user("executions", "list", "--label", "team:web", "-o", "name").stdout == again
    assert "--set-label takes" in user("rerun", id.strip(), "--set-label", "team", code=2).stderr
    assert user.json("cancel", "--label", "customer=7", "-y")["done"] == 2
    assert "--label takes" in user("run", "asking", "--label", "team", code=2).stderr


def test_a_signal_is_sent_by_the_input_of_executions(user: User) -> None:
    user("flow", "create", "-", stdin="""
metadata: {name: paying}
inputs: {order: {type: string, searchable: true}}
nodes: {paid: {type: wait, params: {key: paid}}}
""")  # fmt: skip
    first = user("run", "paying", "-i", "order=4711", "--label", "team=pay", "-o", "name").stdout.strip()
    other = user("run", "paying", "-i", "order=4712", "-o", "name").stdout.strip()

    sent = ("signal", "paid", "--flow", "paying", "--with-input", "order=4711", "--payload", "20")
    assert user(*sent, "-o", "name").stdout.split() == [first]
    user("watch", first)
    assert user.json("executions", "output", first) == 20
    assert user.json("executions", "get", other)["status"] in ("running", "waiting")
    assert "No open execution fits the filter" in user(*sent, code=5).stderr
    assert "Give an ID and a KEY" in user("signal", first, "paid", "--label", "team=pay", code=2).stderr
    assert "Give an ID and a KEY" in user("signal", "paid", code=2).stderr
    assert "needs an input or a label" in user("signal", "paid", "--flow", "paying", code=6).stderr


def test_who_could_not_take_a_signal_is_told_beside_those_that_have_it(user: User) -> None:
    refused = JobErrorAnswer(item="exec-2", message="The execution has already ended")
    sent = msgspec.to_builtins(SignalledExecutions(executions=["exec-1"], errors=[refused]))
    with scripted(answer(200, sent)) as other:
        done = user("signal", "paid", "--with-input", "order=4711", "--url", other.url, "-o", "name", code=1)

    assert (done.stdout.split(), done.stderr.splitlines()) == (["exec-1"], ["exec-2: The execution has already ended"])


def test_the_failed_elements_of_a_loop_are_run_again(user: User) -> None:
    user("flow", "create", "-", stdin="""
metadata: {name: halves}
nodes:
  each:
    type: foreach
    params: {items: [1, 2], on_error: continue}
    nodes: {check: {type: transform, params: {value: "${item == 2 && !flow.input.ok ? null.x : item}"}}}
""")  # fmt: skip
    first = user("run", "halves", "-o", "name").stdout.strip()
    user("watch", first)

    again = user("rerun", first, "--from", "each", "--elements", "failed", "-i", "ok=true", "-o", "name").stdout.strip()

    user("watch", again)
    assert user.json("executions", "output", again) == [1, 2]
    assert "have completed" in user("rerun", again, "--from", "each", "--elements", "failed", code=6).stderr


def test_executions_are_selected_by_what_has_started_them_by_the_beginning_of_its_id(user: User) -> None:
    user("flow", "create", "-", stdin="""
metadata: {name: timed}
triggers: {early: {type: schedule, cron: "0 6 * * *"}}
nodes: {a: {type: return}}
""")  # fmt: skip
    first = user("trigger", "run", "timed/early", "-o", "name").stdout.strip()
    user("watch", first)
    again = user("rerun", first, "-o", "name").stdout.strip()
    user("watch", again)
    job = user.json("rerun", "--rerun-of", first[:-8], "--status", "completed", "-y")
    trigger = user.json("trigger", "get", "timed/early")["id"]

    def found(*given: str) -> list[str]:
        return user("executions", "list", *given, "-o", "name").stdout.split()

    assert found("--trigger", "timed/early") == found("--trigger", trigger[:-8]) == found("--trigger", trigger)
    assert found("--rerun-of", first[:-8]) == [again]
    assert len(found("--job", job["id"][:-8])) == 1
    assert "'flowrunner job list' shows them" in user("executions", "list", "--job", "job-0000", code=5).stderr
    assert user.json("executions", "delete", "--rerun-of", first[:-8], "-y")["done"] == 1
    assert found("--rerun-of", first) == []


def test_sub_flows_are_selected_by_the_execution_that_has_waited_for_them(user: User) -> None:
    user("flow", "create", "-", stdin="{metadata: {name: part}, nodes: {a: {type: return}}}")
    user("flow", "create", "-", stdin="{metadata: {name: whole}, nodes: {a: {type: flow, params: {flow: part}}}}")
    whole = user("run", "whole", "-o", "name").stdout.strip()
    user("watch", whole)
    part = user("executions", "list", "--flow", "part", "-o", "name").stdout.strip()

    def found(*given: str) -> list[str]:
        return user("executions", "list", *given, "-o", "name").stdout.split()

    assert found("--parent", whole) == found("--parent", whole[:-8]) == [part]
    assert found("--parent", "none", "--flow", "part") == found("--parent", part) == []
    assert found("--parent", "none", "--flow", "whole") == [whole]
    assert "'flowrunner executions list' shows them" in user("executions", "list", "--parent", "x", code=5).stderr
    user("executions", "delete", whole, "-y")
    assert user.json("executions", "delete", "--parent", whole, "-y")["done"] == 1
    assert found("--flow", "part") == []


def test_executions_are_found_by_the_values_of_their_inputs(user: User) -> None:
    inputs = "inputs: {order_id: {type: string, searchable: true}, region: {type: string, searchable: true}}"
    user("flow", "create", "-", stdin=f"metadata: {{name: orders}}\n{inputs}\nnodes: {{a: {{type: fail}}}}\n")
    ids = {id: user("run", "orders", "-i", f"order_id={id}", "-i", "region=eu", "-o", "name").stdout for id in "12"}
    for id in ids.values():
        user("watch", id.strip(), code=3)

    def found(*given: str) -> str:
        return user(
            "executions", "list", *(part for one in given for part in ("--with-input", one)), "-o", "name"
        ).stdout

    assert found("order_id=2") == found("order_id=2", "region=eu") == ids["2"]
    assert found("region=eu") == ids["2"] + ids["1"]
    assert found("order_id=2", "region=us") == ""
    assert "searchable: true" in user("executions", "list", "--with-input", "order_id=3").stderr
    assert "--with-input takes a name and a value" in user("executions", "list", "--with-input", "2", code=2).stderr
    selected = ("--with-input", "order_id=2", "--status", "failed", "--unrepaired")
    assert user.json("rerun", *selected, "-y")["done"] == 1


def test_an_execution_is_named_by_the_beginning_of_its_id(user: User) -> None:
    id = failed(user)

    for given in (id, id[:20], id.removeprefix("exec-")[:15]):
        assert user.json("executions", "get", given)["id"] == id
    assert "There is no execution" in user("executions", "get", "exec-zzzzzzzzzz", code=5).stderr
    assert "matches" in user("executions", "get", id[:9], code=6).stderr
    for given in ("../flows", "exec-", "", "exec-%2e%2e", "1 OR 1=1", id[:8], "0"):
        user("executions", "get", given, code=5)


@pytest.mark.parametrize("text", ["\u00e4PFEL", "\u03c3", "\u0130", "i\u0307", "stra\u00dfe", "\u00b5"])
def test_a_search_that_follows_finds_what_one_of_the_server_finds(user: User, text: str) -> None:
    name, message = f"letters {ord(text[0])}", "\u00c4pfel \u03a3\u03c2 \u0130zmir STRASSE 5 \u039cm"
    definition = f"nodes: {{a: {{type: log, params: {{message: '{message}'}}}}}}"
    user("flow", "create", "-", "--name", name, stdin=definition)
    user("run", name, "--wait")
    (execution,) = user.json("executions", "list", "--flow", name)

    listed, followed = (user.json("logs", execution["id"], *follow, "--search", text) for follow in ([], ["-f"]))

    assert [one["message"] for one in followed] == [one["message"] for one in listed]


def test_lines_of_a_log_that_is_followed_have_the_members_that_a_whole_log_has(user: User) -> None:
    tell = 'tell: {type: log, params: {message: "${item}"}}'
    definition = f"nodes: {{each: {{type: foreach, params: {{items: [1, 2]}}, nodes: {{{tell}}}}}}}"
    user("flow", "create", "-", "--name", "telling", stdin=definition)
    user("run", "telling", "--wait")
    (execution,) = user.json("executions", "list", "--flow", "telling")

    listed, followed = (user.json("logs", execution["id"], *follow) for follow in ([], ["-f"]))

    assert followed == listed != []


def test_a_failed_execution_shows_its_log_steps_events_and_output(user: User) -> None:
    id = failed(user)

    assert "error bad.1: It is night" in user("logs", id, "--failed").stdout
    assert "tell" not in user("executions", "logs", id, "--level", "error").stdout
    assert "\x1b" not in user("logs", id).stdout
    assert [one["node_id"] for one in user.json("logs", id, "-f", "--node", "tell", "--search", "WELL")] == ["tell"]
    followed, listed = (user.json("logs", id, *follow, "--level", "error") for follow in (["-f"], []))
    assert [one["message"] for one in followed] == [one["message"] for one in listed] != []
    assert [one["step"] for one in user.json("executions", "steps", id)] == ["tell.1", "bad.1"]
    assert user.json("executions", "steps", id, "--step", "bad.1")["each_attempt"][0]["status"] == "failed"
    recorded = user("executions", "events", id).stdout.splitlines()
    assert recorded == user("executions", "events", id, "-f").stdout.splitlines()
    assert json.loads(recorded[-1])["type"] == "execution_failed"
    assert "The execution failed: " in user("executions", "output", id, code=3).stderr
    assert json.loads(user("executions", "output", id, "--step", "tell.1").stdout) == {}
    assert user("executions", "output", id, "--step", "tell.1", "-o", "ndjson").stdout == "{}\n"
    assert json.loads(user("executions", "params", id).stdout) == {"error": "shop.closed", "message": "It is night"}
    assert user("executions", "params", id, "--step", "bad").stdout == user("executions", "params", id).stdout
    for command in ("output", "params", "steps"):
        told = user("executions", command, id, "--step", "nothing.1", code=5).stderr
        assert "has no step 'nothing.1': 'flowrunner executions steps' shows them" in told
    assert user("logs", id, "--node", "nothing").stderr == "The log has no such line\n"


def test_parameters_that_cannot_be_shown_are_not_said_to_be_none(user: User) -> None:
    user("flow", "create", "-", "--name", "lacks", stdin="""\
nodes:
  quiet: {type: log, if: "flow.input.loud", params: {message: hello}, next: say}
  say: {type: log, params: {message: "${secrets.MISSING}", level: warn}, next: {error: ask}}
  ask: {type: log, if: "secrets.MISSING == 1", params: {message: hello}}
""")  # fmt: skip
    id = user.json("run", "lacks")["execution_id"]
    user("watch", id, code=3)

    skipped, partly, failed = (user("executions", "params", id, "--step", step) for step in ("quiet", "say", "ask"))

    assert "The step quiet was given no parameters" in skipped.stderr
    assert json.loads(partly.stdout)["level"] == "warn"
    assert "No parameters of the step ask can be shown" in failed.stderr
    for one in (partly, failed):
        assert "there is no secret 'MISSING'" in one.stderr


def test_the_name_of_a_node_means_its_latest_step(user: User) -> None:
    user("flow", "create", "-", "--name", "twice", stdin="""\
vars: {n: 0}
nodes:
  count: {type: set, params: {n: "${vars.n + 1}"}, next: look}
  look: {type: transform, params: {value: "${vars.n}"}, next: again}
  again: {type: switch, params: {cases: [{when: "vars.n < 2", action: more}]}, next: {more: count, default: done}}
  done: {type: return, params: {value: "${vars.n}"}}
""")  # fmt: skip
    user("run", "twice", "--wait")
    (execution,) = user.json("executions", "list", "--flow", "twice")

    assert user("executions", "output", execution["id"], "--step", "look").stdout == "2\n"
    assert user("executions", "output", execution["id"], "--step", "look.1").stdout == "1\n"
    assert user.json("executions", "steps", execution["id"], "--step", "look")["step"] == "look.2"


def test_a_signal_is_sent_and_one_for_which_nothing_waits_is_named(user: User) -> None:
    user("flow", "create", "-", "--name", "signalled", stdin="""\
nodes:
  paid: {type: wait, params: {key: paid/7}, next: shipped}
  shipped: {type: wait, params: {key: shipped}, next: done}
  done: {type: return, params: {value: ["${nodes.paid.result}", "${nodes.shipped.result}"]}}
""")  # fmt: skip
    id = waiting(user, "signalled")

    early = user("signal", id, "shipped").stderr
    sent = user("signal", id[:25], "paid/7", "--payload", '{"amount": 20}').stderr

    assert early == (
        "Signal accepted\nNo step waits for 'shipped' now, so it is kept for the next one that does; "
        "steps wait for 'paid/7'\n"
    )
    assert sent == "Signal accepted\n"
    assert json.loads(user("watch", id, "-q").stdout) == [{"amount": 20}, None]
    assert user("signal", id, "paid/7", code=6)


def test_an_approval_is_listed_and_answered(user: User) -> None:
    id = waiting(user)

    lines = user("approve").stdout.splitlines()
    assert lines[0].split() == ["EXECUTION", "ID", "NODE", "PROMPT", "FLOW", "SINCE", "UNTIL"]
    assert any(line.startswith(id) and "Ship 日本?  asking" in line for line in lines)
    assert "there is no result yet" in user("executions", "output", id, code=8).stderr
    assert user("approve", id, code=2)
    assert user("approve", id, "nobody", code=6)
    assert user("approve", id[:25], "ask", "--reject").stderr == "Rejected\n"
    assert json.loads(user("watch", id, "-q").stdout) == {"shipped": False}
    assert user("approve", id, "ask", code=6)
    assert "No node has failed: this is the whole log" in user("logs", id, "--failed").stderr


def test_the_time_to_wait_is_limited(user: User) -> None:
    done = user("run", "asking", "--timeout", "300ms", code=8)

    assert done.stdout == ""
    assert "after 0.3 s. It continues: flowrunner watch exec-" in done.stderr
    assert "after 0 s. It continues" in user("run", "asking", "--timeout", "0s", code=8).stderr


def test_executions_are_cancelled(user: User) -> None:
    id = waiting(user)

    assert "no result yet" in user("executions", "output", id, code=8).stderr
    assert "--yes" in user("cancel", id, code=2).stderr
    assert "cancelled" in user("cancel", id, "-y").stderr
    assert "was cancelled" in user("watch", id, code=9).stderr
    assert "was cancelled" in user("executions", "output", id, code=9).stderr
    assert user("executions", "cancel", id, "-y", code=6)
    user("cancel", code=2)
    user("cancel", id, "--flow", "asking", code=2)


def test_an_execution_that_cannot_be_changed_leaves_the_others_of_a_command_to_be_tried(user: User) -> None:
    first, ended, last, missing = waiting(user), failed(user), waiting(user), f"exec-{'0' * 36}"

    planned = user("cancel", first, ended, missing, last, "--dry-run", code=1)
    assert f"{ended} has already ended: it is failed" in planned.stderr
    assert f"flowrunner: {missing}: " in planned.stderr
    assert "2 executions would be cancelled" in planned.stderr
    done = user("cancel", first, ended, missing, last, "-y", code=1)
    assert {user.client.execution(id)["status"] for id in (first, last)} == {"cancelled"}
    assert f"flowrunner: {ended}: " in done.stderr
    assert f"flowrunner: {missing}: " in done.stderr
    running = waiting(user)
    refused = user("executions", "delete", first, running, last, "-y", code=1)
    assert f"flowrunner: {running}: " in refused.stderr
    for id in (first, last):
        user("executions", "get", id, code=5)


def test_a_reason_that_meets_all_executions_of_a_command_is_given_once(user: User) -> None:
    ids = [waiting(user), waiting(user)]

    assert user("cancel", *ids, code=2).stderr.count("give --yes to confirm") == 1
    assert user("cancel", *ids, "-y", "--token", "@/dev/stdin", stdin="fr_wrong", code=4).stderr.count("hint") == 1


def test_many_executions_are_changed_after_a_question(user: User) -> None:
    user("cancel", "--flow", "asking", "-y")
    ids = {waiting(user) for _ in range(3)}
    failed(user)

    assert "Cancel 3 executions, such as exec-" in user("cancel", "--flow", "asking", code=2).stderr
    assert user.json("cancel", "--flow", "asking", "--yes")["done"] == 3
    assert {user.client.execution(id)["status"] for id in ids} == {"cancelled"}
    assert "no execution is selected" in user("cancel", "--flow", "asking").stderr
    assert user.json("executions", "delete", "--flow", "asking", "--status", "cancelled", "-y")["done"] >= 3
    assert user.json("rerun", "--flow", "failing", "--since", "1h", "-y")["total"] > 0
    assert user.json("job", "list")[0]["type"] == "executions.rerun"
    assert user("rerun", "--flow", "failing", "--from", "bad", code=2)


def test_a_job_of_which_an_item_has_failed_is_a_failure(user: User) -> None:
    id = failed(user)
    flow = user.client.execution(id)["flow_id"]
    user("flow", "update", flow, "--disable")
    try:
        done = user("rerun", "--flow", "failing", "--since", "1h", "-y", code=1)
    finally:
        user("flow", "update", flow, "--enable")

    assert f"{id}: " in done.stderr


def test_an_execution_is_repeated_from_a_node(user: User) -> None:
    id = failed(user)

    assert "shop.closed" in user("rerun", id, "--from", "bad", "--wait", code=3).stderr
    again = user.json("executions", "rerun", id, "--revision", "1", "--same-keys", "-i", '{"a": 1}')
    assert user.json("executions", "get", again["execution_id"])["rerun_of"] == id
    assert user("rerun", id, "--from", "nothing", code=6)
    user("rerun", id, id, code=2)


def test_an_execution_that_has_ended_is_deleted(user: User) -> None:
    id = failed(user)

    user("executions", "delete", id, "-y")

    user("executions", "get", id, code=5)


def test_ctrl_c_detaches_and_a_second_one_cancels(user: User) -> None:
    for interrupts, status in ((1, "waiting"), (2, "cancelled")):
        id = waiting(user)
        process = start_flowrunner("watch", id, at=user.home, environment=user.environment)
        assert process.stderr is not None
        while "wait  ask.1" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        while "again to cancel" not in process.stderr.readline():
            pass
        if interrupts == 2:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

        assert process.returncode == 130
        assert user.client.execution(id)["status"] == status


def test_who_waits_is_told_of_a_killed_server_and_gets_the_result_of_the_next_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = Server(tmp_path, flags=("--port", port)).start()
    try:
        user = User(server.admin(), tmp_path)
        user("flow", "create", "-", stdin=ASKING)
        id = waiting(user)
        process = start_flowrunner("watch", id, at=tmp_path, environment=user.environment)
        assert process.stderr is not None
        while "wait  ask.1" not in process.stderr.readline():
            pass
        followers = [
            start_flowrunner(*command, id, "-f", at=tmp_path, environment=user.environment)
            for command in (["logs"], ["executions", "events"])
        ]
        for one in followers:
            assert one.stdout is not None
            assert one.stdout.readline()
        server.kill()
        for one in (process, *followers):
            assert one.stderr is not None
            while "The execution continues when the server is back" not in one.stderr.readline():
                assert one.poll() is None
        server.start()
        user("approve", id, "ask")
        result, _ = process.communicate(timeout=60)
        rest = [one.communicate(timeout=60)[0] for one in followers]
    finally:
        server.stop()

    assert json.loads(result) == {"shipped": True}
    assert process.returncode == 0
    assert [one.returncode for one in followers] == [0, 0]
    assert all(text.count("Execution completed") == 1 for text in rest), rest


def test_a_line_of_a_wait_says_when_it_ends(user: User) -> None:
    user("flow", "create", "-", stdin="metadata: {name: resting}\nnodes: {rest: {type: delay, params: {duration: 1s}}}")

    lines = user("run", "resting", "--follow").stderr

    assert re.search(r"wait  rest.1 \(delay\) until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\n", lines), lines


def test_a_terminal_shows_a_tree_that_is_drawn_again(user: User) -> None:
    shown = on_a_terminal("run", "asking", "--timeout", "1s", at=user.home, environment=user.environment)

    assert "\x1b[" in shown
    last = shown.rpartition("\x1b[J")[2]
    assert "each.1" in last
    assert 'for an approval: "Ship 日本?"' in last
    assert "inner" not in last

    for redirected in (False, True):
        narrow = on_a_terminal(
            "run", "asking", "--timeout", "1s", at=user.home, environment=user.environment, columns=40,
            redirected=redirected,
        )  # fmt: skip
        drawn = re.sub(r"\x1b\[\d*m", "", narrow).partition("\x1b[J")[2]
        rows_drawn = [line for line in drawn.splitlines() if line.startswith("  ") and ".1" in line]
        assert rows_drawn
        assert max(map(width, rows_drawn)) <= 40, "a longer line would be two lines, of which one is never erased"

    rows = re.sub(r"\x1b\[\d*m", "", on_a_terminal("executions", "list", at=user.home, environment=user.environment))
    assert max(map(len, rows.splitlines())) <= 80
    shown_id = rows.splitlines()[1].split()[0]
    assert user.json("executions", "get", shown_id)["id"].startswith(shown_id)

    coloured = on_a_terminal("executions", "list", at=user.home, environment=user.environment)
    plain = on_a_terminal("executions", "list", at=user.home, environment={**user.environment, "NO_COLOR": "1"})
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert "\x1b[" not in on_a_terminal("--no-color", "executions", "list", at=user.home, environment=user.environment)
