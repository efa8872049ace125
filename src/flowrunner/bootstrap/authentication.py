"""The parts that log accounts in, and their assembly."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self
from urllib.parse import urlsplit

from flowrunner.bootstrap.resources import Resources
from flowrunner.domain.values import WorkspaceId
from flowrunner.security.credentials import StateTokens
from flowrunner.security.mailed_tokens import SignedMailedTokens
from flowrunner.security.openid import HttpOpenIdClient
from flowrunner.security.passkeys import Fido2Passkeys, can_have_passkeys
from flowrunner.security.totp import TotpCodes
from flowrunner.services.audit import AuditLog
from flowrunner.services.bundle import LoginServices
from flowrunner.services.command_logins import CommandLogins
from flowrunner.services.email_confirmations import EmailConfirmations
from flowrunner.services.group_roles import GroupRoles
from flowrunner.services.identities import Identities
from flowrunner.services.known_callers import KnownCallers
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.logins import Logins
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
from flowrunner.services.tokens import Tokens, TokenUses
from flowrunner.storage.identities import SqlIdentities
from flowrunner.storage.outgoing_mails import SqlOutgoingMails
from flowrunner.storage.password_resets import SqlPasswordResets
from flowrunner.storage.second_factors import SqlSecondFactors

# Requests to providers have a share of connections like those of a workspace.
_SIGN_ON: Final = WorkspaceId("sign-on")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginParts:
    """The parts that logins share with the other services of accounts."""

    audit: AuditLog
    passwords: PasswordCheck
    known_callers: KnownCallers
    mails: Mails
    mailed_tokens: SignedMailedTokens
    login_mails: LoginMails
    confirmations: EmailConfirmations

    @classmethod
    def of(cls, opened: Resources) -> Self:
        settings, stores, clock = opened.settings, opened.stores, opened.clock
        audit = AuditLog(stores.audit, clock)
        throttle = Throttle(most_of_address=settings.anonymous_logins)
        mails = Mails(clock, are_possible=settings.smtp_url is not None and settings.public_url is not None)
        tokens = SignedMailedTokens(opened.stored.signing_keys)
        return cls(
            audit=audit,
            passwords=PasswordCheck(stores.accounts, audit=audit, hasher=opened.hasher, clock=clock, throttle=throttle),
            known_callers=KnownCallers(),
            mails=mails,
            mailed_tokens=tokens,
            login_mails=LoginMails(mails, clock),
            confirmations=EmailConfirmations(stores.accounts, mails, tokens, clock),
        )


def assemble_logins(opened: Resources, uses: TokenUses, parts: LoginParts) -> LoginServices:
    settings, stored, stores, clock, hasher = opened.settings, opened.stored, opened.stores, opened.clock, opened.hasher
    origin, accounts, login_mails = settings.public_url, stores.accounts, parts.login_mails
    on_sessions_end = parts.known_callers.sessions_ended
    factors, identities = SqlSecondFactors(stored.database), SqlIdentities(stored.database)
    codes = TotpCodes("FlowRunner" if origin is None else f"FlowRunner ({urlsplit(origin).hostname})")
    passkeys = Fido2Passkeys(origin) if origin is not None and can_have_passkeys(origin) else None
    check = FactorCheck(factors, stored.vault, codes, passkeys, clock)
    sessions = Sessions(
        stores.sessions,
        stores.tokens,
        uses,
        parts.known_callers,
        password_logins=PasswordLogins(
            parts.passwords,
            accounts,
            hasher,
            challenges=LoginChallenges(factors, passkeys, clock),
            are_accepted=settings.password_login,
        ),
        audit=parts.audit,
        tokens=stored.tokens,
        clock=clock,
        token_life=timedelta(seconds=settings.token_life),
        requires_second_factor=settings.require_second_factor,
    )
    return LoginServices(
        sessions=sessions,
        known_callers=parts.known_callers,
        logins=Logins(stores.sessions, clock, on_end=on_sessions_end),
        tokens=Tokens(stores.tokens, uses, clock, on_end=on_sessions_end),
        second_factors=SecondFactors(
            factors,
            accounts,
            check,
            clock,
            vault=stored.vault,
            codes=codes,
            passkeys=passkeys,
            login_mails=login_mails,
            on_sessions_end=on_sessions_end,
        ),
        second_factor_logins=SecondFactorLogins(
            factors, accounts, sessions, check, audit=parts.audit, login_mails=login_mails, clock=clock
        ),
        sign_on=SignOn(
            settings.sign_on,
            HttpOpenIdClient(opened.sign_on_http.of(_SIGN_ON), clock),
            identities,
            GroupRoles(identities, stores.workspaces, clock, on_access_change=on_sessions_end),
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
            on_access_change=on_sessions_end,
        ),
        command_logins=CommandLogins(stores.sessions, sessions, clock),
        email_confirmations=parts.confirmations,
        outgoing_mails=OutgoingMails(
            SqlOutgoingMails(stored.database),
            opened.mailer,
            parts.mailed_tokens,
            clock,
            public_url=origin,
            draw=random.SystemRandom().random,
        ),
        password_resets=PasswordResets(
            SqlPasswordResets(stored.database),
            hasher,
            parts.mails if settings.password_login else Mails(clock, are_possible=False),
            login_mails,
            clock,
            tokens=parts.mailed_tokens,
            audit=stores.audit,
            public_url=origin,
            on_sessions_end=on_sessions_end,
        ),
    )
