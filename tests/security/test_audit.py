"""The audit log: what is done is in it, and nobody takes it out again."""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from api.shapes import NAP, SMALLEST, assert_error
from flowrunner.bootstrap.lifecycle import open_program
from flowrunner.bootstrap.program import Program
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import AccountId
from flowrunner.services.audit import MOST, MOST_ALIKE, MOST_GUESSES, AuditLog
from flowrunner.settings import Settings
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.sqlite.audit import check_chain_of
from flowrunner.storage.sqlite.database import SqliteDatabase
from services.callers import caller_of
from support.asgi import call, connect, program_at
from support.client import PASSWORD, Client, Reply
from support.codes import code_of
from support.databases import MARA_ACCOUNT, OMAR_ACCOUNT, new_database_file, open_database
from support.dependencies import SteppingClock
from support.postgres import PostgresServer
from support.preloaded import run_forked
from support.server import Server, clean_environment

ASKS: Final = "nodes:\n  ask: {type: approval}\n"
KILLS: Final = int(os.environ.get("AUDIT_KILLS", "50"))

# What each request that changes something is called in the log, when it succeeds.
TRIGGERED: Final = f"""
triggers:
  hourly: {{type: schedule, every: 1h}}
  hook: {{type: webhook, verify: none}}
{SMALLEST}"""
ACTIONS: Final = {
    "POST /api/v1/setup": "account.created",
    "POST /api/v1/auth/login": "login.succeeded",
    "POST /api/v1/auth/logout": "logout",
    "POST /api/v1/tokens": "token.created",
    "DELETE /api/v1/tokens/{id}": "token.revoked",
    "POST /api/v1/accounts": "account.created",
    "PUT /api/v1/accounts/{id}": "account.updated",
    "DELETE /api/v1/accounts/{id}": "account.deleted",
    "POST /api/v1/accounts/{account_id}/secrets": "secret.created",
    "DELETE /api/v1/accounts/{account_id}/secrets/{key}": "secret.deleted",
    "POST /api/v1/flows": "flow.created",
    "POST /api/v1/nodes/try": "node.tried",
    "DELETE /api/v1/sessions": "sessions.ended",
    "DELETE /api/v1/sessions/{id}": "sessions.ended",
    "POST /api/v1/second-factors/{id}/confirm": "second_factor.added",
    "POST /api/v1/second-factors/recovery-codes": "recovery_codes.replaced",
    "DELETE /api/v1/second-factors/{id}": "second_factor.removed",
    "DELETE /api/v1/accounts/{id}/second-factors": "second_factors.reset",
    "DELETE /api/v1/accounts/{id}/identities": "identities.reset",
    "DELETE /api/v1/identities/{id}": "identity.unlinked",
    "PUT /api/v1/store/entry": "store.created",
    "DELETE /api/v1/store/entry": "store.deleted",
    "PUT /api/v1/config/{name}": "config.created",
    "DELETE /api/v1/config/{name}": "config.deleted",
    "PUT /api/v1/flows/{id}": "flow.updated",
    "PUT /api/v1/flows/by-name/{name}": "flow.created",
    "POST /api/v1/flows:batch": "flow.created",
    "POST /api/v1/flows/by-name/{name}/run": "execution.started",
    "PUT /api/v1/admin/pause": "installation.resumed",
    "POST /api/v1/flows/{id}/revisions/{number}/restore": "flow.restored",
    "DELETE /api/v1/flows/{id}/revisions/{number}": "flow.revision.deleted",
    "DELETE /api/v1/flows/{id}": "flow.deleted",
    "POST /api/v1/flows/{id}/copy": "flow.created",
    "POST /api/v1/flows/{id}/move": "flow.moved",
    "POST /api/v1/flows/{id}/run": "execution.started",
    "POST /api/v1/executions/{id}/rerun": "execution.rerun",
    "POST /api/v1/executions/{id}/signals/{key}": "execution.signalled",
    "POST /api/v1/executions:signal": "execution.signalled",
    "POST /api/v1/executions/{id}/approvals/{node}": "execution.approval.answered",
    "DELETE /api/v1/executions/{id}": "execution.cancelled",
    "DELETE /api/v1/executions/{id}/record": "execution.deleted",
    "POST /api/v1/executions:batch": "job.created",
    "DELETE /api/v1/jobs/{id}": "job.cancelled",
    "POST /api/v1/triggers/{id}/pause": "trigger.paused",
    "POST /api/v1/triggers/{id}/resume": "trigger.resumed",
    "POST /api/v1/triggers/{id}/rotate": "trigger.rotated",
    "POST /api/v1/triggers/{id}/run": "execution.started",
    "POST /api/v1/triggers/{id}/backfill": "job.created",
    "POST /api/v1/triggers/{id}/deliveries/{delivery_id}/replay": "execution.started",
    "POST /api/v1/callbacks": "callback.created",
    "PUT /api/v1/callbacks/{id}": "callback.changed",
    "DELETE /api/v1/callbacks/{id}": "callback.deleted",
    "POST /api/v1/callbacks/{id}/rotate": "callback.secret_rotated",
    "POST /api/v1/callbacks/{id}/deliveries/{delivery_id}/redeliver": "callback.redelivered",
    "POST /api/v1/keys/rotations": "keys.rotation.requested",
    "POST /api/v1/workspaces": "workspace.created",
    "PUT /api/v1/workspaces/{id}": "workspace.updated",
    "PUT /api/v1/workspaces/{id}/retention": "workspace.retention.changed",
    "PUT /api/v1/flows/{id}/retention": "flow.retention.changed",
    "DELETE /api/v1/workspaces/{id}": "workspace.deleted",
    "POST /api/v1/workspaces/{id}/invitations": "invitation.created",
    "DELETE /api/v1/workspaces/{id}/invitations/{invitation_id}": "invitation.revoked",
    "POST /api/v1/invitations/accept": "invitation.accepted",
    "POST /api/v1/invitations/sign-up": "invitation.accepted",
    "POST /api/v1/accounts/{id}/password-reset": "password.reset_created",
    "POST /api/v1/auth/new-password": "password.reset",
    "POST /api/v1/workspaces/{id}/members": "member.added",
    "PUT /api/v1/workspaces/{id}/members/{account_id}": "member.changed",
    "DELETE /api/v1/workspaces/{id}/members/{account_id}": "member.removed",
    "POST /api/v1/workspaces/{id}/leave": "member.removed",
    "POST /api/v1/admin/workspaces/{id}/members": "member.added",
    "POST /api/v1/workspaces/{id}/secrets": "secret.created",
    "DELETE /api/v1/workspaces/{id}/secrets/{key}": "secret.deleted",
    "DELETE /api/v1/workspaces/{id}/tokens/{token_id}": "token.revoked",
}
# Requests that change nothing that is anybody's, or whose act is told otherwise.
NOT_TOLD: Final = {
    # A ticket is a way in for one socket of the session that asks; a renewed session is the same login.
    "POST /api/v1/auth/ws-ticket",
    # The login that it leads to has an entry: tests/security/test_command_logins.py.
    "POST /api/v1/auth/command-logins",
    "POST /api/v1/auth/command-logins/token",
    "POST /api/v1/auth/refresh",
    # Nothing counts until it is confirmed.
    "POST /api/v1/second-factors/totp",
    "POST /api/v1/second-factors/passkeys/options",
    # The browser goes to the provider; what it comes back with has an entry.
    "POST /api/v1/identities",
    # The entries of these are looked at where browsers and codes are.
    "POST /api/v1/second-factors/passkeys",
    "POST /api/v1/auth/second-factor",
    # What an account prefers in the interface concerns nobody else.
    "PUT /api/v1/accounts/me/preferences",
    # Reads, with a body.
    "POST /api/v1/invitations/lookup",
    # They need a mail server: tests/security/test_password_resets.py and test_email_confirmation.py tell of them.
    "POST /api/v1/auth/password-reset",
    "POST /api/v1/accounts/me/email-confirmation",
    "POST /api/v1/accounts/me/email-confirmation/confirm",
    "POST /api/v1/flows/validate",
    "POST /api/v1/flows/graph",
    # A message of a protocol: `tests/api/test_mcp_access.py` looks for the entry of each call.
    "POST /mcp",
    # It runs offline, and nothing is kept of it.
    "POST /api/v1/flows/test",
    # A message that tells of nothing; it is in the list of the callback's deliveries.
    "POST /api/v1/callbacks/{id}/test",
    # Links need the setting `public_url`: tests/api/test_approval_links.py tells of both.
    "POST /approve/{token}",
    "DELETE /api/v1/executions/{id}/approvals/{node}/link",
    # No account acts; the list of the trigger's deliveries has each.
    "POST /hooks/{token}",
    "POST /hooks/{token}/{rest}",
    # Written as a batch, which has its entries.
    "POST /api/v1/flows/import",
}


class Caller:
    """Calls the program as somebody."""

    def __init__(self, program: Program, email: str) -> None:
        self.program = program
        self.email = email
        self.token: str | None = None
        self.done: dict[tuple[str, str], str] = {}

    async def login(self) -> "Caller":
        body = {"username": self.email, "password": PASSWORD}
        self.token = (await self.go("POST", "/api/v1/auth/login", body)).json["token"]
        return self

    async def go(self, method: str, path: str, body: Any = None, route: str | None = None) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        before = await last_entry(self.program)
        reply = await call(self.program.app, method, path, token=self.token, body=data)
        entry = await last_entry(self.program)
        if reply.status < 300 and entry["seq"] != before["seq"]:
            self.done[method, route or path] = entry["action"]
        return reply


async def last_entry(program: Program) -> dict[str, Any]:
    row = await program.database.read_long(lambda tx: tx.row("SELECT seq, action FROM audit ORDER BY seq DESC LIMIT 1"))
    return {"seq": 0, "action": ""} if row is None else {"seq": row[0], "action": row[1]}


def entries(path: Path, where: str = "1") -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM audit WHERE {where} ORDER BY seq")]


async def two_of(program: Program) -> tuple[Caller, Caller]:
    for name, role in (("root", "admin"), ("user", "user")):
        await program.services.accounts.create(
            name=name, email=f"{name}@example.com", password=PASSWORD, role=role,  # type: ignore[arg-type]
        )  # fmt: skip
    return await Caller(program, "root@example.com").login(), await Caller(program, "user@example.com").login()


async def test_s60_every_request_that_changes_something_leaves_an_entry(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        setup = await Caller(program, "first@example.com").go(
            "POST", "/api/v1/setup",
            {"token": program.setup.issue_token(), "name": "F", "email": "first@example.com", "password": PASSWORD},
        )  # fmt: skip
        assert setup.status == 201
        root, user = await two_of(program)
        await _change_everything(root)

        changing = {
            f"{method} {getattr(route, 'path', '')}".replace(":path}", "}")
            for route in program.app.routes
            for method in getattr(route, "methods", None) or ()
            if method not in ("GET", "HEAD")
        }
        done = {f"{method} {path}": action for (method, path), action in root.done.items()}
        assert changing - NOT_TOLD == ACTIONS.keys()
        assert done == {route: action for route, action in ACTIONS.items() if route != "POST /api/v1/setup"}
        assert (await user.go("GET", "/api/v1/audit")).status == 403
        rows = entries(tmp_path / "data" / "flowrunner.db")
    assert rows[0]["action"] == "account.created"
    assert rows[0]["credential"] == "setup"
    for row in rows[3:]:
        assert row["actor"], row
        assert row["credential"].startswith(("session:", "token:", "invitation", "reset")), row
        assert row["address"] == "127.0.0.1"
        assert row["outcome"] == ("denied" if row["action"] == "request.denied" else "done")
    assert rows[-1]["action"] == "request.denied"
    assert rows[-1]["object_id"] == "GET /api/v1/audit"
    assert check_chain_of(tmp_path / "data" / "flowrunner.db").broken is None


async def _change_everything(root: Caller) -> None:
    """Each route that changes something, as it succeeds."""
    flows, one, executions = "/api/v1/flows", "/api/v1/flows/{id}", "/api/v1/executions/{id}"

    async def go(method: str, route: str, body: Any = None, **parts: str) -> Any:
        reply = await root.go(method, route.format(**parts), body, route)
        assert reply.status < 300, (method, route, reply)
        return reply.json if reply.body else None

    me = (await root.program.services.sessions.authenticate(root.token or "")).account_id
    flow = (await go("POST", flows, {"name": "N", "definition": NAP}))["id"]
    await go("PUT", one, {"definition": f"{NAP}# 2"}, id=flow)
    await go("PUT", f"{flows}/by-name/{{name}}", {"definition": NAP}, name="by name")
    await go("POST", f"{flows}/by-name/{{name}}/run", {"input": {}}, name="by name")
    await go("POST", f"{flows}:batch", {"flows": [{"name": "of a batch", "definition": NAP}]})
    await go("POST", "/api/v1/nodes/try", {"definition": NAP, "node": "nap"})
    # Only a change has an entry, and the last one of the route is compared.
    for is_paused in (True, False):
        await go("PUT", "/api/v1/admin/pause", {"paused": is_paused})
    await go("POST", f"{one}/revisions/{{number}}/restore", id=flow, number="1")
    await go("DELETE", f"{one}/revisions/{{number}}", id=flow, number="1")
    execution = (await go("POST", f"{one}/run", {"labels": {"order": "7"}}, id=flow))["execution_id"]
    await go("POST", f"{executions}/rerun", {"labels": {}}, id=execution)
    await go("POST", f"{executions}/signals/{{key}}", {"payload": 1}, id=execution, key="k")
    await go("POST", f"{executions[:-5]}:signal", {"key": "k", "filter": {"label": ["order:7"]}})
    await go("DELETE", executions, id=execution)
    job = (await go("POST", f"{executions[:-5]}:batch", {"action": "rerun", "ids": [execution]}))["id"]
    await go("DELETE", "/api/v1/jobs/{id}", id=job)
    await go("DELETE", f"{executions}/record", id=execution)
    asking = (await go("POST", flows, {"name": "A", "definition": ASKS}))["id"]
    id = (await go("POST", f"{one}/run", {"input": {}}, id=asking))["execution_id"]
    while (await root.go("GET", f"/api/v1/executions/{id}")).json["status"] != "waiting":  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await go("POST", f"{executions}/approvals/{{node}}", {"approved": True}, id=id, node="ask")
    await go("DELETE", one, id=flow)
    await go("POST", "/api/v1/accounts/{account_id}/secrets", {"key": "K", "value": "a long value"}, account_id=me)
    await go("DELETE", "/api/v1/accounts/{account_id}/secrets/{key}", account_id=me, key="K")
    token = (await go("POST", "/api/v1/tokens", {"name": "N", "scopes": ["read"]}))["id"]
    await go("DELETE", "/api/v1/tokens/{id}", id=token)
    account = {"name": "N", "email": "n@example.com", "password": PASSWORD}
    other = (await go("POST", "/api/v1/accounts", account))["id"]
    await go("PUT", "/api/v1/accounts/{id}", {"role": "viewer"}, id=other)
    link = (await go("POST", "/api/v1/accounts/{id}/password-reset", id=other))["link"]
    await go("POST", "/api/v1/auth/new-password", {"token": link.partition("#")[2], "password": PASSWORD})
    await _change_triggers(root, go)
    await _change_workspaces(root, go, me=me, other=other, flow=asking)
    await _change_second_factors(root, go, other=other)
    await go("DELETE", "/api/v1/accounts/{id}", id=other)
    await go("POST", "/api/v1/keys/rotations", {"kinds": ["data"]})
    await go("DELETE", "/api/v1/sessions")
    (session,) = (await root.go("GET", "/api/v1/sessions")).json["sessions"]
    await go("DELETE", "/api/v1/sessions/{id}", id=session["id"])
    await root.login()
    await go("POST", "/api/v1/auth/logout")
    await root.login()


async def _change_second_factors(root: Caller, go: Callable[..., Awaitable[Any]], *, other: str) -> None:
    """Each route that changes something of a second factor."""
    made = await go("POST", "/api/v1/second-factors/totp", {})
    await go("POST", "/api/v1/second-factors/{id}/confirm", {"code": code_of(made["secret"])}, id=made["id"])
    await go("POST", "/api/v1/second-factors/recovery-codes")
    await go("DELETE", "/api/v1/second-factors/{id}", id=made["id"])
    await go("DELETE", "/api/v1/accounts/{id}/second-factors", id=other)
    await go("DELETE", "/api/v1/accounts/{id}/identities", id=other)
    me = (await root.go("GET", "/api/v1/accounts/me")).json["id"]
    columns = "id, account_id, provider, issuer, subject, created_at"
    linked = f"INSERT INTO identities ({columns}) VALUES ('i', :me, 'p', 'i', 's', 0)"
    await root.program.database.write(lambda tx: tx.run(linked, {"me": me}))
    await go("DELETE", "/api/v1/identities/{id}", id="i")


async def _change_triggers(root: Caller, go: Callable[..., Awaitable[Any]]) -> None:
    """Each route that changes something of a trigger or a callback."""
    trigger, callback = "/api/v1/triggers/{id}", "/api/v1/callbacks/{id}"
    await go("POST", "/api/v1/flows", {"name": "T", "definition": TRIGGERED})
    listed = (await root.go("GET", "/api/v1/triggers")).json["triggers"]
    found = {each["type"]: each for each in listed}
    schedule, hook = found["schedule"]["id"], found["webhook"]["id"]
    for change in ("pause", "resume", "run"):
        await go("POST", f"{trigger}/{change}", id=schedule)
    period = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T03:00:00Z"}
    await go("POST", f"{trigger}/backfill", period, id=schedule)
    assert (await root.go("POST", found["webhook"]["url"], {})).status < 300
    (delivery,) = (await root.go("GET", f"/api/v1/triggers/{hook}/deliveries")).json["deliveries"]
    await go("POST", f"{trigger}/deliveries/{{delivery_id}}/replay", id=hook, delivery_id=delivery["id"])
    await go("POST", f"{trigger}/rotate", id=hook)
    body = {"url": "https://receiver.example/", "events": ["execution.failed"]}
    id = (await go("POST", "/api/v1/callbacks", body))["id"]
    await go("PUT", callback, {"name": "N"}, id=id)
    await go("POST", f"{callback}/rotate", id=id)
    sent = (await go("POST", f"{callback}/test", id=id))["id"]
    await go("POST", f"{callback}/deliveries/{{delivery_id}}/redeliver", id=id, delivery_id=sent)
    await go("DELETE", callback, id=id)


async def _change_workspaces(
    root: Caller, go: Callable[..., Awaitable[Any]], *, me: str, other: str, flow: str
) -> None:
    """Each route that changes something of a workspace, with another account and a flow to copy."""
    workspace, members = "/api/v1/workspaces/{id}", "/api/v1/workspaces/{id}/members"
    team = (await go("POST", "/api/v1/workspaces", {"name": "T", "slug": "team"}))["id"]
    await go("PUT", workspace, {"name": "Team"}, id=team)
    await go("PUT", f"{workspace}/retention", {"max_age_seconds": 86400}, id=team)
    await go("PUT", "/api/v1/flows/{id}/retention", {"max_count": 100}, id=flow)
    await go("POST", members, {"account": other, "role": "viewer"}, id=team)
    await go("PUT", f"{members}/{{account_id}}", {"role": "editor"}, id=team, account_id=other)
    await go("DELETE", f"{members}/{{account_id}}", id=team, account_id=other)
    copy = (await go("POST", "/api/v1/flows/{id}/copy", {}, id=flow))["id"]
    await go("POST", "/api/v1/flows/{id}/move", {"workspace": team}, id=copy)
    await go("POST", f"{workspace}/secrets", {"key": "K", "value": "a long value"}, id=team)
    await go("DELETE", f"{workspace}/secrets/{{key}}", id=team, key="K")
    await go("PUT", "/api/v1/config/{name}", {"value": 1}, name="N")
    await go("DELETE", "/api/v1/config/{name}", name="N")
    entry = "/api/v1/store/entry"
    for method in ("PUT", "DELETE"):
        await root.go(method, f"{entry}?key=k", {"value": 1} if method == "PUT" else None, entry)
    invitations = f"{workspace}/invitations"
    for address, use, body in (
        ("root@example.com", "accept", {}),
        ("kim@example.com", "sign-up", {"name": "Kim", "password": PASSWORD}),
        ("lee@example.com", "", {}),
    ):
        invited = await go("POST", invitations, {"email": address, "role": "viewer"}, id=team)
        if use:
            await go("POST", f"/api/v1/invitations/{use}", {"token": invited["link"].partition("#")[2], **body})
        else:
            await go("DELETE", f"{invitations}/{{invitation_id}}", id=team, invitation_id=invited["id"])
    token = (await go("POST", "/api/v1/tokens", {"name": "N", "scopes": ["read"]}))["id"]
    await go("DELETE", f"{workspace}/tokens/{{token_id}}", id=me, token_id=token)
    admins = "/api/v1/admin/workspaces/{id}/members"
    await go("POST", admins, {"account": other, "role": "admin"}, id=team)
    await go("POST", f"{workspace}/leave", id=team)
    await go("POST", admins, {"account": me, "role": "admin"}, id=team)
    assert (await root.go("DELETE", f"/api/v1/workspaces/{team}?name=Team", route=workspace)).status == 200


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"role": "viewer"}, {"given": ["role"], "role": "viewer", "is_disabled": False, "has_ended_sessions": True}),
        ({"role": "user"}, {"given": ["role"], "role": "user", "is_disabled": False, "has_ended_sessions": False}),
        ({"disabled": True}, {"given": ["is_disabled"], "role": "user", "is_disabled": True}),
        ({"disabled": False}, {"given": ["is_disabled"], "role": "user", "is_disabled": False}),
        ({"password": "nine-red-badgers-dig"}, {"given": ["password"], "has_ended_sessions": True}),
        ({"name": "Other", "email": "other@example.com"}, {"given": ["name", "email"], "has_ended_sessions": False}),
    ],
)
async def test_s60_a_change_of_an_account_says_what_was_changed(
    tmp_path: Path, change: dict[str, Any], told: dict[str, Any]
) -> None:
    async with program_at(tmp_path / "data") as program:
        root, user = await two_of(program)
        id = (await program.services.sessions.authenticate(user.token or "")).account_id
        if change == {"disabled": False}:
            assert (await root.go("PUT", f"/api/v1/accounts/{id}", {"disabled": True})).status == 200

        assert (await root.go("PUT", f"/api/v1/accounts/{id}", change)).status == 200

    row = entries(tmp_path / "data" / "flowrunner.db")[-1]
    assert (row["action"], row["object_id"], row["workspace_id"]) == ("account.updated", id, id)
    details = json.loads(row["details"])
    assert {name: details[name] for name in told} == told
    for value in ("nine-red-badgers-dig", "other@example.com"):
        assert value not in str(row)


async def test_s60_an_act_that_fails_leaves_no_entry_and_one_for_a_batch_that_partly_fails(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        root, _ = await two_of(program)
        account = {"name": "N", "email": "n@example.com", "password": PASSWORD}

        replies = await asyncio.gather(*(root.go("POST", "/api/v1/accounts", account) for _ in range(5)))

        assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409]
    made = entries(tmp_path / "data" / "flowrunner.db", "action = 'account.created' AND credential <> 'server'")
    assert len(made) == 1


async def test_s60_many_acts_at_once_are_one_chain(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        root, _ = await two_of(program)
        flow = (await root.go("POST", "/api/v1/flows", {"name": "N", "definition": NAP})).json["id"]

        await asyncio.gather(
            *(root.go("POST", f"/api/v1/flows/{flow}/run", {"input": {}}) for _ in range(100)),
            *(root.go("POST", "/api/v1/flows", {"name": "N", "definition": NAP}) for _ in range(50)),
        )
    rows = entries(tmp_path / "data" / "flowrunner.db")
    assert Counter(row["action"] for row in rows)["execution.started"] == 100
    assert Counter(row["action"] for row in rows)["flow.created"] == 51
    assert check_chain_of(tmp_path / "data" / "flowrunner.db").broken is None


def test_s60_a_kill_leaves_the_act_and_its_entry_or_neither(tmp_path: Path) -> None:
    seed = random.randrange(2**31)
    print(f"seed {seed}")

    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("audited.py")), str(tmp_path), str(KILLS), str(seed)],
        capture_output=True, text=True, check=False,
        env=clean_environment(PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert sum(told["deaths"].values()) == KILLS
    assert len(told["deaths"]) == 4, "it died at each of the moments"
    assert min(told["told"].values()) > KILLS / 20


# Who wants to change it


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    """A database with twenty entries."""
    path = new_database_file(tmp_path / "flowrunner.db")
    database = open_database(path)
    try:
        await write(database, 20)
    finally:
        await database.close()
    return path


async def write(database: SqliteDatabase, count: int, *, clock: SteppingClock | None = None) -> None:
    clock = clock or SteppingClock()
    for n in range(count):
        entry = AuditEntry(
            at=clock.now(), action="flow.created", object=("flow", f"flow-{n}"), details={"n": n, "of": ["é", None]}
        )
        await SqlAudit(database).add(entry)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET action = 'x' WHERE seq = 3",
        "UPDATE audit SET seq = 300 WHERE seq = 20",
        "DELETE FROM audit WHERE seq = 20",
        "DELETE FROM audit",
        "INSERT INTO audit SELECT 300, at, actor, credential, address, action, object_kind, object_id, workspace_id,"
        " outcome, details, previous, hash FROM audit WHERE seq = 3",
        "REPLACE INTO audit SELECT * FROM audit WHERE seq = 20",
        "INSERT OR REPLACE INTO audit SELECT seq, at, actor, credential, address, 'x', object_kind, object_id,"
        " workspace_id, outcome, details, previous, hash FROM audit WHERE seq = 3",
        "UPDATE OR REPLACE audit SET seq = 3 WHERE seq = 4",
        "UPDATE audit_anchor SET seq = 20, hash = (SELECT hash FROM audit WHERE seq = 20)",
        "UPDATE audit_anchor SET seq = 5",
        "UPDATE audit_anchor SET hash = zeroblob(32)",
        "DELETE FROM audit_anchor",
        "REPLACE INTO audit_anchor VALUES (1, 20, zeroblob(32))",
    ],
)
async def test_s60_the_database_refuses_to_change_an_entry(written: Path, statement: str) -> None:
    before = entries(written)

    with closing(sqlite3.connect(written)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
        connection.commit()

    assert entries(written) == before


def tamper(path: Path, *statements: str) -> None:
    """As somebody does who owns the file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        *((f"UPDATE audit SET {change} WHERE seq = 7", 7) for change in (
            "at = at + 1", "actor = 'account-x'", "credential = 'x'", "address = 'x'", "action = 'x'",
            "object_kind = 'x'", "object_id = 'x'", "workspace_id = 'x'", "outcome = 'denied'", "details = '{}'",
            "previous = zeroblob(32)", "hash = zeroblob(32)",
        )),
        ("DELETE FROM audit WHERE seq = 7", 8),
        ("DELETE FROM audit WHERE seq <= 7", 8),
        ("UPDATE audit SET seq = 700 WHERE seq = 7", 8),
        ("UPDATE audit_anchor SET hash = randomblob(32)", 1),
    ],
)  # fmt: skip
async def test_s60_a_check_names_what_was_changed(written: Path, statement: str, named: int) -> None:
    tamper(written, statement)

    report = check_chain_of(written)

    assert report.broken is not None
    assert report.broken[0] == named


async def test_s60_a_change_with_its_own_hash_breaks_what_follows(written: Path) -> None:
    tamper(written, "UPDATE audit SET action = 'x', hash = randomblob(32) WHERE seq = 7")
    report = check_chain_of(written)
    assert report.broken is not None
    assert report.broken[0] == 7


async def test_s60_a_cut_at_the_end_is_found_by_whoever_has_noted_the_last_entry(written: Path) -> None:
    whole = check_chain_of(written)
    noted = whole.last[0], whole.last[1].hex()
    assert check_chain_of(written, expected=noted).broken is None

    tamper(written, "DELETE FROM audit WHERE seq > 15")

    assert check_chain_of(written).broken is None
    cut = check_chain_of(written, expected=noted).broken
    assert cut is not None
    assert cut[0] == 20


def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked(["-m", "flowrunner", "audit", "verify", *arguments], cwd=Path.cwd(), env=clean_environment())


def test_s60_an_operator_checks_the_log_of_a_running_server_and_of_a_copy(
    server: Server, admin: Client, tmp_path: Path
) -> None:
    admin.new_flow(NAP)

    whole = verify("--data-dir", str(server.data_dir))

    assert (whole.returncode, whole.stderr) == (0, "")
    last = whole.stdout.split()[-1]
    assert verify("--data-dir", str(server.data_dir), "--expect", last).returncode == 0
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(server.database)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    assert verify("--database", str(copy), "--expect", last).returncode == 0
    tamper(copy, "UPDATE audit SET actor = NULL, outcome = 'failed' WHERE seq = 3")
    broken = verify("--database", str(copy))
    assert broken.returncode == 1
    assert "BROKEN at entry 3:" in broken.stdout
    assert verify("--database", str(tmp_path / "none.db")).returncode == 2
    assert verify("--database", str(copy), "--expect", "x").returncode == 2
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at" * 20)
    assert verify("--database", str(tmp_path / "text.db")).returncode == 2


def test_s60_an_exported_log_is_verified_by_the_file_alone(server: Server, admin: Client, tmp_path: Path) -> None:
    flow = admin.new_flow(SMALLEST)
    assert admin.put(f"/api/v1/flows/{flow}", {"description": "other"}).status == 200
    key = quote('über \\ "/ ☃')
    assert admin.put(f"/api/v1/store/entry?key={key}", {"value": 1}).status in (200, 201)
    text = admin.request("GET", "/api/v1/audit", headers={"Accept": "application/x-ndjson"}).body.decode()
    lines = [json.loads(line) for line in text.split("\n") if line]
    latest = f"{lines[0]['seq']}:{lines[0]['hash']}"
    file = tmp_path / "audit.ndjson"

    def told(entries: list[dict[str, Any]], *arguments: str) -> tuple[int, str]:
        file.write_text("\n".join(json.dumps(entry) for entry in entries))
        done = verify("--file", str(file), *arguments)
        return done.returncode, done.stdout.partition(".")[0]

    assert len(lines) >= 5
    assert told(lines, "--expect", latest) == (0, f"{len(lines)} entries are intact")
    assert told(lines[::-1]) == (0, f"{len(lines)} entries are intact")
    at = lines[2]["seq"]
    removed = [*lines[:2], *lines[3:]]
    for entries_left in (removed, removed[::-1]):
        code, said = told(entries_left)
        assert (code, said.partition(" (")[0]) == (1, f"BROKEN at entry {at}: it is missing")
        in_parts = f"{len(lines) - 1} entries are intact, in 2 parts with gaps between them"
        assert told(entries_left, "--allow-gaps") == (0, in_parts)
    # The latest are cut off.
    assert told(lines[1:], "--expect", latest)[0] == 1
    changes: dict[str, Any] = {
        "seq": at + 1_000_000, "at": "2020-01-01T00:00:00.000Z", "actor": "account-1", "credential": "server",
        "address": "192.0.2.1", "action": "login", "object": {"kind": "flow", "id": "flow-1"}, "workspace_id": None,
        "outcome": "denied", "details": {"a": 1}, "previous_hash": "00" * 32, "hash": "00" * 32,
    }  # fmt: skip
    assert changes.keys() == lines[2].keys()
    for name, value in changes.items():
        changed = [*lines[:2], {**lines[2], name: value}, *lines[3:]]
        assert told(changed)[0] == 1, name
    # Hashed again, it no longer fits the next one.
    forged = [*lines[:2], rehashed({**lines[2], "actor": None}), *lines[3:]]
    for in_order in (forged, forged[::-1]):
        assert told(in_order) == (1, f"BROKEN at entry {at}: its hash is not the one that the next entry has")
    assert told([lines[1], lines[0], *lines[2:]])[0] == 1
    file.write_text('{"seq": 1}\n')
    assert verify("--file", str(file)).returncode == 2
    file.write_text("")
    assert verify("--file", str(file)).returncode == 2


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"seq": 1,', '"seq": 1, "note": "seen",', 2),
        ('"kind": "flow"', '"kind": "flow", "name": "other"', 2),
        ('"actor": "account-1"', '"actor": "account-2", "actor": "account-1"', 2),
        ('"fields": 1', '"fields": 2, "fields": 1', 2),
        ("00.000Z", "00.000999Z", 1),
        ("00.000Z", "00.000+00:00", 1),
        ('"previous_hash": "00', '"previous_hash": "00 ', 1),
    ],
)
def test_s60_a_line_that_is_written_otherwise_than_it_was_hashed_is_refused(
    tmp_path: Path, old: str, new: str, code: int
) -> None:
    entry = {
        "seq": 1, "at": "2026-01-01T00:00:00.000Z", "actor": "account-1", "credential": "server",
        "address": "192.0.2.1", "action": "flow.created", "object": {"kind": "flow", "id": "flow-1"},
        "workspace_id": None, "outcome": "done", "details": {"fields": 1}, "previous_hash": "00" * 32,
    }  # fmt: skip
    text, file = json.dumps(rehashed(entry)), tmp_path / "audit.ndjson"
    file.write_text(text)
    assert verify("--file", str(file)).returncode == 0
    assert text.count(old) == 1

    file.write_text(text.replace(old, new))

    assert verify("--file", str(file)).returncode == code


def rehashed(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the hash that `docs/audit.md` describes, without the program's own code."""
    at = round(datetime.fromisoformat(entry["at"]).timestamp() * 1000)

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    values = [
        entry["seq"], at, *(entry[name] for name in ("actor", "credential", "address", "action")),
        entry["object"]["kind"], entry["object"]["id"], entry["workspace_id"], entry["outcome"],
        compact(entry["details"]),
    ]  # fmt: skip
    return entry | {"hash": sha256(bytes.fromhex(entry["previous_hash"]) + compact(values).encode()).hexdigest()}


def test_s60_a_hash_is_computed_as_the_documentation_says(admin: Client) -> None:
    assert admin.new_flow(SMALLEST)
    entries = admin.get("/api/v1/audit", limit=1000).json["entries"]

    assert entries
    assert [rehashed(entry) for entry in entries] == entries


# Bounds


async def test_s60_what_is_old_is_purged_and_the_rest_still_follows(tmp_path: Path) -> None:
    path = new_database_file(tmp_path / "flowrunner.db")
    clock = SteppingClock(_long_ago())
    database = open_database(path)
    try:
        for _ in range(3):
            await write(database, 40, clock=clock)
            clock.advance(days=10)
        log = AuditLog(SqlAudit(database), clock)
        noted = check_chain_of(path).last

        assert await log.purge(older_than=timedelta(days=15)) == 80
        assert await log.purge(older_than=timedelta(days=15)) == 0
    finally:
        await database.close()
    rows = entries(path)
    assert [row["seq"] for row in rows] == list(range(81, 122))
    assert rows[-1]["action"] == "audit.purged"
    assert json.loads(rows[-1]["details"])["before"].endswith("Z")
    report = check_chain_of(path, expected=(noted[0], noted[1].hex()))
    assert (report.broken, report.rows) == (None, 41)
    tamper(path, "DELETE FROM audit WHERE seq = 81")
    assert check_chain_of(path).broken is not None


async def test_s60_a_purge_that_is_cut_off_has_an_entry_of_what_it_has_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.services.audit._PURGE_BATCH", 30)
    path, clock = new_database_file(tmp_path / "flowrunner.db"), SteppingClock(_long_ago())
    database = open_database(path)
    purge, left = SqlAudit.purge, iter(range(1))

    async def until_an_outage(self: SqlAudit, **options: Any) -> int:
        if next(left, None) is None:
            raise Unavailable("The disk is full")
        return await purge(self, **options)

    try:
        await write(database, 40, clock=clock)
        clock.advance(days=30)
        monkeypatch.setattr(SqlAudit, "purge", until_an_outage)
        with pytest.raises(Unavailable):
            await AuditLog(SqlAudit(database), clock).purge(older_than=timedelta(days=15))
    finally:
        await database.close()

    rows = entries(path)
    assert [row["seq"] for row in rows] == list(range(31, 42))
    assert (rows[-1]["action"], json.loads(rows[-1]["details"])["count"]) == ("audit.purged", 30)


def _long_ago() -> Any:
    return SteppingClock().now().replace(year=2020)


async def test_s56_s60_failed_logins_do_not_fill_the_log(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        await two_of(program)
        before = len(entries(tmp_path / "data" / "flowrunner.db"))
        sessions, log = program.services.sessions, program.services.audit

        for n in range(3_000):
            log.login_failed(None, address=f"192.0.2.{n % 250}")
        for name in ("root@example.com", "nobody@example.com"):
            with pytest.raises(Exception, match="wrong"):
                await sessions.login(name, "hunter2-hunter2-hunter2", address="198.51.100.1")
        await log.write_rejection_counts(at_once=True)

    rows = entries(tmp_path / "data" / "flowrunner.db")[before:]
    # The guess at an account that exists has a share of its own.
    assert len(rows) <= MOST + 2
    assert rows[-1]["action"] == "login.failed.more"
    details = json.loads(rows[-1]["details"])
    assert details["count"] == 3_002 - (len(rows) - 1)
    assert details["since"].endswith("Z")
    assert "hunter2" not in str(rows)


async def test_rejections_have_entries_again_after_the_clock_was_set_back() -> None:
    written: list[AuditEntry] = []

    class Store:
        async def add(self, entry: AuditEntry) -> None:
            written.append(entry)

    log = AuditLog(Store(), clock := SteppingClock())  # type: ignore[arg-type] # only what is called
    for n in range(2 * MOST):
        log.login_failed(None, address=f"192.0.2.{n % 250}")
    assert not log.login_failed(None, address="198.51.100.1")

    clock.advance(days=-1)

    assert log.login_failed(None, address="198.51.100.1")
    await log.settle()
    assert [entry.details["count"] for entry in written if entry.action == "login.failed.more"] == [MOST + 1]


async def test_a_reader_that_leaves_early_loses_no_refusal_that_is_being_written() -> None:
    written: list[AuditEntry] = []
    is_found = asyncio.Event()

    class Store:
        async def add(self, entry: AuditEntry) -> None:
            written.append(entry)

    async def whose() -> AccountId:
        await is_found.wait()
        return MARA_ACCOUNT

    log = AuditLog(Store(), SteppingClock())  # type: ignore[arg-type] # only what is called
    log.login_refused(whose, address="192.0.2.1")
    reader = asyncio.create_task(log.settle())
    await asyncio.sleep(0.01)

    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    is_found.set()
    await log.settle()

    assert [entry.object for entry in written] == [("account", MARA_ACCOUNT)]


async def test_s70_an_account_that_is_often_refused_hides_no_refusal_of_another_one_at_its_address() -> None:
    written: list[AuditEntry] = []

    class Store:
        async def add(self, entry: AuditEntry) -> None:
            written.append(entry)

    log = AuditLog(Store(), SteppingClock())  # type: ignore[arg-type] # only what is called
    for account in [MARA_ACCOUNT] * (MOST_ALIKE + 1) + [OMAR_ACCOUNT]:
        await log.denied(caller_of(account), "GET", "/api/v1/audit", address="192.0.2.1")
    for address in ["192.0.2.1"] * (MOST_ALIKE + 1) + ["192.0.2.2"]:
        await log.denied(None, "GET", "/api/v1/audit", address=address)

    assert [entry.actor or entry.address for entry in written] == [
        *([MARA_ACCOUNT] * MOST_ALIKE), OMAR_ACCOUNT, *(["192.0.2.1"] * MOST_ALIKE), "192.0.2.2",
    ]  # fmt: skip


async def test_s70_noise_from_elsewhere_hides_no_guess_at_an_account(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        root, user = await two_of(program)
        wrong = {"password": "a wrong password"}

        async def guess(name: str, address: str) -> int:
            body = json.dumps({**wrong, "username": name}).encode()
            return (await call(program.app, "POST", "/api/v1/auth/login", body=body, address=address)).status

        # As the service is told of them, so that all of it is within a minute.
        log = program.services.audit
        for n in range(60):
            log.login_failed(None, address=f"198.51.100.{n % 10}")
        for _ in range(60):
            assert (await user.go("DELETE", "/api/v1/accounts/account-1")).status == 403
        statuses = [await guess("root@example.com", "203.0.113.7") for _ in range(15)]
        login = {"username": "user@example.com", "password": PASSWORD}
        drowned = (await user.go("POST", "/api/v1/auth/login", login)).json["account_id"]
        for n in range(80):
            log.login_failed(drowned, address=f"203.0.113.{8 + n // 20}")
        reply = await root.go("GET", "/api/v1/audit?action=login.failed&limit=100")

    of_root = [row for row in reply.json["entries"] if row["address"] == "203.0.113.7"]
    assert statuses == [401] * 15
    assert len(of_root) == 15
    assert len({row["workspace_id"] for row in of_root}) == 1
    rows = entries(tmp_path / "data" / "flowrunner.db", "action = 'login.failed.more'")
    told = {row["workspace_id"]: json.loads(row["details"])["count"] for row in rows}
    assert told == {None: 60 - MOST, drowned: 80 - MOST_GUESSES}


async def test_s60_failed_logins_and_denials_are_told(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        root, user = await two_of(program)
        for name in ("user@example.com", "hunter2-is-what-i-typed-here"):
            body = {"username": name, "password": "hunter2-hunter2-hunter2"}
            assert (await user.go("POST", "/api/v1/auth/login", body)).status == 401
        for _ in range(20):
            assert (await user.go("DELETE", "/api/v1/accounts/account-1")).status == 403
        reply = await root.go("GET", "/api/v1/audit?outcome=failed")
    rows = entries(tmp_path / "data" / "flowrunner.db", "outcome <> 'done'")
    failed = [row for row in rows if row["action"] == "login.failed"]
    assert [bool(row["workspace_id"]) for row in failed] == [True, False]
    denied = [row for row in rows if row["action"] == "request.denied"]
    assert len(denied) == 5
    assert {row["object_id"] for row in denied} == {"DELETE /api/v1/accounts/{id}"}
    assert "hunter2" not in str(rows)
    assert reply.json["total"] == 2


async def test_s60_what_is_denied_stays_so_where_nothing_can_be_written(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.new_database()
    async with program_at(tmp_path / "data", database_url=url) as program:
        _, user = await two_of(program)

    # On standby another server is the one that writes.
    async with open_program(Settings(data_dir=tmp_path / "data", database_url=url), is_standby=True) as standby:
        reply = await call(standby.app, "GET", "/api/v1/accounts", token=user.token)
        page = {"origin": "https://evil.example"}
        foreign = await connect(standby.app, "/ws/executions/x", token=user.token, headers=page)
        served = await call(standby.app, "GET", "/api/v1/flows", token=user.token)

    assert_error(reply, 403)
    assert_error(foreign, 403)
    assert served.status == 200


async def test_s08_s60_a_token_that_comes_back_is_told(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        _, user = await two_of(program)
        old = user.token
        for _ in range(2):
            user.token = (await user.go("POST", "/api/v1/auth/refresh")).json["token"]
        user.token = old
        assert (await user.go("POST", "/api/v1/auth/refresh")).status == 401
    (row,) = entries(tmp_path / "data" / "flowrunner.db", "action = 'refresh.reused'")
    assert (row["outcome"], row["workspace_id"]) == ("denied", row["actor"])


# Reading it


def test_s60_admins_find_entries_by_what_they_know(admin: Client, account: Client) -> None:
    flow = account.new_flow(NAP)
    id = account.run(flow)

    def found(**query: str) -> list[Any]:
        reply = admin.get("/api/v1/audit", limit=1000, **query)
        assert reply.status == 200, reply
        assert reply.json["total"] == len(reply.json["entries"]) or reply.json["total"] > 1000
        return list(reply.json["entries"])

    mine = found(actor=account.account_id)
    assert [entry["action"] for entry in mine] == ["execution.started", "flow.created", "login.succeeded"]
    assert [entry["object"]["id"] for entry in mine][:2] == [id, flow]
    assert found(object_id=flow) == [mine[1]]
    assert found(object_kind="execution", actor=account.account_id) == [mine[0]]
    assert found(action="flow.created", workspace_id=account.account_id) == [mine[1]]
    at = mine[1]["at"]
    assert mine[1] in found(since=at, workspace_id=account.account_id)
    assert mine[1] not in found(until=at, workspace_id=account.account_id)
    assert mine[0]["previous_hash"] == mine[1]["hash"] or mine[0]["seq"] > mine[1]["seq"] + 1
    for query in ("since=x", "until=2027-13-01", "outcome=x", "since=0001-01-01T00:00:00Z", "limit=0"):
        assert admin.request("GET", f"/api/v1/audit?{query}").status == 422
    assert account.get("/api/v1/audit").status == 403


def test_s20_s60_a_name_that_holds_a_secret_is_hidden(account: Client, admin: Client) -> None:
    value = "KYz8QmR4tWv2XbNc7"
    account.new_secret("FIRST", value)
    account.new_secret(f"A_{value}", "another value")
    account.new_secret("SameSameSame9", "SameSameSame9")
    account.delete(f"/api/v1/accounts/{account.account_id}/secrets/A_{value}")

    told = admin.get("/api/v1/audit", actor=account.account_id, limit=100).body.decode()

    assert "A_***" in told
    assert value not in told
    assert "SameSameSame9" not in told


def test_the_log_of_thousands_is_checked_in_a_moment(tmp_path: Path) -> None:
    path = new_database_file(tmp_path / "flowrunner.db")

    async def fill() -> None:
        database = open_database(path)
        store, clock = SqlAudit(database), SteppingClock()
        entry = AuditEntry(at=clock.now(), action="flow.created", object=("flow", "flow-1"))
        await asyncio.gather(*(store.add(entry) for _ in range(5_000)))
        await database.close()

    asyncio.run(fill())
    began = time.monotonic()

    assert check_chain_of(path).rows == 5_000
    assert time.monotonic() - began < 10


async def test_s56_an_outage_loses_no_count_of_rejections() -> None:
    written: list[AuditEntry] = []
    is_away = False

    class Store:
        async def add(self, entry: AuditEntry) -> None:
            if is_away and entry.action.endswith(".more"):
                raise Unavailable("The database does not answer")
            written.append(entry)

    log = AuditLog(Store(), clock := SteppingClock())  # type: ignore[arg-type] # only what is called
    began = clock.now()
    for minute in range(3):
        is_away = minute < 2
        for n in range(2 * MOST):
            log.login_failed(None, address=f"192.0.2.{n % 250}")
            await log.denied(None, "GET", "/flows", address=f"192.0.2.{n % 250}")
        clock.advance(minutes=2)
        if is_away:
            with pytest.raises(Unavailable):
                await log.write_rejection_counts()
    await log.write_rejection_counts()
    await log.write_rejection_counts(at_once=True)

    entries = [entry for entry in written if not entry.action.endswith(".more")]
    counts = {entry.action: entry.details["count"] for entry in written if entry.action.endswith(".more")}
    assert len(written) - len(entries) == len(counts) == 2, "each count is written once"
    assert len(entries) + sum(map(int, map(str, counts.values()))) == 3 * 4 * MOST
    since = {str(entry.details["since"]) for entry in written if entry.action.endswith(".more")}
    assert {text[:16] for text in since} == {began.isoformat()[:16]}
