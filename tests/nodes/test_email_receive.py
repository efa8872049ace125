"""`email.receive` against a real server."""

import asyncio
from email.message import EmailMessage
from typing import Any, Final

import pytest

from flowrunner.nodes.email_receive import EmailReceive
from flowrunner.plugin import NodeFailure
from support.imap import ImapServers, MailboxServer, mailbox, servers

__all__ = ["ImapServers", "mailbox", "servers"]

NODE: Final = EmailReceive()
PLAIN: Final = {"host": "imap.example.com", "username": "ada", "password": "p"}


def message(subject: str, text: str = "Hello", *, sender: str = "Ada <ada@example.com>") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, "orders@example.com", subject
    made.set_content(text)
    return made


def faults_of(**params: Any) -> list[str]:
    given = {name: value for name, value in {**PLAIN, **params}.items() if value is not None}
    return [fault.message for fault in NODE.check(given)]


async def test_a_message_has_its_headers_and_texts(mailbox: MailboxServer) -> None:
    sent = message("Größe ✓ 日本語", "Grüße\n", sender="Ada Löve <ada@example.com>")
    sent["Message-ID"], sent["Date"] = "<1@example.com>", "Tue, 01 Dec 2026 03:00:00 +0100"
    sent["Cc"], sent["In-Reply-To"] = "b@example.com, Cy <c@example.com>", "<0@example.com>"
    sent["Auto-Submitted"] = "auto-replied"
    sent.add_alternative("<p>Grüße</p>", subtype="html")
    mailbox.put(sent)

    result = await mailbox.reader().read(headers=["Auto-Submitted", "X-None"])

    (read,) = result.pop("messages")
    assert result == {"uid_validity": result["uid_validity"], "last_uid": read["uid"], "more": False}
    assert read.pop("received_at").endswith("Z")
    assert read.pop("size") > 500
    assert read.pop("uid") == result["last_uid"]
    assert "\\Seen" not in read.pop("flags")
    assert {"name": "Ada Löve", "address": "ada@example.com"} in read.pop("reply_to")
    # The server counts the line breaks before a boundary.
    read |= {"text": read["text"].rstrip(), "html": read["html"].rstrip()}
    assert read == {
        "message_id": "<1@example.com>",
        "in_reply_to": "<0@example.com>",
        "from": {"name": "Ada Löve", "address": "ada@example.com"},
        "to": [{"name": "", "address": "orders@example.com"}],
        "cc": [{"name": "", "address": "b@example.com"}, {"name": "Cy", "address": "c@example.com"}],
        "bcc": [],
        "subject": "Größe ✓ 日本語",
        "date": "2026-12-01T02:00:00Z",
        "headers": {"auto-submitted": "auto-replied"},
        "text": "Grüße",
        "html": "<p>Grüße</p>",
        "attachments": [],
        "incomplete": False,
        "error": None,
    }


async def test_reading_marks_nothing_and_a_mark_is_set_on_request(mailbox: MailboxServer) -> None:
    mailbox.put(message("One"), message("Two"))
    reader = mailbox.reader()

    read = await reader.read(with_attachments=True)
    first = read["messages"][0]["uid"]
    assert len(mailbox.unseen()) == 2
    await reader.read(uids=[first, 999], uid_validity=read["uid_validity"], with_body=False, mark_as_read=True)

    assert mailbox.unseen() == [read["last_uid"]]
    assert [one["subject"] for one in await reader.messages(unseen=True)] == ["Two"]


async def test_a_folder_is_read_on_from_where_the_last_time_ended(mailbox: MailboxServer) -> None:
    mailbox.put(*(message(f"No. {number}") for number in range(5)))
    reader, seen = mailbox.reader(), []
    reached: dict[str, Any] = {"after_uid": 0}
    more = True
    while more:
        result = await reader.read(limit=2, **reached)
        seen += [one["subject"] for one in result["messages"]]
        reached, more = {"after_uid": result["last_uid"], "uid_validity": result["uid_validity"]}, result["more"]
    nothing = await reader.read(**reached)
    mailbox.put(message("New"))
    new = await reader.read(**reached)

    assert seen == [f"No. {number}" for number in range(5)]
    assert (nothing["messages"], nothing["last_uid"]) == ([], reached["after_uid"])
    assert [one["subject"] for one in new["messages"]] == ["New"]


async def test_without_a_place_to_begin_the_newest_messages_are_read(mailbox: MailboxServer) -> None:
    mailbox.put(*(message(f"No. {number}") for number in range(5)))

    result = await mailbox.reader().read(limit=2, with_body=False)

    assert [one["subject"] for one in result["messages"]] == ["No. 3", "No. 4"]
    assert (result["more"], result["messages"][0]["text"]) == (True, None)


@pytest.mark.parametrize("place", [{}, {"after_uid": 0}])
async def test_as_many_messages_as_are_asked_for_are_all_unless_there_is_another(
    mailbox: MailboxServer, place: dict[str, int]
) -> None:
    mailbox.put(*(message(f"No. {number}") for number in range(3)))
    reader = mailbox.reader()

    read = [await reader.read(limit=limit, with_body=False, **place) for limit in (2, 3, 4)]

    assert [(len(each["messages"]), each["more"]) for each in read] == [(2, True), (3, False), (3, False)]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"subject": "größe"}, ["Größe 7"]),
        ({"subject": 'say "hi" \\o/'}, ['say "hi" \\o/']),
        ({"subject": "nothing like it"}, []),
        ({"from": "löve"}, ["Größe 7"]),
        ({"from": "ADA@EXAMPLE.COM"}, ["Größe 7", 'say "hi" \\o/']),
        ({"from": "ada", "subject": "say", "unseen": True, "since": "2026-01-31"}, ['say "hi" \\o/']),
        ({"since": "2999-12-31T23:59:59Z"}, []),
    ],
)
async def test_a_search_finds_what_it_asks_for(mailbox: MailboxServer, params: Any, found: list[str]) -> None:
    mailbox.put(message("Größe 7", sender="Löve <ada@example.com>"), message('say "hi" \\o/'))

    assert [one["subject"] for one in await mailbox.reader().messages(**params)] == found


async def test_messages_are_moved_to_a_folder_with_other_letters(mailbox: MailboxServer) -> None:
    mailbox.put(message("One"), message("Two"))
    with mailbox.client() as client:
        client.create('"Entw&APw-rfe &- M&APw-ll"')
    reader, folder = mailbox.reader(), "Entwürfe & Müll"
    read = await reader.read()
    these = {"uids": [read["last_uid"]], "uid_validity": read["uid_validity"], "move_to": folder, "with_body": False}

    moved = await reader.read(**these)
    again = await reader.read(**these)

    assert [one["subject"] for one in moved["messages"]] == ["Two"]
    assert again["messages"] == []
    assert [one["subject"] for one in await reader.messages(folder=folder)] == ["Two"]
    assert [one["subject"] for one in await reader.messages()] == ["One"]


async def test_uids_of_another_numbering_are_refused(mailbox: MailboxServer) -> None:
    mailbox.put(message("One"))
    reader = mailbox.reader()
    validity = (await reader.read())["uid_validity"]

    failed = await reader.fail(after_uid=1, uid_validity=validity - 1)

    assert (failed.type, failed.data) == ("email.uid_validity", {"uid_validity": validity})


async def test_a_folder_or_a_login_that_the_server_refuses_is_told_in_its_words(mailbox: MailboxServer) -> None:
    reader = mailbox.reader()

    folder = await reader.fail(folder="Nowhere")
    login = await reader.fail(password="wrong")

    assert (folder.type, folder.data["stage"]) == ("email.refused", "folder")  # type: ignore[call-overload,index] # a dict
    assert "refused the folder: " in folder.message
    assert (login.type, login.data["code"]) == ("email.login", "AUTHENTICATIONFAILED")  # type: ignore[call-overload,index] # a dict


async def test_several_nodes_read_a_mailbox_at_the_same_time(mailbox: MailboxServer) -> None:
    mailbox.put(message("One"))
    reader = mailbox.reader()

    read = await asyncio.gather(*(reader.messages() for _ in range(6)))

    assert [len(messages) for messages in read] == [1] * 6


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"password": None}, "give either 'password' or 'access_token'"),
        ({"access_token": "t"}, "give either 'password' or 'access_token'"),
        (
            {"after_uid": 7},
            "UIDs mean other messages once the server has numbered them again: give their 'uid_validity'",
        ),
        ({"uids": [7]}, "UIDs mean other messages once the server has numbered them again: give their 'uid_validity'"),
        ({"move_to": "Done"}, "'move_to' needs the 'uids' of messages that were read before"),
        ({"uids": [7], "uid_validity": 1, "unseen": True}, "'unseen' is not for 'uids', which name the messages"),
        ({"uids": [7], "uid_validity": 1, "from": "a"}, "'from' is not for 'uids', which name the messages"),
        ({"since": "yesterday"}, "must be a date such as 2027-01-31, or an ISO 8601 time"),
        ({"headers": ["Subject)"]}, "must be the name of a header"),
        ({"subject": "a\r\nA1 LOGOUT"}, "must be one line without control characters"),
        ({"username": "ada\x01auth=Bearer x"}, "must be one line without control characters"),
        ({"host": "imaps://imap.example.com"}, "must be the name of a server alone, such as imap.example.com"),
        ({"host": "imap.example.com:993"}, "must be the name of a server alone: write the port as 'port'"),
        (
            {"port": 993, "security": "starttls"},
            "servers expect TLS from the start at port 993: use 'tls', or another port",
        ),
        ({"port": 143, "security": "tls"}, "servers begin without TLS at port 143: use 'starttls', or another port"),
        ({"security": "none"}, "must be one of: tls, starttls"),
    ],
)
def test_parameters_that_do_not_fit_together_are_faults(params: Any, fault: str) -> None:
    assert faults_of(**params) == [fault]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject", "${a}\r\nA1 LOGOUT"),
        ("folder", "a\x00"),
        ("password", "\ud800"),
        ("access_token", "a\x01auth=Bearer b"),
        ("headers", ["${a})] \r\nA1 LOGOUT"]),
        ("since", "${a}"),
    ],
)
def test_a_value_that_an_expression_gives_is_checked_like_any_other(name: str, value: Any) -> None:
    with pytest.raises(NodeFailure) as failed:
        NODE.read({**PLAIN, name: value})

    assert failed.value.type == "input.invalid"


def test_expressions_may_stand_in_every_parameter() -> None:
    texts = ("host", "username", "password", "folder", "since", "from", "subject")

    assert NODE.check(dict.fromkeys(texts, "${\n  flow.input.a: b/c }") | {"headers": ["${config.A}"]}) == []


@pytest.mark.parametrize(
    ("word", "meant"), [("unread", "unseen"), ("mailbox", "folder"), ("sender", "from"), ("token", "access_token")]
)
def test_a_parameter_of_another_system_is_told_the_word_of_this_one(word: str, meant: str) -> None:
    (fault,) = NODE.check({**PLAIN, word: "x"})

    assert (fault.code, fault.hint) == ("unknown_key", f"did you mean '{meant}'?")


@pytest.mark.parametrize("more", [{}, {"after_uid": "${input.uid}", "uid_validity": 7}])
def test_a_mark_that_may_lose_messages_is_warned_of(more: Any) -> None:
    warned = NODE.check({**PLAIN, "unseen": True, "mark_as_read": True, **more})

    assert [(fault.code, fault.is_warning) for fault in warned] == [("email.mark", True)]


def test_a_mark_that_decides_nothing_is_not_warned_of() -> None:
    assert NODE.check({**PLAIN, "mark_as_read": True, "after_uid": "${input.uid}"}) == []
    assert NODE.check({**PLAIN, "mark_as_read": True, "uids": [1], "uid_validity": 7}) == []


@pytest.mark.parametrize(
    ("params", "may"),
    [
        ({}, True),
        ({"mark_as_read": True, "after_uid": 7}, True),
        ({"mark_as_read": True, "unseen": True}, False),
        ({"mark_as_read": True, "unseen": True, "after_uid": 7}, False),
        ({"move_to": "Done"}, False),
    ],
)
def test_only_what_a_repeat_would_not_find_again_is_not_repeated_freely(params: Any, may: bool) -> None:
    assert NODE.repeatable(params) is may
