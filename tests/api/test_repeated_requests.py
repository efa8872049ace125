"""Requests that create something, sent again with the same `Idempotency-Key`."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import SMALLEST, assert_error
from flowrunner.domain.errors import Unavailable
from flowrunner.services import request_keys
from flowrunner.services.request_keys import RequestKeys
from security.two_accounts import RETURN, ApiClient, two_accounts_at
from support.client import PASSWORD, Reply

from .test_workspaces_api import Team, team_at

# They start a session or end something, and create nothing that is there afterwards; a set-up is done once anyway.
NOT_REPEATABLE: Final = {
    "/api/v1/auth/login", "/api/v1/auth/logout", "/api/v1/auth/refresh", "/api/v1/auth/ws-ticket", "/api/v1/setup",
    # They need a recent login, and their answers are secrets that are shown once.
    "/api/v1/auth/second-factor", "/api/v1/second-factors/totp", "/api/v1/second-factors/{id}/confirm",
    "/api/v1/second-factors/passkeys", "/api/v1/second-factors/passkeys/options",
    "/api/v1/second-factors/recovery-codes",
    # A code of them works once.
    "/api/v1/auth/command-logins", "/api/v1/auth/command-logins/token",
    # A browser begins a login by it.
    "/api/v1/identities",
    "/api/v1/workspaces/{id}/leave",
    # A link works once. Asking for a new password creates another one, and ends that of before.
    "/api/v1/invitations/accept", "/api/v1/invitations/sign-up", "/api/v1/auth/new-password",
    "/api/v1/auth/password-reset", "/api/v1/accounts/{id}/password-reset",
    "/api/v1/accounts/me/email-confirmation", "/api/v1/accounts/me/email-confirmation/confirm",
    # They read, and change nothing.
    "/api/v1/invitations/lookup",
    "/api/v1/flows/validate", "/api/v1/flows/graph", "/api/v1/flows/test", "/api/v1/nodes/try",
    # The second time changes nothing, or does again what is asked for.
    "/api/v1/triggers/{id}/pause", "/api/v1/triggers/{id}/resume", "/api/v1/callbacks/{id}/test",
    "/api/v1/callbacks/{id}/deliveries/{delivery_id}/redeliver", "/api/v1/triggers/{id}/rotate",
    "/api/v1/callbacks/{id}/rotate",
    # A webhook has its own: the id of the delivery, or what the trigger says.
    "/hooks/{token}",
    # The repeat of a move completes it.
    "/api/v1/flows/{id}/move",
}  # fmt: skip
CREATED: Final[dict[str, Any]] = {
    "/api/v1/flows": {"name": "N", "definition": SMALLEST},
    "/api/v1/flows/{flow}/copy": {"name": "copy"},
    "/api/v1/flows/{flow}/revisions/1/restore": None,
    "/api/v1/flows:batch": {"flows": [{"name": "batch", "definition": SMALLEST}]},
    "/api/v1/executions:batch": {"action": "rerun", "filter": {"flow_id": "none"}},
    "/api/v1/accounts": {"name": "N", "email": "new@example.com", "password": PASSWORD},
    "/api/v1/accounts/{me}/secrets": {"key": "KEY", "value": "a long value"},
    "/api/v1/workspaces/{team}/secrets": {"key": "KEY", "value": "a long value"},
    "/api/v1/workspaces": {"name": "Another team"},
    "/api/v1/workspaces/{team}/members": {"account": "omar@example.com", "role": "viewer"},
    "/api/v1/admin/workspaces/{team}/members": {"account": "omar@example.com", "role": "viewer"},
    "/api/v1/keys/rotations": {"kinds": ["data", "signing"]},
}
COUNTED: Final = (
    "flows", "revisions", "jobs", "accounts", "secrets", "workspaces", "members", "key_rotations", "api_tokens",
)  # fmt: skip


async def rows(team: Team) -> dict[str, int]:
    database = team.accounts.program.database
    counts = {}
    for table in COUNTED:
        statement = f"SELECT count(*) FROM {table}"  # names of this file
        row = await database.read(lambda tx, statement=statement: tx.row(statement))  # type: ignore[misc]
        assert row is not None
        counts[table] = row[0]
    return counts


async def test_every_request_that_creates_something_takes_a_key(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        document = (await accounts.mara.request("GET", "/api/v1/openapi.json")).json

    posts = {path: operation["post"] for path, operation in document["paths"].items() if "post" in operation}
    taking = {
        path
        for path, operation in posts.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    }
    assert posts.keys() - taking == NOT_REPEATABLE


@pytest.mark.parametrize("path", CREATED)
async def test_a_repeated_request_changes_nothing_more_and_gets_the_first_answer(tmp_path: Path, path: str) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.mara.flow(RETURN)
        await team.mara.request("PUT", f"/api/v1/flows/{flow}", {"definition": f"{RETURN} # second"})
        me = (await team.mara.request("GET", "/api/v1/workspaces")).json["workspaces"][0]["id"]
        address = path.format(flow=flow, team=team.id, me=me)
        before = await rows(team)
        first = await team.mara.request("POST", address, CREATED[path], Idempotency_Key="k")
        between = await rows(team)
        second = await team.mara.request("POST", address, CREATED[path], Idempotency_Key="k")
        after = await rows(team)
        other = await team.mara.request("POST", address, {"name": "other"}, Idempotency_Key="k")

    assert first.status in (200, 201, 202), first
    assert before != between == after
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers.get("location") == first.headers.get("location")
    assert second.headers.get("etag") == first.headers.get("etag")
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    if path != "/api/v1/flows/{flow}/revisions/1/restore":
        assert other.status == 422
        assert "Idempotency-Key" in (other.error["message"]) or other.error["details"]["errors"]


async def create(client: ApiClient, name: str = "N", **headers: str) -> Reply:
    return await client.request("POST", "/api/v1/flows", {"name": name, "definition": SMALLEST}, **headers)


async def test_the_key_of_another_request_is_rejected(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await create(team.mara, Idempotency_Key="k")
        others = [
            await create(team.mara, "M", Idempotency_Key="k"),
            await create(team.mara, Idempotency_Key="k", Flowrunner_Workspace=team.id),
            await team.mara.request("POST", "/api/v1/workspaces", {"name": "N"}, Idempotency_Key="k"),
        ]
        of_omar = await create(team.omar, Idempotency_Key="k")
        total = (await team.mara.request("GET", "/api/v1/flows")).json["total"]

    for reply in others:
        details = assert_error(reply, 422)
        assert (details["field"], details["errors"][0]["code"]) == ("Idempotency-Key", "reused")
    assert of_omar.status == 201
    assert total == 1


@pytest.mark.parametrize("headers", [{}, {"X_Request_Id": "one"}])
async def test_two_requests_with_one_key_at_a_time_are_done_once(tmp_path: Path, headers: dict[str, str]) -> None:
    async with team_at(tmp_path) as team:
        replies = await asyncio.gather(*[create(team.mara, Idempotency_Key="k", **headers) for _ in range(8)])
        total = (await team.mara.request("GET", "/api/v1/flows")).json["total"]

    assert {reply.status for reply in replies} == {201}
    assert len({reply.json["id"] for reply in replies}) == 1
    assert total == 1


async def test_a_rejected_request_leaves_its_key_free(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        faulty = await team.mara.request(
            "POST", "/api/v1/flows", {"name": "N", "definition": "nodes: 1"}, Idempotency_Key="k"
        )
        planned = await team.mara.request(
            "POST", "/api/v1/flows?dry_run=true", {"name": "N", "definition": SMALLEST}, Idempotency_Key="k"
        )
        fine = await create(team.mara, Idempotency_Key="k")

    assert (faulty.status, planned.status, fine.status) == (422, 200, 201)


async def test_without_its_answer_a_request_is_still_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("the server ended here")

    monkeypatch.setattr(request_keys, "_LOOKS", 2)
    monkeypatch.setattr(RequestKeys, "keep", fail)
    async with team_at(tmp_path) as team:
        first = await create(team.mara, Idempotency_Key="k")
        second = await create(team.mara, Idempotency_Key="k")
        different = await team.mara.request(
            "POST", "/api/v1/flows", {"name": "Other", "definition": SMALLEST}, Idempotency_Key="k"
        )
        total = (await team.mara.request("GET", "/api/v1/flows")).json["total"]

    assert first.status == 201
    assert_error(second, 409)
    assert_error(different, 422)
    assert "its answer was not kept" in second.error["message"]
    assert total == 1


async def test_the_token_of_an_answer_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_keys, "_LOOKS", 0)
    async with team_at(tmp_path) as team:
        body = {"name": "N", "scopes": ["read"]}
        first = await team.mara.request("POST", "/api/v1/tokens", body, Idempotency_Key="k")
        second = await team.mara.request("POST", "/api/v1/tokens", body, Idempotency_Key="k")
        row = await team.accounts.program.database.read(lambda tx: tx.row("SELECT answer FROM request_keys"))
        tokens = (await team.mara.request("GET", "/api/v1/tokens")).json["total"]

    assert first.status == 201
    assert_error(second, 409)
    assert row == (None,)
    assert tokens == 1


async def test_of_a_secret_no_digest_is_kept(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        path = f"/api/v1/workspaces/{team.id}/secrets"
        replies = [
            await team.mara.request("POST", path, {"key": key, "value": value}, Idempotency_Key="k")
            for key, value in (("A", "a first value"), ("A", "a second value"), ("B", "a first value"))
        ]

    # The value is not compared, because a digest of it could be guessed.
    assert [reply.status for reply in replies] == [201, 201, 422]
    assert replies[1].body == replies[0].body


async def test_keys_are_kept_for_a_day(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        first = await create(team.mara, Idempotency_Key="k")
        services, database = team.accounts.program.services, team.accounts.program.database
        await services.request_keys.purge()
        repeated = await create(team.mara, Idempotency_Key="k")
        await database.write(lambda tx: tx.run("UPDATE request_keys SET created_at = created_at - 86400001"))
        await services.request_keys.purge()
        again = await create(team.mara, Idempotency_Key="k")

    assert repeated.json["id"] == first.json["id"] != again.json["id"]


async def test_a_removed_member_gets_no_answer_again(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("editor")
        first = await create(team.omar, Idempotency_Key="k", Flowrunner_Workspace=team.id)
        await team.mara.request("DELETE", f"{team.path}/members/{id}")
        second = await create(team.omar, Idempotency_Key="k", Flowrunner_Workspace=team.id)

    assert first.status == 201
    assert_error(second, 404)


KEY: Final = "a-value-that-is-a-secret"


async def keyed_requests(team: Team) -> dict[str, tuple[str, Any]]:
    """Return requests whose keys are stored, by what they create."""
    flow = await team.mara.flow(f"{RETURN}\ntriggers: {{daily: {{type: schedule, cron: '@daily'}}}}")
    ran = await team.mara.request("POST", f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=60")
    (trigger,) = (await team.mara.request("GET", f"/api/v1/triggers?flow_id={flow}")).json["triggers"]
    return {
        "workspace": ("/api/v1/workspaces", {"name": "Another team"}),
        "execution": (f"/api/v1/flows/{flow}/run", {"input": {}}),
        "rerun": (f"/api/v1/executions/{ran.json['execution_id']}/rerun", {}),
        "schedule": (f"/api/v1/triggers/{trigger['id']}/run", None),
    }


@pytest.mark.parametrize("created", ["workspace", "execution", "rerun", "schedule"])
async def test_no_key_is_stored_as_it_was_sent_and_one_that_was_is_still_known(tmp_path: Path, created: str) -> None:
    async with team_at(tmp_path) as team:
        database = team.accounts.program.database
        path, body = (await keyed_requests(team))[created]
        first = await team.mara.request("POST", path, body, Idempotency_Key=KEY)
        stored = await database.read(
            lambda tx: tx.rows(
                "SELECT key FROM request_keys UNION ALL"
                " SELECT idempotency_key FROM executions WHERE idempotency_key IS NOT NULL"
            )
        )
        # As earlier versions stored them, whose executions no statement changes.
        for statement in (
            "DROP TRIGGER executions_move_with_flow",
            f"UPDATE request_keys SET key = '{KEY}'",
            f"UPDATE executions SET idempotency_key = '{KEY}' WHERE idempotency_key IS NOT NULL",
        ):
            await database.write(lambda tx, statement=statement: tx.run(statement, {}))  # type: ignore[misc]
        second = await team.mara.request("POST", path, body, Idempotency_Key=KEY)

    assert first.status == 201
    assert len(stored) == 1
    assert KEY not in str(stored)
    assert second.headers["idempotent-replayed"] == "true"
    name = "id" if created == "workspace" else "execution_id"
    assert second.json[name] == first.json[name]
