"""Approvals that people answer by a link, without an account and without scripts."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from support.client import Client, Reply
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

PUBLIC: Final = "https://flows.example.com"
ASKS: Final = """\
metadata: {name: orders}
nodes:
  ask:
    type: approval
    params:
      prompt: "Ship order ${flow.input.id}?"
      form:
        type: object
        required: [note]
        properties:
          note: {type: string, title: Remark}
          parts: {type: integer}
          how: {enum: [air, 7]}
          fast: {type: boolean}
      link: true
      notify: tell
    timeout: 1d
    next: {approved: done, rejected: done, timeout: done}
  tell:
    type: http.request
    params: {method: POST, url: "URL/ok/tell", body: "${approval}"}
  done: {type: return, params: {value: "${nodes.ask.result}"}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    server = Server(tmp_path_factory.mktemp("links"), {"PUBLIC_URL": PUBLIC, "ALLOWED_HOSTS": "localhost"})
    try:
        yield server.start().admin()
    finally:
        server.stop()


class Asked:
    """An execution that waits for an answer, and what its node was notified of."""

    def __init__(self, root: Client, receiver: Receiver, definition: str = ASKS, name: str = "A flow") -> None:
        self.root = root
        before = len(receiver.effects("/ok/tell"))
        self.id = root.run(root.new_flow(definition.replace("URL", receiver.url), name=name), {"id": 7})
        wait_for(lambda: len(receiver.effects("/ok/tell")) > before)
        self.told: Any = receiver.effects("/ok/tell")[before].json
        self.path = self.told["url"].removeprefix(PUBLIC)
        root.reaching(self.id, frozenset({"waiting"}))

    def page(self, path: str | None = None) -> Reply:
        return Client(self.root.url).get(path or self.path)

    def post(self, fields: Any, path: str | None = None, **headers: str) -> Reply:
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        sent = {
            "Content-Type": "application/x-www-form-urlencoded",
            **{n.replace("_", "-"): v for n, v in headers.items()},
        }
        return Client(self.root.url).request("POST", path or self.path, body, sent)

    def result(self) -> Any:
        return self.root.ended(self.id)["result"]


def text_of(reply: Reply) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", reply.body.decode()))


def test_a_person_answers_by_the_form_of_the_link(root: Client, receiver: Receiver) -> None:
    asked = Asked(root, receiver)
    assert asked.told["url"].startswith(f"{PUBLIC}/approve/fr_approve_{asked.id}.")
    assert (asked.told["prompt"], asked.told["step"]) == ("Ship order 7?", "ask.1")

    page = asked.page()

    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Ship order 7?" in text_of(page)
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "script" not in page.body.decode()
    assert "Remark · required" in " ".join(text_of(page).split())
    assert 'name="field.parts" type="number" step="1"' in page.body.decode()
    missing = " ".join(text_of(asked.post({"answer": "approve", "field.parts": "2"})).split())
    assert ("Remark : is missing" in missing, "data.note" in missing) == (True, False), missing
    wrong = asked.post({"answer": "approve", "field.parts": "many"})
    assert (wrong.status, "The answer was not accepted" in text_of(wrong)) == (422, True)
    assert "parts : must be a whole number, such as 12" in " ".join(text_of(wrong).split())
    assert root.execution(asked.id)["status"] == "waiting"
    done = asked.post(
        {"answer": "approve", "field.note": "ok", "field.parts": "2", "field.how": "1", "field.fast": "yes"}
    )
    assert (done.status, "Your answer is recorded" in text_of(done)) == (200, True)
    result = asked.result()
    assert {name: result[name] for name in ("approved", "by", "data")} == {
        "approved": True, "by": "link", "data": {"note": "ok", "parts": 2, "how": 7, "fast": True},
    }  # fmt: skip
    again = asked.post({"answer": "reject"})
    assert (again.status, "Already answered" in text_of(again)) == (410, True)
    assert (asked.page().status, asked.result()["approved"]) == (410, True)
    (entry,) = root.get("/api/v1/audit", action="execution.approval.answered", object_id=asked.id).json["entries"]
    assert (entry["actor"], entry["credential"], entry["address"]) == (None, "link", "127.0.0.1")
    assert "Approved by link" in [line["message"] for line in root.logs(asked.id)]


def test_characters_that_reorder_text_are_shown_by_their_names(root: Client, receiver: Receiver) -> None:
    asked = Asked(
        root, receiver, ASKS.replace("Ship order", "Pay \\u202E001\\u202C for").replace("Remark", '"\\u2066x"')
    )

    page = asked.page().body.decode()

    assert "Pay [U+202E]001[U+202C] for 7?" in page
    assert "[U+2066]x" in page
    assert not set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(page)


def test_the_page_names_a_flow_that_is_called_as_its_document_says(root: Client, receiver: Receiver) -> None:
    asked = Asked(root, receiver, ASKS.replace("name: orders", "name: orders of today"), name="orders of today")

    assert "orders of today, ask" in asked.page().body.decode()


def test_a_rejection_needs_no_form(root: Client, receiver: Receiver) -> None:
    asked = Asked(root, receiver)

    assert asked.post({"answer": "reject", "field.note": ""}).status == 200

    assert (asked.result()["approved"], asked.result()["data"]) == (False, None)


def test_a_failing_notification_does_not_end_the_approval(root: Client, receiver: Receiver) -> None:
    definition = ASKS.replace("/ok/tell", "/status/500")
    id = root.run(root.new_flow(definition.replace("URL", receiver.url)), {"id": 1})

    found = root.reaching(id, frozenset({"waiting"}))

    assert [wait["type"] for wait in found["waiting_for"]] == ["approval"]
    assert any(line["level"] == "error" and line["node_id"] == "tell" for line in root.logs(id)), root.logs(id)
    reply = root.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True, "data": {"note": "x"}})
    assert (reply.status, root.ended(id)["status"]) == (200, "completed")


def listed(root: Client, execution: str) -> Any:
    approvals = root.get("/api/v1/approvals", limit=50).json["approvals"]
    return next(each for each in approvals if each["execution_id"] == execution)


def test_a_revoked_link_answers_no_longer_and_a_member_still_does(root: Client, receiver: Receiver) -> None:
    asked = Asked(root, receiver)
    link = f"/api/v1/executions/{asked.id}/approvals/ask/link"
    assert listed(root, asked.id)["link"] is True

    assert root.delete(link).status == 200

    assert listed(root, asked.id)["link"] is False
    assert "Link revoked" in text_of(asked.page())
    assert "link" not in root.execution(asked.id)["waiting_for"][0]
    assert asked.post({"answer": "reject"}).status == 410
    assert root.delete(link).status == 409
    assert root.post(f"/api/v1/executions/{asked.id}/approvals/ask", {"approved": False}).status == 200
    assert asked.result()["by"] == root.account_id


def test_the_link_is_hidden_in_everything_that_is_stored_or_sent(root: Client, receiver: Receiver) -> None:
    echo = ASKS.replace("URL/ok/tell", "URL/echo/ok/tell").replace(
        'body: "${approval}"}',
        'body: {raw: "${approval}", coded: "${btoa(approval.url)}", '
        "escaped: \"${approval.url.replaceAll('_', '%5F')}\", "
        'broken: "${approval.url.slice(0, 50)}=\\n${approval.url.slice(50)}"}}',
    )
    noisy = (
        echo.replace("  done:", '  spare: {type: log, params: {message: "x"}}\n  done:')
        .replace("approved: done", "approved: spare")
        .replace('{message: "x"}}', '{message: "x"}, next: done}')
    )
    id = root.run(root.new_flow(noisy.replace("URL", receiver.url)), {"id": 1})
    root.reaching(id, frozenset({"waiting"}))
    sent = [effect.body for effect in receiver.effects("/echo") if "fr_approve_" in effect.body]
    assert sent, "the receiver has got it"
    body = json.loads(sent[0])
    assert ("fr%5Fapprove%5F" in body["escaped"], "=\n" in body["broken"]) == (True, True)
    signature = body["raw"]["url"][-40:].encode()
    events = root.get(f"/api/v1/executions/{id}/events", limit=1000).body
    steps = root.get(f"/api/v1/executions/{id}/steps").body
    graph = root.get(f"/api/v1/executions/{id}/graph")
    assert (graph.status, "tell" in graph.body.decode()) == (200, True), graph.body
    for seen in (
        events,
        steps,
        root.get(f"/api/v1/executions/{id}").body,
        root.get(f"/api/v1/executions/{id}/logs").body,
    ):
        assert b"fr_approve_" not in seen
        assert signature not in seen
        assert b"X2FwcHJvdmVf" not in seen


def test_a_server_without_an_address_refuses_the_flow(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        root = server.start().admin()
        asks = ASKS.replace("URL", "https://example.com")
        reply = root.post("/api/v1/flows", {"name": "N", "definition": asks})
        assert reply.status == 422, reply
        assert [error["code"] for error in reply.error["details"]["errors"]] == ["approval.link"]
        assert (
            root.post("/api/v1/flows", {"name": "N", "definition": asks.replace("link: true", "link: false")}).status
            == 201
        )
    finally:
        server.stop()
