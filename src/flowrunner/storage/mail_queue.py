"""The queue of e-mails, to which a commit adds its own."""

from typing import Final

import structlog

from flowrunner.domain.mails import OutgoingMail
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Transaction

logger = structlog.get_logger()

# Limits of unsent e-mails, of one account and of all. Those with a link, such as invitations, are counted apart: they
# must not displace the e-mails about the account's own logins, which have none.
MOST_OF_ACCOUNT: Final = 100
MOST: Final = 5_000

QUEUE: Final = """
INSERT INTO outgoing_mails (id, account_id, recipient, subject, text, page, seed, created_at, expires_at, failures,
                            next_at)
SELECT :id, a.id, coalesce(CAST(:to AS text), a.email), :subject, :text, :page, :seed, :at, :expires_at, 0, :at
  FROM accounts a
 WHERE a.id = :account_id AND a.deleted_at IS NULL
   AND (CAST(:to AS text) IS NOT NULL OR a.email_confirmed_at IS NOT NULL)
   AND (SELECT count(*) FROM outgoing_mails
         WHERE account_id = :account_id AND (page IS NULL) = (CAST(:page AS text) IS NULL)) < :most_of_account
   AND (SELECT count(*) FROM outgoing_mails WHERE (page IS NULL) = (CAST(:page AS text) IS NULL)) < :most
"""


async def queue_mail(tx: Transaction, mail: OutgoingMail) -> None:
    """Add an e-mail in the open transaction, or drop it if too many are unsent: the change must not fail for that."""
    values = {
        "id": mail.id,
        "account_id": mail.account_id,
        "to": mail.to,
        "subject": mail.subject,
        "text": mail.text,
        "page": mail.page,
        "seed": mail.seed,
        "at": to_ms(mail.created_at),
        "expires_at": to_ms(mail.expires_at),
        "most_of_account": MOST_OF_ACCOUNT,
        "most": MOST,
    }
    if await tx.run(QUEUE, values) == 0:
        logger.warning("mail.dropped", mail=mail.id, account_id=mail.account_id, reason="too many are unsent")
