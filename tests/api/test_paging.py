"""Pages of every list, by offset and by cursor."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from starlette.requests import Request

from api.shapes import SMALLEST, assert_error
from flowrunner.api.http.answers import link_to_next, part_of
from flowrunner.api.http.paging import listed_of
from flowrunner.api.http.requests import page_of
from flowrunner.ports.page import Listed
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.transaction import NO_VALUES, Row, Sql, Statement, Values
from security.two_accounts import two_accounts_at
from support.client import PASSWORD, Client

LOGGING: Final = """nodes:
  one: {type: log, params: {message: The first, level: debug}, next: two}
  two: {type: log, params: {message: The second, level: warn}, next: stop}
  stop: {type: fail, params: {error: bad, message: The third}}
"""


@pytest.mark.parametrize(
    ("listed", "cursor", "part"),
    [
        (Listed(items=[], total=3), None, {"total": 3, "offset": 2}),
        (Listed(items=[], total=3, is_exact=False), None, {"total": 3, "offset": 2, "total_is_exact": False}),
        (Listed(items=[], is_exact=False, next_cursor="b"), "a", {"next_cursor": "b"}),
    ],
)
def test_a_list_says_which_part_of_it_an_answer_has(listed: Listed[Any], cursor: str | None, part: Any) -> None:
    found = part_of(page_of(5, 0 if cursor else 2, cursor), listed)

    assert {name: value for name, value in found.items() if value is not msgspec.UNSET} == {"limit": 5, **part}


@pytest.mark.parametrize(
    ("found", "items", "cursor"), [("", "", None), ("a", "a", None), ("ab", "ab", None), ("abc", "ab", "at b")]
)
def test_one_entry_more_than_a_page_has_room_for_tells_of_a_next_page(
    found: str, items: str, cursor: str | None
) -> None:
    for page, total in ((page_of(2, 0, None), 9), (page_of(2, 0, "a"), None), (page_of(2, 0, "a", count=True), 9)):
        listed = listed_of(page, list(found), 9, lambda entry: f"at {entry}")

        assert listed == Listed(items=list(items), total=total, next_cursor=cursor)


def flows(account: Client) -> str:
    for n in range(5):
        account.new_flow(SMALLEST, name=f"Flow {n}")
    return "/api/v1/flows"


def revisions(account: Client) -> str:
    id = account.new_flow(SMALLEST)
    for n in range(4):
        account.put(f"/api/v1/flows/{id}", {"definition": SMALLEST.replace("output", f"output{n}")})
    return f"/api/v1/flows/{id}/revisions"


def executions(account: Client) -> str:
    id = account.new_flow(SMALLEST)
    for _ in range(5):
        account.run(id)
    return "/api/v1/executions"


def logs(account: Client) -> str:
    id = account.run(account.new_flow(LOGGING))
    account.ended(id)
    return f"/api/v1/executions/{id}/logs"


def tokens(account: Client) -> str:
    for n in range(5):
        assert account.post("/api/v1/tokens", {"name": f"t{n}", "scopes": ["read"]}).status == 201
    return "/api/v1/tokens"


def tokens_of_workspace(account: Client) -> str:
    tokens(account)
    return f"/api/v1/workspaces/{account.account_id}/tokens"


def workspaces(account: Client) -> str:
    for n in range(4):
        assert account.post("/api/v1/workspaces", {"name": f"Team {n}", "slug": f"team-{n}"}).status == 201
    return "/api/v1/workspaces"


def audit_of_workspace(account: Client) -> str:
    flows(account)
    return f"/api/v1/workspaces/{account.account_id}/audit"


def config(account: Client) -> str:
    for n in range(5):
        assert account.put(f"/api/v1/config/NAME_{n}", {"value": n}).status == 201
    return "/api/v1/config"


def store(account: Client) -> str:
    for n in range(5):
        assert account.put(f"/api/v1/store/entry?key=k{n}", {"value": n}).status == 201
    return "/api/v1/store"


def secrets(account: Client) -> str:
    for n in range(5):
        account.new_secret(f"KEY_{n}", "a long enough value")
    return f"/api/v1/accounts/{account.account_id}/secrets"


def secrets_of_workspace(account: Client) -> str:
    secrets(account)
    return f"/api/v1/workspaces/{account.account_id}/secrets"


def jobs(account: Client) -> str:
    ids = [account.run(account.new_flow(SMALLEST)) for _ in range(5)]
    for id in ids:
        account.ended(id)
        reply = account.post("/api/v1/executions:batch", {"action": "rerun", "ids": [id]})
        assert reply.status == 202, reply
    return "/api/v1/jobs"


def triggers(account: Client) -> str:
    for names in (("b", "a", "c"), ("b", "a"), ("z",)):
        written = ", ".join(f'{name}: {{type: schedule, cron: "0 2 1 1 *"}}' for name in names)
        account.new_flow(f"{SMALLEST}\ntriggers: {{{written}}}\n")
    return "/api/v1/triggers"


def callbacks(account: Client) -> str:
    for n in range(5):
        body = {"url": f"https://example.com/{n}", "events": ["execution.failed"]}
        assert account.post("/api/v1/callbacks", body).status == 201
    return "/api/v1/callbacks"


def deliveries_of_callback(account: Client) -> str:
    # Closed to flows, so that nothing is sent.
    body = {"url": "http://10.255.255.1/", "events": ["execution.failed"]}
    id = account.post("/api/v1/callbacks", body).json["id"]
    for _ in range(5):
        assert account.post(f"/api/v1/callbacks/{id}/test").status == 200
    return f"/api/v1/callbacks/{id}/deliveries"


def deliveries_of_hook(account: Client) -> str:
    account.new_flow(f"{SMALLEST}\ntriggers: {{pushed: {{type: webhook, verify: none}}}}\n")
    [trigger] = account.get("/api/v1/triggers").json["triggers"]
    for n in range(5):
        assert account.post(trigger["url"], {"n": n}).status == 202
    return f"/api/v1/triggers/{trigger['id']}/deliveries"


def invitations(account: Client) -> str:
    for n in range(5):
        body = {"email": f"kim-{n}@example.com", "role": "viewer"}
        assert account.post(f"/api/v1/workspaces/{account.account_id}/invitations", body).status == 201
    return f"/api/v1/workspaces/{account.account_id}/invitations"


def sessions(account: Client) -> str:
    for _ in range(4):
        Client(account.url).login(account.email, PASSWORD)
    return "/api/v1/sessions"


LISTS: Final = {
    "/api/v1/flows": flows,
    "/api/v1/flows/{id}/revisions": revisions,
    "/api/v1/executions": executions,
    "/api/v1/executions/{id}/logs": logs,
    "/api/v1/tokens": tokens,
    "/api/v1/workspaces/{id}/tokens": tokens_of_workspace,
    "/api/v1/workspaces": workspaces,
    "/api/v1/workspaces/{id}/audit": audit_of_workspace,
    "/api/v1/accounts/{account_id}/secrets": secrets,
    "/api/v1/workspaces/{id}/secrets": secrets_of_workspace,
    "/api/v1/config": config,
    "/api/v1/store": store,
    "/api/v1/jobs": jobs,
    "/api/v1/triggers": triggers,
    "/api/v1/callbacks": callbacks,
    "/api/v1/callbacks/{id}/deliveries": deliveries_of_callback,
    "/api/v1/triggers/{id}/deliveries": deliveries_of_hook,
    "/api/v1/workspaces/{id}/invitations": invitations,
    "/api/v1/sessions": sessions,
}
# Those of an installation, to which other tests add.
OF_INSTALLATION: Final = (
    "/api/v1/accounts", "/api/v1/admin/workspaces", "/api/v1/audit", "/api/v1/keys/rotations",
)  # fmt: skip
# Those that have cursors of another kind, or more than one account, and tests of their own.
ELSEWHERE: Final = {"/api/v1/approvals", "/api/v1/executions/{id}/steps", "/api/v1/workspaces/{id}/members"}


def test_every_list_is_among_these(account: Client) -> None:
    document = account.get("/api/v1/openapi.json").json
    lists = {
        path
        for path, operations in document["paths"].items()
        if "cursor" in {parameter["name"] for parameter in operations.get("get", {}).get("parameters", ())}
    }

    assert lists == LISTS.keys() | {*OF_INSTALLATION} | ELSEWHERE


async def test_the_lists_of_an_installation_go_on_by_cursor(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        admin = accounts.mara
        for n in (3, 1, 2):
            made = {"name": f"A{n}", "email": f"a{n}@example.com", "password": f"{PASSWORD} {n}", "role": "user"}
            assert (await admin.request("POST", "/api/v1/accounts", made)).status == 201
            made = {"name": f"Team {n}", "slug": f"team-{n}"}
            assert (await admin.request("POST", "/api/v1/workspaces", made)).status == 201
        assert (await admin.request("POST", "/api/v1/keys/rotations", {"kinds": ["signing", "data"]})).status == 202

        for path in OF_INSTALLATION:
            whole = entries_of((await admin.request("GET", f"{path}?limit=100")).json)
            found, cursor = [], ""
            while cursor is not None:
                page = (await admin.request("GET", f"{path}?limit=1&cursor={cursor}")).json
                found += entries_of(page)
                cursor = page.get("next_cursor")
            assert len(whole) >= 2
            assert found == whole, path


def entries_of(page: Any) -> list[Any]:
    """Return what identifies the entries."""
    (entries,) = (value for value in page.values() if isinstance(value, list))
    return [
        next((entry[name] for name in ("id", "key", "number", "seq", "message") if name in entry), None)
        for entry in entries
    ]


@pytest.mark.parametrize("of", LISTS.values(), ids=LISTS)
def test_every_list_goes_on_by_cursor(account: Client, of: Callable[[Client], str]) -> None:
    path = of(account)
    whole = entries_of(account.get(f"{path}?limit=100").json)
    assert len(whole) >= 5
    found, cursor, pages = [], "", 0
    while True:
        reply = account.get(f"{path}?limit=2&cursor={cursor}")
        assert reply.status == 200, reply
        assert reply.json.keys() & {"total", "offset"} == set()
        found += entries_of(reply.json)
        pages += 1
        if "next_cursor" not in reply.json:
            assert "link" not in reply.headers
            break
        assert len(entries_of(reply.json)) == 2
        cursor = reply.json["next_cursor"]
        assert f"cursor={cursor}".replace(":", "%3A") in reply.headers["link"]
        assert reply.headers["link"].endswith('; rel="next"')

    assert found == whole
    assert pages == -(-len(whole) // 2)
    by_offset = account.get(f"{path}?limit=2")
    assert (entries_of(by_offset.json), by_offset.json["total"]) == (whole[:2], len(whole))
    assert account.get(f"{path}?limit=2&cursor={cursor}&count=true").json["total"] == len(whole)
    assert entries_of(account.get(f"{path}?limit=2&cursor={by_offset.json['next_cursor']}").json) == whole[2:4]


@pytest.mark.parametrize(
    "of", [flows, executions, logs, revisions, tokens, jobs, audit_of_workspace], ids=lambda of: of.__name__
)
def test_a_cursor_that_is_none_is_an_error(account: Client, of: Callable[[Client], str]) -> None:
    path = of(account)
    assert_error(account.get(f"{path}?cursor=none"), 422)
    assert_error(account.get(f"{path}?cursor=&offset=1"), 422)


@pytest.mark.parametrize(
    ("query", "link"),
    [
        ("limit=2", "limit=2&cursor=c+1"),
        # A filter may be given several times.
        ("tag=a&limit=2&tag=b", "tag=a&limit=2&tag=b&cursor=c+1"),
        # A cursor cannot be combined with an offset.
        ("offset=4&limit=2", "limit=2&cursor=c+1"),
        ("cursor=b&limit=2", "limit=2&cursor=c+1"),
        ("after=b&limit=2", "limit=2&cursor=c+1"),
    ],
)
def test_the_link_to_the_next_page_keeps_the_filters_and_replaces_the_place(query: str, link: str) -> None:
    request = Request({"type": "http", "path": "/api/v1/flows", "query_string": query.encode(), "headers": []})

    assert link_to_next(request, "c 1") == {"Link": f'</api/v1/flows?{link}>; rel="next"'}
    assert link_to_next(request, None) == {}


def test_a_page_by_a_cursor_has_the_total_if_it_is_asked_for() -> None:
    assert [page_of(2, 0, cursor, count=count).counts for cursor in (None, "", "c") for count in (False, True)] == [
        True, True, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("sort", ["created_at", "name", "updated_at"])
def test_pages_in_the_reverse_order_have_the_same_flows_backwards(account: Client, sort: str) -> None:
    path = flows(account)

    def walked(order: str) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = account.get(path, sort=order, limit=2, cursor=cursor).json
            found += [flow["name"] for flow in page["flows"]]
            cursor = page.get("next_cursor")
        return found

    assert walked(sort) == [f"Flow {n}" for n in range(5)]
    assert walked(f"-{sort}") == [f"Flow {n}" for n in reversed(range(5))]


def test_flows_are_found_by_name_text_and_several_tags(account: Client) -> None:
    orders = account.new_flow(SMALLEST, name="Orders", description="Ships WHAT is paid", tags=["a", "b"])
    returns = account.new_flow(SMALLEST, name="Returns of orders", tags=["a"])

    def found(query: str) -> list[str]:
        page = account.get(f"/api/v1/flows?{query}").json
        assert page["total"] == len(page["flows"])
        return [flow["id"] for flow in page["flows"]]

    assert found("name=Orders") == [orders]
    assert found("q=orders") == [orders, returns]
    assert found("q=what%20is") == [orders]
    assert found("tag=a") == [orders, returns]
    assert found("tag=a&tag=b") == found("tag=b&q=orders") == [orders]
    assert found("name=orders") == found("tag=a&tag=c") == found("q=%25") == []


def test_lines_of_a_log_are_found_by_level_node_and_text(account: Client) -> None:
    path = logs(account)

    def found(query: str) -> list[str]:
        page = account.get(f"{path}?limit=100&{query}").json
        assert page["total"] == len(page["logs"])
        return [f"{line['level']} {line['message']}" for line in page["logs"]]

    assert found("min_level=warn&node=two") == found("q=SECOND") == ["warn The second"]
    assert found("level=debug") == ["debug The first"]
    assert {line.split()[0] for line in found("min_level=warn")} == {"warn", "error"}
    assert {line.split()[0] for line in found("level=error")} == {"error"}
    assert found("min_level=debug") == found("")
    assert_error(account.get(f"{path}?min_level=warn&level=warn"), 422)


# Those that read what they may show in several portions.
SEARCHES: Final = (
    "executions?error_type=bad&node=stop", "executions?label=team:core", "executions?unrepaired=true",
    "executions?status=failed,completed&since=-1h", "flows?q=f", "audit?action=flow.created&outcome=done",
    "executions/{id}/logs?q=first", "executions/{id}/logs?level=warn",
)  # fmt: skip


class _Watched:
    """A transaction that notes the statements of one read, and whether they saw one snapshot."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.statements: list[tuple[str, bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        self._note(statement)
        return cast("Row | None", await self._tx.row(statement, values))

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]:
        self._note(statement)
        return cast("list[Row]", await self._tx.rows(statement, values))

    def _note(self, statement: Sql) -> None:
        text = statement.sqlite if isinstance(statement, Statement) else statement
        self.statements.append((text, self._tx.connection.in_transaction))


async def test_each_list_and_its_total_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[_Watched] = []

    def watched(read: Callable[..., Any]) -> Callable[..., Any]:
        async def watch(database: SqliteDatabase, function: Callable[[Any], Any]) -> Any:
            def call(tx: Any) -> Any:
                reads.append(_Watched(tx))
                return function(reads[-1])

            return await read(database, call)

        return watch

    for name in ("read", "read_long"):
        monkeypatch.setattr(SqliteDatabase, name, watched(getattr(SqliteDatabase, name)))
    async with two_accounts_at(tmp_path) as accounts:
        admin = accounts.mara
        me = (await admin.request("GET", "/api/v1/accounts/me")).json["id"]
        flow = await admin.flow(f"{SMALLEST}\ntriggers: {{pushed: {{type: webhook, verify: none}}}}\n")
        execution = (await admin.run(flow)).json["execution_id"]
        await admin.ended(execution)
        body = {"url": "https://example.com/", "events": ["execution.failed"]}
        callback = (await admin.request("POST", "/api/v1/callbacks", body)).json["id"]
        (trigger,) = (await admin.request("GET", "/api/v1/triggers")).json["triggers"]
        named = {"flows": flow, "executions": execution, "callbacks": callback, "triggers": trigger["id"]}
        searches = [f"/api/v1/{search}" for search in SEARCHES]
        for path in (*LISTS, *OF_INSTALLATION, *ELSEWHERE, *searches):
            reads.clear()
            reply = await admin.request("GET", re.sub(r"\{\w+\}", named.get(path.split("/")[3], me), path))
            assert reply.status == 200, reply
            for read in reads:
                # One by itself sees one moment anyway.
                alone = [statement for statement, is_in_snapshot in read.statements if not is_in_snapshot]
                assert len(alone) <= 1, path
        assert reads
