"""Every route and WebSocket × every role in a workspace × whose workspace it is.

The routes are read from the program, as in `test_matrix`. A path that has no line in `security.routes.ACTS_IN` fails.
"""

import asyncio
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest
from starlette.routing import WebSocketRoute

from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.domain.workspace import WORKSPACE_ROLES, WorkspaceRole
from flowrunner.services.flow_changes import FlowDraft
from security.callers import FLOW_NAME, Callers, as_session
from security.routes import ACTS_IN, ARCHIVES, BODIES, SOCKETS, WITHIN, Places, Route, filled, routes_of, wanted_right
from security.test_matrix import comparable
from support.asgi import call, connect, program_at
from support.client import Reply
from support.conformance import SEED
from support.scoreboard import Scoreboard

# Written down once more: what the program allows is compared with this.
OF_ROLE: Final[Mapping[str, frozenset[str]]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "run"}),
    "editor": frozenset({"read", "run", "write"}),
    "admin": frozenset({"read", "run", "write", "members", "invite", "delete_workspace", "export"}),
}
OF_ACCOUNT: Final = frozenset({"login", "credentials", "session", "account", "tokens", "create_workspace"})
OF_INSTALLATION: Final = frozenset({"admin", "create_account", "appoint"})
ABSENT: Final = "x" * 45
# The only path that needs a part of the query.
ENTRY: Final = "/api/v1/store/entry"
ASKS: Final = "nodes: {a: {type: approval, params: {prompt: Go?}, next: {approved: b}}, b: {type: return}}"
FOUND: Final = frozenset({101, 200, 201, 202, 204, 409})


def right_of(route: Route) -> str:
    return SOCKETS[route[1]] if route[0] == "WS" else wanted_right(route)


def text_of(reply: Reply) -> str:
    """Return the text of an answer, of an archive with all its files."""
    if reply.headers.get("content-type") != "application/zip":
        return reply.body.decode()
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        return "\n".join([*archive.namelist(), *(archive.read(name).decode() for name in archive.namelist())])


def kind_of(route: Route) -> str:
    """Return where a route acts."""
    return "installation" if right_of(route) in OF_INSTALLATION else ACTS_IN[route[1]]


@dataclass(frozen=True, slots=True)
class Identity:
    """A credential.

    Attributes:
        of_account: Its rights where it acts without a header.
        here: Its rights in the team's workspace; None if that does not exist for it.
        account_id: None if the credential has ended.
    """

    name: str
    token: str
    of_account: frozenset[str]
    here: frozenset[str] | None
    account_id: AccountId | None
    role: WorkspaceRole | None = None

    def may(self, right: str) -> bool:
        """Return whether it has a right in the team's workspace."""
        if self.here is None:
            return False
        return right in (self.here if right in OF_ROLE["admin"] else self.of_account)


@dataclass
class Workspaces:
    """The team's workspace, another one of the same people, and one of strangers."""

    callers: Callers
    lead: AccountId
    team: WorkspaceId
    second: WorkspaceId
    stranger: AccountId
    foreign: WorkspaceId
    identities: list[Identity] = field(default_factory=list)
    kept: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    async def set_up(cls, callers: Callers) -> "Workspaces":
        lead, _ = await callers._account("lead", "user")
        await callers._account("root", "admin")
        await callers._account("member", "user")
        stranger, _ = await callers._account("stranger", "user")
        made = [
            (await callers.services.workspaces.create(as_session(owner), name=name, slug=slug)).id
            for owner, name, slug in (
                (lead, "Team", "the-team"), (lead, "Second", "the-second"), (stranger, "Foreign", "the-foreign")
            )
        ]  # fmt: skip
        found = cls(callers, lead, made[0], made[1], stranger, made[2])
        await found._add_identities()
        for owner, workspace in ((lead, found.team), (stranger, found.foreign)):
            by = as_session(owner).acting_in(workspace)
            flow = await callers.services.flows.create(by, FlowDraft(definition=ASKS, name=FLOW_NAME))
            id = (await callers.services.executions.run(by, flow.id, {}, labels={"matrix": "1"})).id
            while (await callers.services.executions.get(by, id)).waiting_for is None:  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.001)
        return found

    async def _add_identities(self) -> None:
        for role in WORKSPACE_ROLES:
            await self._session(f"{role} of the workspace", role)
            await self._token(f"token of the workspace: {role}", role, self.team)
        await self._session("viewer as admin of the workspace", "admin", account_role="viewer")
        await self._session("member of the second alone", None, second=True)
        await self._token("token of the second workspace", "admin", self.second)
        await self._token("token of the personal workspace", "admin", None)
        await self._token("token that only reads", "admin", self.team, "read")
        await self._session("nobody's member", None)
        await self._session("admin of the installation", None, account_role="admin")
        removed = await self._session("removed member", "editor")
        ended = await self._token("token of a removed member", "editor", self.team)
        for gone in (removed, ended):
            assert gone.account_id is not None
            await self.callers.services.workspaces.remove(self._as_lead(), gone.account_id)
        self.identities.remove(removed)
        self.identities.remove(ended)
        self.identities.append(Identity(removed.name, removed.token, removed.of_account, None, removed.account_id))
        self.identities.append(Identity(ended.name, ended.token, frozenset(), None, None))

    def _as_lead(self, workspace: WorkspaceId | None = None) -> Any:
        return as_session(self.lead).acting_in(workspace or self.team)

    async def _account(self, name: str, role: WorkspaceRole | None, second: bool, account_role: Any) -> tuple[Any, Any]:
        id, email = await self.callers._account(name, account_role)
        if role is not None:
            await self.callers.services.workspaces.add(self._as_lead(), id, role)
        if second:
            await self.callers.services.workspaces.add(self._as_lead(self.second), id, "admin")
        login = await self.callers.log_in(email)
        return id, login

    async def _session(
        self, name: str, role: WorkspaceRole | None, *, second: bool = False, account_role: Any = "user"
    ) -> Identity:
        id, token = await self._account(name, role, second, account_role)
        rights = OF_ACCOUNT | OF_ROLE["admin"]
        if account_role == "viewer":
            rights = frozenset({"login", "session", "read"})
        if account_role == "admin":
            rights |= OF_INSTALLATION
        here = None if role is None else OF_ROLE[role] & rights
        return await self._add(Identity(name, token, rights, here, id, role))

    async def _token(self, name: str, role: WorkspaceRole, workspace: WorkspaceId | None, *scopes: Any) -> Identity:
        id, login = await self._account(name, role, workspace == self.second, "user")
        by = await self.callers.services.sessions.authenticate(login)
        if workspace is not None:
            by = by.acting_in(workspace)
        scopes = scopes or ("read", "run", "write", "members")
        _, token = await self.callers.services.tokens.create(by, name="N", scopes=scopes, life=None)
        here = OF_ROLE[role] & frozenset(scopes)
        if workspace == self.team:
            return await self._add(Identity(name, token, here, here, id, role))
        return await self._add(Identity(name, token, frozenset(scopes), None, id, role))

    async def _add(self, identity: Identity) -> Identity:
        # Cached from here on, so whatever ends it must also drop it from the cache.
        await self.callers.services.sessions.authenticate(identity.token)
        self.identities.append(identity)
        return identity

    # Objects

    async def objects(self, places: Places, owner: AccountId, workspace: WorkspaceId, *, fresh: bool) -> dict[str, str]:
        """Return ids for the places of a path, of objects in a workspace."""
        values = {}
        for name, kind in places.kinds.items():
            key = (kind, workspace)
            if kind in WITHIN:
                values[name] = WITHIN[name]
                continue
            if fresh or key not in self.kept:
                self.kept[key] = await self.callers.create(kind, owner, workspace)
            values[name] = self.kept[key]
        return values

    def rows_of(self, workspace: WorkspaceId) -> list[Any]:
        """Return the rows of a workspace that requests change if they are not denied.

        The audit log shows what was denied to members, and API tokens show when they were used.
        """
        changing = ("audit", "api_tokens")
        tokens = self.callers._sql("SELECT id, scopes FROM api_tokens WHERE workspace_id = ? ORDER BY id", workspace)
        return [
            rows for rows in self.callers.rows_of(AccountId(workspace)) if not rows or rows[0] not in changing
        ] + tokens

    async def settle(self) -> None:
        """Wait until no execution that a request has started still records events."""
        busy = "SELECT 1 FROM executions WHERE completed_at IS NULL AND is_idle = 0 LIMIT 1"
        while self.callers._sql(busy):  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.001)

    async def restore(self, identity: Identity) -> None:
        """Make an account that has left a member again."""
        assert identity.account_id is not None
        assert identity.role is not None
        await self.callers.services.workspaces.add(self._as_lead(), identity.account_id, identity.role)


class WorkspaceMatrix:
    """Sends the requests and collects wrong answers."""

    def __init__(self, workspaces: Workspaces, *, is_whole: bool = True) -> None:
        self.workspaces = workspaces
        self.is_whole = is_whole
        self.cases = 0
        self.wrong: list[str] = []

    async def ask(
        self,
        identity: Identity,
        route: Route,
        values: Mapping[str, str],
        header: str | None,
        *,
        target: WorkspaceId | None = None,
    ) -> Reply:
        """Send a request. Args: target: The workspace that a body names; None for the personal one."""
        self.cases += 1
        method, path = route
        headers = {} if header is None else {"flowrunner-workspace": header}
        app, address = self.workspaces.callers.app, filled(path, values)
        if path == ENTRY:
            address = f"{address}?key=k"
        if method == "WS":
            reply = await connect(app, address, token=identity.token, headers=headers)
        else:
            body = BODIES.get(route)
            text = "" if body is None else json.dumps(body)
            data = text.replace("{n}", str(self.cases)).replace("{me}", target or identity.account_id or "").encode()
            if route in ARCHIVES:
                data, headers = ARCHIVES[route], {**headers, "content-type": "application/zip"}
            reply = await call(app, method, address, token=identity.token, body=data, headers=headers)
        self._check_for_leaks(identity, route, reply)
        return reply

    def _check_for_leaks(self, identity: Identity, route: Route, reply: Reply) -> None:
        workspaces = self.workspaces
        hidden = [workspaces.stranger, workspaces.foreign]
        if identity.here is None:
            hidden += [workspaces.team, workspaces.lead, FLOW_NAME]
        if kind_of(route) == "installation" and "admin" in identity.of_account:
            # Which workspaces and accounts exist, and nothing of what they hold.
            hidden = [FLOW_NAME]
        shown = text_of(reply) + str(reply.headers)
        self.wrong += [f"{route} by {identity.name} shows {text}" for text in hidden if text in shown]

    def expect(self, reply: Reply, statuses: frozenset[int], what: str) -> None:
        if reply.status not in statuses:
            self.wrong.append(f"{what}: {reply.status} {reply.body[:160]!r}, not {sorted(statuses)}")

    async def equal(
        self, identity: Identity, route: Route, what: str, *asked: tuple[Mapping[str, str], str | None]
    ) -> Reply:
        """Send requests that must not differ; the first one names what does not exist.

        Of many, every other one is sent, as the day, the route and the identity decide: each on each route by some
        identities, and each by each identity on some routes. Under `make security` all are.
        """
        if len(asked) > 3 and not self.is_whole:
            draw = crc32(f"{SEED} {route} {identity.name} {what}".encode())
            asked = (asked[0], *asked[1 + draw % 2 :: 2])
        replies = [await self.ask(identity, route, values, header) for values, header in asked]
        for reply in replies[1:]:
            if comparable(reply) != comparable(replies[0]):
                self.wrong.append(
                    f"{route} by {identity.name}, {what}: {comparable(reply)}, and of nothing {comparable(replies[0])}"
                )
        return replies[0]

    async def check_denied(self, identity: Identity, route: Route) -> None:
        """Check all that the identity does not reach or may not do; nothing changes by it."""
        right, kind, places = right_of(route), kind_of(route), Places.of(route[1])
        workspaces = self.workspaces
        none = {name: WITHIN.get(name) or ABSENT for name in places.kinds}
        refused = frozenset({401 if identity.account_id is None else 404 if right in identity.of_account else 403})
        theirs = (
            await workspaces.objects(places, workspaces.stranger, workspaces.foreign, fresh=False)
            if places.ids
            else none
        )
        ours = await workspaces.objects(places, workspaces.lead, workspaces.team, fresh=False) if places.ids else none
        if kind == "installation":
            if right not in identity.of_account:
                refused = frozenset({401 if identity.account_id is None else 403})
                reply = await self.equal(
                    identity, route, "objects", (none, None), (theirs, None), (ours, "the-foreign")
                )
                self.expect(reply, refused, f"{route} by {identity.name}")
            return
        reply = await self.equal(
            identity, route, "a header of strangers",
            (none, ABSENT), (none, workspaces.foreign), (none, "the-foreign"), (theirs, workspaces.foreign),
            (ours, workspaces.foreign),
            *(((ours, workspaces.team), (none, "the-team")) if identity.here is None else ()),
        )  # fmt: skip
        self.expect(reply, refused, f"{route} by {identity.name}, header of nothing")
        if kind == "account" and route[0] == "GET":
            # Without a header, it shows what the credential reaches and nothing else.
            await self.ask(identity, route, none, None)
        if kind == "personal workspace":
            shared = [{**none, "account_id": id} for id in (workspaces.stranger, workspaces.team, "the-team")]
            reply = await self.equal(
                identity, route, "no account", (none, None), *((values, None) for values in shared)
            )
            self.expect(reply, refused, f"{route} by {identity.name}, nothing")
        if kind in ("flow", "execution", "trigger", "job", "callback", "workspace"):
            mixed = [{**none, name: theirs[name]} for name in places.ids]
            hidden = [theirs, *mixed] + ([ours] if identity.here is None else [])
            reply = await self.equal(identity, route, "objects", (none, None), *((values, None) for values in hidden))
            self.expect(reply, refused, f"{route} by {identity.name}, nothing")
            if identity.here is not None and identity.account_id is not None:
                elsewhere = identity.account_id
                await self.equal(identity, route, "a header beside the path", (none, elsewhere), (ours, elsewhere))
                if len(places.ids) > 1:
                    # An object of strangers below one's own workspace.
                    inner = {name: theirs[name] if name != "id" else ours[name] for name in places.kinds}
                    absent = {name: none[name] if name != "id" else ours[name] for name in places.kinds}
                    await self.equal(identity, route, "a part of strangers", (absent, None), (inner, None))
        if identity.here is not None and not identity.may(right) and kind not in ("account", "personal workspace"):
            for header in (None, workspaces.team, "the-team"):
                if kind == "header" and header is None:
                    continue
                self.expect(
                    await self.ask(identity, route, ours, header),
                    frozenset({403}),
                    f"{route} by {identity.name}, header {header}",
                )

    async def check_allowed(self, identity: Identity, route: Route) -> None:
        right, kind, places = right_of(route), kind_of(route), Places.of(route[1])
        workspaces = self.workspaces
        if kind in ("account", "personal workspace", "installation") or not identity.may(right):
            return
        for header in (workspaces.team, "the-team") if kind == "header" else (None, "the-team"):
            ours = await workspaces.objects(
                places, workspaces.lead, workspaces.team, fresh=route[0] not in ("GET", "WS")
            )
            reply = await self.ask(identity, route, ours, header, target=workspaces.team)
            # The key may have no entry, or none any more.
            found = FOUND | {404} if route[1] == ENTRY else FOUND
            self.expect(reply, found, f"{route} by {identity.name}, header {header}")
            if route[1].endswith("/leave") and reply.status == 200:
                await workspaces.restore(identity)


async def test_s71_every_role_on_every_route_of_every_workspace(
    tmp_path: Path, scoreboard: Scoreboard, pytestconfig: pytest.Config
) -> None:
    async with program_at(tmp_path / "data") as program:
        workspaces = await Workspaces.set_up(Callers(program, tmp_path / "data"))
        matrix = WorkspaceMatrix(workspaces, is_whole=bool(pytestconfig.getoption("--scoreboard")))
        routes = [r for r, api_route in routes_of(program.app) if isinstance(api_route, ProtectedRoute)]
        routes += [("WS", r.path) for r in program.app.routes if isinstance(r, WebSocketRoute)]
        assert {path for _, path in routes} == ACTS_IN.keys(), "say in security/routes.py where the routes act"
        assert {path for method, path in routes if method == "WS"} == SOCKETS.keys()
        for route in routes:
            places = Places.of(route[1])
            if places.ids:
                await workspaces.objects(places, workspaces.stranger, workspaces.foreign, fresh=False)
                await workspaces.objects(places, workspaces.lead, workspaces.team, fresh=True)
            await workspaces.settle()
            theirs = workspaces.callers.rows_of(AccountId(workspaces.foreign))
            ours = workspaces.rows_of(workspaces.team)
            for identity in workspaces.identities:
                await matrix.check_denied(identity, route)
            if workspaces.rows_of(workspaces.team) != ours:
                matrix.wrong.append(f"{route} changed rows, although it was denied")
            for identity in workspaces.identities:
                await matrix.check_allowed(identity, route)
            if workspaces.callers.rows_of(AccountId(workspaces.foreign)) != theirs:
                matrix.wrong.append(f"{route} changed rows of strangers")

    scoreboard.count("workspaces: wrong answers", cases=matrix.cases, failures=len(matrix.wrong))
    assert not matrix.wrong, "\n".join(matrix.wrong[:60])
    assert matrix.cases > 3000


async def test_s14_s71_a_body_that_names_a_workspace_needs_a_role_in_it(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        workspaces = await Workspaces.set_up(Callers(program, tmp_path / "data"))
        matrix, answers = WorkspaceMatrix(workspaces), {}
        by = {identity.name: identity for identity in workspaces.identities}
        viewer = by["viewer of the workspace"]
        assert viewer.account_id is not None
        own = await workspaces.callers.create("flows", viewer.account_id)
        before = [workspaces.callers.rows_of(AccountId(id)) for id in (workspaces.team, workspaces.foreign)]
        for verb in ("move", "copy"):
            route = ("POST", f"/api/v1/flows/{{id}}/{verb}")
            answers[verb] = [
                comparable(await matrix.ask(viewer, route, {"id": own}, None, target=WorkspaceId(target)))
                for target in (ABSENT, workspaces.foreign, "the-foreign", workspaces.team, "the-team")
            ]
        after = [workspaces.callers.rows_of(AccountId(id)) for id in (workspaces.team, workspaces.foreign)]

    for absent, *foreign, by_id, by_slug in answers.values():
        assert absent[0] == 404
        assert foreign == [absent, absent]
        assert by_id[0] == by_slug[0] == 403
    assert before[1] == after[1]
    assert [rows for rows in before[0] if rows[:1] != ("audit",)] == [
        rows for rows in after[0] if rows[:1] != ("audit",)
    ]
