"""Second factors, challenges and linked accounts in the database."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flowrunner.domain.account import Account
from flowrunner.domain.errors import Conflict, EmailTaken, LimitReached, NotFound, TooManyRequests, Unauthorized
from flowrunner.domain.second_factor import FREE_WRONG_CODES, MOST_WRONG_CODES
from flowrunner.domain.values import AccountId, FactorId, SessionId, WorkspaceId
from flowrunner.domain.workspace import Workspace
from flowrunner.ports.accounts import AccountChanges
from flowrunner.ports.second_factors import FactorUse, FactorView
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.sign_on import Identity
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.identities import SqlIdentities
from flowrunner.storage.second_factors import SqlSecondFactors
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.workspaces import SqlWorkspaces
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, OMAR_ACCOUNT, Place, rows_of

from .samples import FIRST_KEY, log_in, sealing, session

LATER = NOON + timedelta(minutes=5)


def factor(id: str, *, is_confirmed: bool = False, credential: str | None = None) -> FactorView:
    return FactorView(
        id=FactorId(id), type="totp" if credential is None else "passkey", name=id, created_at=NOON,
        confirmed_at=NOON if is_confirmed else None, credential_id=credential,
    )  # fmt: skip


def strong(id: str, account_id: AccountId = OMAR_ACCOUNT) -> NewSession:
    return replace(session(id, account_id), proof="second_factor")


@pytest.fixture
def sessions(database: Database, accounts: SqlAccounts) -> SqlSessions:
    return SqlSessions(database)


@pytest.fixture
async def factors(database: Database, sessions: SqlSessions) -> SqlSecondFactors:
    """Return the store, with an account that has one factor, two recovery codes and a login."""
    store = SqlSecondFactors(database)
    for id in ("own", "other"):
        await log_in(sessions, session(id, OMAR_ACCOUNT))
    await store.add(OMAR_ACCOUNT, factor("f1"), sealing(b"1", "f1"), most=3)
    assert await store.confirm(
        OMAR_ACCOUNT, FactorId("f1"), counter=10, session=SessionId("own"), recovery=("r1", "r2"), at=NOON
    )
    return store


async def test_the_first_factor_raises_its_login_and_ends_the_others(
    factors: SqlSecondFactors, sessions: SqlSessions, accounts: SqlAccounts
) -> None:
    found = await sessions.find(SessionId("own"))
    assert found is not None
    assert getattr(found.credential, "proof", None) == "second_factor"
    assert await sessions.find(SessionId("other")) is None
    credential = await accounts.credential((await accounts.get(OMAR_ACCOUNT)).email)
    assert credential is not None
    assert credential.has_second_factor
    (stored,) = await factors.of_account(OMAR_ACCOUNT)
    assert (stored.view.counter, stored.sealed.sealed, stored.data_key) == (10, b"1", FIRST_KEY)
    assert await factors.count_recovery_codes(OMAR_ACCOUNT) == 2
    # A refresh keeps what the login has shown.
    renewed = session("renewed", OMAR_ACCOUNT)
    await sessions.replace(SessionId("own"), renewed, now=NOON, old_ends_at=LATER)
    found = await sessions.find(SessionId("renewed"))
    assert found is not None
    assert getattr(found.credential, "proof", None) == "second_factor"


async def test_a_factor_that_is_not_confirmed_is_replaced_and_others_are_counted(
    factors: SqlSecondFactors, accounts: SqlAccounts
) -> None:
    for id in ("f2", "f3"):
        await factors.add(OMAR_ACCOUNT, factor(id), sealing(b"2", id), most=3)
    assert [stored.view.id for stored in await factors.of_account(OMAR_ACCOUNT)] == ["f1", "f3"]
    with pytest.raises(NotFound):
        await factors.confirm(OMAR_ACCOUNT, FactorId("f2"), counter=1, session=SessionId("own"), recovery=(), at=NOON)
    with pytest.raises(NotFound):
        await factors.confirm(MARA_ACCOUNT, FactorId("f3"), counter=1, session=SessionId("own"), recovery=(), at=NOON)
    assert not await factors.confirm(
        OMAR_ACCOUNT, FactorId("f3"), counter=1, session=SessionId("own"), recovery=("x",), at=NOON
    )
    assert await factors.count_recovery_codes(OMAR_ACCOUNT) == 2
    with pytest.raises(LimitReached):
        await factors.add(OMAR_ACCOUNT, factor("f4"), sealing(b"4", "f4"), most=2)
    await factors.remove(OMAR_ACCOUNT, FactorId("f1"))
    await factors.remove(OMAR_ACCOUNT, FactorId("f3"))
    assert await factors.count_recovery_codes(OMAR_ACCOUNT) == 0
    with pytest.raises(Conflict):
        await factors.replace_recovery_codes(OMAR_ACCOUNT, ("x",), at=NOON)


@pytest.mark.parametrize("way", ["remove", "remove with one begun", "reset"])
async def test_nothing_of_second_factors_outlives_the_last_one(
    factors: SqlSecondFactors, path: Place, way: str
) -> None:
    await factors.add(OMAR_ACCOUNT, factor("f2"), sealing(b"2", "f2"), most=3)
    await factors.open_challenge("c", OMAR_ACCOUNT, purpose="login", expires_at=LATER)
    await factors.count_attempt("c", is_code=True, most=3, at=NOON)

    def left() -> list[int]:
        return [
            rows_of(path, f"SELECT count(*) FROM {table}")[0][0]
            for table in ("second_factors", "recovery_codes", "wrong_codes")
        ]

    # One that was never confirmed leaves what belongs to the other.
    await factors.remove(OMAR_ACCOUNT, FactorId("f2"))
    before = left()
    has_begun = way == "remove with one begun"
    if has_begun:
        await factors.add(OMAR_ACCOUNT, factor("f3"), sealing(b"3", "f3"), most=3)
    if way == "reset":
        await factors.reset(OMAR_ACCOUNT)
    else:
        await factors.remove(OMAR_ACCOUNT, FactorId("f1"))

    assert (before, left()) == ([1, 2, 1], [int(has_begun), 0, 0])


async def test_a_passkey_belongs_to_one_account_and_takes_its_challenge(
    factors: SqlSecondFactors, sessions: SqlSessions
) -> None:
    await log_in(sessions, session("mara"))

    async def add(account_id: AccountId, id: str, challenge: str, login: str) -> bool:
        return await factors.add_confirmed(
            account_id, factor(id, is_confirmed=True, credential="c"), sealing(b"p", id), challenge=challenge,
            session=SessionId(login), recovery=("m",), most=9,
        )  # fmt: skip

    for digest, owner in (("d1", MARA), ("d2", OMAR)):
        await factors.open_challenge(digest, AccountId(owner), purpose="passkey", expires_at=LATER)
    await factors.open_challenge("of a login", MARA_ACCOUNT, purpose="login", expires_at=LATER)
    await factors.open_challenge("expired", MARA_ACCOUNT, purpose="passkey", expires_at=NOON)
    for challenge in ("d2", "of a login", "expired"):
        with pytest.raises(Unauthorized):
            await add(MARA_ACCOUNT, "p1", challenge, "mara")
    assert await add(MARA_ACCOUNT, "p1", "d1", "mara")
    with pytest.raises(Unauthorized):
        await add(MARA_ACCOUNT, "p2", "d1", "mara")
    with pytest.raises(Conflict, match="registered"):
        await add(OMAR_ACCOUNT, "p3", "d2", "own")


async def test_a_challenge_is_opened_for_the_password_that_was_checked_alone(
    factors: SqlSecondFactors, accounts: SqlAccounts
) -> None:
    credential = await accounts.credential((await accounts.get(OMAR_ACCOUNT)).email)
    assert credential is not None
    old = credential.password_hash
    await factors.open_challenge("c1", OMAR_ACCOUNT, purpose="login", expires_at=LATER, password_hash=old)
    assert await factors.count_attempt("c1", is_code=False, most=9, at=NOON) == OMAR_ACCOUNT

    await accounts.update(OMAR_ACCOUNT, AccountChanges(password_hash="new"), by=OMAR_ACCOUNT, at=NOON)
    with pytest.raises(Unauthorized):
        await factors.count_attempt("c1", is_code=False, most=9, at=NOON)
    with pytest.raises(Unauthorized):
        await factors.open_challenge("c2", OMAR_ACCOUNT, purpose="login", expires_at=LATER, password_hash=old)
    with pytest.raises(Unauthorized):
        await factors.count_attempt("c2", is_code=False, most=9, at=NOON)
    await factors.open_challenge("c3", OMAR_ACCOUNT, purpose="login", expires_at=LATER, password_hash="new")
    assert await factors.count_attempt("c3", is_code=False, most=9, at=NOON) == OMAR_ACCOUNT


async def test_an_answer_counts_before_it_is_checked_and_a_code_once(factors: SqlSecondFactors, path: Place) -> None:
    async def open(digest: str) -> str:
        await factors.open_challenge(digest, OMAR_ACCOUNT, purpose="login", expires_at=LATER)
        return digest

    async def count(digest: str, *, is_code: bool = True, at: datetime = NOON) -> AccountId:
        return await factors.count_attempt(digest, is_code=is_code, most=3, at=at)

    async def accept(digest: str, use: FactorUse, id: str) -> None:
        await factors.accept(digest, OMAR_ACCOUNT, use, strong(id), at=NOON, audit=None)

    first, second = await open("c1"), await open("c2")
    assert await count(first) == OMAR_ACCOUNT
    await factors.open_challenge("of a passkey", OMAR_ACCOUNT, purpose="passkey", expires_at=LATER)
    for digest in ("unknown", "of a passkey"):
        with pytest.raises(Unauthorized):
            await count(digest)
    with pytest.raises(Unauthorized):
        await accept("of a passkey", FactorUse(recovery_digest="r1"), "s0")
    with pytest.raises(Unauthorized):
        await accept(first, FactorUse(id=FactorId("f1"), counter=10), "s1")
    at_once = await asyncio.gather(
        *(accept(digest, FactorUse(id=FactorId("f1"), counter=11), f"s-{digest}") for digest in (first, second)),
        return_exceptions=True,
    )
    assert [type(each) for each in at_once if each is not None] == [Unauthorized]
    assert rows_of(path, "SELECT count(*) FROM wrong_codes") == [(0,)]
    left = first if at_once[0] is not None else second
    await accept(left, FactorUse(recovery_digest="r1"), "s3")
    with pytest.raises(Unauthorized):
        await accept(await open("c3"), FactorUse(recovery_digest="r1"), "s4")
    assert len(rows_of(path, "SELECT id FROM sessions WHERE proof = 'second_factor' AND id <> 'own'")) == 2

    # Three answers to a challenge, five codes of an account; then it waits, on every challenge.
    for number in range(FREE_WRONG_CODES):
        await count(await open(f"w{number}"))
    with pytest.raises(TooManyRequests) as caught:
        await count(await open("w9"))
    assert caught.value.retry_after == timedelta(seconds=30)
    for _ in range(3):
        assert await count("w9", is_code=False) == OMAR_ACCOUNT
    with pytest.raises(Unauthorized):
        await count("w9", is_code=False)
    at = NOON
    for _ in range(FREE_WRONG_CODES, MOST_WRONG_CODES):
        at += timedelta(hours=1)
        await factors.open_challenge(f"x{at}", OMAR_ACCOUNT, purpose="login", expires_at=at + timedelta(minutes=5))
        await count(f"x{at}", at=at)
    at += timedelta(days=365)
    await factors.open_challenge("y", OMAR_ACCOUNT, purpose="login", expires_at=at + timedelta(minutes=5))
    with pytest.raises(TooManyRequests):
        await count("y", at=at)
    assert await factors.reset(OMAR_ACCOUNT) == 1
    assert rows_of(path, "SELECT count(*) FROM sessions WHERE account_id = 'account-omar'") == [(0,)]
    with pytest.raises(NotFound):
        await factors.reset(AccountId("nobody"))


async def test_a_new_data_key_seals_the_secrets_of_factors_again(factors: SqlSecondFactors, database: Database) -> None:
    secrets = SqlSecrets(database)
    seen: list[str] = []

    def reseal(workspace_id: WorkspaceId, version: int):  # type: ignore[no-untyped-def]
        def all_of(sealed):  # type: ignore[no-untyped-def]
            seen.extend(secret.key for secret, _ in sealed)
            return replace(FIRST_KEY, version=version), [
                replace(secret, key_version=version, sealed=b"new") for secret, _ in sealed
            ]

        return all_of

    assert await secrets.reseal_next(1, reseal) == OMAR
    (stored,) = await factors.of_account(OMAR_ACCOUNT)
    assert "f1" in seen
    assert (stored.sealed.sealed, stored.sealed.key_version) == (b"new", 2)


def identity(id: str, account_id: AccountId = OMAR_ACCOUNT, subject: str = "sub") -> Identity:
    return Identity(id=id, account_id=account_id, provider="p", issuer="i", subject=subject, created_at=NOON)


async def test_an_identity_is_linked_to_one_account_and_its_state_is_used_once(
    database: Database, sessions: SqlSessions, accounts: SqlAccounts
) -> None:
    store = SqlIdentities(database)
    await log_in(sessions, session("own", OMAR_ACCOUNT))

    async def add(made: Identity, state: str, most: int = 9, by: str = "own") -> None:
        session = SessionId(by)
        await store.add(made, session=session, state_digest=state, state_expires_at=LATER, most=most)

    # As if a new password had ended the session since the browser left for the provider.
    with pytest.raises(Conflict, match="session"):
        await add(identity("i0"), "s0", by="ended")
    assert await store.of_account(OMAR_ACCOUNT) == ([], True)
    await add(identity("i1"), "s1")
    with pytest.raises(Conflict):
        await add(identity("i2", MARA_ACCOUNT), "s2")
    with pytest.raises(Conflict):
        await add(identity("i3", subject="x"), "s1")
    with pytest.raises(LimitReached):
        await add(identity("i4", subject="y"), "s4", most=1)
    found = await store.find("i", "sub")
    assert found is not None
    assert (found[0].id, found[1].id) == ("i1", OMAR_ACCOUNT)
    assert await store.find("j", "sub") is None

    async def open(id: str, state: str, changed: NewSession | None = None) -> bool:
        opened = changed or replace(session(id, OMAR_ACCOUNT), proof="provider")
        return await store.open(identity("i1"), opened, state_digest=state, state_expires_at=LATER, at=NOON)

    assert await open("a", "s5")
    assert not await open("b", "s5")
    assert not await open("c", "s6", replace(session("c", OMAR_ACCOUNT), role="admin"))
    assert await open("d", "s6")
    await store.remove(OMAR_ACCOUNT, "i1", issuers=["i"], accepts_passwords=True)
    await add(identity("i7", subject="z"), "s7")
    await store.remove_all(OMAR_ACCOUNT)
    assert await store.of_account(OMAR_ACCOUNT) == ([], True)
    assert await sessions.find(SessionId("own")) is None
    with pytest.raises(NotFound):
        await store.remove_all(AccountId("account-none"))

    account = Account(
        id=AccountId("account-new"), name="N", email="n@example.com", role="user", created_at=NOON, updated_at=NOON
    )
    await store.create(account, identity("i5", account.id, "new"))
    with pytest.raises(EmailTaken):
        await store.create(replace(account, id=AccountId("account-2")), identity("i6", account.id, "other"))
    assert await store.of_account(account.id) == ([identity("i5", account.id, "new")], False)
    with pytest.raises(Conflict, match="no password"):
        await store.remove(account.id, "i5", issuers=["i"], accepts_passwords=True)
    with pytest.raises(NotFound):
        await store.remove(OMAR_ACCOUNT, "i5", issuers=["i"], accepts_passwords=True)
    await accounts.delete(account.id, at=NOON)
    assert await store.find("i", "new") is None


async def test_a_role_is_found_by_slug_or_id_and_a_workspace_requires_second_factors(
    database: Database, sessions: SqlSessions
) -> None:
    store, workspaces = SqlIdentities(database), SqlWorkspaces(database)
    made = Workspace(id=WorkspaceId("workspace-1"), name="T", slug="team", role="admin", created_at=NOON)
    await workspaces.create(made, admin=MARA_ACCOUNT, most=9)
    assert await store.role_in(MARA_ACCOUNT, "team") == ("workspace-1", "admin")
    assert await store.role_in(OMAR_ACCOUNT, "workspace-1") == ("workspace-1", None)
    assert await store.role_in(OMAR_ACCOUNT, OMAR) is None
    for required in (True, None, False):
        changed = await workspaces.update(MARA_ACCOUNT, made.id, requires_second_factor=required, at=NOON)
        assert changed == replace(made, requires_second_factor=required is not False)
        assert (await workspaces.get(MARA_ACCOUNT, made.id)).requires_second_factor is (required is not False)
        await log_in(sessions, session(f"s{required}"))
        found = await sessions.find(SessionId(f"s{required}"))
        assert found is not None
        assert [joined.requires_second_factor for joined in found.memberships] == [required is not False]


async def test_a_role_is_never_found_in_a_deleted_workspace(database: Database, accounts: SqlAccounts) -> None:
    store, workspaces = SqlIdentities(database), SqlWorkspaces(database)
    first = Workspace(id=WorkspaceId("workspace-1"), name="T", slug="team", role="admin", created_at=NOON)
    await workspaces.create(first, admin=MARA_ACCOUNT, most=9)

    await workspaces.delete(first.id, at=NOON, only_if_empty=True)

    assert await store.role_in(MARA_ACCOUNT, "team") is None
    await workspaces.create(replace(first, id=WorkspaceId("workspace-2")), admin=MARA_ACCOUNT, most=9)
    assert await store.role_in(MARA_ACCOUNT, "team") == ("workspace-2", "admin")
    assert await store.role_in(MARA_ACCOUNT, first.id) is None
