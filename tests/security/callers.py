"""The program with every kind of caller, authenticated or not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from api.shapes import NAP
from flowrunner.bootstrap.location import DATABASE_FILE
from flowrunner.bootstrap.program import Program
from flowrunner.domain.account import NEVER, Caller, Role, Scope, Session
from flowrunner.domain.audit import session_name
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.ports.page import Page
from flowrunner.services.accounts import AccountUpdate
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.storage.tables import TABLES
from support.asgi import program_at
from support.client import PASSWORD
from support.databases import NOON, owner_of

_OF_USERS: Final = frozenset({
    "login", "credentials", "session", "read", "run", "write", "account", "tokens", "members",
    "create_workspace", "delete_workspace", "export", "invite",
})  # fmt: skip
_ALL: Final = _OF_USERS | {"admin", "create_account", "appoint"}
# Nobody else uses it, so that it shows in an answer whose flow that is.
NIGHTLY: Final = "nodes: {a: {type: return}}\ntriggers: {nightly: {type: schedule, cron: '0 2 1 1 *'}}"
FLOW_NAME: Final = "the-quiet-flow"
NOBODY: Final = AccountId("account-none")


@dataclass(frozen=True, slots=True)
class CallerCase:
    """A kind of caller.

    Attributes:
        rights: The rights of the caller; empty if authentication fails.
        refusal: The status of rejected requests.
        email: The address to log in again, where a call ends the session.
    """

    name: str
    rights: frozenset[str] = frozenset()
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    account_id: AccountId = NOBODY
    refusal: int = 401
    email: str | None = None


class Callers:
    """The program with every kind of caller."""

    def __init__(self, program: Program, data_dir: Path) -> None:
        self.program = program
        self.app = program.app
        self.services = program.services
        self.by_name: dict[str, CallerCase] = {}
        self.victim = AccountId("")
        self._data_dir = data_dir
        self._number = 0
        # The last callback or trigger of each workspace, to which its next delivery belongs.
        self._parents: dict[WorkspaceId, str] = {}

    async def set_up(self) -> "Callers":
        await self._account("root", "admin")
        await self._account("member", "user")
        self.victim, _ = await self._account("victim", "user")
        for name in ("user A", "user B"):
            await self._session(name, "user", _OF_USERS)
        await self._session("viewer", "viewer", frozenset({"login", "session", "read"}))
        await self._session("admin", "admin", _ALL)

        scopes: tuple[tuple[Scope, frozenset[str]], ...] = (
            ("read", frozenset({"read"})), ("run", frozenset({"run"})), ("write", frozenset({"write"})),
            ("members", frozenset({"members"})),
        )  # fmt: skip
        for scope, rights in scopes:
            await self._token(f"token: {scope}", "user", [scope], rights)
        await self._token("token: agent", "user", ["mcp", "read", "run", "write"], frozenset({"mcp"}))
        await self._token("token: admin", "admin", ["admin"], frozenset({"account", "admin"}))
        await self._token("token: read-only admin", "admin", ["read"], frozenset({"read"}))
        demoted = await self._token("token: demoted admin", "admin", ["admin", "read"], frozenset({"read"}))
        await self._change(demoted.account_id, role="user")
        became_viewer = await self._token("token: became a viewer", "user", ["write", "read"], frozenset({"read"}))
        await self._change(became_viewer.account_id, role="viewer")

        mine = self.by_name["user A"]
        cookie = {"cookie": f"flowrunner_session={mine.token}", "origin": "http://localhost"}
        self._add(CallerCase("cookie", mine.rights, None, cookie, mine.account_id, 403))
        await self._add_unauthenticated()
        return self

    async def _add_unauthenticated(self) -> None:
        self._add(CallerCase("nobody"))
        for name, token in (("garbage", "a.b.c"), ("garbage token", "fr_pat_" + "x" * 43), ("empty token", "fr_pat_")):
            self._add(CallerCase(name, token=token))
        for name in ("logged out", "expired", "disabled", "deleted", "new password"):
            gone = await self._session(name, "user", frozenset())
            assert gone.token is not None
            match name:
                case "logged out":
                    await self.services.sessions.logout(await self.services.sessions.authenticate(gone.token))
                case "expired":
                    self._sql("UPDATE sessions SET expires_at = 1 WHERE account_id = ?", gone.account_id)
                case _:
                    await self._end(name, gone.account_id)
        ended = ("token: disabled", "token: deleted", "token: new password", "token: revoked", "token: expired")
        for name in ended:
            gone = await self._token(name, "user", ["read", "run", "write"], frozenset())
            if name == "token: expired":
                self._sql("UPDATE api_tokens SET expires_at = 1 WHERE account_id = ?", gone.account_id)
            elif name == "token: revoked":
                await self._revoke(gone.account_id)
            else:
                await self._end(name.removeprefix("token: "), gone.account_id)

        mine = self.by_name["user A"]
        revoked = self.by_name["token: revoked"]
        reading = await self._token("token in a cookie", "user", ["read"], frozenset())
        for name, cookie in (
            ("cookie: logged out", self.by_name["logged out"].token), ("cookie: garbage", "a.b.c"),
            ("cookie: API token", reading.token), ("cookie: revoked", revoked.token),
        ):  # fmt: skip
            self._add(
                CallerCase(name, headers={"cookie": f"flowrunner_session={cookie}", "origin": "http://localhost"})
            )
        del self.by_name["token in a cookie"]
        # The header takes precedence over the cookie.
        for name, header in (("bearer wins", "Bearer a.b.c"), ("scheme wins", "Basic YTpi"), ("empty wins", "")):
            headers = {
                "cookie": f"flowrunner_session={mine.token}",
                "origin": "http://localhost",
                "authorization": header,
            }
            self._add(CallerCase(name, headers=headers))

    # Accounts and their credentials

    async def _account(self, name: str, role: Role) -> tuple[AccountId, str]:
        email = f"{name.replace(' ', '-').replace(':', '')}@example.com"
        account = await self.services.accounts.create(name="N", email=email, password=PASSWORD, role=role)
        return account.id, email

    async def _session(self, name: str, role: Role, rights: frozenset[str]) -> CallerCase:
        id, email = await self._account(name, role)
        refusal = 403 if rights else 401
        token = await self.log_in(email)
        if name != "expired":
            # Cached from here on, so whatever ends it must also drop it from the cache.
            await self.services.sessions.authenticate(token)
        return self._add(CallerCase(name, rights, token, {}, id, refusal, email))

    async def log_in(self, email: str) -> str:
        return (await self.services.sessions.login(email, PASSWORD, address="127.0.0.1")).token

    async def _token(self, name: str, role: Role, scopes: list[Scope], rights: frozenset[str]) -> CallerCase:
        id, email = await self._account(name, role)
        by = await self.services.sessions.authenticate(await self.log_in(email))
        _, token = await self.services.tokens.create(by, name="N", scopes=scopes, life=None)
        if name != "token: expired":
            await self.services.sessions.authenticate(token)
        return self._add(CallerCase(name, rights, token, {}, id, 403 if rights else 401))

    def _add(self, caller: CallerCase) -> CallerCase:
        self.by_name[caller.name] = caller
        return caller

    async def _end(self, how: str, id: AccountId) -> None:
        match how:
            case "disabled":
                await self._change(id, is_disabled=True)
            case "deleted":
                await self.services.accounts.delete(id)
            case "new password":
                await self._change(id, password="another-quiet-heron-1")

    async def _change(self, id: AccountId, **change: Any) -> None:
        await self.services.accounts.update(self._as_root(), id, AccountUpdate(**change))

    def _as_root(self) -> Caller:
        (id,) = self._sql("SELECT id FROM accounts WHERE email = 'root@example.com'")[0]
        return as_session(id, "admin")

    async def _revoke(self, account_id: AccountId) -> None:
        ((id,),) = self._sql("SELECT id FROM api_tokens WHERE account_id = ?", account_id)
        await self.services.tokens.revoke(as_session(account_id), TokenId(id))

    def _sql(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._data_dir / DATABASE_FILE)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    # Rows that belong to an account

    async def create(  # noqa: PLR0915 # one case for each kind
        self, kind: str, owner: AccountId, workspace: WorkspaceId | None = None
    ) -> str:
        """Create an object of this kind in a workspace, or else in the owner's personal one; return its id."""
        self._number += 1
        by = as_session(owner)
        if workspace is not None:
            by = by.acting_in(workspace)
        match kind:
            case "flows":
                return (await self.services.flows.create(by, FlowDraft(definition=NAP, name=FLOW_NAME))).id
            case "triggers":
                flow = await self.services.flows.create(by, FlowDraft(definition=NIGHTLY, name=FLOW_NAME))
                found, _ = await self.services.triggers.page(
                    by, flow_id=flow.id, type=None, page=Page(limit=1, offset=0)
                )
                self._parents[by.workspace_id] = found[0].id
                return found[0].id
            case "by-name":
                draft = FlowDraft(definition=NAP, name=f"name-{self._number}")
                return (await self.services.flows.create(by, draft)).name
            case "executions":
                flow = await self.services.flows.create(by, FlowDraft(definition=NAP, name=FLOW_NAME))
                id = (await self.services.executions.run(by, flow.id, {})).id
                while (await self.services.executions.get(by, id)).waiting_for is None:  # noqa: ASYNC110 # nothing tells
                    await asyncio.sleep(0.001)
                return id
            case "jobs":
                job_id = f"job-{self._number}"
                self._sql(
                    "INSERT INTO jobs (id, workspace_id, created_by, type, status, total, created_at, work)"
                    " VALUES (?, ?, ?, 'executions.cancel', 'running', 1, 0, '{}')",
                    job_id, by.workspace_id, owner,
                )  # fmt: skip
                return job_id
            case "config":
                value, _ = await self.services.configuration.set(by, f"NAME_{self._number}", "a value")
                return value.name
            case "workspaces":
                await self.services.secrets.set(by, "KEY", "a value to keep")
                return by.workspace_id
            case "members":
                member, _ = await self._account(f"member-{self._number}", "user")
                self._sql(
                    "INSERT INTO members (workspace_id, account_id, role, added_at) VALUES (?, ?, 'viewer', 0)",
                    by.workspace_id,
                    member,
                )
                return member
            case "accounts":
                await self.services.secrets.set(by, "KEY", "a value to keep")
                return owner
            case "new account":
                thing, _ = await self._account(f"thing-{self._number}", "user")
                return thing
            case "invitations":
                invitation = f"invitation-{self._number}"
                self._sql(
                    "INSERT INTO invitations"
                    " (id, workspace_id, email, role, digest, invited_by, created_at, expires_at)"
                    " VALUES (?, ?, ?, 'viewer', ?, ?, 0, 9000000000000)",
                    invitation, workspace or owner, f"{invitation}@example.com", invitation, owner,
                )  # fmt: skip
                return invitation
            case "tokens":
                token_id = f"token-{self._number}"
                self._sql(
                    "INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at, workspace_id)"
                    " VALUES (?, ?, 'N', ?, '[]', 0, ?)",
                    token_id, owner, token_id, workspace,
                )  # fmt: skip
                return token_id
            case "second-factors":
                recent = replace(by, credential=Session(SessionId("none"), logged_in_at=datetime.now(UTC)))
                return (await self.services.second_factors.start_totp(recent, name="N")).id
            case "identities":
                identity = f"identity-{self._number}"
                self._sql(
                    "INSERT INTO identities (id, account_id, provider, issuer, subject, created_at)"
                    " VALUES (?, ?, 'p', 'i', ?, 0)",
                    identity, owner, identity,
                )  # fmt: skip
                return identity
            case "sessions":
                session = f"session-{self._number}"
                self._sql(
                    "INSERT INTO sessions (id, family, account_id, expires_at, token_expires_at, logged_in_at)"
                    " VALUES (?, ?, ?, 9000000000000, 9000000000000, 0)",
                    session, session, owner,
                )  # fmt: skip
                return session_name(session).removeprefix("session:")
            case "callbacks":
                # Closed to flows and callbacks, so that a test message fails at once.
                callback, _ = await self.services.callbacks.create(
                    by, url="http://127.0.0.1:1/", format="standard", events=["execution.failed"]
                )
                self._parents[by.workspace_id] = callback.id
                return callback.id
            case "deliveries":
                delivery_id = f"delivery-{self._number}"
                parent = self._parents[by.workspace_id]
                statement = (
                    "INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, noted_at, state)"
                    " VALUES (?, ?, ?, 'callback.test', 0, 'failed')"
                    if parent.startswith("callback-")
                    else "INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, request, size)"
                    " VALUES (?, ?, ?, 0, 'failed', '{}', 0)"
                )
                self._sql(statement, delivery_id, by.workspace_id, parent)
                return delivery_id
        raise AssertionError(f"unknown kind '{kind}': add it to Callers.create")

    def rows_of(self, owner: AccountId) -> list[Any]:
        """Return all rows of an account, to detect changes."""
        statements = {
            table.name: f"SELECT * FROM {table.name} WHERE {owned_by} = ? ORDER BY 1, 2"
            for table in TABLES
            if (owned_by := owner_of(table)) is not None
        }
        # One connection for all: each reads the whole schema before its first statement.
        with closing(sqlite3.connect(self._data_dir / DATABASE_FILE)) as connection:
            return [(name, connection.execute(text, (owner,)).fetchall()) for name, text in statements.items()] + [
                connection.execute("SELECT * FROM accounts WHERE id = ?", (owner,)).fetchall()
            ]


def as_session(id: AccountId, role: Role = "user") -> Caller:
    return Caller(account_id=id, role=role, credential=Session(SessionId("none"), NOON), expires_at=NEVER)


@asynccontextmanager
async def callers_at(data_dir: Path) -> AsyncIterator[Callers]:
    async with program_at(data_dir) as program:
        yield await Callers(program, data_dir).set_up()
