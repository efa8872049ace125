"""Accounts in the database."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from flowrunner.domain.account import Account
from flowrunner.domain.audit import act
from flowrunner.domain.errors import (
    Conflict,
    Forbidden,
    LimitReached,
    LinkNotValid,
    NotFound,
    PersonalWorkspaceNotEmpty,
)
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.domain.workspace import Workspace
from flowrunner.ports.accounts import AccountChanges, ConfirmationLink
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.page import Page
from flowrunner.ports.tokens import TokenView
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.password_resets import SqlPasswordResets
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.tables import TABLES, Untouched
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.transaction import Refused
from flowrunner.storage.workspaces import SqlWorkspaces
from support.databases import (
    MARA,
    MARA_ACCOUNT,
    NOON,
    OMAR,
    OMAR_ACCOUNT,
    Place,
    account,
    change,
    open_database,
    rows_of,
)

from .samples import ALL, add_rows_of_identity, flow, log_in, sealing, session


async def test_an_account_is_read_back(accounts: SqlAccounts) -> None:
    assert await accounts.get(MARA_ACCOUNT) == account(MARA)
    credential = await accounts.credential("account-omar@example.com")
    assert credential is not None
    assert (credential.account, credential.password_hash) == (account(OMAR, role="user"), "hash-omar")
    assert await accounts.credential("nobody@example.com") is None
    with pytest.raises(NotFound):
        await accounts.get(AccountId("nobody"))


async def test_an_account_keeps_its_order_whatever_it_is_called(accounts: SqlAccounts, path: Place) -> None:
    names = ["'; DROP TABLE accounts; --", "é😀", "\x00", "%_"]
    made: list[Account] = []
    for n, name in enumerate(names):
        made.append(replace(account(f"b{n}", role="user"), name=name))
        await accounts.create(made[-1], password_hash="x")

    page, total = await accounts.page(role="user", page=Page(limit=10, offset=1))

    if isinstance(path, str):
        # PostgreSQL text cannot hold NUL.
        made = [replace(one, name=one.name.replace("\0", "\ufffd")) for one in made]
    assert (page, total) == (made, 5)


async def test_accounts_are_listed_by_role_with_their_total(accounts: SqlAccounts) -> None:
    assert await accounts.page(role=None, page=Page(limit=1, offset=1)) == ([account(OMAR, role="user")], 2)
    assert await accounts.page(role="admin", page=ALL) == ([account(MARA)], 1)


async def test_an_address_belongs_to_one_account(accounts: SqlAccounts) -> None:
    with pytest.raises(Conflict, match="e-mail address"):
        await accounts.create(account("third", email="account-mara@example.com"), password_hash="x")
    with pytest.raises(Conflict, match="e-mail address"):
        await accounts.update(OMAR_ACCOUNT, AccountChanges(email="account-mara@example.com"), by=OMAR_ACCOUNT, at=NOON)

    assert (await accounts.get(OMAR_ACCOUNT)).email == "account-omar@example.com"


async def test_the_address_of_a_deleted_account_is_free(accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    await accounts.create(account("third", email="account-omar@example.com"), password_hash="x")


async def test_only_the_first_account_is_the_first(database: Database) -> None:
    store = SqlAccounts(database)
    results = await asyncio.gather(
        *(store.create(account(f"a{n}"), password_hash="x", only_if_first=True) for n in range(5)),
        return_exceptions=True,
    )

    assert [type(r) for r in results].count(Conflict) == 4
    assert (await store.page(role=None, page=ALL))[1] == 1


async def test_an_account_that_is_not_there_cannot_change(accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    with pytest.raises(NotFound):
        await accounts.update(OMAR_ACCOUNT, AccountChanges(password_hash="x"), by=OMAR_ACCOUNT, at=NOON)
    with pytest.raises(NotFound):
        await accounts.delete(OMAR_ACCOUNT, at=NOON)
    with pytest.raises(NotFound):
        await accounts.get(OMAR_ACCOUNT)


async def test_a_password_stays_when_none_is_given(accounts: SqlAccounts, path: Place) -> None:
    await accounts.update(OMAR_ACCOUNT, AccountChanges(name="Omar"), by=OMAR_ACCOUNT, at=NOON)

    assert rows_of(path, "SELECT name, password_hash FROM accounts WHERE id = ?", OMAR) == [("Omar", "hash-omar")]


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        (AccountChanges(name="Omar"), {"sessions", "login_challenges", "password_resets", "invitations", "api_tokens"}),
        (AccountChanges(email="o@example.com"), {"sessions", "login_challenges", "invitations", "api_tokens"}),
        # Somebody who knew the old password may have made tokens.
        (AccountChanges(password_hash="new"), {"invitations"}),
        (AccountChanges(role="admin"), {"invitations", "api_tokens"}),
        (AccountChanges(role="viewer"), {"api_tokens"}),
        (AccountChanges(is_disabled=True), {"api_tokens"}),
    ],
    ids=["name", "email", "password", "higher role", "lower role", "disabled"],
)
async def test_a_change_of_an_account_ends_what_could_be_used_as_it_was(
    accounts: SqlAccounts, database: Database, path: Place, changes: AccountChanges, left: set[str]
) -> None:
    await log_in(SqlSessions(database), session("s1", OMAR_ACCOUNT))
    token = TokenView(id=TokenId("t"), account_id=OMAR_ACCOUNT, name="T", scopes=("read",), created_at=NOON)
    await SqlTokens(database).create(OMAR_ACCOUNT, token, digest="d", by=SessionId("s1"), most=5)
    add_rows_of_identity(path, OMAR)

    await accounts.update(OMAR_ACCOUNT, changes, by=MARA_ACCOUNT, at=NOON)

    tables = ("sessions", "login_challenges", "password_resets", "invitations", "api_tokens")
    assert {table for table in tables if rows_of(path, f"SELECT 1 FROM {table}")} == left


async def test_a_new_password_by_a_link_ends_all_that_the_old_one_has_opened(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    resets = SqlPasswordResets(database)
    await log_in(SqlSessions(database), session("s1", OMAR_ACCOUNT))
    token = TokenView(id=TokenId("t"), account_id=OMAR_ACCOUNT, name="T", scopes=("read",), created_at=NOON)
    await SqlTokens(database).create(OMAR_ACCOUNT, token, digest="d", by=SessionId("s1"), most=5)
    add_rows_of_identity(path, OMAR)
    for digest in ("link", "another"):
        await resets.save(OMAR_ACCOUNT, digest, at=NOON, expires_at=NOON + timedelta(hours=1), most=5)

    with pytest.raises(LinkNotValid):
        await resets.use("link", password_hash="late", at=NOON + timedelta(hours=1))
    await resets.use("link", password_hash="new", at=NOON)
    for digest in ("link", "another"):
        with pytest.raises(LinkNotValid):
            await resets.use(digest, password_hash="again", at=NOON)

    tables = ("sessions", "login_challenges", "password_resets", "api_tokens")
    assert [rows_of(path, f"SELECT 1 FROM {table}") for table in tables] == [[]] * len(tables)
    assert rows_of(path, "SELECT password_hash FROM accounts WHERE id = ?", OMAR) == [("new",)]
    assert rows_of(path, "SELECT password_hash FROM accounts WHERE id = ?", MARA) == [("hash-mara",)]


async def test_a_hash_is_renewed_only_over_the_one_that_was_verified(accounts: SqlAccounts, path: Place) -> None:
    assert await accounts.rehash(OMAR_ACCOUNT, old="hash-omar", new="slower")
    assert not await accounts.rehash(OMAR_ACCOUNT, old="hash-omar", new="from the old password")

    assert rows_of(path, "SELECT password_hash FROM accounts WHERE id = ?", OMAR) == [("slower",)]


async def test_changes_at_once_undo_nothing_of_each_other(accounts: SqlAccounts) -> None:
    await asyncio.gather(
        accounts.update(OMAR_ACCOUNT, AccountChanges(role="admin"), by=MARA_ACCOUNT, at=NOON),
        accounts.update(OMAR_ACCOUNT, AccountChanges(password_hash="new"), by=OMAR_ACCOUNT, at=NOON),
        accounts.update(OMAR_ACCOUNT, AccountChanges(name="Omar"), by=OMAR_ACCOUNT, at=NOON),
        accounts.update(OMAR_ACCOUNT, AccountChanges(email="omar@example.com"), by=OMAR_ACCOUNT, at=NOON),
    )

    credential = await accounts.credential("omar@example.com")
    assert credential is not None
    assert (credential.account.name, credential.account.role, credential.password_hash) == ("Omar", "admin", "new")


async def test_who_is_no_admin_any_more_changes_nobody_else_and_no_role(accounts: SqlAccounts) -> None:
    with pytest.raises(NotFound):
        await accounts.update(MARA_ACCOUNT, AccountChanges(name="x"), by=OMAR_ACCOUNT, at=NOON)
    with pytest.raises(Forbidden):
        await accounts.update(OMAR_ACCOUNT, AccountChanges(role="admin"), by=OMAR_ACCOUNT, at=NOON)

    assert [a.role for a in (await accounts.page(role=None, page=ALL))[0]] == ["admin", "user"]


async def test_an_admin_who_is_disabled_meanwhile_changes_nobody_else_and_enables_nobody(
    accounts: SqlAccounts,
) -> None:
    await accounts.update(OMAR_ACCOUNT, AccountChanges(role="admin"), by=MARA_ACCOUNT, at=NOON)
    await accounts.update(OMAR_ACCOUNT, AccountChanges(is_disabled=True), by=MARA_ACCOUNT, at=NOON)

    with pytest.raises(NotFound):
        await accounts.update(MARA_ACCOUNT, AccountChanges(is_disabled=True), by=OMAR_ACCOUNT, at=NOON)
    with pytest.raises(Forbidden):
        await accounts.update(OMAR_ACCOUNT, AccountChanges(is_disabled=False), by=OMAR_ACCOUNT, at=NOON)

    assert (await accounts.get(OMAR_ACCOUNT)).is_disabled
    assert not (await accounts.get(MARA_ACCOUNT)).is_disabled


async def test_each_account_has_a_personal_workspace_with_its_id(accounts: SqlAccounts, path: Place) -> None:
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    owned = "SELECT w.id, w.created_at = a.created_at FROM workspaces w JOIN accounts a ON a.id = w.id ORDER BY w.id"
    assert rows_of(path, owned) == [(MARA, True), (OMAR, True)]
    assert rows_of(path, "SELECT count(*) FROM workspaces") == [(2,)]
    assert rows_of(path, "SELECT workspace_id FROM usage ORDER BY 1") == [(MARA,), (OMAR,)]


async def test_a_deleted_account_leaves_nothing_that_tells_whose_it_was(accounts: SqlAccounts, path: Place) -> None:
    await accounts.create(account("third", role="user"), password_hash="hash-third")

    await accounts.delete(OMAR_ACCOUNT, at=NOON)
    await accounts.delete(AccountId("third"), at=NOON)

    assert rows_of(path, "SELECT name, email, password_hash FROM accounts WHERE deleted_at IS NOT NULL") == [
        ("", "", ""),
        ("", "", ""),
    ]
    assert await accounts.credential("") is None


async def test_the_last_admin_stays(accounts: SqlAccounts) -> None:
    with pytest.raises(Conflict, match="last admin"):
        await accounts.delete(MARA_ACCOUNT, at=NOON)
    with pytest.raises(Conflict, match="last admin"):
        await accounts.update(MARA_ACCOUNT, AccountChanges(role="user"), by=MARA_ACCOUNT, at=NOON)

    await accounts.update(OMAR_ACCOUNT, AccountChanges(role="admin"), by=MARA_ACCOUNT, at=NOON)
    await accounts.delete(MARA_ACCOUNT, at=NOON)


async def test_a_link_that_two_processes_use_at_once_sets_one_password(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    resets = SqlPasswordResets(database)
    await resets.save(OMAR_ACCOUNT, "link", at=NOON, expires_at=NOON + timedelta(hours=1), most=5)
    # SQLite has one process, so both are the same there.
    other = open_database(path) if isinstance(path, str) else database
    used = [(store, f"hash-{n}") for n in range(4) for store in (resets, SqlPasswordResets(other))]

    results = await asyncio.gather(
        *(store.use("link", password_hash=f"{n}-{hash}", at=NOON) for n, (store, hash) in enumerate(used)),
        return_exceptions=True,
    )
    if other is not database:
        await other.close()

    (winner,) = [n for n, result in enumerate(results) if result is None]
    assert {type(result) for result in results} == {type(None), LinkNotValid}
    credential = await accounts.credential("account-omar@example.com")
    assert credential is not None
    assert credential.password_hash == f"{winner}-{used[winner][1]}"


@pytest.mark.parametrize("how", ["delete", "demote"])
async def test_of_two_last_admins_that_go_at_once_one_stays(accounts: SqlAccounts, how: str) -> None:
    await accounts.update(OMAR_ACCOUNT, AccountChanges(role="admin"), by=MARA_ACCOUNT, at=NOON)

    async def go(id: AccountId) -> object:
        if how == "delete":
            return await accounts.delete(id, at=NOON)
        return await accounts.update(id, AccountChanges(role="user"), by=id, at=NOON)

    results = await asyncio.gather(go(MARA_ACCOUNT), go(OMAR_ACCOUNT), return_exceptions=True)

    assert sorted(type(r).__name__ for r in results) == ["Conflict", "tuple"]
    assert (await accounts.page(role="admin", page=ALL))[1] == 1


async def test_the_limits_of_members_and_of_memberships_are_named(accounts: SqlAccounts, database: Database) -> None:
    workspaces, id, other = SqlWorkspaces(database), WorkspaceId("team"), AccountId("third")
    await accounts.create(account(other, role="user"), password_hash="hash-third")
    team = Workspace(id=id, name="Team", slug="team", role="admin", created_at=NOON)
    await workspaces.create(team, admin=OMAR_ACCOUNT, most=9)
    add = partial(workspaces.set_member, id, other, "viewer", at=NOON, is_new=True)

    with pytest.raises(LimitReached, match="remove one first") as full:
        await add(most_members=1, most_joined=9)
    with pytest.raises(LimitReached, match="it must leave one") as joined:
        await add(most_members=9, most_joined=0)

    assert [(each.value.limit, each.value.most) for each in (full, joined)] == [("members", 1), ("memberships", 0)]


async def test_an_admin_that_is_disabled_is_no_other_admin_of_a_workspace(
    accounts: SqlAccounts, database: Database
) -> None:
    workspaces, id, other = SqlWorkspaces(database), WorkspaceId("team"), AccountId("third")
    await accounts.create(account(other, role="user"), password_hash="hash-third")
    team = Workspace(id=id, name="Team", slug="team", role="admin", created_at=NOON)
    await workspaces.create(team, admin=OMAR_ACCOUNT, most=9)
    set_member = partial(workspaces.set_member, id, other, at=NOON, most_members=9, most_joined=9)
    added = await set_member("viewer", is_new=True)
    assert (added.account_id, added.role, added.added_at, added.is_owner) == (other, "viewer", NOON, False)
    assert await set_member("admin", is_new=False) == replace(added, role="admin")

    await accounts.update(other, AccountChanges(is_disabled=True), by=MARA_ACCOUNT, at=NOON)
    with pytest.raises(Conflict, match="last admin of 'Team'"):
        await accounts.delete(OMAR_ACCOUNT, at=NOON)
    with pytest.raises(Conflict, match="last admin of a workspace"):
        await workspaces.remove_member(id, OMAR_ACCOUNT)

    await accounts.update(other, AccountChanges(is_disabled=False), by=MARA_ACCOUNT, at=NOON)
    await accounts.delete(OMAR_ACCOUNT, at=NOON)


@pytest.mark.parametrize("has_flow", [False, True])
@pytest.mark.parametrize("has_member", [False, True])
async def test_a_personal_workspace_with_flows_or_members_is_not_deleted_by_the_way(
    accounts: SqlAccounts, database: Database, has_flow: bool, has_member: bool
) -> None:
    if has_flow:
        await SqlFlows(database).create(OMAR, flow())
    if has_member:
        await SqlWorkspaces(database).set_member(
            OMAR, MARA_ACCOUNT, "viewer", at=NOON, is_new=True, most_members=9, most_joined=9
        )

    found = f"flows: {has_flow:d}, other members: {has_member:d}"
    with pytest.raises(PersonalWorkspaceNotEmpty, match=found) if has_flow or has_member else nullcontext():
        await accounts.delete(OMAR_ACCOUNT, at=NOON, workspace=None)


@pytest.mark.parametrize("names", [{"name": "New"}, {"slug": "new"}])
async def test_a_personal_workspace_is_called_after_its_account(
    accounts: SqlAccounts, database: Database, names: dict[str, Any]
) -> None:
    workspaces = SqlWorkspaces(database)

    with pytest.raises(Conflict, match="rename the account instead"):
        await workspaces.update(OMAR_ACCOUNT, OMAR, at=NOON, **names)
    with pytest.raises(Conflict, match="rename the account instead"):
        await workspaces.check_update(OMAR, **{"name": None, "slug": None, **names})
    changed = await workspaces.update(OMAR_ACCOUNT, OMAR, requires_second_factor=True, at=NOON)
    assert (changed.name, changed.slug, changed.requires_second_factor) == (OMAR, OMAR, True)


async def test_the_database_itself_keeps_the_last_admin(accounts: SqlAccounts, path: Place) -> None:
    for what in ("role = 'user'", "deleted_at = 1"):
        with pytest.raises(Refused, match="last admin"):
            change(path, f"UPDATE accounts SET {what}")


# A row in each table that nothing else in the next test fills, with the id of an account or of its workspace.
OF_A_WORKSPACE: Final = (
    "INSERT INTO preferences (account_id, data, updated_at) VALUES (?, '{}', 0)",
    "INSERT INTO request_keys (account_id, key, workspace_id, request_id, digest, created_at)"
    " VALUES (?, 'k', ?, 'r', 'd', 0)",
    "INSERT INTO store_entries (workspace_id, namespace, key, size, edition, created_at, updated_at, value)"
    " VALUES (?, 'n', 'k', 1, 1, 0, 0, '1')",
    "INSERT INTO config_values (workspace_id, name, value, edition, created_at, updated_at)"
    " VALUES (?, 'NAME', '1', 0, 0, 0)",
    "INSERT INTO jobs (id, workspace_id, created_by, type, status, total, created_at, work)"
    " VALUES ('job-1', ?, ?, 'executions.cancel', 'running', 1, 0, '{}')",
    "INSERT INTO flows (id, workspace_id, name, description, version, tags, revision_id, created_at, updated_at)"
    " VALUES ('flow-o', ?, 'N', '', '1', '[]', 'rev-1', 0, 0)",
    "INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at)"
    " VALUES ('trigger-1', ?, 'flow-o', 'in', 'webhook', 'null', 0)",
    "INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, request, size)"
    " VALUES ('delivery-1', ?, 'trigger-1', 0, 'failed', '{}', 0)",
    "INSERT INTO callbacks (id, workspace_id, name, events, format, address, key_version, sealed, created_at,"
    " updated_at) VALUES ('callback-1', ?, 'N', '[]', 'slack', 'https://example.com', 1, CAST('s' AS {bytes}), 0, 0)",
    "INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, noted_at, state)"
    " VALUES ('delivery-2', ?, 'callback-1', 'callback.test', 0, 'failed')",
)


async def test_a_deleted_account_leaves_nothing_that_opens_its_secrets(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    sessions, secrets = SqlSessions(database), SqlSecrets(database)
    await log_in(sessions, session("s1", OMAR_ACCOUNT))
    token = TokenView(id=TokenId("t"), account_id=OMAR_ACCOUNT, name="T", scopes=("read",), created_at=NOON)
    await SqlTokens(database).create(OMAR_ACCOUNT, token, digest="d", by=SessionId("s1"), most=5)
    await secrets.save(OMAR, sealing(b"s"), at=NOON)
    add_rows_of_identity(path, OMAR)
    for statement in OF_A_WORKSPACE:
        bytes_type = "bytea" if isinstance(path, str) else "blob"
        change(path, statement.replace("{bytes}", bytes_type), *[OMAR] * statement.count("?"))
    emptied = [
        (table.name, f"{owner}_id")
        for table in TABLES
        if not isinstance(table.on_deletion, Untouched)
        for owner, statement in table.on_deletion.items()
        # The token of this test has no workspace of its own.
        if isinstance(statement, str)
        and statement.startswith("DELETE")
        and (table.name, owner) != ("api_tokens", "workspace")
    ]

    def counts() -> set[int]:
        return {
            rows_of(path, f"SELECT count(*) FROM {name} WHERE {column} = ?", OMAR)[0][0] for name, column in emptied
        }

    await SqlWorkspaces(database).set_member(
        MARA, OMAR_ACCOUNT, "viewer", at=NOON, is_new=True, most_members=9, most_joined=9
    )
    await SqlWorkspaces(database).set_member(
        OMAR, MARA_ACCOUNT, "viewer", at=NOON, is_new=True, most_members=9, most_joined=9
    )
    assert counts() == {1}

    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    assert await sessions.find(SessionId("s1")) is None
    assert counts() == {0}


async def test_an_address_that_is_confirmed_already_is_not_confirmed_again(
    accounts: SqlAccounts, database: Database
) -> None:
    new = replace(account("new", role="user"), is_email_confirmed=False)
    await accounts.create(new, password_hash="h")
    first, second = (act(None, "email.confirmed", "account", new.id, at=at) for at in (NOON, NOON + timedelta(days=1)))

    for entry in (first, second):
        await accounts.confirm_email(new.id, new.email, at=entry.at, audit=entry)
    with pytest.raises(NotFound):
        await accounts.confirm_email(new.id, "other@example.com", at=NOON, audit=second)

    assert (await accounts.get(new.id)).is_email_confirmed
    logged = await SqlAudit(database).page(AuditFilter(), ALL)
    assert [(row.entry.action, row.entry.at) for row in logged.items] == [("email.confirmed", NOON)]


@pytest.mark.parametrize(
    "state", ["open", "disabled", "deleted", "expired", "used", "replaced", "another link", "another account"]
)
async def test_a_link_confirms_the_address_of_an_open_account_in_its_time_and_once(
    accounts: SqlAccounts, state: str
) -> None:
    new = replace(account("new", role="user"), is_email_confirmed=False)
    link = ConfirmationLink(digest="d", expires_at=NOON + timedelta(hours=1))
    await accounts.create(new, password_hash="x", link=link)
    at, digest, id = NOON, link.digest, new.id
    match state:
        case "disabled":
            await accounts.update(new.id, AccountChanges(is_disabled=True), by=MARA_ACCOUNT, at=NOON)
        case "deleted":
            await accounts.delete(new.id, at=NOON)
        case "expired":
            at = link.expires_at
        case "used":
            await accounts.use_confirmation_link(id, digest, at=at)
        case "replaced":
            await accounts.set_confirmation_link(id, new.email, replace(link, digest="e"))
        case "another link":
            digest = "e"
        case "another account":
            id = OMAR_ACCOUNT

    if state == "open":
        assert (await accounts.use_confirmation_link(id, digest, at=at)).is_email_confirmed
        assert (await accounts.get(id)).is_email_confirmed
    else:
        with pytest.raises(LinkNotValid):
            await accounts.use_confirmation_link(id, digest, at=at)
