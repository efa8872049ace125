"""Logins that a second factor finishes."""

from dataclasses import replace

from flowrunner.domain.errors import NotFound, Unauthorized
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.second_factors import SecondFactorStore
from flowrunner.services.audit import AuditLog
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.services.second_step import FactorCheck, SecondFactorAnswer
from flowrunner.services.sessions import AccessToken, Sessions, login_entry


class SecondFactorLogins:
    def __init__(
        self,
        store: SecondFactorStore,
        accounts: AccountStore,
        sessions: Sessions,
        check: FactorCheck,
        *,
        audit: AuditLog,
        login_mails: LoginMails,
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._sessions = sessions
        self._check = check
        self._audit = audit
        self._login_mails = login_mails
        self._clock = clock

    async def log_in(self, challenge: str, answer: SecondFactorAnswer, *, address: str, agent: str) -> AccessToken:
        """Finish a login. Raises: Unauthorized, TooManyRequests, InvalidInput."""
        account_id = await self._check.count(challenge, answer)
        try:
            use = await self._check.run(account_id, challenge, answer)
            account = await self._accounts.get(account_id)
            session = self._sessions.new_session(
                account.id, account.role, address=address, agent=agent, proof="second_factor"
            )
            now = self._clock.now()
            changes = [] if use.recovery_digest is None else ["A recovery code of your account was used for a login."]
            with self._login_mails.about(account_id, *changes) as mails:
                entry = replace(login_entry(session, at=now), mails=mails)
                await self._store.accept(digest_of_token(challenge), account_id, use, session, at=now, audit=entry)
        except Unauthorized:
            self._audit.login_failed(account_id, address=address)
            raise
        except NotFound:
            raise Unauthorized("The account was changed in the meantime: log in again") from None
        return self._sessions.token_of(session)
