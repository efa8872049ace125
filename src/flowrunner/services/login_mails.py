"""E-mails that tell the owner of an account that its logins have changed."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.domain.errors import FlowRunnerError, TooManyRequests
from flowrunner.domain.values import AccountId
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.clock import Clock
from flowrunner.services.ids import new_id
from flowrunner.services.mails import Mails
from flowrunner.services.rates import SlidingWindow

logger = structlog.get_logger()

# E-mails to an account in an hour; each is the effect of a recent login or of an admin.
MOST_MAILS: Final = 30
# E-mails that are not sent yet; further ones are dropped.
_MOST_PENDING: Final = 100


class LoginMails:
    """The sender of these e-mails, where the installation can send any. The audit log has all changes besides."""

    def __init__(self, mails: Mails, accounts: AccountStore, clock: Clock) -> None:
        self._mails = mails
        self._accounts = accounts
        self._clock = clock
        self._pending: set[asyncio.Task[None]] = set()
        self._sent: SlidingWindow[AccountId] = SlidingWindow(
            MOST_MAILS, limit="login_mails", message="", length=timedelta(hours=1)
        )

    def tell(self, account_id: AccountId, change: str, *, to: str | None = None) -> None:
        """Send an e-mail, after the request that has caused it.

        Args:
            change: A sentence in the past tense, with nothing that somebody else has chosen.
            to: The address; None for the one that the account has.
        """
        now = self._clock.now()
        if not self._mails.are_possible or len(self._pending) >= _MOST_PENDING:
            return
        try:
            self._sent.check(account_id, at=now)
        except TooManyRequests:
            logger.warning("login_mail.dropped", account_id=account_id)
            return
        self._sent.add(account_id, at=now)
        text = (
            f"{change} It was on {now:%Y-%m-%d} at {now:%H:%M} UTC.\n\nIf it was not you: set a new password, look "
            "at the second factors, linked accounts, logins and API tokens of your account, and tell an admin."
        )
        task = asyncio.create_task(self._send(account_id, to, text))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def settle(self) -> None:
        """Wait until all e-mails so far are sent."""
        await asyncio.gather(*self._pending)

    async def _send(self, account_id: AccountId, to: str | None, text: str) -> None:
        try:
            address = (await self._accounts.get(account_id)).email if to is None else to
        except FlowRunnerError as error:
            logger.warning("login_mail.failed", reason=type(error).__name__)
            return
        id = new_id("mail", self._clock.now())
        await self._mails.send(address, "Your account on FlowRunner was changed", text, message_id=id)
