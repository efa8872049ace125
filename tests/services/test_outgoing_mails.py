"""E-mails that are stored with their cause, and what becomes of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.values import AccountId
from flowrunner.mail import SmtpMailer
from flowrunner.ports.outgoing_mails import MailFailed
from flowrunner.security.keys import SIGNING, KeyRing
from flowrunner.security.mailed_tokens import SignedMailedTokens
from flowrunner.services.login_mails import MOST_MAILS, LoginMails
from flowrunner.services.mails import Mails
from flowrunner.services.outgoing_mails import OutgoingMails
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.mail_queue import MOST_OF_ACCOUNT
from flowrunner.storage.outgoing_mails import SqlOutgoingMails
from support.databases import MARA_ACCOUNT, NOON, OMAR_ACCOUNT
from support.dependencies import SteppingClock
from support.mailbox import Mailbox, open_mailbox, text_of
from support.networks import unused_port

from .account_services import AccountServices


class Office:
    """An installation with one account, its mailbox, and the sender between them."""

    def __init__(self, services: AccountServices, mailbox: Mailbox, port: int) -> None:
        self.services, self.mailbox = services, mailbox
        self.database, self.clock = services.engine.database, services.clock
        self.keys = KeyRing(SIGNING, b"k" * 32)
        self.tokens = SignedMailedTokens(self.keys)
        self.mails = Mails(self.clock, are_possible=True)
        self.account_id = AccountId("")
        self.sender = self.sender_to(port)

    def sender_to(self, port: int) -> OutgoingMails:
        mailer = SmtpMailer.of(f"smtp://127.0.0.1:{port}?from=f@example.com")
        return OutgoingMails(
            SqlOutgoingMails(self.database), mailer, self.tokens, self.clock, public_url="https://x.example",
            draw=lambda: 0.5,
        )  # fmt: skip

    async def cause(self, to: str | None = "kim@example.com", **fields: Any) -> None:
        """Commit an audit entry with an e-mail."""
        mails = self.mails.make(self.account_id, "Subject", "Text", to=to, **fields)
        entry = AuditEntry(at=self.clock.now(), action="login", object=("account", self.account_id), mails=mails)
        await SqlAudit(self.database).add(entry)

    async def unsent(self) -> list[Any]:
        query = "SELECT recipient, failures, next_at - created_at FROM outgoing_mails"
        return list(await self.database.read(lambda tx: tx.rows(query)))


@pytest.fixture
async def office(services: AccountServices) -> AsyncIterator[Office]:
    with open_mailbox() as (mailbox, port):
        opened = Office(services, mailbox, port)
        opened.account_id = (await services.add("lena")).account_id
        yield opened


async def test_an_e_mail_to_an_account_goes_to_its_address_and_is_gone_once_sent(office: Office) -> None:
    await office.cause(None)

    await office.sender.send_due()
    await office.sender.send_due()

    (message,) = office.mailbox.to("lena@example.com")
    assert text_of(message) == "Text\n"
    assert await office.unsent() == []


async def test_an_e_mail_has_no_letters_that_a_server_without_8bitmime_cannot_take() -> None:
    with open_mailbox() as (mailbox, port):
        mailer = SmtpMailer.of(f"smtp://127.0.0.1:{port}?from=f@example.com")
        await mailer.send(["kim@example.com"], "Größe", "Flow „Größe“ failed\n", message_id="m")

    ((envelope, message),) = mailbox.arrived
    assert isinstance(envelope.content, bytes)
    assert envelope.content.isascii()
    assert text_of(message) == "Flow „Größe“ failed\n"


async def test_a_change_that_fails_adds_no_e_mail(office: Office) -> None:
    async def fail(tx: Any) -> None:
        raise LookupError

    mails = office.mails.make(office.account_id, "Subject", "Text")
    entry = AuditEntry(at=office.clock.now(), action="login", object=("account", "a"), mails=mails)
    with pytest.raises(LookupError):
        await office.database.write(fail, audit=entry)

    assert await office.unsent() == []


async def test_a_token_is_derived_again_from_what_is_stored_and_a_key(office: Office) -> None:
    token, seed = office.tokens.new()
    await office.cause(page="/page", seed=seed)

    await office.sender.send_due()

    link = text_of(office.mailbox.to("kim@example.com")[0]).split()[-1]
    assert link.startswith(f"https://x.example/page#{token}.")
    assert office.tokens.read(link.partition("#")[2]) == (token, True)
    assert SignedMailedTokens(KeyRing(SIGNING, b"x" * 32)).derived(seed) is None
    assert not set(seed.split(".")) & set(token.split("."))


async def test_a_server_that_is_away_is_asked_again_ever_more_seldom(office: Office) -> None:
    away = office.sender_to(unused_port())
    await office.cause()

    waits = []
    for _ in range(4):
        await away.send_due()
        ((_, failures, wait),) = await office.unsent()
        waits.append((failures, wait))
        due = await SqlOutgoingMails(office.database).next_due()
        assert due is not None
        office.clock.advance(seconds=(due - office.clock.now()).total_seconds())

    assert [failures for failures, _ in waits] == [1, 2, 3, 4]
    assert [round((later - earlier) / 1000) for (_, earlier), (_, later) in pairwise(waits)] == [2, 4, 8]
    await office.sender.send_due()
    assert len(office.mailbox.to("kim@example.com")) == 1


async def test_an_e_mail_that_is_being_sent_while_the_database_fails_for_another_is_sent_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, failed_for = list[str](), list[str]()
    delete = SqlOutgoingMails.delete

    class Mailer:
        async def send(self, to: Sequence[str], subject: str, text: str, *, message_id: str) -> Mapping[str, int]:
            sent.extend(to)
            if to == ["slow@example.com"]:
                await asyncio.sleep(0.05)
            return {}

    async def delete_later(store: SqlOutgoingMails, id: str) -> None:
        if not failed_for:
            failed_for.append(id)
            raise Unavailable("the database is away")
        await delete(store, id)

    monkeypatch.setattr(SqlOutgoingMails, "delete", delete_later)
    monkeypatch.setattr(office.sender, "_mailer", Mailer())
    for to in ("quick@example.com", "slow@example.com"):
        await office.cause(to)

    with pytest.raises(Unavailable):
        await office.sender.send_due()
    await office.sender.send_due()

    assert sorted(sent) == ["quick@example.com", "quick@example.com", "slow@example.com"]
    assert await office.unsent() == []


async def test_an_e_mail_is_given_up_when_it_has_expired_or_its_key_is_gone_or_it_cannot_be_written(
    office: Office,
) -> None:
    _, seed = office.tokens.new()
    new = office.keys.learn(b"n" * 32)
    office.keys.use(new)
    office.keys.forget(seed.partition(".")[0])
    await office.cause(page="/page", seed=seed)
    await office.cause("a\r\nBcc: b@example.com")
    await office.cause(life=timedelta(0))

    await office.sender.send_due()

    assert await office.unsent() == []
    assert office.mailbox.arrived == []


async def test_an_e_mail_to_a_mailbox_that_does_not_exist_is_given_up_and_one_that_is_put_off_is_not(
    office: Office,
) -> None:
    office.mailbox.rejections = 1
    await office.cause("nobody@example.com")
    await office.cause("later@example.com")

    await office.sender.send_due()

    assert [(recipient, failures) for recipient, failures, _ in await office.unsent()] == [("later@example.com", 1)]


async def test_what_no_server_sends_any_more_is_purged(office: Office) -> None:
    await office.cause(life=timedelta(seconds=0))
    await office.cause(life=timedelta(hours=1))

    await office.sender.purge()

    assert len(await office.unsent()) == 1


async def test_unsent_e_mails_of_an_account_are_bounded_and_the_change_is_made_all_the_same(office: Office) -> None:
    with capture_logs() as lines:
        for _ in range(MOST_OF_ACCOUNT + 3):
            await office.cause()

    assert len(await office.unsent()) == MOST_OF_ACCOUNT
    assert [line["event"] for line in lines] == ["mail.dropped"] * 3
    # One with a link, such as an invitation, takes no place of the others, and finds one where they take all.
    await office.cause(page="/page", seed=office.tokens.new()[1])
    assert len(await office.unsent()) == MOST_OF_ACCOUNT + 1
    entries = await office.database.read(lambda tx: tx.rows("SELECT 1 FROM audit WHERE action = 'login'"))
    assert len(entries) >= MOST_OF_ACCOUNT + 3


@pytest.mark.parametrize(
    ("refused", "error"),
    [(("nobody", "busy"), "email.450"), (("busy", "nobody"), "email.450"), (("nobody", "nobody"), "email.550")],
)
async def test_an_email_that_one_recipient_could_get_later_is_tried_again(refused: Sequence[str], error: str) -> None:
    to = [f"{name}@{number}.example.com" for number, name in enumerate(refused)]
    with open_mailbox() as (mailbox, port):
        mailer = SmtpMailer.of(f"smtp://127.0.0.1:{port}?from=f@example.com")
        with pytest.raises(MailFailed, match=f"^{error}$"):
            await mailer.send(to, "Subject", "Text", message_id="m-1")
        await mailer.send([*to, "kim@example.com"], "Subject", "Text", message_id="m-2")

    assert [envelope.rcpt_tos for envelope, _ in mailbox.arrived] == [["kim@example.com"]]


def test_an_account_gets_a_bounded_number_of_emails_about_its_changes_an_hour() -> None:
    clock = SteppingClock(NOON)
    mails = LoginMails(Mails(clock, are_possible=True), clock)

    def made(account: AccountId) -> int:
        with mails.about(account, "A second factor was removed.") as found:
            return len(found)

    assert [made(MARA_ACCOUNT) for _ in range(MOST_MAILS + 2)] == [1] * MOST_MAILS + [0, 0]
    assert made(OMAR_ACCOUNT) == 1
    clock.advance(hours=1)
    assert made(MARA_ACCOUNT) == 1


def test_rejected_changes_use_up_no_emails_about_those_that_are_made() -> None:
    clock = SteppingClock(NOON)
    mails = LoginMails(Mails(clock, are_possible=True), clock)

    for _ in range(MOST_MAILS + 1):
        with pytest.raises(Conflict), mails.about(MARA_ACCOUNT, "A second factor was removed."):
            raise Conflict("rejected")

    with mails.about(MARA_ACCOUNT, "A second factor was removed.", to="old@example.com") as found:
        (mail,) = found
    assert (mail.account_id, mail.to) == (MARA_ACCOUNT, "old@example.com")
    assert mail.text.startswith(f"A second factor was removed. It was on {NOON:%Y-%m-%d} at 12:00 UTC.")
