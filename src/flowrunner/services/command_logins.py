"""Logins of the command line, which their account allows in a browser that is logged in."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Unauthorized
from flowrunner.ports.clock import Clock
from flowrunner.ports.sessions import NewSession, SessionStore
from flowrunner.services.logins import check_recent_login
from flowrunner.services.random_tokens import new_token
from flowrunner.services.rates import Allowance
from flowrunner.services.sessions import AccessToken, Sessions, login_entry

CODE_LIFE: Final = timedelta(minutes=2)
# Each writes a row that stays until it expires.
_MOST_ALLOWED: Final = 10
_GONE: Final = "The code is not valid: it works once, for two minutes, and only for the command that asked for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLoginCode:
    """The code that a browser hands to the command line. It needs the verifier of its challenge."""

    code: str
    expires_at: datetime


class CommandLogins:
    """Use cases of these logins. A code is a ticket of the browser's session, so it ends with that."""

    def __init__(self, store: SessionStore, sessions: Sessions, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._allowed: Allowance[str] = Allowance(
            _MOST_ALLOWED,
            limit="command_logins",
            message="This account allows more than {most} logins of the command line a minute: wait before another",
        )

    async def allow(self, caller: Caller, challenge: str) -> CommandLoginCode:
        """Return a code for the command that made the challenge, the SHA-256 of its verifier in hexadecimal digits.

        Raises: RecentLoginRequired; Forbidden for an API token; TooManyRequests.
        """
        now = self._clock.now()
        session = check_recent_login(caller, at=now)
        self._allowed.take(caller.account_id, at=now)
        code, expires_at = new_token(), now + CODE_LIFE
        await self._store.save_ticket(_digest(code, challenge), session, expires_at=expires_at)
        return CommandLoginCode(code=code, expires_at=expires_at)

    async def finish(self, code: str, verifier: str, *, address: str, agent: str) -> AccessToken:
        """Open a session of the account that gave the code, with what its login has shown. Raises: Unauthorized.

        It is as old as that login, so that no chain of such sessions stays a recent login for longer.
        """
        now = self._clock.now()
        challenge = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).hexdigest()

        def new(parent: Caller) -> NewSession:
            assert isinstance(parent.credential, Session), "found by a session"
            proof = parent.credential.proof
            return self._sessions.new_session(parent.account_id, parent.role, address=address, agent=agent, proof=proof)

        def audit(opened: NewSession | None) -> AuditEntry | None:
            return None if opened is None else login_entry(opened, at=now)

        opened = await self._store.open_by_ticket(_digest(code, challenge), new, now=now, audit=audit)
        if opened is None:
            raise Unauthorized(_GONE)
        return self._sessions.token_of(opened)


def _digest(code: str, challenge: str) -> str:
    """Return what is stored of a code. A ticket for a WebSocket has another kind of digest, so neither is the other."""
    text = f"{challenge}:{code}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=32, person=b"command login").hexdigest()
