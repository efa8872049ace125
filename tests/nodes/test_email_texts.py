"""Texts in the answers of mailbox servers: charsets, headers, and names of files."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from flowrunner.imap.messages import MOST_ADDRESSES, MOST_PARTS, message_of
from flowrunner.imap.texts import base64_bytes, decoded, has_more_base64, header_text, parameter, readable
from flowrunner.imap.values import folder_name, quoted, values_of
from flowrunner.plugin import ImapAddress


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (b"\xc3\xbc", None, "ü"), (b"\xc3\xbc", "us-ascii", "ü"), (b"\xc3\xbc", "iso-8859-1", "ü"),
        (b"\xc3\xbc", "of my own", "ü"), (b"\xc3\xbc", "windows-1252", "Ã¼"),
        # What is no UTF-8 is Western European, with the letters that Windows adds.
        (b"\xfc\x80", None, "ü€"), (b"\xfc\x80", "us-ascii", "ü€"), (b"\xfc\x80", "iso-8859-1", "ü€"),
        (b"\xfc", "of my own", "ü"), (b"\x80", "iso-8859-9", "€"), (b"\xff", "utf-8", "\ufffd"),
        (b"\xa1\xe6", "gb2312", "℃"), (b"\x87\x40", "shift_jis", "①"), (b"", "utf-16", ""),
    ],
)  # fmt: skip
def test_a_text_is_decoded_as_senders_mean_it(data: bytes, charset: str | None, text: str) -> None:
    assert decoded(data, charset) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"), (b"two\r\n lines\r\n\tmore", "two lines more"), (b"=?utf-8?q?a_b=3Dc?=", "a b=c"),
        (b"=?UTF-8?B?w7w=?= and =?utf-8?b?w6Q=?=", "ü and ä"),
        # Blanks between two words are none; a letter may be in both.
        (b"=?utf-8?b?ww==?= =?utf-8?b?vA==?=", "ü"), (b"=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "aü"),
        (b"x =?utf-8?q?a?= y =?utf-8?q?b?= z", "x a y b z"), (b"=?utf-8*en?q?a?=", "a"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"a\x00b\x7f", "a\ufffdb\ufffd"), (b"=?utf-8?q?a=0D=0Ab?=", "a b"),
    ],
)  # fmt: skip
def test_a_header_is_one_line_with_its_words_decoded(data: bytes, text: str) -> None:
    assert header_text(data) == text


@pytest.mark.parametrize(
    ("data", "bytes_", "has_more"),
    [
        (b"YWJj", b"abc", False), (b"YWI=", b"ab", False), (b"YWI", b"ab", False), (b"Y W\r\nI", b"ab", False),
        (b"YWJjZ", b"abc", False), (b"YWI=YWI=", b"ab", True), (b"", b"", False),
    ],
)  # fmt: skip
def test_base64_is_read_as_far_as_it_is_some(data: bytes, bytes_: bytes, has_more: bool) -> None:
    assert (base64_bytes(data), has_more_base64(data)) == (bytes_, has_more)


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ({"name": b"a.txt"}, "a.txt"), ({"name": b"=?utf-8?q?=C3=BC?="}, "ü"), ({}, ""), ({"other": b"x"}, ""),
        ({"name*": b"utf-8'en'%C3%BC%20b"}, "ü b"), ({"name*": b"iso-8859-1''%FC"}, "ü"),
        ({"name*1": b"b", "name*0": b"a", "name*10": b"d", "name*2": b"c"}, "abcd"),
        ({"name*0*": b"utf-8''%C3", "name*1*": b"%BC", "name*2": b"%41"}, "ü%41"),
        ({"name*": b"no charset"}, "no charset"), ({"name*": b"a%0D%0Ab"}, "a b"),
    ],
)  # fmt: skip
def test_a_parameter_may_be_in_parts(parameters: Mapping[str, bytes], value: str) -> None:
    assert parameter(parameters, "name") == value


def test_a_text_of_several_lines_keeps_them_and_no_control_characters() -> None:
    assert readable("\ufeffa\r\nb\rc\td\x00\x0b") == "a\nb\nc\td\ufffd\ufffd"


@pytest.mark.parametrize(
    ("name", "sent"), [("INBOX", "INBOX"), ("A & B", "A &- B"), ("Entwürfe", "Entw&APw-rfe"), ("台北", "&U,BTFw-")]
)
def test_the_name_of_a_folder_is_in_modified_utf_7(name: str, sent: str) -> None:
    assert folder_name(name) == sent


def test_values_of_a_response_are_texts_lists_and_nothing() -> None:
    assert quoted('a"b\\') == b'"a\\"b\\\\"'
    parts = [b'FETCH (UID 7 ENVELOPE ("a\\"b" NIL (x)) BODY[TEXT] ', b"lite)ral", b" FLAGS ())"]
    assert values_of(parts) == [
        b"FETCH",
        [b"UID", b"7", b"ENVELOPE", [b'a"b', None, [b"x"]], b"BODY[TEXT]", b"lite)ral", b"FLAGS", []],
    ]


PERSON: Final = [b"=?utf-8?q?J=C3=B6?=", None, b"jo", b"example.com"]
TEXT: Final[list[Any]] = [b"TEXT", b"Plain", [b"CHARSET", b"utf-8"], None, None, b"7BIT", b"12", b"3"]
FILE: Final[list[Any]] = [
    b"application", b"pdf", [b"name", b"old.pdf"], b"<c1>", None, b"base64", b"99", None,
    [b"ATTACHMENT", [b"filename", b"new.pdf"]],
]  # fmt: skip


def envelope(**told: Any) -> list[Any]:
    names = ("date", "subject", "from", "sender", "reply", "to", "cc", "bcc", "in_reply_to", "id")
    return [told.get(name) for name in names]


def test_a_message_has_what_the_server_tells_of_it() -> None:
    told = envelope(
        date=b"Fri, 1 Jan 2027 13:00:00 +0100", subject=b"S", to=[PERSON], cc=[PERSON] * 2, id=b"<i>",
        in_reply_to=b"<r>", reply=[[b"R", None, b"r", b"example.com"]],
        # Of the two, the one who has sent it is not the one that it is from.
        sender=[[b"X", None, b"x", b"example.com"]], **{"from": [[b"F", None, b"f", b"example.com"]]},
    )  # fmt: skip
    values: dict[bytes, Any] = {
        b"ENVELOPE": told, b"INTERNALDATE": b" 1-Jan-2027 12:30:00 +0000", b"RFC822.SIZE": b"1234",
        b"FLAGS": [b"\\Seen", b"x"],
        b"BODY[HEADER.FIELDS (X-A X-B)]": b"X-A: one\r\n two\r\nx-a: again\r\nX-C: no\r\n\r\n",
        b"BODYSTRUCTURE": [TEXT, [TEXT, FILE, b"mixed"], b"alternative"],
    }  # fmt: skip

    message = message_of(7, values, ["X-A", "x-b"])

    assert (message.uid, message.message_id, message.in_reply_to, message.subject) == (7, "<i>", "<r>", "S")
    assert message.date == datetime(2027, 1, 1, 12, tzinfo=UTC)
    assert message.received_at == datetime(2027, 1, 1, 12, 30, tzinfo=UTC)
    assert message.senders == [ImapAddress(name="F", address="f@example.com")]
    assert message.reply_to == [ImapAddress(name="R", address="r@example.com")]
    assert message.to == [ImapAddress(name="Jö", address="jo@example.com")]
    assert (len(message.cc), message.bcc, message.size, message.flags) == (2, [], 1234, ["\\Seen", "x"])
    assert message.headers == {"x-a": "one two"}
    assert [(part.number, part.content_type, part.size) for part in message.parts] == [
        ("1", "text/plain", 12), ("2.1", "text/plain", 12), ("2.2", "application/pdf", 99),
    ]  # fmt: skip
    assert message.parts[0].charset == "utf-8"
    attached = message.parts[2]
    assert (attached.filename, attached.is_attachment, attached.content_id, attached.encoding) == (
        "new.pdf", True, "c1", "base64",
    )  # fmt: skip
    assert message.is_complete


@pytest.mark.parametrize(
    ("told", "is_complete"),
    [
        ({}, True), ({b"ENVELOPE": None}, False), ({b"ENVELOPE": envelope()[:9]}, False),
        ({b"ENVELOPE": envelope(to=[PERSON] * MOST_ADDRESSES)}, True),
        ({b"ENVELOPE": envelope(to=[PERSON] * (MOST_ADDRESSES + 1))}, False),
        ({b"BODYSTRUCTURE": [TEXT] * MOST_PARTS}, True), ({b"BODYSTRUCTURE": [TEXT] * (MOST_PARTS + 1)}, False),
        ({b"BODYSTRUCTURE": None}, False), ({b"BODYSTRUCTURE": TEXT[:6]}, False),
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_told_whole_says_so(told: dict[bytes, Any], is_complete: bool) -> None:
    message = message_of(1, {b"ENVELOPE": envelope(), b"BODYSTRUCTURE": TEXT, **told}, ())

    assert message.is_complete is is_complete
    assert len(message.to) <= MOST_ADDRESSES
    assert len(message.parts) <= MOST_PARTS
