"""The logins of an account: where they come from, when they were last used, and their end."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.audit import AuditEntry, act_on_account, session_name
from flowrunner.domain.errors import Forbidden, NotFound, RecentLoginRequired, Unauthorized
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.ports.sessions import SessionStore, SessionView

# The oldest login that may change what the account logs in with, or its e-mail address, which may reset its password.
RECENT_LOGIN: Final = timedelta(minutes=15)
# Logins of an account among which one is looked for by its name.
_MOST_LOGINS: Final = 10_000


@dataclass(frozen=True, slots=True)
class LoginView:
    """A login of an account. Args: id: Its name for clients. is_own: The request is made with it."""

    id: str
    view: SessionView
    is_own: bool


class Logins:
    """Use cases of the logins of an account.

    Args:
        on_end: Called with the account some of whose sessions have ended.
    """

    def __init__(self, store: SessionStore, clock: Clock, *, on_end: Callable[[AccountId], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._on_end = on_end

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[LoginView], int]:
        """Return a page of the account's logins that have not ended, the newest first, and the total."""
        own = await self._store.family(session_of(caller))
        found, total = await self._store.logins(caller.account_id, now=self._clock.now(), page=page)
        return [LoginView(_login_id(view.family), view, is_own=view.family == own) for view in found], total

    async def end(self, caller: Caller, id: str) -> None:
        """End a login of the account, with all its tokens. Raises: NotFound."""
        page = Page(limit=_MOST_LOGINS, offset=0)
        found, _ = await self._store.logins(caller.account_id, now=self._clock.now(), page=page)
        family = next((view.family for view in found if _login_id(view.family) == id), None)
        if family is None:
            raise NotFound("session")
        await self._end(caller, only=family, but=None)

    async def end_others(self, caller: Caller) -> None:
        """End all logins of the account but the one that makes the request."""
        own = await self._store.family(session_of(caller))
        if own is None:
            raise Unauthorized("The session has ended: log in again")
        await self._end(caller, only=None, but=own)

    async def _end(self, caller: Caller, *, only: str | None, but: str | None) -> None:
        name = "others" if only is None else session_name(only)
        now, id = self._clock.now(), caller.account_id
        entry = act_on_account(caller, "sessions.ended", "session", name, at=now, account_id=id)

        def audit(ended: int) -> AuditEntry | None:
            return replace(entry, details={"count": ended})

        await self._store.end_logins(caller.account_id, only=only, but=but, audit=audit)
        await self._on_end(caller.account_id)


def _login_id(family: str) -> str:
    # Names a login, and cannot be used to take it over.
    return session_name(family).removeprefix("session:")


def session_of(caller: Caller) -> SessionId:
    """Return the session of the caller. Raises: Forbidden for another credential."""
    if not isinstance(caller.credential, Session):
        raise Forbidden("An API token cannot do this: log in with a password")
    return caller.credential.id


def check_recent_login(caller: Caller, *, at: datetime) -> SessionId:
    """Return the session of the caller. Raises: Forbidden for another credential; RecentLoginRequired."""
    session, credential = session_of(caller), caller.credential
    # The absolute value: clocks of several servers differ, and clocks are set back.
    if isinstance(credential, Session) and abs(at - credential.logged_in_at) > RECENT_LOGIN:
        minutes = RECENT_LOGIN // timedelta(minutes=1)
        raise RecentLoginRequired(f"This can be done for {minutes} minutes after a login: log in again")
    return session
