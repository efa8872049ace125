"""Maintenance commands that use the database while servers may be running on it."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from flowrunner.bootstrap.location import DATABASE_FILE, existing, make_private
from flowrunner.clock import SystemClock
from flowrunner.domain.email_address import sought_email
from flowrunner.domain.errors import FlowRunnerError, UnknownEmail
from flowrunner.domain.retention import RetentionRule
from flowrunner.domain.values import AccountId
from flowrunner.ports.clock import Clock
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.security.keys import KEY_BYTES, SIGNING, KeyRing
from flowrunner.security.mailed_tokens import SignedMailedTokens
from flowrunner.services.email_confirmations import confirmation_of
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.mails import Mails
from flowrunner.services.password_resets import NewLink, PasswordResets
from flowrunner.services.pause import Pause
from flowrunner.services.retention import Outlived, Retention
from flowrunner.settings import Settings
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.database import Database
from flowrunner.storage.password_resets import SqlPasswordResets
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.retention import SqlRetention


@contextlib.asynccontextmanager
async def open_online(settings: Settings) -> AsyncIterator[Database]:
    """Open the database for short transactions between those of its servers.

    Raises:
        FlowRunnerError: If there is no database, or it has the schema of another version.
    """
    location = await existing(settings)
    await location.check()
    if not (await location.schema()).is_usable:
        raise FlowRunnerError("The database has the schema of another version: use the flowrunner of its server")
    if settings.database_url is None:
        make_private(settings.data_dir / DATABASE_FILE)
    database = location.open()
    try:
        yield database
    finally:
        await database.close()


def retention_of(settings: Settings, database: Database, clock: Clock) -> Retention:
    """Return the use cases of retention with the rule of the settings."""
    rule = RetentionRule(max_age=timedelta(seconds=settings.retention), max_count=settings.retention_count)
    return Retention(SqlRetention(database), clock, installation=rule)


async def outlived(settings: Settings) -> list[Outlived]:
    """Count the executions that the next purge deletes. Raises: FlowRunnerError."""
    async with open_online(settings) as database:
        return [found async for found in retention_of(settings, database, SystemClock()).outlived()]


async def prune(settings: Settings) -> int:
    """Delete the executions that exceed their rule; return their number. Raises: FlowRunnerError."""
    async with open_online(settings) as database:
        return await retention_of(settings, database, SystemClock()).purge()


async def set_pause(settings: Settings, *, paused: bool) -> datetime | None:
    """Pause the installation or end its pause; return the beginning of the pause. Raises: FlowRunnerError."""
    async with open_online(settings) as database:
        return await Pause(SqlPause(database), SystemClock()).set(None, paused=paused)


async def create_password_reset(settings: Settings, email: str) -> NewLink:
    """Make a link that sets a new password of an account. Raises: FlowRunnerError, also if there is no such account."""
    async with _password_resets(settings) as resets:
        return await resets.create_by_operator(email)


async def set_password(settings: Settings, email: str, password: str) -> None:
    """Set a new password of an account. Raises: FlowRunnerError, also if there is no such account."""
    async with _password_resets(settings) as resets:
        await resets.set_by_operator(email, password)


async def confirm_emails(settings: Settings, emails: Sequence[str]) -> None:
    """Confirm addresses of accounts; none if one of them has no account. Raises: FlowRunnerError, UnknownEmail."""
    async with open_online(settings) as database:
        accounts, found, now = SqlAccounts(database), [], SystemClock().now()
        for email in emails:
            credential = await accounts.credential(sought_email(email))
            if credential is None:
                raise UnknownEmail(email)
            found.append(credential.account)
        for account in found:
            entry = confirmation_of(account, at=now, credential="server")
            await accounts.confirm_email(account.id, account.email, at=now, audit=entry)


@contextlib.asynccontextmanager
async def _password_resets(settings: Settings) -> AsyncIterator[PasswordResets]:
    async def on_sessions_end(_: AccountId) -> None:
        """Do nothing: servers find out by themselves which sessions have ended elsewhere."""

    async with open_online(settings) as database:
        clock = SystemClock()
        mails = Mails(clock, are_possible=False)
        yield PasswordResets(
            SqlPasswordResets(database),
            Argon2Hasher(),
            mails,
            LoginMails(mails, clock),
            clock,
            # Commands send no e-mails, so no link needs the installation's own key.
            tokens=SignedMailedTokens(KeyRing(SIGNING, secrets.token_bytes(KEY_BYTES))),
            audit=SqlAudit(database),
            public_url=settings.public_url,
            on_sessions_end=on_sessions_end,
        )
