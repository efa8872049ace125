"""E-mails that tell the owner of an account that its logins have changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import AccountId
from flowrunner.ports.clock import Clock
from flowrunner.services.mails import Mails
from flowrunner.services.rates import SlidingWindow

logger = structlog.get_logger()

# E-mails to an account in an hour; each is the effect of a recent login or of an admin.
MOST_MAILS: Final = 30


class LoginMails:
    """The maker of these e-mails, where the installation sends any. The audit log has all changes anyway."""

    def __init__(self, mails: Mails, clock: Clock) -> None:
        self._mails = mails
        self._clock = clock
        self._sent: SlidingWindow[AccountId] = SlidingWindow(
            MOST_MAILS, limit="login_mails", message="", length=timedelta(hours=1)
        )

    @contextmanager
    def about(self, account_id: AccountId, *changes: str, to: str | None = None) -> Iterator[tuple[OutgoingMail, ...]]:
        """Give an e-mail about each change for its audit entry, as far as any can be sent; the change is made within.

        A rejected change raises, and its e-mail does not count: it must not use up that about one which a thief makes.

        Args:
            changes: Sentences in the past tense, with nothing that somebody else has chosen.
            to: The address; None for the one that the account has, if that is confirmed.
        """
        mails = tuple(mail for change in changes for mail in self._made(account_id, change, to))
        yield mails
        for mail in mails:
            self._sent.add(account_id, at=mail.created_at)

    def _made(self, account_id: AccountId, change: str, to: str | None) -> tuple[OutgoingMail, ...]:
        if not self._mails.are_possible:
            return ()
        now = self._clock.now()
        try:
            self._sent.check(account_id, at=now)
        except TooManyRequests:
            logger.warning("login_mail.dropped", account_id=account_id)
            return ()
        text = (
            f"{change} It was on {now:%Y-%m-%d} at {now:%H:%M} UTC.\n\nIf it was not you: set a new password, look at "
            "the second factors, linked accounts, logins and API tokens of your account, and tell an admin."
        )
        return self._mails.make(account_id, "Your account on FlowRunner was changed", text, to=to)
