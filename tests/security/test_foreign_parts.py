"""What belongs to something else is not found below a path of one's own, and stays as it is."""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from api.shapes import SMALLEST
from api.test_workspaces_api import HEADER, team_at
from flowrunner.api.http.authentication import place_of
from flowrunner.bootstrap.location import DATABASE_FILE
from security.two_accounts import ApiClient, until

# With the kind of what the second parameter names.
ROUTES: Final = {
    "POST /api/v1/callbacks/{id}/deliveries/{delivery_id}/redeliver": "callback delivery",
    "GET /api/v1/triggers/{id}/deliveries/{delivery_id}": "delivery",
    "POST /api/v1/triggers/{id}/deliveries/{delivery_id}/replay": "delivery",
    "PUT /api/v1/workspaces/{id}/members/{account_id}": "member",
    "DELETE /api/v1/workspaces/{id}/members/{account_id}": "member",
    "DELETE /api/v1/workspaces/{id}/tokens/{token_id}": "token",
    "DELETE /api/v1/workspaces/{id}/invitations/{invitation_id}": "invitation",
    "DELETE /api/v1/accounts/{account_id}/secrets/{key}": "secret",
    "DELETE /api/v1/workspaces/{id}/secrets/{key}": "secret",
}
# Their second parameter is a number, a node or a key within the first object, which nothing else has; the files of the
# interface are the same for everybody.
WITHIN: Final = (
    "/api/v1/executions/{id}/",
    "/api/v1/flows/{id}/revisions/{number}",
    "/hooks/{token}/",
    "/assets/{build}/",
)
BODIES: Final[Mapping[str, Any]] = {"PUT /api/v1/workspaces/{id}/members/{account_id}": {"role": "viewer"}}
HOOKED: Final = f"triggers: {{in: {{type: webhook, verify: none}}}}\n{SMALLEST}"
TABLES: Final = (
    "members",
    "api_tokens",
    "invitations",
    "secrets",
    "hook_deliveries",
    "callback_deliveries",
    "executions",
)


def stored(path: Path) -> Mapping[str, Any]:
    with closing(sqlite3.connect(path / DATABASE_FILE)) as connection:
        return {table: list(connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")) for table in TABLES}


async def done(client: ApiClient, method: str, path: str, body: Any = None, **headers: str) -> Any:
    reply = await client.request(method, path, body, **headers)
    assert reply.status < 300, (method, path, reply)
    return reply.json


async def furnish(client: ApiClient, workspace: str, member: str) -> Mapping[str, str]:
    """Give a workspace one of each; return their ids, and those of the trigger and the callback."""
    path, here = f"/api/v1/workspaces/{workspace}", {HEADER: workspace}
    await done(client, "POST", f"{path}/members", {"account": member, "role": "editor"})
    await done(client, "POST", f"{path}/secrets", {"key": f"OF_{workspace[-6:]}", "value": "a long value"})
    invited = await done(client, "POST", f"{path}/invitations", {"email": f"{workspace}@example.com", "role": "viewer"})
    token = await done(client, "POST", "/api/v1/tokens", {"name": "T", "scopes": ["read"]}, **here)
    flow = (await done(client, "POST", "/api/v1/flows", {"name": "F", "definition": HOOKED}, **here))["id"]
    (trigger,) = (await done(client, "GET", f"/api/v1/triggers?flow_id={flow}", **here))["triggers"]
    started = await done(client, "POST", trigger["url"], {})
    await client.ended(started["execution_id"])
    (delivery,) = (await done(client, "GET", f"/api/v1/triggers/{trigger['id']}/deliveries"))["deliveries"]
    receiver = {"url": "https://receiver.example/", "events": ["execution.failed"]}
    callback = (await done(client, "POST", "/api/v1/callbacks", receiver, **here))["id"]
    tested = (await done(client, "POST", f"/api/v1/callbacks/{callback}/test"))["id"]
    return {
        "workspace": workspace, "trigger": trigger["id"], "callback": callback, "member": member, "token": token["id"],
        "invitation": invited["id"], "secret": f"OF_{workspace[-6:]}", "delivery": delivery["id"],
        "callback delivery": tested,
    }  # fmt: skip


async def test_s71_what_another_workspace_of_the_same_admin_holds_is_not_found_below_this_one(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        mara, omar = team.mara, await team.omars_id()
        made = {"name": "Kim", "email": "kim@example.com", "password": "four words that nobody guesses"}
        kim = (await done(mara, "POST", "/api/v1/accounts", made))["id"]
        second = (await done(mara, "POST", "/api/v1/workspaces", {"name": "Second"}))["id"]
        there, here = await furnish(mara, team.id, omar), await furnish(mara, second, kim)

        async def are_settled() -> bool:
            paths = [f"/api/v1/triggers/{each['trigger']}/deliveries" for each in (there, here)]
            listed = [(await done(mara, "GET", path))["deliveries"] for path in paths]
            return [[delivery["state"] for delivery in found] for found in listed] == [["started"]] * 2

        await until(are_settled)
        before, found = stored(tmp_path), {}
        for route, kind in ROUTES.items():
            method, path = route.split(" ")
            parts = path.split("/")
            owner = {"callbacks": "callback", "triggers": "trigger"}.get(parts[3], "workspace")
            parts[4], parts[6] = here[owner], there[kind]
            found[route] = (await mara.request(method, "/".join(parts), BODIES.get(route))).status
        after = stored(tmp_path)
        own = (await mara.request("DELETE", f"/api/v1/workspaces/{second}/tokens/{here['token']}")).status
        nested = {
            f"{method} {route.path}".replace(":path}", "}")
            for route in team.accounts.app.routes
            for method in getattr(route, "methods", None) or ()
            if route.path.count("{") > 1 and not route.path.startswith(WITHIN)
        }

    assert found == dict.fromkeys(ROUTES, 404)
    assert after == before
    assert own == 200
    assert nested == ROUTES.keys()


async def test_s71_a_path_and_a_header_that_name_two_workspaces_reach_neither(tmp_path: Path) -> None:
    """The caller is an admin of both, so that the rights hold nothing back."""
    async with team_at(tmp_path) as team:
        mara, omar = team.mara, await team.omars_id()
        second = (await done(mara, "POST", "/api/v1/workspaces", {"name": "Second"}))["id"]
        here = await furnish(mara, team.id, omar)
        flows = (await done(mara, "GET", "/api/v1/flows", **{HEADER: team.id}))["flows"]
        runs = (await done(mara, "GET", "/api/v1/executions", **{HEADER: team.id}))["executions"]
        own = {
            "workspace": team.id,
            "account": (await done(mara, "GET", "/api/v1/accounts/me"))["id"],
            "flow": flows[0]["id"],
            "execution": runs[0]["id"],
            "trigger": here["trigger"],
            "callback": here["callback"],
            "job": "job-1",
        }
        before, reached, kinds = stored(tmp_path), {}, set()
        for route in team.accounts.app.routes:
            if not getattr(route, "acts_in_workspace", False) or (place := place_of(route.path_format)) is None:
                continue
            kinds.add(place.kind)
            path = re.sub(r"{[^}]*}", "x", route.path_format.replace(f"{{{place.parameter}}}", own[place.kind]))
            for method in sorted(getattr(route, "methods", None) or ()):
                status = (await mara.request(method, path, {}, **{HEADER: second})).status
                # Those of other kinds act where the header says, and do not find the object there.
                wanted = (404,) if place.kind in ("workspace", "account") else (404, 422)
                if status not in wanted:
                    reached[f"{method} {route.path_format}"] = status
        after = stored(tmp_path)

    assert kinds == own.keys()
    assert reached == {}
    assert after == before
