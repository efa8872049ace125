"""Servers that are killed while agents ask and call: what is recorded is neither asked nor called again."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from support.databases import rows_of
from support.http_servers import QuietHandler, serving
from support.invariants import fields_of
from support.postgres import PostgresServer
from support.server import Server
from support.waiting import pause, wait_for

KILLS: Final = 4
STARTS: Final = 3
TURNS: Final = 12
CHILD: Final = """
inputs: {n: {type: integer}}
nodes: {sum: {type: return, params: {value: "${flow.input.n + 1}"}}}
"""
AGENT: Final = f"""
nodes:
  answer:
    type: agent
    params:
      base_url: URL/v1
      model: m
      prompt: Count.
      max_turns: {TURNS + 1}
      tools:
        - name: look
          description: Looks
          parameters: {{type: object, properties: {{n: {{type: integer}}}}, required: [n]}}
          http.request: {{method: POST, url: "URL/look/${{call.arguments.n}}"}}
        - {{flow: CHILD, name: add, description: Adds}}
"""


class Model(QuietHandler):
    """A model that calls two tools in each turn, by what was said before, and then answers; and one of the tools."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append((self.path, self.headers["idempotency-key"]))
        pause(random.uniform(0, 0.02))
        answer: Any = {"path": self.path}
        if self.path.endswith("/chat/completions"):
            messages = json.loads(body)["messages"]
            turn = [message["role"] for message in messages].count("assistant")
            # All that was said before is there, in its order.
            assert [message["role"] for message in messages] == ["user", *(["assistant", "tool", "tool"] * turn)]
            functions = [("look", {"n": turn}), ("add", {"n": turn})] if turn < TURNS else []
            calls = [
                {"id": f"{turn}.{name}", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for name, arguments in functions
            ]
            answer = {"choices": [{"message": {"content": f"turn {turn}", "tool_calls": calls}}]}
        written = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)


@pytest.fixture
def model() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    seen: list[tuple[str, str]] = []
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Model,), {"seen": seen}))) as url:
        yield url, seen


@pytest.mark.parametrize("kind", ["one process", "two processes", "postgres"])
def test_agents_go_on_in_the_turn_in_which_the_server_was_killed(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, model: tuple[str, list[tuple[str, str]]]
) -> None:
    url, seen = model
    settings: dict[str, str | None] = {"PROCESSES": "2"} if kind == "two processes" else {}
    if kind == "postgres":
        postgres: PostgresServer = request.getfixturevalue("lasting_postgres")
        settings["DATABASE_URL"] = postgres.new_database()
    server = Server(tmp_path, settings)
    try:
        admin = server.start().admin()
        flow = admin.new_flow(AGENT.replace("URL", url).replace("CHILD", admin.new_flow(CHILD)))
        for _ in range(KILLS):
            admin = server.admin()
            for _ in range(STARTS):
                assert admin.post(f"/api/v1/flows/{flow}/run", {"input": {}}).status == 201
            pause(random.uniform(0.1, 0.6))
            server.kill()
            server.start()
        wait_for(lambda: not rows_of(server.place, "SELECT 1 FROM executions WHERE completed_at IS NULL"))

        statuses = rows_of(server.place, "SELECT status, count(*) FROM executions GROUP BY status")
        events = (
            "SELECT execution_id, type, data FROM readable_events WHERE type IN ('node.started', 'execution.completed')"
        )
        found = [(id, type, fields_of(data)) for id, type, data in rows_of(server.place, events)]
    finally:
        server.stop()

    agents = KILLS * STARTS
    # Each call of the flow has started one execution.
    assert statuses == [("completed", agents * (1 + TURNS))]
    results = [event["result"] for _, type, event in found if type == "execution.completed"]
    answered = [result for result in results if isinstance(result, dict)]
    assert [(result["content"], result["turns"]) for result in answered] == [(f"turn {TURNS}", TURNS + 1)] * agents
    assert all([step["error"] for step in result["steps"]] == [None] * 2 * TURNS for result in answered)
    attempts = Counter(
        f"{id}.{event['scope']}/{event['node']}.{event['iteration']}"
        for id, type, event in found
        if type == "node.started"
    )
    requests = Counter(key for _, key in seen)
    assert len(requests) == agents * (TURNS + 1 + TURNS)
    assert not {key: (n, attempts[key]) for key, n in requests.items() if n > attempts[key]}, (
        "one request for each attempt"
    )
    assert max(attempts[key] for key in requests) <= 1 + KILLS
