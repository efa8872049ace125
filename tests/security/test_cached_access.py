"""Each request that changes access: which credentials it ends, and that caches and open streams know it at once."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from flowrunner.api.open_streams import OpenStream
from flowrunner.bootstrap import housekeeping
from flowrunner.bootstrap.housekeeping import session_jobs
from flowrunner.bootstrap.program import Program
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unauthorized
from flowrunner.services.known_callers import KnownCallers
from security.test_audit import ACTIONS
from security.two_accounts import ApiClient
from support.asgi import program_at
from support.client import PASSWORD, Reply
from support.codes import code_of

WORKSPACE: Final = "Flowrunner_Workspace"
OTHER_PASSWORD: Final = "nine-red-badgers-dig"
OWN_PASSWORD: Final = {"password": OTHER_PASSWORD, "current_password": PASSWORD}
ANOTHER: Final = {"name": "N", "email": "n{team}@example.com", "password": PASSWORD}
LEA: Final = {"account": "{lea}", "role": "editor"}
ROOT: Final = {"account": "{root}", "role": "admin"}
MEMBERS_OF_OMAR: Final = "/api/v1/workspaces/{omar}/members"
# The beginnings of the actions, in the audit log, of what concerns accounts, their credentials and their roles.
OF_ACCESS: Final = (
    "account.", "login.", "logout", "token.", "sessions.", "second_factor", "recovery_codes.", "identit", "workspace.",
    "member.", "invitation.", "password.",
)  # fmt: skip
# Those that change no access. The first account has nobody beside it.
NO_ACCESS: Final = {
    "POST /api/v1/setup",
    "POST /api/v1/accounts/{id}/password-reset",
    "POST /api/v1/second-factors/recovery-codes",
    "PUT /api/v1/workspaces/{id}/retention",
    "POST /api/v1/workspaces/{id}/invitations",
    "DELETE /api/v1/workspaces/{id}/invitations/{invitation_id}",
}


@dataclass
class Scene:
    """Accounts that have a part in each other's workspaces.

    Attributes:
        root: The admin of the installation.
        lea: The admin of the team.
        omar: An editor of the team, with a second login.
        kim: A viewer of the team, and of Omar's personal workspace.
        ids: The ids of these accounts.
        tokens: All credentials by name.
    """

    program: Program
    root: ApiClient
    lea: ApiClient
    omar: ApiClient
    kim: ApiClient
    ids: Mapping[str, str]
    team: str
    tokens: dict[str, str]

    @property
    def team_path(self) -> str:
        return f"/api/v1/workspaces/{self.team}"

    @property
    def omars_path(self) -> str:
        return f"/api/v1/accounts/{self.ids['omar']}"


# Prepares a change, yields None, makes the change, and yields the answer.
Steps: TypeAlias = AsyncIterator[Reply | None]


async def done(client: ApiClient, method: str, path: str, body: Any = None, **headers: str) -> Any:
    reply = await client.request(method, path, body, **headers)
    assert reply.status < 300, (method, path, reply)
    return reply.json


async def log_in(program: Program, email: str, password: str = PASSWORD) -> str:
    body = {"username": email, "password": password}
    return str((await done(ApiClient(program.app), "POST", "/api/v1/auth/login", body))["token"])


async def program_of(client: ApiClient, workspace: str) -> dict[str, str]:
    body = {"name": "T", "scopes": ["read"]}
    made: dict[str, str] = await done(client, "POST", "/api/v1/tokens", body, **{WORKSPACE: workspace})
    return made


async def enrol(client: ApiClient) -> str:
    """Give an account a second factor; return its id."""
    made = await done(client, "POST", "/api/v1/second-factors/totp", {})
    await done(client, "POST", f"/api/v1/second-factors/{made['id']}/confirm", {"code": code_of(made["secret"])})
    return str(made["id"])


async def scene(program: Program, root: ApiClient, number: int) -> Scene:
    ids, clients, tokens = {}, {}, {}
    for name in ("lea", "omar", "kim"):
        email = f"{name}{number}@example.com"
        made = {"name": name, "email": email, "password": PASSWORD, "role": "user", "email_confirmed": True}
        ids[name] = (await done(root, "POST", "/api/v1/accounts", made))["id"]
        tokens[name] = await log_in(program, email)
        clients[name] = ApiClient(program.app, tokens[name])
    lea, omar, kim = clients.values()
    team = (await done(lea, "POST", "/api/v1/workspaces", {"name": f"Team {number}"}))["id"]
    for workspace, by, account, role in (
        (team, lea, "omar", "editor"), (team, lea, "kim", "viewer"), (ids["omar"], omar, "kim", "viewer"),
    ):  # fmt: skip
        path = f"/api/v1/workspaces/{workspace}/members"
        await done(by, "POST", path, {"account": ids[account], "role": role})
    tokens["omar again"] = await log_in(program, f"omar{number}@example.com")
    for name, client, workspace in (
        ("omar's program", omar, ids["omar"]), ("omar's program in the team", omar, team),
        ("kim's program at omar's", kim, ids["omar"]),
    ):  # fmt: skip
        tokens[name] = (await program_of(client, workspace))["token"]
    return Scene(program, root, lea, omar, kim, ids, team, tokens)


def by(who: str, method: str, path: str, body: Any = None, **headers: str) -> Callable[[Scene], Steps]:
    """Return a change that is one request, whose path and body may name what is in the scene."""

    async def steps(at: Scene) -> Steps:
        known = {"team": at.team, **at.ids}
        filled = {k: v.format(**known) if isinstance(v, str) else v for k, v in body.items()} if body else body
        client: ApiClient = getattr(at, who)
        yield None
        yield await client.request(method, path.format(**known), filled, **headers)

    return steps


async def a_login(at: Scene) -> Steps:
    yield None
    body = {"username": (await done(at.omar, "GET", "/api/v1/accounts/me"))["email"], "password": PASSWORD}
    yield await ApiClient(at.program.app).request("POST", "/api/v1/auth/login", body)


async def a_token_of_the_own_account(at: Scene) -> Steps:
    made = await program_of(at.omar, at.team)
    at.tokens["revoked"] = made["token"]
    yield None
    yield await at.omar.request("DELETE", f"/api/v1/tokens/{made['id']}")


async def a_token_of_a_member(at: Scene) -> Steps:
    made = await program_of(at.omar, at.team)
    at.tokens["revoked"] = made["token"]
    yield None
    yield await at.lea.request("DELETE", f"{at.team_path}/tokens/{made['id']}")


async def one_login(at: Scene) -> Steps:
    listed = (await done(at.omar, "GET", "/api/v1/sessions"))["sessions"]
    (other,) = [login["id"] for login in listed if not login["is_current"]]
    yield None
    yield await at.omar.request("DELETE", f"/api/v1/sessions/{other}")


async def a_first_factor(at: Scene) -> Steps:
    made = await done(at.omar, "POST", "/api/v1/second-factors/totp", {})
    yield None
    body = {"code": code_of(made["secret"])}
    yield await at.omar.request("POST", f"/api/v1/second-factors/{made['id']}/confirm", body)


async def no_factor(at: Scene) -> Steps:
    id = await enrol(at.omar)
    yield None
    yield await at.omar.request("DELETE", f"/api/v1/second-factors/{id}")


async def a_reset_of_factors(at: Scene) -> Steps:
    await enrol(at.omar)
    yield None
    yield await at.root.request("DELETE", f"{at.omars_path}/second-factors")


async def no_identity(at: Scene) -> Steps:
    columns = "id, account_id, provider, issuer, subject, created_at"
    linked = f"INSERT INTO identities ({columns}) VALUES (:me, :me, 'p', 'i', :me, 0)"
    await at.program.database.write(lambda tx: tx.run(linked, {"me": at.ids["omar"]}))
    yield None
    yield await at.omar.request("DELETE", f"/api/v1/identities/{at.ids['omar']}")


async def a_link_that_sets_a_password(at: Scene) -> Steps:
    link = (await done(at.root, "POST", f"{at.omars_path}/password-reset"))["link"]
    yield None
    body = {"token": link.partition("#")[2], "password": OTHER_PASSWORD}
    yield await ApiClient(at.program.app).request("POST", "/api/v1/auth/new-password", body)


async def a_required_factor(at: Scene) -> Steps:
    await enrol(at.lea)
    yield None
    yield await at.lea.request("PUT", at.team_path, {"requires_second_factor": True})


async def a_factor_that_is_no_longer_required(at: Scene) -> Steps:
    await enrol(at.lea)
    await done(at.lea, "PUT", at.team_path, {"requires_second_factor": True})
    yield None
    yield await at.lea.request("PUT", at.team_path, {"requires_second_factor": False})


async def a_deleted_team(at: Scene) -> Steps:
    yield None
    name = (await done(at.lea, "GET", at.team_path))["name"].replace(" ", "%20")
    yield await at.lea.request("DELETE", f"{at.team_path}?name={name}")


async def an_invitation(at: Scene) -> Steps:
    email = (await done(at.kim, "GET", "/api/v1/accounts/me"))["email"]
    invited = await done(at.lea, "POST", f"{at.team_path}/invitations", {"email": email, "role": "editor"})
    yield None
    yield await at.kim.request("POST", "/api/v1/invitations/accept", {"token": invited["link"].partition("#")[2]})


async def a_sign_up(at: Scene) -> Steps:
    # Links of admins of the installation alone let somebody sign up.
    await done(
        at.root, "POST", f"/api/v1/admin{at.team_path[7:]}/members", {"account": at.ids["root"], "role": "admin"}
    )
    address = {"email": f"new-{at.team}@example.com", "role": "viewer"}
    invited = await done(at.root, "POST", f"{at.team_path}/invitations", address)
    yield None
    body = {"token": invited["link"].partition("#")[2], "name": "N", "password": PASSWORD}
    yield await ApiClient(at.program.app).request("POST", "/api/v1/invitations/sign-up", body)


async def refresh(at: Scene, client: ApiClient, name: str) -> Reply:
    """Refresh a login; its new token is the credential with this name."""
    reply = await client.request("POST", "/api/v1/auth/refresh")
    assert reply.status == 200, reply
    at.tokens[name] = reply.json["token"]
    return reply


async def a_refresh(at: Scene) -> Steps:
    yield None
    yield await refresh(at, at.omar, "new")


async def a_token_that_comes_back(at: Scene) -> Steps:
    await refresh(at, at.omar, "new")
    refreshed = await refresh(at, ApiClient(at.program.app, at.tokens["new"]), "newer")
    yield None
    assert (await at.omar.request("POST", "/api/v1/auth/refresh")).status == 401
    yield refreshed


async def an_old_token_that_comes_back(at: Scene) -> Steps:
    refreshed = await refresh(at, at.omar, "new")
    later = "UPDATE sessions SET expires_at = 0 WHERE account_id = :me AND replaced_by IS NOT NULL"
    await at.program.database.write(lambda tx: tx.run(later, {"me": at.ids["omar"]}))
    yield None
    assert (await at.omar.request("POST", "/api/v1/auth/refresh")).status == 401
    yield refreshed


OMARS_LOGINS: Final = ("omar", "omar again")
OMARS: Final = (*OMARS_LOGINS, "omar's program", "omar's program in the team")
# What each request does, in its variants, and the credentials that are rejected from then on.
CHANGES: Final[Mapping[str, Mapping[str, tuple[Callable[[Scene], Steps], Sequence[str]]]]] = {
    "POST /api/v1/auth/login": {"": (a_login, ())},
    "POST /api/v1/auth/logout": {"": (by("omar", "POST", "/api/v1/auth/logout"), ["omar"])},
    "POST /api/v1/tokens": {"": (by("omar", "POST", "/api/v1/tokens", {"name": "T", "scopes": ["read"]}), ())},
    "DELETE /api/v1/tokens/{id}": {"": (a_token_of_the_own_account, ["revoked"])},
    "POST /api/v1/accounts": {"": (by("root", "POST", "/api/v1/accounts", ANOTHER), ())},
    "PUT /api/v1/accounts/{id}": {
        "less": (by("root", "PUT", "/api/v1/accounts/{omar}", {"role": "viewer"}), OMARS_LOGINS),
        "more": (by("root", "PUT", "/api/v1/accounts/{omar}", {"role": "admin"}), OMARS_LOGINS),
        "disabled": (by("root", "PUT", "/api/v1/accounts/{omar}", {"disabled": True}), OMARS),
        "password": (by("root", "PUT", "/api/v1/accounts/{omar}", {"password": OTHER_PASSWORD}), OMARS),
        "own password": (by("omar", "PUT", "/api/v1/accounts/{omar}", OWN_PASSWORD), OMARS),
        "name": (by("omar", "PUT", "/api/v1/accounts/{omar}", {"name": "N"}), ()),
    },
    "DELETE /api/v1/accounts/{id}": {
        "whole": (
            by("root", "DELETE", "/api/v1/accounts/{omar}?workspace=delete"), [*OMARS, "kim's program at omar's"],
        ),
        "given": (by("root", "DELETE", "/api/v1/accounts/{omar}?workspace=give&to={kim}"), OMARS),
        "given to another": (by("root", "DELETE", "/api/v1/accounts/{omar}?workspace=give&to={lea}"), OMARS),
        "a member": (by("root", "DELETE", "/api/v1/accounts/{kim}"), ["kim", "kim's program at omar's"]),
    },
    "DELETE /api/v1/sessions": {"": (by("omar", "DELETE", "/api/v1/sessions"), ["omar again"])},
    "DELETE /api/v1/sessions/{id}": {"": (one_login, ["omar again"])},
    "POST /api/v1/second-factors/{id}/confirm": {"": (a_first_factor, ["omar again"])},
    "DELETE /api/v1/second-factors/{id}": {"": (no_factor, ())},
    "DELETE /api/v1/accounts/{id}/second-factors": {"": (a_reset_of_factors, ["omar"])},
    "DELETE /api/v1/accounts/{id}/identities": {
        "": (by("root", "DELETE", "/api/v1/accounts/{omar}/identities"), OMARS_LOGINS)
    },
    "DELETE /api/v1/identities/{id}": {"": (no_identity, ())},
    "POST /api/v1/auth/new-password": {"": (a_link_that_sets_a_password, OMARS)},
    "POST /api/v1/workspaces": {"": (by("omar", "POST", "/api/v1/workspaces", {"name": "Another {team}"}), ())},
    "PUT /api/v1/workspaces/{id}": {
        "slug": (by("lea", "PUT", "/api/v1/workspaces/{team}", {"slug": "other-team"}), ()),
        "factor": (a_required_factor, ()),
        "no factor": (a_factor_that_is_no_longer_required, ()),
    },
    "DELETE /api/v1/workspaces/{id}": {"": (a_deleted_team, ["omar's program in the team"])},
    "POST /api/v1/invitations/accept": {"": (an_invitation, ())},
    "POST /api/v1/invitations/sign-up": {"": (a_sign_up, ())},
    "POST /api/v1/workspaces/{id}/members": {"": (by("omar", "POST", MEMBERS_OF_OMAR, LEA), ())},
    "PUT /api/v1/workspaces/{id}/members/{account_id}": {
        "less": (by("lea", "PUT", "/api/v1/workspaces/{team}/members/{omar}", {"role": "viewer"}), ()),
        "more": (by("lea", "PUT", "/api/v1/workspaces/{team}/members/{kim}", {"role": "admin"}), ()),
    },
    "DELETE /api/v1/workspaces/{id}/members/{account_id}": {
        "of a team": (
            by("lea", "DELETE", "/api/v1/workspaces/{team}/members/{omar}"), ["omar's program in the team"],
        ),
        "of a personal one": (by("omar", "DELETE", f"{MEMBERS_OF_OMAR}/{{kim}}"), ["kim's program at omar's"]),
    },
    "POST /api/v1/workspaces/{id}/leave": {
        "": (by("kim", "POST", "/api/v1/workspaces/{omar}/leave"), ["kim's program at omar's"])
    },
    "POST /api/v1/admin/workspaces/{id}/members": {
        "": (by("root", "POST", "/api/v1/admin/workspaces/{team}/members", ROOT), ())
    },
    "DELETE /api/v1/workspaces/{id}/tokens/{token_id}": {"": (a_token_of_a_member, ["revoked"])},
}  # fmt: skip


# The same of requests that have no entry in the audit log, or only if they are rejected.
CHANGES_WITHOUT_ACTION: Final[Mapping[str, Mapping[str, tuple[Callable[[Scene], Steps], Sequence[str]]]]] = {
    "POST /api/v1/auth/refresh": {
        "": (a_refresh, ()),
        "again": (a_token_that_comes_back, ["omar", "new", "newer"]),
        "again and late": (an_old_token_that_comes_back, ["new"]),
    },
}


async def seen(program: Program, token: str, known: KnownCallers) -> Caller | None:
    """Return the caller of a token by what is known of it; None if the token is rejected."""
    sessions = copy(program.services.sessions)
    sessions._known = known
    try:
        return replace(await sessions.authenticate(token), address="")
    except Unauthorized:
        return None


async def open_for(program: Program, caller: Caller) -> OpenStream:
    since = program.services.known_callers.changes
    return await program.streams.admit(caller, caller.admitted_to, since=since)


class Deafness:
    """A context in which a process learns nothing of changes, as of those that another process makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on = False
        for name in ("sessions_ended", "workspace_changed", "credential_replaced", "forget"):
            monkeypatch.setattr(KnownCallers, name, self._deaf(getattr(KnownCallers, name)))

    def _deaf(self, learn: Callable[[KnownCallers, Any], Any]) -> Callable[[KnownCallers, Any], Any]:
        if not iscoroutinefunction(learn):
            return lambda known, changed: None if self.is_on else learn(known, changed)

        async def learn_unless_deaf(known: KnownCallers, changed: Any) -> None:
            if not self.is_on:
                await learn(known, changed)

        return learn_unless_deaf

    def __enter__(self) -> None:
        self.is_on = True

    def __exit__(self, *failure: object) -> None:
        self.is_on = False


async def differences(
    at: Scene, change: Callable[[Scene], Steps], ends: Collection[str], deafness: "Deafness | None"
) -> Mapping[str, Any]:
    """Return, by credential, what is not as the database says after a change, or as it should.

    Args:
        ends: The credentials that are rejected from then on.
        deafness: Given if the change is made as though in another process. None if it is made here.
    """
    program, known = at.program, at.program.services.known_callers
    steps = change(at)
    await anext(steps)
    before = {name: await seen(program, token, known) for name, token in at.tokens.items()}
    streams = {name: await open_for(program, caller) for name, caller in before.items() if caller is not None}
    with deafness or nullcontext():
        reply = await anext(steps)
    assert reply is not None
    assert reply.status < 300, reply
    if deafness is not None:
        for job in session_jobs(program):
            await job.run()
    found: dict[str, Any] = {}
    for name, token in at.tokens.items():
        cached, stored = await seen(program, token, known), await seen(program, token, KnownCallers())
        if cached != stored:
            found[name] = cached, stored
        # What the change itself has made was not rejected before.
        was_rejected = name in before and before[name] is None
        if (stored is None) is not (name in ends or was_rejected):
            found[f"end of {name}"] = stored
    for name, stream in streams.items():
        present = await program.services.sessions.present(await program.services.sessions.login_of(stream.caller))
        may_go_on = present is not None and stream.workspaces.issubset(present.admitted_to)
        if may_go_on is stream.ended.done():
            found[f"stream of {name}"] = "ended" if may_go_on else "open"
        program.streams.leave(stream)
    return found


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
async def test_s71_cached_callers_and_streams_are_as_the_database_says_after_every_change_of_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    # The periodic look would hide what a change forgets.
    monkeypatch.setattr(housekeeping, "REFRESH_SECONDS", 3600.0)
    deafness = Deafness(monkeypatch)
    wrong: dict[str, Any] = {}
    async with program_at(tmp_path / "data") as program:
        first = await program.services.accounts.create_first(name="R", email="root@example.com", password=PASSWORD)
        root = ApiClient(program.app, await log_in(program, "root@example.com"))
        made = {**CHANGES, **CHANGES_WITHOUT_ACTION}
        changes = [(route, variant) for route, more in made.items() for variant in more]
        for number, (route, variant) in enumerate(changes):
            at = await scene(program, root, number)
            at.ids = {**at.ids, "root": first.id}
            if found := await differences(at, *made[route][variant], deafness if elsewhere else None):
                wrong[f"{route} {variant}"] = found

    assert wrong == {}


def test_s71_every_route_that_changes_access_is_among_them() -> None:
    of_access = {route for route, action in ACTIONS.items() if action.startswith(OF_ACCESS)}

    assert CHANGES.keys() == of_access - NO_ACCESS
    assert of_access >= NO_ACCESS
