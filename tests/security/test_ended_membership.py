"""A role in a workspace that ends or changes: at once, for requests under way, cached callers, sockets and tokens."""

import asyncio
import io
import json
import threading
import time
import zipfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import NAP, assert_error
from api.test_workspaces_api import HEADER, Team, team_at
from flowrunner.api.open_streams import OpenStreams
from flowrunner.domain import strict_json
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.security.memory_room import FairBodies
from flowrunner.services.admission import InputForms
from flowrunner.services.approvals import Approvals
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.services.workspaces import MOST_UNKNOWN_NAMES
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.workspaces import SqlWorkspaces
from security.two_accounts import RETURN, ApiClient, two_accounts_at, until
from support.asgi import call, open_socket
from support.client import PASSWORD, Reply
from support.codes import code_of

PATIENCE: Final = 10.0


async def token_for(client: ApiClient, workspace: str, *scopes: str) -> ApiClient:
    body = {"name": "T", "scopes": list(scopes or ("read", "run", "write"))}
    made = await client.request("POST", "/api/v1/tokens", body, **{HEADER: workspace})
    assert made.status == 201, made
    return ApiClient(client.app, made.json["token"])


async def napping(team: Team) -> str:
    return str((await team.mara.run(await team.flow(NAP))).json["execution_id"])


async def sent_slowly(
    client: ApiClient, method: str, path: str, body: Any, meanwhile: Callable[[], Awaitable[object]], **headers: str
) -> Reply:
    """Send a request whose body arrives after something else has happened."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    data = json.dumps(body).encode()
    return await call(
        client.app, method, path, token=client.token, body=data, headers=named, before_body=meanwhile,
    )  # fmt: skip


async def remove_omar(team: Team, id: str) -> None:
    assert (await team.mara.request("DELETE", f"{team.path}/members/{id}")).status == 200


@contextmanager
def meanwhile(
    owner: type, method: str, change: Callable[[], Coroutine[Any, Any, object]], *, first: bool = False
) -> Iterator[None]:
    """Make a change after a method has done its work, or ``first``, in another task, as that of another connection."""
    original = getattr(owner, method)

    async def slow(*args: Any, **options: Any) -> Any:
        if first:
            await asyncio.create_task(change())
        found = await original(*args, **options)
        if not first:
            await asyncio.create_task(change())
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, method, slow)
        yield


@pytest.mark.parametrize("route", ["header", "path", "object", "token"])
async def test_s71_a_request_whose_body_arrives_after_the_removal_is_rejected(tmp_path: Path, route: str) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("editor")
        flow = await team.flow()
        client = await token_for(team.omar, team.id) if route == "token" else team.omar
        method, path, body, headers = {
            "header": ("POST", "/api/v1/flows", {"name": "G", "definition": RETURN}, {HEADER: team.id}),
            "path": ("POST", f"{team.path}/secrets", {"key": "K", "value": "a long value"}, {}),
            "object": ("PUT", f"/api/v1/flows/{flow}", {"name": "G"}, {}),
            "token": ("POST", "/api/v1/flows", {"name": "G", "definition": RETURN}, {}),
        }[route]  # fmt: skip
        late = await sent_slowly(client, method, path, body, lambda: remove_omar(team, id), **headers)
        flows = (await team.mara.request("GET", "/api/v1/flows", **{HEADER: team.id})).json["flows"]
        secrets = (await team.mara.request("GET", f"{team.path}/secrets")).json["secrets"]

    assert late.status == (401 if route == "token" else 404)
    assert [found["name"] for found in flows] == ["F"]
    assert secrets == []


async def test_s71_a_request_whose_body_arrives_after_a_lower_role_is_rejected(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("editor")
        flow = await team.flow()

        async def demote() -> None:
            changed = await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "viewer"})
            assert changed.status == 200

        late = await sent_slowly(team.omar, "PUT", f"/api/v1/flows/{flow}", {"name": "G"}, demote)

    assert late.status == 403


# It takes a tenth of a second to read.
LONG: Final = json.dumps({
    "nodes": {
        **{
            f"n{n}": {"type": "log", "params": {"message": f"${{flow.input.x + {n}}}"}, "next": f"n{n - 1}"}
            for n in range(399, 0, -1)
        },
        "n0": {"type": "log", "params": {"message": "m"}},
    }
})  # fmt: skip


async def names_of_flows(team: Team) -> list[str]:
    listed = await team.mara.request("GET", "/api/v1/flows", **{HEADER: team.id})
    return sorted(found["name"] for found in listed.json["flows"])


async def test_s71_requests_that_wait_for_their_turn_are_rejected_after_the_removal(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("editor")

        async def save(name: str) -> tuple[str, int]:
            flow = {"name": name, "definition": LONG}
            return name, (await team.omar.request("POST", "/api/v1/flows", flow, **{HEADER: team.id})).status

        saving = [asyncio.create_task(save(f"F{n:02}")) for n in range(30)]
        await asyncio.wait(saving, return_when=asyncio.FIRST_COMPLETED)
        await remove_omar(team, id)
        replies = dict(await asyncio.gather(*saving))
        saved = await names_of_flows(team)

    assert set(replies.values()) == {201, 404}
    assert saved == sorted(name for name, status in replies.items() if status == 201)


@pytest.mark.parametrize("act", ["copy", "move"])
async def test_s71_no_flow_comes_to_a_workspace_that_the_account_has_left_while_its_definition_was_read(
    tmp_path: Path, act: str
) -> None:
    method = {"copy": "read", "move": "study"}[act]

    async with team_at(tmp_path) as team:
        id = await team.join("editor")
        own = await team.omar.flow(RETURN)

        with meanwhile(Language, method, lambda: remove_omar(team, id), first=True):
            reply = await team.omar.request("POST", f"/api/v1/flows/{own}/{act}", {"workspace": team.id})

        assert await names_of_flows(team) == []
        assert (await team.omar.request("GET", f"/api/v1/flows/{own}")).status == 200

    assert_error(reply, 404)


@pytest.mark.parametrize(("dry_run", "method", "status"), [("true", "plan_deployment", 404), ("false", "deploy", 200)])
async def test_s71_what_a_deployment_did_and_not_what_it_would_do_is_answered_to_a_member_who_was_removed_meanwhile(
    tmp_path: Path, dry_run: str, method: str, status: int
) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("editor")
        body = {"flows": [], "delete": [await team.flow()]}
        with meanwhile(SqlFlows, method, lambda: remove_omar(team, id)):
            reply = await team.omar.request("POST", f"/api/v1/flows:batch?dry_run={dry_run}", body, **{HEADER: team.id})

    assert reply.status == status, reply


async def test_s71_approvals_of_a_workspace_that_the_account_has_left_meanwhile_are_not_answered(
    tmp_path: Path,
) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("operator")
        with meanwhile(Approvals, "page", lambda: remove_omar(team, id)):
            reply = await team.omar.request("GET", "/api/v1/approvals")

    assert_error(reply, 404)


@pytest.mark.parametrize("is_changed_meanwhile", [False, True])
async def test_approvals_are_answered_with_as_many_looks_at_the_workspaces_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_changed_meanwhile: bool
) -> None:
    admitted_to = vars(Caller)["admitted_to"].fget
    looks = list[Caller]()

    def look(caller: Caller) -> Any:
        looks.append(caller)
        return admitted_to(caller)

    async with team_at(tmp_path) as team:

        async def create(name: str) -> None:
            assert (await team.omar.request("POST", "/api/v1/workspaces", {"name": name})).status == 201

        async def looks_with_another(name: str) -> int:
            async def change() -> None:
                if is_changed_meanwhile:
                    await create(f"{name} too")

            await create(name)
            looks.clear()
            with meanwhile(Approvals, "page", change), monkeypatch.context() as counting:
                counting.setattr(Caller, "admitted_to", property(look))
                assert (await team.omar.request("GET", "/api/v1/approvals")).status == 200
            return len(looks)

        assert await looks_with_another("Alpha") == await looks_with_another("Beta")


async def test_s71_no_execution_starts_whose_member_was_removed_while_its_input_was_checked(
    tmp_path: Path,
) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("operator")
        flow = await team.flow()
        with meanwhile(InputForms, "check", lambda: remove_omar(team, id), first=True):
            reply = await team.omar.request("POST", f"/api/v1/flows/{flow}/run", {})
        started = await team.mara.request("GET", "/api/v1/executions", **{HEADER: team.id})

    assert reply.status == 404
    assert started.json["total"] == 0


async def test_s71_what_was_read_for_a_member_who_was_removed_meanwhile_is_not_answered(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("viewer")
        await team.flow()
        with meanwhile(Flows, "page", lambda: remove_omar(team, id)):
            reply = await team.omar.request("GET", "/api/v1/flows", **{HEADER: team.id})

    assert_error(reply, 404)


async def test_s71_a_stream_of_a_member_who_was_removed_as_it_began_ends_and_counts_no_more(
    tmp_path: Path,
) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("viewer")
        path = f"/api/v1/executions/{await napping(team)}/events"
        with meanwhile(OpenStreams, "admit", lambda: remove_omar(team, id)):
            reply = await team.omar.request("GET", path, Accept="text/event-stream")
        left = team.accounts.program.streams.count

    assert (reply.body, left) == (b"", 0)


async def test_a_request_under_way_is_served_after_a_refresh_of_its_token_and_with_a_higher_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("viewer")
        flow = await team.flow()

        async def refresh() -> None:
            assert (await team.omar.request("POST", "/api/v1/auth/refresh")).status == 200

        async def promote() -> None:
            raised = await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "editor"})
            assert raised.status == 200

        async def lower() -> None:
            lowered = await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "viewer"})
            assert lowered.status == 200

        statuses = []
        for change in (promote, lower, refresh):
            with meanwhile(Flows, "page", change), monkeypatch.context() as slow:
                # The session ends at once, as it does for requests that take longer than its last seconds.
                slow.setattr("flowrunner.services.sessions.REFRESH_GRACE", timedelta(0))
                reply = await team.omar.request("GET", "/api/v1/flows", **{HEADER: team.id})
            statuses.append(reply.status)

    assert [found["id"] for found in reply.json["flows"]] == [flow]
    assert statuses == [200, 403, 200]


async def test_s71_a_request_that_takes_long_changes_nothing_after_the_removal(
    tmp_path: Path,
) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("editor")
        flows = [{"name": f"F{n}", "definition": f"{RETURN} # {n}"} for n in range(3)]
        reads = count(1)

        async def remove_at_the_second() -> None:
            if next(reads) == 2:
                await remove_omar(team, id)

        with meanwhile(Language, "read", remove_at_the_second, first=True):
            reply = await team.omar.request("POST", "/api/v1/flows:batch", {"flows": flows}, **{HEADER: team.id})

        assert await names_of_flows(team) == []

    assert (reply.status, next(reads)) == (404, 3)


async def test_s71_sockets_of_a_removed_member_close_and_those_of_others_stay(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("viewer")
        path = f"/ws/executions/{await napping(team)}"
        program = await token_for(team.omar, team.id, "read")
        own = await team.omar.flow(NAP)
        of_own = f"/ws/executions/{(await team.omar.run(own)).json['execution_id']}"
        app = team.accounts.app
        async with (
            open_socket(app, path, token=team.omar.token) as session,
            open_socket(app, path, token=program.token) as token,
            open_socket(app, path, token=team.mara.token) as others,
            open_socket(app, of_own, token=team.omar.token) as elsewhere,
        ):
            await remove_omar(team, id)
            # Without the periodic look: the removal itself closes them.
            codes = [await asyncio.wait_for(socket, PATIENCE) for socket in (session, token)]
            assert not others.done()
            assert not elsewhere.done()

    assert codes == [4401, 4401]


async def test_s71_a_second_factor_that_is_required_later_closes_the_sockets_of_logins_without_one(
    tmp_path: Path,
) -> None:
    async with team_at(tmp_path) as team:
        await team.join("viewer")
        execution = f"/ws/executions/{await napping(team)}"
        program = await token_for(team.omar, team.id, "read")
        own = await team.omar.flow(NAP)
        of_own = f"/ws/executions/{(await team.omar.run(own)).json['execution_id']}"
        app, factors = team.accounts.app, "/api/v1/second-factors"
        made = (await team.mara.request("POST", f"{factors}/totp", {})).json
        code = {"code": code_of(made["secret"])}
        assert (await team.mara.request("POST", f"{factors}/{made['id']}/confirm", code)).status == 200
        async with (
            open_socket(app, execution, token=team.omar.token) as one,
            open_socket(app, f"/ws/executions?workspace={team.id}", token=team.omar.token) as all_of_it,
            open_socket(app, "/ws/executions", token=team.omar.token) as all_of_all,
            open_socket(app, execution, token=program.token) as token,
            open_socket(app, execution, token=team.mara.token) as with_factor,
            open_socket(app, of_own, token=team.omar.token) as elsewhere,
        ):
            changed = await team.mara.request("PUT", team.path, {"requires_second_factor": True})
            assert changed.status == 200
            # Without the periodic look: the change itself closes them.
            codes = [await asyncio.wait_for(socket, PATIENCE) for socket in (one, all_of_it, all_of_all)]
            assert not any(socket.done() for socket in (token, with_factor, elsewhere))

    assert codes == [4401, 4401, 4401]


async def test_s71_requests_of_a_removed_member_that_wait_for_events_end_without_any(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("operator")
        flow = await team.flow(NAP)
        execution = (await team.mara.run(flow)).json["execution_id"]
        path = f"/api/v1/executions/{execution}/events"
        program = await token_for(team.omar, team.id)

        async def naps() -> bool:
            return "waiting_for" in (await team.omar.request("GET", f"/api/v1/executions/{execution}")).json

        await until(naps)
        known = (await team.omar.request("GET", path)).json["after"]
        requests = [
            asyncio.create_task(request)
            for request in (
                program.request("GET", f"{path}?after={known}&wait=30"),
                team.omar.request("GET", f"{path}?after={known}&wait=30"),
                team.omar.request("GET", f"{path}?after={known}", Accept="application/x-ndjson"),
                team.omar.run(flow, Prefer="wait=60"),
                team.omar.run(flow, Prefer="wait=60", **{HEADER: team.id}),
            )
        ]
        streams = team.accounts.app.state.flowrunner.streams

        async def all_wait() -> bool:
            return bool(streams.count == len(requests))

        await until(all_wait)
        await remove_omar(team, id)
        poll_of_token, poll, stream, *runs = await asyncio.wait_for(asyncio.gather(*requests), PATIENCE)

    # The token has ended with the role. The session goes on, and sees what a stranger sees.
    assert poll_of_token.status == 401
    for reply in (poll, *runs):
        assert_error(reply, 404)
    assert stream.body.strip() == b""


@pytest.mark.parametrize("how", ["workspace", "owner"])
async def test_s71_sockets_and_cached_members_of_a_deleted_workspace_end(tmp_path: Path, how: str) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        if how == "owner":
            # The personal workspace of a third account, which is deleted with it.
            body = {"name": "Rae", "email": "rae@example.com", "password": PASSWORD, "role": "user"}
            rae = (await accounts.mara.request("POST", "/api/v1/accounts", body)).json["id"]
            login = {"username": "rae@example.com", "password": PASSWORD}
            token = (await ApiClient(accounts.app).request("POST", "/api/v1/auth/login", login)).json["token"]
            owner, workspace = ApiClient(accounts.app, token), rae
            delete = ("DELETE", f"/api/v1/accounts/{rae}?workspace=delete")
        else:
            owner = accounts.mara
            workspace = (await owner.request("POST", "/api/v1/workspaces", {"name": "Team"})).json["id"]
            delete = ("DELETE", f"/api/v1/workspaces/{workspace}?name=Team")
        body = {"account": "omar@example.com", "role": "viewer"}
        assert (await owner.request("POST", f"/api/v1/workspaces/{workspace}/members", body)).status == 201
        made = await owner.request("POST", "/api/v1/flows", {"name": "F", "definition": NAP}, **{HEADER: workspace})
        execution = (await owner.run(made.json["id"])).json["execution_id"]
        path = f"/api/v1/executions/{execution}"
        before = await accounts.omar.request("GET", path)
        async with open_socket(accounts.app, f"/ws/executions/{execution}", token=accounts.omar.token) as socket:
            assert (await accounts.mara.request(*delete)).status == 200
            after = await accounts.omar.request("GET", path)
            code = await asyncio.wait_for(socket, PATIENCE)
        ended = await accounts.program.services.executions._reader.get(workspace, execution)

    assert (before.status, after.status) == (200, 404)
    # The execution is cancelled in the same moment, so its end may come first.
    assert code in (1000, 4401)
    assert ended.status.value == "cancelled"


async def test_s71_a_token_for_one_workspace_does_not_learn_of_the_others(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("admin")
        replies = {}
        for name, workspace in (("team", team.id), ("personal", await team.omars_id())):
            program = await token_for(team.omar, workspace, "read", "members")
            listed = await program.request("GET", "/api/v1/workspaces")
            replies[name] = (workspace, listed)

    for workspace, listed in replies.values():
        assert [found["id"] for found in listed.json["workspaces"]] == [workspace]
        assert listed.json["total"] == 1


async def test_s71_concurrent_guesses_of_addresses_are_limited_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = SqlWorkspaces.account_named

    async def look_up_elsewhere(store: SqlWorkspaces, name: str) -> AccountId | None:
        # As on PostgreSQL: other requests are served meanwhile.
        await asyncio.sleep(0)
        return await look_up(store, name)

    monkeypatch.setattr(SqlWorkspaces, "account_named", look_up_elsewhere)
    async with team_at(tmp_path) as team:
        guesses = [
            team.mara.request(
                "POST", f"{team.path}/members", {"account": f"nobody-{n}@example.com", "role": "viewer"}
            )
            for n in range(3 * MOST_UNKNOWN_NAMES)
        ]  # fmt: skip
        statuses = [reply.status for reply in await asyncio.gather(*guesses)]
        # Who asks for accounts that exist is not limited, before the limit is reached.
        known = await team.omar.request("POST", "/api/v1/workspaces", {"name": "Other"})
        paths = [f"/api/v1/workspaces/{known.json['id']}/members"] * (2 * MOST_UNKNOWN_NAMES)
        found = [
            (await team.omar.request("POST", path, {"account": "mara@example.com", "role": "viewer"})).status
            for path in paths
        ]

    assert statuses.count(404) == MOST_UNKNOWN_NAMES
    assert statuses.count(429) == 2 * MOST_UNKNOWN_NAMES
    assert found == [201, *[409] * (len(paths) - 1)]


async def test_s71_addresses_that_could_not_be_looked_up_are_no_guesses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_away(store: SqlWorkspaces, name: str) -> AccountId | None:
        raise Unavailable("the database is away")

    async with team_at(tmp_path) as team:
        path, member = f"{team.path}/members", {"account": "omar@example.com", "role": "viewer"}
        with monkeypatch.context() as outage:
            outage.setattr(SqlWorkspaces, "account_named", is_away)
            tried = [(await team.mara.request("POST", path, member)).status for _ in range(2 * MOST_UNKNOWN_NAMES)]
        added = await team.mara.request("POST", path, member)

    assert set(tried) == {503}
    assert added.status == 201


async def test_s71_the_last_admin_who_can_log_in_cannot_leave(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("admin")
        disabled = await team.mara.request("PUT", f"/api/v1/accounts/{id}", {"disabled": True})
        left = await team.mara.request("POST", f"{team.path}/leave")

    assert disabled.status == 200
    assert left.status == 409


async def test_s71_a_slug_names_its_new_workspace_at_once(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("viewer")
        before = await team.omar.request("GET", "/api/v1/workspaces/data-team")
        assert (await team.mara.request("PUT", team.path, {"slug": "old-team"})).status == 200
        other = (await team.mara.request("POST", "/api/v1/workspaces", {"name": "N", "slug": "data-team"})).json["id"]
        body = {"account": "omar@example.com", "role": "viewer"}
        hidden = await team.omar.request("GET", "/api/v1/workspaces/data-team")
        assert (await team.mara.request("POST", f"/api/v1/workspaces/{other}/members", body)).status == 201
        after = await team.omar.request("GET", "/api/v1/workspaces/data-team")

    assert (before.json["id"], hidden.status, after.json["id"]) == (team.id, 404, other)


async def test_s71_many_memberships_take_the_room_of_other_cached_callers(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        cache = team.accounts.program.services.known_callers._kept
        await team.mara.request("GET", "/api/v1/workspaces")
        one = cache.weight
        for n in range(9):
            assert (await team.mara.request("POST", "/api/v1/workspaces", {"name": f"Team {n}"})).status == 201
        await team.mara.request("GET", "/api/v1/workspaces")

        assert cache.weight == one + 9


async def test_s63_an_account_with_many_workspaces_has_one_share_for_long_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, counting = strict_json.loads, threading.Lock()
    parsing = most = 0

    def counted(data: bytes) -> Any:
        nonlocal parsing, most
        with counting:
            parsing += 1
            most = max(most, parsing)
        time.sleep(0.02)
        with counting:
            parsing -= 1
        return parse(data)

    async with team_at(tmp_path) as team:
        teams = [
            (await team.mara.request("POST", "/api/v1/workspaces", {"name": f"Team {n}"})).json["id"] for n in range(4)
        ]
        monkeypatch.setattr(strict_json, "loads", counted)
        body = {"name": "F", "definition": RETURN + " " * 100_000}
        replies = await asyncio.gather(
            *(team.mara.request("POST", "/api/v1/flows", body, **{HEADER: id}) for id in teams)
        )

    assert {reply.status for reply in replies} == {201}
    assert most == 1


async def test_s63_an_account_with_many_workspaces_has_one_share_for_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, holders = FairBodies.hold, set()

    def noted(room: FairBodies, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        holders.add(workspace_id)
        return hold(room, workspace_id, size)

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("flows/f.yaml", RETURN)
    headers = {"content-type": "application/zip"}
    async with team_at(tmp_path) as team:
        ids = [
            (await team.mara.request("POST", "/api/v1/workspaces", {"name": f"Team {n}"})).json["id"] for n in range(3)
        ]
        monkeypatch.setattr(FairBodies, "hold", noted)
        for id in ids:
            await call(
                team.mara.app, "POST", "/api/v1/flows/import", token=team.mara.token, body=archive.getvalue(),
                headers={**headers, HEADER: id},
            )  # fmt: skip

    assert len(holders) == 1
    assert not holders & set(ids)


async def test_a_long_answer_goes_on_with_a_lower_role_that_has_the_right_of_its_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.services.flow_batches._NAMES_AT_ONCE", 1)
    changes = list[int]()

    async with team_at(tmp_path) as team:
        id = await team.join("admin")
        for name in ("F1", "F2"):
            body = {"name": name, "definition": RETURN}
            assert (await team.mara.request("POST", "/api/v1/flows", body, **{HEADER: team.id})).status == 201

        async def lower() -> None:
            if not changes:
                lowered = await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "viewer"})
                changes.append(lowered.status)

        reply = await call(
            team.accounts.app, "GET", "/api/v1/flows/export", token=team.omar.token,
            headers={HEADER.replace("_", "-"): team.id}, after_piece=lower,
        )  # fmt: skip

    assert changes == [200]
    assert zipfile.ZipFile(io.BytesIO(reply.body)).namelist() == ["F1.yaml", "F2.yaml"]
