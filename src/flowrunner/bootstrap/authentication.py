"""The parts that log accounts in, and their assembly."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from flowrunner.bootstrap.resources import Resources
from flowrunner.domain.values import WorkspaceId
from flowrunner.security.credentials import StateTokens
from flowrunner.security.mailed_tokens import SignedMailedTokens
from flowrunner.security.openid import HttpOpenIdClient
from flowrunner.security.passkeys import Fido2Passkeys, can_have_passkeys
from flowrunner.security.totp import TotpCodes
from flowrunner.services.audit import AuditLog
from flowrunner.services.command_logins import CommandLogins
from flowrunner.services.email_confirmations import EmailConfirmations
from flowrunner.services.group_roles import GroupRoles
from flowrunner.services.identities import Identities
from flowrunner.services.known_callers import KnownCallers
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.mails import Mails
from flowrunner.services.outgoing_mails import OutgoingMails
from flowrunner.services.password_check import PasswordCheck
from flowrunner.services.password_logins import PasswordLogins
from flowrunner.services.password_resets import PasswordResets
from flowrunner.services.second_factor_logins import SecondFactorLogins
from flowrunner.services.second_factors import SecondFactors
from flowrunner.services.second_step import FactorCheck, LoginChallenges
from flowrunner.services.sessions import Sessions
from flowrunner.services.sign_on import SignOn
from flowrunner.services.throttle import Throttle
from flowrunner.services.tokens import TokenUses
from flowrunner.storage.identities import SqlIdentities
from flowrunner.storage.outgoing_mails import SqlOutgoingMails
from flowrunner.storage.password_resets import SqlPasswordResets
from flowrunner.storage.second_factors import SqlSecondFactors

# Requests to providers have a share of connections like those of a workspace.
_SIGN_ON: Final = WorkspaceId("sign-on")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginServices:
    passwords: PasswordCheck
    sessions: Sessions
    known_callers: KnownCallers
    second_factors: SecondFactors
    second_factor_logins: SecondFactorLogins
    sign_on: SignOn
    identities: Identities
    command_logins: CommandLogins
    mails: Mails
    mailed_tokens: SignedMailedTokens
    confirmations: EmailConfirmations
    outgoing_mails: OutgoingMails
    login_mails: LoginMails
    password_resets: PasswordResets


def assemble_logins(opened: Resources, uses: TokenUses, audit: AuditLog) -> LoginServices:
    settings, stored, stores, clock, hasher = opened.settings, opened.stored, opened.stores, opened.clock, opened.hasher
    origin, accounts = settings.public_url, stores.accounts
    mails = Mails(clock, are_possible=settings.smtp_url is not None and origin is not None)
    login_mails, mailed_tokens = LoginMails(mails, clock), SignedMailedTokens(stored.signing_keys)
    factors, identities = SqlSecondFactors(stored.database), SqlIdentities(stored.database)
    codes = TotpCodes("FlowRunner" if origin is None else f"FlowRunner ({urlsplit(origin).hostname})")
    passkeys = Fido2Passkeys(origin) if origin is not None and can_have_passkeys(origin) else None
    passwords = PasswordCheck(
        accounts,
        audit=audit,
        hasher=hasher,
        clock=clock,
        throttle=Throttle(most_of_address=settings.anonymous_logins),
    )
    known = KnownCallers()
    sessions = Sessions(
        stores.sessions,
        stores.tokens,
        uses,
        known,
        password_logins=PasswordLogins(
            passwords,
            accounts,
            hasher,
            challenges=LoginChallenges(factors, passkeys, clock),
            are_accepted=settings.password_login,
        ),
        audit=audit,
        tokens=stored.tokens,
        clock=clock,
        token_life=timedelta(seconds=settings.token_life),
        requires_second_factor=settings.require_second_factor,
    )
    check = FactorCheck(factors, stored.vault, codes, passkeys, clock)
    return LoginServices(
        passwords=passwords,
        sessions=sessions,
        known_callers=known,
        second_factors=SecondFactors(
            factors,
            accounts,
            check,
            clock,
            vault=stored.vault,
            codes=codes,
            passkeys=passkeys,
            login_mails=login_mails,
            on_sessions_end=known.sessions_ended,
        ),
        second_factor_logins=SecondFactorLogins(
            factors, accounts, sessions, check, audit=audit, login_mails=login_mails, clock=clock
        ),
        sign_on=SignOn(
            settings.sign_on,
            HttpOpenIdClient(opened.sign_on_http.of(_SIGN_ON), clock),
            identities,
            GroupRoles(identities, stores.workspaces, clock, on_access_change=known.sessions_ended),
            sessions,
            session_store=stores.sessions,
            accounts=accounts,
            states=StateTokens(stored.signing_keys),
            login_mails=login_mails,
            clock=clock,
            public_url=origin,
            most_of_address=settings.anonymous_logins,
        ),
        identities=Identities(
            identities,
            login_mails,
            clock,
            issuers={provider.issuer for provider in settings.sign_on},
            accepts_passwords=settings.password_login,
            on_access_change=known.sessions_ended,
        ),
        command_logins=CommandLogins(stores.sessions, sessions, clock),
        mails=mails,
        mailed_tokens=mailed_tokens,
        confirmations=EmailConfirmations(accounts, mails, mailed_tokens, clock),
        outgoing_mails=OutgoingMails(
            SqlOutgoingMails(stored.database),
            opened.mailer,
            mailed_tokens,
            clock,
            public_url=origin,
            draw=random.SystemRandom().random,
        ),
        login_mails=login_mails,
        password_resets=PasswordResets(
            SqlPasswordResets(stored.database),
            hasher,
            mails if settings.password_login else Mails(clock, are_possible=False),
            login_mails,
            clock,
            tokens=mailed_tokens,
            audit=stores.audit,
            public_url=origin,
            on_sessions_end=known.sessions_ended,
        ),
    )
