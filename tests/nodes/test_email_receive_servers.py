"""Mailboxes of servers that are no IMAP, or hostile, and messages that are broken."""

import asyncio
import json
import re
from base64 import b64decode, b64encode
from typing import Any, Final

import pytest

from flowrunner.domain.retry import RetryPolicy
from flowrunner.domain.values import WorkspaceId
from flowrunner.nodes import email_receive
from flowrunner.nodes.email_send import EmailSend
from flowrunner.security.egress_policy import EgressPolicy
from support.databases import MARA
from support.imap import ENVELOPE, PASSWORD, TEXT_PART, Answer, ImapServers, Reader, Talk, body, described, servers
from support.waiting import PATIENCE_SECONDS, wait_for

__all__ = ["servers"]

HEAD: Final = "UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE"
# As Dovecot 2.4 describes it: the text in an alternative, an image in the HTML, and three attachments.
STRUCTURE: Final = (
    b'((("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 9 1 NIL NIL NIL NIL)'
    b'(("text" "html" ("charset" "utf-8") NIL NIL "8bit" 37 1 NIL NIL NIL NIL)'
    b'("image" "png" NIL "<logo>" NIL "base64" 6 NIL ("attachment" ("filename" "logo.png")) NIL NIL)'
    b' "related" ("boundary" "==c") NIL NIL NIL) "alternative" ("boundary" "==b") NIL NIL NIL)'
    b'("application" "pdf" NIL NIL NIL "base64" 354 NIL ("attachment" ("filename" {16}\r\n'
    b"r\xc3\xa9sum\xc3\xa9 \xe2\x98\x83.pdf)) NIL NIL)"
    b'("text" "csv" ("charset" "utf-8") NIL NIL "8bit" 6 1 NIL ("attachment" ("filename" "../../rows.csv")) NIL NIL)'
    b'("message" "rfc822" NIL NIL NIL "8bit" 17 (NIL "Inside" NIL NIL NIL NIL NIL NIL NIL NIL) '
    b'("text" "plain" NIL NIL NIL "7bit" 3 1 NIL NIL NIL NIL) 6 NIL ("attachment" NIL) NIL NIL)'
    b' "mixed" ("boundary" "==a") NIL NIL NIL)'
)


def part(number: str) -> str:
    return f"UID FETCH 1 (BODY.PEEK[{number}]"


def text_part(charset: str, encoding: str = "8BIT", size: int = 5, kind: str = "PLAIN") -> bytes:
    return f'("TEXT" "{kind}" ("CHARSET" "{charset}") NIL NIL "{encoding}" {size} 1)'.encode()


def sends(data: bytes) -> Answer:
    """Answer with this alone, and say nothing more."""

    def answer(client: Talk) -> None:
        client.send(data.replace(b"TAG", client.tag))

    return answer


def sends_endlessly(data: bytes) -> Answer:
    def answer(client: Talk) -> None:
        # The connection is closed as soon as the client has had enough.
        while True:
            client.send(data * 1000)

    return answer


async def test_attachments_are_files_that_other_nodes_take(servers: ImapServers) -> None:
    pdf = b64encode(bytes(range(256)))
    answers: dict[str, Answer] = {
        HEAD: described(structure=STRUCTURE),
        part("1.1"): body("Grüße\r\n".encode(), section=b"1.1"),
        part("1.2.1"): body(b'<img src="cid:logo">', section=b"1.2.1"),
        part("1.2.2"): body(b"UE5H\r\n", section=b"1.2.2"),
        part("2"): body(pdf[:76] + b"\r\n" + pdf[76:] + b"\r\n", section=b"2"),
        part("3"): body("a,é\r\n".encode(), section=b"3"),
        part("4"): body(b"Subject: Inside\r\n", section=b"4"),
    }
    with servers.scripted(answers) as reader:
        (read,) = await reader.messages(with_attachments=True)
        (without,) = await reader.messages()

    files = [one["file"] for one in read["attachments"]]
    assert (read["text"], read["html"], read["incomplete"]) == ("Grüße\n", '<img src="cid:logo">', False)
    assert [(one["filename"], one["content_type"], one["size"], one["content_id"]) for one in read["attachments"]] == [
        ("logo.png", "image/png", 3, "logo"),
        ("résumé ☃.pdf", "application/pdf", 256, None),
        ("rows.csv", "text/csv", 6, None),
        ("part-4", "message/rfc822", 17, None),
    ]
    assert b64decode(files[1]["base64"]) == bytes(range(256))
    assert [one["content_type"] for one in files[2:]] == ["text/csv; charset=utf-8", "application/octet-stream"]
    assert [one["file"] for one in without["attachments"]] == [None] * 4
    email = {"host": "h", "from": "a@example.com", "to": "b@example.com", "body": "", "attachments": files}
    assert EmailSend().check(email) == []


@pytest.mark.parametrize(
    ("charset", "encoding", "data", "text"),
    [
        ("iso-2022-jp", "7BIT", "日本語".encode("iso2022_jp"), "日本語"),
        ("GB18030", "8BIT", "中文".encode("gb18030"), "中文"),
        ("gb2312", "8BIT", "镕".encode("gbk"), "镕"),
        ("shift_jis", "8BIT", "①".encode("cp932"), "①"),
        ("iso-8859-1", "8BIT", "€ 5 “x”".encode("cp1252"), "€ 5 “x”"),
        ("us-ascii", "8BIT", "Grüße".encode(), "Grüße"),
        ("us-ascii", "8BIT", "Grüße".encode("latin-1"), "Grüße"),
        ("x-klingon", "8BIT", "Grüße".encode(), "Grüße"),
        ("punycode", "8BIT", b"abc-", "abc-"),
        ("utf-8", "8BIT", b"a\xff\x00b\x1b", "a\ufffd\ufffdb\ufffd"),
        ("utf-8", "QUOTED-PRINTABLE", b"Gr=C3=BC=\r\n=C3=9Fe=", "Grüße"),
        ("utf-8", "BASE64", b"R3LDvMOf\r\nZQ", "Grüße"),
        ("utf-8", "base64", b"not base64 \xff!=", "\ufffd"),
        ("utf-8", "X-UNKNOWN", b"=?", "=?"),
        ("utf-16", "8BIT", "a".encode("utf-16"), "a"),
    ],
)
async def test_a_text_is_read_in_its_charset(
    servers: ImapServers, charset: str, encoding: str, data: bytes, text: str
) -> None:
    answers: dict[str, Answer] = {
        HEAD: described(structure=text_part(charset, encoding, len(data))),
        part("1"): body(data),
    }
    with servers.scripted(answers) as reader:
        (read,) = await reader.messages()

    assert text in read["text"]
    assert read["incomplete"] is False


@pytest.mark.parametrize(
    ("written", "subject"),
    [
        (b'"=?utf-8?Q?Gr=C3?= =?UTF-8?Q?=BC=C3=9Fe?= and =?iso-2022-jp?B?GyRCRnxLXBsoQg==?="', "Grüße and 日本"),
        (b'"=?utf-8*de?q?a_b?="', "a b"),
        (b'"=?x-klingon?b?YQ==?= =?utf-8?b?!?= =?utf-8?z?a?="', "a =?utf-8?z?a?="),
        (b"{6}\r\nGr\xfc\xdfe!", "Grüße!"),
        (b"{7}\r\nGr\xc3\xbc\xc3\x9fe", "Grüße"),
        (b"{9}\r\na\r\n b\x00\tc\r", "a b\ufffd c"),
        (b'"=?utf-8?B?YQ0KQmNjOiB4?="', "a Bcc: x"),
        (b'"say \\"hi\\" \\\\o/"', 'say "hi" \\o/'),
        (b"NIL", ""),
    ],
)
async def test_a_subject_is_one_readable_line(servers: ImapServers, written: bytes, subject: str) -> None:
    envelope = b"(NIL " + written + b" NIL NIL NIL NIL NIL NIL NIL NIL)"
    with servers.scripted({HEAD: described(envelope=envelope)}) as reader:
        (read,) = await reader.messages()

    assert read["subject"] == subject


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b'("filename*" "utf-8\'\'na%C3%AFve%20x.pdf")', "naïve x.pdf"),
        (b'("filename*1" "b.pdf" "filename*0*" "UTF-8\'en\'a%E2%82%AC")', "a€b.pdf"),
        (b'("filename" "=?utf-8?B?w6QucGRm?=")', "ä.pdf"),
        (b'("filename" "C:\\\\temp\\\\a.pdf")', "a.pdf"),
        (b'("filename" "/etc/passwd/..")', ".."),
        (b'("filename*99999999999999999999" "x")', "part-1"),
        (b'("filename*0*" "x-klingon\'\'%FF")', "ÿ"),
        (b'("filename" "")', "part-1"),
    ],
)
async def test_a_file_has_a_name_without_directories(servers: ImapServers, parameters: bytes, name: str) -> None:
    structure = b'("application" "pdf" NIL NIL NIL "base64" 4 NIL ("attachment" ' + parameters + b"))"
    with servers.scripted({HEAD: described(structure=structure)}) as reader:
        (read,) = await reader.messages()

    assert [one["filename"] for one in read["attachments"]] == [name]


@pytest.mark.parametrize(
    "inside",
    [b'(NIL "Inside" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" NIL NIL NIL "7bit" 3 1) 6 NIL', b"NIL"],
    ids=["told", "left out"],
)
async def test_an_attached_message_has_its_name_whatever_the_server_tells_of_it(
    servers: ImapServers, inside: bytes
) -> None:
    disposition = b'("attachment" ("filename" "a.eml")) NIL NIL)'
    structure = b'("message" "rfc822" NIL NIL NIL "7bit" 99 ' + inside + b" " + disposition
    with servers.scripted({HEAD: described(structure=structure)}) as reader:
        (read,) = await reader.messages()

    assert [one["filename"] for one in read["attachments"]] == ["a.eml"]


@pytest.mark.parametrize(
    "described_as",
    [
        described(structure=b"NIL"),
        described(structure=b'("TEXT" "PLAIN")'),
        described(structure=b'("TEXT" "PLAIN" NIL NIL NIL "8BIT" many 1)'),
        described(structure=b"(" * 90 + b")" * 90),
        described(structure=b"(" * 5000 + b")" * 5000),
        described(structure=b"(" + b'("a" "b" NIL NIL NIL "8bit" 1)' * 200 + b' "mixed")'),
        described(envelope=b"NIL"),
        described(envelope=b'("no" "more")'),
        described(envelope=b"(NIL NIL ((NIL NIL NIL NIL) 5 (1)) 1 2 3 4 5 6 7)", structure=b"5"),
        described(more=b' X "unended'),
        described(more=b" X {200000}\r\n" + b"x" * 200_000),
        described(envelope=b'(NIL "' + b"x" * 200_000 + b'" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        b"* 1 FETCH x" * 20_000 + b"\r\n",
    ],
)
async def test_a_message_that_cannot_be_read_keeps_no_other_from_being_read(
    servers: ImapServers, described_as: bytes
) -> None:
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1 2\r\n",
        "UID FETCH 1,2 ": described_as + described(2),
        "UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)": b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 99)\r\n",
        "UID FETCH 2 (BODY.PEEK[1]": body(b"Hello", uid=2),
    }
    with servers.scripted(answers) as reader:
        result = await reader.read()

    first, second = result["messages"]
    assert (first["uid"], first["incomplete"], first["size"] in (99, 512)) == (1, True, True)
    assert (second["uid"], second["text"], second["incomplete"]) == (2, "Hello", False)
    assert result["last_uid"] == 2


async def test_messages_that_are_deleted_meanwhile_are_passed_over(servers: ImapServers) -> None:
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1 2 3\r\n",
        "UID FETCH 1,2,3 ": b"* 2 EXPUNGE\r\n* 9 EXISTS\r\n* 5 FETCH (FLAGS (\\Seen))\r\n"
        + described(1)
        + described(3),
        "UID FETCH 3": b"",
    }
    with servers.scripted(answers) as reader:
        result = await reader.read(after_uid=0)

    assert [(one["uid"], one["text"], one["incomplete"]) for one in result["messages"]] == [
        (1, "Hello", False),
        (3, "", True),
    ]
    assert result["last_uid"] == 3


async def test_a_search_of_a_large_folder_takes_the_lowest_or_the_highest(servers: ImapServers) -> None:
    many = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(200_000, 0, -1)) + b"\r\n"
    answers: dict[str, Answer] = {"UID SEARCH": many + b"* SEARCH\r\n* SEARCH 7 7 200001\r\n"}
    with servers.scripted(answers) as reader:
        first = await reader.read(limit=2, after_uid=5, uid_validity=7)
        newest = await reader.read(limit=2)

    assert (first["messages"], first["last_uid"], first["more"]) == ([], 7, True)
    assert (newest["messages"], newest["last_uid"], newest["more"]) == ([], 200_001, True)
    fetched = [command.partition(" (")[0] for command in servers.commands if "FETCH" in command]
    # It asks once more for messages of which it is told nothing.
    assert fetched == ["UID FETCH 6,7"] * 2 + ["UID FETCH 200000,200001"] * 2


async def test_a_session_ends_with_a_logout(servers: ImapServers) -> None:
    with servers.scripted({HEAD: described()}) as reader:
        await reader.messages()
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Nobody waits for the answer, and the server may read it later.
            while servers.commands[-1] != "LOGOUT":  # noqa: ASYNC110 # a list has no events
                await asyncio.sleep(0.01)

    assert servers.commands.count("LOGOUT") == 1


async def test_a_server_that_finds_a_message_before_the_place_is_not_believed(servers: ImapServers) -> None:
    """The last message belongs to `9:*`, too."""
    with servers.scripted({"UID SEARCH": b"* SEARCH 8\r\n"}) as reader:
        result = await reader.read(after_uid=8, uid_validity=7)

    assert (result["messages"], result["last_uid"], result["more"]) == ([], 8, False)


async def test_uids_beyond_the_largest_are_not_believed(servers: ImapServers) -> None:
    largest = 2**32 - 1
    with servers.scripted({"UID SEARCH": b"* SEARCH 1 4294967296 9999999999 12345678901\r\n"}) as reader:
        found = await reader.read(with_body=False)
        asked = len(servers.commands)
        behind = await reader.read(after_uid=largest, uid_validity=7)
    with servers.scripted({"EXAMINE": b"* OK [UIDVALIDITY 4294967296] UIDs valid\r\n"}) as reader:
        failed = await reader.fail()

    assert ([one["uid"] for one in found["messages"]], found["last_uid"]) == ([1], 1)
    assert (behind["messages"], behind["last_uid"], behind["more"]) == ([], largest, False)
    assert not any("SEARCH" in command for command in servers.commands[asked:])
    assert failed.type == "email.invalid_answer"


async def test_a_date_of_an_early_year_has_four_digits_for_it(servers: ImapServers) -> None:
    envelope = described().replace(b"01 Dec 2026 03:00:00", b"01 Dec 0987 03:00:00")
    with servers.scripted({HEAD: envelope.replace(b"01-Dec-2026", b"01-Dec-0987")}) as reader:
        (read,) = await reader.messages()

    assert read["received_at"] == "0987-12-01T02:10:47Z"


async def test_base64_that_goes_on_after_its_end_is_incomplete(servers: ImapServers) -> None:
    answers: dict[str, Answer] = {
        HEAD: described(structure=text_part("utf-8", "BASE64", 20)),
        part("1"): body(b64encode(b"Hello !!") + b"\r\n" + b64encode(b"Bye") + b"\r\n"),
    }
    with servers.scripted(answers) as reader:
        (read,) = await reader.messages()

    assert (read["text"], read["incomplete"]) == ("Hello", True)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INUSE", "LIMIT"])
@pytest.mark.parametrize("command", ["AUTHENTICATE", "EXAMINE", "UID FETCH 1 (UID FLAGS"])
async def test_a_refusal_that_may_pass_is_retried_by_default(servers: ImapServers, command: str, code: str) -> None:
    with servers.scripted({command: sends(f"TAG NO [{code}] Try later\r\n".encode())}) as reader:
        failed = await reader.fail()

    assert (failed.type, failed.data["code"]) == ("email.unavailable", code)  # type: ignore[call-overload,index] # a dict
    assert RetryPolicy(max_retries=1).covers(failed.type)


async def test_a_result_ends_before_the_message_that_does_not_fit(servers: ImapServers) -> None:
    data = b64encode(b"x" * 600_000)
    structure = b'("application" "pdf" NIL NIL NIL "base64" %d NIL ("attachment" ("filename" "a.pdf")))' % len(data)
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1 2 3\r\n",
        "UID FETCH 1,2,3": b"".join(described(uid, structure=structure) for uid in (1, 2, 3)),
        **{f"UID FETCH {uid} (BODY.PEEK[1]": body(data, uid=uid) for uid in (1, 2, 3)},
    }
    with servers.scripted(answers) as reader:
        oldest = await reader.read(after_uid=0, with_attachments=True, mark_as_read=True)
        newest = await reader.read(with_attachments=True)

    assert ([one["uid"] for one in oldest["messages"]], oldest["last_uid"], oldest["more"]) == ([1], 1, True)
    assert ([one["uid"] for one in newest["messages"]], newest["last_uid"], newest["more"]) == ([3], 3, True)
    assert "UID STORE 1 +FLAGS.SILENT (\\Seen)" in servers.commands


async def test_what_is_too_large_is_left_out_and_told(servers: ImapServers) -> None:
    def asked() -> int:
        return int(re.findall(r"<0.(\d+)>", servers.commands[-1])[0])

    def lines_of_base64(size: int) -> bytes:
        # Without the ends of its lines, what was read of it would fit as a file.
        return ((b"A" * 76 + b"\r\n") * (size // 78 + 1))[:size]

    long = b'"<' * email_receive.MOST_TEXT_BYTES
    structure = (
        b"(" + text_part("utf-8", size=len(long))
        + b'("application" "zip" NIL NIL NIL "base64" 52428800 NIL ("attachment" ("filename" "a.zip")))'
        b'("application" "pdf" NIL NIL NIL "base64" 4 NIL ("attachment" ("filename" "lies.pdf"))) "mixed")'
    )  # fmt: skip
    answers: dict[str, Answer] = {
        HEAD: described(structure=structure),
        part("1"): body(long[: email_receive.MOST_TEXT_BYTES + 1]),
        # It is as large as what was asked for, so there may be more.
        part("3"): lambda client: client.send(body(lines_of_base64(asked()), section=b"3") + client.tag + b" OK\r\n"),
    }
    with servers.scripted(answers) as reader:
        (read,) = await reader.messages(with_attachments=True)

    assert len(read["text"]) == email_receive.MOST_TEXT_BYTES - 8192
    assert read["incomplete"] is True
    assert [(one["filename"], one["file"]) for one in read["attachments"]] == [("a.zip", None), ("lies.pdf", None)]
    assert not any("BODY.PEEK[2]" in command for command in servers.commands)


async def test_a_part_larger_than_it_was_asked_for_is_dropped(servers: ImapServers) -> None:
    answers: dict[str, Answer] = {part("1"): body(b"x" * (2 * email_receive.MOST_TEXT_BYTES))}
    with servers.scripted(answers) as reader:
        (read,) = await reader.messages()

    assert (read["text"], read["incomplete"]) == ("", True)


async def test_of_a_header_that_comes_twice_the_first_is_read(servers: ImapServers) -> None:
    block = b"X-Order: 7\r\nX-Order: 8\r\n\r\n"
    more = b" BODY[HEADER.FIELDS (X-Order)] {%d}\r\n%s" % (len(block), block)
    with servers.scripted({HEAD: described(more=more)}) as reader:
        (read,) = await reader.messages(headers=["X-Order"])

    assert read["headers"] == {"x-order": "7"}


NO: Final = sends(b"TAG NO cannot be read\r\n")


@pytest.mark.parametrize("refused", ["UID FETCH 2 (UID FLAGS", "UID FETCH 2 (BODY"])
async def test_a_message_that_the_server_does_not_give_has_its_words_and_stops_no_other(
    servers: ImapServers, refused: str
) -> None:
    """Its mark would say that somebody has read it."""
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1 2 3\r\n",
        "UID FETCH 1,2,3 ": NO if "FLAGS" in refused else described(1) + described(2) + described(3),
        "UID FETCH 3 (UID FLAGS": described(3),
        "UID FETCH 3 (BODY": body(b"Bye", uid=3),
        refused: NO,
    }
    with servers.scripted(answers) as reader:
        result = await reader.read(after_uid=0, mark_as_read=True)

    found = [(one["uid"], one["text"] or None, one["error"], one["incomplete"]) for one in result["messages"]]
    assert found == [(1, "Hello", None, False), (2, None, "cannot be read", True), (3, "Bye", None, False)]
    assert (result["last_uid"], result["more"]) == (3, False)
    assert [command for command in servers.commands if "STORE" in command] == ["UID STORE 1,3 +FLAGS.SILENT (\\Seen)"]


async def test_an_attachment_that_the_server_does_not_give_is_told(servers: ImapServers) -> None:
    file = b'("APPLICATION" "PDF" ("NAME" "a.pdf") NIL NIL "BASE64" 8 NIL ("ATTACHMENT" NIL))'
    answers: dict[str, Answer] = {
        HEAD: described(structure=b'(%b %b "MIXED")' % (TEXT_PART, file)),
        "UID FETCH 1 (BODY.PEEK[2]": NO,
    }
    with servers.scripted(answers) as reader:
        (message,) = await reader.messages(with_attachments=True)

    assert (message["text"], message["error"], message["incomplete"]) == ("Hello", "cannot be read", True)
    assert [one["file"] for one in message["attachments"]] == [None]


@pytest.mark.parametrize(
    ("reply", "type"),
    [
        (b"NO [INUSE] later", "email.unavailable"),
        (b"NO [NOPERM] not yours", "email.refused"),
        (b"BAD what", "email.refused"),
        (b"NO [OVERQUOTA] Account exceeded command or bandwidth limits", "email.refused"),
        (b"NO [SERVERBUG] Internal error occurred", "email.refused"),
    ],
)
@pytest.mark.parametrize("refused", ["UID FETCH 1,2 ", "UID FETCH 2 (UID FLAGS", "UID FETCH 2 (BODY"])
async def test_no_message_is_passed_over_for_what_is_not_its_fault(
    servers: ImapServers, refused: str, reply: bytes, type: str
) -> None:
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1 2\r\n",
        "UID FETCH 1,2 ": NO if "FLAGS" in refused else described(1) + described(2),
        refused: sends(b"TAG %b\r\n" % reply),
    }
    with servers.scripted(answers) as reader:
        failed = await reader.fail(after_uid=0)

    assert failed.type == type
    assert failed.data["uids"][-1] == 2  # type: ignore[call-overload,index] # a dict


@pytest.mark.parametrize("refused", ["UID FLAGS", "BODY.PEEK[1]"])
async def test_no_message_is_passed_over_if_none_of_several_is_given(servers: ImapServers, refused: str) -> None:
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1 2 3\r\n",
        "UID FETCH 1,2,3 ": NO if refused == "UID FLAGS" else b"".join(map(described, (1, 2, 3))),
        **{f"UID FETCH {uid} ({refused}": NO for uid in (1, 2, 3)},
    }
    with servers.scripted(answers) as reader:
        failed = await reader.fail(after_uid=0, mark_as_read=True)

    assert (failed.type, failed.data) == (
        "email.refused",
        {"stage": "message", "code": "NO", "reply": "cannot be read", "uids": [1, 2, 3]},
    )
    assert not any("STORE" in command for command in servers.commands)


async def test_a_word_that_is_cut_may_be_a_secret_wherever_it_stands(servers: ImapServers) -> None:
    """No secret has more than 8,192 characters."""
    long = "x" * 300
    structure = b'("TEXT" "PLAIN" ("NAME" "%b") "<%b>" NIL "8BIT" 300000 1)' % (long.encode(), long.encode())
    envelope = ENVELOPE.replace(b'"Hello"', f'"{"s" * 3000}"'.encode()).replace(b'"ada"', f'"{long}"'.encode())
    with servers.scripted({HEAD: described(envelope=envelope, structure=structure)}) as reader:
        (message,) = await reader.messages()

    assert (message["subject"], message["from"]["address"]) == ("", "")
    (file,) = message["attachments"]
    assert (file["filename"], file["content_id"]) == ("part-1", None)


async def test_a_text_that_is_cut_ends_before_a_word_that_may_be_a_secret(servers: ImapServers) -> None:
    secret = "a-very-secret-token"
    subject = "x" * 1990 + f" {secret} and more"
    header = b"x" * 8185 + f" {secret}\r\n".encode()
    structure = b'("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "8BIT" 300000 1)'
    name = "x" * 190 + f" {secret}"
    envelope = ENVELOPE.replace(b'"Hello"', f'"{subject}"'.encode()).replace(b'"Ada"', f'"{name}"'.encode())
    more = b" BODY[HEADER.FIELDS (X-Long)] {%d}\r\n%b" % (len(header) + 8, b"X-Long: " + header)
    text = b"y" * (256 * 1024 - 10) + f" {secret} and more".encode()
    answers: dict[str, Answer] = {
        HEAD: described(envelope=envelope, structure=structure, more=more),
        "UID FETCH 1 (BODY.PEEK[1]": body(text[: 256 * 1024 + 1]),
    }
    with servers.scripted(answers) as reader:
        (message,) = await reader.messages(headers=["X-Long"])

    assert (message["subject"], message["from"]["name"]) == ("x" * 1990, "x" * 190)
    assert (message["text"], message["incomplete"]) == ("y" * (256 * 1024 - 10), True)
    assert secret[:4] not in json.dumps(message)


INVALID: Final = "email.invalid_answer"


@pytest.mark.parametrize(
    ("answers", "type"),
    [
        ({"CAPABILITY": sends(b"HTTP/1.1 400 Bad Request\r\n")}, INVALID),
        ({"CAPABILITY": sends(b"A9 OK done\r\n")}, INVALID),
        ({"CAPABILITY": sends(b"TAG MAYBE\r\n")}, INVALID),
        ({"CAPABILITY": sends(b"\r\n")}, INVALID),
        ({"CAPABILITY": sends(b"TAG BAD what\r\n")}, "email.login"),
        ({"CAPABILITY": sends(b"* BYE too many connections\r\n")}, "connection.lost"),
        ({"CAPABILITY": sends_endlessly(b"* OK still here\r\n")}, INVALID),
        ({"EXAMINE": sends_endlessly(b"x" * 1000)}, INVALID),
        ({"EXAMINE": sends_endlessly(b"* 1 FETCH (X {1000}\r\n" + b"x" * 1000)}, INVALID),
        ({HEAD: sends_endlessly(described())}, INVALID),
        ({HEAD: sends_endlessly(b"* 1 FETCH (X {1000}\r\n" + b"x" * 1000 + b")\r\n")}, INVALID),
        ({"EXAMINE": sends_endlessly(b"{0}\r\n")}, INVALID),
        ({"EXAMINE": sends(b"* 1 FETCH (X {4294967296}\r\n")}, INVALID),
        ({"EXAMINE": sends(b"* 1 FETCH (X {99999999999999}\r\n")}, "timeout"),
        ({"EXAMINE": b"* 1 EXISTS\r\n"}, "email.unsupported"),
        ({"EXAMINE": sends(b"TAG NO [UNAVAILABLE] later\r\n")}, "email.unavailable"),
        ({"UID SEARCH": sends(b"TAG NO [BADCHARSET (US-ASCII)] no\r\n")}, "email.refused"),
        ({"UID SEARCH": b"* SEARCH " + b"1234567890 " * 400_000 + b"\r\n"}, "email.too_large"),
        ({"UID SEARCH": sends(b"")}, "timeout"),
        ({"AUTHENTICATE": sends_endlessly(b"+ \r\n")}, INVALID),
    ],
)
async def test_what_is_not_imap_is_told_in_bounded_time_and_memory(
    servers: ImapServers, answers: dict[str, Answer], type: str
) -> None:
    with servers.scripted(answers) as reader:
        reader.context.timeout_seconds = 1.0 if type == "timeout" else PATIENCE_SECONDS
        failed = await reader.fail()

    assert failed.type == type


@pytest.mark.parametrize(
    ("greeting", "type"),
    [
        (b"220 mail.example.com ESMTP\r\n", INVALID),
        (b"* BYE closed\r\n", "connection.lost"),
        (b"* PREAUTH welcome\r\n", "email.login"),
        (b"* NO\r\n", INVALID),
        (b"", "timeout"),
        (b"* OK " + b"x" * 100_000 + b"\r\n", INVALID),
    ],
)
async def test_a_greeting_of_another_kind_is_told(servers: ImapServers, greeting: bytes, type: str) -> None:
    with servers.scripted(greeting=greeting) as reader:
        reader.context.timeout_seconds = 1.0 if type == "timeout" else PATIENCE_SECONDS
        failed = await reader.fail()

    assert failed.type == type


async def test_s35_closed_addresses_are_not_connected_to(servers: ImapServers) -> None:
    with servers.scripted() as reader:
        failed = await Reader(reader.given["port"], EgressPolicy()).fail()

    assert failed.type == "egress.forbidden"
    assert servers.commands == []


def starttls(*, inserted: bytes = b"") -> Answer:
    def answer(client: Talk) -> None:
        client.send(client.tag + b" OK begin\r\n" + inserted)
        client.encrypt()

    return answer


def silent(client: Talk) -> None:
    client.send(client.tag + b" OK begin\r\n")
    while client.connection.recv(1024):
        pass


async def test_the_login_comes_after_the_encryption(servers: ImapServers) -> None:
    with servers.scripted({"STARTTLS": starttls()}, starttls=True) as reader:
        read = await reader.messages()

    assert len(read) == 1
    begun = ["CAPABILITY", "STARTTLS", "CAPABILITY", "AUTHENTICATE PLAIN", f"\0ada\0{PASSWORD}"]
    assert servers.commands[:5] == begun


@pytest.mark.parametrize(
    ("answers", "greeting", "type"),
    [
        ({"STARTTLS": starttls(inserted=b"* PREAUTH\r\n")}, b"* OK\r\n", INVALID),
        ({"STARTTLS": sends(b"TAG OK\r\nA3 OK\r\n")}, b"* OK\r\n", INVALID),
        ({}, b"* PREAUTH welcome\r\n", "email.login"),
        ({"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"}, b"* OK\r\n", "connection.tls"),
        ({"STARTTLS": sends(b"TAG NO not now\r\n")}, b"* OK\r\n", "email.refused"),
        ({"STARTTLS": silent}, b"* OK\r\n", "timeout"),
    ],
)
async def test_no_password_is_sent_without_encryption(
    servers: ImapServers, answers: dict[str, Answer], greeting: bytes, type: str
) -> None:
    with servers.scripted(answers, greeting=greeting, starttls=True) as reader:
        reader.context.timeout_seconds = 1.0 if type == "timeout" else PATIENCE_SECONDS
        failed = await reader.fail()

    assert failed.type == type
    assert not any("AUTH" in command or "LOGIN" in command for command in servers.commands)


async def test_a_server_with_an_unknown_certificate_gets_no_password(
    servers: ImapServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with servers.scripted() as reader:
        failed = await reader.fail()

    assert failed.type == "connection.tls"
    assert "No trusted TLS connection" in failed.message
    assert servers.commands == []


def offers(*words: str) -> dict[str, Answer]:
    return {"CAPABILITY": f"* CAPABILITY IMAP4rev1 {' '.join(words)}\r\n".encode()}


@pytest.mark.parametrize(
    ("offered", "params", "said"),
    [
        (offers("AUTH=PLAIN"), {"password": "pä"}, ["AUTHENTICATE PLAIN", "\0ada\0pä"]),
        (offers(), {"password": 'a"b\\'}, ['LOGIN "ada" "a\\"b\\\\"']),
        (offers(), {"password": "pä"}, ['LOGIN "ada" <pä>']),
        (
            offers("AUTH=XOAUTH2", "AUTH=PLAIN"),
            {"access_token": "tok"},
            ["AUTHENTICATE XOAUTH2", "user=ada\x01auth=Bearer tok\x01\x01"],
        ),
        (
            offers("AUTH=OAUTHBEARER"),
            {"access_token": "tok", "username": "a,b=c"},
            ["AUTHENTICATE OAUTHBEARER", "n,a=a=2Cb=3Dc,\x01auth=Bearer tok\x01\x01"],
        ),
    ],
)
async def test_a_login_takes_the_way_that_the_server_offers(
    servers: ImapServers, offered: dict[str, Answer], params: Any, said: list[str]
) -> None:
    with servers.scripted(offered) as reader:
        await reader.read(**{"password": None, **params})

    assert servers.commands[1 : 1 + len(said)] == said


@pytest.mark.parametrize(
    ("offered", "params"),
    [
        (offers("LOGINDISABLED"), {}),
        (offers("AUTH=PLAIN"), {"password": None, "access_token": "tok"}),
    ],
)
async def test_a_server_without_a_login_that_fits_gets_none(
    servers: ImapServers, offered: dict[str, Answer], params: Any
) -> None:
    with servers.scripted(offered) as reader:
        failed = await reader.fail(**params)

    assert failed.type == "email.login"
    assert servers.commands == ["CAPABILITY"]


@pytest.mark.parametrize("code", ["", "[AUTHENTICATIONFAILED] "])
async def test_a_reply_is_never_cut_within_the_password_that_it_has(servers: ImapServers, code: str) -> None:
    reply = f"{code}{'x' * (995 - len(code))}{PASSWORD}"
    with servers.scripted({"AUTHENTICATE": sends(f"TAG NO {reply}\r\n".encode())}) as reader:
        failed = await reader.fail()

    assert failed.message.endswith(f" refused the login: a reply of {len(reply)} characters")
    assert failed.data == {
        "stage": "login", "code": code.strip("[] ") or "NO", "reply": f"a reply of {len(reply)} characters"
    }  # fmt: skip


@pytest.mark.parametrize(("mechanism", "answered"), [("XOAUTH2", b""), ("OAUTHBEARER", b"AQ==")])
async def test_a_refused_token_is_told_in_the_words_of_the_server(
    servers: ImapServers, mechanism: str, answered: bytes
) -> None:
    heard: list[bytes] = []

    def refuse(client: Talk) -> None:
        client.ask()
        client.send(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        heard.append(client.line())
        client.send(client.tag + b" NO [AUTHENTICATIONFAILED] Invalid credentials\r\n")

    with servers.scripted({**offers(f"AUTH={mechanism}"), "AUTHENTICATE": refuse}) as reader:
        failed = await reader.fail(password=None, access_token="tok")

    assert (failed.type, failed.data["code"]) == ("email.login", "AUTHENTICATIONFAILED")  # type: ignore[call-overload,index] # a dict
    assert heard == [answered]


async def test_values_of_a_search_begin_no_command(servers: ImapServers) -> None:
    with servers.scripted() as reader:
        await reader.read(**{"from": 'ä") (', "subject": '") DELETED ("', "folder": 'a" "b'})

    assert 'EXAMINE "a\\" \\"b"' in servers.commands
    assert 'UID SEARCH CHARSET UTF-8 UID 1:* FROM <ä") (> SUBJECT "\\") DELETED (\\""' in servers.commands


async def test_a_server_that_cannot_move_is_told_before_anything_is_marked(servers: ImapServers) -> None:
    with servers.scripted(offers("AUTH=PLAIN")) as reader:
        failed = await reader.fail(uids=[1], uid_validity=7, move_to="Done", with_body=False)

    assert failed.type == "email.unsupported"
    assert not any("STORE" in command for command in servers.commands)


async def test_a_step_that_ends_gives_its_connection_and_its_slot_back(servers: ImapServers) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(client: Talk) -> None:
        loop.call_soon_threadsafe(asked.set)
        client.line()

    with servers.scripted({"UID SEARCH": wait}) as reader:
        reading = asyncio.create_task(reader.read())
        await asked.wait()
        assert reader.clients.slots.held(WorkspaceId(MARA)) == 1
        reading.cancel()
        await asyncio.wait([reading])
        await asyncio.to_thread(wait_for, lambda: not reader.clients.slots.held(WorkspaceId(MARA)))

    assert reading.cancelled()
    assert not any("STORE" in command for command in servers.commands)


@pytest.mark.parametrize(
    ("since", "asked"),
    [
        ("2027-03-01", "SINCE 1-Mar-2027"),
        ("2027-03-01T03:00:00Z", "SINCE 28-Feb-2027"),
        ("2027-03-01T23:30:00-05:00", "SINCE 1-Mar-2027"),
    ],
)
async def test_a_search_since_a_time_begins_early_enough_for_the_zone_of_any_server(
    servers: ImapServers, since: str, asked: str
) -> None:
    with servers.scripted() as reader:
        await reader.read(since=since)

    assert f"UID SEARCH UID 1:* {asked}" in servers.commands


async def test_a_server_may_write_the_names_of_items_in_small_letters(servers: ImapServers) -> None:
    names = (b"FETCH", b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODYSTRUCTURE")
    in_small = described()
    for name in names:
        in_small = in_small.replace(name, name.lower())
    assert in_small != described()

    with servers.scripted({}) as reader:
        usual = await reader.messages()
    with servers.scripted({"UID FETCH 1 (UID FLAGS": in_small}) as reader:
        assert await reader.messages() == usual != []
