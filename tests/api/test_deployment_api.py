"""Flows as documents: YAML bodies, flows by name, and dry runs."""

import io
import stat
import threading
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from api.shapes import SMALLEST, assert_error
from support.client import Client, Reply

YAML: Final = "metadata:\n  name: Report\n  description: Its words\n  version: '3'\n  tags: [a, b]\n" + SMALLEST
PLAIN: Final = "metadata: {name: Report}\n" + SMALLEST


def by_name(name: str) -> str:
    return f"/api/v1/flows/by-name/{quote(name, safe='')}"


def send(
    client: Client, method: str, path: str, text: str | bytes, kind: str = "application/yaml", **headers: str
) -> Reply:
    data = text.encode() if isinstance(text, str) else text
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request(method, path, data, {"Content-Type": kind, **sent})


def flows_of(client: Client) -> list[Any]:
    flows: list[Any] = client.get("/api/v1/flows", limit=1000).json["flows"]
    return flows


# YAML bodies


@pytest.mark.parametrize("kind", ["application/yaml", "text/yaml; charset=utf-8", "application/x-yaml", "Text/YAML"])
def test_a_document_is_a_flow_with_the_metadata_in_it(account: Client, kind: str) -> None:
    reply = send(account, "POST", "/api/v1/flows", YAML, kind)

    assert reply.status == 201
    flow = reply.json
    assert (flow["name"], flow["description"], flow["tags"]) == ("Report", "Its words", ["a", "b"])
    assert account.get(f"/api/v1/flows/{flow['id']}").json["definition"] == YAML


def test_a_document_is_whole_and_json_changes_what_it_gives(account: Client) -> None:
    id = send(account, "POST", "/api/v1/flows", YAML).json["id"]

    by_json = account.put(f"/api/v1/flows/{id}", {"definition": PLAIN}).json
    assert (by_json["description"], by_json["tags"]) == ("Its words", ["a", "b"])

    whole = send(account, "PUT", f"/api/v1/flows/{id}", PLAIN).json
    assert (whole["name"], whole["description"], whole["tags"]) == ("Report", "", [])


def test_a_document_is_validated_as_it_is(account: Client) -> None:
    reply = send(account, "POST", "/api/v1/flows/validate", "nodes:\n  a: {type: htp.request}\n")

    assert reply.status == 200
    assert [(error["line"], error["path"]) for error in reply.json["errors"]] == [(2, "nodes.a.type")]


def test_a_document_that_is_not_utf8_is_rejected(account: Client) -> None:
    assert_error(send(account, "POST", "/api/v1/flows", b"nodes: \xff"), 400)
    assert_error(send(account, "POST", "/api/v1/flows", YAML, "application/yaml; charset=latin-1"), 415)
    assert_error(send(account, "POST", "/api/v1/flows", YAML, "text/plain"), 415)


def test_other_routes_take_no_yaml(account: Client) -> None:
    id = account.new_flow(SMALLEST)

    assert_error(send(account, "POST", f"/api/v1/flows/{id}/run", "{}"), 415, "The request body must be JSON")


# By name


@pytest.mark.parametrize("name", ["Report", "a/b", "a/run", "é ü", "50%", "run", "..", "a?b#c", "{id}"])
def test_a_flow_is_created_changed_read_and_run_by_its_name(account: Client, name: str) -> None:
    created = send(account, "PUT", by_name(name), SMALLEST)
    again = send(account, "PUT", by_name(name), SMALLEST)
    changed = send(account, "PUT", by_name(name), SMALLEST + "# 2\n")

    assert (created.status, again.status, changed.status) == (201, 200, 200)
    assert created.json["name"] == name
    assert created.headers["location"] == f"/api/v1/flows/{created.json['id']}"
    assert "location" not in changed.headers
    assert again.json == created.json, "the same document is no change"
    assert again.headers["etag"] == created.headers["etag"] != changed.headers["etag"]
    assert changed.json["id"] == created.json["id"]
    assert changed.json["revision"] == 2
    found = account.get(by_name(name))
    assert found.json == account.get(f"/api/v1/flows/{created.json['id']}").json
    assert found.json["definition"] == SMALLEST + "# 2\n"
    assert account.request("GET", by_name(name), headers={"If-None-Match": found.headers["etag"]}).status == 304
    run = account.post(f"{by_name(name)}/run", {"input": {}})
    assert run.status == 201
    assert account.ended(run.json["execution_id"])["flow_id"] == created.json["id"]


def test_a_name_without_a_flow_is_not_found(account: Client) -> None:
    id = account.new_flow(SMALLEST, name="N")

    for name in ("M", id, "", " ", "x" * 201):
        assert_error(account.get(by_name(name)), 404)
        assert_error(account.post(f"{by_name(name)}/run", {}), 404)


def test_a_name_that_is_not_utf8_makes_no_flow(account: Client) -> None:
    details = assert_error(send(account, "PUT", "/api/v1/flows/by-name/caf%E9", SMALLEST), 422)

    assert (details["field"], details["reason"]) == ("name", "is not percent-encoded UTF-8")
    assert flows_of(account) == []
    # The character that stands for such bytes is one that a name can have.
    assert send(account, "PUT", by_name("\ufffd"), SMALLEST).status == 201


def test_a_name_that_no_flow_can_have_is_rejected(account: Client) -> None:
    for name in (" ", "x" * 201):
        details = assert_error(send(account, "PUT", by_name(name), SMALLEST), 422)
        assert (details["field"], details["reason"]) == ("name", "must have 1 to 200 characters, and not only spaces")


def test_names_are_those_of_the_own_workspace(admin: Client, account: Client) -> None:
    other = admin.new_account()
    account.new_flow(SMALLEST, name="N")

    assert_error(other.get(by_name("N")), 404)
    assert send(other, "PUT", by_name("N"), SMALLEST).status == 201
    assert len(flows_of(account)) == 1


def test_a_name_is_looked_up_in_the_workspace_of_the_header(account: Client) -> None:
    team = account.post("/api/v1/workspaces", {"name": "Team", "slug": f"t-{account.account_id[-12:]}"}).json["id"]

    created = send(account, "PUT", by_name("N"), SMALLEST, Flowrunner_Workspace=team)

    assert created.status == 201
    assert account.get(by_name("N")).status == 404
    found = account.request("GET", by_name("N"), headers={"Flowrunner-Workspace": team})
    assert found.json["id"] == created.json["id"]


def test_a_name_of_two_flows_is_a_conflict(account: Client) -> None:
    ids = [account.new_flow(SMALLEST, name="N") for _ in range(2)]

    for reply in (
        account.get(by_name("N")), send(account, "PUT", by_name("N"), SMALLEST), account.post(f"{by_name('N')}/run"),
    ):  # fmt: skip
        assert_error(reply, 409, "Several flows are called 'N': rename one of them, or use the id of the flow")
        assert reply.json["error"]["hint"] == "GET /api/v1/flows?name= lists the flows with the name"
    account.delete(f"/api/v1/flows/{ids[0]}")
    assert account.get(by_name("N")).json["id"] == ids[1]


def test_a_document_that_says_another_name_is_rejected(account: Client) -> None:
    for reply in (
        send(account, "PUT", by_name("Other"), PLAIN),
        account.put(by_name("Other"), {"definition": PLAIN}),
        account.put(by_name("Other"), {"definition": SMALLEST, "name": "Report"}),
    ):
        assert_error(reply, 422)
    assert flows_of(account) == []
    assert send(account, "PUT", by_name("Report"), PLAIN).status == 201


def test_json_by_name_changes_what_is_given(account: Client) -> None:
    assert_error(account.put(by_name("N"), {"description": "D"}), 422, "Definition is required")
    created = account.put(by_name("N"), {"definition": SMALLEST, "description": "D", "tags": ["t"]})
    changed = account.put(by_name("N"), {"description": "E"})

    assert (created.status, changed.status) == (201, 200)
    assert (changed.json["description"], changed.json["tags"], changed.json["revision"]) == ("E", ["t"], 1)
    assert account.get(by_name("N")).json["definition"] == SMALLEST


def test_conditions_hold_for_names_too(account: Client) -> None:
    path, text = by_name("N"), SMALLEST

    for missing in ("*", '"1.1"'):
        assert_error(send(account, "PUT", path, text, If_Match=missing), 412, "There is no such flow")
    created = send(account, "PUT", path, text, If_None_Match="*")
    assert created.status == 201
    details = assert_error(send(account, "PUT", path, text + "# 2", If_None_Match="*"), 412)
    assert details["revision"] == 1
    assert send(account, "PUT", path, text + "# 2", If_Match=created.headers["etag"]).status == 200
    assert_error(send(account, "PUT", path, text + "# 3", If_Match=created.headers["etag"]), 412)
    assert_error(send(account, "PUT", path, text, If_None_Match='"1.1"'), 400)


def test_many_that_create_one_name_make_one_flow(account: Client) -> None:
    replies: list[Reply] = []

    def put() -> None:
        replies.append(send(account, "PUT", by_name("N"), SMALLEST))

    threads = [threading.Thread(target=put) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(reply.status for reply in replies) == [200] * 11 + [201]
    assert len({reply.json["id"] for reply in replies}) == 1
    assert len(flows_of(account)) == 1


# Dry runs


def test_a_dry_run_answers_what_would_be_and_writes_nothing(account: Client) -> None:
    path = by_name("Report")

    first = send(account, "PUT", f"{path}?dry_run=true", YAML)

    assert first.status == 200
    assert (first.json["id"], first.json["name"], first.json["plan"]["action"]) == ("", "Report", "create")
    assert first.json["plan"]["diff"].startswith("--- /dev/null\n+++ revision 1\n")
    assert flows_of(account) == []

    created = send(account, "PUT", path, YAML).json
    same = send(account, "PUT", f"{path}?dry_run=true", YAML).json
    assert (same["id"], same["plan"]["action"], same["plan"]["diff"]) == (created["id"], "none", "")
    reply = send(account, "PUT", f"{path}?dry_run=true", YAML + "x-note: 1\n")
    other = reply.json
    assert (other["plan"]["action"], other["revision"]) == ("update", 2)
    assert reply.headers["etag"] == account.get(path).headers["etag"], "what a change of the planned one names"
    assert other["plan"]["diff"].endswith("+x-note: 1\n")
    assert other["plan"]["summary"]["keys_changed"] == ["x-note"]
    assert flows_of(account) == [created]


def test_a_dry_run_reports_the_faults_of_the_request(account: Client) -> None:
    path = by_name("N")

    assert_error(send(account, "PUT", f"{path}?dry_run=true", "nodes: {}"), 422, "The flow definition has 1 fault")
    assert_error(send(account, "PUT", f"{path}?dry_run=true", PLAIN), 422)
    assert_error(send(account, "PUT", f"{path}?dry_run=true", SMALLEST, If_Match="*"), 412)
    assert_error(send(account, "PUT", f"{path}?dry_run=yes", SMALLEST), 422)


def test_every_change_of_a_flow_can_be_tried(account: Client) -> None:
    flow = account.post("/api/v1/flows", {"name": "N", "definition": SMALLEST}).json
    path = f"/api/v1/flows/{flow['id']}"
    account.put(path, {"definition": SMALLEST + "# 2\n"})
    before = account.get(path).json
    log = account.get(f"{path}/revisions").json

    created = account.post("/api/v1/flows?dry_run=true", {"name": "M", "definition": SMALLEST})
    updated = account.put(f"{path}?dry_run=true", {"name": "M", "definition": SMALLEST})
    restored = account.post(f"{path}/revisions/1/restore?dry_run=true")
    old_one = account.delete(f"{path}/revisions/1?dry_run=true")
    current = account.delete(f"{path}/revisions/2?dry_run=true")
    deleted = account.delete(f"{path}?dry_run=true")

    assert (created.status, created.json["plan"]["action"]) == (200, "create")
    assert (updated.json["name"], updated.json["revision"], updated.json["plan"]["action"]) == ("M", 3, "update")
    assert restored.json["plan"]["diff"].endswith("-# 2\n")
    assert old_one.json == {"message": "The revision would be deleted"}
    assert_error(current, 409)
    assert deleted.json == {"message": "The flow would be deleted"}
    assert account.get(path).json == before
    assert account.get(f"{path}/revisions").json == log
    assert [found["id"] for found in flows_of(account)] == [flow["id"]]


# Disabled flows


def test_a_disabled_flow_starts_nothing_and_what_is_open_goes_on(account: Client) -> None:
    id = account.new_flow("nodes:\n  a: {type: wait, params: {key: go}}\n", name="N")
    before = account.get(f"/api/v1/flows/{id}").json
    open_one = account.run(id)
    account.until_it_waits(open_one)

    disabled = account.put(f"/api/v1/flows/{id}", {"disabled": True})

    del before["definition"]
    assert disabled.json == {**before, "disabled": True, "updated_at": disabled.json["updated_at"]}
    for start in (f"/api/v1/flows/{id}/run", f"{by_name('N')}/run", f"/api/v1/executions/{open_one}/rerun"):
        assert_error(account.post(start, {}), 409, "The flow 'N' is disabled and starts no executions: enable it first")
    assert [flow["disabled"] for flow in flows_of(account)] == [True]
    assert account.get(f"/api/v1/flows/{id}").json["disabled"] is True
    assert account.post(f"/api/v1/executions/{open_one}/signals/go", {}).status == 200
    assert account.ended(open_one)["status"] == "completed"
    # A new document leaves it disabled.
    assert send(account, "PUT", by_name("N"), SMALLEST).json["disabled"] is True
    enabled = account.put(by_name("N"), {"disabled": False})
    assert "disabled" not in enabled.json
    assert account.post(f"/api/v1/flows/{id}/run", {}).status == 201


def test_a_call_of_a_disabled_flow_fails_with_its_own_error(account: Client) -> None:
    account.put(by_name("callee"), {"definition": SMALLEST, "disabled": True})

    ended = account.ended(account.run(account.new_flow("nodes:\n  a: {type: flow, params: {flow: callee}}\n")))

    assert ended["failure"]["type"] == "flow.disabled"


# Pause of the installation

CALLS_LATER: Final = """
nodes:
  a: {type: wait, params: {key: go}, next: b}
  b: {type: flow, params: {flow: callee}}
"""


def test_a_paused_installation_starts_nothing_and_what_is_open_goes_on(admin: Client, account: Client) -> None:
    account.new_flow(SMALLEST, name="callee")
    id = account.new_flow(CALLS_LATER)
    open_one = account.run(id)
    account.until_it_waits(open_one)
    try:
        paused = admin.put("/api/v1/admin/pause", {"paused": True}).json
        again = admin.put("/api/v1/admin/pause", {"paused": True}).json

        assert paused["paused"] is True
        assert again == paused == admin.get("/api/v1/admin/pause").json
        for start in (f"/api/v1/flows/{id}/run", f"/api/v1/executions/{open_one}/rerun"):
            reply = account.post(start, {})
            assert_error(reply, 503)
            assert reply.headers["retry-after"] == "60"
        assert account.get("/readyz").json == {"status": "paused"}
        assert account.post(f"/api/v1/executions/{open_one}/signals/go", {}).status == 200
        assert account.ended(open_one)["status"] == "completed", "with the sub-flow that it starts"
    finally:
        resumed = admin.put("/api/v1/admin/pause", {"paused": False}).json
    assert resumed == {"paused": False}
    assert account.get("/readyz").json == {"status": "ready"}
    assert account.post(f"/api/v1/flows/{id}/run", {}).status == 201
    actions = [
        entry["action"] for entry in admin.get("/api/v1/audit", limit=5, object_kind="installation").json["entries"]
    ]
    assert actions[:2] == ["installation.resumed", "installation.paused"]
    assert actions[2:3] != ["installation.paused"], "a repeated pause changes nothing"


def test_only_admins_pause(account: Client) -> None:
    assert_error(account.put("/api/v1/admin/pause", {"paused": True}), 403)
    assert_error(account.get("/api/v1/admin/pause"), 403)


# Many at once

BATCH: Final = "/api/v1/flows:batch"
IMPORT: Final = "/api/v1/flows/import"


def batch(*names: str, text: str = SMALLEST) -> Any:
    return {"flows": [{"name": name, "definition": text} for name in names]}


def test_many_flows_are_saved_together(account: Client) -> None:
    first = account.post(BATCH, batch("a", "b/c"))
    second = account.post(BATCH, batch("a", "d"))
    third = account.post(BATCH, batch("a", text=SMALLEST + "# 2\n"))

    assert first.status == 200
    assert [(flow["name"], flow["action"]) for flow in first.json["flows"]] == [("a", "create"), ("b/c", "create")]
    assert [flow["action"] for flow in second.json["flows"]] == ["none", "create"]
    assert [(flow["action"], flow["revision"]) for flow in third.json["flows"]] == [("update", 2)]
    assert sorted(flow["name"] for flow in flows_of(account)) == ["a", "b/c", "d"]


def test_all_of_a_batch_is_saved_or_none_and_each_fault_has_its_flow(account: Client) -> None:
    body = {"flows": [
        {"name": "fine", "definition": SMALLEST},
        {"name": "faulty", "definition": "nodes:\n  a: {type: htp.request, colour: red}\n"},
        {"name": "other", "definition": PLAIN},
    ]}  # fmt: skip

    details = assert_error(account.post(BATCH, body), 422, "2 of the flows have faults; nothing was saved")

    assert [(e["flow"], e["pointer"], e.get("line")) for e in details["errors"]] == [
        *(("faulty", "/flows/1/definition", 2) for _ in range(2)), ("other", "/flows/2/definition", None),
    ]  # fmt: skip
    assert flows_of(account) == []
    account.new_flow(SMALLEST, name="twice")
    account.new_flow(SMALLEST, name="twice")
    assert_error(account.post(BATCH, batch("fine", "twice")), 409)
    assert len(flows_of(account)) == 2


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_all_names_of_a_batch_that_no_flow_can_have_are_reported(account: Client, query: str) -> None:
    flow = "nodes: {a: {type: return}}"
    names = ["left\u200eright", "fine", "\u2800", "up\ndown"]

    refused = account.post(f"{BATCH}{query}", {"flows": [{"name": name, "definition": flow} for name in names]})

    errors = assert_error(refused, 422)["errors"]
    assert [(error["flow"], error["pointer"]) for error in errors] == [
        (names[number], f"/flows/{number}/definition") for number in (0, 2, 3)
    ]
    assert refused.json["error"]["message"] == "3 of the flows have faults; nothing was saved"
    assert account.get("/api/v1/flows").json["total"] == 0


def test_a_batch_names_each_flow_once_and_has_at_most_500(account: Client) -> None:
    assert_error(account.post(BATCH, batch("a", "a")), 422)
    assert_error(account.post(BATCH, batch(" ")), 422)
    assert_error(account.post(BATCH, batch(*map(str, range(501)))), 422)
    assert flows_of(account) == []
    assert account.post(BATCH, batch()).json == {"flows": []}


def test_a_batch_names_the_secrets_that_its_flows_lack(account: Client) -> None:
    account.new_secret("THERE", "a-value-of-some-length")
    reads = "nodes:\n  a: {type: log, params: {message: '${secrets.THERE} ${secrets.GONE}'}}\n"
    flows = [{"name": "reads", "definition": reads}, {"name": "reads nothing", "definition": SMALLEST}]

    for path in ("/api/v1/flows:batch?dry_run=true", "/api/v1/flows:batch", "/api/v1/flows:batch"):
        answered = account.post(path, {"flows": flows}).json["flows"]
        assert [flow.get("missing_secrets") for flow in answered] == [["GONE"], None]


def test_a_batch_names_the_flows_that_are_neither_stored_nor_in_it(account: Client) -> None:
    stored = account.new_flow(SMALLEST, name="stored")
    calls = (
        "triggers:\n  after: {type: execution, flow: unknown source}\n  after_beside: {type: execution, flow: beside}\n"
        "nodes:\n  a: {type: flow, params: {flow: stored}, next: b}\n"
        f"  b: {{type: flow, params: {{flow: {stored}}}, next: c}}\n"
        "  c: {type: flow, params: {flow: gone}, next: d}\n"
        "  d: {type: flow, params: {flow: beside}}\n"
    )
    flows = [{"name": "calls", "definition": calls}, {"name": "beside", "definition": SMALLEST}]

    for path in ("/api/v1/flows:batch?dry_run=true", "/api/v1/flows:batch", "/api/v1/flows:batch"):
        answered = account.post(path, {"flows": flows}).json["flows"]
        assert [flow.get("missing_flows") for flow in answered] == [["gone", "unknown source"], None]


def test_a_batch_can_be_tried(account: Client) -> None:
    id = account.new_flow(SMALLEST, name="a")

    reply = account.post(f"{BATCH}?dry_run=true", batch("a", "b", text=SMALLEST + "# 2\n"))

    old, new = reply.json["flows"]
    assert (old["id"], old["action"], old["plan"]["action"], old["revision"]) == (id, "update", "update", 2)
    assert old["plan"]["diff"].endswith("+# 2\n")
    assert (new["id"], new["action"]) == ("", "create")
    assert [flow["revision"] for flow in flows_of(account)] == [1]


def test_a_batch_deletes_flows_in_its_transaction(account: Client, admin: Client) -> None:
    old, other = (account.new_flow(SMALLEST, name=name) for name in ("old", "other"))

    tried = account.post(f"{BATCH}?dry_run=true", batch("new") | {"delete": [old, "flow-none"]})
    faulty = account.post(BATCH, batch("new", text="nodes: {}") | {"delete": [old]})
    both = account.post(BATCH, batch("old") | {"delete": [old]})
    before = sorted(flow["name"] for flow in flows_of(account))
    saved = account.post(BATCH, batch("new") | {"delete": [old, "flow-none"]})
    again = account.post(BATCH, batch("new") | {"delete": [old]})

    assert (tried.json["deleted"], saved.json["deleted"], again.json.get("deleted")) == ([old], [old], None)
    assert (faulty.status, both.status) == (422, 409)
    assert before == ["old", "other"]
    assert sorted(flow["name"] for flow in flows_of(account)) == ["new", "other"]
    assert_error(account.get(f"/api/v1/flows/{old}"), 404)
    acts = admin.get("/api/v1/audit", object_kind="flow", object_id=old).json["entries"]
    assert [entry["action"] for entry in acts] == ["flow.deleted", "flow.created"]
    assert account.get(f"/api/v1/flows/{other}").status == 200


def test_a_batch_saves_the_flow_that_is_left_of_those_with_its_name(account: Client) -> None:
    ids = [account.new_flow(SMALLEST, name="twin") for _ in range(4)]

    tried = account.post(f"{BATCH}?dry_run=true", batch("twin") | {"delete": ids[:3]})
    none_left = account.post(BATCH, batch("twin") | {"delete": ids})
    two_left = account.post(BATCH, batch("twin") | {"delete": ids[:2]})
    saved = account.post(BATCH, batch("twin") | {"delete": ids[:3]})

    assert [flow["id"] for flow in tried.json["flows"]] == [ids[3]]
    assert (none_left.status, none_left.error["message"]) == (409, "The flow 'twin' is to be both saved and deleted")
    assert (two_left.status, two_left.error["message"][:32]) == (409, "Several flows are called 'twin':")
    assert [flow["id"] for flow in saved.json["flows"]] == [ids[3]]
    assert saved.json["deleted"] == ids[:3]


def test_a_batch_names_the_flows_that_it_has_deleted_and_that_others_of_it_call(account: Client) -> None:
    old = account.new_flow(SMALLEST, name="old")
    calls = "nodes: {a: {type: flow, params: {flow: old}}}\n"

    before = account.post(BATCH, batch("calls", text=calls))
    saved = account.post(BATCH, batch("calls", text=calls) | {"delete": [old]})

    assert [reply.json["flows"][0].get("missing_flows") for reply in (before, saved)] == [None, ["old"]]


def test_a_batch_deletes_no_flow_of_another_workspace(account: Client, admin: Client) -> None:
    id = account.new_flow(SMALLEST, name="mine")

    reply = admin.post(BATCH, {"flows": [], "delete": [id]})

    assert (reply.status, reply.json) == (200, {"flows": []})
    assert account.get(f"/api/v1/flows/{id}").status == 200


def archive(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as opened, warnings.catch_warnings():
        # A file that is there twice is one of the cases.
        warnings.simplefilter("ignore")
        for name, data in files:
            opened.writestr(name, data)
    return made.getvalue()


def upload(client: Client, data: bytes, query: str = "") -> Reply:
    return client.request("POST", IMPORT + query, data, {"Content-Type": "application/zip"})


def test_an_export_is_imported_elsewhere(admin: Client, account: Client) -> None:
    names = ["a/b", "é ü", "50%", "plain", ".."]
    account.post(BATCH, batch(*names, text="metadata: {tags: [x]}\n" + SMALLEST))

    exported = account.get("/api/v1/flows/export")

    assert (exported.status, exported.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(exported.body)) as opened:
        assert opened.testzip() is None
        assert sorted(opened.namelist()) == sorted(f"{quote(name, safe='')}.yaml" for name in names)
    other = admin.new_account()
    tried, imported = upload(other, exported.body, "?dry_run=true"), upload(other, exported.body)
    assert {flow["action"] for flow in tried.json["flows"]} == {"create"}
    assert imported.status == 200
    assert sorted(flow["name"] for flow in flows_of(other)) == sorted(names)
    assert other.get("/api/v1/flows/export").body == exported.body
    assert {flow["action"] for flow in upload(account, exported.body).json["flows"]} == {"none"}


@pytest.mark.parametrize(
    ("system", "attributes"), [(3, (stat.S_IFREG | 0o644) << 16), (3, 0o644 << 16), (0, 0x20)], ids=oct
)
def test_files_that_other_programs_have_packed_are_imported(account: Client, system: int, attributes: int) -> None:
    entry = zipfile.ZipInfo("N.yaml")
    entry.create_system, entry.external_attr = system, attributes
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr(entry, TEXT)

    imported = upload(account, made.getvalue())

    assert [(flow["name"], flow["action"]) for flow in imported.json["flows"]] == [("N", "create")]


def test_flows_with_one_name_cannot_be_exported(account: Client) -> None:
    for _ in range(2):
        account.new_flow(SMALLEST, name="N")

    assert_error(account.get("/api/v1/flows/export"), 409)


def test_an_empty_workspace_exports_an_empty_archive(account: Client) -> None:
    body = account.get("/api/v1/flows/export").body

    assert upload(account, body).json == {"flows": []}


def _link() -> bytes:
    entry = zipfile.ZipInfo("link.yaml")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr(entry, "/etc/passwd")
    return made.getvalue()


def _many(count: int, stated: int | None = None) -> bytes:
    made = archive(*((f"{n}.yaml", b"") for n in range(count)))
    if stated is None:
        return made
    # The end of the directory states the number of entries twice.
    end = made.rfind(b"PK\x05\x06")
    return made[: end + 8] + stated.to_bytes(2, "little") * 2 + made[end + 12 :]


def _smaller_than_it_is(size: int) -> bytes:
    """A document of many bytes of which the directory says that it has one."""
    made = bytearray(archive(("a.yaml", b"x" * size)))
    entry = made.find(b"PK\x01\x02")
    made[entry + 24 : entry + 28] = (1).to_bytes(4, "little")
    made[22:26] = (1).to_bytes(4, "little")
    return bytes(made)


MIB: Final = 1024 * 1024
TEXT: Final = SMALLEST.encode()


def _wrong_archives() -> Iterator[bytes]:
    """Yield them one by one, as some take long to make."""
    yield from (b"", b"x", b"PK\x05\x06", archive(("a.yaml", TEXT))[:-5], archive(("a.yaml", TEXT))[10:])
    for name in ("../a.yaml", "/etc/a.yaml", "d/a.yaml", "a.txt", ".yaml", "%ff.yaml", "a\\b.yaml"):
        yield archive((name, TEXT))
    yield archive(("d/", b""))
    yield archive(("a.yaml", TEXT), ("a.yaml", TEXT))
    yield archive(("a.yaml", TEXT), ("%61.yaml", TEXT))
    yield archive(("a.yaml", b"\xff"))
    yield archive(("a.yaml", TEXT), method=zipfile.ZIP_BZIP2)
    yield archive(("a.yaml", TEXT), method=zipfile.ZIP_LZMA)
    yield from (_link(), _many(501), _many(501, stated=1), _many(1000, stated=0))
    yield archive(*((f"{n}.yaml", b" " * MIB) for n in range(17)))
    yield archive(("a.yaml", b" " * 64 * MIB))
    yield _smaller_than_it_is(64 * MIB)


def test_an_archive_that_is_not_as_it_should_be_is_rejected_whole(account: Client) -> None:
    tried = 0
    for data in _wrong_archives():
        assert_error(upload(account, data), 422)
        assert flows_of(account) == [], data[:80]
        tried += 1

    assert tried == 25


def test_an_import_names_the_file_that_is_wrong(account: Client) -> None:
    details = assert_error(upload(account, archive(("dir/a.b.yaml", TEXT))), 422)

    assert (details["field"], details["reason"]) == ("archive", "'dir/a.b.yaml' is not the name of a document")
    assert details["errors"][0]["pointer"] == "/archive"


def test_an_import_is_an_archive(account: Client) -> None:
    assert_error(account.post(IMPORT, {}), 415, "The request body must be a zip archive")
    assert_error(upload(account, b"x" * (16 * MIB + 1)), 413)
