"""Attacks on links that answer approvals: none is accepted, and none has an effect."""

import asyncio
import base64
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from flowrunner.api import approval_links as routes
from flowrunner.api import approval_page
from flowrunner.api.approval_form import MAX_FORM_BYTES
from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.ports.journal import StoredExecution, TakeEvents
from flowrunner.security.approval_links import SignedApprovalLinks
from flowrunner.security.keys import SIGNING, KeyRing
from flowrunner.services import approval_links
from flowrunner.services.approval_links import MOST_REQUESTS
from flowrunner.services.signals import checked_data
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.rows import from_ms
from flowrunner.storage.transaction import Transaction
from flowrunner.threads import LONG_BYTES
from support.asgi import call, program_at
from support.client import PASSWORD, Reply
from support.dependencies import SteppingClock
from support.scoreboard import Scoreboard

PUBLIC: Final = "https://flows.example.com"
MARKUP: Final = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><form action=https://evil.example>"
BRANCH: Final = """\
      BRANCH:
        nodes:
          ask: {type: approval, timeout: 1d, params: {prompt: PROMPT, form: FORM, link: true, notify: tell}}
          tell: {type: log, params: {message: x}}
"""
TWO: Final = "nodes:\n  both:\n    type: parallel\n    branches:\n" + "".join(
    BRANCH.replace("BRANCH", name) for name in ("left", "right")
)
FORM: Final = "{type: object, properties: {note: {type: string, title: TITLE}, n: {type: integer}}}"
OK: Final = {"answer": "approve", "field.note": "fine"}


class Links:
    """An installation with an execution that waits for two approvals."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.token = ""
        self.id = ExecutionId("")

    async def begin(self, prompt: str = "ok?", title: str = "Note") -> "Links":
        await self.program.services.accounts.create(
            name="root", email="root@example.com", password=PASSWORD, role="admin"
        )
        body = {"username": "root@example.com", "password": PASSWORD}
        self.token = (await self.api("POST", "/api/v1/auth/login", body)).json["token"]
        text = TWO.replace("FORM", FORM).replace("PROMPT", json.dumps(prompt)).replace("TITLE", json.dumps(title))
        made = await self.api("POST", "/api/v1/flows", {"name": "N", "definition": text})
        assert made.status == 201, made
        self.id = await self.run(made.json["id"])
        return self

    async def run(self, flow: str, input: Any = None) -> ExecutionId:
        id = (await self.api("POST", f"/api/v1/flows/{flow}/run", {"input": input or {}})).json["execution_id"]
        await self.until_it_waits(id, branches=2)
        await self.look()
        return ExecutionId(id)

    async def until_it_waits(self, id: str, *, branches: int) -> None:
        def is_there(found: Any) -> bool:
            return found["status"] == "waiting" and len(found["waiting_for"]) == branches

        while not is_there((await self.api("GET", f"/api/v1/executions/{id}")).json):  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)

    async def api(self, method: str, path: str, body: Any = None) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        return await call(self.program.app, method, path, token=self.token or None, body=data)

    def path(self, id: ExecutionId | None = None, branch: str = "left", program: Program | None = None) -> str:
        """Return the path of the link that the engine has made."""
        program = program or self.program
        url = program.engine.deps.approval_links.url(ApprovalPlace(id or self.id, *self.waits[id or self.id, branch]))
        assert url is not None
        return url.removeprefix(PUBLIC)

    async def look(self) -> "Links":
        rows = await self.program.database.read_long(
            lambda tx: tx.rows("SELECT execution_id, seq, at, data FROM events WHERE type = 'node.waiting'")
        )
        self.waits = {
            (id, "left" if "[left]" in str(data) else "right"): (seq, from_ms(at)) for id, seq, at, data in rows
        }
        return self

    async def post(self, path: str, fields: Any = None, *, headers: Mapping[str, str] | None = None) -> Reply:
        body = fields if isinstance(fields, bytes) else urlencode(OK if fields is None else fields).encode()
        sent = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return await call(self.program.app, "POST", path, body=body, headers=sent)

    async def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(self.program.app, method, path, headers=sent)

    async def state(self) -> Any:
        return await self.program.database.read_long(_state)


async def _state(tx: Transaction) -> Any:
    return [
        await tx.rows("SELECT count(*) FROM events WHERE type = 'signal.received'"),
        await tx.rows("SELECT count(*) FROM audit WHERE action = 'execution.approval.answered'"),
        await tx.rows("SELECT status FROM executions"),
    ]


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[Links]:
    async with program_at(tmp_path / "data", public_url=PUBLIC, allowed_hosts=("localhost",)) as program:
        yield await (await Links(program).begin()).look()


def tampered(path: str) -> list[str]:
    """Return links that nobody has signed."""
    token = path.removeprefix("/approve/")
    head, seq, since, signature = token.split(".")
    other = ApprovalPlace(ExecutionId(head.removeprefix("fr_approve_")), int(seq), from_ms(int(since)))
    wait = f"{head}.{seq}.{since}"
    foreign = SignedApprovalLinks(KeyRing(SIGNING, b"k" * 32), public_url="").url(other)
    assert foreign is not None
    padded = base64.urlsafe_b64encode(b"\0" * 32).decode().rstrip("=")
    return [
        f"/approve/{each}"
        for each in (
            f"{head}.{int(seq) + 1}.{since}.{signature}", f"{head}.{int(seq) - 1}.{since}.{signature}",
            f"{head}.0{seq}.{since}.{signature}", f"{head}.{seq}.{int(since) + 1}.{signature}",
            f"{head}.{seq}.{signature}", f"{head}.{since}.{signature}",
            f"{head}.-{seq}.{since}.{signature}", f"{wait}.{signature[:-1]}", f"{wait}.{signature}A",
            f"{wait}.{signature.swapcase()}", f"{wait}.{signature[::-1]}", f"{wait}.{padded}",
            f"{wait}.", wait, f"{head}.{seq}", head, token + "%00", token + "%0a",
            token.upper(), token.replace(".", "/"),
            f"{head[:-1]}{'y' if head.endswith('x') else 'x'}.{seq}.{since}.{signature}",
            f"fr_approve_.{seq}.{since}.{signature}", "fr_approve_", "..%2f..%2fapi",
            foreign.removeprefix("/approve/"), *(f"{wait}.{secrets.token_urlsafe(32)}" for _ in range(50)),
        )
    ]  # fmt: skip


def test_links_that_were_sent_before_an_upgrade_stay_valid() -> None:
    links = SignedApprovalLinks(KeyRing(SIGNING, b"k" * 32), public_url="https://flows.example.com")
    place = ApprovalPlace(ExecutionId("exec-01mb8hy0g5h2xn12mr48nyth80ma2h3ts644"), 7, None)
    token = "fr_approve_exec-01mb8hy0g5h2xn12mr48nyth80ma2h3ts644.7.yMqNPeK5IQbz9QIGQoI4cxJcbQNy7D1uF6jZ6OVv1EA"

    assert links.url(place) == f"https://flows.example.com/approve/{token}"
    assert links.read(token) == place
    assert links.read(token.replace(".7.", ".8.")) is None
    assert links.read(token.replace(".7.", ".7.1796129000123.")) is None
    assert SignedApprovalLinks(KeyRing(SIGNING, b"l" * 32), public_url=None).read(token) is None


def test_a_link_has_the_millisecond_of_its_wait() -> None:
    links = SignedApprovalLinks(KeyRing(SIGNING, b"k" * 32), public_url="https://flows.example.com")
    since = datetime(2027, 1, 1, 12, 0, 0, 123000, tzinfo=UTC)
    place = ApprovalPlace(ExecutionId("exec-01mb8hy0g5h2xn12mr48nyth80ma2h3ts644"), 7, since)

    assert links.read(str(links.url(place)).rpartition("/")[2]) == place


async def test_s73_no_link_that_was_not_signed_does_anything(links: Links, scoreboard: Scoreboard) -> None:
    before, guesses = await links.state(), tampered(links.path())

    replies = [reply for path in guesses for reply in (await links.get(path), await links.post(path))]

    accepted = [reply for reply in replies if reply.status < 400]
    scoreboard.count("links to approvals: guesses accepted", cases=len(replies), failures=len(accepted))
    assert accepted == []
    assert {reply.status for reply in replies} == {404}
    assert await links.state() == before
    assert (await links.post(links.path())).status == 200


async def test_s73_the_form_of_a_link_that_was_not_signed_is_not_read(links: Links) -> None:
    read_from = list[str]()

    async def reply_to(path: str) -> int:
        async def note() -> None:
            read_from.append(path)

        sent = {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode(OK).encode()
        reply = await call(links.program.app, "POST", path, body=body, headers=sent, before_body=note)
        return reply.status

    signed, guess = links.path(), tampered(links.path())[0]

    assert [await reply_to(guess), await reply_to(signed)] == [404, 200]
    assert read_from == [signed]


async def test_s73_opening_a_link_answers_nothing(links: Links) -> None:
    path, before = links.path(), await links.state()

    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
        for query in ("", "?answer=approve", "?answer=approve&field.note=x&_method=POST"):
            reply = await links.get(path + query, method, purpose="prefetch", x_http_method_override="POST")
            assert reply.status in (200, 204, 400, 403, 404, 405, 422), (method, reply)

    assert await links.state() == before


async def test_s73_a_link_is_opened_a_bounded_number_of_times_a_minute(links: Links) -> None:
    # The allowance comes back with time, which a slow machine takes for sixty requests.
    links.program.services.linked_approvals._clock = SteppingClock(datetime.now(UTC))
    statuses = Counter([(await links.get(links.path())).status for _ in range(MOST_REQUESTS + 3)])

    assert statuses == {200: MOST_REQUESTS, 429: 3}
    refused = await links.post(links.path())
    assert (refused.status, refused.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert f"more than {MOST_REQUESTS} times a minute" in refused.body.decode()
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["ratelimit"].startswith('"link_requests";r=0;')
    assert (await links.post(links.path(branch="right"))).status == 200


async def test_s73_two_answers_at_the_same_time_are_one(links: Links) -> None:
    answers = [{"answer": answer} for answer in ("approve", "reject") * 8]

    replies = await asyncio.gather(*(links.post(links.path(), answer) for answer in answers))

    assert sorted(reply.status for reply in replies) == [200] + [410] * 15
    assert (await links.state())[:2] == [[(1,)], [(1,)]]
    assert (await links.post(links.path())).status == 410


@pytest.mark.parametrize("how", ["cancelled", "answered by a member", "revoked", "deadline"])
async def test_s73_a_link_ends_with_its_approval(links: Links, how: str) -> None:
    path, one = links.path(), f"/api/v1/executions/{links.id}"
    step = "both.1[left]/ask.1"
    if how == "cancelled":
        assert (await links.api("DELETE", one)).status == 200
    elif how == "revoked":
        assert (await links.api("DELETE", f"{one}/approvals/{step}/link")).status == 200
    elif how == "answered by a member":
        assert (await links.api("POST", f"{one}/approvals/{step}", {"approved": False})).status == 200
        # The answer is recorded first, and applied afterwards.
        await links.until_it_waits(links.id, branches=1)
    else:
        # A day and a bit, at once.
        links.program.services.linked_approvals._clock = _Later()
    before = await links.state()

    replies = [await links.get(path), await links.post(path)]

    assert [reply.status for reply in replies] == [410, 410]
    assert await links.state() == before


async def test_s73_a_link_depends_on_its_execution_and_on_no_account(links: Links) -> None:
    # Executions of a disabled account go on, and so do their links.
    await links.program.services.accounts.create(name="r", email="r@example.com", password=PASSWORD, role="admin")
    login = {"username": "r@example.com", "password": PASSWORD}
    token = (await links.api("POST", "/api/v1/auth/login", login)).json["token"]
    owner = (await links.program.services.sessions.authenticate(links.token)).account_id
    links.token = token

    disabled = await links.api("PUT", f"/api/v1/accounts/{owner}", {"disabled": True})

    assert disabled.status == 200, disabled
    assert (await links.get(links.path(branch="right"))).status == 200
    assert (await links.post(links.path())).status == 200
    assert (await links.api("DELETE", f"/api/v1/accounts/{owner}?workspace=delete")).status == 200
    assert (await links.get(links.path(branch="right"))).status in (404, 410)
    before = await links.state()
    assert (await links.post(links.path(branch="right"))).status in (404, 410)
    assert await links.state() == before


class _Later:
    def now(self) -> Any:
        return datetime.now(UTC) + timedelta(days=2)


async def test_s73_a_link_answers_its_own_approval_and_no_other(links: Links) -> None:
    assert (await links.post(links.path(branch="right"), {"answer": "reject"})).status == 200

    waits = (await links.api("GET", f"/api/v1/executions/{links.id}")).json["waiting_for"]
    assert [wait["step"] for wait in waits] == ["both.1[left]/ask.1"]
    # Its place in another execution of the same flow was signed for that one alone.
    flow = (await links.api("GET", f"/api/v1/executions/{links.id}")).json["flow_id"]
    other = await links.run(flow)
    mixed = links.path().replace(links.id, other)
    assert (await links.post(mixed)).status == 404


@pytest.mark.parametrize(("digits", "on_loop"), [(20, {True}), (LONG_BYTES, {False})], ids=["short", "long"])
async def test_a_long_form_is_read_and_shown_again_on_another_thread(
    links: Links, monkeypatch: pytest.MonkeyPatch, digits: int, on_loop: set[bool]
) -> None:
    loop, were_on_loop = threading.get_ident(), dict[str, bool]()

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **options: Any) -> Any:
            were_on_loop[name] = threading.get_ident() == loop
            return call(*args, **options)

        return noting

    for module, name in ((routes, "parsed_form"), (routes, "data_of"), (approval_page, "question")):
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    wrong = await links.post(links.path(), {"answer": "approve", "field.n": "." * digits})

    assert wrong.status == 422
    assert set(were_on_loop) == {"parsed_form", "data_of", "question"}
    assert set(were_on_loop.values()) == on_loop


async def test_s73_a_form_of_another_shape_or_page_is_refused(links: Links) -> None:
    path, before = links.path(), await links.state()
    fields = "answer=approve&field.note=x"
    bodies: list[tuple[Any, dict[str, str], int]] = [
        ({"answer": "approve", "field.other": "x"}, {}, 422),
        ({"answer": "approve", "field.note": "x", "by": "root", "approved": "true"}, {}, 422),
        ({"answer": "approve", "field.n": "many"}, {}, 422),
        ({"answer": "approve", "field.n": "1e400"}, {}, 422),
        ({"answer": "yes"}, {}, 422),
        ({}, {}, 422),
        (b"answer=approve&answer=reject", {}, 422),
        (b"answer=approve&field.note=%ff", {}, 422),
        (b"answer=approve&field.note=%00", {}, 422),
        (b"\xff\xfe", {}, 422),
        (b"a" * 100 + b"&x=1" * 300, {}, 422),
        (b"answer=approve&field.note=" + b"x" * MAX_FORM_BYTES, {}, 413),
        (b'{"answer": "approve"}', {"content-type": "application/json"}, 415),
        (fields.encode(), {"content-type": "text/plain"}, 415),
        (fields.encode(), {"content-type": "multipart/form-data; boundary=x"}, 415),
        (fields.encode(), {"content-type": "application/x-www-form-urlencoded; charset=utf-7"}, 415),
        (fields.encode(), {"content-encoding": "gzip"}, 415),
        (fields.encode(), {"origin": "https://evil.example"}, 403),
        (fields.encode(), {"sec-fetch-site": "cross-site", "origin": "null"}, 403),
        (fields.encode(), {"sec-fetch-site": "same-site", "origin": "null"}, 403),
    ]

    for body, headers, status in bodies:
        reply = await links.post(path, body, headers=headers)
        assert reply.status == status, (body[:60] if isinstance(body, bytes) else body, headers, reply)

    assert await links.state() == before
    assert (await links.post(path, headers={"origin": "null", "sec-fetch-site": "same-origin"})).status == 200


async def test_s73_nothing_that_a_flow_or_an_answer_says_becomes_markup(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data", public_url=PUBLIC, allowed_hosts=("localhost",)) as program:
        links = await (await Links(program).begin(prompt=MARKUP, title=MARKUP)).look()
        replies = [
            await links.get(links.path()),
            await links.post(links.path(), {"answer": "approve", "field.note": MARKUP, "field.n": MARKUP}),
            await links.post(links.path(), {"answer": "approve", f"field.{MARKUP}": "x"}),
            await links.get(f"/approve/{MARKUP}"),
        ]

    for reply in replies:
        page = reply.body.decode()
        assert not {"<script", "<img", "evil.example>", "onerror=alert(1)>"} & {
            mark for mark in ("<script", "<img", "evil.example>", "onerror=alert(1)>") if mark in page
        }, page
        assert page.count("<form") <= 1
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"


async def test_s73_a_link_names_the_host_of_the_installation_and_is_not_in_the_log(
    links: Links, capfd: pytest.CaptureFixture[str]
) -> None:
    path = links.path()
    for header in ("localhost", "127.0.0.1"):
        page = await links.get(path, host=header, x_forwarded_host="evil.example")
        assert b"evil.example" not in page.body
    await links.post(path)

    written = "".join(capfd.readouterr())
    assert path.removeprefix("/approve/") not in written
    assert "fr_approve_" not in written
    events = (await links.api("GET", f"/api/v1/executions/{links.id}/events?limit=1000")).body
    assert b"fr_approve_" not in events


async def test_s73_links_of_long_executions_are_read_within_the_share_of_their_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = most = 0

    async def counted(journal: SqlJournal, id: ExecutionId, take: TakeEvents, loading: Any = None) -> StoredExecution:
        async def taken(portion: Any) -> None:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0.02)
            await take(portion)
            reading -= 1

        return await load(journal, id, taken, loading)

    async with program_at(tmp_path / "data", public_url=PUBLIC, allowed_hosts=("localhost",)) as program:
        links = await Links(program).begin()
        flow = (await links.api("GET", f"/api/v1/executions/{links.id}")).json["flow_id"]
        ids = [await links.run(flow, {"x": [[]] * 40_000}) for _ in range(8)]
        await links.look()
        load = SqlJournal.load
        monkeypatch.setattr(SqlJournal, "load", counted)
        replies = await asyncio.gather(*(links.get(links.path(id)) for id in ids))

    assert {reply.status for reply in replies} == {200}
    assert most == 2


async def test_s73_an_outage_makes_no_link_unknown(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*args: object, **kwargs: object) -> None:
        raise Unavailable("The database is away")

    with monkeypatch.context() as outage:
        outage.setattr(SqlJournal, "load", unavailable)
        replies = [await links.get(links.path()), await links.post(links.path())]

    assert [reply.status for reply in replies] == [503, 503]
    assert {reply.headers["content-type"] for reply in replies} == {"text/html; charset=utf-8"}
    assert [reply.headers["retry-after"] for reply in replies] == ["60", "60"]
    assert (await links.get(links.path())).status == 200


async def test_s73_a_link_is_opened_without_the_whole_record_of_its_execution(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its input and the forms of its approvals may have megabytes, which would be read on the event loop."""

    async def read(*args: object) -> None:
        raise AssertionError("the execution was read")

    monkeypatch.setattr(SqlExecutions, "get", read)

    reply = await links.get(links.path())
    assert (reply.status, "N, ask" in reply.body.decode()) == (200, True)


async def test_s73_answers_by_links_of_a_workspace_are_checked_one_at_a_time(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, counting = checked_data, threading.Lock()
    checking = most = 0

    def counted(form: JSON, data: JSON, *, approved: bool, schemas: SchemaEngine) -> JSON:
        nonlocal checking, most
        with counting:
            checking += 1
            most = max(most, checking)
        time.sleep(0.02)
        with counting:
            checking -= 1
        return check(form, data, approved=approved, schemas=schemas)

    flow = (await links.api("GET", f"/api/v1/executions/{links.id}")).json["flow_id"]
    ids = [await links.run(flow) for _ in range(4)]
    monkeypatch.setattr(approval_links, "checked_data", counted)
    replies = await asyncio.gather(*(links.post(links.path(id)) for id in ids))

    assert {reply.status for reply in replies} == {200}
    assert most == 1
