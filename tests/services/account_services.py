"""The services around accounts, connected as the program connects them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrunner.domain.account import Caller
from flowrunner.domain.values import AccountId
from flowrunner.security.credentials import Argon2Hasher, JwtIssuer
from flowrunner.security.keys import SIGNING, KeyRing
from flowrunner.security.mailed_tokens import SignedMailedTokens
from flowrunner.services.accounts import Accounts
from flowrunner.services.audit import AuditLog
from flowrunner.services.email_confirmations import EmailConfirmations
from flowrunner.services.known_callers import KnownCallers
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.mails import Mails
from flowrunner.services.password_check import PasswordCheck
from flowrunner.services.password_logins import PasswordLogins
from flowrunner.services.sessions import AccessToken, Sessions
from flowrunner.services.tokens import Tokens, TokenUses
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.tokens import SqlTokens
from support.dependencies import Machine, SteppingClock, machine

PASSWORD = "correct horse battery"
OTHER_PASSWORD = "staple of four words"


class AccountServices:
    def __init__(self, engine: Machine) -> None:
        self.engine = engine
        self.clock = engine.clock
        self.hasher = Argon2Hasher()
        store = SqlAccounts(engine.database)
        self.token_store = SqlTokens(engine.database)
        self.audit = AuditLog(SqlAudit(engine.database), self.clock)
        self.passwords = PasswordCheck(store, audit=self.audit, hasher=self.hasher, clock=self.clock)
        self.uses = TokenUses(self.token_store.note_uses)
        self.known_callers = KnownCallers()
        self.sessions = self._sessions_with(self.known_callers)
        self.tokens = Tokens(self.token_store, self.uses, self.clock, on_end=self.known_callers.sessions_ended)
        self.deleted: list[AccountId] = []

        async def on_delete(id: AccountId) -> None:
            self.deleted.append(id)

        self.accounts = Accounts(
            store,
            self.passwords,
            self.hasher,
            LoginMails(mails := Mails(self.clock, are_possible=False), self.clock),
            self.clock,
            confirmations=EmailConfirmations(store, mails, SignedMailedTokens(KeyRing(SIGNING, b"k" * 32)), self.clock),
            on_sessions_end=self.known_callers.sessions_ended,
            on_delete=on_delete,
        )

    def new_sessions(self) -> Sessions:
        """Return the service as after a restart, with empty caches."""
        return self._sessions_with(KnownCallers())

    def _sessions_with(self, known: KnownCallers) -> Sessions:
        return Sessions(
            SqlSessions(self.engine.database),
            self.token_store,
            self.uses,
            known,
            password_logins=PasswordLogins(self.passwords, SqlAccounts(self.engine.database), self.hasher),
            audit=self.audit,
            tokens=JwtIssuer(KeyRing(SIGNING, b"k" * 32)),
            clock=self.clock,
            token_life=timedelta(hours=1),
        )

    async def add(self, name: str, *, role: Any = "user") -> Caller:
        email = f"{name}@example.com"
        account = await self.accounts.create(name=name, email=email, password=PASSWORD, role=role)
        return await self.sessions.authenticate((await self.login(account.email)).token)

    async def login(self, username: str = "omar@example.com", password: str = PASSWORD) -> AccessToken:
        return await self.sessions.login(username, password, address="192.0.2.7")


@asynccontextmanager
async def open_account_services(path: Path) -> AsyncIterator[AccountServices]:
    """Open the services on a database at this path."""
    # The signer of tokens reads the system clock, so this clock starts at about the same time.
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
    async with machine(path, clock=SteppingClock(now)) as engine:
        opened = AccountServices(engine)
        yield opened
        opened.hasher.close()


class HeldHasher:
    """A hasher that holds its results until `held` is set. Implements `ports.PasswordHasher`."""

    def __init__(self, inner: Argon2Hasher, *, finds_outdated: bool = False) -> None:
        self._inner = inner
        self._finds_outdated = finds_outdated
        self.begun, self.held = asyncio.Event(), asyncio.Event()

    async def hash(self, password: str, *, source: str) -> str:
        hashed = await self._inner.hash(password, source=source)
        await self._hold()
        return hashed

    async def verify(self, password_hash: str | None, password: str, *, source: str) -> bool:
        is_right = await self._inner.verify(password_hash, password, source=source)
        await self._hold()
        return is_right

    def is_outdated(self, password_hash: str) -> bool:
        return self._finds_outdated or self._inner.is_outdated(password_hash)

    async def _hold(self) -> None:
        self.begun.set()
        await self.held.wait()
