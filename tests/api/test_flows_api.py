"""Flows over REST, as the reference has them."""

import json
import time
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from api.shapes import SMALLEST, assert_error, assert_recent, moment
from support.client import Client

FIELDS: Final = {"id", "name", "description", "version", "created_at", "updated_at", "tags", "revision"}
# The reference's own example.
DEFINITION: Final = (
    'metadata:\n  name: "My Flow"\n  description: "A simple flow"\n  version: "1.0.0"\n\nnodes:\n  start:\n'
    '    type: "http.request"\n    params:\n      url: "https://api.example.com/data"\n      method: "GET"\n'
    '    next:\n      default: "end"\n  \n  end:\n    type: "webhook"\n    params:\n'
    '      url: "https://webhook.example.com/callback"\n      method: "POST"\n'
)
EXAMPLE: Final = {
    "name": "My Flow",
    "description": "A simple flow",
    "definition": DEFINITION,
    "tags": ["production"],
}


def test_the_flow_of_the_reference_is_created(account: Client) -> None:
    reply = account.post("/api/v1/flows", EXAMPLE)

    assert reply.status == 201
    flow = reply.json
    assert flow.keys() == FIELDS
    assert flow["id"]
    assert (flow["name"], flow["description"], flow["version"]) == ("My Flow", "A simple flow", "1.0.0")
    assert flow["tags"] == ["production"]
    assert flow["created_at"] == flow["updated_at"]
    assert_recent(flow["created_at"])


def test_a_creation_names_the_other_flows_with_its_name(account: Client) -> None:
    first = account.post("/api/v1/flows", EXAMPLE).json
    planned = account.post("/api/v1/flows?dry_run=true", EXAMPLE).json
    second = account.post("/api/v1/flows", EXAMPLE).json
    other = account.post("/api/v1/flows", {**EXAMPLE, "name": "Another"}).json

    assert planned["same_name"] == second["same_name"] == [first["id"]]
    assert "same_name" not in first
    assert "same_name" not in other
    assert "same_name" not in account.get(f"/api/v1/flows/{second['id']}").json
    reply = account.get("/api/v1/flows/by-name/My%20Flow")
    assert reply.status == 409
    assert reply.json["error"]["message"].startswith("Several flows are called 'My Flow': rename one")


def test_a_flow_is_read_with_its_definition(account: Client) -> None:
    created = account.post("/api/v1/flows", EXAMPLE).json

    reply = account.get(f"/api/v1/flows/{created['id']}")

    assert reply.status == 200
    assert reply.json == {**created, "definition": DEFINITION}


def test_the_graph_of_a_flow_is_read_as_nodes_and_edges_and_as_mermaid(account: Client, admin: Client) -> None:
    id = account.post("/api/v1/flows", EXAMPLE).json["id"]

    reply = account.get(f"/api/v1/flows/{id}/graph")

    assert reply.status == 200
    assert [(node["id"], node["node_type"], node["is_start"]) for node in reply.json["nodes"]] == [
        ("start", "http.request", True),
        ("end", "webhook", False),
    ]
    edge = {"source": "start", "target": "end", "action": "default"}
    assert [{name: found[name] for name in edge} for found in reply.json["edges"]] == [edge]
    assert reply.json["mermaid"].startswith('flowchart TD\n    n1["start')
    assert reply.json["mermaid"].endswith("    n1 --> n2\n")
    assert_error(admin.get(f"/api/v1/flows/{id}/graph"), 404)


AS_SVG: Final = {"Accept": "image/svg+xml"}


def test_the_graph_of_a_flow_is_read_as_a_picture_in_which_names_are_text(account: Client, admin: Client) -> None:
    markup = '\'><script onload="alert(1)">'
    nodes = {
        "one": {
            "type": "switch",
            "params": {"cases": [{"when": True, "action": "<i onload=x>"}]},
            "next": {"<i onload=x>": "two", "default": "end"},
        },
        "two": {"type": "parallel", "branches": {markup: {"nodes": {"<b>&": {"type": "return"}}}}},
        "end": {"type": "return"},
    }
    id = account.new_flow(json.dumps({"nodes": nodes}))

    reply = account.request("GET", f"/api/v1/flows/{id}/graph", headers=AS_SVG)

    assert (reply.status, reply.headers["content-type"]) == (200, "image/svg+xml"), reply.body
    assert reply.headers["content-disposition"] == 'attachment; filename="graph.svg"'
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    parts = list(ElementTree.fromstring(reply.body).iter())
    kinds = {"svg", "defs", "marker", "g", "rect", "path", "text"}
    assert {part.tag for part in parts} == {f"{{http://www.w3.org/2000/svg}}{kind}" for kind in kinds}
    texts = {part.text for part in parts if part.tag.endswith("}text")}
    assert texts == {
        "one", "switch", "<i onload=x>", "two", "parallel", markup, "<b>&", "end", "return", "default",
    }  # fmt: skip
    assert_error(admin.request("GET", f"/api/v1/flows/{id}/graph", headers=AS_SVG), 404)


def test_a_graph_that_takes_the_layout_too_long_has_no_picture(account: Client) -> None:
    names = [f"n{number}" for number in range(64)]
    each = {"type": "switch", "params": {"cases": "${[]}"}, "next": {f"to {name}": name for name in names}}
    id = account.new_flow(json.dumps({"start": "n0", "nodes": dict.fromkeys(names, each)}))

    details = assert_error(account.request("GET", f"/api/v1/flows/{id}/graph", headers=AS_SVG), 422)

    assert details["errors"][0]["message"] == "the graph of 64 nodes and 4096 edges is too large for a picture"
    assert account.get(f"/api/v1/flows/{id}/graph").status == 200


def test_a_flow_is_updated(account: Client) -> None:
    created = account.post("/api/v1/flows", EXAMPLE).json
    time.sleep(0.002)
    definition = DEFINITION.replace("1.0.0", "1.0.1")

    reply = account.put(
        f"/api/v1/flows/{created['id']}",
        {
            "name": "Updated Flow",
            "description": "An updated flow",
            "definition": definition,
            "tags": ["production", "updated"],
        },
    )

    assert reply.status == 200
    assert reply.json.keys() == FIELDS
    assert reply.json == {
        **created,
        "name": "Updated Flow",
        "description": "An updated flow",
        "version": "1.0.1",
        "tags": ["production", "updated"],
        "updated_at": reply.json["updated_at"],
        "revision": 2,
    }
    assert moment(reply.json["updated_at"]) > moment(created["updated_at"])
    assert account.get(f"/api/v1/flows/{created['id']}").json == {**reply.json, "definition": definition}


def test_a_flow_is_deleted(account: Client) -> None:
    id = account.new_flow(SMALLEST)

    reply = account.delete(f"/api/v1/flows/{id}")

    assert reply.status == 200
    assert reply.json == {"message": "Flow deleted successfully"}
    for again in (account.get(f"/api/v1/flows/{id}"), account.delete(f"/api/v1/flows/{id}")):
        assert_error(again, 404, "Flow not found")
    assert_error(account.put(f"/api/v1/flows/{id}", {"name": "N"}), 404, "Flow not found")
    assert_error(account.post(f"/api/v1/flows/{id}/run", {}), 404, "Flow not found")
    assert account.get("/api/v1/flows").json["total"] == 0


METADATA: Final = (
    "metadata:\n  name: From the document\n  description: Its words\n  version: '3'\n  tags: [a, b]\n" + SMALLEST
)


def test_what_the_request_leaves_out_is_taken_from_the_definition(account: Client) -> None:
    flow = account.post("/api/v1/flows", {"definition": METADATA}).json

    assert (flow["name"], flow["description"]) == ("From the document", "Its words")
    assert (flow["version"], flow["tags"]) == ("3", ["a", "b"])


def test_what_the_request_says_wins_over_the_definition(account: Client) -> None:
    body = {"name": "Asked", "description": "", "tags": [], "definition": METADATA}
    flow = account.post("/api/v1/flows", body).json

    assert (flow["name"], flow["description"], flow["tags"]) == ("Asked", "", [])
    assert flow["version"] == "3"
    updated = account.put(f"/api/v1/flows/{flow['id']}", {"name": "Again", "definition": METADATA}).json
    assert updated["name"] == "Again"


def test_the_version_cannot_be_given_beside_the_definition(account: Client) -> None:
    details = assert_error(account.post("/api/v1/flows", {**EXAMPLE, "version": "9"}), 422)

    assert details["field"] == "version"


def test_an_update_of_one_field_leaves_the_others(account: Client) -> None:
    created = account.post("/api/v1/flows", EXAMPLE).json

    updated = account.put(f"/api/v1/flows/{created['id']}", {"description": "Other words"}).json

    assert updated == {**created, "description": "Other words", "updated_at": updated["updated_at"]}
    assert account.get(f"/api/v1/flows/{created['id']}").json["definition"] == DEFINITION


def test_a_flow_without_any_name_is_refused(account: Client) -> None:
    reply = account.post("/api/v1/flows", {"definition": SMALLEST})

    details = assert_error(reply, 422, "Name is required")
    assert details["field"] == "name"
    assert details["reason"] == "Name is required"


@pytest.mark.parametrize(
    "definition",
    [
        SMALLEST.replace("\n", "\r\n"),
        SMALLEST + "\n\n\n",
        "# a comment at the top   \n" + SMALLEST + "# and at the end, without a line break",
        SMALLEST + "x-note: |\n  a tab:\there\n  spaces at the end   \n\n\n",
        SMALLEST + "x-note: >-\r\n  folded\r\n  text\r\n",
        SMALLEST + 'x-note: "\\u0041 é 日本語 🙂 e\u0301 \u2028 \ufb01 \u200f"\n',
        "\ufeff" + SMALLEST,
        SMALLEST + "x-note: " + "x" * 300_000 + "\n",
        "{nodes: {only: {type: return}}}",
        SMALLEST + "...\n",
        "---\n" + SMALLEST,
        SMALLEST.replace("\n", "\n\n   \n", 1),
    ],
    ids=[
        "crlf",
        "blank",
        "comments",
        "tab",
        "crlf-folded",
        "unicode",
        "bom",
        "long",
        "json-like",
        "end",
        "begin",
        "ws",
    ],
)
def test_a_definition_comes_back_byte_for_byte(account: Client, definition: str) -> None:
    id = account.new_flow(definition)

    assert account.get(f"/api/v1/flows/{id}").json["definition"] == definition
    # A change and the change back as well.
    assert account.put(f"/api/v1/flows/{id}", {"definition": SMALLEST}).status == 200
    assert account.put(f"/api/v1/flows/{id}", {"definition": definition}).status == 200
    assert account.get(f"/api/v1/flows/{id}").json["definition"] == definition


def test_names_and_tags_keep_every_character(account: Client) -> None:
    body = {
        "name": "<b>é\u00a0 🙂</b>",
        "description": "a\nb\tc  ",
        "tags": ["a,b", " x ", "日本", "'", '"', "%", "*"],
        "definition": SMALLEST,
    }
    flow = account.post("/api/v1/flows", body).json

    found = account.get(f"/api/v1/flows/{flow['id']}").json
    assert {name: found[name] for name in body} == body
    for tag in body["tags"]:
        assert [f["id"] for f in account.get("/api/v1/flows", tag=tag).json["flows"]] == [flow["id"]], tag


def test_flows_are_listed_without_their_definitions(account: Client) -> None:
    created = [account.post("/api/v1/flows", {**EXAMPLE, "name": f"Flow {n}"}).json for n in range(3)]

    reply = account.get("/api/v1/flows")

    assert reply.status == 200
    assert reply.json.keys() == {"flows", "total", "limit", "offset"}
    assert (reply.json["total"], reply.json["limit"], reply.json["offset"]) == (3, 10, 0)
    assert sorted(reply.json["flows"], key=lambda f: f["name"]) == created


def test_an_account_without_flows_has_an_empty_list(account: Client) -> None:
    assert account.get("/api/v1/flows").json == {"flows": [], "total": 0, "limit": 10, "offset": 0}


def test_flows_are_filtered_by_tag(account: Client) -> None:
    for number, tags in enumerate((["red"], ["red", "blue"], ["blue"], [], ["redd"], ["Red"])):
        account.new_flow(SMALLEST, name=f"f{number}", tags=tags)

    def names(**query: Any) -> tuple[list[str], int]:
        page = account.get("/api/v1/flows", **query).json
        return sorted(flow["name"] for flow in page["flows"]), page["total"]

    assert names(tag="red") == (["f0", "f1"], 2)
    assert names(tag="blue") == (["f1", "f2"], 2)
    assert names(tag="green") == ([], 0)
    assert names(tag="red", limit=1)[1] == 2
    assert names(tag="r%")[1] == 0
    assert names(tag="*")[1] == 0


def test_pages_together_are_the_whole_list_without_repeats(account: Client) -> None:
    ids = {account.new_flow(SMALLEST, name=f"f{n}") for n in range(12)}
    whole = [flow["id"] for flow in account.get("/api/v1/flows", limit=100).json["flows"]]

    pages = []
    for offset in range(0, 15, 5):
        page = account.get("/api/v1/flows", limit=5, offset=offset).json
        assert (page["total"], page["limit"], page["offset"]) == (12, 5, offset)
        pages += [flow["id"] for flow in page["flows"]]

    assert pages == whole
    assert set(whole) == ids
    assert account.get("/api/v1/flows", offset=12).json["flows"] == []
    assert len(account.get("/api/v1/flows").json["flows"]) == 10


@pytest.mark.parametrize("path", ["/api/v1/flows", "/api/v1/executions", "/api/v1/accounts"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"), ("limit", "-1"), ("limit", "1001"), ("limit", "x"), ("limit", ""), ("limit", "1.5"),
        ("limit", "99999999999999999999"), ("limit", "1e2"), ("limit", "0x10"), ("offset", "-1"), ("offset", "x"),
        ("offset", "99999999999999999999999"), ("offset", " "), ("offset", "NaN"),
    ],
)  # fmt: skip
def test_limits_and_offsets_are_bounded(admin: Client, path: str, name: str, value: str) -> None:
    details = assert_error(admin.get(path, **{name: value}), 422)

    assert details["field"] == name
    assert details["errors"][0]["pointer"] == f"/{name}"


def test_the_largest_limit_and_a_far_offset_are_taken(account: Client) -> None:
    page = account.get("/api/v1/flows", limit=1000, offset=2**53).json

    assert page == {"flows": [], "total": 0, "limit": 1000, "offset": 2**53}


FAULTY: Final = """metadata:
  name: Faulty
  version: 2
nodes:
  a:
    type: http.reqest
    next: b
  b:
    type: http.request
    params:
      method: FETCH
      urll: http://127.0.0.1/
    next: {default: c, approved: a}
  d:
    type: delay
    params: {duration: soon}
"""


def test_every_fault_of_a_definition_is_told_with_its_place(account: Client) -> None:
    details = assert_error(account.post("/api/v1/flows", {"name": "N", "definition": FAULTY}), 422)

    errors = details["errors"]
    places = [(error["line"], error["column"]) for error in errors]
    assert places == sorted(places), "in the order of the document"
    lines = {error["line"] for error in errors}
    assert {3, 6, 11, 12, 13, 16} <= lines
    for error in errors:
        assert error.keys() - {"hint", "fix"} == {"pointer", "path", "code", "message", "line", "column"}
        assert error["pointer"] == "/definition"
    by_line = {error["line"]: error for error in errors}
    assert by_line[6]["path"] == "nodes.a.type"
    assert by_line[6]["column"] == 11
    assert by_line[6]["hint"] == "did you mean 'http.request'?"
    assert "field" not in details, "that is for one fault alone"
    assert account.get("/api/v1/flows").json["total"] == 0


@pytest.mark.parametrize(
    ("definition", "line"),
    [
        ("", 1),
        ("[]", 1),
        ("nodes:\n  a: {type: return}\n  a: {type: return}\n", 3),
        ("nodes:\n  a: {type: return\n", None),
        ("nodes:\n  a: &x {type: return}\n  b: *x\n", None),
        ("nodes: !!python/object:os.system {}\n", 1),
        ("nodes:\n  a: {type: return}\n---\nnodes: {}\n", None),
        ("nodes:\n\ta: {type: return}\n", 2),
        ("nodes:\n  a: {type: return, params: {value: '${nodes.b.result}'}}\n", 2),
        ("nodes:\n  a: {type: return, params: {value: '${os.environ}'}}\n", 2),
    ],
)
def test_a_definition_that_is_no_flow_is_refused_with_the_line(
    account: Client, definition: str, line: int | None
) -> None:
    details = assert_error(account.post("/api/v1/flows", {"name": "N", "definition": definition}), 422)

    assert details["errors"]
    assert all(error["line"] >= 1 and error["column"] >= 1 for error in details["errors"])
    if line is not None:
        assert line in {error["line"] for error in details["errors"]}


def test_a_refused_update_changes_nothing(account: Client) -> None:
    created = account.post("/api/v1/flows", EXAMPLE).json

    body = {"name": "Other", "definition": "nodes: {}"}
    assert_error(account.put(f"/api/v1/flows/{created['id']}", body), 422)

    assert account.get(f"/api/v1/flows/{created['id']}").json == {**created, "definition": DEFINITION}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "definition": SMALLEST}, "name"),
        ({"name": "x" * 201, "definition": SMALLEST}, "name"),
        ({"name": 5, "definition": SMALLEST}, "name"),
        ({"name": "N"}, "definition"),
        ({"name": "N", "definition": None}, "definition"),
        ({"name": "N", "definition": {"nodes": {}}}, "definition"),
        ({"name": "N", "definition": SMALLEST, "description": 1}, "description"),
        ({"name": "N", "definition": SMALLEST, "tags": "x"}, "tags"),
        ({"name": "N", "definition": SMALLEST, "tags": ["a", 1]}, "tags.1"),
        ({"name": "N", "definition": SMALLEST, "tags": [""]}, "tags.0"),
        ({"name": "N", "definition": SMALLEST, "tags": ["x"] * 51}, "tags"),
        ({"name": "N", "definition": SMALLEST, "id": "flow-1"}, "id"),
        ({"name": "N", "definition": SMALLEST, "account_id": "account-1"}, "account_id"),
        ({"name": "N", "definition": SMALLEST, "created_at": "2023-01-01T12:00:00Z"}, "created_at"),
    ],
)
def test_a_fault_of_a_field_is_told_by_its_name(account: Client, body: Any, field: str) -> None:
    details = assert_error(account.post("/api/v1/flows", body), 422)

    assert details["field"] == field
    assert details["reason"]
    assert [error["path"] for error in details["errors"]] == [field]
    assert details["errors"][0]["pointer"] == "/" + field.replace(".", "/")


def test_all_faults_of_a_request_are_told_at_once(account: Client) -> None:
    body = {"name": 1, "tags": {}, "extra": True}

    details = assert_error(account.post("/api/v1/flows", body), 422, "The request has 4 faults")

    assert {error["path"] for error in details["errors"]} == {"name", "tags", "extra", "definition"}


def test_a_long_list_is_the_same_as_its_pages(account: Client) -> None:
    for number in range(101):
        account.new_flow(SMALLEST, name=f"flow {number}", description="é" * 100, tags=[f"t{number % 2}"])

    whole = account.get("/api/v1/flows", limit=1000)

    assert whole.headers["content-type"] == "application/json"
    assert {name: whole.json[name] for name in ("total", "limit", "offset")} == {
        "total": 101, "limit": 1000, "offset": 0,
    }  # fmt: skip
    flows = whole.json["flows"]
    assert [flow["name"] for flow in flows] == [f"flow {number}" for number in range(101)]
    for limit, offset in ((10, 0), (50, 0), (51, 50), (100, 1), (101, 0), (1000, 100), (1000, 101)):
        assert account.get("/api/v1/flows", limit=limit, offset=offset).json["flows"] == flows[offset : offset + limit]
    tagged = account.get("/api/v1/flows", limit=1000, tag="t1").json
    assert (tagged["total"], tagged["flows"]) == (50, flows[1::2])
