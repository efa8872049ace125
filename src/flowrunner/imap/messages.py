"""What IMAP servers tell of messages: their envelopes, and the structure of their parts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from flowrunner.bounded_socket import InvalidAnswer
from flowrunner.domain.cut_texts import beginning
from flowrunner.imap.texts import header_text, parameter
from flowrunner.imap.values import Value
from flowrunner.plugin import ImapAddress, ImapMessage, ImapPart

MOST_ADDRESSES: Final = 100
MOST_PARTS: Final = 100
_MOST_LEVELS: Final = 50
# Characters of what is shown: of a subject, a header or a name of a file, and of the name of an address.
_MOST_CHARACTERS: Final = 2000
_MOST_NAME_CHARACTERS: Final = 200
_MOST_FILENAME_CHARACTERS: Final = 255
_MOST_FLAGS: Final = 50
_MOST_FLAG_CHARACTERS: Final = 100
_MOST_DIGITS: Final = 16
_ENVELOPE_ITEMS: Final = 10
_DAY: Final = re.compile(r"\s*(\d{1,2})-(\w{3})-")
# RFC 6838, 4.2.
_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*")


def message_of(uid: int, values: Mapping[bytes, Value], headers: Sequence[str]) -> ImapMessage:
    """Return what a response tells of a message, as far as it can be read, by the names of its items.

    Args:
        headers: Names of the headers that it was asked for.
    """
    envelope = values.get(b"ENVELOPE")
    is_complete = isinstance(envelope, list) and len(envelope) >= _ENVELOPE_ITEMS
    told: list[Value] = envelope if isinstance(envelope, list) and is_complete else [None] * _ENVELOPE_ITEMS
    lists = [_addresses(told[index]) for index in (2, 4, 5, 6, 7)]
    is_complete = is_complete and all(len(addresses) <= MOST_ADDRESSES for addresses in lists)
    parts: list[ImapPart] = []
    try:
        for part in _parts(values.get(b"BODYSTRUCTURE"), "", 0):
            if len(parts) == MOST_PARTS:
                raise InvalidAnswer
            parts.append(part)
    except InvalidAnswer:
        is_complete = False
    senders, reply_to, to, cc, bcc = (addresses[:MOST_ADDRESSES] for addresses in lists)
    size = values.get(b"RFC822.SIZE")
    return ImapMessage(
        uid=uid,
        message_id=_shown(told[9]) or None,
        in_reply_to=_shown(told[8]) or None,
        subject=_shown(told[1]),
        date=_moment(_shown(told[0])),
        received_at=_moment(_shown(values.get(b"INTERNALDATE"))),
        senders=senders, reply_to=reply_to, to=to, cc=cc, bcc=bcc,
        flags=_flags(values.get(b"FLAGS")),
        size=_number(size) or 0,
        headers=_headers(values, headers),
        parts=parts,
        is_complete=is_complete,
    )  # fmt: skip


def _flags(value: Value) -> list[str]:
    flags = value[:_MOST_FLAGS] if isinstance(value, list) else []
    return [shown for flag in flags if (shown := beginning(_shown(flag), _MOST_FLAG_CHARACTERS))]


def _number(value: Value) -> int | None:
    is_number = isinstance(value, bytes) and value.isdigit() and len(value) < _MOST_DIGITS
    return int(value) if isinstance(value, bytes) and is_number else None


def _shown(value: Value) -> str:
    return beginning(header_text(value), _MOST_CHARACTERS).strip() if isinstance(value, bytes) else ""


def _addresses(value: Value) -> list[ImapAddress]:
    found: list[ImapAddress] = []
    for one in value if isinstance(value, list) else ():
        # A group has a mark at its begin, which has a name and no host, and one at its end.
        if isinstance(one, list) and len(one) == 4 and isinstance(one[2], bytes) and isinstance(one[3], bytes):
            address = f"{_shown(one[2])}@{_shown(one[3])}"
            found.append(
                ImapAddress(
                    name=beginning(_shown(one[0]), _MOST_NAME_CHARACTERS),
                    address=beginning(address, _MOST_NAME_CHARACTERS),
                )
            )
            if len(found) > MOST_ADDRESSES:
                break
    return found


def _moment(text: str) -> datetime | None:
    """Return a date of an e-mail or of a server in UTC; None for one that cannot be read."""
    try:
        found = parsedate_to_datetime(_DAY.sub(r"\1 \2 ", text[:200]))
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _headers(values: Mapping[bytes, Value], names: Sequence[str]) -> Mapping[str, str]:
    """Return the first value of each header that a message has, by its name in lower case."""
    found: dict[str, str] = {}
    block = next((value for key, value in values.items() if key.startswith(b"BODY[HEADER.FIELDS")), None)
    wanted = {name.lower() for name in names}
    if not wanted or not isinstance(block, bytes):
        return found
    for line in re.split(rb"\r?\n(?![ \t])", block):
        name, colon, value = line.partition(b":")
        key = name.strip().decode("ascii", "replace").lower()
        if colon and key in wanted and key not in found:
            found[key] = _shown(value)
    return found


def _parts(body: Value, number_before: str, level: int) -> Iterator[ImapPart]:
    """Yield the parts of a structure that have no parts themselves. Raises: InvalidAnswer."""
    if not isinstance(body, list) or not body or level > _MOST_LEVELS:
        raise InvalidAnswer
    if not isinstance(body[0], list):
        yield _part(body, number_before or "1")
        return
    for index, inner in enumerate(body):
        if not isinstance(inner, list):
            break
        yield from _parts(inner, f"{number_before}.{index + 1}" if number_before else f"{index + 1}", level + 1)


def _part(body: list[Value], number_of_part: str) -> ImapPart:
    if len(body) < 7 or not isinstance(body[0], bytes) or not isinstance(body[1], bytes):
        raise InvalidAnswer
    kind, subtype = (_word(value) for value in (body[0], body[1]))
    parameters = _pairs(body[2])
    size = _number(body[6])
    if size is None:
        raise InvalidAnswer
    # A text has its lines here, and a message its envelope, its structure and its lines. A checksum comes first.
    # Some servers leave these out of a message that they cannot read.
    is_message = kind == "message" and len(body) > 10 and isinstance(body[7], list)
    after = 8 if kind == "text" else 10 if is_message else 7
    disposition = body[after + 1] if len(body) > after + 1 else None
    is_told = isinstance(disposition, list) and len(disposition) >= 2
    placed = _pairs(disposition[1]) if isinstance(disposition, list) and is_told else {}
    return ImapPart(
        number=number_of_part,
        content_type=f"{kind}/{subtype}",
        charset=_shown(parameters.get("charset")) or None,
        encoding=_word(body[5]),
        size=size,
        filename=_name(parameter(placed, "filename") or parameter(parameters, "name")),
        is_attachment=isinstance(disposition, list) and is_told and _word(disposition[0]) == "attachment",
        content_id=beginning(_shown(body[3]).strip("<>"), _MOST_NAME_CHARACTERS) or None,
    )


def _word(value: Value) -> str:
    text = value.decode("ascii", "replace").strip().lower() if isinstance(value, bytes) else ""
    return text[:100] if _PLAIN.fullmatch(text) else "unknown"


def _name(text: str) -> str | None:
    """Return the name of a file without its directories; empty if it is too long to be shown, and None without one."""
    name = re.split(r"[/\\]", text)[-1].strip()
    # The end says what it is. A part of a secret at its begin would not be found.
    return beginning(name[::-1], _MOST_FILENAME_CHARACTERS)[::-1].strip() if name else None


def _pairs(value: Value) -> dict[str, bytes]:
    if not isinstance(value, list):
        return {}
    return {
        name.decode("ascii", "replace").lower(): text
        for name, text in zip(value[::2], value[1::2], strict=False)
        if isinstance(name, bytes) and isinstance(text, bytes)
    }
