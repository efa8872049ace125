"""Entries of the audit log: who has done what, where and with what."""

from dataclasses import replace

from flowrunner.domain.account import ApiToken, Caller, Session
from flowrunner.domain.audit import act, act_on_account, credential_of
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId, personal_workspace
from flowrunner.services.mails import Mails
from support.databases import NOON
from support.dependencies import SteppingClock

OMAR = AccountId("account-omar")
CALLER = Caller(
    account_id=OMAR, role="user", credential=Session(SessionId("s-1"), NOON), expires_at=NOON, address="192.0.2.7",
    acts_in=WorkspaceId("acme"),
)  # fmt: skip


def test_an_entry_names_the_act_its_object_and_its_caller() -> None:
    entry = act(CALLER, "flow.deleted", "flow", "flow-1", at=NOON, details={"name": "sync"})

    assert (entry.action, entry.object, entry.at) == ("flow.deleted", ("flow", "flow-1"), NOON)
    assert (entry.actor, entry.address, entry.workspace_id) == (OMAR, "192.0.2.7", "acme")
    assert entry.details == {"name": "sync"}
    assert act(CALLER, "flow.deleted", "flow", "flow-1", at=NOON).details == {}
    assert act(CALLER, "flow.moved", "flow", "f", at=NOON, workspace_id=WorkspaceId("other")).workspace_id == "other"


def test_an_act_on_an_account_belongs_to_its_personal_workspace() -> None:
    mara = AccountId("account-mara")

    mails = Mails(SteppingClock(NOON), are_possible=True).make(mara, "Subject", "Text")

    entry = act_on_account(
        CALLER, "account.changed", "account", mara, at=NOON, account_id=mara, details={"a": 1}, mails=mails
    )

    assert (entry.workspace_id, entry.details, entry.mails) == (personal_workspace(mara), {"a": 1}, mails)
    assert len(mails) == 1


def test_an_act_of_the_server_itself_has_no_actor_and_its_details_too() -> None:
    entry = act(
        None, "callback.disabled", "callback", "cb-1", at=NOON, workspace_id=WorkspaceId("acme"), details={"a": 1}
    )

    assert (entry.actor, entry.credential, entry.workspace_id) == (None, "server", "acme")
    assert (entry.details, act(None, "a", "b", "c", at=NOON).details) == ({"a": 1}, {})


def test_a_credential_is_named_without_what_could_be_used() -> None:
    token = replace(CALLER, credential=ApiToken(TokenId("token-1"), frozenset()))
    session = credential_of(CALLER)

    assert credential_of(token) == "token:token-1"
    assert session.startswith("session:")
    assert "s-1" not in session
    assert len(session) == len("session:") + 16
    assert session != credential_of(replace(CALLER, credential=Session(SessionId("s-2"), NOON)))
