"""The first account of a new installation, created by a person who can read the server's console."""

import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Account
from flowrunner.domain.errors import Conflict, Unauthorized
from flowrunner.ports.clock import Clock
from flowrunner.services.accounts import Accounts
from flowrunner.services.random_tokens import digest_of_token

TOKEN_LIFE: Final = timedelta(hours=24)


class FirstAccount:
    """The set-up token and the account that it creates.

    Args:
        on_done: Called once the token has been used.
    """

    def __init__(self, accounts: Accounts, clock: Clock, *, on_done: Callable[[], None]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._on_done = on_done
        self._digest: str | None = None
        self._expires_at: datetime | None = None

    def issue_token(self) -> str:
        """Return a new token that creates one account within a day; an earlier token becomes invalid."""
        token = secrets.token_urlsafe(24)
        self._digest = digest_of_token(token)
        self._expires_at = self._clock.now() + TOKEN_LIFE
        return token

    async def run(self, *, token: str, name: str, email: str, password: str, address: str = "") -> Account:
        """Create the first admin. Raises: Unauthorized, Conflict, InvalidInput."""
        if await self._accounts.is_set_up():
            raise Conflict("The server has been set up already: log in instead")
        if self._digest is None or not hmac.compare_digest(self._digest, digest_of_token(token)):
            raise Unauthorized("The set-up token is wrong: the server prints it when it starts")
        if self._expires_at is None or self._clock.now() >= self._expires_at:
            raise Unauthorized("The set-up token has expired: restart the server for a new one")
        account = await self._accounts.create_first(name=name, email=email, password=password, address=address)
        self._digest = None
        self._on_done()
        return account
