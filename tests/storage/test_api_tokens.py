"""API tokens in the database."""

from datetime import timedelta

import pytest

from flowrunner.domain.errors import NotFound, Unauthorized
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.domain.workspace import Workspace
from flowrunner.ports.page import Page
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.tokens import TokenView
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.workspaces import SqlWorkspaces
from support.databases import MARA, MARA_ACCOUNT, NOON, Place, account, change


async def test_of_several_uses_of_a_token_the_last_one_counts(database: Database) -> None:
    tokens, later = SqlTokens(database), NOON + timedelta(hours=1)
    await SqlAccounts(database).create(account(MARA), password_hash="hash")
    session = NewSession(id=SessionId("s"), account_id=MARA_ACCOUNT, role="admin", expires_at=later)
    await SqlSessions(database).open(session, at=NOON, password_hash="hash")
    for n in range(3):
        view = TokenView(id=TokenId(f"t{n}"), account_id=AccountId(MARA), name="CI", scopes=("read",), created_at=NOON)
        await tokens.create(MARA_ACCOUNT, view, digest=str(n), by=session.id, most=10)

    await tokens.note_uses({TokenId("t0"): NOON, TokenId("t1"): later})
    await tokens.note_uses({TokenId("t0"): later, TokenId("t1"): NOON, TokenId("gone"): NOON})

    page, _ = await tokens.page(MARA_ACCOUNT, page=Page(limit=10, offset=0))
    assert [token.last_used_at for token in page] == [later, later, None]


@pytest.mark.parametrize(("is_open", "error"), [(True, NotFound), (False, Unauthorized)])
async def test_a_token_for_a_workspace_that_was_just_deleted_is_not_found_while_the_login_lasts(
    database: Database, *, is_open: bool, error: type[Exception]
) -> None:
    tokens, later, team = SqlTokens(database), NOON + timedelta(hours=1), WorkspaceId("team")
    await SqlAccounts(database).create(account(MARA), password_hash="hash")
    session = NewSession(id=SessionId("s"), account_id=MARA_ACCOUNT, role="admin", expires_at=later)
    if is_open:
        await SqlSessions(database).open(session, at=NOON, password_hash="hash")
    view = TokenView(
        id=TokenId("t"), account_id=MARA_ACCOUNT, name="CI", scopes=("read",), created_at=NOON,
        workspace_id=team if is_open else None,
    )  # fmt: skip

    with pytest.raises(error):
        await tokens.create(MARA_ACCOUNT, view, digest="d", by=session.id, most=10)


async def test_a_token_for_a_workspace_is_void_once_its_account_is_no_member(database: Database, path: Place) -> None:
    tokens, later, team = SqlTokens(database), NOON + timedelta(hours=1), WorkspaceId("team")
    await SqlAccounts(database).create(account(MARA), password_hash="hash")
    workspace = Workspace(id=team, name="Team", slug="team", role="admin", created_at=NOON)
    await SqlWorkspaces(database).create(workspace, admin=MARA_ACCOUNT, most=9)
    session = NewSession(id=SessionId("s"), account_id=MARA_ACCOUNT, role="admin", expires_at=later)
    await SqlSessions(database).open(session, at=NOON, password_hash="hash")
    view = TokenView(
        id=TokenId("t"), account_id=MARA_ACCOUNT, name="CI", scopes=("read",), created_at=NOON, workspace_id=team
    )
    await tokens.create(MARA_ACCOUNT, view, digest="d", by=session.id, most=10)
    caller = await tokens.find("d")
    assert caller is not None
    assert caller.workspace_id == team

    # As if its token had stayed behind.
    change(path, "DELETE FROM members WHERE workspace_id = ?", team)

    assert await tokens.find("d") is None
