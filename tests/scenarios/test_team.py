"""A team of four shares a workspace, with real processes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from scenarios.test_standby import start_both
from support.client import Client
from support.fleet import Fleet
from support.invariants import check_database
from support.postgres import PostgresServer
from support.server import Server
from support.waiting import PATIENCE_SECONDS, wait_for

BROKEN = """
metadata: {name: Invoices, version: "1"}
inputs: {amount: {type: integer}}
nodes:
  sum: {type: transform, params: {script: "throw new Error('no sums yet')"}, next: ask}
  ask:
    type: approval
    params: {prompt: "Pay ${input}?", roles: [operator], count: 2}
    next: {approved: pay, rejected: stop, timeout: stop}
  pay: {type: return, params: {value: {paid: true, key: "${secrets.BANK_KEY}", answers: "${nodes.ask.result.answers}"}}}
  stop: {type: fail, params: {error: invoice.rejected, message: Nobody pays}}
"""
MENDED = BROKEN.replace("throw new Error('no sums yet')", "return input.amount * 2")
BANK_KEY = "a-key-of-the-bank-1234"


@pytest.fixture
def fleet(lasting_postgres: PostgresServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, lasting_postgres.new_database())
    try:
        yield fleet
    finally:
        fleet.end()


def new_team(admin: Client) -> tuple[str, dict[str, Client]]:
    """Create a workspace with a member in each role; its first admin is of no other importance."""
    people = {role: admin.new_account() for role in ("admin", "editor", "operator", "viewer")}
    made = people["admin"].post("/api/v1/workspaces", {"name": "Accounting"})
    assert made.status == 201, made
    path = f"/api/v1/workspaces/{made.json['id']}/members"
    for role, person in people.items():
        if role != "admin":
            added = people["admin"].post(path, {"account": person.email, "role": role})
            assert added.status == 201, added
    return made.json["id"], people


def close_code(socket: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=PATIENCE_SECONDS)
    return socket.close_code


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    try:
        yield running.start()
    finally:
        running.stop()
    assert check_database(running.place) == []


def test_a_team_of_four_writes_repairs_approves_and_parts(server: Server) -> None:
    workspace, team = new_team(server.admin())
    path = f"/api/v1/workspaces/{workspace}"
    flow = written(team, path)
    second = repaired(team, flow, failed(team, flow))
    paid = approved_by_two_of_three(team, path, second)
    assert paid["status"] == "completed"
    assert paid["result"]["paid"] is True
    approvers = [team[role].account_id for role in ("editor", "admin")]
    assert [(answer["by"], answer["approved"]) for answer in paid["result"]["answers"]] == [
        (account, True) for account in approvers
    ]
    told = team["admin"].get(f"{path}/audit", action="execution.approval.answered").json["entries"]
    assert [entry["actor"] for entry in reversed(told)] == approvers
    assert BANK_KEY not in str(paid)

    # The last admin stays until there is another; a restart keeps who is a member.
    assert team["admin"].post(f"{path}/leave").status == 409
    assert team["admin"].put(f"{path}/members/{team['editor'].account_id}", {"role": "admin"}).status == 200
    assert team["admin"].post(f"{path}/leave").status == 200
    server.kill()
    server.start()
    team = {role: Client(server.client().url, person.token) for role, person in team.items()}
    assert {role: person.get(path).status for role, person in team.items()} == {
        "admin": 404, "editor": 200, "operator": 404, "viewer": 200,
    }  # fmt: skip
    assert team["editor"].delete(f"{path}?name=Accounting").status == 200
    assert team["editor"].get(f"/api/v1/flows/{flow}").status == 404


def written(team: dict[str, Client], path: str) -> str:
    """Have the editor write a secret and a flow; return the flow's id."""
    secret = {"key": "BANK_KEY", "value": BANK_KEY}
    assert team["operator"].post(f"{path}/secrets", secret).status == 403
    assert team["editor"].post(f"{path}/secrets", secret).status == 201
    body = {"name": "Invoices", "definition": BROKEN}
    made = team["editor"].post("/api/v1/flows", body, Flowrunner_Workspace="accounting")
    assert made.status == 201, made
    return str(made.json["id"])


def failed(team: dict[str, Client], flow: str) -> str:
    """Have the operator run the flow; all members see in the same way how it fails."""
    assert team["viewer"].post(f"/api/v1/flows/{flow}/run", {"input": {"amount": 4}}).status == 403
    id = team["operator"].run(flow, {"amount": 4})
    seen = [person.ended(id) for person in team.values()]
    assert seen[0]["status"] == "failed"
    assert all(execution == seen[0] for execution in seen)
    return id


def repaired(team: dict[str, Client], flow: str, failed: str) -> str:
    """Have the editor repair the flow, and the operator rerun it; return the execution, which waits for approval."""
    assert team["operator"].put(f"/api/v1/flows/{flow}", {"definition": MENDED}).status == 403
    assert team["editor"].put(f"/api/v1/flows/{flow}", {"definition": MENDED}).status == 200
    (newest, *_) = team["viewer"].get(f"/api/v1/flows/{flow}/revisions").json["revisions"]
    assert newest["created_by"] == team["editor"].account_id
    again = team["operator"].post(f"/api/v1/executions/{failed}/rerun", {})
    assert again.status == 201, again
    team["viewer"].waiting_at(again.json["execution_id"], "ask")
    return str(again.json["execution_id"])


def approved_by_two_of_three(team: dict[str, Client], path: str, id: str) -> Any:
    """Have the editor and the admin approve, and remove the operator between; return the execution at its end."""
    body = {"name": "T", "scopes": ["read", "run"]}
    token = team["operator"].post("/api/v1/tokens", body, Flowrunner_Workspace="accounting").json["token"]
    program = Client(team["operator"].url, token)
    execution, approval = f"/api/v1/executions/{id}", f"/api/v1/executions/{id}/approvals/ask"
    assert program.get(execution).json["status"] == "waiting"
    asked = {role: pending(person) for role, person in team.items()}
    assert asked == {"viewer": []} | {role: [(id, 2, 0)] for role in ("admin", "editor", "operator")}
    with team["operator"].watch(id) as removed, program.watch(id) as revoked, team["viewer"].watch(id) as kept:
        assert team["viewer"].post(approval, {"approved": True}).status == 403
        assert team["editor"].post(approval, {"approved": True}).status == 200
        assert team["editor"].post(approval, {"approved": True}).status == 409, "each of the two is another one"
        assert pending(team["admin"]) == [(id, 2, 1)]
        assert team["admin"].delete(f"{path}/members/{team['operator'].account_id}").status == 200

        assert team["operator"].get(execution).status == 404
        assert team["operator"].post(approval, {"approved": True}).status == 404
        assert program.get(execution).status == 401
        assert close_code(removed) == close_code(revoked) == 4401
        assert team["viewer"].get(execution).json["status"] == "waiting", "one of two has approved"
        assert team["admin"].post(approval, {"approved": True}).status == 200
        assert close_code(kept) == 1000
    return team["viewer"].ended(id)


def pending(person: Client) -> list[tuple[str, int, int]]:
    """Return what waits for approval: the execution, and how many approvals are needed and given."""
    found = person.get("/api/v1/approvals").json["approvals"]
    return [(each["execution_id"], each["needed"], each["given"]) for each in found]


def test_another_server_follows_when_a_member_is_removed(fleet: Fleet) -> None:
    _, standby, admin = start_both(fleet)
    workspace, team = new_team(admin)
    path, here = f"/api/v1/workspaces/{workspace}", {"Flowrunner_Workspace": workspace}
    definition = "nodes: {nap: {type: delay, params: {duration: 1h}}}"
    made = team["editor"].post("/api/v1/flows", {"name": "F", "definition": definition}, **here)
    assert made.status == 201, made
    flow = made.json["id"]
    execution = team["operator"].run(flow)
    made = team["viewer"].post("/api/v1/tokens", {"name": "T", "scopes": ["read"]}, **here)
    there = [Client(standby.client().url, token) for token in (team["viewer"].token, made.json["token"])]
    # Both are in the cache of the other server.
    for client in there:
        assert client.get(f"/api/v1/flows/{flow}").status == 200
    with there[0].watch(execution) as of_session, there[1].watch(execution) as of_token:
        assert team["admin"].delete(f"{path}/members/{team['viewer'].account_id}").status == 200

        assert close_code(of_session) == close_code(of_token) == 4401
    wait_for(lambda: [client.get(f"/api/v1/flows/{flow}").status for client in there] == [404, 401])
