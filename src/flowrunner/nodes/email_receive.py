"""Node type `email.receive`: read messages of a mailbox."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from flowrunner.domain.cut_texts import without_last_word
from flowrunner.domain.values import memory_of
from flowrunner.nodes.checks import check_server_name, checked
from flowrunner.plugin import (
    JSON,
    LONG_BODY_BYTES,
    ImapAddress,
    ImapMessage,
    ImapPart,
    ImapSearch,
    ImapServer,
    ImapSession,
    NodeFailure,
    NodeType,
    ParamFault,
    Params,
    StepContext,
)

MOST_MESSAGES: Final = 100
MOST_HEADERS: Final = 20
# Of the messages of a result as JSON, in which a node may have 2 MiB, and of a text in it.
MOST_RESULT_BYTES: Final = 1536 * 1024
MOST_TEXT_BYTES: Final = 256 * 1024
# Texts of one kind that are parts of one message.
_MOST_TEXTS: Final = 10
_LARGEST_UID: Final = 2**32 - 1
_PORTS: Final = {"tls": 993, "starttls": 143}
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,76}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_BASE64_OF_LINES: Final = 57 / 78
# Words of other systems.
_HINTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("unread", "unread_only", "only_unread"), "did you mean 'unseen'?"),
    **dict.fromkeys(("mailbox", "label"), "did you mean 'folder'?"),
    **dict.fromkeys(("attachments", "download_attachments"), "did you mean 'with_attachments'?"),
    **dict.fromkeys(("mark_seen", "mark_read"), "did you mean 'mark_as_read'?"),
    **dict.fromkeys(("token", "oauth_token"), "did you mean 'access_token'?"),
    "sender": "did you mean 'from'?",
}


def _one_line(text: str | None) -> str | None:
    if text is None:
        return None
    if any(ord(character) < 32 or character == "\x7f" for character in text):
        raise ValueError("must be one line without control characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text") from None
    return text


def _check_header_name(name: str) -> None:
    # Anything else would be a part of the command.
    if not _HEADER.fullmatch(name):
        raise ValueError("must be the name of a header")


def _day_of(text: str) -> date:
    """Return the day of a date, or one that is early enough for a moment. Raises: ValueError."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
        # A server counts days in a time zone of its own, in which it may still be the day before.
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC) - timedelta(days=1)).date()
    except (ValueError, OverflowError):
        raise ValueError("must be a date such as 2027-01-31, or an ISO 8601 time") from None


Uid: TypeAlias = Annotated[int, Field(ge=1, le=_LARGEST_UID)]
HeaderName: TypeAlias = Annotated[str, Field(min_length=1, max_length=76), checked(_check_header_name)]


class EmailReceiveParams(Params):
    host: Annotated[str, checked(partial(check_server_name, example="imap.example.com"))] = Field(
        min_length=1, max_length=253, description="The IMAP server.", examples=["imap.example.com"]
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="993 if absent, 143 with starttls.")
    security: Literal["tls", "starttls"] | None = Field(
        default=None, description="tls if absent, or starttls at port 143."
    )
    username: str = Field(min_length=1, max_length=1000)
    password: str | None = Field(default=None, max_length=10_000)
    access_token: str | None = Field(
        default=None, max_length=16_384, description="A token of OAuth 2, which Gmail and Microsoft 365 ask for."
    )
    folder: str = Field(default="INBOX", min_length=1, max_length=1000)
    limit: int = Field(default=10, ge=1, le=MOST_MESSAGES, description="The most messages to read.")
    after_uid: int | None = Field(
        default=None,
        ge=0,
        le=_LARGEST_UID,
        description="`last_uid` of the last time: the next messages are read, and not the newest. 0 for the first.",
    )
    uid_validity: int | None = Field(
        default=None, ge=1, le=_LARGEST_UID, description="The `uid_validity` that came with the UIDs."
    )
    uids: Annotated[list[Uid], Field(max_length=MOST_MESSAGES)] | None = Field(
        default=None, description="Read, mark or move exactly these messages, instead of looking for some."
    )
    unseen: bool = Field(default=False, description="Only messages that are not marked as read.")
    since: Annotated[str, checked(_day_of)] | None = Field(
        default=None, description="Only messages of this day or later: 2027-01-31."
    )
    sender: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        max_length=1000,
        description="Only messages with this text in the sender.",
    )
    subject: str | None = Field(
        default=None, min_length=1, max_length=1000, description="Only messages with this text in the subject."
    )
    headers: list[HeaderName] = Field(
        default=[], max_length=MOST_HEADERS, description="Names of further headers to read."
    )
    with_body: bool = Field(default=True, description="Read the texts; without, only what the headers say.")
    with_attachments: bool = Field(default=False, description="Read the contents of attachments, too.")
    mark_as_read: bool = Field(default=False, description="Mark the messages that were read.")
    move_to: str | None = Field(
        default=None, min_length=1, max_length=1000, description="With `uids`: the folder to move the messages to."
    )

    @field_validator("username", "password", "access_token", "folder", "sender", "subject", "move_to")
    @classmethod
    def _text(cls, value: str | None) -> str | None:
        return _one_line(value)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.password is None) == (self.access_token is None):
            raise ValueError("give either 'password' or 'access_token'")
        if self.security == "starttls" and self.port == _PORTS["tls"]:
            raise ValueError("servers expect TLS from the start at port 993: use 'tls', or another port")
        if self.security == "tls" and self.port == _PORTS["starttls"]:
            raise ValueError("servers begin without TLS at port 143: use 'starttls', or another port")
        if (self.after_uid or self.uids) and self.uid_validity is None:
            raise ValueError(
                "UIDs mean other messages once the server has numbered them again: give their 'uid_validity'"
            )
        if self.uids is None:
            if self.move_to is not None:
                raise ValueError("'move_to' needs the 'uids' of messages that were read before")
        elif searched := [name for field, name in _SEARCHED.items() if getattr(self, field)]:
            raise ValueError(f"'{searched[0]}' is not for 'uids', which name the messages")
        return self

    def server(self) -> ImapServer:
        security = self.security or ("starttls" if self.port == _PORTS["starttls"] else "tls")
        return ImapServer(
            host=self.host,
            port=self.port or _PORTS[security],
            security=security,
            username=self.username,
            password=self.password,
            access_token=self.access_token,
        )


_SEARCHED: Final = {
    "after_uid": "after_uid", "unseen": "unseen", "since": "since", "sender": "from", "subject": "subject"
}  # fmt: skip


class EmailReceive(NodeType[EmailReceiveParams]):
    """Reads messages of a mailbox by IMAP."""

    type = "email.receive"
    examples = (
        "type: email.receive\nparams:\n  host: imap.example.com\n  username: orders@example.com\n"
        "  password: ${secrets.IMAP_PASSWORD}\n  limit: 20\n",
        "type: email.receive\nparams:\n  host: imap.example.com\n  username: orders@example.com\n"
        "  password: ${secrets.IMAP_PASSWORD}\n  after_uid: ${input.last_uid}\n  uid_validity: ${input.uid_validity}\n"
        "  with_attachments: true\n",
        "type: email.receive\nparams:\n  host: imap.example.com\n  username: orders@example.com\n"
        "  password: ${secrets.IMAP_PASSWORD}\n  uids: [7]\n  uid_validity: ${input.uid_validity}\n"
        "  with_body: false\n  mark_as_read: true\n  move_to: Archive\n",
    )
    Params = EmailReceiveParams
    errors: ClassVar[tuple[str, ...]] = ("email", "connection", "timeout", "egress")
    timeout_seconds = 60.0
    result_keys = ("messages", "uid_validity", "last_uid", "more")

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        # Messages that were marked or moved are found by UIDs, but no longer as unseen ones, or in the folder.
        return params.get("move_to") is None and not _loses(params)

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        faults = [
            replace(fault, hint=_HINTS.get(str(fault.keys[-1]), fault.hint)) if fault.code == "unknown_key" else fault
            for fault in super().check(params)
        ]
        if _loses(params):
            faults.append(_warning("email.mark", "mark_as_read"))
        return faults

    async def run(self, params: EmailReceiveParams, context: StepContext) -> JSON:
        seconds = context.timeout_seconds or self.timeout_seconds
        result, size = await context.imap.run(params.server(), partial(_read, params), seconds=seconds)
        if size > LONG_BODY_BYTES:
            await context.hold_long_value(memory_of(result))
        facts = {"messages": len(result["messages"]), "last_uid": result["last_uid"], "more": result["more"]}
        context.log("info", "E-mails read", facts)
        return result


def _warning(code: str, parameter: str) -> ParamFault:
    message = "messages that are marked are not found again if a crash loses the result before it is recorded"
    hint = "leave 'unseen' out and read on from 'after_uid', or mark in a later node, by 'uids'"
    return ParamFault(keys=(parameter,), code=code, message=message, hint=hint, is_warning=True)


def _loses(params: Mapping[str, JSON]) -> bool:
    return bool(params.get("mark_as_read") and params.get("unseen"))


def _read(params: EmailReceiveParams, session: ImapSession) -> tuple[dict[str, Any], int]:
    """Return the result, and its bytes as JSON. Runs on the thread of the session."""
    validity = session.open(params.folder, to_change=params.mark_as_read or params.move_to is not None)
    if params.uid_validity not in (None, validity):
        text = f"The server has numbered the messages of {params.folder} again, so that the UIDs mean others"
        raise NodeFailure("email.uid_validity", text, data={"uid_validity": validity})
    is_newest = params.uids is None and params.after_uid is None
    if params.uids is None:
        uids, more = session.search(_search_of(params), most=params.limit, newest=is_newest)
    else:
        uids, more = sorted(set(params.uids)), False
    found = list(session.messages(uids, headers=params.headers))
    if is_newest:
        found.reverse()
    messages: list[JSON] = []
    size = 0
    for message in found:
        read = _message(message, params, session)
        length = _json_bytes(read)
        # The first one fits by the bounds of its parts, so that each result gets further.
        if messages and size + length > MOST_RESULT_BYTES:
            more = True
            break
        messages.append(read)
        size += length
    done = [message.uid for message in found[: len(messages)]]
    session.check_given(done)
    is_all = len(done) == len(found)
    # Somebody has to look at the others.
    given = [uid for uid in done if uid not in session.refusals]
    # Of messages that another client has deleted meanwhile, too, so that the next search begins behind them.
    reached = uids if is_all or is_newest else done
    if is_newest:
        messages.reverse()
    if params.mark_as_read:
        session.mark_as_read(given)
    if params.move_to is not None:
        session.move(given, params.move_to)
    last_uid = max(reached, default=params.after_uid or 0)
    return {"messages": messages, "uid_validity": validity, "last_uid": last_uid, "more": more}, size


def _search_of(params: EmailReceiveParams) -> ImapSearch:
    return ImapSearch(
        after_uid=params.after_uid or 0,
        unseen=params.unseen,
        since=None if params.since is None else _day_of(params.since),
        sender=params.sender,
        subject=params.subject,
    )


def _message(message: ImapMessage, params: EmailReceiveParams, session: ImapSession) -> dict[str, JSON]:
    """Return a message as the value of a flow."""
    texts = [part for part in message.parts if _is_text(part)]
    others = [part for part in message.parts if not _is_text(part)]
    text, has_text = _text(message, [part for part in texts if part.content_type == "text/plain"], params, session)
    html, has_html = _text(message, [part for part in texts if part.content_type == "text/html"], params, session)
    value: dict[str, JSON] = {
        "uid": message.uid,
        "message_id": message.message_id,
        "in_reply_to": message.in_reply_to,
        "from": next(iter(_addresses(message.senders)), None),
        "reply_to": _addresses(message.reply_to),
        "to": _addresses(message.to),
        "cc": _addresses(message.cc),
        "bcc": _addresses(message.bcc),
        "subject": message.subject,
        "date": _moment(message.date),
        "received_at": _moment(message.received_at),
        "flags": list(message.flags),
        "size": message.size,
        "headers": dict(message.headers),
        "text": text,
        "html": html,
        "incomplete": not (message.is_complete and has_text and has_html),
    }
    room = MOST_RESULT_BYTES - _json_bytes(value)
    attachments: list[JSON] = []
    for part in others:
        attachment = _attachment(part)
        if params.with_attachments and (file := _file(message, part, session, room)) is not None:
            attachment |= {"size": len(file["base64"]) * 3 // 4 - file["base64"][-2:].count("="), "file": file}
            room -= _json_bytes(file)
        attachments.append(attachment)
    error = session.refusals.get(message.uid)
    is_incomplete = value["incomplete"] or error is not None
    return {**value, "incomplete": is_incomplete, "attachments": attachments, "error": error}


def _is_text(part: ImapPart) -> bool:
    return part.content_type in ("text/plain", "text/html") and not part.is_attachment and part.filename is None


def _text(
    message: ImapMessage, parts: Sequence[ImapPart], params: EmailReceiveParams, session: ImapSession
) -> tuple[str | None, bool]:
    """Return the texts of the parts as one, or None if there are none, and whether that is all."""
    if not params.with_body or not parts:
        return None, True
    read, is_whole = "", len(parts) <= _MOST_TEXTS
    for index, part in enumerate(parts[:_MOST_TEXTS]):
        text, is_all = session.text(message.uid, part, most=MOST_TEXT_BYTES)
        is_whole = is_whole and is_all
        read += f"\n{text}" if index else text
    data = read.encode()
    if len(data) > MOST_TEXT_BYTES:
        return without_last_word(data[:MOST_TEXT_BYTES].decode("utf-8", "ignore")), False
    return read, is_whole


def _attachment(part: ImapPart) -> dict[str, Any]:
    is_base64 = part.encoding == "base64"
    return {
        "filename": part.filename or f"part-{part.number}",
        "content_type": part.content_type,
        "size": round(part.size * _BASE64_OF_LINES) if is_base64 else part.size,
        "content_id": part.content_id,
        "file": None,
    }


def _file(message: ImapMessage, part: ImapPart, session: ImapSession, room: int) -> dict[str, str] | None:
    """Return an attachment as a file, as parameters take it; None if it has more than ``room`` bytes as JSON."""
    most = room if part.encoding == "base64" else room * 3 // 4
    if part.size > most:
        return None
    content, is_whole = session.content(message.uid, part, most=most)
    kind = part.content_type
    # The parts of another message are no type of a file, and are refused as one.
    if kind.startswith(("message/", "multipart/")):
        kind = "application/octet-stream"
    elif kind.startswith("text/") and part.charset is not None and _HEADER.fullmatch(part.charset):
        kind = f"{kind}; charset={part.charset}"
    file = {
        "filename": part.filename or f"part-{part.number}",
        "content_type": kind,
        "base64": base64.b64encode(content).decode(),
    }
    return file if is_whole and _json_bytes(file) <= room else None


def _addresses(addresses: Sequence[ImapAddress]) -> list[JSON]:
    return [{"name": one.name, "address": one.address} for one in addresses]


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime(f"{moment.year:04}-%m-%dT%H:%M:%SZ")


def _json_bytes(value: JSON) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
