"""The server's log tells of every request, step and failure, and of nothing that they work with."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from flowrunner.logs import LineWriter
from security.canaries import PLAIN, leaks
from support.server import ADMIN_EMAIL, Server
from support.waiting import wait_for

CANARY: Final = "canary-Zq8mW3xR7tLp"
FLOW: Final = f"""
inputs: {{order: {{type: string}}}}
on_finish: tidy
nodes:
  take: {{type: transform, params: {{value: "${{input.order}} ${{secrets.PLAIN}}"}}, next: skip}}
  skip: {{type: log, if: false, params: {{message: hello}}, next: often}}
  often:
    type: transform
    params: {{script: "throw new Error('{CANARY}')"}}
    retry: {{max: 1, delay: 10ms, errors: [script]}}
  tidy: {{type: log, params: {{message: "{CANARY}"}}}}
"""
REFUSED: Final = {"request_id", "method", "route", "status", "duration_ms", "account_id", "event", "level", "timestamp"}


class Logged:
    """A server, and what it has logged by the end."""

    def __init__(self, directory: Path, level: str) -> None:
        self._server = Server(directory, {"LOG_LEVEL": level, "LOG_FORMAT": "json"})

    def __enter__(self) -> Server:
        return self._server.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def text(self) -> str:
        return self._server.log

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@pytest.fixture(params=["debug", "info"])
def logged(request: pytest.FixtureRequest, tmp_path: Path) -> Logged:
    return Logged(tmp_path, request.param)


@pytest.fixture
def all_logged(tmp_path: Path) -> Logged:
    return Logged(tmp_path, "debug")


@pytest.fixture
def usual(tmp_path: Path) -> Logged:
    return Logged(tmp_path, "info")


def facts(event: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(event.get(name) for name in names)


def test_with_debug_each_request_has_one_event_and_no_value_in_it(all_logged: Logged) -> None:
    with all_logged as server:
        account = server.admin().new_account()
        account.new_secret("PLAIN", PLAIN)
        flow = account.new_flow(FLOW)
        replies = [
            account.get("/api/v1/flows", name=CANARY),
            account.get(f"/api/v1/flows/{CANARY}"),
            account.get(f"/{CANARY}"),
            account.post(f"/api/v1/flows/{flow}/run", {"input": {"order": CANARY}}),
            account.post("/api/v1/flows", {CANARY: CANARY}),
            server.client(CANARY).get("/api/v1/flows"),
            server.client().request("GET", "/healthz", headers={"X-Request-Id": "mine.1"}),
        ]
        account.ended(replies[3].json["execution_id"])

    by_id = Counter(event["request_id"] for event in all_logged.named("request.finished"))
    assert set(by_id.values()) == {1}
    found = {event["request_id"]: event for event in all_logged.named("request.finished")}
    assert [facts(found[r.headers["x-request-id"]], "method", "route", "status", "account_id") for r in replies] == [
        ("GET", "/api/v1/flows", 200, account.account_id),
        ("GET", "/api/v1/flows/{id}", 404, account.account_id),
        ("GET", None, 404, None),
        ("POST", "/api/v1/flows/{id}/run", 201, account.account_id),
        ("POST", "/api/v1/flows", 422, account.account_id),
        ("GET", "/api/v1/flows", 401, None),
        ("GET", "/healthz", 200, None),
    ]
    assert all(set(event) == REFUSED and event["duration_ms"] > 0 for event in found.values())
    assert "mine.1" in found
    assert leaks({"log": all_logged.text}, (PLAIN, CANARY, account.token or "", account.email)) == []


def test_with_debug_each_socket_has_one_event(all_logged: Logged) -> None:
    with all_logged as server:
        account = server.admin().new_account()
        execution = account.run(account.new_flow("nodes: {a: {type: transform, params: {value: 1}}}"))
        account.ended(execution)
        with account.watch(execution) as socket:
            list(socket)
        with pytest.raises(InvalidStatus):
            server.client().watch(execution)

    sockets = [event for event in all_logged.named("request.finished") if event["method"] == "WEBSOCKET"]
    assert [facts(event, "status", "route", "account_id") for event in sockets] == [
        (101, "/ws/executions/{execution_id}", account.account_id),
        (401, "/ws/executions/{execution_id}", None),
    ]


def test_with_debug_each_step_has_an_event_with_its_end(all_logged: Logged) -> None:
    with all_logged as server:
        account = server.admin().new_account()
        account.new_secret("PLAIN", PLAIN)
        execution = account.run(account.new_flow(FLOW), {"order": CANARY})
        account.ended(execution)
        again = account.post(f"/api/v1/executions/{execution}/rerun", {"from": "skip.1"})
        assert again.status == 201, again
        account.ended(again.json["execution_id"])

    steps = [event for event in all_logged.named("step.finished") if event["execution_id"] == execution]
    assert [facts(step, "node", "type", "attempt", "state", "error_type") for step in steps] == [
        ("take", "transform", 1, "completed", None),
        ("skip", "log", 1, "skipped", None),
        ("often", "transform", 1, "retrying", "script"),
        ("often", "transform", 2, "failed", "script"),
        ("tidy", "log", 1, "completed", None),
    ]
    assert all(step["duration_ms"] >= 0 and step["workspace_id"] == account.account_id for step in steps)
    # What the execution before has done is not told twice.
    rerun = [step for step in all_logged.named("step.finished") if step["execution_id"] != execution]
    assert [step["node"] for step in rerun] == ["skip", "often", "often", "tidy"]
    assert leaks({"log": all_logged.text}, (PLAIN, CANARY)) == []


def test_each_ended_execution_leaves_one_line_without_values(logged: Logged) -> None:
    with logged as server:
        account = server.admin().new_account()
        account.new_secret("PLAIN", PLAIN)
        flow = account.new_flow(FLOW)
        execution = account.run(flow, {"order": CANARY})
        account.ended(execution)
        completed = account.run_to_end(f"nodes: {{a: {{type: transform, params: {{value: {CANARY}}}}}}}")["id"]
        cancelled = account.run(account.new_flow("nodes: {a: {type: wait, params: {key: k}}}"))
        account.until_it_waits(cancelled)
        assert account.delete(f"/api/v1/executions/{cancelled}").status < 300
        account.ended(cancelled)

    (line,) = logged.named("execution.failed")
    assert facts(line, "execution_id", "workspace_id", "flow_id", "node", "error_type") == (
        execution, account.account_id, flow, "often", "script",
    )  # fmt: skip
    assert line["duration_ms"] >= 10
    (line,) = logged.named("execution.completed")
    assert facts(line, "execution_id", "workspace_id", "node") == (completed, account.account_id, None)
    (line,) = logged.named("execution.cancelled")
    assert facts(line, "execution_id", "workspace_id") == (cancelled, account.account_id)
    assert leaks({"log": logged.text}, (PLAIN, CANARY)) == []


def test_a_refused_request_to_a_webhook_leaves_a_line_without_what_was_sent(usual: Logged) -> None:
    trigger = '{type: webhook, verify: {scheme: standard, secret: "${secrets.PLAIN}"}}'
    with usual as server:
        account = server.admin().new_account()
        account.new_secret("PLAIN", PLAIN)
        flow = account.new_flow(f"triggers: {{in: {trigger}}}\nnodes: {{a: {{type: return}}}}")
        (hook,) = account.get("/api/v1/triggers").json["triggers"]
        path = urlsplit(hook["url"]).path
        for _ in range(30):
            server.client().post(path, {"said": CANARY}, **{"webhook-signature": CANARY})
        server.client().get(path, said=CANARY)

    lines = usual.named("hook.refused")
    assert len(lines) == 10, "a flood leaves few lines"
    assert {facts(line, "trigger_id", "workspace_id", "flow_id") for line in lines} == {
        (hook["id"], account.account_id, flow)
    }
    assert leaks({"log": usual.text}, (PLAIN, CANARY, path.rpartition("/")[2])) == []


def test_a_refused_request_leaves_a_line_with_its_id_and_others_leave_none(usual: Logged) -> None:
    with usual as server:
        account = server.admin().new_account()
        account.get("/api/v1/flows")
        refused = [
            account.get("/api/v1/flows/nothing"),
            account.request("GET", "/api/v1/flows", headers={"Host": "elsewhere"}),
            account.request("BREW", "/"),
            account.request("GET", f"/{'x' * 70_000}"),
        ]

    lines = usual.named("request.finished")
    assert [facts(line, "request_id", "status") for line in lines] == [
        (reply.headers["x-request-id"], reply.status) for reply in refused
    ]
    assert [reply.status for reply in refused] == [404, 400, 400, 431]


def test_a_request_that_the_server_cannot_do_leaves_a_line_with_the_reason(usual: Logged) -> None:
    with usual as server:
        admin = server.admin()
        account = admin.new_account()
        flow = account.new_flow("nodes: {a: {type: return}}")
        admin.put("/api/v1/admin/pause", {"paused": True})
        refused = account.post(f"/api/v1/flows/{flow}/run", {})

    assert refused.status == 503
    (line,) = [line for line in usual.named("request.finished") if line["status"] == 503]
    assert facts(line, "request_id", "account_id", "reason") == (
        refused.headers["x-request-id"], account.account_id, refused.json["error"]["message"]
    )  # fmt: skip


def test_a_failed_login_leaves_a_line_without_the_name(usual: Logged) -> None:
    with usual as server:
        admin = server.admin()
        for name in (ADMIN_EMAIL, f"{CANARY}@example.com"):
            server.client().post("/api/v1/auth/login", {"username": name, "password": f"{CANARY}!"})

    known, unknown = usual.named("login.failed")
    assert facts(known, "account_id", "address", "is_throttled") == (admin.account_id, "127.0.0.1", False)
    assert facts(unknown, "account_id", "address", "is_throttled") == (None, "127.0.0.1", False)
    assert leaks({"log": usual.text}, (CANARY, ADMIN_EMAIL)) == []


def test_s62_a_flood_of_refused_requests_and_logins_leaves_few_lines(usual: Logged) -> None:
    with usual as server:
        account = server.admin().new_account()
        nobody = server.client()
        for n in range(30):
            assert nobody.get("/api/v1/flows").status == 401
            assert nobody.get(f"/{n}").status == 404
            nobody.post("/api/v1/auth/login", {"username": ADMIN_EMAIL, "password": f"a-wrong-one-{n}"})
        # The flood hides nothing of others.
        reply = account.get("/api/v1/flows/nothing")

    lines = usual.named("request.finished")
    assert Counter(line["status"] for line in lines if line["account_id"] is None) == {401: 10, 404: 10, 429: 10}
    assert reply.headers["x-request-id"] in {line["request_id"] for line in lines}
    assert len(usual.named("login.failed")) == 20


def test_frequent_events_are_sampled_by_their_fields_and_with_debug_requests_not_at_all() -> None:
    program = (
        "import structlog; from flowrunner.logs import configure_logging; from flowrunner.settings import Settings\n"
        "configure_logging(Settings(log_level='{}', log_format='json'))\n"
        "log = structlog.get_logger()\n"
        "for n in range(200):\n"
        "    log.info('request.finished', status=404, account_id='a')\n"
        "    log.info('execution.failed', workspace_id='a')\n"
        "    log.warning('temporal.start_failed', what=str(n), reason='away')\n"
        "log.warning('temporal.start_failed', what='x', reason='late')\n"
        "log.info('request.finished', status=404, account_id='b')\n"
        "log.info('execution.failed', workspace_id='b')\n"
    )

    def counted(level: str) -> Mapping[tuple[str, str], int]:
        done = subprocess.run(
            [sys.executable, "-c", program.format(level)], capture_output=True, text=True, timeout=60, check=True
        )
        return Counter(
            (line["event"], line.get("account_id") or line.get("workspace_id") or line["reason"])
            for line in map(json.loads, done.stderr.splitlines())
        )

    others = {
        ("execution.failed", "a"): 60, ("execution.failed", "b"): 1,
        ("temporal.start_failed", "away"): 10, ("temporal.start_failed", "late"): 1,
    }  # fmt: skip
    assert counted("info") == {("request.finished", "a"): 10, ("request.finished", "b"): 1, **others}
    assert counted("debug") == {("request.finished", "a"): 200, ("request.finished", "b"): 1, **others}


# Whoever reads the log


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)


def test_a_log_that_is_not_read_holds_up_nothing_and_says_what_is_left_out(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    left_out: list[int] = []
    writer = LineWriter(writing, left_out.append, most=500_000)

    # Ten times what the pipe and the writer hold; the last calls would wait for ever.
    for _ in range(5000):
        writer.write("x" * 999 + "\n")
    has_read = threading.Event()
    read = bytearray()

    def read_all() -> None:
        while data := os.read(reading, 65536):
            read.extend(data)
        has_read.set()

    threading.Thread(target=read_all, daemon=True).start()
    writer.close()
    wait_for(lambda: bool(left_out))
    os.close(writing)

    assert has_read.wait(30)
    assert set(bytes(read).split(b"\n")) == {b"x" * 999, b""}
    assert len(read) // 1000 + sum(left_out) == 5000
    assert len(read) >= 500_000


# Its first step puts a full pipe, which nobody reads, in the place of its standard error.
UNREAD: Final = """
import os
from flowrunner.cli.main import main
from flowrunner.nodes.transform import Transform

run = Transform.run

async def stop_reading(self, params, context):
    Transform.run = run
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    os.dup2(writing, 2)
    return None

Transform.run = stop_reading
main()
"""


def test_a_server_whose_log_is_not_read_serves_and_stops(tmp_path: Path) -> None:
    server = Server(tmp_path, {"LOG_LEVEL": "debug"}, program=("-c", UNREAD))
    try:
        account = server.start().admin().new_account()
        statuses = [account.run_to_end("nodes: {a: {type: transform, params: {value: 1}}}")["status"] for _ in range(3)]
        server.terminate()
        code = server.wait()
    finally:
        server.stop()

    assert statuses == ["completed"] * 3
    assert code == 0
