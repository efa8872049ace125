"""Revisions of a flow over REST, and requests that depend on its state."""

import threading
from typing import Any, Final

import pytest
from starlette.requests import Request

from api.shapes import NAP, SMALLEST, assert_error, assert_recent
from flowrunner.api.http.conditions import change_condition_of, is_known
from flowrunner.services.preconditions import Precondition
from support.client import Client, Reply

NEXT: Final = SMALLEST + "  # the second\n"
METADATA: Final = "metadata: {version: v%d}\n"


def path_of(id: str, number: int | str = "") -> str:
    return f"/api/v1/flows/{id}/revisions" + (f"/{number}" if number != "" else "")


def conditional(client: Client, method: str, path: str, **headers: str) -> Reply:
    return client.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.fixture
def flow(account: Client) -> str:
    """A flow with three revisions."""
    id = account.new_flow(METADATA % 1 + SMALLEST)
    for n in (2, 3):
        assert account.put(f"/api/v1/flows/{id}", {"definition": METADATA % n + SMALLEST}).json["revision"] == n
    return id


def test_revisions_are_listed_the_newest_first(account: Client, flow: str) -> None:
    reply = account.get(path_of(flow))

    assert reply.status == 200
    assert reply.json.keys() == {"revisions", "total", "limit", "offset"}
    assert (reply.json["total"], reply.json["limit"], reply.json["offset"]) == (3, 10, 0)
    assert [r["number"] for r in reply.json["revisions"]] == [3, 2, 1]
    newest = reply.json["revisions"][0]
    assert newest == {
        "number": 3,
        "version": "v3",
        "created_at": newest["created_at"],
        "created_by": account.account_id,
        "is_current": True,
        "size": len(METADATA % 3 + SMALLEST),
    }
    assert_recent(newest["created_at"])
    assert [r["number"] for r in account.get(path_of(flow), limit=1, offset=1).json["revisions"]] == [2]


def test_a_revision_is_read_with_its_definition(account: Client, flow: str) -> None:
    listed = account.get(path_of(flow)).json["revisions"][-1]

    reply = account.get(path_of(flow, 1))

    assert reply.status == 200
    assert reply.json == {**listed, "definition": METADATA % 1 + SMALLEST}
    for number in (4, 2**53):
        assert_error(account.get(path_of(flow, number)), 404, "Revision not found")
    for wrong in ("0", "-1", "x", "1.5", "1e0", str(2**64)):
        assert assert_error(account.get(path_of(flow, wrong)), 422)["field"] == "number"
    assert_error(account.get(path_of("flow-1", 1)), 404, "Flow not found")


def test_a_change_of_the_name_alone_makes_no_revision(account: Client, flow: str) -> None:
    before = account.get(f"/api/v1/flows/{flow}")

    reply = account.put(f"/api/v1/flows/{flow}", {"name": "Other", "tags": ["t"]})

    assert reply.json["revision"] == 3
    assert reply.headers["etag"] != before.headers["etag"], "and still it is another state"
    assert account.get(path_of(flow)).json["total"] == 3


def test_a_restored_definition_is_a_new_revision(account: Client, flow: str) -> None:
    reply = account.post(path_of(flow, 1) + "/restore")

    assert reply.status == 200
    assert (reply.json["revision"], reply.json["version"]) == (4, "v1")
    after = account.get(f"/api/v1/flows/{flow}")
    assert after.json == {**reply.json, "definition": METADATA % 1 + SMALLEST}
    assert after.headers["etag"] == reply.headers["etag"]
    assert [r["number"] for r in account.get(path_of(flow)).json["revisions"]] == [4, 3, 2, 1]
    assert_error(account.post(path_of(flow, 9) + "/restore"), 404, "Revision not found")


def test_revisions_are_compared(account: Client, flow: str) -> None:
    reply = account.get(path_of(flow, 3) + "/diff")

    assert reply.status == 200
    assert reply.json == {
        "number": 3,
        "against": 2,
        "diff": "--- revision 2\n+++ revision 3\n@@ -1,4 +1,4 @@\n-metadata: {version: v2}\n+metadata: {version: v3}\n"
        + "".join(f" {line}\n" for line in SMALLEST.split("\n")[:3]),
        "is_truncated": False,
        "summary": {"nodes_added": [], "nodes_removed": [], "nodes_changed": [], "keys_changed": ["metadata"]},
    }
    assert account.get(path_of(flow, 3) + "/diff", against=1).json["against"] == 1
    first = account.get(path_of(flow, 1) + "/diff").json
    assert (first["against"], first["summary"]["nodes_added"]) == (None, ["only"])
    assert account.get(path_of(flow, 2) + "/diff", against=2).json["diff"] == ""
    assert_error(account.get(path_of(flow, 3) + "/diff", against=9), 404, "Revision not found")
    assert assert_error(account.get(path_of(flow, 3) + "/diff", against="x"), 422)["field"] == "against"


def test_the_longest_definitions_are_compared_in_little_time(account: Client) -> None:
    id = account.new_flow(SMALLEST + "#a\n#b\n" * 170_000)
    assert account.put(f"/api/v1/flows/{id}", {"definition": SMALLEST + "#b\n#c\n#a\n" * 110_000}).status == 200

    reply = account.get(path_of(id, 2) + "/diff")

    assert reply.status == 200
    assert len(reply.body) < 3 * 1024 * 1024


def test_a_revision_is_deleted(account: Client, flow: str) -> None:
    reply = account.delete(path_of(flow, 2))

    assert reply.status == 200
    assert reply.json == {"message": "Revision deleted successfully"}
    for again in (account.get(path_of(flow, 2)), account.delete(path_of(flow, 2))):
        assert_error(again, 404, "Revision not found")
    assert [r["number"] for r in account.get(path_of(flow)).json["revisions"]] == [3, 1]
    assert_error(account.delete(path_of(flow, 3)), 409)
    assert account.put(f"/api/v1/flows/{flow}", {"definition": NEXT}).json["revision"] == 4


def test_a_revision_with_executions_under_way_stays_and_an_ended_one_stays_readable(account: Client) -> None:
    id = account.new_flow(NAP)
    execution = account.run(id)
    account.until_it_waits(execution)
    account.put(f"/api/v1/flows/{id}", {"definition": NEXT})

    assert_error(account.delete(path_of(id, 1)), 409)
    assert account.delete(f"/api/v1/executions/{execution}").status == 200
    assert account.delete(path_of(id, 1)).status == 200

    assert account.execution(execution)["status"] == "cancelled"
    assert account.get(f"/api/v1/executions/{execution}/logs").status == 200


# Conditions


def test_every_answer_with_a_flow_tells_its_state(account: Client) -> None:
    created = account.post("/api/v1/flows", {"name": "N", "definition": SMALLEST})
    path = f"/api/v1/flows/{created.json['id']}"

    states = [created.headers["etag"], account.get(path).headers["etag"]]
    states.append(account.put(path, {"name": "M"}).headers["etag"])
    states.append(account.put(path, {"definition": NEXT}).headers["etag"])
    states.append(account.get(path).headers["etag"])

    assert states == ['"1.1"', '"1.1"', '"1.2"', '"2.3"', '"2.3"']


def test_a_change_of_what_somebody_else_changed_is_refused(account: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}"
    seen = account.get(path).headers["etag"]
    assert account.put(path, {"name": "Theirs"}, If_Match=seen).status == 200

    replies = [
        account.put(path, {"definition": NEXT}, If_Match=seen),
        account.put(path, {"name": "Mine"}, If_Match=seen),
        account.post(f"{path}/revisions/1/restore", If_Match=seen),
        conditional(account, "DELETE", path, If_Match=seen),
    ]

    for reply in replies:
        details = assert_error(reply, 412, "The flow has changed since: it is at revision 1 now")
        assert details == {"revision": 1}
        assert reply.headers["etag"] == '"1.2"'
    after = account.get(path).json
    assert (after["name"], after["definition"], after["revision"]) == ("Theirs", SMALLEST, 1)
    assert conditional(account, "DELETE", path, If_Match=replies[0].headers["etag"]).status == 200


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"1.1"', 200), ("*", 200), (" * ", 200), ('"0","1.1"', 200), ('"0" , "1.1" ,', 200), (',"a,b",,"1.1"', 200),
        ('"1.1', 400), ("1.1", 400), ("", 400), (",", 400), ('"1.1" "0"', 400), ('*, "1.1"', 400), ('"1.1", *', 400),
        ('w/"1.1"', 400), ('"1 .1"', 400), ("**", 400), ('"a"x', 400), ('W/"1.1"', 412), ('"1"', 412), ('"1.10"', 412),
        ('"1.1 "', 400), ('""', 412), ('"*"', 412), ('"\xe9"', 412), ('"0",W/"1.1"', 412), ('"0",' * 5000 + '"0"', 412),
    ],
)  # fmt: skip
def test_if_match_is_read_as_http_has_it(account: Client, condition: str, status: int) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}"

    reply = account.put(path, {"name": "M"}, If_Match=condition)

    assert reply.status == status, reply
    if status != 200:
        assert_error(reply, status)
    assert account.get(path).json["name"] == ("M" if status == 200 else "A flow")


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"1.1"', 304), ('W/"1.1"', 304), ("*", 304), ('"0", "1.1"', 304), ('"0"', 200), ('W/"1.2"', 200), ("1.1", 400)],
)
def test_what_the_caller_has_already_is_not_sent(account: Client, condition: str, status: int) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}"

    reply = conditional(account, "GET", path, If_None_Match=condition)

    assert reply.status == status
    if status == 304:
        assert reply.body == b""
        assert reply.headers["etag"] == '"1.1"'


def test_several_headers_with_a_condition_are_one_list() -> None:
    headers = [(b"if-match", b'"a"'), (b"if-none-match", b'"c"'), (b"if-match", b'W/"x" ,"b"')]
    request = Request({"type": "http", "headers": headers})

    assert change_condition_of(request) == Precondition(states=frozenset({"a", "b"}))
    assert is_known(request, "c")


def test_of_a_flow_that_is_not_there_no_condition_tells_anything(account: Client, other: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}"
    for condition in ("*", '"1.1"'):
        assert_error(other.put(path, {"name": "M"}, If_Match=condition), 404)
        assert_error(conditional(other, "DELETE", path, If_Match=condition), 404)
        assert_error(conditional(other, "GET", path, If_None_Match=condition), 404)


def test_of_fifty_changes_of_one_state_exactly_one_wins(account: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}"
    seen = account.get(path).headers["etag"]
    replies: list[Any] = [None] * 50
    together = threading.Barrier(50)

    def change(n: int) -> None:
        together.wait()
        replies[n] = account.put(path, {"definition": f"{SMALLEST}# {n}\n", "tags": [str(n)]}, If_Match=seen)

    threads = [threading.Thread(target=change, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(reply.status for reply in replies) == [200] + [412] * 49
    (won,) = (n for n, reply in enumerate(replies) if reply.status == 200)
    after = account.get(path)
    assert after.json == {**replies[won].json, "definition": f"{SMALLEST}# {won}\n"}
    assert after.json["tags"] == [str(won)]
    assert {reply.headers["etag"] for reply in replies} == {after.headers["etag"]}
    assert account.get(f"{path}/revisions").json["total"] == 2


def test_of_many_who_look_again_and_retry_nobody_s_change_is_lost(account: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}"

    def change(n: int) -> None:
        while True:
            seen = account.get(path)
            body = {"definition": f"{seen.json['definition']}# {n}\n"}
            reply = account.put(path, body, If_Match=seen.headers["etag"])
            if reply.status != 412:
                assert reply.status == 200
                return

    threads = [threading.Thread(target=change, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    after = account.get(path).json
    assert after["revision"] == 11
    assert sorted(after["definition"].removeprefix(SMALLEST).splitlines()) == sorted(f"# {n}" for n in range(10))
