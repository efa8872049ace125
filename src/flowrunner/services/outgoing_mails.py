"""Sending of e-mails about accounts, by one of all servers at a time.

An e-mail is stored in the commit of what it tells of, so it outlives a crash. After one it may be sent twice, with the
same `Message-ID`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from flowrunner.domain.callbacks import delay_after
from flowrunner.ports.clock import Clock
from flowrunner.ports.outgoing_mails import MailedTokens, Mailer, MailFailed, OutgoingMailStore, QueuedMail
from flowrunner.services.links import link_to
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions
from flowrunner.tasks import all_ended

logger = structlog.get_logger()

# How soon a new e-mail is noticed.
LOOK_SECONDS: Final = 1.0
_PORTION: Final = 20


class OutgoingMails:
    """The background job.

    Args:
        mailer: None if there is no SMTP server. What is left of a time with one expires.
        public_url: The origin in links.
    """

    def __init__(
        self,
        store: OutgoingMailStore,
        mailer: Mailer | None,
        tokens: MailedTokens,
        clock: Clock,
        *,
        public_url: str | None,
        draw: Callable[[], float],
    ) -> None:
        self._store = store
        self._mailer = mailer
        self._tokens = tokens
        self._clock = clock
        self._public_url = public_url
        self._draw = draw

    async def next_due(self) -> datetime | None:
        """Return when to look for e-mails; None if none can be sent."""
        if self._mailer is None:
            return None
        at, soon = await self._store.next_due(), self._clock.now() + timedelta(seconds=LOOK_SECONDS)
        return soon if at is None else min(at, soon)

    async def send_due(self) -> None:
        """Send all e-mails that are due, and return when none is. Raises: Unavailable."""
        if (mailer := self._mailer) is None:
            return
        while mails := await self._store.due(now=self._clock.now(), limit=_PORTION):
            # An error raises after the whole portion: what is being sent must not be sent again beside that.
            await all_ended(*(self._send(mailer, mail) for mail in mails))

    async def _send(self, mailer: Mailer, mail: QueuedMail) -> None:
        now = self._clock.now()
        text = mail.text
        if mail.page is not None:
            token = self._tokens.derived(mail.seed or "")
            if token is None:
                await self._give_up(mail, "the key of its link was replaced")
                return
            text = f"{text}\n\n{link_to(self._public_url, mail.page, self._tokens.mailed(token))}"
        if mail.expires_at <= now:
            await self._give_up(mail, "it has expired")
            return
        try:
            await mailer.send([mail.to], mail.subject, f"{text}\n", message_id=mail.id)
        except MailFailed as error:
            await self._failed(mail, str(error), now)
        else:
            await self._store.delete(mail.id)

    async def _failed(self, mail: QueuedMail, reason: str, now: datetime) -> None:
        until = now + timedelta(seconds=delay_after(mail.failures + 1, draw=self._draw()))
        # What a server rejects for good is not repeated, nor what would be too late.
        if reason == "email.invalid" or reason.startswith("email.5") or until >= mail.expires_at:
            await self._give_up(mail, reason)
            return
        logger.warning("mail.failed", mail=mail.id, reason=reason, failures=mail.failures + 1)
        await self._store.postpone(mail.id, until=until)

    async def _give_up(self, mail: QueuedMail, reason: str) -> None:
        logger.error("mail.given_up", mail=mail.id, reason=reason, failures=mail.failures)
        await self._store.delete(mail.id)

    async def purge(self) -> None:
        """Delete the e-mails that have expired, which nothing sends any more."""
        now, purged = self._clock.now(), 0

        async def purge() -> bool:
            nonlocal purged
            some = await self._store.purge(now=now, limit=PURGED_AT_ONCE)
            purged += some
            return some == PURGED_AT_ONCE

        await commit_in_portions(purge)
        if purged:
            logger.error("mail.given_up", count=purged, reason="expired unsent: is FLOWRUNNER_SMTP_URL set?")
